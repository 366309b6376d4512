#!/usr/bin/env bash
# Checks the Open Inference Protocol with Triton's own Python clients, for HTTP and for gRPC, against the demo.
#
#   scripts/test-clients.sh
#   scripts/test-clients.sh mlserver    with MLServer's, too, which takes 330 MB
#   scripts/test-clients.sh beam        and the pipeline of examples/beam, which takes 520 MB
#
# Needs Python 3 with venv and a package index; the clients go into .cache/clients, .cache/mlserver, .cache/beam.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
requirements=('tritonclient[grpc,http]==2.73.0')
case "${1:-}" in
    "") ;;
    mlserver) requirements+=('mlserver==1.7.1') ;;
    beam) requirements+=(-r examples/beam/requirements.txt) ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
# Their servers are on this machine, whatever proxy the package index needs.
export no_proxy=127.0.0.1

. scripts/python-packages.sh
python_packages "${1:-clients}" "${requirements[@]}"

# The tests of frontend-grpc turn the feature on in all of the workspace, so that nothing is compiled once more.
"$cargo" build --workspace --example demo
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
port=$(free_port)
FMNIST_SERVER__GRPC_PORT=$(free_port)
export FMNIST_SERVER__GRPC_PORT
log=$(mktemp)
"${CARGO_TARGET_DIR:-target}/debug/examples/demo" --port "$port" >"$log" 2>&1 &
demo=$!
stop() {
    kill "$demo" 2>/dev/null || true
    wait "$demo" 2>/dev/null || true
    rm -f "$log"
}
trap stop EXIT

python scripts/triton_client.py "127.0.0.1:$port" || { cat "$log" >&2; exit 1; }
python scripts/triton_grpc.py "127.0.0.1:$FMNIST_SERVER__GRPC_PORT" "127.0.0.1:$port" || { cat "$log" >&2; exit 1; }
case "${1:-}" in
    mlserver) python scripts/mlserver_client.py "127.0.0.1:$port" ;;
    beam) python scripts/beam_example.py "127.0.0.1:$FMNIST_SERVER__GRPC_PORT" "127.0.0.1:$port" ;;
esac
