"""Checks a server of the Open Inference Protocol with MLServer's Python types, codecs and its
command `infer`: HOST:PORT. It has to be ready."""

import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataModelResponse

MODEL = "base"
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 1, 28, 28), np.uint8)


def ask(url: str, body: str | None = None) -> str:
    request = urllib.request.Request(url, body and body.encode(), {"content-type": "application/json"})
    return urllib.request.urlopen(request).read().decode()


def check(response: InferenceResponse) -> None:
    assert response.model_name == MODEL, response.model_name
    outputs = {output.name: output for output in response.outputs}
    probabilities = NumpyCodec.decode_output(outputs["probabilities"])
    assert probabilities.shape == (20, 10) and np.abs(probabilities.sum(axis=1) - 1).max() < 1e-5
    assert (NumpyCodec.decode_output(outputs["class"]) == probabilities.argmax(axis=1)).all()
    assert len(StringCodec.decode_output(outputs["label"])) == 20


def main() -> None:
    host = sys.argv[1]
    model = f"http://{host}/v2/models/{MODEL}"
    metadata = MetadataModelResponse.model_validate_json(ask(model))
    assert metadata.name == MODEL and metadata.inputs[0].shape == [-1, 1, 28, 28], metadata

    for pixels in (IMAGES, (IMAGES / 255).astype(np.float32)):
        request = InferenceRequest(id="17", inputs=[NumpyCodec.encode_input("image", pixels)])
        response = InferenceResponse.model_validate_json(ask(f"{model}/infer", request.model_dump_json()))
        assert response.id == "17"
        check(response)

    # MLServer's own command sends the requests of a file, and asks in the way of Triton's client.
    request = InferenceRequest(inputs=[NumpyCodec.encode_input("image", IMAGES)])
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder, "asked.jsonl"), Path(folder, "answered.jsonl")
        asked.write_text(request.model_dump_json(exclude_none=True) + "\n")
        command = [Path(sys.executable).with_name("mlserver"), "infer", "--url", host, "--model-name", MODEL]
        command += ["--input-data-path", asked, "--output-data-path", answered, "--transport", "rest"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        lines = answered.read_text().splitlines()
        assert len(lines) == 1, lines
        check(InferenceResponse.model_validate(json.loads(lines[0])))
    print("MLServer's types, codecs and command agree")


if __name__ == "__main__":
    main()
