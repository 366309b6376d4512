"""The two networks as lists of layers, with their trained parameters.

Every model file is made from these lists, so that no two formats can differ in more than format.
Batch normalisation is folded into the convolutions, as each runtime would do on loading.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

# Burn's default, which the weights were trained with.
NORM_EPSILON = 1e-5


@dataclass(frozen=True)
class Layer:
    """One operation: `inputs` and `output` name activations, `name` its parameters, if any."""

    kind: str  # conv, pool (maximum over 2×2), add, flatten, dense
    inputs: tuple[str, ...]
    output: str
    name: str = ""
    padding: int = 0
    relu: bool = False


@dataclass(frozen=True)
class Network:
    """`parameters` has `NAME.weight` and `NAME.bias`: convolutions as output, input, rows, columns;
    dense layers as input, output."""

    model: str
    layers: tuple[Layer, ...]
    parameters: dict[str, np.ndarray]
    mean: float
    deviation: float

    def parameter(self, layer: Layer, kind: str) -> np.ndarray:
        return self.parameters[f"{layer.name}.{kind}"]

    def normalised(self, pixels: np.ndarray) -> np.ndarray:
        """`[count, 784]` bytes to `[count, 1, 28, 28]` inputs."""
        values = (pixels.astype(np.float32) / 255 - self.mean) / self.deviation
        return values.astype(np.float32).reshape(-1, 1, 28, 28)


def read_network(file: Path) -> Network:
    """Reads a weights file of fmnist-core."""
    with safetensors.safe_open(file, framework="numpy") as weights:
        metadata = json.loads(weights.metadata()["fmnist"])
        tensors = {name: weights.get_tensor(name) for name in weights.keys()}
    model, normalisation = metadata["architecture"], metadata["normalisation"]
    layers = {"base": base_layers, "notebook": notebook_layers}[model]()
    parameters = {}
    for layer in layers:
        if layer.name:
            weight, bias = folded(tensors, layer.name)
            parameters |= {f"{layer.name}.weight": weight, f"{layer.name}.bias": bias}
    return Network(model, layers, parameters, normalisation["mean"], normalisation["deviation"])


def notebook_layers() -> tuple[Layer, ...]:
    return (
        Layer("conv", ("images",), "features", "conv", relu=True),
        Layer("pool", ("features",), "pooled"),
        Layer("flatten", ("pooled",), "flat"),
        Layer("dense", ("flat",), "hidden", "hidden", relu=True),
        Layer("dense", ("hidden",), "logits", "output"),
    )


def base_layers() -> tuple[Layer, ...]:
    layers = [Layer("conv", ("images",), "x", "stem", padding=1, relu=True)]
    last = "x"
    for block in (f"blocks.{index}" for index in range(3)):
        pooled, first, second, skip, output = (
            f"{block}/{part}" for part in ("pooled", "first", "second", "skip", "output")
        )
        layers += [
            Layer("pool", (last,), pooled),
            Layer("conv", (pooled,), first, f"{block}.first", padding=1, relu=True),
            Layer("conv", (first,), second, f"{block}.second", padding=1),
            Layer("conv", (pooled,), skip, f"{block}.skip"),
            Layer("add", (second, skip), output, relu=True),
        ]
        last = output
    layers += [
        Layer("flatten", (last,), "flat"),
        Layer("dense", ("flat",), "logits", "output"),
    ]
    return tuple(layers)


def folded(tensors: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    """Weight and bias of a layer, batch normalisation included."""
    if f"{name}.norm.gamma" not in tensors:
        return tensors[f"{name}.weight"], tensors[f"{name}.bias"]
    gamma, beta, mean, variance = (
        tensors[f"{name}.norm.{part}"].astype(np.float64)
        for part in ("gamma", "beta", "running_mean", "running_var")
    )
    scale = gamma / np.sqrt(variance + NORM_EPSILON)
    weight = tensors[f"{name}.conv.weight"] * scale[:, None, None, None]
    return weight.astype(np.float32), (beta - mean * scale).astype(np.float32)


def save_parameters(network: Network, file: Path) -> None:
    """Writes the folded parameters, for runtimes whose networks are code."""
    parameters = {name: np.ascontiguousarray(value) for name, value in network.parameters.items()}
    safetensors.numpy.save_file(parameters, file)
