#!/usr/bin/env bash
# The tests as on other processors: scripts/test_processors.sh [pytest arguments]. One machine stands for several by
# the kernels that its libraries may use (torch, oneDNN, MKL) and by the number of threads. Six times scripts/test.sh,
# an hour on two cores.
set -euo pipefail
extra=dev
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
cd "$root"
settings=(
    ATEN_CPU_CAPABILITY=avx2
    ATEN_CPU_CAPABILITY=default
    ONEDNN_MAX_CPU_ISA=AVX2
    MKL_ENABLE_INSTRUCTIONS=SSE4_2
    OMP_NUM_THREADS=1
    OMP_NUM_THREADS=2
)
failed=()
for setting in "${settings[@]}"; do
    echo "== $setting"
    env OMP_NUM_THREADS=1 "$setting" .venv/bin/python -m pytest -q -n 2 --dist loadfile "$@" || failed+=("$setting")
done
if [ ${#failed[@]} -gt 0 ]; then
    echo "failed under: ${failed[*]}" >&2
    exit 1
fi
echo "passed under each of: ${settings[*]}"
