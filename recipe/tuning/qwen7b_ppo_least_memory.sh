#!/usr/bin/env bash
# PPO with a critic on GSM8K, Qwen2-7B-Instruct, 8x80 GB: in as little memory.
# Any option can be given: bash recipe/tuning/qwen7b_ppo_least_memory.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=tuning_qwen7b_ppo_least_memory \
    trainer.experiment_name=qwen7b_ppo_least_memory "$@"
