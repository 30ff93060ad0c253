#!/usr/bin/env bash
# GRPO on MATH, Qwen2.5-Math-1.5B, 2x80 GB: clip 0.2, a KL term, and a schedule that ends at 0.1 of the peak.
# Any option can be given: bash recipe/grpo_plus/grpo_baseline.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=grpo_plus_baseline \
    trainer.experiment_name=grpo_baseline cppo.pruning_rate=0 cppo.allocation=false "$@"
