#!/usr/bin/env bash
# Writes frontend-grpc/src/wire from frontend-grpc/proto, without protoc (protox and prost-build, in a package from
# outside): scripts/generate-grpc.sh [--check]
# With --check it writes nothing, and says whether what is committed is what would be written.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    '' | --check) ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/generate
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
cargo run --quiet --locked --manifest-path frontend-grpc/generate/Cargo.toml -- "$out"
if [ "${1:-}" = --check ]; then
    diff -r "$out" frontend-grpc/src/wire
else
    cp "$out"/*.rs frontend-grpc/src/wire
fi
