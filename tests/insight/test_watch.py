"""`dltrain watch`: real runs as they go on, are killed and end; many runs; and what strangers wrote."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import pytest

from dltrain.commands import cli
from dltrain.errors import tables
from dltrain.insight import watch
from dltrain.insight.watch import Watcher, curve
from dltrain.runs import foreign, reading, run_folder

COMMAND = [sys.executable, "-m", "dltrain.commands.cli"]
TERMINAL = {**os.environ, "TERM": "xterm", "COLUMNS": "", "LINES": ""}
WIDE, HIGH = 200, 40


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A sweep of two runs, one of which diverges."""
    root = tmp_path_factory.mktemp("watch") / "runs"
    shown = ["trainer.epochs=2", "trainer.tensorboard=false", f"runs_dir={root}"]
    with pytest.raises(SystemExit):
        cli.main(["-m", "data=iris", "optimizer=sgd", "optimizer.lr=0.5,1e30", *shown])
    (sweep,) = root.glob("*/*")
    return sweep


def page(watcher, columns=WIDE, rows=HIGH):
    watcher.look()
    return [line.text for line in watcher.page(columns, rows)]


def told(dltrain, *words):
    code, out, err = dltrain(*words)
    assert (code, err) == (0, "")
    return out


@pytest.fixture
def dltrain(capsys, monkeypatch):
    def call(*words):
        with pytest.raises(SystemExit) as stop:
            cli.main(list(words))
        return stop.value.code, *capsys.readouterr()

    return call


def test_a_run_in_progress_is_followed_until_it_is_killed(tmp_path, monkeypatch, dltrain):
    monkeypatch.chdir(tmp_path)
    words = [
        "data=iris",
        "name=long",
        "trainer.epochs=1000000",
        "trainer.report_every=500",
        "trainer.tensorboard=false",
    ]
    process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while not (run := reading_of(tmp_path)) or run.pulse is None or run.pulse.rate is None:
            assert time.monotonic() < end
            time.sleep(0.1)
        (id_,) = reading.short_ids([run.folder])
        rows = told(dltrain, "runs").splitlines()
        assert rows[0].split()[:4] == ["run", "status", "share", "left"]
        assert rows[2].split()[:2] == [id_, "running"]
        shown = told(dltrain, "show", "last")
        assert re.search(r"at step [\d,]+ of 7,000,000 \(\d+%\), [\d,.]+ steps/s, .* left, loss ", shown)
        assert f"by process {process.pid} on " in shown
        out = told(dltrain, "watch", "--once").splitlines()
        assert out[0].startswith("runs   1 running   ")
        assert out[2].split() == ["run", "what", "share", "step", "left", "rate", "loss", "best", "accuracy", "curve"]
        assert out[4].split()[:4] == [id_, "long", "data=iris", "epochs=1000000"]
        assert out[4].split()[-1].strip(watch.SIGNS) == ""
        assert (
            told(dltrain, "watch", "last", "--once")
            .splitlines()[0]
            .startswith(f"{run.folder.relative_to(tmp_path)}   1 running")
        )
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    out = told(dltrain, "watch").splitlines()
    assert out[0].startswith("runs   1 killed   ")
    assert out[4].split()[0] == id_
    assert "share" not in told(dltrain, "runs")
    assert "          at step " in told(dltrain, "show", "last")


def reading_of(root):
    return next((reading.read(folder) for folder, _ in reading.walk(root)), None)


def test_failures_and_the_best_of_a_sweep_are_told(made):
    lines = page(Watcher(made))
    assert lines[0].startswith(f"{made}   1 done, 1 diverged   ")
    assert lines[1] == f"sweep {made.name}: 2 of 2 jobs ended (1 done, 1 diverged)"
    table = [line.split() for line in lines[5:]]
    assert [row[:3] for row in table] == [
        [f"{made.name[-4:]}/1", "lr=1e+30", "diverged"],
        [f"{made.name[-4:]}/0", "lr=0.5", "done"],
    ]
    assert "the loss is" in lines[5]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_a_page_fits_where_it_can(made, columns, tmp_path):
    shutil.copytree(made, tmp_path / made.name)
    word = {"step": 7, "total": 9_000_000, "rate": 3.2, "loss": 0.123, "time": time.time(), "host": "here", "pid": 1}
    (tmp_path / made.name / "0" / "progress.json").write_text(json.dumps(word))
    with run_folder.Lock(tmp_path / made.name / "0"):
        lines = page(Watcher(tmp_path / made.name), columns)[2:]
    assert max(map(tables.width, lines)) <= columns
    running = next(line for line in lines if "0%" in line)
    assert "32 d" in running or columns < 60
    assert ("▁" in running) == (columns >= 60)
    assert ("9,000,000" in running) == (columns == 120)


