"""Fixtures that several test files share."""

import gc
import os
import signal
from io import BytesIO
from pathlib import Path

import pytest
import quick_compose
import torch
from inline_engine import Inline
from PIL import Image

from dltrain.commands import cli
from dltrain.sweeps.engines import local

NAMED = os.environ.get("DLTRAIN_TEST_DATA")
SHARED = Path(NAMED) if NAMED else Path(__file__).parents[2] / "shared" / "data"


def pytest_configure(config: pytest.Config) -> None:
    """xdist would begin with the files of the most tests; those with few wait for processes, and take longest."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest begins first: at the end a long file would leave the other processes idle."""
    items.sort(key=lambda item: _LONG.isdisjoint(item.path.parts))


_LONG = {"promises", "sweeps", "training", "course", "insight", "trained"}


def pytest_collection_finish() -> None:
    """What is there by now stays, and the rest is seldom looked through as a whole: that took a tenth of the time."""
    gc.freeze()
    gc.set_threshold(700, 10, 100)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real files: mnist/ with the four IDX files, california_housing/ with cal_housing.csv. They stand beside the
    project in CI; anybody else names their folder as DLTRAIN_TEST_DATA.
    """
    missing = [name for name in ("mnist", "california_housing") if not (SHARED / name).is_dir()]
    if missing and NAMED:
        pytest.fail(f"DLTRAIN_TEST_DATA={NAMED} has no folder {' nor '.join(missing)}")
    if missing:
        pytest.skip(f"needs the real data: DLTRAIN_TEST_DATA=FOLDER with mnist/ and california_housing/ (CI: {SHARED})")
    return SHARED


@pytest.fixture
def under_no_nohup():
    """A terminal that closes counts, also where the tests themselves ignore it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture(autouse=True, scope="session")
def _sweeps_in_this_process():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(local, "local", Inline)
        yield


@pytest.fixture(autouse=True, scope="session")
def _disks_not_waited_for():
    """No power is cut here: what is written need not reach the disk, for which a short run would wait 22 times. Nor
    need it be on its way there: a file that is, and is removed, is waited for.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)  # fails as fsync does for a number that is no open file
        if hasattr(os, "posix_fadvise"):
            patch.setattr(os, "posix_fadvise", lambda *_: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def _cache_of_tests(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NO_COLOR", "1")  # where a test has a terminal, its columns are counted
        patch.setenv("DLTRAIN_CACHE", str(tmp_path_factory.mktemp("cache") / "dltrain"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _composed_quickly():
    with pytest.MonkeyPatch.context() as patch:
        quick_compose.put_in_place(patch.setattr)
        yield


@pytest.fixture
def unpainted(monkeypatch):
    """Figures are made and not painted, which takes a third of a second for each: where nobody looks at them."""
    blank = BytesIO()
    Image.new("RGB", (1, 1)).save(blank, format="png")
    monkeypatch.setattr("dltrain.insight.plots.png", lambda figure: blank.getvalue())
    monkeypatch.setattr("dltrain.insight.plots.vector.svg", lambda figure: '<svg class="plot"></svg>')


@pytest.fixture
def ends_of_films(monkeypatch):
    """All frames of a film are made; only its first and its last are painted."""
    from dltrain.insight import plots

    paint = plots.frames_of

    def ends(figures, dpi):
        frames = iter(figures)
        yield from paint([next(frames)], dpi)  # before the next, which may be the same figure, changed
        last = None
        for last in frames:  # noqa: B007
            pass
        yield from paint([last] if last else [], dpi)

    monkeypatch.setattr(plots, "frames_of", ends)


@pytest.fixture
def dltrain(tmp_path, monkeypatch, capsys):
    """Runs the command in an empty folder; returns exit code, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        with pytest.raises(SystemExit) as stop:
            cli.main(arguments)
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


@pytest.fixture(autouse=True)
def _same_random_state():
    torch.manual_seed(0)
