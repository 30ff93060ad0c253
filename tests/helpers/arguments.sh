#!/bin/sh
# In place of a Python: shows what it is called with, an argument per line.
printf '%s\n' "$@"
