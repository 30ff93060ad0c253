#!/usr/bin/env bash
# GRPO+ on MATH, Qwen2.5-Math-1.5B, 2x80 GB: upper clip 0.28, no KL term, and a schedule that ends at 0.8 of the peak.
# Any option can be given: bash recipe/grpo_plus/grpo_plus.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=grpo_plus \
    trainer.experiment_name=grpo_plus cppo.pruning_rate=0 cppo.allocation=false "$@"
