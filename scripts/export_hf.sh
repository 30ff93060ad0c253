#!/usr/bin/env bash
# A run's sharded checkpoint as a Hugging Face model:  bash scripts/export_hf.sh RUN_OR_CHECKPOINT [TARGET_FOLDER]
set -euo pipefail
exec "$(dirname "$0")/python.sh" -m cppo_verl export "$@"
