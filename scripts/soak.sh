#!/usr/bin/env bash
# The reliability campaigns with their full counts: kills, signals, power losses, mutated files. Takes about an hour.
set -euo pipefail
extra=dev
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export DLTRAIN_SOAK=1 OMP_NUM_THREADS=1
.venv/bin/python -m pytest -q -s "$@" tests/test_kill.py tests/test_storage.py tests/test_fuzz.py tests/test_security.py
