#!/usr/bin/env bash
# Checks what fmnist-core promises: no network, broker, C compiler or autodiff among its
# dependencies, and, as every library here, no Unix-only code outside `cfg(unix)`.
set -euo pipefail
cd "$(dirname "$0")/.."

crates=$(cargo tree --locked -p fmnist-core -e normal,build --all-features --prefix none |
    awk '{ print $1 }' | sort -u)

banned=$(grep -xE 'cc|cmake|bindgen|pkg-config|vcpkg|.*-sys|burn-autodiff|rdkafka|google-cloud-.*|actix-.*|hyper.*|reqwest|ureq|tonic|rustls|openssl|socket2|mio' <<<"$crates" |
    grep -vxE 'js-sys|web-sys|windows-sys|linux-raw-sys' || true)
if [ -n "$banned" ]; then
    printf 'fmnist-core must not depend on:\n%s\n' "$banned" >&2
    exit 1
fi

# A line that names a Unix-only module must have `cfg(unix)` within the six lines above it.
unix=$(find fmnist-core/src transport-*/src frontend-*/src training/src -name '*.rs' -print0 |
    xargs -0 awk '
        FNR == 1 { guarded = -10 }
        /cfg\(unix\)|cfg!\(unix\)/ { guarded = FNR }
        /std::os::(unix|fd|linux)|signal::unix|libc::|"\/(dev|proc|tmp|etc)\// && FNR - guarded > 6 {
            print FILENAME ":" FNR ": " $0
        }')
if [ -n "$unix" ]; then
    printf 'Unix-only code outside cfg(unix):\n%s\n' "$unix" >&2
    exit 1
fi

echo "fmnist-core: $(wc -l <<<"$crates") crates, none of them network, broker, C or autodiff; no Unix-only code"
