"""What the plain loops share: settings and the form of a result."""

import json
import os

TOPIC, RESULTS, DEAD_LETTERS = (os.environ[name] for name in ("TOPIC", "RESULTS", "DEAD_LETTERS"))
BATCH = int(os.environ["BATCH"])
LABELS = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def result(topic: str, partition: int, offset: int, probabilities) -> bytes:
    """The record that stands for one image's answer."""
    best = int(probabilities.argmax())
    prediction = {
        "index": 0,
        "class": best,
        "label": LABELS[best],
        "probability": round(float(probabilities[best]), 4),
    }
    record = {"id": f"{topic}/{partition}/{offset}", "predictions": [prediction]}
    return json.dumps(record).encode()
