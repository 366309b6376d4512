"""LiteRT's interpreter with XNNPACK, one for each batch size.

Its quantised model takes and gives int8: quantising the inputs is part of making them ready.
"""

from importlib.metadata import version

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from serve import Peer, serve


class LiteRt(Peer):
    def __init__(self, load: dict):
        self.file, self.threads = load["file"], load["threads"]
        self.interpreters: dict[int, Interpreter] = {}
        self.name = f"LiteRT {version('ai-edge-litert')}"
        self.precision = load["engine"]

    def prepare(self, images: np.ndarray) -> object:
        batch = len(images)
        if batch not in self.interpreters:
            self.interpreters[batch] = self.interpreter(batch)
        interpreter = self.interpreters[batch]
        values = images.reshape(batch, 28, 28, 1)
        details = interpreter.get_input_details()[0]
        if details["dtype"] == np.int8:
            scale, zero = details["quantization"]
            values = np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)
        return interpreter, details["index"], values

    def interpreter(self, batch: int) -> Interpreter:
        interpreter = Interpreter(self.file, num_threads=self.threads)
        images = interpreter.get_input_details()[0]["index"]
        interpreter.resize_tensor_input(images, [batch, 28, 28, 1])
        interpreter.allocate_tensors()
        return interpreter

    def bind(self, prepared: tuple) -> None:
        self.bound, index, values = prepared
        self.bound.set_tensor(index, values)

    def run(self) -> None:
        self.bound.invoke()

    def logits(self) -> np.ndarray:
        details = self.bound.get_output_details()[0]
        values = self.bound.get_tensor(details["index"]).astype(np.float32)
        if details["dtype"] == np.int8:
            scale, zero = details["quantization"]
            values = (values - zero) * scale
        return values


if __name__ == "__main__":
    serve(LiteRt)
