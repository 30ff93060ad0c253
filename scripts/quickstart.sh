#!/usr/bin/env bash
# Set everything up, then train GRPO and CPPO side by side on the embedded default and compare them:
#   bash scripts/quickstart.sh [--seed N | --seeds N]
# On the cpu stack, also where there is a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
source scripts/cpu_stack.sh
exec "$bin/python" -m cppo_verl.studies.quickstart --device cpu "$@"
