#!/usr/bin/env bash
# Lints, checks types and tests: scripts/test.sh [pytest arguments]. Sets everything up in .venv at the first call.
set -euo pipefail
extra=dev
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export PYTHONDONTWRITEBYTECODE= # where it is set, each of a thousand processes would compile the source anew
.venv/bin/ruff check .
.venv/bin/ruff format --check .
.venv/bin/pyrefly check --summarize-errors
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # threads of two processes on two cores would wait for each other
# Three share the tests, also on two cores: one often waits, for processes or a browser that it has started.
exec .venv/bin/python -m pytest -n 3 --dist loadfile "$@"
