#!/usr/bin/env bash
# Accuracy on the GSM8K test set: of a model (model=HUB_ID or FOLDER) or of a run's checkpoint (model=outputs/cppo/NAME).
# Any option can be given: bash recipe/cppo/gsm8k_eval.sh key=value ...   (device=cpu: without a GPU)
set -euo pipefail
cd "$(dirname "$0")/../.."
exec scripts/python.sh -m cppo_verl evaluate 'benchmarks=[gsm8k]' "$@"
