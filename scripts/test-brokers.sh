#!/usr/bin/env bash
# Runs the tests that need real brokers: starts Apache Kafka and Google's Pub/Sub emulator, stops them.
#
#   scripts/test-brokers.sh            both
#   scripts/test-brokers.sh kafka      Kafka alone
#   scripts/test-brokers.sh pubsub     Pub/Sub alone
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

kafka() {
    scripts/kafka.sh "$cargo" test --workspace --features transport-kafka/real-broker --test kafka_real
}

pubsub() {
    scripts/pubsub-emulator.sh "$cargo" test --workspace --features transport-pubsub/real-broker --test pubsub_real
}

case "${1:-both}" in
    kafka) kafka ;;
    pubsub) pubsub ;;
    both) kafka; pubsub ;;
    *) sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
