"""The commands one after another in one folder. It runs as it stands, and again under `other_system`."""

import json
from pathlib import Path

import numpy as np
import pytest
from other_system import holding
from safetensors.numpy import load_file

from dltrain.runs import run_folder


def newest() -> Path:
    return run_folder.find("last")


def weights(run: Path) -> dict[str, np.ndarray]:
    found = max(run.glob("checkpoints/step-*/model.safetensors"))
    return load_file(found)


@pytest.fixture
def work(dltrain):
    """A command that must end well; returns its output."""

    def run(*arguments: str, code: int = 0) -> str:
        got, out, err = dltrain(*arguments)
        assert got == code, f"{arguments}: {out}\n{err}"
        return out

    return run


def test_the_commands_work_one_after_another(work):
    typed = ["data=iris", "trainer.epochs=4", "trainer.save_every=0.5", "trainer.progress=false"]
    work(*typed)
    whole = newest()
    work(*typed, "trainer.max_time=1e-6", code=138)
    stopped = newest()
    assert json.loads((stopped / "summary.json").read_text(encoding="utf-8"))["status"] == "stopped"
    work("resume", str(stopped), "trainer.max_time=null")
    for name, tensor in weights(whole).items():
        np.testing.assert_array_equal(tensor, weights(stopped)[name], strict=True)
    assert b"\r" not in (whole / "metrics.jsonl").read_bytes()
    steps = [json.loads(line)["step"] for line in (stopped / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert steps == sorted({*steps})

    assert work("runs").count("done") == 2
    assert "done" in work("show", "last")
    assert "accuracy" in work("eval", "last")
    names = ",".join(f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width"))
    Path("rows.csv").write_text(f"{names}\n5.1,3.5,1.4,0.2\n", "utf-8")
    work("predict", "last", "rows.csv", "-o", "answers.csv")
    work("predict", "last", "rows.csv", "-o", "answers.csv", "--force")
    assert len(Path("answers.csv").read_text("utf-8").splitlines()) == 2
    work("export", "last", "--format", "safetensors")
    assert "3 jobs" in work("-m", *typed, "optimizer=sgd,adam,adamw", "name=three")
    work("resume", str(run_folder.find("last", sweeps=True)))
    assert "3 of them" in work("ensemble", "runs/three", "--top", "3")
    assert "member" in work("show", "last")
    work("resume", "last", code=2)
    work("rm", str(stopped), "--yes")
    assert not stopped.exists()
    assert not list(whole.parent.glob(".del-*"))


def test_a_run_that_is_trained_is_kept_from_others(work):
    work("data=iris", "scheduler=constant", "trainer.epochs=1")
    run = newest()
    with holding(run / ".lock"):
        assert "running" in work("runs")
        work("rm", str(run), "--yes", code=6)
        work("resume", str(run), "trainer.epochs=2", code=6)
    work("rm", str(run), "--yes")


def test_workers_read_what_is_changed_on_the_way(work):
    """They are started anew where nothing forks: all that they need must travel."""
    work("data=digits", "regularisation=[affine]", "data.workers=1", "trainer.max_steps=2", "trainer.progress=false")
