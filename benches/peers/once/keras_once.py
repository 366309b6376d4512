"""One image through Keras, as the old consumer did it: MODEL.keras PIXELS.

With --make WEIGHTS MODEL.keras it writes the notebook's network with fmnist-core's weights first.
"""

import sys

import keras
import numpy as np


def make(weights: str, file: str) -> None:
    from safetensors.numpy import load_file

    tensors = load_file(weights)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(100, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    # Burn flattens by channel, row, column; Keras by row, column, channel.
    hidden = tensors["hidden.weight"].reshape(32, 13 * 13, 100).transpose(1, 0, 2)
    model.set_weights(
        [
            tensors["conv.weight"].transpose(2, 3, 1, 0),
            tensors["conv.bias"],
            hidden.reshape(-1, 100),
            tensors["hidden.bias"],
            tensors["output.weight"],
            tensors["output.bias"],
        ]
    )
    model.save(file)


def main() -> None:
    if sys.argv[1] == "--make":
        make(*sys.argv[2:])
        return
    file, pixels = sys.argv[1:]
    model = keras.models.load_model(file)
    image = np.fromfile(pixels, np.uint8).reshape(1, 28, 28, 1).astype(np.float32) / 255
    print(model.predict(image, verbose=0)[0].argmax())


if __name__ == "__main__":
    main()
