"""The old way: kafka-python and Keras, one message after the other, offsets committed on a timer, sends
not looked at."""

import os

import keras
import numpy as np
import tensorflow
from kafka import KafkaConsumer, KafkaProducer

from messages import RESULTS, TOPIC, result


def main() -> None:
    tensorflow.config.threading.set_intra_op_parallelism_threads(int(os.environ["THREADS"]))
    model = keras.models.load_model(os.environ["MODEL"] + ".keras")
    model.predict(np.zeros((1, 28, 28, 1), np.uint8), verbose=0)
    producer = KafkaProducer(bootstrap_servers=os.environ["KAFKA"])
    consumer = KafkaConsumer(
        TOPIC,
        bootstrap_servers=os.environ["KAFKA"],
        group_id=os.environ["GROUP"],
        group_instance_id="1",
        session_timeout_ms=6000,
        auto_offset_reset="earliest",
    )
    for message in consumer:
        image = np.frombuffer(message.value, np.uint8).reshape(-1, 28, 28, 1)
        probabilities = model.predict(image, verbose=0)[0]
        value = result(message.topic, message.partition, message.offset, probabilities)
        producer.send(RESULTS, value, message.key)


if __name__ == "__main__":
    main()
