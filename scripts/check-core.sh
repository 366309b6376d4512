#!/usr/bin/env bash
# Checks what the libraries promise. fmnist-core: no network, broker, C compiler or autodiff among its
# dependencies. stream-inference: none of these, and no model, no image, at most 60 crates. Transports: no
# model. And, as every library here, no Unix-only code outside `cfg(unix)`; no `unsafe` but in its places;
# of most crates, that no files use each other in a circle.
set -euo pipefail
cd "$(dirname "$0")/.."

# of CRATE CARGO-TREE-OPTION…: the crates of its tree, itself included.
of() {
    cargo tree --locked -p "$1" -e normal,build --prefix none "${@:2}" | awk '{ print $1 }' | sort -u
}

# refuse CRATE PATTERN CRATES: ends with those that match, but for what only names foreign functions.
refuse() {
    local banned
    banned=$(grep -xE "$2" <<<"$3" | grep -vxE 'js-sys|web-sys|windows-sys|linux-raw-sys' || true)
    if [ -n "$banned" ]; then
        printf '%s must not depend on:\n%s\n' "$1" "$banned" >&2
        exit 1
    fi
}

c='cc|cmake|bindgen|pkg-config|vcpkg|.*-sys'
network='rdkafka|google-cloud-.*|actix-.*|hyper.*|reqwest|ureq|tonic|rustls|openssl|socket2|mio'
model='burn.*|image|png|zune-.*|safetensors|fmnist-core'
most=60

crates=$(of fmnist-core --all-features)
refuse fmnist-core "$c|$network|burn-autodiff" "$crates"
inference=$(of stream-inference --all-features)
refuse stream-inference "$c|$network|$model" "$inference"
if [ "$(wc -l <<<"$inference")" -gt "$most" ]; then
    echo "stream-inference: more than $most crates" >&2
    exit 1
fi
for transport in transport-kafka transport-pubsub; do
    refuse "$transport" "$model" "$(of "$transport" --all-features)"
done
# Words of one model have no place in the library for any, but for the default prefix of names.
words=$(grep -rniwE 'images?|fmnist|784|28x28' stream-inference/src | grep -v '^stream-inference/src/names.rs:' || true)
if [ -n "$words" ]; then
    printf 'stream-inference knows no model, and yet says:\n%s\n' "$words" >&2
    exit 1
fi

# A line that names a Unix-only module must have `cfg(unix)` within the six lines above it.
unix=$(find stream-inference/src fmnist-core/src transport-*/src service/src frontend-*/src training/src -name '*.rs' -print0 |
    xargs -0 awk '
        FNR == 1 { guarded = -10 }
        /cfg\(unix\)|cfg!\(unix\)/ { guarded = FNR }
        /std::os::(unix|fd|linux)|signal::unix|libc::|"\/(dev|proc|tmp|etc)\// && FNR - guarded > 6 {
            print FILENAME ":" FNR ": " $0
        }')
if [ -n "$unix" ]; then
    printf 'Unix-only code outside cfg(unix):\n%s\n' "$unix" >&2
    exit 1
fi

# The places of `unsafe` are those that ARCHITECTURE.md names.
unsafe=$(grep -rnwE 'unsafe +(\{|fn|impl|trait|extern)' --include='*.rs' ./*/src examples benches |
    grep -vE '^\./(fmnist-core/src/engine/isa(\.rs|/)|transport-kafka/src/wire/headers\.rs)' || true)
if [ -n "$unsafe" ]; then
    printf 'unsafe code outside its places:\n%s\n' "$unsafe" >&2
    exit 1
fi

# Files that need each other can't be read one by one.
python3 scripts/check_circles.py stream-inference fmnist-core sink-sql transport-kafka transport-pubsub \
    service frontend-actix frontend-grpc training examples benches pubsub-fake

echo "fmnist-core: $(wc -l <<<"$crates") crates, none of them network, broker, C or autodiff"
echo "stream-inference: $(wc -l <<<"$inference") crates, and no model either; no Unix-only code"
