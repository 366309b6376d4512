"""Copies the weights of a Keras model file into a safetensors file, as they lie.

    pip install h5py numpy safetensors
    python training/scripts/keras_to_safetensors.py model.h5 keras.safetensors
    cargo run --release -p training -- import keras.safetensors --out notebook.safetensors

Takes what Keras 2 and 3 save: `.h5`, `.weights.h5` and `.keras`. Keras itself is not needed. The model
must be the notebook's network: a convolution and two dense layers, which are told apart by their order
in the file. Layouts are converted by `training import`.
"""

import io
import re
import sys
import zipfile

import h5py
import numpy
from safetensors.numpy import save_file

# The network's layers in order, each with its kernel and bias.
LAYERS = ["conv", "hidden", "output"]
# Where a `.keras` file has its weights.
WEIGHTS = "model.weights.h5"
# Where the layers lie: in Keras 3, and in the `.keras` files of Keras 2.
ROOTS = ["layers", "_layer_checkpoint_dependencies"]


def opened(source):
    """The HDF5 file, which a `.keras` file has inside."""
    if not zipfile.is_zipfile(source):
        return h5py.File(source, "r")
    with zipfile.ZipFile(source) as archive:
        if WEIGHTS not in archive.namelist():
            sys.exit(f"{source}: expected a .keras file with {WEIGHTS}, found: {', '.join(archive.namelist())}")
        return h5py.File(io.BytesIO(archive.read(WEIGHTS)), "r")


def legacy_layers(root):
    """Yields the arrays of each layer that has any, in the order of the model."""
    for layer in root.attrs["layer_names"]:
        group = root[layer]
        names = group.attrs["weight_names"]
        if len(names):
            yield layer, [numpy.asarray(group[name]) for name in names]


def numbered(path):
    """Orders `dense`, `dense_1`, `dense_2` … `dense_10`, as Keras counts its layers."""
    return [(re.sub(r"_\d+$", "", part), int((re.findall(r"_(\d+)$", part) or [0])[0])) for part in path.split("/")]


def layers_of_keras_3(root):
    """Yields the arrays of each layer that has any, in the order of Keras's names."""
    found = {}

    def visit(path, group):
        layer, _, last = path.rpartition("/")
        if last == "vars" and len(group) and not layer.endswith("seed_generator"):
            found[layer] = [numpy.asarray(group[name]) for name in sorted(group, key=int)]

    root.visititems(visit)
    for layer in sorted(found, key=numbered):
        yield layer, found[layer]


def weighted_layers(source, file):
    """The layers with weights, of whatever version of Keras."""
    root = file["model_weights"] if "model_weights" in file else file
    if "layer_names" in root.attrs:
        return list(legacy_layers(root))
    for name in ROOTS:
        if name in root:
            return list(layers_of_keras_3(root[name]))
    sys.exit(f"{source}: expected the weights of a Keras model, found: {', '.join(root) or 'nothing'}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    source, target = sys.argv[1:]
    try:
        with opened(source) as file:
            layers = weighted_layers(source, file)
    except (OSError, zipfile.BadZipFile) as error:
        sys.exit(f"{source}: expected a Keras model's .h5, .weights.h5 or .keras file: {error}")
    if len(layers) != len(LAYERS):
        found = ", ".join(str(layer) for layer, _ in layers)
        sys.exit(f"{source}: expected {len(LAYERS)} layers with weights, found: {found or 'none'}")
    tensors = {}
    for name, (layer, arrays) in zip(LAYERS, layers):
        if len(arrays) != 2:
            sys.exit(f"{source}: layer {layer}: expected a kernel and a bias, found {len(arrays)} arrays")
        for part, array in zip(["kernel", "bias"], arrays):
            tensors[f"{name}.{part}"] = numpy.ascontiguousarray(array, dtype=numpy.float32)
    try:
        save_file(tensors, target)
    except OSError as error:
        sys.exit(f"{target}: cannot be written: {error}")
    for name, array in tensors.items():
        print(name, array.shape)


if __name__ == "__main__":
    main()
