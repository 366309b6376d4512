"""OpenVINO's int8 model, quantised by its own tool, NNCF."""

from pathlib import Path

import nncf
import numpy as np
import openvino


def save_int8(f32_file: Path, file: Path, inputs: np.ndarray) -> None:
    """Quantises statically, calibrated on `inputs`, for speed rather than accuracy."""
    calibration = nncf.Dataset([image[None] for image in inputs])
    model = nncf.quantize(
        openvino.Core().read_model(f32_file),
        calibration,
        preset=nncf.QuantizationPreset.PERFORMANCE,
        subset_size=len(inputs),
    )
    openvino.save_model(model, file, compress_to_fp16=False)
