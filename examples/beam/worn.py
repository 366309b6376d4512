"""What is worn in which city, minute by minute: a join and windows in Apache Beam, the model behind gRPC.

A server of this project answers; this runs in Beam's local runner, and by Beam's own options in any other:

  FMNIST_SERVER__GRPC_PORT=8001 cargo run --release --features grpc --example demo &
  python3 -m venv .cache/beam && .cache/beam/bin/pip install -r examples/beam/requirements.txt
  .cache/beam/bin/python examples/beam/worn.py
  .cache/beam/bin/python examples/beam/worn.py --sightings mine.jsonl --server other:8001

Each line of --sightings is {"shop": "north", "seconds": 12.5, "image": "<784 grey pixels, base64>"}. Without
it, 2,000 test images of the folder FMNIST_DATA stand in, or drawn pixels. Results are lines on standard output;
on standard error is what has none: by itself where it can't be read, with its batch where the server refused that.
Any other failure, such as a server that stays away, ends Beam's bundle, which its runner repeats or ends with.
"""

import argparse
import base64
import gzip
import json
import os
import random
import sys
from pathlib import Path
from typing import NamedTuple

import apache_beam as beam
import numpy as np
import tritonclient.grpc as triton
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RemoteModelHandler, RunInference
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.window import FixedWindows, TimestampedValue
from tritonclient.utils import InferenceServerException

PIXELS = 784
IDX_HEADER = 16
CITIES = {"north": "Oslo", "south": "Porto", "river": "Porto"}
# A message is at most server.max_body_bytes, 20 MiB unless set; 256 images are 200 kB.
MAX_BATCH = 256
TIMEOUT_SECONDS = 30
# Since 1970, which is 5138: Beam's own times end later.
MAX_SECONDS = 1e11
# The server is away, full, or slower than that: what a later attempt may mend.
RETRIED = {"StatusCode.UNAVAILABLE", "StatusCode.RESOURCE_EXHAUSTED", "StatusCode.DEADLINE_EXCEEDED"}


class Label(NamedTuple):
    name: str
    probability: float


class Refused(ValueError):
    """The batch is at fault, and would be refused again."""


class Client(triton.InferenceServerClient):
    def __del__(self):
        """The process closes the channel; at the interpreter's end the modules are gone that its own way needs."""


class Classifier(RemoteModelHandler[np.ndarray, PredictionResult, triton.InferenceServerClient]):
    """A model of the Open Inference Protocol, asked in the batches that Beam makes."""

    def __init__(self, server: str, model: str):
        super().__init__(
            namespace="classifier",
            retry_filter=lambda error: isinstance(error, InferenceServerException) and error.status() in RETRIED,
        )
        self.server, self.model = server, model

    def create_client(self) -> triton.InferenceServerClient:
        return Client(self.server)

    def batch_elements_kwargs(self) -> dict:
        return {"max_batch_size": MAX_BATCH}

    def request(self, batch, client, inference_args=None) -> list[PredictionResult]:
        pixels = np.stack(batch).reshape(-1, 1, 28, 28)
        image = triton.InferInput("image", pixels.shape, "UINT8")
        image.set_data_from_numpy(pixels)
        best = triton.InferRequestedOutput("probabilities", class_count=1)
        try:
            answer = client.infer(self.model, [image], outputs=[best], client_timeout=TIMEOUT_SECONDS)
        except InferenceServerException as error:
            if error.status() == "StatusCode.INVALID_ARGUMENT":
                raise Refused(error.message()) from None
            raise
        labels = []
        for row in answer.as_numpy("probabilities"):
            probability, _, name = row[0].decode().split(":", 2)
            labels.append(Label(name, float(probability)))
        return [PredictionResult(*pair) for pair in zip(batch, labels)]


def read(line: str):
    """A line as (shop, pixels) at its time; one that can't be read goes to the output "rejected"."""
    try:
        sighting = json.loads(line)
        shop, seconds = sighting["shop"], float(sighting["seconds"])
        if not isinstance(shop, str) or not 0 <= seconds < MAX_SECONDS:
            raise ValueError(f"shop {shop!r}, {seconds} s")
        pixels = np.frombuffer(base64.b64decode(sighting["image"], validate=True), np.uint8)
        if pixels.size != PIXELS:
            raise ValueError(f"{pixels.size} pixels instead of {PIXELS}")
        yield TimestampedValue((shop, pixels), seconds)
    except (KeyError, TypeError, ValueError) as error:
        yield beam.pvalue.TaggedOutput("rejected", f"{type(error).__name__}: {error}: {line[:80]}")


def place(answer, cities: dict):
    """The join: whose shop is not known counts under its own name."""
    shop, result = answer
    label = result.inference
    return (cities.get(shop, shop), label.name), label.probability


class Row(beam.DoFn):
    def process(self, counted, window=beam.DoFn.WindowParam):
        (city, label), (count, confidence) = counted
        row = {"from": float(window.start), "until": float(window.end), "city": city, "label": label,
               "count": count, "mean_probability": round(confidence, 4)}
        yield json.dumps(row)


def samples(count: int):
    rng = random.Random(1)
    pixels = rng.randbytes(count * PIXELS)
    if folder := os.environ.get("FMNIST_DATA"):
        idx = gzip.decompress(Path(folder, "t10k-images-idx3-ubyte.gz").read_bytes())
        pixels = idx[IDX_HEADER : IDX_HEADER + count * PIXELS]
    for number in range(count):
        image = base64.b64encode(pixels[number * PIXELS : (number + 1) * PIXELS]).decode()
        yield json.dumps({"shop": rng.choice(sorted(CITIES)), "seconds": number / 10, "image": image})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default="127.0.0.1:8001", help="host:port of gRPC (default: %(default)s)")
    parser.add_argument("--model", default="base", help="(default: %(default)s)")
    parser.add_argument("--sightings", help="a file of JSON lines (default: 2,000 of the test images, see above)")
    parser.add_argument("--minutes", type=float, default=1, help="of a window (default: %(default)s)")
    arguments, options = parser.parse_known_args()

    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        lines = beam.io.ReadFromText(arguments.sightings) if arguments.sightings else beam.Create(samples(2000))
        sightings = pipeline | lines | beam.FlatMap(read).with_outputs("rejected", main="read")
        answers, refused = (
            sightings.read
            | beam.WindowInto(FixedWindows(60 * arguments.minutes))
            | RunInference(KeyedModelHandler(Classifier(arguments.server, arguments.model))).with_exception_handling(
                exc_class=Refused
            )
        )
        cities = beam.pvalue.AsDict(pipeline | "cities" >> beam.Create(CITIES.items()))
        labels = answers | beam.Map(place, cities)
        counted = {
            "count": labels | "count" >> beam.combiners.Count.PerKey(),
            "mean": labels | "mean" >> beam.combiners.Mean.PerKey(),
        } | beam.CoGroupByKey()
        (
            counted
            | beam.MapTuple(lambda key, found: (key, (found["count"][0], found["mean"][0])))
            | beam.ParDo(Row())
            | beam.Map(print)
        )
        for name, failures in (
            ("unreadable", sightings.rejected),
            ("refused", refused.failed_inferences | beam.Map(lambda failure: failure[1][1])),
        ):
            failures | name >> beam.Map(lambda why, name: print(f"{name}: {why}", file=sys.stderr), name)


if __name__ == "__main__":
    main()
