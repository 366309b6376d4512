#!/usr/bin/env bash
# Has the reference implementation of JSON Schema judge what a pipeline publishes, both configurations
# and the schemas themselves. Needs Python; builds the tests if they are not built.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/python-packages.sh
python_packages check-schema check-jsonschema==0.39.0

messages=$(mktemp -d)
trap 'rm -rf "$messages"' EXIT
FMNIST_TEST_MESSAGES=$messages cargo test --workspace --test checks -- schema::
check-jsonschema --check-metaschema docs/schema/*.json
check-jsonschema --schemafile docs/schema/result.json "$messages"/result-*.json
check-jsonschema --schemafile docs/schema/dead-letter-headers.json \
    "$messages"/dead-letter-headers-*.json
check-jsonschema --schemafile docs/schema/config.json \
    config.example.json deploy/kustomize/base/config.json
