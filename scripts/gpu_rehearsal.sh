#!/usr/bin/env bash
# What a run on GPUs does up to the first call of a GPU, on a machine without one:
#   bash scripts/gpu_rehearsal.sh [pytest options]
# Makes .venv-gpu (or $VENV) with the GPU stack, 11 GiB; needs gcc and nm (binutils). Ends with a list, by file and line, of
# the GPU code that no test reaches: neither these nor the tests of the usual suite that look at GPUs.
set -euo pipefail
cd "$(dirname "$0")/.."
export VENV=${VENV:-.venv-gpu}
bash scripts/setup.sh gpu
python=$VENV/bin/python

# vLLM's extensions are linked against the driver's library, which comes with a GPU. In its place one in which every call
# answers CUDA_ERROR_NO_DEVICE.
stub=$(realpath "$VENV")/libcuda
if [ ! -e "$stub/libcuda.so.1" ]; then
    mkdir -p "$stub"
    find "$VENV"/lib/python3*/site-packages/vllm -name '*.so' -exec nm -D --undefined-only {} + |
        awk '$2 ~ /^cu[A-Z]/ { sub(/@.*/, "", $2); print "int " $2 "(void) { return 100; }" }' |
        sort -u >"$stub/libcuda.c"
    gcc -shared -fPIC -Wl,-soname,libcuda.so.1 -o "$stub/libcuda.so.1" "$stub/libcuda.c"
fi
export LD_LIBRARY_PATH="$stub${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}" CUDA_VISIBLE_DEVICES=""

export COVERAGE_FILE=$VENV/reached COVERAGE_CORE=sysmon
verl=$("$python" -c 'from importlib.util import find_spec; print(*find_spec("verl").submodule_search_locations)')
reach=("$python" -m coverage run --append --source="cppo_verl,$verl" -m pytest -n 0)
"$python" -m coverage erase
failed=0
CPPO_GPU_REHEARSAL=1 "${reach[@]}" -m gpu_rehearsal tests/gpu_rehearsal "$@" || failed=1
"${reach[@]}" --quiet tests/{preflight,sft,evaluation,bench,studies,runs,weight_sync} || failed=1

echo "GPU code that no test reaches, also in $VENV/unreached.txt:"
"$python" tests/gpu_rehearsal/unreached.py "$COVERAGE_FILE" | tee "$VENV/unreached.txt"
exit "$failed"
