#!/usr/bin/env bash
# Builds and tests what depends on these libraries from outside: the template examples/outside, an ONNX file, a
# Burn model, and a program on the libraries as packages. Each of the first has a lock file of its own, which must hold
# (`cargo update --workspace` there after a change of the libraries' dependencies). They share one target
# folder, so that what they have in common compiles once; CARGO_TARGET_DIR names another.
# With ORT_DYLIB_PATH, the library of an ONNX Runtime, that is tested beside tract.
set -euo pipefail
cd "$(dirname "$0")/.."

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
check() {
    (cd "examples/$1" && cargo fmt --check && cargo test --locked "${@:2}")
}
check outside
check onnx ${ORT_DYLIB_PATH:+--features ort}
check burn
scripts/check-packages.sh
