"""Checks a server of the Open Inference Protocol with Triton's client for gRPC: HOST:GRPC_PORT HOST:HTTP_PORT."""

import sys

import grpc
import numpy as np
import tritonclient.grpc as triton
import tritonclient.http as http
from tritonclient.utils import InferenceServerException

MODEL = "base"
OUTPUTS = ("probabilities", "class", "label")
SERVING = b"\x08\x01"


def infer(api, client, images: np.ndarray, **options) -> dict:
    datatype = {"uint8": "UINT8", "float32": "FP32"}[images.dtype.name]
    image = api.InferInput("image", images.shape, datatype)
    image.set_data_from_numpy(images)
    result = client.infer(MODEL, [image], request_id="17", **options)
    return {name: result.as_numpy(name) for name in OUTPUTS}


def refused(code: str, words: str, call) -> None:
    try:
        call()
    except InferenceServerException as error:
        assert error.status() == f"StatusCode.{code}" and words in error.message(), error
    else:
        sys.exit(f"{code} was expected")


def main() -> None:
    client, beside = triton.InferenceServerClient(sys.argv[1]), http.InferenceServerClient(sys.argv[2])
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready(MODEL)
    assert client.get_server_metadata().name == "fmnist-stream"
    metadata = client.get_model_metadata(MODEL, as_json=True)
    assert metadata["outputs"] == [
        {"name": output["name"], "datatype": output["datatype"], "shape": [str(n) for n in output["shape"]]}
        for output in beside.get_model_metadata(MODEL)["outputs"]
    ], metadata

    images = np.random.default_rng(1).integers(0, 256, (20, 1, 28, 28), np.uint8)
    for pixels in (images, (images / 255).astype(np.float32)):
        expected = infer(http, beside, pixels)
        for coding in (None, "gzip", "deflate"):
            found = infer(triton, client, pixels, compression_algorithm=coding)
            for name in OUTPUTS:
                assert found[name].tobytes() == expected[name].tobytes() or (
                    found[name].tolist() == expected[name].tolist()
                ), (name, coding)

    image = triton.InferInput("image", images.shape, "UINT8")
    image.set_data_from_numpy(images)
    output = triton.InferRequestedOutput("probabilities", class_count=2)
    rows = client.infer(MODEL, [image], outputs=[output]).as_numpy("probabilities")
    assert rows.shape == (20, 2)
    assert [int(best.split(b":")[1]) for best, _ in rows] == expected["class"].tolist()

    refused("INVALID_ARGUMENT", "expected shape", lambda: infer(triton, client, images[:, :, :27].copy()))
    refused("NOT_FOUND", "no such model here", lambda: client.get_model_metadata("other"))
    # No machine classifies so many in that time.
    many = np.zeros((10_000, 1, 28, 28), np.uint8)
    refused("DEADLINE_EXCEEDED", "", lambda: infer(triton, client, many, client_timeout=0.005))
    refused("UNIMPLEMENTED", "there is nothing here", lambda: client.get_model_config(MODEL))

    # The standard health service, whose messages are a field each.
    with grpc.insecure_channel(sys.argv[1]) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=30) == SERVING
        watch = channel.unary_stream("/grpc.health.v1.Health/Watch")(b"", timeout=30)
        assert next(watch) == SERVING
        watch.cancel()
    print("tritonclient[grpc]: ready, metadata, UINT8 and FP32 as over HTTP, gzip and deflate, classification, "
          "errors, health: ok")


if __name__ == "__main__":
    main()
