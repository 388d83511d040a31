"""A program trains, loads, goes on with, judges and exports whole runs, and hears of what is wrong by exceptions."""

import copy
import os
import signal
import threading
import time

import numpy as np
import polars as pl
import pytest
import torch
from sklearn.datasets import load_iris
from torch import nn

import dltrain
from dltrain.errors import BusyError, ConfigError, DataError, DivergedError
from dltrain.parts.metrics import METRICS
from dltrain.runs import run_folder

QUICK = ("data=iris", "trainer.epochs=3", "trainer.tensorboard=false")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_is_trained_and_all_about_it_is_at_hand(here, capsys):
    run = dltrain.train(*QUICK, "optimizer.lr=0.02")
    assert run.status == "done"
    assert run.history["epoch"].to_list() == [1, 2, 3]
    assert run.metrics["last/loss"] == run.history["val/loss"][-1]
    assert run.config["optimizer.lr"] == run.config["optimizer"]["lr"] == 0.02
    assert run.evaluate() == {n: run.metrics[f"test/{n}"] for n in METRICS["multiclass"]}
    assert run.evaluate("val")["accuracy"] == run.metrics["val/accuracy"]
    data = dltrain.data.iris()
    assert run.evaluate((data.val.x.numpy(), data.val.y)) == run.evaluate(data.val) == run.evaluate("val")
    rows = run.predict(load_iris().data)
    assert rows.columns[0] == "prediction"
    assert len(rows) == 150
    assert 3 <= len(repr(run).splitlines()) <= 6
    assert "test/accuracy" in repr(run)
    assert "<table>" in run._repr_html_()
    assert "<run" not in run._repr_html_()
    assert capsys.readouterr() == ("", "")
    command = (run.folder / "environment.json").read_text()
    assert "dltrain data=iris trainer.epochs=3 trainer.tensorboard=false optimizer.lr=0.02" in command


