#!/usr/bin/env bash
# Check every installed package for known vulnerabilities:  bash scripts/audit.sh
# pip-audit asks pypi.org, which must be reachable; a package that it cannot ask about fails the check.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# A local version (torch 2.13.0+cpu) is known there under its public one.
"${VENV:-.venv}/bin/python" -m pip freeze --exclude-editable | sed 's/+[a-z0-9.]*$//' >"$work/installed.txt"
"${VENV:-.venv}/bin/python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --disable-pip-version-check pip-audit
"$work/venv/bin/pip-audit" --strict --no-deps --disable-pip -r "$work/installed.txt"
