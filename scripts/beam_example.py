"""Checks examples/beam against what HTTP answers for the same images: HOST:GRPC_PORT HOST:HTTP_PORT."""

import base64
import collections
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tritonclient.http as http

EXAMPLE = Path(__file__).parents[1] / "examples/beam/worn.py"
sys.path.append(str(EXAMPLE.parent))
import worn  # noqa: E402

UNREADABLE = ["nonsense", '{"shop": "north", "seconds": 1, "image": "AAAA"}']


def expected(lines: list[str], server: str) -> collections.Counter:
    """How many of each label are in each city and minute."""
    sightings = [json.loads(line) for line in lines]
    pixels = np.stack([np.frombuffer(base64.b64decode(each["image"]), np.uint8) for each in sightings])
    image = http.InferInput("image", [len(sightings), 1, 28, 28], "UINT8")
    image.set_data_from_numpy(pixels.reshape(-1, 1, 28, 28))
    labels = http.InferenceServerClient(server).infer("base", [image]).as_numpy("label")
    return collections.Counter(
        (60.0 * (each["seconds"] // 60), worn.CITIES[each["shop"]], label.decode())
        for each, label in zip(sightings, labels)
    )


def main() -> None:
    lines = list(worn.samples(2000))
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("\n".join(lines + UNREADABLE))
        file.flush()
        command = [sys.executable, EXAMPLE, "--server", sys.argv[1], "--sightings", file.name]
        done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = {(row["from"], row["city"], row["label"]): row["count"] for row in rows}
    assert found == expected(lines, sys.argv[2]), found
    assert done.stderr.count("unreadable: ") == len(UNREADABLE), done.stderr
    print(f"beam: {len(lines)} images, joined and counted as HTTP labels them; {len(UNREADABLE)} unreadable: ok")


if __name__ == "__main__":
    main()
