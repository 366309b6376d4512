#!/usr/bin/env bash
# Lines of Rust without blanks, comments and tests, by package and in all: scripts/count-lines.sh [REVISION …]
# Of the working tree, or of each revision.
set -euo pipefail
cd "$(dirname "$0")/.."

count() {
    (cd "$1" && find . -name '*.rs' -not -path './target/*' -not -path '*/tests/*' -not -name tests.rs \
        -not -path '*/benches/*' -not -path './fuzz/*' -not -path './test-kit/*' -not -path '*/simulation*' | sort | xargs awk '
        FNR == 1 { is_test = 0; split(FILENAME, place, "/"); package = place[2] }
        # Tests stand at the end of a file.
        /^#\[cfg\((all\()?test/ { held = 1; next }
        held && /^(pub(\([a-z]+\))? )?mod [a-z_]+ \{/ { is_test = 1 }
        { held = 0 }
        is_test || /^[ \t]*$/ || /^[ \t]*\/\// { next }
        { lines[package]++; all++ }
        END {
            for (package in lines) printf "%7d %s\n", lines[package], package | "sort -k2"
            close("sort -k2"); printf "%7d in all\n", all
        }')
}

if (($# == 0)); then
    count .
fi
for revision in "$@"; do
    folder=$(mktemp -d)
    git archive "$revision" | tar -x -C "$folder"
    echo "$revision"
    count "$folder"
    rm -r "$folder"
done
