#!/usr/bin/env bash
# Set everything up, then train GRPO and CPPO side by side on the embedded default and compare them.
set -euo pipefail
cd "$(dirname "$0")/.."
bash scripts/setup.sh
exec .venv/bin/python -m cppo_verl.studies.quickstart "$@"
