#!/bin/sh
# Runs the command `promptshift` of this checkout from any directory:  sh scripts/promptshift.sh COMMAND WORDS...
# PYTHON names the interpreter (default: .venv/bin/python of the checkout when it exists, else python).
set -eu
root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python
    if [ -x "$root/.venv/bin/python" ]; then
        PYTHON=$root/.venv/bin/python
    elif ! python -c 'import importlib.util, sys; sys.exit(not importlib.util.find_spec("torch"))' 2>/dev/null; then
        echo "error: $root/.venv is not there and 'python' has no torch; run make install, or set PYTHON" >&2
        exit 2
    fi
fi
[ -d "$root/promptshift" ] || exec "$PYTHON" -m promptshift "$@" # an installed wheel's scripts/
exec "$PYTHON" "$root/promptshift" "$@"
