#!/usr/bin/env bash
# Trains: scripts/train.sh [overrides]. The first call sets everything up in .venv; later ones start at once.
set -euo pipefail
extra=
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
exec "$root/.venv/bin/dltrain" "$@"
