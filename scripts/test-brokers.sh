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
case "${1:-all}" in
    kafka) chosen=("${kafka[@]}") ;;
    pubsub) chosen=("${pubsub[@]}") ;;
    postgres) chosen=("${postgres[@]}") ;;
    all) chosen=("${kafka[@]}" "${pubsub[@]}" "${postgres[@]}") ;;
    *) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

. scripts/test-features.sh
programs=$(test_programs "${chosen[@]}")

# each NAME…: the chosen ones of these tests, all of them, also after one that fails.
each() {
    local name program status=0
    for name in "$@"; do
        program=$(grep -E "/$name-[0-9a-f]+\$" <<<"$programs" || true)
        [ -z "$program" ] || "$program" || status=1
    done
    return "$status"
}
export -f each
export programs

status=0
case "${1:-all}" in kafka | all)
    scripts/kafka.sh --secure bash -c 'each "$@"' each "${kafka[@]}" || status=1 ;;
esac
case "${1:-all}" in pubsub | all)
    scripts/pubsub-emulator.sh bash -c 'each "$@"' each "${pubsub[@]}" || status=1 ;;
esac
each "${postgres[@]}" || status=1
exit "$status"
