"""Checks a server of the Open Inference Protocol with Triton's client: HOST:PORT."""

import sys
import time

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "base"
START_SECONDS = 60
OUTPUTS = ("probabilities", "class", "label")


def wait_until_ready(client: triton.InferenceServerClient) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            if client.is_server_ready():
                return
        except OSError:
            pass  # it does not listen yet
        time.sleep(0.2)
    sys.exit(f"not ready after {START_SECONDS} s")


def infer(client: triton.InferenceServerClient, images: np.ndarray, binary: bool) -> dict:
    datatype = {"uint8": "UINT8", "float32": "FP32"}[images.dtype.name]
    image = triton.InferInput("image", images.shape, datatype)
    image.set_data_from_numpy(images, binary_data=binary)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in OUTPUTS]
    result = client.infer(MODEL, [image], outputs=outputs, request_id="17")
    assert result.get_response()["id"] == "17"
    answer = {name: result.as_numpy(name) for name in OUTPUTS}
    # The client gives BYTES of binary data as bytes, of JSON as text.
    labels = [label if isinstance(label, str) else label.decode() for label in answer["label"]]
    return answer | {"label": labels}


def classify(client: triton.InferenceServerClient, images: np.ndarray, coding: str | None) -> list:
    """The two most probable classes of each image, by the classification extension."""
    image = triton.InferInput("image", images.shape, "UINT8")
    image.set_data_from_numpy(images)
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    result = client.infer(MODEL, [image], outputs=[output], request_compression_algorithm=coding)
    rows = result.as_numpy("probabilities")
    return [[word.decode().split(":", 2) for word in row] for row in rows]


def main() -> None:
    client = triton.InferenceServerClient(sys.argv[1])
    wait_until_ready(client)
    assert client.is_server_live() and client.is_model_ready(MODEL)
    metadata = client.get_model_metadata(MODEL)
    assert [output["name"] for output in metadata["outputs"]] == list(OUTPUTS), metadata
    assert client.get_model_repository_index()[0]["name"] == MODEL

    images = np.random.default_rng(1).integers(0, 256, (20, 1, 28, 28), np.uint8)
    first = infer(client, images, binary=True)
    assert first["probabilities"].shape == (20, 10)
    assert np.abs(first["probabilities"].sum(axis=1) - 1).max() < 1e-5
    assert (first["class"] == first["probabilities"].argmax(axis=1)).all()
    for pixels in (images, (images / 255).astype(np.float32)):
        for binary in (True, False):
            again = infer(client, pixels, binary)
            assert (again["class"] == first["class"]).all() and again["label"] == first["label"]
            assert np.abs(again["probabilities"] - first["probabilities"]).max() < 1e-6

    for coding in (None, "gzip", "deflate"):
        top = classify(client, images, coding)
        assert [int(best[1]) for best, _ in top] == first["class"].tolist(), coding
        assert [best[2] for best, _ in top] == first["label"], coding
        assert all(float(best[0]) >= float(second[0]) for best, second in top), coding

    for bad in (images[:, :, :27], images.astype(np.float32)):
        try:
            infer(client, np.ascontiguousarray(bad), binary=True)
        except InferenceServerException as refused:
            assert refused.status() == "400" and "expected" in refused.message(), refused
        else:
            sys.exit("a bad request was answered")
    print("tritonclient: ready, metadata, index, UINT8 and FP32, binary and JSON, classification, gzip and "
          "deflate, errors: ok")


if __name__ == "__main__":
    main()
