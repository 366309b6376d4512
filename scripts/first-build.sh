#!/usr/bin/env bash
# Builds from nothing what somebody builds first, each in a fresh target folder, and then the demo again
# after a change of a kernel, of a route and of a transport: crates, processor time, time and size, as a
# table and as JSON. Downloads come first and do not count.
#
#   scripts/first-build.sh [--write] [ROW …]     rows: demo tests least kafka; by default all
#
# `--write` puts the rows into benches/RESULTS.md and results.json, in place of those that are there. TMPDIR
# needs 8 GB for all rows, 2 GB for `demo`.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 scripts/first_build.py "$@"
