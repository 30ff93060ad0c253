#!/usr/bin/env bash
# CPPO on GSM8K, Qwen2.5-1.5B-Instruct, 2x80 GB (paper Table 1): keeps 4 of 16 completions.
# Any option can be given: bash recipe/cppo/gsm8k_cppo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=gsm8k \
    trainer.experiment_name=gsm8k_cppo cppo.pruning_rate=0.75 "$@"
