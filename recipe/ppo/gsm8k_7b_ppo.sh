#!/usr/bin/env bash
# PPO with a critic on GSM8K, Qwen2.5-7B-Instruct, 8x80 GB, 1,024 questions a step.
# Any option can be given: bash recipe/ppo/gsm8k_7b_ppo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=ppo_gsm8k_7b \
    trainer.experiment_name=gsm8k_7b_ppo "$@"
