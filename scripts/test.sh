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
exec .venv/bin/python -m pytest -n 2 --dist loadfile "$@" # half the time; most tests wait for processes
