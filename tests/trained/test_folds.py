"""`folds=N` on real runs: each row is answered once by a run that has not seen it, new rows by the mean of all runs."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn import datasets, metrics

import dltrain as library
from dltrain.commands import cli
from dltrain.errors import ConfigError
from dltrain.runs import run_folder
from dltrain.trained import folds

QUICK = ("trainer.max_steps=8", "trainer.tensorboard=false", "trainer.progress=false", "trainer.threads=1")
SIDES = [*["north", "south"] * 30, *["east"] * 29, "west"]  # one row has a side of its own
SWEEPS = {  # name -> what is typed
    "iris": ["data=iris", "folds=2", "seeds=2"],
    "labels": ["data=multilabel", "data.n=60", "folds=2"],
    "margins": ["data=moons", "data.n=60", "loss=hinge", "folds=2"],
    "houses": ["data=table", "data.path=houses.csv", "data.target=price", "folds=3", "data.weight=share"],
    "pruned": ["-m", "data=iris", "folds=2", "optimizer.lr=1e-7,0.02", "sweep.prune=halving", "sweep.factor=2"],
    "time": ["data=table", "data.path=houses.csv", "data.target=[price,area]", "data.time=day", "folds=2"],
}


def run(*words: str) -> int:
    with pytest.raises(SystemExit) as stop:
        cli.main([*words])
    return stop.value.code


def houses() -> pl.DataFrame:
    random = np.random.default_rng(0)
    area = random.integers(40, 200, len(SIDES))
    cells = {"side": SIDES, "area": area, "share": 1 + np.arange(len(SIDES)) % 3, "day": np.arange(len(SIDES)) // 2}
    return pl.DataFrame({**cells, "price": 1000 * area + random.normal(0, 5000, len(SIDES)).round(1)})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("folds")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        houses().write_csv("houses.csv")
        for name, words in SWEEPS.items():
            assert run(*words, *QUICK, f"name={name}") == 0
    return root


@pytest.fixture
def root(trained, monkeypatch):
    monkeypatch.chdir(trained)
    return trained


def sweep(name):
    (folder,) = Path("runs", name).iterdir()
    return folder


def answers(name):
    return pl.read_csv(sweep(name) / folds.FILE)


@pytest.mark.usefixtures("root")
def test_each_row_is_answered_once_by_the_mean_of_the_seeds_of_its_fold():
    found, names, (x, y) = answers("iris"), ["setosa", "versicolor", "virginica"], datasets.load_iris(return_X_y=True)
    assert found.columns == ["row", "fold", "truth", "prediction", *(f"p_{name}" for name in names)]
    assert found["row"].to_list() == list(range(1, 151))
    assert found["truth"].to_list() == [names[k] for k in y]
    for number, jobs in ((1, (0, 2)), (2, (1, 3))):
        own = found.filter(pl.col("fold") == number)
        each = [library.load(sweep("iris") / str(job)) for job in jobs]
        assert {run.outline.config["data"]["test"] for run in each} == {f"{number}/2"}
        rows = {name: x[own["row"] - 1, i] for i, name in enumerate(each[0].facts.columns)}
        wanted = np.mean([run.predict(rows).select(pl.selectors.numeric()).to_numpy() for run in each], axis=0)
        assert own.select(pl.selectors.starts_with("p_")).to_numpy() == pytest.approx(wanted, abs=1e-5)
        assert own["prediction"].to_list() == [names[k] for k in wanted.argmax(1)]


@pytest.mark.usefixtures("root")
def test_all_rows_together_are_judged_beside_the_runs(capsys):
    found, made = answers("iris"), folds.out_of_fold(sweep("iris"))
    shares = found.select(pl.selectors.starts_with("p_")).to_numpy()
    shares /= shares.sum(1, keepdims=True)  # of six digits
    assert made.together["accuracy"] == metrics.accuracy_score(found["truth"], found["prediction"])
    assert made.together["log_loss"] == pytest.approx(metrics.log_loss(found["truth"], shares), abs=1e-5)
    head, _, each, together, _, said = made.told()
    assert head.split("   ")[0] == "out of fold"
    assert re.match(r"mean of 4 runs +[\d.]+% ± ", each)
    assert re.match(f"all rows together +{made.together['accuracy']:.2%} ", together)
    assert said == f"150 rows, each answered by a run that has not seen it: {sweep('iris')}/out_of_fold.csv"
    assert run("show", "runs/iris/" + sweep("iris").name) == 0
    out = capsys.readouterr().out
    assert re.search(r"folds and seeds .*\n─+\n +2, 0,1 +data=iris .* 4 of 4 ", out)
    assert run("watch", str(sweep("iris"))) == 0
    assert re.search(
        r"best so far: \S+, val/accuracy \S+, mean of 4 runs \(folds and seeds\) \S+ ± ", capsys.readouterr().out
    )
    assert f"out of fold: {sweep('iris')}/{folds.FILE}\n" in out


@pytest.mark.usefixtures("root")
def test_values_are_in_their_units_and_weights_count():
    found, table = answers("houses"), houses()
    assert found.columns == ["row", "fold", "weight", "truth", "prediction"]
    assert found["truth"].to_numpy() == pytest.approx(table["price"].to_numpy(), rel=1e-6)
    assert found["weight"].to_list() == table["share"].to_list()
    for number in range(1, 4):
        own = found.filter(pl.col("fold") == number)
        alone = library.load(sweep("houses") / str(number - 1)).predict(table[own["row"] - 1], allow_unknown=True)
        assert own["prediction"].to_numpy() == pytest.approx(alone["price"].to_numpy(), rel=1e-6)
    wanted = metrics.root_mean_squared_error(found["truth"], found["prediction"], sample_weight=found["weight"])
    assert folds.out_of_fold(sweep("houses")).together["rmse"] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.usefixtures("root")
def test_new_rows_are_answered_by_the_mean_of_the_runs_each_with_its_own_preprocessing(capsys):
    runs = [library.load(sweep("houses") / str(job)) for job in range(3)]
    assert len({run.facts.preprocessing["columns"][1]["mean"] for run in runs}) == 3
    assert len({float(run.facts.units.mean) for run in runs}) == 3
    # one run has never seen the west, and answers as its own command would with --allow-unknown
    known = [run.facts.preprocessing["columns"][0]["categories"] for run in runs]
    assert sorted("west" in names for names in known) == [False, True, True]
    assert run("predict", str(sweep("houses")), "houses.csv", "--keep", "row") == 0
    found = pl.read_csv(capsys.readouterr().out.encode())
    wanted = np.mean([run.predict(houses(), allow_unknown=True)["price"].to_numpy() for run in runs], axis=0)
    assert found["price"].to_numpy() == pytest.approx(wanted, rel=1e-6)
    assert found["row"].to_list() == list(range(1, len(SIDES) + 1))
    houses().with_columns(side=pl.lit("moon")).write_csv("moon.csv")
    assert run("predict", str(sweep("houses")), "moon.csv") == 3
    assert "moon" in capsys.readouterr().err


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(("name", "prefix"), [("labels", "p_"), ("margins", "score_")])
def test_labels_and_scores_have_their_mean(name, prefix, capsys):
    found = answers(name)
    test = library.load(sweep(name) / "0").facts
    table = pl.DataFrame(np.random.default_rng(0).random((9, 2)), schema=test.columns, orient="row")
    table.write_csv("new.csv")
    assert run("predict", str(sweep(name)), "new.csv") == 0
    made = pl.read_csv(capsys.readouterr().out.encode())
    each = [library.load(sweep(name) / str(job)).predict(table) for job in (0, 1)]
    columns = [column for column in made.columns if column.startswith(prefix)]
    wanted = np.mean([frame.select(columns).to_numpy() for frame in each], axis=0)
    assert made.select(columns).to_numpy() == pytest.approx(wanted, abs=1e-5)
    if name == "labels":
        assert found.columns[2:8] == [*(f"{k}_{label}" for k in ("truth", "prediction") for label in test.names)]
        right = (found.select(pl.selectors.starts_with("truth")).to_numpy()) == found[:, 5:8].to_numpy()
        assert folds.out_of_fold(sweep(name)).together["accuracy"] == pytest.approx(right.mean())


@pytest.mark.usefixtures("root")
def test_folds_of_a_choice_are_paused_and_go_on_together():
    found = [folder for folder in sweep("pruned").iterdir() if folder.name.isdecimal()]
    assert len(found) == 4
    assert [run.typed["optimizer.lr"] for run in folds.best(sweep("pruned"))] == ["0.02"] * 2
    assert sorted(answers("pruned")["row"]) == list(range(1, 151))


@pytest.mark.usefixtures("root")
def test_folds_in_time_answer_the_rows_after_the_first_block():
    found, days = answers("time"), houses()["day"]
    assert found["row"].to_list() == list(range(len(days) - len(found) + 1, len(days) + 1))
    assert found.columns[2:] == ["truth_price", "truth_area", "prediction_price", "prediction_area"]
    assert found["fold"].is_sorted()
    assert len(found) == 60
    assert folds.out_of_fold(sweep("time")).notes == [
        "30 rows are earlier than the first fold, and in no test part (data.time)"
    ]


def test_what_is_left_of_folds_is_gone_on_with(root, tmp_path, monkeypatch, capsys):
    shutil.copytree(root / "runs" / "iris", tmp_path / "runs" / "iris")
    monkeypatch.chdir(tmp_path)
    before = (sweep("iris") / folds.FILE).read_text()
    datasets.load_iris(as_frame=True).data.head(3).to_csv("new.csv", index=False)
    shutil.rmtree(sweep("iris") / "1")
    missing = f"note: without the run of seed=0 data.test=2/2; dltrain resume {sweep('iris')} trains what is missing"
    assert run("predict", str(sweep("iris")), "new.csv") == 0
    assert missing in capsys.readouterr().err
    assert missing.removeprefix("note: ") in folds.out_of_fold(sweep("iris")).notes[0]
    shutil.rmtree(sweep("iris") / "3")
    (sweep("iris") / folds.FILE).unlink()
    with pytest.raises(ConfigError, match=r"fold 2 of 2 has no run that has ended; dltrain resume runs/iris"):
        folds.out_of_fold(sweep("iris"))
    assert run("predict", str(sweep("iris")), "new.csv") == 2
    for job in (0, 2):
        shutil.rmtree(sweep("iris") / str(job))
    assert run("predict", str(sweep("iris")), "new.csv") == 2
    said = capsys.readouterr().err
    assert f"none of its folds has a run yet; dltrain resume {sweep('iris')} goes on" in said
    with pytest.raises(ConfigError, match=r"dltrain predict runs/iris/\S+ FILE answers by the mean of all"):
        library.load(sweep("iris"))
    assert run("resume", str(sweep("iris"))) == 0
    assert (sweep("iris") / folds.FILE).read_text() == before
    assert "all rows together" in capsys.readouterr().out


@pytest.mark.usefixtures("root")
def test_rows_that_a_run_may_have_seen_are_not_judged(request, capsys):
    shutil.copytree("runs/houses", "runs/changed")
    request.addfinalizer(lambda: houses().write_csv("houses.csv"))
    houses().sort("area").write_csv("houses.csv")
    folder = sweep("changed")
    shutil.rmtree(folder / "2")
    before = (folder / folds.FILE).read_text()
    assert run("resume", str(folder)) == 0
    out, err = capsys.readouterr()
    said = next(line for line in err.splitlines() if folds.FILE in line)
    assert said.startswith(f"note: no new {folds.FILE} ({folder}/{folds.FILE} was written before): the data changed")
    assert f"{folder}/0 was trained (train, val, test)" in said
    assert "all rows together" not in out
    assert (folder / folds.FILE).read_text() == before
    for job in ("0", "1"):
        shutil.rmtree(folder / job)
    assert run("resume", str(folder)) == 0
    assert "all rows together" in capsys.readouterr().out
    truth = houses().sort("area")["price"].to_numpy()
    assert answers("changed")["truth"].to_numpy() == pytest.approx(truth, rel=1e-6)


@pytest.mark.usefixtures("root")
def test_runs_of_one_choice_on_changed_data_are_not_taken_together(capsys):
    shutil.copytree("runs/iris", "runs/mixed")
    facts = sweep("mixed") / "2" / "data.json"  # the second seed of the first fold
    noted = json.loads(facts.read_text())
    facts.write_text(json.dumps({**noted, "sha256": {**noted["sha256"], "train": "0" * 64}}))
    assert run("resume", str(sweep("mixed"))) == 0
    err = capsys.readouterr().err
    assert "note: the data changed between the jobs: 2 had other rows than those before" in err
    assert f"note: no new {folds.FILE}" in err
    with pytest.raises(ConfigError, match=r"mixed/\S+/2 had other data than a run before it"):
        folds.best(sweep("mixed"))


def test_a_program_has_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = library.sweep(*QUICK, data="iris", folds=2, runs_dir="mine")
    assert sorted(table["data.test"]) == ["1/2", "2/2"]
    assert len(pl.read_csv(Path(table["folder"][0]).parent / folds.FILE)) == 150


@pytest.mark.usefixtures("root")
def test_runs_on_several_folds_are_no_ensemble(capsys):
    assert run("ensemble", str(sweep("labels"))) == 2
    assert "tested on different rows, the folds 1/2, 2/2" in capsys.readouterr().err


@pytest.mark.usefixtures("root")
def test_a_class_of_fewer_rows_than_folds_is_told_before_the_first_run_and_after_the_last(capsys):
    words = ["data=table", "data.path=houses.csv", "data.target=side", "folds=2", "name=sides"]
    assert run(*words, *QUICK) == 0
    out, err = capsys.readouterr()
    assert "note: in 1 of 2 jobs looked at: without a train row, so not to be learned: class west\n" in err
    assert out.endswith("note: not in each of the 2 folds, so not judged in each: class west (1 row)\n")
    assert folds.out_of_fold(sweep("iris")).notes == []


@pytest.mark.usefixtures("root")
def test_another_sweep_has_no_folds():
    assert run("-m", "data=iris", "seeds=2", *QUICK, "name=seeds") == 0
    assert folds.out_of_fold(sweep("seeds")) is None
    with pytest.raises(ConfigError, match="is a sweep; name one of its runs"):
        run_folder.find(str(sweep("seeds")))
    assert run("predict", str(sweep("seeds")), "houses.csv") == 2


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["data=iris", "folds=1"], "`folds=1`: folds must be a whole number of 2 or more"),
        (["data=iris", "folds=many"], "`folds=many`: folds must be a whole number of 2 or more"),
        (["data=xor", "data.n=4", "folds=5"], "5 folds: there are 4 rows, and a fold needs one"),
        (["data=iris", "folds=3", "data.test=0.3"], "`data.test=0.3` and `folds=3`: each fold is the test part once"),
        (["data=mnist", "folds=3"], "`folds=3`: data=mnist has no data.test: its test part is fixed"),
        (["-m", "data=iris,rows", "folds=3"], "`folds=3`: data=rows has no data.test"),
        ([*SWEEPS["houses"], "data.test_path=houses.csv"], "3 folds: the test rows are those of data.test_path"),
        ([*SWEEPS["houses"], "data.group=side", "folds=5"], "5 folds: there are 4 groups"),
    ],
)
def test_folds_that_cannot_be_are_refused_before_anything_is_written(words, said, capsys):
    assert run(*words, *QUICK, "name=none") in (2, 3)
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
    assert not Path("runs", "none").exists() or not any(Path("runs", "none").iterdir())
