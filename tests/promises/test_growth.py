"""Large numbers cost what they should: the work of a command grows with what it counts, not with its square.

Work is counted in calls of functions, which no loaded machine changes; time and memory at 100,000 are measured by
`scripts/benchmark_sizes.py`, whose axes these are.
"""

import sys
import time
from pathlib import Path

import pytest

from dltrain.commands import cli
from dltrain.data.tables.headers import read_names
from dltrain.data.tables.table import require_columns
from dltrain.errors import DataError
from dltrain.insight import sweep_pictures

SCRIPTS = Path(__file__).parents[2] / "scripts"
FEW, MANY = 10, 300
# Of each axis the commands that are tried here, and how many calls each further one of what it counts may cost them.
# What made one more call for each pair would add 300.
TRIED = {
    "columns": {"train": 1_250},  # each is looked at from several sides, in calls of polars that make 100 of Python
    "labels": {"train": 2_250},
    "reports": {"train": 1_700, "show": 200},
    "keys": {"train": 1_800},
}


@pytest.fixture
def axes(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    from speed.sizes import AXES

    yield {axis.name: axis for axis in AXES}
    for name in [name for name in sys.modules if name.partition(".")[0] == "speed"]:
        del sys.modules[name]


def calls(work):
    """How many functions `work()` calls, Python's and C's."""
    count = 0

    def note(_frame, event, _argument):
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """What a process imports once is no work of a size."""
    with pytest.raises(SystemExit):
        cli.main(["data=iris", "trainer.max_steps=1", f"runs_dir={tmp_path_factory.mktemp('warm')}"])


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("name", TRIED)
def test_the_work_of_a_command_grows_with_what_it_counts(name, axes, dltrain, tmp_path, monkeypatch):
    found = {}
    for size in (FEW, MANY):
        folder = tmp_path / str(size)
        folder.mkdir()
        monkeypatch.chdir(folder)
        for step in axes[name].make(size, folder):
            if step.name in TRIED[name]:
                told = []
                found[step.name, size] = calls(lambda step=step, told=told: told.append(dltrain(*step.words)))
                assert told[0][0] == step.code, told
    each = {command: (found[command, MANY] - found[command, FEW]) / (MANY - FEW) for command in TRIED[name]}
    print(name, each)
    assert all(each[command] < most for command, most in TRIED[name].items()), each


@pytest.fixture
def many(axes, dltrain, tmp_path):
    """A sweep of many runs."""
    from speed import sizes

    assert dltrain(*sizes.SWEEP)[0] == 0
    return sizes.multiply(tmp_path, MANY)


@pytest.mark.usefixtures("warm")
def test_many_runs_are_listed_at_once_and_told_in_part(many, dltrain):
    listed = []
    assert calls(lambda: listed.append(dltrain("runs"))) / MANY < 3_300
    assert listed[0][1].count("\n") > MANY
    code, table, _ = dltrain("resume", str(many))
    assert code == 0
    assert "and 100 more: dltrain runs FOLDER --sort KEY, or --csv" in table
    assert table.count("adam") == 0
    code, told, _ = dltrain("compare", str(many), "-o", "compare.png")
    assert code == 0
    assert "and 200 more, which --json has" in told
    assert told.count("\n") < 450
    assert dltrain("report", str(many), "-o", "page.html")[0] == 0
    assert Path("page.html").stat().st_size < 1_000_000


def test_of_many_runs_some_are_drawn_from_the_best_to_the_worst():
    ranked = list(range(10_000))
    some = sweep_pictures._some(ranked, 100)
    assert (len(some), some[0], some[-1]) == (100, 0, 9_999)
    assert sweep_pictures._some(ranked[:100], 100) == ranked[:100]


def test_a_header_of_many_columns_is_asked_for_names_at_once():
    names = [f"c{i}" for i in range(50_000)]
    begin = time.process_time()
    header, _ = read_names(Path("t.csv"), ",".join(names) + "\n", ",")
    require_columns(names[::-1], header, knob="data.features", path="t.csv")
    assert time.process_time() - begin < 10  # it takes 0.1 s, and over a minute where each name is looked for in a list
    with pytest.raises(DataError, match="names c7 more than once"):
        read_names(Path("t.csv"), ",".join([*names, "c7"]) + "\n", ",")


def test_each_column_may_have_a_note_and_not_all_are_told(dltrain):
    titles = ",".join(f"c{i}" for i in range(100))
    rows = "".join(f"{','.join('1' * 100)},{i},{'ab'[i % 2]}\n" for i in range(40))
    Path("t.csv").write_text(f"{titles},a,y\n{rows}")
    code, told, _ = dltrain("data=table", "data.path=t.csv", "data.target=y", "trainer.max_steps=1")
    assert code == 0
    assert told.count("was dropped: it has the same value") == 20
    assert "and 80 more notes like these" in told
