# Sourced by train.sh and test.sh: makes .venv beside this folder and installs the project in it, once.
# usage: extra=dev (or empty); source setup.sh; pip_options: more for pip

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
project="$root${extra:+[$extra]}"
stamp="$root/.venv/.installed${extra:+-$extra}"
wanted=$(cat "$root/pyproject.toml" "$root/constraints.txt" | sha256sum)

find_python() {
    local name
    for name in ${PYTHON:-} python3 python python3.14 python3.13 python3.12 python3.11; do
        if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$name"
            return
        fi
    done
    echo "dltrain needs Python 3.11 or newer; install it, or name it: PYTHON=/path/to/python3 $0" >&2
    return 1
}

install() {
    [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return # another call finished it meanwhile
    local python
    python=$(find_python)
    if [ ! -x "$root/.venv/bin/pip" ]; then
        echo "making $root/.venv with $($python --version)" >&2
        "$python" -m venv "$root/.venv" || {
            rm -rf "$root/.venv"
            echo "making a virtual environment failed; on Debian or Ubuntu: apt install python3-venv" >&2
            return 1
        }
    fi
    echo "installing dltrain and what it needs (PyTorch is about 5 GB; once)" >&2
    "$root/.venv/bin/pip" install --quiet --disable-pip-version-check ${pip_options:-} \
        --constraint "$root/constraints.txt" --editable "$project" >&2
    echo "$wanted" | tee "$stamp" >"$root/.venv/.installed" # whoever has the extra has the rest
}

if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    if command -v flock >/dev/null; then # two calls at once: the second waits for the first
        exec 9>"$root/.venv.lock"
        flock 9
        install
        exec 9>&-
    else
        install
    fi
fi
