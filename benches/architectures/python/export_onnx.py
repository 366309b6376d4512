"""Writes fmnist-core's weights as ONNX: export_onnx.py WEIGHTS MODEL.onnx

Pixels in, calibrated probabilities out, so that no peer pays for arithmetic in its own language:
`image` is `[n, 1, 28, 28]` UINT8, `probabilities` `[n, 10]` FP32.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import safetensors
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(Path(__file__).parents[2] / "peers"))
from prepare.network import read_network  # noqa: E402
from prepare.onnx_nodes import nodes_of  # noqa: E402

# Old enough for every runtime here.
OPSET = 17
IR_VERSION = 9


def main() -> None:
    weights, file = map(Path, sys.argv[1:])
    network = read_network(weights)
    with safetensors.safe_open(weights, framework="numpy") as opened:
        temperature = json.loads(opened.metadata()["fmnist"])["temperature"]
    scalars = {
        "scale": 1 / (255 * network.deviation),
        "shift": -network.mean / network.deviation,
        "sharpness": 1 / temperature,
    }
    constants = network.parameters | {
        name: np.array(value, np.float32) for name, value in scalars.items()
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "shift"], ["images"]),
        *(node for layer in network.layers for node in nodes_of(layer)),
        helper.make_node("Mul", ["logits", "sharpness"], ["calibrated"]),
        helper.make_node("Softmax", ["calibrated"], ["probabilities"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", 1, 28, 28])
    probabilities = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 10])
    initial = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, network.model, [image], [probabilities], initial)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


if __name__ == "__main__":
    main()
