"""Hostile files and hostile typing, drawn from the grammar of `hostile`: whole run folders, sweeps, folders of
configuration files, data files, and command lines; no case may run, fetch, touch or say what it should not.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hostile.case import Case, plant
from hostile.judge import Page, Written, verdict
from hostile.words import SECRET

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
COUNT = 20_000 if SOAK else 30  # a third of a second each
TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("count", "how"),
    [
        (COUNT, []),
        pytest.param(
            1_000, ["alone"], marks=pytest.mark.skipif(not SOAK, reason="an hour of processes: DLTRAIN_SOAK=1")
        ),
    ],
    ids=["forks", "processes"],
)
def test_nothing_that_a_stranger_wrote_or_a_hand_typed_does_harm(tmp_path, count, how):
    environment = {
        **os.environ,
        **dict.fromkeys(("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "PYTHONDONTWRITEBYTECODE"), "1"),
        "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
    }
    drive = [sys.executable, "-P", "-m", "hostile.drive", "0", str(count), str(tmp_path / "work"), *how]
    done = subprocess.run(drive, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3_000:]
    *bad, last = done.stdout.splitlines()
    found = json.loads(last)
    print(f"{count:,} hostile cases: {found}")
    assert not bad, "\n".join(["with tests/ on PYTHONPATH each can be tried alone:", *bad[:60]])
    assert sum(found["counts"].values()) == count
    assert found["counts"]["0"] > count / 20  # all of it is no nonsense


@pytest.fixture
def case(tmp_path):
    made = Case(tmp_path / "root")
    made.inside.mkdir(parents=True)
    plant(made)
    return made


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.csv", "x,\x1b[2J", "the sign '\\x1b'"),
        ("a.json", f'"{SECRET}"', "a secret"),
        ("a.html", "<script>x()</script>", "<script>"),
        ("a.md", "[a](javascript:x)", "markup"),
    ],
)
def test_the_judge_sees_what_a_command_wrote(case, name, content, found):
    (case.inside / "given.html").write_text("<script>")
    written = Written(case)
    assert written.wrong() == []
    (case.inside / name).write_text(content)
    assert [each for each in written.wrong() if found in each]


@pytest.mark.parametrize("text", ["<img onerror=x()>", "<a href='javascript:x()'>", "<link href='http://x/y'>"])
def test_the_judge_reads_a_page_as_a_browser_does(text):
    page = Page()
    page.feed(f"<p title='<script>'>&lt;script&gt; onerror=x javascript:x<img src='data:image/png;base64,'>{text}")
    assert len(page.found) == 1


@pytest.mark.parametrize(
    ("typed", "may"),
    [
        ("seed=1 runs/name/last", (False, False, False)),
        ("name=${oc.env:TOKEN}", (True, False, False)),
        ("data.path=/etc/passwd", (False, True, False)),
        ("eval ../x", (False, True, False)),
        ("model.weights=DEFAULT", (False, False, True)),
    ],
)
def test_only_who_types_so_may_ask_and_read(case, typed, may):
    case.consent(typed)
    assert (case.may_ask, case.may_read, case.may_fetch) == may


def test_the_judge_forgives_a_terminal_its_bar_alone(case):
    case.streams = "ttt"
    assert verdict(case, 0, "50%\r100%\x1b[A\n") == []
    assert "the sign" in verdict(case, 0, "a\x1b[2J")[0]
