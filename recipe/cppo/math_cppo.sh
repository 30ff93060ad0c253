#!/usr/bin/env bash
# CPPO on MATH, Qwen2.5-7B-Instruct, 4x80 GB (paper Table 2): keeps 8 of 16 completions.
# Any option can be given: bash recipe/cppo/math_cppo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=math \
    trainer.experiment_name=math_cppo cppo.pruning_rate=0.5 "$@"
