"""MLServer's runtime for an ONNX model."""

import sys
from pathlib import Path

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

sys.path.insert(0, str(Path(__file__).parents[1]))
from onnx_model import Model  # noqa: E402


class Onnx(MLModel):
    async def load(self) -> bool:
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        image = payload.inputs[0]
        if image.datatype == "BYTES":
            # MLServer makes a list of numbers of any other tensor, 784 objects an image.
            data = getattr(image.data, "root", image.data)
            pixels = np.frombuffer(b"".join(data), np.uint8)
        else:
            pixels = NumpyCodec.decode_input(image)
        output = NumpyCodec.encode_output("probabilities", self.model(pixels))
        return InferenceResponse(model_name=self.name, outputs=[output])