def wrote(folder, reports):
    with (folder / "metrics.jsonl").open("a") as file:
        file.writelines(json.dumps(report) + "\n" for report in reports)


def test_a_log_is_read_as_it_grows_and_anew_where_it_was_cut(tmp_path, monkeypatch):
    folder = tmp_path / "20261129-120000-abcd"
    folder.mkdir()
    (folder / "environment.json").write_text('{"monitor": "val/accuracy"}')
    starts = []
    monkeypatch.setattr(
        foreign, "lines", lambda path, begin=0, lines=foreign.lines: starts.append(begin) or lines(path, begin)
    )
    watcher = Watcher(tmp_path)
    with run_folder.Lock(folder):
        wrote(folder, [{"step": n, "train/loss": 1 / n, "val/accuracy": n / 10, "val/loss": 1.0} for n in (1, 3, 2)])
        assert "30.00%" in page(watcher)[4]
        size = (folder / "metrics.jsonl").stat().st_size
        assert "▁█▅" in page(watcher)[4]
        wrote(folder, [{"step": 4, "val/accuracy": 0.9, "val/loss": 1.0}])
        with (folder / "metrics.jsonl").open("a") as file:
            file.write('{"step": 5, "val/acc')  # it is being written
        assert "90.00%" in page(watcher)[4]
        assert starts == [0, size]
        (folder / "metrics.jsonl").rename(tmp_path / "old")
        wrote(folder, [{"step": 1, "val/accuracy": 0.1, "val/loss": 1.0}])
        assert "10.00%" in page(watcher)[4]


def test_a_thousand_runs_are_read_once(made, tmp_path, monkeypatch):
    sweep = tmp_path / made.name
    sweep.mkdir()
    (sweep / "sweep.json").write_text('{"jobs": 2000}')
    kept = {"copy_function": os.link, "ignore": shutil.ignore_patterns("checkpoints", ".lock")}
    for number in range(1000):
        shutil.copytree(made / "0", sweep / str(number), **kept)
    watcher = Watcher(tmp_path)
    first = page(watcher)
    assert first[0].startswith(f"{tmp_path}   1,000 done")
    assert len(first) <= HIGH
    opened = []
    real = reading.read_text
    monkeypatch.setattr(reading, "read_text", lambda path, *more: opened.append(path) or real(path, *more))
    assert page(watcher)[1:4] == first[1:4]
    assert not [path for path in opened if path.name != "sweep.json"]
    shutil.rmtree(sweep / "7")
    assert page(watcher)[0].startswith(f"{tmp_path}   999 done")
    shutil.rmtree(sweep)
    watcher.page(WIDE, HIGH)  # of what was there
    assert "no run yet" in page(watcher)[0]
    shutil.rmtree(tmp_path)
    assert "no run yet" in page(watcher)[0]


ODD = "\x1b[2J\x1b]0;owned\x07\u202e\x9b" + "x" * 100_000


