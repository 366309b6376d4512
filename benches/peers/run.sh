#!/usr/bin/env bash
# Compares fmnist-core with other runtimes on the same weights; see README.md.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
environment="${XDG_CACHE_HOME:-$HOME/.cache}/fmnist-stream/peers"

usage() {
    cat <<'HELP'
usage: benches/peers/run.sh [--quick] [--write] [--json FILE] [--only PEER,PEER…]
       benches/peers/run.sh --training [--write] [--rounds N] [--seconds S]
       benches/peers/run.sh --startup [--write] [--rounds N]

Sets up the peers (ten minutes or more the first time), makes every peer's model from fmnist-core's
weights, checks that all compute the same, times them in turns and prints the tables.

  --quick      two short rounds: proves that everything works, measures little
  --write      also put the section `peers` into benches/RESULTS.md (whole runs only)
  --json FILE  also write every call's time
  --only LIST  only these, by the names that a wrong one lists; plain Burn is always there
  --training   time training steps beside PyTorch's instead: the section `training`, two minutes
  --startup    time whole processes beside Python's instead: the section `start-up`, a minute
  --help       this text

examples:
  benches/peers/run.sh --quick                       # does it all work?
  benches/peers/run.sh --write                       # about ten minutes, on a quiet machine
  benches/peers/run.sh --quick --only fused,onnxruntime,openvino
  FMNIST_DATA=data/fashion-mnist benches/peers/run.sh --json target/peers/raw.json

environment:
  PYTHON          the interpreter for the environment, 3.11 or later (default: python3)
  XDG_CACHE_HOME  where that environment goes, 6 GB (default: ~/.cache)
  FMNIST_DATA     the folder of the official images; without it fmnist-core looks in its usual
                  places, and draws images if they are not there, which do for f32 peers only
HELP
}

# The environment is made again when the pinned versions change.
python_environment() { set_up "$environment" "$here/requirements.txt"; }

# TensorFlow wants other versions than the other peers.
keras_environment() { set_up "$environment-keras" "$here/once/requirements.txt"; }

set_up() {
    local environment=$1 requirements=$2
    local pinned="$environment/requirements.txt"
    cmp --silent "$requirements" "$pinned" && return
    echo "setting up Python in $environment" >&2
    "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
        echo "error: expected Python 3.11 or later; set PYTHON to one" >&2
        return 1
    }
    rm -rf "$environment"
    "${PYTHON:-python3}" -m venv "$environment"
    "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$requirements" >&2
    cp "$requirements" "$pinned"
}

rust_peers() {
    echo "building the Rust peers" >&2
    cargo build --release --quiet --manifest-path "$here/rust/Cargo.toml" \
        --target-dir "$here/../../target/peers"
}

for argument in "$@"; do
    case $argument in
    -h | --help)
        usage
        exit
        ;;
    esac
done

# The one switch that keeps OpenVINO and NNCF from reporting home, on a thread beside the clock.
export CI=true
export PYTHONDONTWRITEBYTECODE=1
python_environment
ours() { cargo build --release --quiet --manifest-path "$here/../../Cargo.toml" --workspace "$@"; }
case ${1:-} in
--training)
    ours --bin training
    exec "$environment/bin/python" "$here/training.py" "${@:2}"
    ;;
--startup)
    ours --example classify
    cargo build --release --quiet --manifest-path "$here/once/least/Cargo.toml" \
        --target-dir "$here/../../target/peers"
    keras_environment
    exec "$environment/bin/python" "$here/startup.py" --keras "$environment-keras/bin/python" "${@:2}"
    ;;
esac
rust_peers
exec "$environment/bin/python" "$here/peers.py" "$@"
