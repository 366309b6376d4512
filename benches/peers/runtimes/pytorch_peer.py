"""PyTorch, eager, channels last: both networks as modules on folded parameters."""

import numpy as np
import safetensors.torch
import torch
from torch import nn
from torch.nn.functional import max_pool2d, relu

from serve import Peer, serve


class Dense(nn.Linear):
    """A dense layer whose parameters are stored as input, output."""

    def _load_from_state_dict(self, state, prefix, *rest):
        state[f"{prefix}weight"] = state[f"{prefix}weight"].T.contiguous()
        super()._load_from_state_dict(state, prefix, *rest)


class Notebook(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 32, 3)
        self.hidden = Dense(32 * 13 * 13, 100)
        self.output = Dense(100, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = max_pool2d(relu(self.conv(images)), 2)
        return self.output(relu(self.hidden(x.flatten(1))))


class Block(nn.Module):
    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.first = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.second = nn.Conv2d(width_out, width_out, 3, padding=1)
        self.skip = nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.second(relu(self.first(x))) + self.skip(x))


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 16, 3, padding=1)
        self.blocks = nn.ModuleList([Block(16, 32), Block(32, 48), Block(48, 32)])
        self.output = Dense(32 * 3 * 3, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = relu(self.stem(images))
        for block in self.blocks:
            x = block(max_pool2d(x, 2))
        return self.output(x.flatten(1))


class PyTorch(Peer):
    def __init__(self, load: dict):
        torch.set_num_threads(load["threads"])
        torch.set_num_interop_threads(1)
        module = {"base": Base, "notebook": Notebook}[load["model"]]()
        module.load_state_dict(safetensors.torch.load_file(load["file"]))
        self.module = module.eval().to(memory_format=torch.channels_last)
        self.name = f"PyTorch {torch.__version__.split('+')[0]}"
        self.precision = load["engine"]

    def prepare(self, images: np.ndarray) -> object:
        return torch.from_numpy(images).contiguous(memory_format=torch.channels_last)

    def run(self) -> None:
        with torch.inference_mode():
            self.result = self.module(self.bound)

    def logits(self) -> np.ndarray:
        return self.result.numpy()


if __name__ == "__main__":
    serve(PyTorch)
