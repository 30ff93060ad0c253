#!/usr/bin/env bash
# CPPO with the settings of GRPO+: keeps 4 of 8 completions.
# Any option can be given: bash recipe/grpo_plus/cppo_plus.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=grpo_plus \
    trainer.experiment_name=cppo_plus cppo.pruning_rate=0.5 "$@"
