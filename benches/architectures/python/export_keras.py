"""Writes fmnist-core's weights as a Keras model: export_keras.py WEIGHTS MODEL.keras

Pixels in, calibrated probabilities out: `[n, 28, 28, 1]` to `[n, 10]`.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
import safetensors

sys.path.insert(0, str(Path(__file__).parents[2] / "peers/prepare"))
from network import Layer, Network, read_network  # noqa: E402

layers = keras.layers


def main() -> None:
    weights, file = map(Path, sys.argv[1:])
    network = read_network(weights)
    with safetensors.safe_open(weights, framework="numpy") as opened:
        temperature = json.loads(opened.metadata()["fmnist"])["temperature"]
    image = keras.Input((28, 28, 1))
    scale, shift = 1 / (255 * network.deviation), -network.mean / network.deviation
    tensors = {"images": layers.Rescaling(scale, shift)(image)}
    parameters = {}
    for layer in network.layers:
        inputs = [tensors[name] for name in layer.inputs]
        tensors[layer.output] = operation(layer, network, parameters)(
            inputs if layer.kind == "add" else inputs[0]
        )
        if layer.relu:
            tensors[layer.output] = layers.ReLU()(tensors[layer.output])
    calibrated = layers.Rescaling(1 / temperature)(tensors["logits"])
    model = keras.Model(image, layers.Softmax()(calibrated))
    for own, values in parameters.items():
        own.set_weights(values)
    model.save(file)


def operation(layer: Layer, network: Network, parameters: dict) -> keras.Layer:
    """The layer of Keras; its values come into `parameters`."""
    if layer.kind == "pool":
        return layers.MaxPooling2D()
    if layer.kind == "add":
        return layers.Add()
    if layer.kind == "flatten":
        # Channels first, as the dense layer was trained.
        return keras.Sequential([layers.Permute((3, 1, 2)), layers.Flatten()])
    weight, bias = network.parameter(layer, "weight"), network.parameter(layer, "bias")
    if layer.kind == "dense":
        own = layers.Dense(weight.shape[1])
    else:
        padding = "same" if layer.padding or weight.shape[2] == 1 else "valid"
        own = layers.Conv2D(len(weight), weight.shape[2], padding=padding)
        weight = weight.transpose(2, 3, 1, 0)
    parameters[own] = [np.ascontiguousarray(weight), bias]
    return own


if __name__ == "__main__":
    main()
