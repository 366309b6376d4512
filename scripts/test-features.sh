# Sourced by all that tests what `cargo test` leaves out: one selection, so that it is compiled once.
features=transport-kafka/real-broker,transport-pubsub/real-broker,fmnist-examples/real-broker,fmnist-examples/fail-points,fmnist-examples/browser,own-models/real-broker,sink-sql/real-database

# test_programs TEST…: compiles these tests and the examples that they start, and prints the tests'
# programs. Run by themselves these need no build lock, so that CI can compile something else beside
# them. Its callers read what it prints, and there `set -e` does not hold. FMNIST_COMPILED=yes takes them as the last call of `test_programs` for all of them left them.
test_programs() {
    local test list=${CARGO_TARGET_DIR:-target}/test-programs
    if [ -z "${FMNIST_COMPILED:-}" ]; then
        "$cargo" build --workspace --features "$features" --examples || return
        mkdir -p "$list"
        "$cargo" test --workspace --features "$features" --no-run \
            --message-format json-render-diagnostics $(printf -- '--test %s ' "$@") |
            python3 -c '
import json, pathlib, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("executable") and message["target"]["kind"] == ["test"]:
        pathlib.Path(sys.argv[1], message["target"]["name"]).write_text(message["executable"] + "\n")
' "$list" || return
    fi
    for test in "$@"; do
        cat "$list/$test" || return
    done
}
