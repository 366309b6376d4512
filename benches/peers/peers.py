"""Compares fmnist-core with other runtimes on the same weights; see README.md.

Run it through run.sh, which makes the environment that it needs.
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from itertools import product
from pathlib import Path

import report
from measure import TIMED_IMAGES, check, interleaved
from process import Contender, PeerFailed, PeerProcess, Unsupported

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
WEIGHTS = REPOSITORY / "fmnist-core" / "weights"
RESULTS = REPOSITORY / "benches" / "RESULTS.md"
BUILD = REPOSITORY / "target" / "peers"

MODELS = ("base", "notebook")
THREADS = (1, 2)
BATCHES = (1, 8, 32, 256)
CALIBRATION_IMAGES = 500
REFERENCE = "burn"
# A fifth of the drawn images lie so near a border between classes that rounding decides.
SYNTHETIC_HINT = (
    "\nThe images are synthetic, and quantised models agree on fewer of those: set FMNIST_DATA to "
    "the folder of the official ones, or leave those peers out with --only."
)


def contenders() -> list[Contender]:
    """Every row of the tables, ours first."""

    def python(name: str) -> tuple[str, ...]:
        return (sys.executable, str(HERE / "runtimes" / f"{name}_peer.py"))

    def rust(name: str) -> tuple[str, ...]:
        return (str(BUILD / "release" / name),)

    return [
        Contender("fused", rust("fmnist"), "fused", ".weights", ours=True),
        Contender("int8", rust("fmnist"), "int8", ".weights", ours=True),
        Contender(REFERENCE, rust("burn"), "f32", ".weights"),
        Contender("candle", rust("candle"), "f32", ".safetensors"),
        Contender("tract", rust("tract"), "f32", ".onnx"),
        Contender("onnxruntime", python("onnxruntime"), "f32", ".onnx"),
        Contender("onnxruntime-int8", python("onnxruntime"), "int8", ".int8.onnx"),
        Contender("openvino", python("openvino"), "f32", ".onnx"),
        Contender("openvino-bf16", python("openvino"), "bf16", ".onnx"),
        Contender("openvino-int8", python("openvino"), "int8", ".int8.xml"),
        Contender("pytorch", python("pytorch"), "f32", ".safetensors"),
        Contender("litert", python("litert"), "f32", ".tflite"),
        Contender("litert-int8", python("litert"), "int8", ".int8.tflite"),
    ]


def main() -> None:
    arguments = parse_arguments()
    folder = BUILD / "models"
    folder.mkdir(parents=True, exist_ok=True)
    machine = report.machine()
    origin = prepare(folder, arguments.images)
    outcome = report.Outcome(machine, origin, arguments)
    try:
        for model, threads in product(MODELS, THREADS):
            run(model, threads, folder, arguments, outcome)
    except PeerFailed as failure:
        hint = SYNTHETIC_HINT if origin.startswith("synthetic") else ""
        sys.exit(f"error: {failure}{hint}")
    if arguments.json:
        arguments.json.write_text(json.dumps(outcome.raw()))
    body = outcome.section()
    print(f"## {report.TITLE}\n\n{body}")
    if arguments.write:
        RESULTS.write_text(report.replaced(RESULTS.read_text(), report.TITLE, body))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__.splitlines()[0])
    keys = [contender.key for contender in contenders()]
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", type=lambda text: text.split(","), default=keys)
    arguments = parser.parse_args()
    if unknown := set(arguments.only) - set(keys):
        parser.error(f"no peer is called {', '.join(unknown)}; there are {', '.join(keys)}")
    if arguments.write and (arguments.quick or arguments.only != keys):
        parser.error("--write is for whole runs: without --quick and --only")
    arguments.rounds, arguments.seconds, arguments.images = (
        (2, 0.05, TIMED_IMAGES) if arguments.quick else (7, 0.25, 4 * TIMED_IMAGES)
    )
    return arguments


def prepare(folder: Path, images: int) -> str:
    """Makes the images and every runtime's models; returns the images' origin."""
    test, calibration = folder / "test.u8", folder / "calibration.u8"
    counts = [str(images), str(test), str(CALIBRATION_IMAGES), str(calibration)]
    drawn = [str(BUILD / "release" / "images"), *counts]
    origin = subprocess.run(drawn, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    for model in MODELS:
        progress(f"{model}: making the models")
        weights = WEIGHTS / f"{model}.safetensors"
        link = folder / f"{model}.weights"
        link.unlink(missing_ok=True)
        link.symlink_to(weights)
        command = [sys.executable, "-m", "prepare", weights, calibration, folder]
        environment = os.environ | {"PYTHONPATH": str(HERE)}
        log = folder / f"{model}.log"
        with log.open("w") as output:
            made = subprocess.run(command, env=environment, stdout=output, stderr=output)
        if made.returncode:
            sys.exit(f"error: the models of {model} could not be made:\n{log.read_text()[-2000:]}")
    return origin


def run(
    model: str, threads: int, folder: Path, arguments: argparse.Namespace, outcome: report.Outcome
) -> None:
    """Starts every peer on one model and so many threads, checks it, times it, ends it."""
    load = json.loads((folder / f"{model}.json").read_text())
    load |= {"model": model, "images": str(folder / "test.u8")}
    with ExitStack() as stack:
        peers = []
        for contender in contenders():
            if contender.key not in {*arguments.only, REFERENCE}:
                continue
            progress(f"{model}, threads {threads}: starting {contender.key}")
            file = {"file": str(folder / f"{model}{contender.file}")}
            log = folder / f"{contender.key}.log"
            try:
                peers.append(PeerProcess(contender, load | file, threads, log))
            except Unsupported as reason:
                outcome.skipped[contender.key] = str(reason)
            else:
                stack.callback(peers[-1].stop)
        outcome.agreements += check(model, peers, REFERENCE, arguments.images)
        for batch in BATCHES:
            progress(f"{model}, threads {threads}: timing batch {batch}")
            outcome.series += interleaved(
                model, threads, batch, peers, arguments.rounds, arguments.seconds
            )


def progress(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
