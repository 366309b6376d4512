#!/usr/bin/env bash
# Starts Google's Pub/Sub emulator on a free port, runs a command, stops the emulator.
#
#   scripts/pubsub-emulator.sh COMMAND [ARG ...]   the command finds it in PUBSUB_EMULATOR_HOST
#
# Needs Java 17 and the emulator: the jar named by PUBSUB_EMULATOR_JAR, or the one of the Google
# Cloud SDK.
set -euo pipefail
[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# The jar is run directly, because gcloud's wrapper leaves its Java child behind when it is killed.
find_jar() {
    local root jar
    if [ -n "${PUBSUB_EMULATOR_JAR:-}" ]; then
        [ -f "$PUBSUB_EMULATOR_JAR" ] || { echo "pubsub-emulator.sh: PUBSUB_EMULATOR_JAR is $PUBSUB_EMULATOR_JAR, no such file" >&2; return 1; }
        echo "$PUBSUB_EMULATOR_JAR"
        return
    fi
    root=$(gcloud info --format='value(installation.sdk_root)' 2>/dev/null) || root=
    for jar in "${root:-/usr/lib/google-cloud-sdk}"/platform/pubsub-emulator/lib/cloud-pubsub-emulator-*-all.jar; do
        [ -f "$jar" ] && { echo "$jar"; return; }
    done
    cat >&2 <<'HELP'
pubsub-emulator.sh: the Pub/Sub emulator was not found. Install it with one of
    gcloud components install pubsub-emulator
    sudo apt-get install google-cloud-cli-pubsub-emulator
(Google Cloud SDK: https://cloud.google.com/sdk/docs/install), or name its jar in PUBSUB_EMULATOR_JAR.
HELP
    return 1
}

command -v java >/dev/null || { echo "pubsub-emulator.sh: java is missing; install a JDK 17" >&2; exit 1; }
jar=$(find_jar)
port=$(free_port)
log=$(mktemp)
emulator=
stop() {
    [ -z "$emulator" ] || { kill "$emulator" 2>/dev/null; wait "$emulator" 2>/dev/null; } || true
    rm -f "$log"
}
trap stop EXIT
trap 'exit 130' INT TERM

java -Xmx512m -XX:+UseSerialGC -jar "$jar" --host=127.0.0.1 --port="$port" >"$log" 2>&1 &
emulator=$!
for _ in $(seq 240); do
    if ! kill -0 "$emulator" 2>/dev/null; then
        tail -n 30 "$log" >&2
        echo "pubsub-emulator.sh: the emulator ended before it was up" >&2
        exit 1
    fi
    grep -q 'Server started' "$log" && break
    sleep 0.25
done
grep -q 'Server started' "$log" || { echo "pubsub-emulator.sh: the emulator was not up within a minute" >&2; exit 1; }
echo "pubsub-emulator.sh: Pub/Sub emulator on 127.0.0.1:$port" >&2
PUBSUB_EMULATOR_HOST=127.0.0.1:$port "$@"
