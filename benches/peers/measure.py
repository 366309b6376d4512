"""Rounds over all peers, and the proof that they compute the same."""

import statistics
import time
from dataclasses import dataclass, field

import numpy as np

from process import PeerFailed, PeerProcess

F32_TOLERANCE = 1e-3
LEAST_AGREEMENT = 0.98
# The images that take turns when the clock runs: 1.6 MB as f32.
TIMED_IMAGES = 512
# Thread pools that spin for their next task have stopped by then.
PAUSE_SECONDS = 0.02


@dataclass
class Series:
    """What one contender took in one setting: calls of every round, in microseconds."""

    model: str
    threads: int
    batch: int
    key: str
    name: str
    precision: str
    ours: bool
    calls: list[list[float]] = field(default_factory=list)

    def rounds(self) -> list[float]:
        """Microseconds an image, one figure a round: that of its median call."""
        return [statistics.median(calls) / self.batch for calls in self.calls]

    def median(self) -> float:
        return statistics.median(self.rounds())

    def percentile(self, percent: float) -> float:
        """Microseconds that `percent` of all calls do not exceed (nearest rank)."""
        calls = sorted(call for calls in self.calls for call in calls)
        return calls[max(int(np.ceil(percent / 100 * len(calls))), 1) - 1]


@dataclass(frozen=True)
class Agreement:
    """How near a contender's logits are to plain Burn's."""

    model: str
    key: str
    name: str
    precision: str
    greatest_difference: float
    same_class: float


def check(model: str, peers: list[PeerProcess], reference_key: str, count: int) -> list[Agreement]:
    """Compares every peer's logits with the reference's; one that strays ends the run."""
    logits = {peer.contender.key: logits_of(peer, count) for peer in peers}
    reference = logits[reference_key]
    agreements = []
    for peer in peers:
        found = logits[peer.contender.key]
        agreement = Agreement(
            model,
            peer.contender.key,
            peer.name,
            peer.precision,
            float(np.abs(found - reference).max()),
            float((found.argmax(1) == reference.argmax(1)).mean()),
        )
        require(agreement)
        agreements.append(agreement)
    return agreements


def logits_of(peer: PeerProcess, count: int) -> np.ndarray:
    logits = np.array(peer.ask(op="logits", count=count)["logits"], np.float32)
    if logits.size % count or not np.isfinite(logits).all():
        raise PeerFailed(f"{peer.contender.key}: expected finite logits for {count} images")
    return logits.reshape(count, -1)


def require(agreement: Agreement) -> None:
    if agreement.precision == "f32":
        agrees = agreement.greatest_difference <= F32_TOLERANCE
    else:
        agrees = agreement.same_class >= LEAST_AGREEMENT
    if not agrees:
        raise PeerFailed(
            f"{agreement.key} on {agreement.model} is not what plain Burn computes: logits differ "
            f"by {agreement.greatest_difference:.2g}, {agreement.same_class:.2%} of classes agree"
        )


def interleaved(
    model: str, threads: int, batch: int, peers: list[PeerProcess], rounds: int, seconds: float
) -> list[Series]:
    """Times all peers in turns, so that a slow minute hits all of them."""
    series = {
        peer.contender.key: Series(
            model,
            threads,
            batch,
            peer.contender.key,
            peer.name,
            peer.precision,
            peer.contender.ours,
        )
        for peer in peers
    }
    for turn in range(rounds):
        # Nobody always follows the same neighbour's heat.
        first = turn % len(peers)
        for peer in peers[first:] + peers[:first]:
            answer = peer.ask(op="time", batch=batch, count=TIMED_IMAGES, seconds=seconds)
            series[peer.contender.key].calls.append(answer["call_us"])
            time.sleep(PAUSE_SECONDS)
    return list(series.values())
