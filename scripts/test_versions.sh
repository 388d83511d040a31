#!/usr/bin/env bash
# The tests with the oldest and the newest torch that pyproject.toml allows, or with one of them:
# scripts/test_versions.sh [oldest|newest] [pytest arguments]. Each gets an environment beside .venv (5 GB).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
floor() { sed -n "s/^ *\"$1>=\([0-9.]*\)\".*/\1/p" pyproject.toml; }
others=$(mktemp)
trap 'rm -f "$others"' EXIT
grep -vE '^(torch|torchvision|triton|nvidia-.*|cuda-.*)==' constraints.txt >"$others" # those that torch chooses itself
only=
case "${1:-}" in oldest | newest) only=$1 && shift ;; esac
failed=()
for pair in "oldest torch==$(floor torch).* torchvision==$(floor torchvision).*" "newest torch torchvision"; do
    read -r name torch torchvision <<<"$pair"
    [ -z "$only" ] || [ "$only" = "$name" ] || continue
    python=".venv-$name/bin/python"
    [ -x "$python" ] || "${PYTHON:-python3}" -m venv ".venv-$name"
    "$python" -m pip install --quiet --disable-pip-version-check --upgrade --constraint "$others" \
        --editable ".[dev]" "$torch" "$torchvision"
    echo "== $("$python" -c 'import torch, torchvision; print("torch", torch.__version__, "torchvision", torchvision.__version__)')"
    OMP_NUM_THREADS=1 "$python" -m pytest -q -n 2 --dist loadfile "$@" || failed+=("$name")
done
[ ${#failed[@]} = 0 ] || { echo "failed with the ${failed[*]}" >&2; exit 1; }
