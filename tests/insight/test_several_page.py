"""`dltrain report A B`: several runs on one page."""

import re

import pytest

from dltrain.commands import cli


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    return stop.value.code


@pytest.mark.usefixtures("unpainted")
def test_several_runs_are_one_page_the_best_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    more = ["data=iris", "trainer.tensorboard=false", "model=linear"]
    assert run("-m", *more, "optimizer=adam", "seed=0,1", "trainer.epochs=20", "name=a") == 0
    assert run(*more, "optimizer=sgd", "optimizer.lr=1e-6", "trainer.epochs=1", "name=b") == 0
    assert run("report", "runs/a", "runs/b") == 0
    assert "compare.html" in capsys.readouterr().out
    text = (tmp_path / "compare.html").read_text()
    names = re.findall(r'<th scope="row" class="text">([^<]*)</th><td>', text)
    assert [re.search("adam|sgd", name)[0] for name in names if re.search("adam|sgd", name)] == ["adam", "sgd"]
    assert "Results, best first" in text
    assert "In the order of validation accuracy." in text
    assert re.search("<h1>adam and sgd[^<]*</h1>", text)
    verdict = re.findall('<p class="verdict good">(.*)</p>', text)
    assert verdict
    assert all(re.match("<strong>(adam|sgd)|[A-Z]", line) and line.endswith(".") for line in verdict)
    assert "its 2 seeds" in text
    assert text.count("<figure>") == 1
    assert run("report", "runs/a", "runs/b") == 0  # its own name is written anew
    assert run("report", "runs/a", "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.usefixtures("unpainted")
def test_what_does_not_compare_is_left_out_and_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = ["data=iris", "trainer.tensorboard=false", "model=linear", "trainer.epochs=1"]
    assert run(*more, "name=a") == 0
    assert run(*more, "loss=one_hot_mse", "name=b") == 0
    moved = next(tmp_path.glob("runs/b/*/checkpoints"))
    moved.rename(moved.with_name("elsewhere"))  # it can't answer the test rows again
    assert run("report", "runs/a", "runs/b", "-o", "my page.html") == 0
    text = (tmp_path / "my page.html").read_text()
    assert "the answers to the test rows are left out: " in text
    assert "the losses are different functions" in text
    assert "test loss" not in text
