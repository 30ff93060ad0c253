#!/usr/bin/env bash
# The project's Python: $PYTHON, else the one scripts/setup.sh made, else the one on the path.
root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    [ -x "$root/.venv/bin/python" ] && PYTHON="$root/.venv/bin/python"
fi
exec "$PYTHON" "$@"
