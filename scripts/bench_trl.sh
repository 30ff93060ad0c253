#!/usr/bin/env bash
# TRL's GRPOTrainer on the model and the questions of a benchmark, in an environment of its own:
#   cppo-verl bench --out OUT && bash scripts/bench_trl.sh OUT
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${TRL_VENV:-.venv-trl}
if [ ! -e "$venv/installed" ]; then
    "${VENV:-.venv}/bin/python" -m venv --clear "$venv"
    pip=("$venv/bin/python" -m pip --disable-pip-version-check install --quiet)
    "${pip[@]}" --no-deps --retries 1 "torch==2.13.0+cpu" --extra-index-url https://download.pytorch.org/whl/cpu ||
        "${pip[@]}" --no-deps "torch==2.13.0"
    "${pip[@]}" "trl==1.16.0" "torch==2.13.0" pandas pyarrow
    touch "$venv/installed"
fi
exec "$venv/bin/python" scripts/bench_trl.py "$@"
