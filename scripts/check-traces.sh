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
requirements='grpcio==1.76.0 opentelemetry-proto==1.38.0'

environment=.cache/traces
if ! grep -qsxF "$requirements" "$environment/.complete"; then
    python3 -m venv "$environment"
    # shellcheck disable=SC2086
    "$environment/bin/pip" install --quiet --disable-pip-version-check $requirements
    echo "$requirements" > "$environment/.complete"
fi
"$cargo" build --workspace --features fmnist-examples/otlp --example demo
"$environment/bin/python" scripts/check_traces.py "${CARGO_TARGET_DIR:-target}/debug/examples/demo"
