#!/usr/bin/env bash
# Accuracy on MATH-500: of a model (model=HUB_ID or FOLDER) or of a run's checkpoint (model=outputs/cppo/NAME).
# Any option can be given: bash recipe/cppo/math_eval.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl evaluate 'benchmarks=[math500]' model=Qwen/Qwen2.5-7B-Instruct "$@"
