"""NVIDIA's Triton, by PyTriton, around ONNX Runtime; its dynamic batcher puts requests together."""

import os
import sys

import numpy as np
from onnx_model import Model
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig


def main() -> None:
    http_port, grpc_port = map(int, sys.argv[1:])
    model = Model()

    @batch
    def infer(image: np.ndarray) -> dict[str, np.ndarray]:
        return {"probabilities": model(image)}

    config = TritonConfig(
        http_address="127.0.0.1",
        http_port=http_port,
        grpc_address="127.0.0.1",
        grpc_port=grpc_port,
        allow_metrics=False,
    )
    with Triton(config=config) as triton:
        triton.bind(
            "base",
            infer_func=infer,
            inputs=[Tensor(name="image", dtype=np.uint8, shape=(1, 28, 28))],
            outputs=[Tensor(name="probabilities", dtype=np.float32, shape=(10,))],
            config=ModelConfig(max_batch_size=int(os.environ["BATCH"]), batcher=DynamicBatcher()),
        )
        triton.serve()


if __name__ == "__main__":
    main()
