#!/usr/bin/env bash
# Set everything up, then train GRPO and CPPO side by side on the embedded default and compare them:
#   bash scripts/quickstart.sh [--seed N | --seeds N]
# On the cpu stack, also where there is a GPU; there in an environment of its own.
set -euo pipefail
cd "$(dirname "$0")/.."
nvidia-smi >/dev/null 2>&1 && export VENV=.venv-cpu
bash scripts/setup.sh cpu
exec "${VENV:-.venv}/bin/python" -m cppo_verl.studies.quickstart --device cpu "$@"
