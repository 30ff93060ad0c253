#!/usr/bin/env bash
# The warm start: Qwen2.5-Math-1.5B on worked solutions in the answer format, 2x80 GB; writes outputs/grpo_plus/sft/model.
# Any option can be given: bash recipe/grpo_plus/sft.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl sft sft=grpo_plus "$@"
