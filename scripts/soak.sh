#!/usr/bin/env bash
# A steady load on a consumer behind a real Kafka: resident memory, lag and file descriptors, sampled
# every five seconds, must not grow from the second quarter of the time to the last, and nothing may
# be lost or doubled.
#
#   scripts/soak.sh 60                          an hour at 200 messages a second
#   scripts/soak.sh 15 --rate 500 --folder DIR  figures and plot into DIR instead of target/soak
#
# Needs what scripts/kafka.sh needs, and Linux's /proc.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-}
[[ $minutes =~ ^[0-9]+$ ]] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
shift
cargo=${CARGO:-cargo}
. scripts/test-features.sh
$cargo test --workspace --features "$features" --test chaos --no-run
scripts/kafka.sh \
    "$cargo" test --workspace --features "$features" --test chaos -- --soak "$minutes" "$@"
