#!/usr/bin/env bash
# PPO with a critic on GSM8K, Qwen2.5-0.5B-Instruct, 8x80 GB.
# Any option can be given: bash recipe/tuning/qwen05b_ppo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=tuning_qwen05b_ppo \
    trainer.experiment_name=qwen05b_ppo "$@"
