#!/usr/bin/env bash
# Runs the tests that need real servers: starts Apache Kafka, Google's Pub/Sub emulator and PostgreSQL,
# and stops them.
#
#   scripts/test-brokers.sh            all
#   scripts/test-brokers.sh kafka      Kafka alone
#   scripts/test-brokers.sh pubsub     Pub/Sub alone
#   scripts/test-brokers.sh postgres   PostgreSQL alone; its tests start it themselves
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}

. scripts/test-features.sh
tests() { "$cargo" test --workspace --features "$features" --no-fail-fast "$@"; }
# The programs that the examples' tests start.
"$cargo" build --workspace --features "$features" --examples
export -f tests
export cargo features

kafka() { scripts/kafka.sh --secure bash -c 'tests --test kafka_real --test examples_kafka'; }
pubsub() { scripts/pubsub-emulator.sh bash -c 'tests --test pubsub_real --test examples_pubsub'; }

postgres() { tests --test postgres_real; }

case "${1:-all}" in
    kafka) kafka ;;
    pubsub) pubsub ;;
    postgres) postgres ;;
    all) kafka; pubsub; postgres ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
