"""The section of RESULTS.md, laid out as benches/src/report.rs lays its own out."""

import argparse
import os
import platform
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from measure import F32_TOLERANCE, LEAST_AGREEMENT, Agreement, Series

TITLE = "peers"
# As /proc/cpuinfo names them; what the runtimes choose their kernels by.
VECTOR_FLAGS = (
    "avx2",
    "fma",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "asimddp",
    "i8mm",
    "sve",
)


@dataclass
class Outcome:
    """All that a run found."""

    machine: str
    images: str
    arguments: argparse.Namespace
    agreements: list[Agreement] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def raw(self) -> dict:
        """Every call of every round, for other statistics than this file's."""
        return {
            "machine": self.machine,
            "date": now(),
            "images": self.images,
            "agreements": [asdict(agreement) for agreement in self.agreements],
            "series": [asdict(series) for series in self.series],
            "skipped": self.skipped,
        }

    def section(self) -> str:
        """The section's body."""
        parts = [self.measured(), f"`benches/peers/run.sh`, {now()}, {self.machine}."]
        for model in unique(series.model for series in self.series):
            own = [series for series in self.series if series.model == model]
            parts += [speed_table(model, own), ratio_table(model, own), call_table(model, own)]
        parts += [self.agreement_note(), agreement_table(self.agreements)]
        parts += [f"Not measured: `{key}` ({reason})." for key, reason in self.skipped.items()]
        return "\n\n".join(part.rstrip() for part in parts if part) + "\n"

    def measured(self) -> str:
        arguments = self.arguments
        return (
            "Other runtimes on the same weights, one call after the other. fmnist-core is timed "
            "through `Classifier::classify`: pixels in, calibrated probabilities out. The peers do "
            "less: their inputs are normalised and bound beforehand, and their logits may stay "
            "where they are. Python's share of a call, a few microseconds, counts. Figures are "
            "those of a round's median call, median over "
            f"{arguments.rounds} rounds of {arguments.seconds} s; all rows of a model and a number "
            "of threads take turns. Ratios are within a round (least–greatest), against the peer "
            "with the best median. "
            f"Images: {self.images}."
        )

    def agreement_note(self) -> str:
        return (
            f"Against plain Burn's logits on {self.arguments.images:,} test images; a run fails "
            f"where an f32 peer's differ by more than {F32_TOLERANCE:g}, or fewer than "
            f"{LEAST_AGREEMENT:.0%} of another's classes are the same."
        )


def speed_table(model: str, series: list[Series]) -> str:
    settings = settings_of(series)
    heads = [f"{model}, µs an image", "precision", *(setting(*pair) for pair in settings)]
    rows = []
    for key in unique(one.key for one in series):
        own = {(one.batch, one.threads): one for one in series if one.key == key}
        first = next(iter(own.values()))
        figures = [grouped(own[pair].median()) if pair in own else "–" for pair in settings]
        rows.append([first.name, first.precision, *figures])
    return table(heads, rows, left=2)


def ratio_table(model: str, series: list[Series]) -> str:
    """Above 1.00: fmnist-core takes less time."""
    f32, reduced = ("f32",), ("int8", "bf16")
    ratios = [
        ("best f32 peer ÷ fused", f32, "fused"),
        ("best f32 peer ÷ int8", f32, "int8"),
        ("best int8 or bf16 peer ÷ int8", reduced, "int8"),
    ]
    if not any(one.ours for one in series):
        return ""
    rows = []
    for batch, threads in settings_of(series):
        here = [one for one in series if (one.batch, one.threads) == (batch, threads)]
        cells = [ratio(here, precisions, key) for _, precisions, key in ratios]
        rows.append([setting(batch, threads), *cells])
    return table([model, *(head for head, _, _ in ratios)], rows, left=1)


def ratio(series: list[Series], precisions: tuple[str, ...], key: str) -> str:
    ours = next((one for one in series if one.ours and one.key == key), None)
    peers = [one for one in series if not one.ours and one.precision in precisions]
    if ours is None or not peers:
        return "–"
    best = min(peers, key=Series.median)
    rounds = [theirs / own for theirs, own in zip(best.rounds(), ours.rounds(), strict=True)]
    least, most = grouped(min(rounds)), grouped(max(rounds))
    return f"{grouped(statistics.median(rounds))} ({least}–{most}), {best.name}"


def call_table(model: str, series: list[Series]) -> str:
    """The spread of single calls, which a stream with few messages feels."""
    series = [one for one in series if one.batch == 1]
    threads = unique(one.threads for one in series)
    heads = [f"{model}, µs a call of 1 image", "precision"]
    heads += [f"{count} thread{'s' * (count > 1)} p{p}" for count in threads for p in (50, 99)]
    rows = []
    for key in unique(one.key for one in series):
        own = {one.threads: one for one in series if one.key == key}
        first = next(iter(own.values()))
        figures = [
            grouped(own[count].percentile(p)) if count in own else "–"
            for count in threads
            for p in (50, 99)
        ]
        rows.append([first.name, first.precision, *figures])
    return table(heads, rows, left=2)


def agreement_table(agreements: list[Agreement]) -> str:
    """The worst over the numbers of threads."""
    models = unique(one.model for one in agreements)
    heads = ["agreement", "precision"]
    for model in models:
        heads += [f"{model}, greatest difference", f"{model}, same class"]
    rows = []
    for key in unique(one.key for one in agreements):
        own = [one for one in agreements if one.key == key]
        row = [own[0].name, own[0].precision]
        for model in models:
            mine = [one for one in own if one.model == model]
            row.append(f"{max(one.greatest_difference for one in mine):.2g}" if mine else "–")
            row.append(f"{min(one.same_class for one in mine):.2%}" if mine else "–")
        rows.append(row)
    return table(heads, rows, left=2)


def settings_of(series: list[Series]) -> list[tuple[int, int]]:
    return sorted({(one.batch, one.threads) for one in series})


def setting(batch: int, threads: int) -> str:
    return f"batch {batch}, {threads} thread{'s' * (threads > 1)}"


def table(heads: list[str], rows: list[list[str]], left: int) -> str:
    """A Markdown table; all but the first `left` columns are figures."""
    rules = ["---" if column < left else "---:" for column in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, rules, *rows))


def grouped(number: float) -> str:
    """The number with thousands grouped; below 100 with three significant digits."""
    if number < 100:
        return f"{number:.{2 if number < 10 else 1}f}"
    return f"{number:,.0f}"


def unique(values: Iterable) -> list:
    return list(dict.fromkeys(values))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def machine() -> str:
    """Processor, threads, vector extensions, and how busy the machine was before."""
    cpuinfo = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    lines = [line.partition(":") for line in cpuinfo.splitlines()]
    facts = {name.strip(): value.strip() for name, _, value in lines}
    flags = facts.get("flags", facts.get("Features", "")).split()
    extensions = ", ".join(flag for flag in VECTOR_FLAGS if flag in flags)
    processor = facts.get("model name", platform.machine())
    load = os.getloadavg()[0]
    return f"{processor}, {os.cpu_count()} threads, {extensions}; load average before: {load:.2f}"


def replaced(document: str, title: str, body: str) -> str:
    """`document` with the body of its section `title` replaced, or the section appended."""
    own = f"{title}\n\n{body}"
    first, *sections = document.split("\n## ")
    titles = [section.partition("\n")[0] for section in sections]
    if title in titles:
        sections[titles.index(title)] = own
    else:
        sections.append(own)
    return "\n\n## ".join(part.rstrip() for part in (first, *sections)) + "\n"
