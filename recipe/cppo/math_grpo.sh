#!/usr/bin/env bash
# GRPO on MATH, Qwen2.5-7B-Instruct, 4x80 GB: the baseline of paper Table 2.
# Any option can be given: bash recipe/cppo/math_grpo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=math \
    trainer.experiment_name=math_grpo cppo.pruning_rate=0 cppo.allocation=false "$@"
