#!/usr/bin/env bash
# Sends a message in a trace through the demo, and reads its span with OpenTelemetry's own Python
# classes, as a collector would.
#
#   scripts/check-traces.sh
#
# Needs Python 3 with venv and a package index; the packages go into .cache/traces.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

. scripts/python-packages.sh
python_packages traces grpcio==1.76.0 opentelemetry-proto==1.38.0
"$cargo" build --workspace --features fmnist-examples/otlp --example demo
python scripts/check_traces.py "${CARGO_TARGET_DIR:-target}/debug/examples/demo"
