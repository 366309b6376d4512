"""The model as every Python peer with ONNX Runtime runs it."""

import os

import numpy as np
import onnxruntime

PIXELS = 784


class Model:
    """Images of 784 bytes to ten probabilities each."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["THREADS"])
        options.add_session_config_entry("session.intra_op.allow_spinning", os.environ["SPIN"])
        self.session = onnxruntime.InferenceSession(
            os.environ["MODEL"] + ".onnx", options, providers=["CPUExecutionProvider"]
        )
        self(np.zeros(PIXELS, np.uint8))

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        images = pixels.reshape(-1, 1, 28, 28)
        return self.session.run(["probabilities"], {"image": images})[0]
