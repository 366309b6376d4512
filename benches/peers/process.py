"""A peer as the driver sees it: a long-lived process that answers JSON lines."""

import json
import os
import queue
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

# Loading and compiling a model for four batch sizes on a busy machine takes its time.
LONGEST_ANSWER_SECONDS = 300


class PeerFailed(Exception):
    """A peer answered with an error, or not at all; the message names it."""


class Unsupported(Exception):
    """The machine lacks what a peer needs."""


@dataclass(frozen=True)
class Contender:
    """One row of the tables: a runtime at a precision."""

    key: str  # For --only.
    command: tuple[str, ...]
    engine: str
    file: str  # Ending of its model's file.
    ours: bool = False


class PeerProcess:
    """A contender with one model loaded, on a number of threads."""

    def __init__(self, contender: Contender, load: dict, threads: int, log: Path):
        self.contender = contender
        # Each runtime is told its threads in its own way; these are for those that read the
        # environment, some of which do so before main.
        counts = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | {name: str(threads) for name in counts}
        self.log = log
        self.process = subprocess.Popen(
            contender.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log.open("w"),
            text=True,
            env=environment,
        )
        self.answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        try:
            answer = self.ask(op="load", engine=contender.engine, threads=threads, **load)
        except (PeerFailed, Unsupported):
            self.stop()
            raise
        self.name, self.precision = answer["name"], answer["precision"]

    def ask(self, **request) -> dict:
        """Asks and waits for the answer."""
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            answer = json.loads(self.answers.get(timeout=LONGEST_ANSWER_SECONDS))
        except (OSError, queue.Empty, json.JSONDecodeError) as error:
            raise PeerFailed(
                f"{self.contender.key}: no answer to {request}; see {self.log}"
            ) from error
        if reason := answer.get("unsupported"):
            raise Unsupported(reason)
        if not answer["ok"]:
            raise PeerFailed(f"{self.contender.key}: {answer['error']} (asked for {request})")
        return answer

    def stop(self) -> None:
        """Ends the process: a peer ends with its input."""
        self.process.stdin.close()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def _listen(self) -> None:
        for line in self.process.stdout:
            self.answers.put(line)
        self.answers.put("the process ended")
