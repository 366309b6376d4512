"""One image through ONNX Runtime, as a short script would do it: MODEL.onnx PIXELS MEAN DEVIATION."""

import sys

import numpy as np
import onnxruntime

file, pixels, mean, deviation = sys.argv[1:]
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
image = np.fromfile(pixels, np.uint8).reshape(1, 1, 28, 28).astype(np.float32) / 255
(logits,) = session.run(None, {"images": (image - float(mean)) / float(deviation)})
print(logits[0].argmax())
