"""From the start of a process to its first answer, beside Python: wall time and resident memory.

Each program loads a model, classifies one image and prints the class, in turns. The image is a test
image: a PNG for ours, bare pixels for the scripts, which so do less. Needs GNU time.
"""

import argparse
import statistics
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

from prepare.network import read_network
from prepare.onnx_model import save_f32
from report import machine, now, replaced

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
RESULTS = REPOSITORY / "benches" / "RESULTS.md"
CLASSIFY = REPOSITORY / "target/release/examples/classify"
LEAST = REPOSITORY / "target/peers/release/least"
WEIGHTS = REPOSITORY / "fmnist-core/weights"


def milliseconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return 1000 * (time.perf_counter() - start)


def megabytes(command: list[str]) -> float:
    """By a small parent: a child's peak starts at what its parent had before `exec`."""
    run = subprocess.run(
        ["/usr/bin/time", "--format=%M", *command], check=True, capture_output=True, text=True
    )
    return int(run.stderr.split()[-1]) / 1000


def png(pixels: bytes) -> bytes:
    rows = b"".join(b"\0" + pixels[row : row + 28] for row in range(0, 784, 28))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 28, 28, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def commands(folder: Path, keras: str) -> dict[str, list[str]]:
    """What is run, by its name in the table."""
    pixels = read_pixels()
    picture, bare = folder / "image.png", folder / "image.pixels"
    picture.write_bytes(png(pixels))
    bare.write_bytes(pixels)
    programs = {"base, `once/least`": [str(LEAST), str(picture)]}
    for model in ("base", "notebook"):
        network = read_network(WEIGHTS / f"{model}.safetensors")
        save_f32(network, folder / f"{model}.once.onnx")
        programs[f"{model}, `classify`"] = [str(CLASSIFY), "--model", model, str(picture)]
        script = [sys.executable, str(HERE / "once/onnxruntime_once.py")]
        arguments = [str(folder / f"{model}.once.onnx"), str(bare)]
        numbers = [str(network.mean), str(network.deviation)]
        programs[f"{model}, Python + ONNX Runtime"] = [*script, *arguments, *numbers]
    script, model = [keras, str(HERE / "once/keras_once.py")], str(folder / "notebook.keras")
    subprocess.run(
        [*script, "--make", str(WEIGHTS / "notebook.safetensors"), model],
        check=True,
        stderr=subprocess.DEVNULL,
    )
    programs["notebook, Python + Keras"] = [*script, model, str(bare)]
    return programs


def read_pixels() -> bytes:
    """The first golden image of the shipped weights: always there, and a test of all programs."""
    import safetensors.numpy

    tensors = safetensors.numpy.load_file(WEIGHTS / "notebook.safetensors")
    return tensors["golden.images"].tobytes()[:784]


def stripped_megabytes(program: Path, folder: Path) -> float:
    stripped = folder / f"{program.name}.stripped"
    subprocess.run(["strip", "-o", stripped, program], check=True)
    return stripped.stat().st_size / 1e6


def main() -> None:
    arguments = argparse.ArgumentParser(prog="run.sh --startup")
    arguments.add_argument("--write", action="store_true", help="into benches/RESULTS.md")
    arguments.add_argument("--rounds", type=int, default=9)
    arguments.add_argument("--keras", default=sys.executable, help="an interpreter that has Keras")
    options = arguments.parse_args()

    about = machine()
    folder = REPOSITORY / "target/peers/models"
    folder.mkdir(parents=True, exist_ok=True)
    programs = commands(folder, options.keras)
    # The first run of each warms the page cache.
    peaks = {name: megabytes(command) for name, command in programs.items()}
    runs = {name: [] for name in programs}
    for _ in range(options.rounds):
        for name, command in programs.items():
            runs[name].append(milliseconds(command))

    lines = [
        "From the start of a process to its first answer and its end, and the most memory that was"
        f" resident. Median over {options.rounds} rounds (least–greatest) in turns, files in the"
        " page cache.",
        "",
        f"`benches/peers/run.sh --startup`, {now()}, {about}.",
        "",
        "| model, program | ms | resident MB |",
        "| --- | ---: | ---: |",
    ]
    for name, times in runs.items():
        spread = f"{statistics.median(times):.1f} ({min(times):.1f}–{max(times):.1f})"
        lines.append(f"| {name} | {spread} | {peaks[name]:.1f} |")
    lines += ["", "`classify` has every engine and model and the command line, `once/least` the library"
              " without default features, with `base`.", "", "| program | stripped MB |", "| --- | ---: |"]
    for name, program in (("classify", CLASSIFY), ("once/least", LEAST)):
        lines.append(f"| `{name}` | {stripped_megabytes(program, folder):.1f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        RESULTS.write_text(replaced(RESULTS.read_text(), "start-up", text))


if __name__ == "__main__":
    main()
