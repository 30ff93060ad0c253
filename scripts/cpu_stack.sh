# Sourced by scripts that run on the cpu stack: sets it up, beside a GPU in an environment of its own. $bin is its folder.
nvidia-smi >/dev/null 2>&1 && export VENV="${VENV:-.venv-cpu}"
bash scripts/setup.sh cpu
bin="${VENV:-.venv}/bin"
