#!/usr/bin/env bash
# Builds every program as the image and a release have it, stripped, into a folder: deploy/build.sh FOLDER
# Where cargo-auditable is installed, each has the list of its crates inside (`rust-audit-info` reads it).
set -euo pipefail
cd "$(dirname "$0")/.."
out=${1:?the folder for the programs}

export CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_INCREMENTAL=0
cargo=(cargo)
! command -v cargo-auditable >/dev/null || cargo=(cargo auditable)
examples=(demo kafka_consumer pubsub_consumer classify)
binaries=(frontend-actix training)
"${cargo[@]}" build --release --locked --workspace \
    --features "$(printf 'fmnist-examples/%s,' otlp kafka-tls postgres flex ndarray grpc)" \
    "${examples[@]/#/--example=}" "${binaries[@]/#/--bin=}"

release=${CARGO_TARGET_DIR:-target}/release
mkdir -p "$out"
cp "${examples[@]/#/$release/examples/}" "${binaries[@]/#/$release/}" "$out"
