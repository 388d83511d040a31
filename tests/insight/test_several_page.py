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
    assert "By test accuracy, the best first" in text
    assert "its 2 seeds" in text
    assert text.count("<figure>") == 1
    assert run("report", "runs/a", "runs/b") == 0  # its own name is written anew
    assert run("report", "runs/a", "nowhere") == 2
    assert "nowhere" in capsys.readouterr().err
