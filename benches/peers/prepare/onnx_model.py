"""ONNX files, in f32 and quantised by ONNX Runtime."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization
from onnxruntime.quantization import shape_inference

from .network import Network
from .onnx_nodes import nodes_of

# Old enough for every runtime here, new enough for quantisation by channel.
OPSET = 17
IR_VERSION = 9
CALIBRATION_BATCH = 50


def save_f32(network: Network, file: Path) -> None:
    """Writes the network with a batch of any size: `images` in, `logits` out."""
    nodes = [node for layer in network.layers for node in nodes_of(layer)]
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 1, 28, 28])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 10])
    constants = [numpy_helper.from_array(value, name) for name, value in network.parameters.items()]
    graph = helper.make_graph(nodes, network.model, [images], [logits], constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def save_int8(f32_file: Path, file: Path, inputs: np.ndarray) -> None:
    """Quantises statically: weights by channel, activations calibrated on `inputs`.

    Signed weights and unsigned activations are what ONNX Runtime's VNNI kernels are made for.
    """
    inferred = file.with_suffix(".inferred.onnx")
    shape_inference.quant_pre_process(f32_file, inferred)
    quantization.quantize_static(
        inferred,
        file,
        Calibration(inputs),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


class Calibration(quantization.CalibrationDataReader):
    """Gives the calibration images out in batches."""

    def __init__(self, inputs: np.ndarray):
        starts = range(0, len(inputs), CALIBRATION_BATCH)
        self.batches = iter([inputs[start : start + CALIBRATION_BATCH] for start in starts])

    def get_next(self) -> dict[str, np.ndarray] | None:
        batch = next(self.batches, None)
        return None if batch is None else {"images": batch}
