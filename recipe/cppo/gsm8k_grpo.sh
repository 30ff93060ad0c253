#!/usr/bin/env bash
# GRPO on GSM8K, Qwen2.5-1.5B-Instruct, 2x80 GB: the baseline of paper Table 1.
# Any option can be given: bash recipe/cppo/gsm8k_grpo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=gsm8k \
    trainer.experiment_name=gsm8k_grpo cppo.pruning_rate=0 cppo.allocation=false "$@"
