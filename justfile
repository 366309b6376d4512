# What CI runs and what a developer types; `just` lists it.

_list:
    @just --list

# Formatting, spelling, the core's independence: seconds
quick:
    cargo fmt --all --check
    typos
    bash scripts/check-core.sh

# Clippy on everything, warnings are errors
lint:
    cargo clippy --workspace --all-targets --all-features -- -D warnings

# All tests that need nothing but cargo
test:
    cargo test --workspace

# The template, a Burn model, an ONNX file, a program on packed crates: what depends on the libraries from outside
check-outside:
    bash scripts/check-outside.sh

# The crates as a registry would get them, and a program from outside with nothing else
check-packages *ARGS:
    bash scripts/check-packages.sh {{ARGS}}

# Compiles the libraries without C for aarch64 Linux; nothing is run. `rustup target add` has its standard library
check-arm:
    cargo check --locked --target aarch64-unknown-linux-gnu -p stream-inference -p fmnist-core

# Compiles what the next three run
build-tests:
    bash -euo pipefail -c 'cargo=cargo; . scripts/test-features.sh; test_programs kafka_real examples_kafka own_real pubsub_real examples_pubsub postgres_real browser chaos'

# The tests on real brokers and on PostgreSQL, which it starts
test-brokers:
    bash scripts/test-brokers.sh

# The Open Inference Protocol with Triton's own client
test-clients:
    bash scripts/test-clients.sh

# A demo under a real Prometheus: docs/metrics.md, dashboard and alerts
check-metrics:
    bash scripts/check-metrics.sh

# The page in Chromium: live results, pictures, a broker that is away, keyboard, accessibility
test-browser:
    bash scripts/test-browser.sh

# The short fault matrix: consumers killed at every fail point, brokers and network harmed
chaos *ARGS="--short":
    bash scripts/chaos.sh {{ARGS}}

# The API documentation, broken links are errors
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# Dockerfile, compose file, Kubernetes base, without running them; messages by the reference of JSON Schema
check-deploy:
    bash scripts/check-deploy.sh
    bash scripts/check-schema.sh

# Licences, banned crates, sources
deny:
    cargo deny check bans licenses sources

# The main job: page, Kafka and consumer in one process
demo *ARGS:
    cargo run --release --example demo -- {{ARGS}}

# All benchmarks
bench:
    cargo bench -p fmnist-benches

# The official data set, verified, into the cache directory
download:
    cargo run --release -p training -- download

# Trains a model
train MODEL="base":
    cargo run --release -p training -- train --model {{MODEL}}
