"""Makes every runtime's model from the same weights: python -m prepare WEIGHTS IMAGES FOLDER

IMAGES are the calibration images, 784 bytes each. A program of its own, so that the tools that
quantise are gone from memory when the clock runs.
"""

import json
import sys
from pathlib import Path

import numpy as np

from . import litert_model, onnx_model, openvino_model
from .network import read_network, save_parameters


def main() -> None:
    weights, images, folder = map(Path, sys.argv[1:])
    network = read_network(weights)
    pixels = np.fromfile(images, np.uint8).reshape(-1, 784)
    inputs = network.normalised(pixels)

    def file(ending: str) -> Path:
        return folder / f"{network.model}{ending}"

    save_parameters(network, file(".safetensors"))
    onnx_model.save_f32(network, file(".onnx"))
    onnx_model.save_int8(file(".onnx"), file(".int8.onnx"), inputs)
    openvino_model.save_int8(file(".onnx"), file(".int8.xml"), inputs)
    litert_model.save_f32(network, file(".tflite"))
    litert_model.save_int8(file(".tflite"), file(".int8.tflite"), inputs)
    normalisation = {"mean": network.mean, "deviation": network.deviation}
    file(".json").write_text(json.dumps(normalisation))


if __name__ == "__main__":
    main()
