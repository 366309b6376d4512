"""Copies the weights of a Keras model file (.h5) into a safetensors file, as they lie.

    pip install h5py numpy safetensors
    python training/scripts/keras_to_safetensors.py model.h5 keras.safetensors
    cargo run --release -p training -- import keras.safetensors --out notebook.safetensors

Keras itself is not needed. The model must be the notebook's network: a convolution and two dense
layers, which are told apart by their order in the file. Layouts are converted by `training import`.
"""

import sys

import h5py
import numpy
from safetensors.numpy import save_file

# The network's layers in order, each with its kernel and bias.
LAYERS = ["conv", "hidden", "output"]


def weighted_layers(file):
    """Yields the arrays of each layer that has any, in the order of the model."""
    root = file["model_weights"] if "model_weights" in file else file
    for layer in root.attrs["layer_names"]:
        group = root[layer]
        names = group.attrs["weight_names"]
        if len(names):
            yield layer, [numpy.asarray(group[name]) for name in names]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    with h5py.File(source, "r") as file:
        layers = list(weighted_layers(file))
    if len(layers) != len(LAYERS):
        found = ", ".join(str(layer) for layer, _ in layers)
        sys.exit(f"{source}: expected {len(LAYERS)} layers with weights, found: {found}")
    tensors = {}
    for name, (layer, arrays) in zip(LAYERS, layers):
        if len(arrays) != 2:
            sys.exit(f"{source}: layer {layer}: expected a kernel and a bias, found {len(arrays)} arrays")
        for part, array in zip(["kernel", "bias"], arrays):
            tensors[f"{name}.{part}"] = numpy.ascontiguousarray(array, dtype=numpy.float32)
    save_file(tensors, target)
    for name, array in tensors.items():
        print(name, array.shape)


if __name__ == "__main__":
    main()
