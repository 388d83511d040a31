"""Standard streams that are full, closed, without a reader, or can't show a sign: the text is lost, the work is not."""

import json
import os
import pty
import subprocess
import sys

import pytest

START = "import os, sys; from dltrain.errors import streams; streams.make_unfailing(); "
SMALL = "data=iris trainer.epochs=1 trainer.tensorboard=false trainer.save_every=0"
TALKATIVE = r"""
import logging, sys, warnings
import numpy as np
from torch.utils.data import Dataset

class Rows(Dataset):
    classes = ["a", "b"]
    def __len__(self):
        return 60
    def __getitem__(self, i):
        print("→ ł", flush=True)
        print("→ ł", file=sys.stderr, flush=True)
        logging.error("→")
        warnings.warn("→")
        return np.full(3, i % 2, np.float32), i % 2
"""


def shell(folder, line, **environment):
    """Exit code, output and errors of a line of bash; `dltrain` and `python` stand for what is tested."""
    python, dltrain = f'{sys.executable} "$@"', 'python -m dltrain.commands.cli "$@"'
    line = f"python() {{ {python}; }}; dltrain() {{ {dltrain}; }}; set -o pipefail; {line}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, env=os.environ | environment)
    return done.returncode, done.stdout, done.stderr


def ended(folder):
    """How many runs in a folder ended by themselves."""
    return [json.loads(p.read_text())["status"] for p in folder.glob("runs/**/summary.json")].count("done")


# -- training ----------------------------------------------------------------------------------------------------


def test_a_run_without_streams(tmp_path):
    code, _, _ = shell(tmp_path, f"dltrain {SMALL} <&- >&- 2>&-")
    assert (code, ended(tmp_path)) == (0, 1)


def test_a_sweep_whose_text_finds_no_room(tmp_path):
    code, _, err = shell(tmp_path, f"dltrain {SMALL} seeds=2 >/dev/full")
    assert (code, ended(tmp_path), err) == (0, 2, b"")


def test_workers_and_libraries_that_write_to_a_reader_that_has_gone(tmp_path):
    (tmp_path / "rows.py").write_text(TALKATIVE)
    words = "data=dataset data.dataset._target_=rows.Rows data.workers=1 trainer.epochs=1 --allow rows"
    code, out, _ = shell(tmp_path, f"dltrain {words} 2>&1 | head -c 1", PYTHONIOENCODING="ascii")
    assert (code, ended(tmp_path), len(out)) == (0, 1, 1)


# -- printing ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [">/dev/full", ">&-", "2>&-", ">/dev/full 2>&1", "| true", "| head -1"])
def test_a_command_that_only_prints_ends_quietly(tmp_path, where):
    code, _, err = shell(tmp_path, f"dltrain list {where}")
    assert (code, err) == (0, b"")
    assert shell(tmp_path, f"dltrain list optimiser {where}")[0] == 2


def test_data_for_a_program_are_not_cut_short_in_silence(tmp_path):
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "summary.json").write_text('{"status": "done"}')
    for words in ("runs --csv", "runs --json", "show runs/a --json"):
        code, _, err = shell(tmp_path, f"dltrain {words} >/dev/full")
        assert (code, b"standard output can't be written" in err) == (7, True)
        assert shell(tmp_path, f"dltrain {words} | true")[::2] == (0, b"")
    code, _, err = shell(tmp_path, "dltrain runs --csv >&-")
    assert (code, b"it is closed" in err) == (7, True), err


@pytest.mark.parametrize(
    ("encoding", "wanted"),
    [
        ("ascii", rb"+- \u0142 -- -> \U0001f600 \udcff"),
        ("latin-1", b"\xb1 \\u0142 -- -> \\U0001f600 \\udcff"),
        ("iso8859-2", b"+- \xb3 -- -> \\U0001f600 \\udcff"),
        ("utf-8", "± ł ── → 😀 \\udcff".encode()),
    ],
)
def test_signs_that_the_terminal_lacks_are_spelled(tmp_path, encoding, wanted):
    text = r"t = '± ł ── → \U0001f600 \udcff'; print(t); print(t, file=sys.stderr)"
    found = shell(tmp_path, f'python -c "{START}{text}"', PYTHONIOENCODING=encoding)
    assert found == (0, wanted + b"\n", wanted + b"\n")


def test_a_file_is_not_opened_as_a_closed_stream(tmp_path):
    text = "f = open('data', 'wb'); os.write(2, b'oops'); print('oops', flush=True); f.close()"
    assert shell(tmp_path, f'python -c "{START}{text}" <&- >&- 2>&-')[0] == 0
    assert (tmp_path / "data").read_bytes() == b""


def test_a_terminal_that_was_lost():
    ours, theirs = pty.openpty()
    text = "input(); print('a'); print('b', file=sys.stderr); sys.exit(3)"
    child = subprocess.Popen([sys.executable, "-c", START + text], stdin=subprocess.PIPE, stdout=theirs, stderr=theirs)
    os.close(theirs)
    os.close(ours)
    child.communicate(b"\n")
    assert child.returncode == 3


def test_a_pipe_that_another_program_made_non_blocking_gets_all():
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    child = subprocess.Popen([sys.executable, "-c", START + "print('x' * 1_000_000)"], stdout=theirs)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        assert len(pipe.read()) == 1_000_001
    assert child.wait() == 0
