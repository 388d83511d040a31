#!/usr/bin/env bash
# The tests as on a system that is not Linux: scripts/test_systems.sh [pytest arguments]. tests/other_system.py hides
# from dltrain what Windows lacks, and imitates its habits. Left out are tests that themselves need Linux: those that
# fork, kill, make links and pipes or fill disks, and those that start dltrain as a command.
set -euo pipefail
extra=dev
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
export DLTRAIN_TEST_SYSTEM=other PYTHONPATH="tests${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
[ $# -gt 0 ] || set -- tests/errors/test_system.py tests/promises/test_core.py tests/trained tests/training \
    tests/sweeps tests/runs/test_checkpoint.py tests/runs/test_reading.py tests/data/test_loaders.py
exec .venv/bin/python -m pytest -p other_system -n 0 -o faulthandler_timeout=300 "$@"
