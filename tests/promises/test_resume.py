"""Real training processes are killed and stopped; resumed, they end as if nothing had happened."""

import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from outcomes import outcome

from dltrain.commands import cli

# Large enough to be caught in the act, small enough to test; dropout, BatchNorm, an average and a plateau-free cycle.
RUN = shlex.split(
    "data=digits model.widths=[64] model.dropout=0.2 model.norm=batch regularisation=[ema] trainer.epochs=24 "
    "trainer.save_every=0.05 trainer.threads=1 data.batch_size=16"
)


def dltrain(*arguments, cwd, **options):
    command = [sys.executable, "-m", "dltrain.commands.cli", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def finished(process):
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def here(*arguments, cwd):
    """The same of a command in this process, where nobody disturbs it."""
    out, err = io.StringIO(), io.StringIO()
    with chdir(cwd), redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as end:
        cli.main(arguments)
    return end.value.code, out.getvalue(), err.getvalue()


def only_run(root: Path) -> Path:
    (folder,) = root.glob("runs/*/*")
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    code, _, err = here(*RUN, cwd=root)
    assert code == 0, err
    return outcome(only_run(root))


def reports(folder_root: Path) -> int:
    """How many its run has logged."""
    return sum(len(file.read_text().splitlines()) for file in folder_root.glob("runs/*/*/metrics.jsonl"))


def wait_for_reports(folder_root: Path, process, least: int):
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        if reports(folder_root) >= least:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run ended or hung: {process.communicate(timeout=5)}")


def test_killed_with_no_warning_it_ends_the_same(tmp_path, undisturbed):
    process = dltrain(*RUN, cwd=tmp_path)
    wait_for_reports(tmp_path, process, 1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    folder = only_run(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["status"] == "running"
    code, out, err = finished(dltrain("resume", str(folder), cwd=tmp_path))
    assert code == 0, err
    assert "best epoch" in out
    assert outcome(folder) == undisturbed


def test_stopped_by_one_signal_after_another_it_saves_and_ends_the_same(tmp_path, undisturbed, under_no_nohup):
    words = RUN
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)):
        before, process = reports(tmp_path), dltrain(*words, cwd=tmp_path)
        wait_for_reports(tmp_path, process, before + 2)
        os.killpg(process.pid, number)
        returned, _, err = finished(process)
        folder = only_run(tmp_path)
        assert returned == code, err
        assert err.splitlines()[-1].startswith("stopped at step ")
        assert err.splitlines()[-1].endswith(f"resume: dltrain resume {folder.relative_to(tmp_path)}")
        summary = json.loads((folder / "summary.json").read_text())
        assert (summary["status"], summary["reason"]) == ("stopped", signal.Signals(number).name)
        words = ("resume", "last")
    returned, _, err = here(*words, cwd=tmp_path)
    assert returned == 0, err
    assert outcome(folder) == undisturbed
    returned, out, _ = here("resume", folder.name[-4:], cwd=tmp_path)
    assert returned == 0
    assert "is complete; nothing to resume" in out


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path):
    command = [
        *shlex.split("-m data=digits trainer.epochs=30 trainer.threads=1 data.batch_size=16 optimizer.lr=0.001,0.01"),
        "model.widths=[32]",
        "trainer.save_every=0.05",
    ]
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    whole.mkdir()
    stopped.mkdir()
    code, _, err = here(*command, cwd=whole)
    assert code == 0, err
    process = dltrain(*command, cwd=stopped)
    deadline = time.monotonic() + 60
    while not list(stopped.glob("runs/sweep/*/0/checkpoints/step-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGTERM)
    code, _, err = finished(process)
    assert code == 143, err
    (sweep,) = stopped.glob("runs/sweep/*")
    assert err.splitlines()[-1] == f"stopped; resume: dltrain resume {sweep.relative_to(stopped)}"
    assert json.loads((sweep / "0" / "summary.json").read_text())["status"] == "stopped"
    code, out, err = here("resume", str(sweep), cwd=stopped)
    assert code == 0, err
    assert "2 jobs in" in out
    (undisturbed,) = whole.glob("runs/sweep/*")
    for number in ("0", "1"):
        assert outcome(sweep / number) == outcome(undisturbed / number)


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """A finished run of 6 epochs, 15 steps each, and how to go on with it."""
    root = tmp_path_factory.mktemp("short")
    assert here(*SHORT, "trainer.epochs=6", cwd=root)[0] == 0
    return root


SHORT = shlex.split("data=iris data.batch_size=8 trainer.threads=1 trainer.tensorboard=false")


def test_training_longer_asks_what_the_schedule_should_do(short, tmp_path):
    code, _, err = here("resume", "last", "trainer.epochs=8", cwd=short)
    assert code == 2
    steps = json.loads((only_run(short) / "summary.json").read_text())["steps"]
    assert f"trainer.schedule_steps={steps}: as it was, then its last rate is held" in err
    code, _, err = here("resume", "last", "trainer.epochs=8", f"trainer.schedule_steps={steps}", cwd=short)
    assert code == 0, err
    command = [*SHORT, "trainer.epochs=8", f"trainer.schedule_steps={steps}"]
    assert here(*command, cwd=tmp_path)[0] == 0
    longer, at_once = outcome(only_run(short)), outcome(only_run(tmp_path))
    assert longer[0] == at_once[0]  # the same bits as if it had been planned so
    assert longer[2] == at_once[2]


def test_resume_refuses_what_would_make_another_run(short):
    code, _, err = here("resume", "last", "optimizer.lr=0.1", cwd=short)
    assert code == 2
    assert "`optimizer.lr=0.1`: a run goes on as it began" in err
    code, _, err = here(*SHORT, "trainer.epochs=9", "optimizer.lr=0.1", "resume=last", cwd=short)
    assert code == 2
    assert "optimizer.lr: 0.003 then, 0.1 now" in err


def test_the_same_command_with_resume_auto_goes_on_or_starts(tmp_path):
    command = [*RUN, "resume=auto", "trainer.max_time=0.2"]
    codes = []
    for _ in range(30):
        code, _, err = here(*command, cwd=tmp_path)
        codes.append(code)
        if code == 0:
            break
        assert code == 138, err
        command = [*RUN, "resume=auto", "trainer.max_time=2"]
    assert codes[0] == 138
    assert codes[-1] == 0
    only_run(tmp_path)
    code, out, _ = here(*command, cwd=tmp_path)
    assert (code, "is complete; nothing to resume" in out) == (0, True)


def test_changed_data_are_refused_unless_allowed(tmp_path):
    table = tmp_path / "t.csv"
    rows = [f"{i % 7},{i % 5},{(i * 3) % 11}" for i in range(90)]
    table.write_text("a,b,y\n" + "\n".join(rows) + "\n")
    run = ["data=table", "data.path=t.csv", "data.target=y", "trainer.threads=1", "trainer.tensorboard=false"]
    assert here(*run, "trainer.epochs=200", "trainer.max_time=0.01", cwd=tmp_path)[0] == 138
    table.write_text(table.read_text().replace("6,4,", "6,5,"))
    code, _, err = here("resume", "last", "trainer.max_time=null", cwd=tmp_path)
    assert code == 3
    assert "the data changed since" in err
    assert "--allow-changed-data" in err
    code, _, err = here("resume", "last", "trainer.max_time=null", "--allow-changed-data", cwd=tmp_path)
    assert code == 0, err
