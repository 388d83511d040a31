"""A run folder is enough: the same bits go into the model as in training, and what comes out has names."""

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from sklearn import datasets
from sklearn.metrics import r2_score

import dltrain
from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.data.loaders import make_loader
from dltrain.data.sources.image_folders import read_image
from dltrain.data.tables.reading import read_table
from dltrain.errors import CheckpointError, ConfigError, DataError
from dltrain.parts import models
from dltrain.runs import run_folder
from dltrain.trained import inference
from dltrain.training import experiment

ALL = ("data.val=0", "data.test=0")  # every row is a train row, in the order of the file
MIXED = """side,area,new,rooms,price
north,50.5,true,1,10.5
south,,false,2,11
 east ,70,true,2,12.25
north,81.25,false,?,13
,1e3,true,4,14
south,7,false,5,15.5
"""


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Trains for a moment; returns the run's folder and its plan."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mixed.csv").write_text(MIXED)

    def run(*typed):
        typed = [*typed, "trainer.max_steps=2", "trainer.tensorboard=false", "trainer.threads=1"]
        plan = make_plan(compose.compose(typed))
        folder = run_folder.create(plan.runs_dir, plan.name)
        experiment.prepare(plan, folder, ["dltrain", *typed])
        experiment.train(plan, folder)
        return folder, plan

    return run


TABLE = ("data=table", "data.path=mixed.csv", "data.target=price", "data.task=regression", "data.missing_marks=['?']")


@pytest.mark.parametrize("scaling", ["standard", "quantile", "none"])
def test_a_table_becomes_the_same_bits_as_in_training(train, scaling):
    folder, plan = train(*TABLE, *ALL, f"data.scaling={scaling}")
    trained = dltrain.load(folder)
    rows = read_table("mixed.csv").frame
    assert torch.equal(trained.inputs(rows), plan.data.train.x)
    shuffled = rows.select("rooms", "price", "new", "side", "area")
    assert torch.equal(trained.inputs(shuffled), plan.data.train.x)
    typed = [
        {"side": "north", "area": 50.5, "new": True, "rooms": 1},
        {"side": None, "area": 1000, "new": True, "rooms": 4.0},
    ]
    assert torch.equal(trained.inputs(typed), plan.data.train.x[[0, 4]])


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer"])
def test_arrays_become_the_same_bits_as_in_training(train, name):
    folder, plan = train(f"data={name}", *ALL)
    raw = getattr(datasets, f"load_{name}")().data
    for rows in (raw, torch.from_numpy(raw)):
        assert torch.equal(dltrain.load(folder).inputs(rows), plan.data.train.x)


@pytest.mark.parametrize("scaling", ["unit", "standard", "none"])
def test_digits_become_the_same_bits_as_in_training(train, scaling):
    folder, plan = train("data=digits", *ALL, f"data.scaling={scaling}")
    images = datasets.load_digits().images
    trained = dltrain.load(folder)
    assert torch.equal(trained.inputs(images), plan.data.train.x)
    assert torch.equal(trained.inputs(images[:, None]), plan.data.train.x)
    bright = torch.full((1, 8, 8), 255, dtype=torch.uint8)  # a picture's white is the set's 16
    assert torch.equal(trained.inputs(bright), trained.inputs(np.full((1, 8, 8), 16.0)))


def test_pictures_become_the_same_bits_as_in_training(train, tmp_path):
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 30, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (9, 7), tuple(c + i for c in colour)).save(tmp_path / "pictures" / name / f"{i}.png")
    folder, plan = train("data=image_folder", "data.root=pictures", "data.image_size=6", *ALL)
    batch = next(make_loader(plan.data.train, batch_size=8).epoch())
    files = sorted(tmp_path.glob("pictures/*/*.png"))
    pixels = torch.stack([read_image(f, size=(6, 6)) for f in files])
    assert torch.equal(dltrain.load(folder).inputs(pixels), batch.x)