def test_what_a_stranger_wrote_is_shown_as_signs_and_no_longer_than_can_be_read(tmp_path):
    folder = tmp_path / "evil\x1b[31m" / "20261129-120000-abcd"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"monitor": f"val/{ODD}", "command": ODD}))
    (folder / "overrides.txt").write_text(json.dumps(f"{ODD}={ODD}") + "\n" + f"a={ODD}\n")
    (folder / "progress.json").write_text(json.dumps({"step": 1, "total": 1, "rate": 1e299, "time": 0, "host": ODD}))
    wrote(folder, [{"step": 1, f"val/{ODD}": 1e299, "train/loss": v} for v in (1e299, -1e299, 5e-324, 0)])
    for status in ("running", "failed", "done"):
        summary = {"status": status, "seconds": 1e299, "error": ODD, "best": {ODD: 1e299}, "steps": 10**40}
        (folder / "summary.json").write_text(json.dumps(summary))
        lines = page(Watcher(tmp_path))
        assert sum(map(len, lines)) < 4000
    with run_folder.Lock(folder):
        assert sum(map(len, page(Watcher(tmp_path)))) < 4000
    for name in ("summary.json", "progress.json", "metrics.jsonl", "overrides.txt", "environment.json"):
        (folder / name).unlink()
        (folder / name).mkdir()
        page(Watcher(tmp_path))


def test_only_signs_reach_the_terminal(tmp_path, dltrain):
    test_what_a_stranger_wrote_is_shown_as_signs_and_no_longer_than_can_be_read(tmp_path / "runs")
    out = told(dltrain, "watch", str(tmp_path / "runs"), "--once")
    assert all(letter.isprintable() or letter == "\n" for letter in out)
    assert "\u202e" not in out


@pytest.mark.parametrize(
    ("values", "signs"),
    [
        *(([], ""), ([1.0], ""), ([1.0, 1.0], "▁▁"), ([0.0, 1.0], "▁█"), ([0.0, 1e-300], "▁█")),
        *(([-1e299, 1e299], "▁█"), ([1, 2, 3, 4, 5, 6, 7, 8], "▁▃▆█")),
    ],
)
def test_curves(values, signs):
    assert curve(values, 4) == signs
    assert curve(values, 4, signs=watch.PLAIN_SIGNS).isascii()


def test_a_long_curve_is_thinned():
    many = watch._Curve()
    for n in range(100_000):
        many.add(float(n))
    assert len(many.points) <= 512
    assert many.points == sorted(many.points)
    assert many.points[0] == 0
    assert many.points[-1] > 99_000


@pytest.mark.parametrize("where", ["nowhere", "x" * 300])
def test_what_is_not_there_is_said(dltrain, where):
    code, _, err = dltrain("watch", where, "--once")
    assert code == 2
    assert err.startswith("error: ")
    assert dltrain("watch", "--every", "0")[0] == 2


def at_a_terminal(*words, cwd, until=b""):
    """What a command shows at a terminal, with Ctrl-C after a text; and how it ends."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    import struct

    main, other = pty.openpty()
    fcntl.ioctl(other, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *words],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=cwd,
        env=TERMINAL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # these tests may run in the background
    )
    os.close(other)
    out = b""
    while True:
        try:
            new = os.read(main, 1 << 16)
        except OSError:
            break
        out += new
        if not new:
            break
        if until and until in out:
            process.send_signal(signal.SIGINT)
            until = b""
    os.close(main)
    return process.wait(), out.decode()


def test_at_a_terminal_it_goes_on_until_ctrl_c(made):
    code, out = at_a_terminal("watch", cwd=made.parents[2], until=b"diverged")
    assert code == 0, out
    live, _, after = out.partition("\x1b[?1049l")  # back to the screen that was there before
    assert "\x1b[?1049h" in live
    assert "2 of 2 jobs ended (1 done, 1 diverged)" not in live  # only a sweep in progress is named
    assert "diverged" in live
    assert "diverged" in after
    assert "Traceback" not in out


def test_of_a_sweep_that_has_ended_one_page_is_all(made):
    code, out = at_a_terminal("watch", str(made), cwd=made)
    assert code == 0
    assert "\x1b" not in out
    assert "2 of 2 jobs ended (1 done, 1 diverged)" in out


def test_it_ends_with_its_terminal(made):
    """Also where the signal that says so is ignored, as under nohup."""
    main, other = pytest.importorskip("pty").openpty()
    words = ["watch", str(made.parents[1]), "--every", "0.2"]
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process = subprocess.Popen([*COMMAND, *words], stdin=other, stdout=other, stderr=other, env=TERMINAL)
    signal.signal(signal.SIGHUP, before)
    os.close(other)
    out = b""
    while b"diverged" not in out:
        out += os.read(main, 1 << 16)
    os.close(main)
    assert process.wait(60) == 0
