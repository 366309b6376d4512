#!/usr/bin/env bash
# The fault matrix: kills consumers at named fail points and does other harm, on the memory
# transport, a real Kafka and the Pub/Sub emulator, and proves by the audit's ledger that nothing
# is lost, and nothing doubled under exactly once.
#
#   scripts/chaos.sh --short              each fail point twice a cell, within ten minutes
#   scripts/chaos.sh --long               each fail point ten times a cell, about twenty minutes
#   scripts/chaos.sh --short --seed 7     other deaths, in another order; 1 without
#   scripts/chaos.sh --short --only kafka the tests whose name contains that
#   scripts/chaos.sh --long --report docs/delivery.md   also writes the table there, and delivery.json
#
# Needs what scripts/kafka.sh and scripts/pubsub-emulator.sh need.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
    --short | --long) ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0"; [[ ${1:-} == --help ]] && exit 0 || exit 2 ;;
esac
cargo=${CARGO:-cargo}
. scripts/test-features.sh
# Compiled before the brokers take memory.
program=$(test_programs chaos)
scripts/kafka.sh --proxied scripts/pubsub-emulator.sh "$program" "$@"
