#!/usr/bin/env bash
# Set everything up and run every test:  bash scripts/test.sh [pytest options]
# The tests run on the cpu stack, also where there is a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/cpu_stack.sh
"$bin/ruff" check .
"$bin/ruff" format --check --quiet .
command -v chromium chromium-browser google-chrome >/dev/null ||
    echo "no Chromium: tests of report.html are skipped (on Debian: apt-get install chromium)"
# Two at a time: most of an end-to-end test is imports, one process after another.
exec "$bin/python" -m pytest -n 2 --dist loadscope "$@"
