"""LiteRT's flatbuffer, in f32 and quantised by its own tool.

The file is written directly: the converters on the registry would bring TensorFlow or JAX along,
and for five kinds of operators the schema is shorter than their use.
"""

from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_quantizer import quantizer, recipe

from .network import Layer, Network

SIGNATURE = "serving_default"
FILE_IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
OPERATORS = schema.BuiltinOperator
OPTIONS = schema.BuiltinOptions


def save_f32(network: Network, file: Path) -> None:
    """Writes the network: `images` `[batch, 28, 28, 1]` in, `logits` out."""
    builder = flatbuffers.Builder()
    builder.Finish(ModelBuilder(network).model().Pack(builder), FILE_IDENTIFIER)
    file.write_bytes(bytes(builder.Output()))


def save_int8(f32_file: Path, file: Path, inputs: np.ndarray) -> None:
    """Quantises statically: weights by channel, activations calibrated on `inputs`."""
    tool = quantizer.Quantizer(str(f32_file), recipe.static_wi8_ai8())
    calibration = [{"images": image.reshape(1, 28, 28, 1)} for image in inputs]
    result = tool.calibrate({SIGNATURE: calibration}, num_threads=1)
    tool.quantize(result, serialize_to_path=str(file), enable_progress_report=False)


class ModelBuilder:
    """Gathers tensors and operators; a tensor's shape is that for a batch of 1."""

    def __init__(self, network: Network):
        self.network = network
        self.buffers = [schema.BufferT()]  # By convention the first is empty.
        self.tensors: list[schema.TensorT] = []
        self.operators: list[schema.OperatorT] = []
        self.codes: list[int] = []
        self.places: dict[str, int] = {}

    def model(self) -> schema.ModelT:
        images = self.activation("images", (28, 28, 1))
        for layer in self.network.layers:
            getattr(self, layer.kind)(layer)
        logits = self.places["logits"]
        graph = schema.SubGraphT(
            self.tensors, [images], [logits], self.operators, name=self.network.model
        )
        signature = schema.SignatureDefT(
            [schema.TensorMapT("images", images)],
            [schema.TensorMapT("logits", logits)],
            SIGNATURE,
        )
        codes = [
            schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code)
            for code in self.codes
        ]
        return schema.ModelT(
            SCHEMA_VERSION, codes, [graph], "", self.buffers, signatureDefs=[signature]
        )

    def conv(self, layer: Layer) -> None:
        weight = self.network.parameter(layer, "weight")
        rows, columns, _ = self.shape(layer.inputs[0])
        lost = 0 if layer.padding else weight.shape[2] - 1
        padding = schema.Padding.SAME if layer.padding else schema.Padding.VALID
        options = schema.Conv2DOptionsT(padding, 1, 1, activation_of(layer))
        parameters = self.parameters(layer, weight.transpose(0, 2, 3, 1))
        shape = (rows - lost, columns - lost, len(weight))
        self.operator(OPERATORS.CONV_2D, OPTIONS.Conv2DOptions, options, layer, shape, parameters)

    def pool(self, layer: Layer) -> None:
        rows, columns, channels = self.shape(layer.inputs[0])
        options = schema.Pool2DOptionsT(schema.Padding.VALID, 2, 2, 2, 2)
        shape = (rows // 2, columns // 2, channels)
        self.operator(OPERATORS.MAX_POOL_2D, OPTIONS.Pool2DOptions, options, layer, shape)

    def add(self, layer: Layer) -> None:
        options = schema.AddOptionsT(activation_of(layer))
        shape = self.shape(layer.inputs[0])
        self.operator(OPERATORS.ADD, OPTIONS.AddOptions, options, layer, shape)

    def flatten(self, layer: Layer) -> None:
        size = int(np.prod(self.shape(layer.inputs[0])))
        target = self.constant(f"{layer.output}/shape", np.array([-1, size], np.int32))
        options = schema.ReshapeOptionsT([-1, size])
        self.operator(OPERATORS.RESHAPE, OPTIONS.ReshapeOptions, options, layer, (size,), [target])

    def dense(self, layer: Layer) -> None:
        weight = self.rows_by_channel_last(layer)
        options = schema.FullyConnectedOptionsT(activation_of(layer))
        parameters = self.parameters(layer, weight.T)
        self.operator(
            OPERATORS.FULLY_CONNECTED,
            OPTIONS.FullyConnectedOptions,
            options,
            layer,
            (weight.shape[1],),
            parameters,
        )

    def rows_by_channel_last(self, layer: Layer) -> np.ndarray:
        """The weight with its rows in the order in which LiteRT flattens: channels last."""
        weight = self.network.parameter(layer, "weight")
        flatten = next((own for own in self.network.layers if own.output == layer.inputs[0]), None)
        if flatten is None or flatten.kind != "flatten":
            return weight
        rows, columns, channels = self.shape(flatten.inputs[0])
        by_place = weight.reshape(channels, rows, columns, -1).transpose(1, 2, 0, 3)
        return by_place.reshape(weight.shape)

    def parameters(self, layer: Layer, weight: np.ndarray) -> list[int]:
        bias = self.network.parameter(layer, "bias")
        return [
            self.constant(f"{layer.name}.weight", weight),
            self.constant(f"{layer.name}.bias", bias),
        ]

    def operator(self, code, options_type, options, layer, shape, constants=()) -> None:
        inputs = [self.places[name] for name in layer.inputs] + list(constants)
        output = self.activation(layer.output, shape)
        if code not in self.codes:
            self.codes.append(code)
        index = self.codes.index(code)
        self.operators.append(schema.OperatorT(index, inputs, [output], options_type, options))

    def activation(self, name: str, shape: tuple[int, ...]) -> int:
        tensor = schema.TensorT(
            [1, *shape], schema.TensorType.FLOAT32, 0, name, shapeSignature=[-1, *shape]
        )
        return self.tensor(tensor)

    def constant(self, name: str, values: np.ndarray) -> int:
        kind = {"f": schema.TensorType.FLOAT32, "i": schema.TensorType.INT32}[values.dtype.kind]
        data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.buffers.append(schema.BufferT(data))
        shape = list(values.shape)
        return self.tensor(schema.TensorT(shape, kind, len(self.buffers) - 1, name))

    def tensor(self, tensor: schema.TensorT) -> int:
        self.tensors.append(tensor)
        self.places[tensor.name] = len(self.tensors) - 1
        return self.places[tensor.name]

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self.tensors[self.places[name]].shape[1:])


def activation_of(layer: Layer) -> int:
    kinds = schema.ActivationFunctionType
    return kinds.RELU if layer.relu else kinds.NONE