def test_answers_of_classes(train):
    folder, plan = train("data=iris")
    trained = dltrain.load(folder)
    assert trained.classes == ("setosa", "versicolor", "virginica")
    answers = trained.predict(datasets.load_iris().data)
    assert answers.columns == ["prediction", "p_setosa", "p_versicolor", "p_virginica"]
    shares = answers.drop("prediction").to_numpy()
    assert shares.sum(1) == pytest.approx(1, abs=1e-6)
    assert answers["prediction"].to_list() == [trained.classes[i] for i in shares.argmax(1)]
    best = inference.checkpoint.load(trained.checkpoint)[0]
    model = plan.parts["model"](**plan.sizes)
    model.load_state_dict(best)
    with torch.no_grad():
        logits = model.eval()(trained.inputs(datasets.load_iris().data))
    torch.testing.assert_close(trained.logits(trained.inputs(datasets.load_iris().data)), logits)
    assert trained.predict(np.empty((0, 4))).shape == (0, 4)


@pytest.mark.parametrize(
    ("typed", "columns"),
    [
        (["data.positive=setosa"], ["prediction", "p_rest", "p_setosa"]),
        (["data.positive=setosa", "loss=hinge"], ["prediction", "score_setosa"]),
        (["loss=hinge"], ["prediction", "score_setosa", "score_versicolor", "score_virginica"]),
        (["loss=one_hot_mse"], ["prediction", "p_setosa", "p_versicolor", "p_virginica"]),
    ],
)
def test_what_the_loss_makes_of_outputs_names_the_columns(train, typed, columns):
    folder, _ = train("data=iris", *typed)
    answers = dltrain.load(folder).predict(datasets.load_iris().data)
    assert answers.columns == columns
    if columns[1].startswith("p_"):
        assert answers.drop("prediction").to_numpy().sum(1) == pytest.approx(1, abs=1e-6)


def test_answers_of_labels_and_values(train):
    folder, _ = train("data=multilabel")
    answers = dltrain.load(folder).predict({"x1": [1.0, -1], "x2": [0.0, 2]})
    assert answers.columns == ["right", "above", "far", "p_right", "p_above", "p_far"]
    assert answers.select("right", "above", "far").to_numpy().tolist() == (answers.to_numpy()[:, 3:] > 0.5).tolist()
    folder, plan = train("data=diabetes")
    trained = dltrain.load(folder)
    raw = datasets.load_diabetes(scaled=False).data
    values = plan.data.units.original(trained.logits(trained.inputs(raw)).double())
    assert trained.predict(raw)["progression"].to_numpy() == pytest.approx(values[:, 0].numpy(), rel=1e-6)


@pytest.mark.parametrize(("offset", "unit"), [(1.7e12, 1e4), (1.7e18, 1e9), (-5e9, 1.0)])
def test_values_far_from_zero_are_written_as_they_were_judged(tmp_path, monkeypatch, offset, unit):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=200)
    true = offset + unit * (x + 0.2 * np.random.default_rng(1).normal(size=200))
    Path("far.csv").write_text(
        "x,y\n" + "".join(f"{a!r},{b!r}\n" for a, b in zip(x.tolist(), true.tolist(), strict=True))
    )
    typed = ["data=table", "data.path=far.csv", "data.target=y", "model=linear", "trainer.epochs=5", "optimizer.lr=0.1"]
    plan = make_plan(compose.compose([*typed, "data.test=0", "data.val=0", "trainer.tensorboard=false"]))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    metrics = experiment.train(plan, folder)["train"]
    answers = dltrain.load(folder).predict(pl.read_csv("far.csv"))["y"].to_numpy()
    assert answers.dtype == np.float64
    assert len(np.unique(answers)) > 190
    assert metrics["r2"] > 0.9
    assert metrics["r2"] == pytest.approx(r2_score(true, answers), abs=1e-4)
    assert metrics["rmse"] == pytest.approx(np.sqrt(np.mean((true - answers) ** 2)), rel=1e-3)


