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
kafka=(kafka_real examples_kafka own_real)
pubsub=(pubsub_real examples_pubsub)
postgres=(postgres_real)
others=()
case "${1:-all}" in
    kafka) chosen=("${kafka[@]}") ;;
    pubsub) chosen=("${pubsub[@]}") ;;
    postgres) chosen=("${postgres[@]}") ;;
    all) chosen=("${kafka[@]}" "${pubsub[@]}" "${postgres[@]}") ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

. scripts/test-features.sh
programs=$(test_programs "${chosen[@]}")

# each NAME…: these tests, all of them, also after one that fails.
each() {
    local name program status=0
    for name in "$@"; do
        program=$(grep -E "/$name-[0-9a-f]+\$" <<<"$programs") && "$program" || status=1
    done
    return "$status"
}
export -f each
export programs

# At once: most of the time they wait for sessions, leases and members. Each one's log comes in one piece.
logs=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$logs"' EXIT
status=0
case "${1:-all}" in pubsub | all)
    scripts/pubsub-emulator.sh bash -c 'each "$@"' each "${pubsub[@]}" >"$logs/pubsub" 2>&1 & others+=($!) ;;
esac
case "${1:-all}" in postgres | all)
    each "${postgres[@]}" >"$logs/postgres" 2>&1 & others+=($!) ;;
esac
case "${1:-all}" in kafka | all)
    scripts/kafka.sh --secure bash -c 'each "$@"' each "${kafka[@]}" || status=1 ;;
esac
for other in ${others[@]+"${others[@]}"}; do
    wait "$other" || status=1
done
cat "$logs"/* 2>/dev/null || true
exit "$status"
