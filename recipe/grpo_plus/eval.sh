#!/usr/bin/env bash
# Accuracy on the four benchmarks: of a model (model=HUB_ID or FOLDER) or of a run's checkpoint (model=RUN_FOLDER).
# Any option can be given: bash recipe/grpo_plus/eval.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl evaluate 'benchmarks=[gsm8k,math500,amc23,olympiadbench]' \
    model=Qwen/Qwen2.5-Math-1.5B "$@"