def test_rows_that_do_not_fit_are_refused(train):
    folder, _ = train(*TABLE, *ALL)
    trained = dltrain.load(folder)
    row = {"side": "north", "area": 1.0, "new": True, "rooms": 3}
    for change, sentence in (
        ({"side": "west"}, "row 1: 'west' in column 'side' is unknown: the train rows had east, north, south"),
        ({"area": "large"}, "row 1: 'large' in column 'area' is not a number"),
        ({"new": "perhaps"}, "'perhaps' in column 'new' is not true or false"),
    ):
        with pytest.raises(DataError) as error:
            trained.predict([{**row, **change}])
        assert sentence in str(error.value)
    trained.predict([{**row, "side": "west"}], allow_unknown=True)
    with pytest.raises(DataError, match="no column 'rooms'"):
        trained.predict({k: [v] for k, v in row.items() if k != "rooms"})
    with pytest.raises(DataError, match=r"an array of shape \[2, 3\]: the run takes \[N, 4\], side, area, new, rooms"):
        trained.predict(np.zeros((2, 3)))
    images, _ = train("data=digits")
    with pytest.raises(DataError, match=r"rows of shape \[2, 3, 8, 8\]: the run takes \[N, 1, 8, 8\]"):
        dltrain.load(images).predict(np.zeros((2, 3, 8, 8)))


def test_pretrained_weights_are_not_downloaded_again(tmp_path):
    part = inference.Part(models.torchvision, {"name": "resnet18", "weights": "DEFAULT"})
    known = {"in_features": 3 * 8 * 8, "in_shape": (3, 8, 8), "out_features": 5, "codes": []}
    with torch.device("meta"):
        like = part(**known).state_dict()
    weights = {k: torch.rand(v.shape).to(v.dtype) for k, v in like.items()}
    model = inference._network(part, known, weights, tmp_path)
    assert torch.equal(model.state_dict()["fc.weight"], weights["fc.weight"])
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 5)


def test_a_gpu_that_is_not_here_gives_way(train):
    folder, _ = train("data=iris")
    file = folder / "config.yaml"
    file.write_text(file.read_text().replace("device: auto", "device: cuda:7"))
    assert dltrain.load(folder).predict(np.full((1, 4), 3.0)).shape == (1, 4)


