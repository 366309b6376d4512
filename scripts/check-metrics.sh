#!/usr/bin/env bash
# Runs a demo with drawn images and a real Prometheus that scrapes it, and checks what
# check_metrics.py says. Needs prometheus and promtool: the Debian package prometheus has both.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in prometheus promtool python3; do
    command -v "$tool" >/dev/null ||
        { echo "no $tool: apt-get install prometheus python3" >&2; exit 1; }
done

promtool check config deploy/prometheus/prometheus.yml
promtool test rules deploy/prometheus/alerts.test.yml
cargo build --quiet --locked --workspace --example demo

folder=$(mktemp -d)
demo='' prometheus=''
clean_up() {
    for process in $prometheus $demo; do
        kill "$process" 2>/dev/null && wait "$process" 2>/dev/null || true
    done
    rm -rf "$folder"
}
trap clean_up EXIT

# An empty folder's usual places have no data set, so the images are drawn.
program="${CARGO_TARGET_DIR:-$PWD/target}/debug/examples/demo"
(cd "$folder" && exec env -i HOME="$folder" PATH="$PATH" "$program" --port 0 >out 2>err) &
demo=$!
for _ in $(seq 600); do
    address=$(sed -n 's|^Open http://\([^,]*\),.*|\1|p' "$folder/err" 2>/dev/null || true)
    [ -z "$address" ] || break
    kill -0 "$demo" 2>/dev/null || { cat "$folder/err" >&2; exit 1; }
    sleep 0.1
done

cp deploy/prometheus/alerts.yml "$folder/"
sed "s|127.0.0.1:5000|$address|; s|_interval: 15s|_interval: 1s|" deploy/prometheus/prometheus.yml \
    >"$folder/prometheus.yml"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
prometheus --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/data" \
    --web.listen-address="127.0.0.1:$port" --log.level=error &
prometheus=$!

python3 scripts/check_metrics.py "http://$address" "http://127.0.0.1:$port" "$folder/metrics"
promtool check metrics <"$folder/metrics"
