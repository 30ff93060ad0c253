#!/usr/bin/env bash
# What a run on GPUs does up to the first call of a GPU, on a machine without one:
#   bash scripts/gpu_rehearsal.sh [pytest options]
# Makes .venv-gpu (or $VENV) with the GPU stack, 11 GiB; needs gcc and binutils. Ends with a list of the GPU code that
# neither these tests nor the usual suite's reach.
set -euo pipefail
cd "$(dirname "$0")/.."
export VENV=${VENV:-.venv-gpu}
bash scripts/setup.sh gpu
python="$VENV/bin/python"

# vLLM's extensions are linked against the driver's library, which comes with a GPU. In its place one of which every
# call answers "no device", as the real one would here.
stub=$(realpath "$VENV")/libcuda
if [ ! -e "$stub/libcuda.so.1" ]; then
    mkdir -p "$stub"
    find "$VENV"/lib/python3*/site-packages/vllm -name '*.so' -exec nm -D --undefined-only {} + 2>/dev/null |
        awk '$2 ~ /^cu[A-Z]/ { sub(/@.*/, "", $2); print "int " $2 "(void) { return 100; }" }' |
        sort -u >"$stub/libcuda.c"
    gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stub/libcuda.so.1" "$stub/libcuda.c"
fi
export LD_LIBRARY_PATH="$stub${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export CUDA_VISIBLE_DEVICES="" COVERAGE_FILE="$VENV/reached"

sources=$("$python" -c 'import importlib.util as u; print(*(u.find_spec(n).submodule_search_locations[0] for n in ("cppo_verl", "verl")), sep=",")')
covered=("$python" -m coverage run --source="$sources")
CPPO_GPU_REHEARSAL=1 "${covered[@]}" -m pytest -m gpu_rehearsal tests/gpu_rehearsal "$@"