HOSTILE = {  # what a stranger may have written into data.json; each is refused, whatever the rows
    "no JSON": "{",
    "a list": "[]",
    "a name as the task": {"task": "os.system"},
    "no classes": {"classes": []},
    "a huge shape": {"in_shape": [1 << 40]},
    "another shape": {"in_shape": [5]},
    "a word as the mean": {"preprocessing": {"columns": [{"mean": "x"}]}},
    "a deviation of zero": {"preprocessing": {"columns": [{"std": 0}]}},
    "an infinite median": {"preprocessing": {"columns": [{"median": 1e999}]}},
    "a name that is a list": {"preprocessing": {"columns": [{"name": ["x"]}]}},
    "a target that is a number": {"preprocessing": {"target": [1]}},
    "more columns than a file has": {"preprocessing": {"numbered": 1 << 40}},
    "another kind": {"preprocessing": {"kind": "pickle"}},
    "a scale that falls": {"preprocessing": {"columns": [{"quantiles": [2, 1]}]}},
    "categories twice": {"preprocessing": {"columns": [{"kind": "text", "categories": ["a", "a"]}]}},
    "targets too many": {"target_mean": [1.0, 2.0], "target_std": [1.0, 2.0]},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_facts_that_no_run_writes_are_refused(train, name):
    folder, _ = train("data=iris", *ALL)
    change, file = HOSTILE[name], folder / "data.json"
    if isinstance(change, str):
        file.write_text(change)
    else:
        content = json.loads(file.read_text())
        for key, value in change.items():
            if isinstance(value, dict):
                columns = value.pop("columns", [{}])
                content[key] |= value
                content[key]["columns"][0] |= columns[0]
            else:
                content[key] = value
        file.write_text(json.dumps(content))
    with pytest.raises((DataError, ConfigError)) as error:
        dltrain.load(folder)
    assert "data.json" in str(error.value)


def test_weights_of_another_model_are_refused(train, tmp_path):
    folder, _ = train("data=iris")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    file = copy / "config.yaml"
    text = file.read_text()
    for width in (32, 2_000_000_000):  # the second would take 30 GB if it were built
        file.write_text(text.replace("- 128", f"- {width}"))
        with pytest.raises(CheckpointError, match="does not fit this configuration: model"):
            dltrain.load(copy)


def test_a_notebook_keeps_its_threads_and_sees_one_line(train):
    folder, _ = train("data=iris", "trainer.threads=1")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trained = dltrain.load(folder)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert repr(trained).startswith(f"<run {trained.folder}: done after 2 steps\n")
    assert repr(trained).endswith("MLP, multiclass: setosa, versicolor, virginica>")


def test_best_weights_that_a_run_replaces_while_they_are_read(train, monkeypatch):
    folder, _ = train("data=iris")
    (best,) = folder.glob("checkpoints/best-*")
    load, newer = inference.checkpoint.load, best.with_name("best-00000099")

    def replaced(path):
        if path == best:
            best.rename(newer)
            (newer / "MANIFEST.json").write_text(
                (newer / "MANIFEST.json").read_text().replace(f'"step": {int(best.name[5:])}', '"step": 99')
            )
        return load(path)

    monkeypatch.setattr(inference.checkpoint, "load", replaced)
    assert dltrain.load(folder).checkpoint == newer


class NAType:
    """As pandas.NA, which is no dependency: compared with anything it is neither true nor false."""

    def __ne__(self, other):
        return self

    __hash__ = None

    def __bool__(self):
        raise TypeError("boolean value of NA is ambiguous")


def gaps(gap=None):
    """Columns of every type with a row that misses everything, and the text of the same in a file."""
    Path("gaps.csv").write_text("side,area,new,rooms\nnorth,1000,true,1\n,,,\nsouth,70,false,3\n")
    full = {"side": ["north", gap, "south"], "area": [1000, gap, 70], "new": [True, gap, False], "rooms": [1, gap, 3]}
    return full, read_table("gaps.csv").frame


@pytest.mark.parametrize("gap", [None, float("nan"), np.float32("nan"), np.datetime64("NaT"), NAType()])
def test_what_python_calls_missing_is_missing(train, gap):
    """In columns of every type, in every form: as the empty cell of a file."""
    trained = dltrain.load(train(*TABLE, *ALL)[0])
    rows, file = gaps(gap)
    expected = trained.inputs(file)
    lines = list(zip(*rows.values(), strict=True))
    array = np.empty((3, 4), dtype=object)
    array[:] = lines
    for given in (rows, [dict(zip(rows, line, strict=True)) for line in lines], lines, array):
        assert torch.equal(trained.inputs(given), expected)
    if isinstance(gap, float):
        assert torch.equal(
            trained.inputs(pl.DataFrame({**rows, "side": ["north", None, "south"]}, strict=False)), expected
        )
        nothing = pl.DataFrame({name: [gap] for name in rows})
        assert torch.equal(trained.inputs(nothing), expected[1:2])


def test_frames_of_pandas(train):
    pandas = pytest.importorskip("pandas")
    trained = dltrain.load(train(*TABLE, *ALL)[0])
    for gap in (None, float("nan"), pandas.NA, pandas.NaT):
        rows, file = gaps(gap)
        expected = trained.inputs(file)
        assert torch.equal(trained.inputs(pandas.DataFrame(rows, dtype=object)), expected)
        assert torch.equal(trained.inputs(pandas.DataFrame(rows, dtype=object).convert_dtypes()), expected)
    plain = pandas.DataFrame(gaps()[0])
    chosen = plain.astype({"side": "category", "area": "Float32", "rooms": "Int8", "new": "boolean"})
    for frame in (plain, chosen, plain.set_index("area", drop=False)):
        assert torch.equal(trained.inputs(frame), expected)
    assert torch.equal(trained.inputs(plain.iloc[0]), expected[:1])
    assert torch.equal(trained.inputs(plain.iloc[1]), expected[1:2])


def test_rows_in_every_form_that_a_table_has(train):
    folder, plan = train("data=iris", *ALL)
    trained = dltrain.load(folder)
    raw, names = datasets.load_iris().data[:7], trained.facts.columns
    expected = plan.data.train.x[:7]
    frame = pl.DataFrame(dict(zip(names, raw.T, strict=True)))
    forms = [
        raw.tolist(),
        [tuple(row) for row in raw],
        list(raw),
        frame,
        frame.lazy(),
        frame.to_dict(),
        frame.to_dict(as_series=False),
        frame.to_dicts(),
        {name: tuple(values) for name, values in frame.to_dict().items()},
        {name: torch.from_numpy(values.copy()) for name, values in zip(names, raw.T, strict=True)},
        np.array([tuple(row) for row in raw], dtype=[(name, "f8") for name in names]),
        np.ma.masked_invalid(raw),
        torch.from_numpy(raw).requires_grad_(),
        frame.select(reversed(names)),
    ]
    for rows in forms:
        assert torch.equal(trained.inputs(rows), expected), type(rows)
    assert torch.equal(trained.inputs(frame.row(3, named=True)), expected[3:4])
    for kind in (torch.float16, torch.bfloat16):
        assert torch.allclose(trained.inputs(torch.from_numpy(raw).to(kind)), expected, atol=0.05)
    for rows in ([], frame.head(0), frame.head(0).to_dict(), np.empty((0, 4))):
        assert trained.predict(rows).shape == (0, 4)
    late = [*frame.to_dicts() * 20, {**frame.row(0, named=True), names[0]: "large"}]  # not by the first 100 alone
    with pytest.raises(DataError, match="row 141: 'large' in column 'sepal length"):
        trained.predict(late)
    for rows, sentence in (
        (5, "rows as int: give a data frame, a dict of columns, a list of dicts or of rows, or an array"),
        ("iris.csv", "'iris.csv' is text, not rows: `dltrain predict RUN FILE` reads a file"),
        (raw[0], r"an array of shape \[4\]: the run takes \[N, 4\]"),
        (raw[0].tolist(), "row 1 is float, not a list of cells"),
        ([raw[0], raw[1][:3]], "row 2 has 3 cells"),
        (
            {name: [1.0] * (1 + at) for at, name in enumerate(names)},
            r"columns of unequal length: sepal length \(cm\) 1",
        ),
        (pl.Series("sepal length (cm)", [1.0]), "no column 'sepal width"),
        (frame.with_columns(pl.lit("2020-01-01").str.to_date().alias(names[1])), "holds Date, not numbers or text"),
        ([{**frame.row(0, named=True), names[1]: [1]}], r"row 1: column 'sepal width \(cm\)' holds list"),
        (iter(raw), "rows as .*: give a data frame"),
        (None, "rows as NoneType"),
        (plan.data.train, r"Tensors holds rows that are prepared: judge a part by evaluate\(part\)"),
        (plan.data, r"Data holds rows that are prepared"),
    ):
        with pytest.raises(DataError, match=sentence) as error:
            trained.predict(rows)
        assert len(str(error.value).splitlines()) <= 3
    images, _ = train("data=digits")
    for rows in ("a.png", None, [[1, 2], [3]]):
        with pytest.raises(DataError):
            dltrain.load(images).predict(rows)


@pytest.mark.parametrize("value", [float("inf"), -float("inf"), "inf", "1e999"])
def test_infinity_is_not_a_missing_value(train, value):
    folder, _ = train(*TABLE, *ALL)
    trained = dltrain.load(folder)
    row = {"side": "north", "area": 50.0, "new": True, "rooms": 3}
    for rows in ([row, {**row, "area": value}], {name: [v, value if name == "area" else v] for name, v in row.items()}):
        with pytest.raises(DataError, match=r"row 2: '(-?inf|1e999)' in column 'area' is infinite"):
            trained.predict(rows)
        assert torch.equal(trained.inputs(rows, allow_unknown=True)[1], trained.inputs([{**row, "area": None}])[0])


@pytest.mark.parametrize("name", ["iris", "wine", "breast_cancer", "diabetes", "iris data.scaling=quantile"])
def test_rows_that_are_scaled_already_are_not_scaled_in_silence(train, name):
    folder, plan = train(*f"data={name}".split())
    trained = dltrain.load(folder)
    with pytest.warns(
        UserWarning, match=r"scaled already \(column '|lie far from those that the run was fitted on \(col"
    ):
        trained.predict(plan.data.test.x)
    raw = getattr(datasets, f"load_{name.split()[0]}")
    trained.predict((raw(scaled=False) if name == "diabetes" else raw()).data)  # warnings are errors
    summary = run_folder.read_json(folder / "summary.json")
    assert trained.evaluate(plan.data.test) == pytest.approx(summary["test"])
    with pytest.raises(DataError, match=r"rows have the shape \[3\]: the run takes"):
        trained.evaluate(dltrain.data.Tensors(torch.zeros(2, 3), torch.zeros(2)))


def test_pixels_that_are_scaled_already_are_refused(train):
    folder, plan = train("data=digits")
    trained, images = dltrain.load(folder), datasets.load_digits().images[:20]
    trained.predict(images)
    for rows, sentence in (
        (images / 16, "pixels from 0 to 1: the run takes them from 0 to 16; multiply by 16"),
        (images * 16, "pixels from 0 to 256: the run takes raw ones, from 0 to 16"),
        (plan.data.test.x[:5] * 2 - 1, "pixels from -1 to 1"),
        (images * float("nan"), "pixels from nan to nan"),
    ):
        with pytest.raises(DataError, match=sentence):
            trained.predict(rows)
    assert trained.evaluate(plan.data.test) == pytest.approx(run_folder.read_json(folder / "summary.json")["test"])


def test_pixels_on_another_scale_than_the_train_images_are_warned_of(train, dltrain):
    """Bytes from 0 to 16 where they reached 255, and the other way round: neither is impossible."""
    digits = datasets.load_digits().images[:40]
    for name, levels in (("full", 15.9), ("dark", 1)):
        for i, pixels in enumerate(digits):
            (Path(name) / str(i % 2)).mkdir(parents=True, exist_ok=True)
            Image.fromarray((levels * pixels).astype(np.uint8)).save(Path(name) / str(i % 2) / f"{i}.png")
    bright, dark = (torch.from_numpy((levels * digits).astype(np.uint8)) for levels in (15.9, 1))
    knobs = ("data=image_folder", "data.image_size=8", "data.channels=gray")
    of = {name: train(*knobs, f"data.root={name}")[0] for name in ("full", "dark")} | {
        "digits": train("data=digits")[0]
    }
    for name, usual, other in (("full", bright, dark), ("dark", dark, bright), ("digits", bright, dark)):
        trained = inference.load(of[name])
        trained.predict(usual)  # warnings are errors
        trained.predict(usual[:1])
        with pytest.warns(UserWarning, match=r"^the pixels reach .*: are they on the same scale\?$"):
            trained.predict(other)
    with pytest.warns(UserWarning, match=r"from 0 to 16 of 255, where the train images"):
        inference.load(of["full"]).predict(dark)
    inference.load(of["digits"]).predict(digits)
    code, _, err = dltrain("predict", str(of["full"]), "dark")
    assert (code, "note: the pixels reach from 0 to 16 of 255" in err) == (0, True), err
    code, _, err = dltrain("predict", str(of["full"]), "full")
    assert (code, "note" in err) == (0, False), err


def test_a_loaded_model_can_be_trained_on(dltrain):
    from dltrain import Trainer, data, load

    assert dltrain("data=iris", "trainer.epochs=1", "model.widths=[8]")[0] == 0
    model, iris = load("last").model, data.iris()
    before = [p.detach().clone() for p in model.parameters()]
    trainer = Trainer(model, torch.nn.functional.cross_entropy, torch.optim.Adam(model.parameters(), lr=0.01))
    first, last = trainer.run(iris, epochs=2)
    assert last.metrics["train/loss"] < first.metrics["train/loss"]
    assert not any(torch.equal(p, q) for p, q in zip(model.parameters(), before, strict=True))
