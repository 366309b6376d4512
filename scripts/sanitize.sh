#!/usr/bin/env bash
# Runs the fast engine's tests under AddressSanitizer, which sees what its unsafe code reads and writes.
#
#   scripts/sanitize.sh [TEST …]     by default all tests of `engine`, on every kernel that is here
#
# By hand, not in CI: it needs nightly Rust and compiles Burn once more. FMNIST_DATA names the official
# images for the tests that use them.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(rustc -vV | sed -n 's/^host: //p')
RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --locked -p fmnist-core --lib \
    --target "$target" --target-dir target/sanitize -- "${@:-engine}"
