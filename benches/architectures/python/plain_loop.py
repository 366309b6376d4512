"""confluent-kafka and ONNX Runtime, as many would write it: a batch at a time, each step after the other."""

import os

import numpy as np
from confluent_kafka import Consumer, Producer

from messages import BATCH, RESULTS, TOPIC, result
from onnx_model import Model


def main() -> None:
    model = Model()
    servers = {"bootstrap.servers": os.environ["KAFKA"]}
    producer = Producer(servers | {"enable.idempotence": True})
    consumer = Consumer(
        servers
        | {
            "group.id": os.environ["GROUP"],
            "group.instance.id": "1",
            "session.timeout.ms": 6000,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
        }
    )
    consumer.subscribe([TOPIC])
    while True:
        messages = consumer.consume(BATCH, timeout=0.1)
        messages = [message for message in messages if not message.error()]
        if not messages:
            continue
        pixels = np.frombuffer(b"".join(message.value() for message in messages), np.uint8)
        for message, probabilities in zip(messages, model(pixels), strict=True):
            value = result(message.topic(), message.partition(), message.offset(), probabilities)
            producer.produce(RESULTS, value, message.key())
        producer.flush()
        consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
