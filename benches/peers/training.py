"""Training speed of `base` beside PyTorch: the same batch and threads, in turns.

fmnist-core's side is `training speed`: augmentation, normalisation, forward, backward, AdamW and the
average of the weights. PyTorch does less: its batches are normalised and on the device beforehand,
and nothing is augmented; it computes channels last, with AdamW's fused kernel.
"""

import argparse
import statistics
import subprocess
import time
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, dropout, max_pool2d, relu

from report import machine, now, replaced

BATCH = 128
REPOSITORY = Path(__file__).resolve().parents[2]
RESULTS = REPOSITORY / "benches" / "RESULTS.md"


class ConvNorm(nn.Sequential):
    def __init__(self, width_in: int, width_out: int, side: int):
        convolution = nn.Conv2d(width_in, width_out, side, padding=side // 2, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(width_out))


class Block(nn.Module):
    def __init__(self, width_in: int, width_out: int):
        super().__init__()
        self.first = ConvNorm(width_in, width_out, 3)
        self.second = ConvNorm(width_out, width_out, 3)
        self.skip = ConvNorm(width_in, width_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return relu(self.second(relu(self.first(x))) + self.skip(x))


class Base(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = ConvNorm(1, 16, 3)
        self.blocks = nn.ModuleList([Block(16, 32), Block(32, 48), Block(48, 32)])
        self.output = nn.Linear(32 * 3 * 3, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = relu(self.stem(images))
        for block in self.blocks:
            x = block(max_pool2d(x, 2))
        return self.output(dropout(x.flatten(1), 0.2))


class PyTorch:
    """One training run, a few seconds at a time."""

    def __init__(self):
        self.module = Base().train().to(memory_format=torch.channels_last)
        parameters = list(self.module.parameters())
        self.optimiser = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.05, fused=True)
        self.average = [parameter.detach().clone() for parameter in parameters]
        images = torch.randn(16 * BATCH, 1, 28, 28)
        self.images = images.contiguous(memory_format=torch.channels_last).split(BATCH)
        self.labels = torch.randint(10, (16 * BATCH,)).split(BATCH)

    def step(self, index: int) -> None:
        logits = self.module(self.images[index % 16])
        loss = cross_entropy(logits, self.labels[index % 16])
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, list(self.module.parameters()), 0.001)

    def images_per_second(self, threads: int, seconds: float) -> float:
        torch.set_num_threads(threads)
        for index in range(3):
            self.step(index)
        start, steps = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds:
            self.step(steps)
            steps += 1
        return steps * BATCH / elapsed


def training(threads: int, seconds: float, *options: str) -> float:
    command = [REPOSITORY / "target/release/training", "speed", "--model", "base", f"--batch={BATCH}"]
    command += [f"--threads={threads}", f"--seconds={seconds}", *options]
    answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(answer.split()[0])


def main() -> None:
    arguments = argparse.ArgumentParser(prog="run.sh --training")
    arguments.add_argument("--write", action="store_true", help="into benches/RESULTS.md")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=float, default=4.0, help="of each turn")
    options = arguments.parse_args()

    torch.manual_seed(1)
    peer = PyTorch()
    name = f"PyTorch {torch.__version__.split('+')[0]}"
    lines = [
        f"Training `base`, batch {BATCH}: images/s, median over {options.rounds} rounds of"
        f" {options.seconds:g} s in turns, and the ratio within a round (least–greatest). PyTorch's"
        " side leaves out augmentation and normalisation.",
        "",
        f"`benches/peers/run.sh --training`, {now()}, {machine()}.",
        "",
        f"| threads | fast engine | Burn's autodiff on Flex | {name} | fast engine ÷ Flex |"
        f" fast engine ÷ {name} |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for threads in (1, 2):
        rounds = []
        for _ in range(options.rounds):
            fused = training(threads, options.seconds)
            flex = training(threads, options.seconds, "--burn")
            rounds.append((fused, flex, peer.images_per_second(threads, options.seconds)))
        figures = [f"{statistics.median(column):,.0f}" for column in zip(*rounds)]
        for other in (1, 2):
            ratios = sorted(row[0] / row[other] for row in rounds)
            figures.append(f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}–{ratios[-1]:.2f})")
        lines.append(f"| {threads} | " + " | ".join(figures) + " |")
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        RESULTS.write_text(replaced(RESULTS.read_text(), "training", text))


if __name__ == "__main__":
    main()
