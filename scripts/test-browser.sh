#!/usr/bin/env bash
# Tests the page in a headless Chromium, with axe-core for its accessibility.
#
#   scripts/test-browser.sh [FILTER…]
#
# Needs chromium and chromedriver (Debian: chromium-driver), and npm, which fetches axe-core into
# .cache/browser. FMNIST_SCREENSHOTS=FOLDER keeps a picture of every state.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo=${CARGO:-cargo}
axe_version=4.14.1

command -v chromedriver >/dev/null || {
    echo "chromedriver is missing: apt-get install chromium-driver" >&2
    exit 1
}
axe=.cache/browser/axe-core-$axe_version/axe.min.js
if [ ! -f "$axe" ]; then
    mkdir -p "$(dirname "$axe")"
    archive=$(cd .cache/browser && npm pack --silent "axe-core@$axe_version")
    tar -xzf ".cache/browser/$archive" -C "$(dirname "$axe")" --strip-components 1 package/axe.min.js
fi
FMNIST_AXE=$PWD/$axe
export FMNIST_AXE

. scripts/test-features.sh
program=$(test_programs browser)
"$program" --test-threads 2 "$@"
