"""What scripts/first-build.sh measures."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import re
import resource
import subprocess
import tempfile
import time

SECTION = "first build"
LEAST = "benches/peers/once/least/Cargo.toml"
RESULTS = pathlib.Path("benches/RESULTS.md")
# By row: the command after `cargo`, where its tree is, and its program.
BUILDS = {
    "demo": ("build --release --example demo", "-p fmnist-examples", "release/examples/demo"),
    "tests": ("test --workspace --no-run", None, None),
    "least": (f"build --release --manifest-path {LEAST}", f"--manifest-path {LEAST}", "release/least"),
    "kafka": ("build --release -p transport-kafka", "-p transport-kafka", None),
}
# By row: what compiles the demo again: the file, and in it the code that is exchanged.
CHANGES = {
    "kernel": ("fmnist-core/src/engine/ops/winograd.rs", "input.images()", "std::hint::black_box(input.images())"),
    "route": ("frontend-actix/src/routes/publish.rs", '"published"', '"was published"'),
    "transport": ("transport-kafka/src/intake/poll.rs", '"partitions not paused"', '"no partitions paused"'),
}
HEADS = ["build", "command", "crates linked", "crates compiled", "user+sys s", "s", "MB"]
TEXT = (
    "From nothing, in a fresh target folder with everything downloaded; the last rows build the demo again "
    "after one line was changed. Linked are the crates of the program without those that only build it; "
    "processor time is that of all processes, so that a busy machine changes it less than the time."
)


def cargo(command, target):
    """Runs it; the crates that it compiled, its processor time and its time."""
    environment = os.environ | {"CARGO_TARGET_DIR": target, "CARGO_TERM_COLOR": "never"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(["cargo", *command.split()], env=environment, stderr=subprocess.PIPE, text=True)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return len(re.findall("^ *Compiling ", done.stderr, re.M)), processor, seconds


def linked(place):
    """The crates of a package without build scripts, procedural macros and what these need."""
    edges = "tree --edges normal,no-proc-macro --prefix none"
    tree = subprocess.check_output(["cargo", *edges.split(), *place.split()], text=True)
    return len({tuple(line.split()[:2]) for line in tree.splitlines()})


def row(name, command, place, measured, program):
    compiled, processor, seconds = measured
    crates = linked(place) if place else "–"
    size = f"{program.stat().st_size / 1e6:.1f}" if program else "–"
    figures = [str(crates), str(compiled), f"{processor:,.0f}", f"{seconds:,.0f}", size]
    return dict(zip(HEADS, [name, f"`cargo {command}`", *figures]))


@contextlib.contextmanager
def exchanged(file, old, new):
    text = file.read_text()
    if old not in text:
        raise SystemExit(f"{file} has no {old} any more: name another change in scripts/first_build.py")
    file.write_text(text.replace(old, new))
    try:
        yield
    finally:
        file.write_text(text)


def measure(names):
    for name in names:
        command, place, program = BUILDS[name]
        subprocess.run(["cargo", "fetch", "--quiet"], check=True)
        if name == "least":
            subprocess.run(["cargo", "fetch", "--quiet", "--manifest-path", LEAST], check=True)
        with tempfile.TemporaryDirectory() as target:
            path = pathlib.Path(target, program) if program else None
            yield row(name, command, place, cargo(command, target), path)
            for change, (file, old, new) in CHANGES.items() if name == "demo" else ():
                with exchanged(pathlib.Path(file), old, new):
                    yield row(f"demo, a {change} changed", command, None, cargo(command, target), None)


def machine():
    info = pathlib.Path("/proc/cpuinfo")
    names = re.findall("^model name\t: (.*)", info.read_text() if info.exists() else "", re.M)
    load = f"{os.getloadavg()[0]:.2f}"
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} threads; load average before: {load}"


def document(rows, where):
    lines = [HEADS, ["---", "---", *["---:"] * (len(HEADS) - 2)], *(row.values() for row in rows)]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"## {SECTION}\n\n{TEXT}\n\n`scripts/first-build.sh`, {where}.\n\n{table}"


def write(rows, where):
    """Puts the section in its place, by the alphabet, and the same rows into the JSON."""
    path = RESULTS.with_name("results.json")
    results = json.loads(path.read_text())
    merged = {row["build"]: row for row in results.get(SECTION, {}).get("build", [])}
    merged |= {row["build"]: row for row in rows}
    rows = [{head: row[head] for head in HEADS} for row in merged.values()]
    results[SECTION] = {"build": rows}
    path.write_text(json.dumps(results, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
    first, *parts = RESULTS.read_text().split("\n## ")
    parts = [part.strip() for part in parts if part.splitlines()[0] != SECTION]
    parts.append(document(rows, where).removeprefix("## ").strip())
    RESULTS.write_text("\n\n## ".join([first.strip(), *parts]) + "\n")


def main():
    parser = argparse.ArgumentParser(prog="scripts/first-build.sh")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("rows", nargs="*", choices=[*BUILDS, []])
    arguments = parser.parse_args()
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    where = f"{now}, {machine()}"
    rows = list(measure(arguments.rows or BUILDS))
    print(document(rows, where))
    print(json.dumps(rows, indent=2, ensure_ascii=False))
    if arguments.write:
        write(rows, where)


main()
