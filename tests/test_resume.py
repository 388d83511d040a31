"""Real training processes are killed and stopped; resumed, they end as if nothing had happened."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from dltrain import checkpoint

# Large enough to be caught in the act, small enough to test; dropout, BatchNorm, an average and a plateau-free cycle.
RUN = shlex.split(
    "data=digits model.widths=[64] model.dropout=0.2 model.norm=batch regularisation=[ema] trainer.epochs=40 "
    "trainer.save_every=0.05 trainer.threads=1 data.batch_size=16"
)


def dltrain(*arguments, cwd, **options):
    command = [sys.executable, "-m", "dltrain.cli", *arguments]
    return subprocess.Popen(
        command, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, **options
    )


def finished(process):
    out, err = process.communicate(timeout=180)
    return process.returncode, out, err


def outcome(folder: Path):
    """Everything that must not depend on an interruption: last weights and state, best weights, metrics."""
    _, weights, state = checkpoint.latest(folder / "checkpoints")
    state.pop("seconds")
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = checkpoint.find(folder / "checkpoints", "best")
    return (
        plain(weights),
        plain(state),
        [{k: v for k, v in line.items() if k != "train/samples_per_s"} for line in lines],
        [p.name for p in best],
        [plain(part) for part in checkpoint.load(best[-1])],
    )


def plain(value):
    """Tensors as lists, to compare with ==; NaN as text."""
    if isinstance(value, torch.Tensor):
        return plain(value.tolist())
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return str(value) if value != value else value


def only_run(root: Path) -> Path:
    (folder,) = root.glob("runs/*/*")
    return folder


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    root = tmp_path_factory.mktemp("whole")
    code, _, err = finished(dltrain(*RUN, cwd=root))
    assert code == 0, err
    return outcome(only_run(root))


def wait_for_steps(folder_root: Path, process, checkpoints: int):
    """Waits until the run has saved a few times."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        found = list(folder_root.glob("runs/*/*/metrics.jsonl"))
        if found and len(found[0].read_text().splitlines()) >= checkpoints:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run ended or hung: {process.communicate(timeout=5)}")


@pytest.mark.parametrize("lines", [1, 25])
def test_killed_with_no_warning_it_ends_the_same(tmp_path, undisturbed, lines):
    process = dltrain(*RUN, cwd=tmp_path)
    wait_for_steps(tmp_path, process, lines)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    folder = only_run(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["status"] == "running"
    code, out, err = finished(dltrain("resume", str(folder), cwd=tmp_path))
    assert code == 0, err
    assert "best epoch" in out
    assert outcome(folder) == undisturbed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal_it_saves_and_ends_the_same(tmp_path, undisturbed, number, code):
    process = dltrain(*RUN, cwd=tmp_path)
    wait_for_steps(tmp_path, process, 5)
    os.killpg(process.pid, number)
    returned, _, err = finished(process)
    folder = only_run(tmp_path)
    assert returned == code, err
    assert err.splitlines()[-1].startswith("stopped at step ")
    assert err.splitlines()[-1].endswith(f"resume: dltrain resume {folder.relative_to(tmp_path)}")
    assert json.loads((folder / "summary.json").read_text())["status"] == "stopped"
    returned, _, err = finished(dltrain("resume", "last", cwd=tmp_path))
    assert returned == 0, err
    assert outcome(folder) == undisturbed
    returned, out, _ = finished(dltrain("resume", folder.name[-4:], cwd=tmp_path))
    assert returned == 0
    assert "is complete; nothing to resume" in out


def test_streamed_images_with_workers_resume_bit_for_bit(tmp_path):
    run = shlex.split(
        "data=digits regularisation=[rand_augment] data.workers=2 trainer.epochs=4 trainer.save_every=0 "
        "data.batch_size=128 trainer.threads=1"
    )
    folders = []
    for name in ("whole", "killed"):
        root = tmp_path / name
        root.mkdir()
        process = dltrain(*run, cwd=root)
        if name == "killed":
            wait_for_steps(root, process, 2)
            os.killpg(process.pid, signal.SIGKILL)
        code, _, err = finished(process)
        if name == "killed":
            code, _, err = finished(dltrain("resume", "last", cwd=root))
        assert code == 0, err
        folders.append(only_run(root))
    assert outcome(folders[0]) == outcome(folders[1])