def test_it_is_the_run_that_the_command_makes(here, dltrain_command):
    ours = dltrain.train(*QUICK)
    assert dltrain_command(*QUICK)[0] == 0
    theirs = dltrain.load("last")
    assert theirs.folder != ours.folder
    for one, other in zip(ours.model.parameters(), theirs.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (ours.folder / "config.yaml").read_text() == (theirs.folder / "config.yaml").read_text()


@pytest.fixture
def dltrain_command(dltrain):  # the fixture of this name hides the package
    return dltrain


@pytest.mark.parametrize("place", ["a b", "it's", 'two "words"', "x,y=1", "für"])
def test_runs_go_where_they_are_told(here, place):
    run = dltrain.train(*QUICK, runs_dir=here / place)
    assert run.folder.parents[1] == here / place
    assert dltrain.resume(run).folder == run.folder


def test_what_is_wrong_is_an_exception_with_all_mistakes(here):
    with pytest.raises(ConfigError, match="did you mean `iris`"):
        dltrain.train("data=irsi")
    with pytest.raises(ConfigError, match=r"(?s)did you mean `trainer\.epochs`.*did you mean `optimizer\.lr`"):
        dltrain.train("trainer.epoch=3", "optimizer.rl=1")
    with pytest.raises(ConfigError, match="an override is a text"):
        dltrain.train({"data": "iris"})
    with pytest.raises(ConfigError, match=r"each override is a text of its own: 'data=iris', 'trainer\.epochs=3'"):
        dltrain.train("data=iris trainer.epochs=3")
    with pytest.raises(ConfigError, match=r"did you mean `optimizer\.lr`"):
        dltrain.train(lr=0.1)
    with pytest.raises(ConfigError, match="give a text, a number, None, or a list of them"):
        dltrain.train(data=dltrain.data.iris())
    with pytest.raises(ConfigError, match="seeds=N and folds=N make several runs"):
        dltrain.train("data=iris", "seeds=3")
    with pytest.raises(DataError, match="no such file"):
        dltrain.train("data=table", "data.path=gone.csv", "data.target=y")
    assert not (here / "runs").exists()
    with pytest.raises(DivergedError):
        dltrain.train(*QUICK, "optimizer=sgd", "optimizer.lr=1e30", "scheduler=constant")
    run = dltrain.train(*QUICK)
    with pytest.raises(KeyError, match=r"optimizer\.lr"):
        run.config["optimizer.rl"]
    with pytest.raises(KeyError, match="did you mean `val/accuracy`"):
        run.metrics["accuracy"]
    with pytest.raises(DataError, match="a frame holds rows as in the file"):
        run.evaluate(pl.DataFrame({"x": [1.0]}))
    with pytest.raises(ConfigError, match="did you mean `test`"):
        run.evaluate("tset")
    with pytest.raises(ConfigError, match="did you mean `onnx`"):
        run.export("onxn")
    with run_folder.Lock(run.folder), pytest.raises(BusyError):
        dltrain.resume(run, "trainer.epochs=4", "trainer.schedule_steps=21")


def test_a_run_goes_on_to_the_same_bits(here):
    whole = dltrain.train(*QUICK)
    part = dltrain.train(*QUICK, "trainer.max_time=0.001")
    assert part.status == "stopped"
    rest = dltrain.resume(part, "trainer.max_time=null")
    assert rest.status == "done"
    for one, other in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert dltrain.resume(rest).folder == rest.folder  # complete: nothing is done


def test_a_loaded_model_is_trained_on_judged_and_exported_as_it_is_now(here):
    run = dltrain.train(*QUICK)
    before = run.evaluate()
    data = dltrain.data.iris()
    trainer = dltrain.Trainer(run.model, run.loss, torch.optim.Adam(run.model.parameters(), lr=0.02))
    trainer.run(data, epochs=40)
    after = run.evaluate()
    assert after["loss"] < before["loss"]
    assert run.metrics["test/loss"] == before["loss"]  # what the folder says
    file = run.export(path=here / "tuned.pt2")
    rows = torch.tensor(load_iris().data, dtype=torch.float32)
    said = torch.export.load(file).module()(rows).numpy()
    assert np.allclose(said, run.predict(load_iris().data).drop("prediction").to_numpy(), atol=1e-5)
    assert run.export("safetensors") == run.folder / "model.safetensors"


def test_own_code_is_named_and_found(here, monkeypatch):
    (here / "my_nets").mkdir()
    (here / "my_nets" / "__init__.py").write_text(
        "from torch import nn\ndef small(in_features, out_features):\n    return nn.Linear(in_features, out_features)\n"
    )
    monkeypatch.syspath_prepend(here)
    own = (*QUICK, "model=module", "model._target_=my_nets.small")
    with pytest.raises(ConfigError, match="allow"):
        dltrain.train(*own)
    run = dltrain.train(*own, allow=["my_nets"])
    assert isinstance(run.model, nn.Linear)
    assert run.evaluate("val")["accuracy"] == run.metrics["val/accuracy"]


def test_notes_are_warnings(here):
    (here / "t.csv").write_text("a,b,y\n" + "".join(f"{i % 7},3,{i % 2}\n" for i in range(60)))
    with pytest.warns(UserWarning, match="b"):
        dltrain.train("data=table", "data.path=t.csv", "data.target=y", "trainer.max_steps=1")


def test_an_interrupt_saves_and_says_how_to_go_on(here):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # it is ignored where this runs in the background

    def press():
        while not any(file.stat().st_size for file in here.glob("runs/*/*/metrics.jsonl")):
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt, match=r"stopped at step [\d,]+ and saved; go on: dltrain\.resume\("):
            dltrain.train("data=digits", "trainer.epochs=100000", "trainer.tensorboard=false")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert dltrain.load("last").status == "stopped"


def test_runs_in_threads_have_the_bits_that_they_have_alone(here):
    alone = dltrain.train(*QUICK, "model.dropout=0.5")
    found = []
    threads = [
        threading.Thread(target=lambda: found.append(dltrain.train(*QUICK, "model.dropout=0.5"))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [run.metrics["test/loss"] for run in found] == [alone.metrics["test/loss"]] * 2


def test_a_run_under_no_grad_and_in_double_precision(here):
    wanted = dltrain.train(*QUICK).metrics["test/loss"]
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert dltrain.train(*QUICK).metrics["test/loss"] == wanted
    torch.set_default_dtype(torch.float64)
    try:
        assert dltrain.train(*QUICK).metrics["test/loss"] == wanted
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)


def test_a_run_can_be_copied(here):
    run = dltrain.train(*QUICK)
    other = copy.deepcopy(run)
    assert other.evaluate() == run.evaluate()
    assert isinstance(run.history, pl.DataFrame)


def test_keys_may_be_arguments(here):
    run = dltrain.train(*QUICK[1:], data="iris", seed=3, name="a b", regularisation=["l2", "dropout"], diagnose=False)
    assert (run.config["seed"], run.config["name"], run.config["diagnose"]) == (3, "a b", False)
    assert run.config["regularisation.l2"]
    assert run.config["model.dropout"]


def test_a_model_that_is_in_train_mode_answers_as_in_eval_mode(here):
    run = dltrain.train(*QUICK, "model.dropout=0.5", "model.norm=batch")
    wanted, state = run.predict(load_iris().data), copy.deepcopy(run.model.state_dict())
    run.model.train()
    assert run.predict(load_iris().data).equals(wanted)
    assert all(torch.equal(value, state[name]) for name, value in run.model.state_dict().items())
    assert run.model.training
