#!/usr/bin/env bash
# PPO with a critic on MATH, Qwen2.5-1.5B-Instruct, 2x80 GB, 3 epochs.
# Any option can be given: bash recipe/ppo/math_ppo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=ppo_math \
    trainer.experiment_name=math_ppo "$@"
