#!/usr/bin/env bash
# PPO with a critic on GSM8K, Qwen2.5-0.5B-Instruct, one 24 GB GPU, 15 epochs.
# Any option can be given: bash recipe/ppo/gsm8k_ppo.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl train recipe=ppo_gsm8k \
    trainer.experiment_name=gsm8k_ppo "$@"
