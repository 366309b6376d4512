"""OpenVINO on its CPU plugin, one stream, compiled for each batch size.

Engine `f32` asks for f32. The others leave the precision to the plugin, whose default is bf16 where
the processor has it.
"""

import numpy as np
import openvino

from serve import Peer, Unsupported, serve


class OpenVino(Peer):
    def __init__(self, load: dict):
        self.core = openvino.Core()
        abilities = self.core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        self.precision = load["engine"]
        if self.precision == "bf16" and "BF16" not in abilities:
            raise Unsupported("the processor has no bf16")
        self.file = load["file"]
        self.settings = {
            "INFERENCE_NUM_THREADS": load["threads"],
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": 1,
        }
        if self.precision == "f32":
            self.settings["INFERENCE_PRECISION_HINT"] = "f32"
        self.requests: dict[int, openvino.InferRequest] = {}
        self.name = f"OpenVINO {openvino.__version__.split('-')[0]}"

    def prepare(self, images: np.ndarray) -> object:
        batch = len(images)
        if batch not in self.requests:
            self.requests[batch] = self.compiled(batch).create_infer_request()
        return self.requests[batch], openvino.Tensor(images, shared_memory=True)

    def compiled(self, batch: int) -> openvino.CompiledModel:
        model = self.core.read_model(self.file)
        model.reshape([batch, 1, 28, 28])
        compiled = self.core.compile_model(model, "CPU", self.settings)
        found = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        expected = {"f32": "f32", "bf16": "bf16"}.get(self.precision, found)
        if found != expected:
            raise ValueError(f"expected {expected}, found {found}")
        return compiled

    def bind(self, prepared: tuple) -> None:
        self.request, tensor = prepared
        self.request.set_input_tensor(tensor)

    def run(self) -> None:
        self.request.infer()

    def logits(self) -> np.ndarray:
        return self.request.get_output_tensor().data


if __name__ == "__main__":
    serve(OpenVino)
