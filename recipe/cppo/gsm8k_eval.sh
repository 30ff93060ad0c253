#!/usr/bin/env bash
# Accuracy on the GSM8K test set, greedy: of a model (actor_rollout_ref.model.path=...) or of a run (checkpoint=...).
# Any option can be given: bash recipe/cppo/gsm8k_eval.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl.evaluate --config-dir recipe/cppo/config recipe=gsm8k \
    trainer.experiment_name=gsm8k_eval actor_rollout_ref.rollout.gpu_memory_utilization=0.85 "$@"
