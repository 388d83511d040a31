#!/usr/bin/env bash
# The reliability campaigns with their full counts: kills, signals, power losses, mutated and hostile files,
# drawn hands on drawn nets. Takes some hours.
set -euo pipefail
extra=dev
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export DLTRAIN_SOAK=1 OMP_NUM_THREADS=1
.venv/bin/python -m pytest -q -s "$@" tests/promises/test_kill.py tests/promises/test_kill_ranks.py tests/promises/test_signals.py tests/runs/test_storage.py tests/promises/test_fuzz.py tests/promises/test_security.py tests/promises/test_hostile.py \
    tests/engine/steps/test_drawn_hands.py tests/engine/test_shared_ranks.py tests/training/test_resume_matrix.py
