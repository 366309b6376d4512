#!/usr/bin/env bash
# Runs the tests that need real brokers: starts Apache Kafka and Google's Pub/Sub emulator, stops them.
#
#   scripts/test-brokers.sh            both
#   scripts/test-brokers.sh kafka      Kafka alone
#   scripts/test-brokers.sh pubsub     Pub/Sub alone
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

. scripts/broker-features.sh
tests() { "$cargo" test --workspace --features "$features" --no-fail-fast "$@"; }
# The programs that the examples' tests start.
"$cargo" build --workspace --features "$features" --examples
export -f tests
export cargo features

kafka() { scripts/kafka.sh --secure bash -c 'tests --test kafka_real --test examples_kafka'; }
pubsub() { scripts/pubsub-emulator.sh bash -c 'tests --test pubsub_real --test examples_pubsub'; }

case "${1:-both}" in
    kafka) kafka ;;
    pubsub) pubsub ;;
    both) kafka; pubsub ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
