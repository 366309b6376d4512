"""A layer of the network as nodes of an ONNX graph."""

import onnx
from onnx import helper

from .network import Layer


def nodes_of(layer: Layer) -> list[onnx.NodeProto]:
    linear = f"{layer.output}/linear" if layer.relu else layer.output
    parameters = [f"{layer.name}.weight", f"{layer.name}.bias"] if layer.name else []
    operator, attributes = {
        "conv": ("Conv", {"pads": [layer.padding] * 4}),
        "pool": ("MaxPool", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        "add": ("Add", {}),
        "flatten": ("Flatten", {}),
        "dense": ("Gemm", {}),
    }[layer.kind]
    inputs = [*layer.inputs, *parameters]
    nodes = [helper.make_node(operator, inputs, [linear], name=layer.output, **attributes)]
    if layer.relu:
        nodes.append(helper.make_node("Relu", [linear], [layer.output]))
    return nodes
