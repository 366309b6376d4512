"""confluent-kafka and ONNX Runtime, by someone who has read the documentation: nothing is waited for that
need not be, the offset follows the delivery reports, and what can't be read becomes a dead letter."""

import os
from collections import deque

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from messages import BATCH, DEAD_LETTERS, RESULTS, TOPIC, result
from onnx_model import PIXELS, Model

LONGEST_QUEUE = 8


class Batch:
    """Messages whose offsets may be stored once all of their answers are confirmed."""

    def __init__(self, messages: list) -> None:
        self.unconfirmed = len(messages)
        self.next: dict[int, int] = {}
        for message in messages:
            self.next[message.partition()] = message.offset() + 1

    def confirmed(self, error, _message) -> None:
        if error:
            raise RuntimeError(f"an answer was not taken: {error}")
        self.unconfirmed -= 1

    def offsets(self) -> list[TopicPartition]:
        return [TopicPartition(TOPIC, partition, offset) for partition, offset in self.next.items()]


def main() -> None:
    model = Model()
    servers = {"bootstrap.servers": os.environ["KAFKA"]}
    producer = Producer(servers | {"enable.idempotence": True, "linger.ms": 0})
    consumer = Consumer(
        servers
        | {
            "group.id": os.environ["GROUP"],
            "group.instance.id": "1",
            "session.timeout.ms": 6000,
            "partition.assignment.strategy": "cooperative-sticky",
            "auto.offset.reset": "earliest",
            "enable.auto.offset.store": False,
            "auto.commit.interval.ms": 1000,
        }
    )
    consumer.subscribe([TOPIC])
    waiting: deque[Batch] = deque()
    while True:
        # The first that comes and what has come with it; nothing waits for a full batch.
        messages = consumer.consume(1, timeout=0.005)
        messages += consumer.consume(BATCH - 1, timeout=0) if messages else []
        messages = [message for message in messages if not message.error()]
        if messages:
            batch = Batch(messages)
            waiting.append(batch)
            answer(messages, model, producer, batch)
        producer.poll(0.01 if len(waiting) > LONGEST_QUEUE else 0)
        while waiting and waiting[0].unconfirmed == 0:
            store(consumer, waiting.popleft())


def store(consumer: Consumer, batch: Batch) -> None:
    try:
        consumer.store_offsets(offsets=batch.offsets())
    except KafkaException as error:
        # A partition was revoked: its next owner answers what was not committed again.
        if error.args[0].code() != KafkaError._STATE:
            raise


def answer(messages: list, model: Model, producer: Producer, batch: Batch) -> None:
    images = [message for message in messages if len(message.value()) == PIXELS]
    for message in messages:
        if len(message.value()) != PIXELS:
            letter = (message.value(), message.key())
            producer.produce(DEAD_LETTERS, *letter, on_delivery=batch.confirmed)
    if not images:
        return
    pixels = np.frombuffer(b"".join(message.value() for message in images), np.uint8)
    for message, probabilities in zip(images, model(pixels), strict=True):
        value = result(message.topic(), message.partition(), message.offset(), probabilities)
        producer.produce(RESULTS, value, message.key(), on_delivery=batch.confirmed)


if __name__ == "__main__":
    main()
