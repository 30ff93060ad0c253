#!/usr/bin/env bash
# Set everything up and run every test:  bash scripts/test.sh [pytest options]
# The tests run on the cpu stack, also where there is a GPU; there in an environment of their own.
set -euo pipefail
cd "$(dirname "$0")/.."
nvidia-smi >/dev/null 2>&1 && export VENV=.venv-cpu
bash scripts/setup.sh cpu
bin="${VENV:-.venv}/bin"
"$bin/ruff" check .
"$bin/ruff" format --check --quiet .
command -v chromium chromium-browser google-chrome >/dev/null ||
    echo "no Chromium: tests of report.html are skipped (on Debian: apt-get install chromium)"
# Two at a time: most of an end-to-end test is imports, one process after another.
exec "$bin/python" -m pytest -n 2 --dist loadscope "$@"
