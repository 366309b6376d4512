"""What every Python peer has in common: it speaks JSON lines and keeps its own time.

Requests on standard input, one answer a line on standard output:

    {"op": "load", "model": "base", "engine": "f32", "threads": 1, "file": …, "images": …,
     "mean": 0.286, "deviation": 0.353}   → {"ok": true, "name": …, "precision": "f32"}
    {"op": "logits", "count": 512}        → {"ok": true, "logits": [… 512 × 10 …]}
    {"op": "time", "batch": 32, "count": 512, "seconds": 0.25}
                                          → {"ok": true, "call_us": […]}

A request that fails is answered `{"ok": false, "error": …}`; a load that this machine can't do,
such as bf16 without the instructions, `{"ok": false, "unsupported": …}`. `../rust/src/lib.rs` is
the same for the Rust peers.
"""

import gc
import json
import sys
from time import perf_counter_ns

import numpy as np

LOGITS_BATCH = 256


class Unsupported(Exception):
    """This machine lacks what an engine needs."""


class Peer:
    """A runtime with one model loaded. Only `run` is timed."""

    name: str
    precision: str

    def __init__(self, load: dict):
        raise NotImplementedError

    def prepare(self, images: np.ndarray) -> object:
        """Makes inputs `[batch, 1, 28, 28]` ready, and the runtime for batches of that size."""
        raise NotImplementedError

    def bind(self, prepared: object) -> None:
        """Makes a prepared batch the next call's input."""
        self.bound = prepared

    def run(self) -> None:
        """Computes; the logits may stay where the runtime puts them."""
        raise NotImplementedError

    def logits(self) -> np.ndarray:
        """The logits of the last call, `[batch, 10]`."""
        raise NotImplementedError


class Session:
    """A loaded peer and its images."""

    def __init__(self, kind: type[Peer], load: dict):
        self.peer = kind(load)
        pixels = np.fromfile(load["images"], np.uint8).reshape(-1, 1, 28, 28)
        values = (pixels.astype(np.float32) / 255 - load["mean"]) / load["deviation"]
        self.images = np.ascontiguousarray(values, np.float32)
        self.prepared: dict[int, list] = {}

    def logits(self, count: int) -> list[float]:
        rows = []
        for start in range(0, count, LOGITS_BATCH):
            images = self.images[start : min(start + LOGITS_BATCH, count)]
            self.peer.bind(self.peer.prepare(images))
            self.peer.run()
            rows.append(np.array(self.peer.logits(), np.float32).reshape(len(images), -1))
        return np.concatenate(rows).ravel().tolist()

    def time(self, batch: int, count: int, seconds: float) -> list[float]:
        """Microseconds for each call; the first `count` images take turns."""
        if batch not in self.prepared:
            starts = range(0, count - batch + 1, batch)
            self.prepared[batch] = [
                self.peer.prepare(self.images[start : start + batch]) for start in starts
            ]
        gc.disable()
        try:
            # The others' turns took the weights out of the caches and sent the threads to sleep.
            self.timed(batch, seconds / 10)
            return self.timed(batch, seconds)
        finally:
            gc.enable()

    def timed(self, batch: int, seconds: float) -> list[float]:
        bind, run, prepared = self.peer.bind, self.peer.run, self.prepared[batch]
        call_us = []
        end = perf_counter_ns() + int(seconds * 1e9)
        while not call_us or perf_counter_ns() < end:
            bind(prepared[len(call_us) % len(prepared)])
            start = perf_counter_ns()
            run()
            call_us.append((perf_counter_ns() - start) / 1e3)
        return call_us


def serve(kind: type[Peer]) -> None:
    """Answers requests until the input ends."""
    session = None
    for line in sys.stdin:
        request = json.loads(line)
        operation = request.pop("op")
        try:
            if operation == "load":
                session = Session(kind, request)
                answer = {"name": session.peer.name, "precision": session.peer.precision}
            elif operation == "logits":
                answer = {"logits": session.logits(**request)}
            elif operation == "time":
                answer = {"call_us": session.time(**request)}
            else:
                raise ValueError(f"unknown operation {operation}")
            answer["ok"] = True
        except Unsupported as reason:
            answer = {"ok": False, "unsupported": str(reason)}
        except Exception as error:  # Whatever it is, the driver names the peer and stops.
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)
