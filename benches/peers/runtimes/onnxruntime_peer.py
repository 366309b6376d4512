"""ONNX Runtime on its CPU provider; inputs and outputs are bound, which spares it copies."""

import numpy as np
import onnxruntime

from serve import Peer, serve


class OnnxRuntime(Peer):
    def __init__(self, load: dict):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = load["threads"]
        options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self.session = onnxruntime.InferenceSession(load["file"], options, providers=providers)
        self.name = f"ONNX Runtime {onnxruntime.__version__}"
        self.precision = load["engine"]

    def prepare(self, images: np.ndarray) -> object:
        binding = self.session.io_binding()
        binding.bind_cpu_input("images", images)
        logits = onnxruntime.OrtValue.ortvalue_from_shape_and_type([len(images), 10], np.float32)
        binding.bind_ortvalue_output("logits", logits)
        return binding

    def run(self) -> None:
        self.session.run_with_iobinding(self.bound)

    def logits(self) -> np.ndarray:
        return self.bound.copy_outputs_to_cpu()[0]


if __name__ == "__main__":
    serve(OnnxRuntime)
