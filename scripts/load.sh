#!/usr/bin/env bash
# Loads the demo's HTTP server, first with eight clients of the Open Inference Protocol, which are all to
# be answered, then with twice the uploads that it can classify, with pages open; says how many were
# answered, how late, and how the rest was refused.
#
#   scripts/load.sh [SECONDS] [PROFILE]     60 seconds, release
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60} profile=${2:-release}
[[ $seconds =~ ^[0-9]+$ ]] || { sed -n '2,6s/^# \{0,1\}//p' "$0"; exit 2; }
cargo=${CARGO:-cargo}
$cargo build --workspace --profile "$profile" --example demo --example http_load
[[ $profile == dev ]] && folder=debug || folder=$profile

log=$(mktemp)
"target/$folder/examples/demo" --port 0 >/dev/null 2>"$log" &
demo=$!
trap 'kill "$demo" 2>/dev/null; rm -f "$log"' EXIT
for _ in $(seq 240); do
    address=$(sed -n "s|^Open http://\([0-9.:]*\).*|\1|p" "$log")
    [[ -z $address ]] || break
    kill -0 "$demo" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.25
done
"target/$folder/examples/http_load" --address "$address" --pid "$demo" --seconds "$seconds"
