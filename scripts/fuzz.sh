#!/usr/bin/env bash
# Feeds the ways in from outside with bytes that libFuzzer makes up, from the committed corpus on.
#
#   scripts/fuzz.sh [SECONDS] [TARGET …]   60 s a target; without targets, all but `configuration`
#
# `configuration` compiles the front end with its brokers' clients, so it has to be named. New inputs
# are kept in target/fuzz/found; a crash is written to target/fuzz/crashes, and belongs into
# fuzz/corpus once it is mended. Needs g++ for libFuzzer; the compiler is the stable one, because
# coverage alone needs no nightly flag.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly folder=$PWD/target/fuzz
seconds=${1:-60}
[[ $seconds =~ ^[0-9]+$ ]] || { sed -n '2,9s/^# \{0,1\}//p' "$0"; exit 2; }
shift || true
targets=("$@")
((${#targets[@]})) || targets=(request cloud_event inference_protocol idx picture weights)
features=()
[[ " ${targets[*]} " != *" configuration "* ]] || features=(--features configuration)

coverage=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Ccodegen-units=1
    --cfg=fuzzing
)
host=$(rustc -vV | sed -n 's/^host: //p')
bins=("${targets[@]/#/--bin=}")
# With --target, build scripts and macros go without the flags.
RUSTFLAGS=${coverage[*]} cargo build --locked --release --manifest-path fuzz/Cargo.toml \
    --target "$host" --target-dir "$folder" ${features[@]+"${features[@]}"} "${bins[@]}"

for target in "${targets[@]}"; do
    echo "=== $target, $seconds s"
    mkdir -p "$folder/found/$target" "$folder/crashes/$target"
    "$folder/$host/release/$target" "$folder/found/$target" "fuzz/corpus/$target" \
        -max_total_time="$seconds" -max_len=65536 -timeout=10 -rss_limit_mb=1024 \
        -malloc_limit_mb=256 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$folder/crashes/$target/"
done
