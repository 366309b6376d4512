#!/usr/bin/env bash
# What a release would ship, in target/dist: an archive of the programs, built by the steps of deploy/Dockerfile,
# a bill of materials for each package of them (CycloneDX), and SHA-256 checksums of both.
#
#   scripts/release.sh                   builds the programs (deploy/build.sh), then packs them
#   scripts/release.sh --built FOLDER    packs programs that were built before, or came out of the image
#
# It packs what is committed. Needs cargo-cyclonedx for the bills; with cargo-auditable the programs have theirs
# inside as well. Not run by CI, but by .github/workflows/release.yml for a tag.
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
case "${1:-}" in
    '') built= ;;
    --built) built=$(cd "${2:?the folder of the programs}" && pwd) ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
command -v cargo-cyclonedx >/dev/null || {
    echo "cargo-cyclonedx is missing: cargo install --locked cargo-cyclonedx cargo-auditable" >&2
    exit 1
}

target=$(rustc --version --verbose | sed -n 's/^host: //p')
version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
name=fmnist-stream-$version-$target
dist=${CARGO_TARGET_DIR:-$root/target}/dist
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export SOURCE_DATE_EPOCH
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)

# From what is committed, in a folder of its own: bills are written beside manifests.
mkdir "$work/source" "$work/$name"
git archive HEAD | tar -x -C "$work/source"
rm -rf "$dist"
mkdir -p "$dist"

if [ -z "$built" ]; then
    built=$work/built
    (cd "$work/source" && CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} deploy/build.sh "$built")
fi

# Not static: the C libraries within (librdkafka, TLS, SQLite, zstd) are, the system's own is not. Nothing
# else may be asked of it.
for program in "$built"/*; do
    needs=$(ldd "$program" | awk '{ print $1 }' |
        grep -vE '^(linux-vdso|libc|libm|libgcc_s|libpthread|libdl|librt)\.so|/ld-linux' || true)
    if [ -n "$needs" ]; then
        printf '%s needs more than the C library:\n%s\n' "$program" "$needs" >&2
        exit 1
    fi
done
cp "$built"/* LICENSE-MIT LICENSE-APACHE README.md CHANGELOG.md config.example.json "$work/$name"
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$SOURCE_DATE_EPOCH" -c "$name" |
    gzip -n9 >"$dist/$name.tar.gz"

# Of each package that has programs in the archive: a bill with all of its crates, licences and checksums. One
# call makes all, with the features that deploy/build.sh gives to all.
(cd "$work/source" && cargo cyclonedx --quiet --format json --spec-version 1.5 --target "$target" \
    --manifest-path examples/Cargo.toml --features otlp,kafka-tls,postgres,flex,ndarray,grpc --override-filename bom)
for package in examples frontend-actix training; do
    sed "s|$work/source|/$name|g" "$work/source/$package/bom.json" >"$dist/$name-$package.cdx.json"
done

(cd "$dist" && sha256sum -- * >SHA256SUMS && cat SHA256SUMS)
glibc=$(for program in "$built"/*; do grep -aoE 'GLIBC_2\.[0-9]+' "$program"; done | sort -uV | tail -1)
echo "$dist: programs for $target with ${glibc/_/ } or later"
