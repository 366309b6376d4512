#!/usr/bin/env bash
# Measures deployment architectures on one Kafka: the model embedded, remote, in the JVM, in Python; see README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
made="${XDG_CACHE_HOME:-$HOME/.cache}/fmnist-stream/architectures"
lines="$repository/target/architectures/lines.jsonl"

usage() {
    cat <<'HELP'
usage: benches/architectures/run.sh [--short] [--only NAME,NAME…] [--write] [--lines FILE] [OPTION…]
       benches/architectures/run.sh --report FILE [--write]

Sets up the peers (ten minutes or more the first time), starts a Kafka, checks that every peer answers
the same classes as this library, tries its settings, measures all in turns, lets things go wrong, stops
all, and prints the tables. A peer that fails is named, and the others go on.

  --short       one short round, settings not tried: proves that everything works, measures nothing
  --only LIST   only these, by the names that a wrong one lists
  --write       also put tables and plot into docs/architectures.md (whole runs only)
  --lines FILE  where the JSON lines go (default: target/architectures/lines.jsonl; logs stand beside)
  --report FILE only write the tables of such lines
  --help        this text

options, with their defaults:
  --rounds 3  --seconds 20 (a backlog's and a load's)  --away 10 (the model, in the faults)  --seed 1
  --threads N (of a model, wherever it is: all cores)  --untuned (the first setting of each)
  --tried FILE (lines of an earlier run, whose trial of the settings holds)

examples:
  benches/architectures/run.sh --short                        # does it all work?
  benches/architectures/run.sh --short --only embedded,python # one minute
  benches/architectures/run.sh --write                        # two hours, on a quiet machine

environment:
  PYTHON          the interpreter of the Python peers, 3.11 or later (default: python3)
  PYTHON_TRITON   Triton's: the one whose libpython the system has, up to 3.12 (default: /usr/bin/python3)
  XDG_CACHE_HOME  where environments, jars and models go, 4 GB (default: ~/.cache)
  FMNIST_DATA     the folder of the official images; without it drawn ones do
  ARCHITECTURES_PROGRAMS  a folder that has this library's programs already; else cargo builds them
HELP
}

# An environment is made again when the pinned versions change. Python's own files count as its runtime.
set_up() {
    local name=$1 python=${2:-${PYTHON:-python3}} requirements="$here/python/requirements-$1.txt"
    cmp --silent "$requirements" "$made/$name/requirements.txt" && return
    echo "setting up $name" >&2
    rm -rf "${made:?}/$name"
    "$python" -m venv "$made/$name"
    "$made/$name/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >&2
    "$made/$name/bin/python" - >"$made/$name/runtime-bytes" <<'PYTHON'
import pathlib, sys, sysconfig

library = pathlib.Path(sysconfig.get_path("stdlib"))
unused = {"site-packages", "test", "idlelib", "tkinter", "ensurepip"}
unused |= {folder.name for folder in library.glob("config-*")}
files = [file for file in library.rglob("*") if not unused & set(file.relative_to(library).parts)]
files += [pathlib.Path(sys.executable).resolve(), *library.parent.glob("libpython*.so.1.0")]
print(sum(file.lstat().st_size for file in files if file.is_file()))
PYTHON
    cp "$requirements" "$made/$name/requirements.txt"
}

java_peers() {
    local java="$made/java"
    if ! cmp --silent "$here/java/pom.xml" "$java/pom.xml"; then
        echo "setting up Java" >&2
        rm -rf "$java" && mkdir -p "$java"
        mvn -q -B -f "$here/java/pom.xml" dependency:copy-dependencies -DoutputDirectory="$java/libs"
        jlink --strip-debug --no-header-files --no-man-pages --output "$java/jre" --add-modules \
            java.base,java.logging,java.management,java.naming,java.security.jgss,java.security.sasl,java.sql,jdk.unsupported
        cp "$here/java/pom.xml" "$java/pom.xml"
    fi
    javac -cp "$java/libs/*" -d "$java/classes" "$here"/java/*.java
}

# What can't be set up is named; its peer fails when its turn comes.
peers() {
    mkdir -p "$made"
    export PYTHONDONTWRITEBYTECODE=1
    local name
    for name in python mlserver kserve keras; do
        set_up "$name" || echo "not set up: $name" >&2
    done
    set_up triton "${PYTHON_TRITON:-/usr/bin/python3}" || echo "not set up: triton" >&2
    java_peers || echo "not set up: Java's peers" >&2
    local weights="$repository/fmnist-core/weights/base.safetensors"
    "$made/python/bin/python" "$here/python/export_onnx.py" "$weights" "$made/base.onnx"
    "$made/keras/bin/python" "$here/python/export_keras.py" "$weights" "$made/base.keras" 2>/dev/null ||
        echo "not set up: the Keras model" >&2
}

programs() {
    if [ -z "${ARCHITECTURES_PROGRAMS:-}" ]; then
        echo "building this library's programs" >&2
        # Each by itself, so that a program has no more features than its users get.
        cargo build --release --quiet --manifest-path "$here/pipeline/Cargo.toml"
        cargo build --release --quiet --features grpc \
            --manifest-path "$repository/frontend-actix/Cargo.toml"
        cargo build --release --quiet --manifest-path "$repository/benches/Cargo.toml" --example architectures
        ARCHITECTURES_PROGRAMS="${CARGO_TARGET_DIR:-$repository/target}/release"
    fi
    driver="$ARCHITECTURES_PROGRAMS/examples/architectures"
}

options=()
report=(report)
only_report=
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit ;;
    --short) options+=(--rounds 1 --seconds 2 --away 2 --untuned) ;;
    --write) report+=(--write) ;;
    --lines) lines=$2 && shift ;;
    --report) only_report=yes lines=$2 && shift ;;
    --untuned) options+=("$1") ;;
    --only | --rounds | --seconds | --away | --seed | --threads | --tried) options+=("$1" "$2") && shift ;;
    *) usage >&2 && exit 2 ;;
    esac
    shift
done

programs
if [ -z "$only_report" ]; then
    peers
    mkdir -p "$(dirname "$lines")"
    "$repository/scripts/kafka.sh" "$driver" measure ${options[@]+"${options[@]}"} \
        --folder "$made" --programs "$ARCHITECTURES_PROGRAMS" --lines "$lines"
fi
"$driver" "${report[@]}" "$lines"
