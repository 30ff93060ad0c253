#!/usr/bin/env bash
# Accuracy on MATH-500, greedy: of a model (actor_rollout_ref.model.path=...) or of a run (checkpoint=...).
# Any option can be given: bash recipe/cppo/math_eval.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl.evaluate --config-dir recipe/cppo/config recipe=math \
    trainer.experiment_name=math_eval actor_rollout_ref.rollout.gpu_memory_utilization=0.85 "$@"
