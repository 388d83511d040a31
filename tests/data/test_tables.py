"""Tables, scikit-learn's sets and California housing: what is read, learned from the train rows, and refused."""

import hashlib
import inspect
import io
import json
import shutil
import tarfile
from importlib import import_module
from pathlib import Path
from urllib.error import URLError

import numpy as np
import polars as pl
import pytest
import torch
from omegaconf import OmegaConf
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import QuantileTransformer

from dltrain import located
from dltrain.data import split
from dltrain.data.preprocessing import again, decode, facts
from dltrain.data.sources.california import california_housing
from dltrain.data.sources.sklearn_sets import breast_cancer, diabetes, digits, iris, wine
from dltrain.data.sources.table import table
from dltrain.data.tables.cells import code_columns
from dltrain.data.tables.encoding import encode, fit, remarks
from dltrain.data.tables.frames import frame_of
from dltrain.data.tables.headers import Head
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.rules import Rules
from dltrain.data.tables.targets import known_target
from dltrain.data.tables.text import _read_plain
from dltrain.data.units import stored
from dltrain.errors import ConfigError, DataError

CONFIGS = Path(__file__).parents[2] / "configs" / "data"


@pytest.fixture
def write(tmp_path):
    """Writes text or bytes as a file and returns its path."""

    def write(content, name="t.csv", encoding="utf-8"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
        return str(path)

    return write


def rows(n=60, header="a,b,kind,y", row="{i},{half},{word},{i}.5"):
    """A table of n rows: a number, another, one of three words, and a value to predict."""
    lines = [row.format(i=i, half=i / 2, word=("red", "green", "blue")[i % 3]) for i in range(n)]
    return "\n".join([header, *lines]) + "\n"


# --- scikit-learn's sets --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "task", "in_shape", "sizes", "classes"),
    [
        (digits, "multiclass", (1, 8, 8), (1221, 216, 360), tuple("0123456789")),
        (iris, "multiclass", (4,), (102, 18, 30), ("setosa", "versicolor", "virginica")),
        (wine, "multiclass", (13,), (120, 22, 36), ("class_0", "class_1", "class_2")),
        (breast_cancer, "binary", (30,), (386, 69, 114), ("malignant", "benign")),
        (diabetes, "regression", (10,), (300, 53, 89), ()),
    ],
)
def test_sklearn_sets_have_the_promised_shapes(source, task, in_shape, sizes, classes):
    data = source()
    assert (data.task, data.in_shape, data.classes, data.notes) == (task, in_shape, classes, ())
    assert tuple(len(part) for part in (data.train, data.val, data.test)) == sizes
    assert data.train.x.dtype == torch.float32
    assert data.train.x.shape == (sizes[0], *in_shape)
    assert data.train.y.dtype == (torch.float32 if task == "regression" else torch.int64)
    assert all(type(name) is str for name in data.names)
    assert json.loads(json.dumps(data.preprocessing)) == data.preprocessing


def test_digits_are_the_original_ones_and_stratified():
    data = digits()
    y = torch.cat([part.y for part in (data.train, data.val, data.test)])
    assert torch.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert torch.bincount(data.test.y).tolist() == [36, 36, 35, 37, 36, 37, 36, 36, 35, 36]
    assert data.train.x.min() == 0
    assert data.train.x.max() == 1
    assert torch.equal(data.train.x * 16, (data.train.x * 16).round())
    assert data.fill == (0.0,)


def test_digits_scaling_says_what_an_empty_pixel_becomes():
    standard, raw = digits(scaling="standard"), digits(scaling="none")
    assert standard.train.x.mean().abs() < 1e-6
    assert abs(standard.train.x.std() - 1) < 1e-5
    assert standard.fill[0] == pytest.approx(standard.train.x.min().item())
    assert raw.fill == (0.0,)
    assert raw.train.x.max() == 16


def test_classes_are_kept_by_name_or_number():
    by_number, by_name = digits(classes=[0, 1]), digits(classes=["0", "1"])
    assert by_number.classes == ("0", "1")
    assert by_number.task == "binary"
    assert torch.equal(by_number.train.x, by_name.train.x)
    assert sum(len(part) for part in (by_number.train, by_number.val, by_number.test)) == 178 + 182
    assert iris(classes=["virginica", "setosa"]).classes == ("virginica", "setosa")


def test_positive_is_one_class_against_the_rest():
    data = iris(positive="setosa", val=0, test=0)
    assert (data.task, data.classes) == ("binary", ("rest", "setosa"))
    assert torch.bincount(data.train.y).tolist() == [100, 50]
    assert torch.equal(data.train.y, iris(positive=0, val=0, test=0).train.y)
    assert digits(classes=[3, 5, 8], positive=8).classes == ("rest", "8")
    assert breast_cancer(positive="malignant").classes == ("rest", "malignant")


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"classes": ["rose", "setosa"]}, "no class 'rose'; choose from setosa, versicolor, virginica"),
        ({"classes": [0]}, "at least two different classes"),
        ({"classes": [0, 0]}, "at least two different classes"),
        ({"positive": 3}, "no class '3'"),
        ({"classes": [0, 1], "positive": "virginica"}, "not among data.classes"),
        ({"scaling": "minmax"}, "choose standard, quantile, none"),
    ],
)
def test_wrong_choices_name_what_can_be_chosen(knobs, message):
    with pytest.raises(ConfigError, match=message):
        iris(**knobs)


def test_regression_targets_are_standardised_by_the_train_rows():
    data = diabetes()
    assert data.targets == ("progression",)
    assert data.units.mean.shape == data.units.std.shape == (1,)
    assert data.train.y.mean().abs() < 1e-5
    assert abs(data.train.y.std(correction=0) - 1) < 1e-5
    original = data.test.y * data.units.std + data.units.mean
    assert torch.allclose(original, original.round(), atol=1e-4)
    assert original.min() >= 25
    assert original.max() <= 346


OFFSETS = [(1.7e12, 1e4), (1.7e18, 1e9), (-2e15, 3.0), (0.0, 1e-50), (0.0, 1e100), (3e-45, 1e-47)]


@pytest.mark.parametrize(("offset", "unit"), OFFSETS)
def test_targets_of_any_size_keep_their_differences(write, offset, unit):
    values = [offset + unit * ((7 * i) % 60) for i in range(60)]
    lines = "".join(f"{i},{value!r}\n" for i, value in enumerate(values))
    data = table(write("a,y\n" + lines), target="y", task="regression", val=0, test=0)
    y = data.train.y.double()
    assert abs(y.mean()) < 2e-3
    assert y.std(correction=0).item() == pytest.approx(1, abs=1e-3)
    back = (y * data.units.std + data.units.mean)[:, 0].numpy()
    order = np.round(data.train.x[:, 0].double().numpy() * np.std(range(60)) + 29.5).astype(int)
    np.testing.assert_allclose(back / unit, np.array(values)[order] / unit, atol=1e-3)


@pytest.mark.parametrize(("start", "step"), [(2**60, 1), (2**60, 100), (0.1, 4e-17), (0, 1e200)])
def test_targets_that_float64_cannot_tell_apart_or_square_are_refused(write, start, step):
    lines = "".join(f"{i},{start + step * i}\n" for i in range(60))
    with pytest.raises(DataError, match=r"target 'y' .*(subtract a constant|choose another unit)"):
        table(write("a,y\n" + lines), target="y", task="regression")


def test_without_validation_and_test_rows_all_three_are_the_train_set():
    data = wine(val=0, test=0)
    assert data.val is data.train
    assert data.test is data.train
    assert len(data.train) == 178
    assert len(data.notes) == 2
    assert "validation" in data.notes[0]
    assert "test" in data.notes[1]


# --- California housing ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def california(shared_data):
    return shared_data / "california_housing"


def test_california_derives_scikit_learns_features(california):
    data = california_housing(str(california), scaling="none", val=0, test=0)
    first = [8.3252, 41, 880 / 126, 129 / 126, 322, 322 / 126, 37.88, -122.23]
    assert torch.equal(data.train.x[0], torch.tensor(first, dtype=torch.float64).float())
    assert [c["name"] for c in data.preprocessing["columns"]] == [
        "MedInc", "HouseAge", "AveRooms", "AveBedrms", "Population", "AveOccup", "Latitude", "Longitude",
    ]  # fmt: skip
    y = data.train.y[:, 0].double() * data.units.std.double() + data.units.mean.double()
    assert y[0] == pytest.approx(4.526, abs=1e-6)
    assert y.mean() == pytest.approx(2.068558, abs=1e-5)
    assert y.std(correction=0) == pytest.approx(1.153928, abs=1e-5)


def test_california_is_split_as_in_the_published_results(california):
    train, val, test = split(20640, val=0.2, test=0.2, seed=0)
    rest, public_test = train_test_split(np.arange(20640), test_size=0.2, random_state=0)
    public_train, public_val = train_test_split(rest, test_size=0.2, random_state=1)
    assert (test == public_test).all()
    assert (val == public_val).all()
    assert (train == public_train).all()
    assert test[:5].tolist() == [14740, 10101, 20566, 2670, 15709]

    data = california_housing(str(california), scaling="none")
    whole = california_housing(str(california), scaling="none", val=0, test=0).train
    for part, numbers in ((data.train, train), (data.val, val), (data.test, test)):
        assert torch.equal(part.x, whole.x[torch.from_numpy(numbers)])


def test_california_quantiles_are_scikit_learns(california):
    data = california_housing(str(california))
    raw = pl.read_csv(california / "cal_housing.csv").select(
        "median_income",
        "housing_median_age",
        pl.col("total_rooms") / pl.col("households"),
        pl.col("total_bedrooms") / pl.col("households"),
        "population",
        pl.col("population").alias("people") / pl.col("households"),
        "latitude",
        "longitude",
    )
    train, _, test = split(20640, val=0.2, test=0.2, seed=0)
    theirs = QuantileTransformer(n_quantiles=13209 // 30, output_distribution="normal", subsample=None)
    np.testing.assert_allclose(data.train.x.numpy(), theirs.fit_transform(raw.to_numpy()[train]), atol=1e-5)
    np.testing.assert_allclose(data.test.x.numpy(), theirs.transform(raw.to_numpy()[test]), atol=1e-5)


def test_california_refuses_the_file_with_missing_values(california):
    with pytest.raises(DataError, match=r"housing.csv, line 292: total_bedrooms .* 207 rows\n.*data=table"):
        california_housing(str(california / "housing.csv"))


def test_california_without_a_file_or_network_says_where_to_put_one(monkeypatch, tmp_path):
    def offline(*_):
        raise URLError("no network")

    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", offline)  # scikit-learn checks what it is given
    with pytest.raises(DataError, match=r"could not download .*no network.*\nGive data.root=FOLDER"):
        california_housing()
    with pytest.raises(DataError, match=r"cal_housing.csv: no such file; data.root"):
        california_housing(str(tmp_path))


def test_california_as_scikit_learn_downloads_it_is_that_of_the_file(california, monkeypatch, tmp_path):
    from sklearn.datasets import _california_housing as fetching

    rows = (california / "cal_housing.csv").read_bytes().partition(b"\n")[2]
    archive = tmp_path / "cal_housing.tgz"
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("CaliforniaHousing/cal_housing.data")
        member.size = len(rows)
        tar.addfile(member, io.BytesIO(rows))
    known = fetching.ARCHIVE._replace(checksum=hashlib.sha256(archive.read_bytes()).hexdigest())
    monkeypatch.setattr(fetching, "ARCHIVE", known)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "cache"))
    monkeypatch.setattr("sklearn.datasets._base.urlretrieve", lambda url, path: shutil.copy(archive, path))
    fetched, read = california_housing(), california_housing(str(california))
    torch.testing.assert_close(fetched.train.x, read.train.x, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(fetched.train.y, read.train.y)


# --- what is learned, and from which rows ---------------------------------------------------------------------------


def test_the_real_housing_table_counts_what_it_fills_in(california):
    data = table(str(california / "housing.csv"), target="median_house_value")
    assert data.task == "regression"
    assert data.in_shape == (8 + 5,)
    frame = pl.read_csv(california / "housing.csv")
    train = split(20640, val=0.15, test=0.2, seed=0)[0]
    median = frame["total_bedrooms"][train].median()
    assert data.notes == (
        f"column 'total_bedrooms': 207 values missing, replaced by the train rows' median {median:g}",
    )
    column = {c["name"]: c for c in data.preprocessing["columns"]}
    assert column["total_bedrooms"]["median"] == median
    assert column["ocean_proximity"]["categories"] == ["<1H OCEAN", "INLAND", "ISLAND", "NEAR BAY", "NEAR OCEAN"]
    every = torch.cat([data.train.x, data.val.x, data.test.x])
    assert every[:, -5:].sum(0).tolist() == [9136, 6551, 5, 2290, 2658]
    assert data.train.x[:, :8].mean(0).abs().max() < 1e-5

    with pytest.raises(DataError, match=r"line 292: column 'total_bedrooms' has 207 values .*missing=refuse"):
        table(str(california / "housing.csv"), target="median_house_value", missing="refuse")


@pytest.mark.parametrize("scaling", ["standard", "quantile", "none"])
def test_nothing_is_learned_from_validation_or_test_rows(write, scaling):
    n = 100
    frame = pl.read_csv(io.StringIO(rows(n)))
    _, val, test = split(n, val=0.15, test=0.2, seed=0)
    others = np.concatenate([val, test]).tolist()
    changed = frame.with_columns(
        a=pl.Series([10**6 if i in others else v for i, v in enumerate(frame["a"])]),
        b=pl.Series([None if i in others else v for i, v in enumerate(frame["b"])]),
        kind=pl.Series(["violet" if i in others else v for i, v in enumerate(frame["kind"])]),
        y=pl.Series([-1e6 if i in others else v for i, v in enumerate(frame["y"])]),
    )
    knobs = {"target": "y", "scaling": scaling}
    before = table(write(frame.write_csv(), "before.csv"), **knobs)
    after = table(write(changed.write_csv(), "after.csv"), **knobs)
    assert after.preprocessing == before.preprocessing
    assert torch.equal(after.train.x, before.train.x)
    assert torch.equal(after.train.y, before.train.y)
    assert torch.equal(after.units.mean, before.units.mean)
    assert not torch.equal(after.test.x, before.test.x)
    assert (after.test.x[:, 2:] == 0).all()  # a category that no train row has
    assert (
        f"column 'kind': {len(others)} values not among the train rows' ('violet'), encoded as no category"
        in after.notes
    )


def test_a_preprocessing_read_back_from_json_encodes_new_rows_the_same(write):
    path = write(rows())
    data = table(path, target="y", scaling="quantile", val=0, test=0)
    kept = json.loads(json.dumps(data.preprocessing))
    assert torch.equal(encode(read_table(path).frame, kept), data.train.x)
    typed = pl.read_csv(path, columns=["kind", "b", "a"])  # typed columns, in another order, without the target
    assert torch.equal(encode(typed, kept), data.train.x)
    with pytest.raises(DataError, match=r"the table: no column 'kind' .*did you mean 'kinds'"):
        encode(typed.rename({"kind": "kinds"}), kept)
    with pytest.raises(DataError, match="row 1: 'tall' in column 'a' is not a number"):
        encode(typed.with_columns(a=pl.lit("tall")), kept)


def test_quantiles_follow_scikit_learn_with_ties_and_beyond_the_range():
    values = np.concatenate([np.zeros(200), np.random.default_rng(0).exponential(size=400), np.full(50, 3.0)])
    frame = pl.DataFrame({"a": values})
    preprocessing, _ = fit(frame, [{"name": "a", "kind": "number"}], Rules("quantile"))
    theirs = QuantileTransformer(n_quantiles=650 // 30, output_distribution="normal", subsample=None).fit(
        values[:, None]
    )
    new = np.concatenate([values, [-5.0, 1e9, 0.5]])
    ours = encode(pl.DataFrame({"a": new}), preprocessing).numpy()
    np.testing.assert_allclose(ours, theirs.transform(new[:, None]), rtol=1e-5, atol=1e-6)


def test_missing_and_infinite_numbers_become_the_median_and_are_counted(write):
    text = "a,b,y\n" + "".join(f"{v},{i},{i}.5\n" for i, v in enumerate(["", "inf", "nan", "-inf", *range(1, 8)]))
    data = table(write(text), target="y", scaling="none", val=0, test=0)
    assert data.train.x[:, 0].tolist() == [4, 4, 4, 4, 1, 2, 3, 4, 5, 6, 7]
    assert data.notes[:2] == (
        "column 'a': 1 value missing, replaced by the train rows' median 4",
        "column 'a': 3 values not finite (inf or nan), replaced by the train rows' median 4",
    )
    with pytest.raises(DataError, match=r"t.csv, line 2: column 'a' has 4 values missing or not finite"):
        table(write(text), target="y", missing="refuse")


def test_a_mark_for_a_missing_value_is_one_among_numbers_and_a_word_among_words(write):
    text = "a,word,y\n" + "".join(
        f"{v},{w},{i}.5\n" for i, (v, w) in enumerate([("NA", "NA"), *zip("1234", "uvuv", strict=True)])
    )
    data = table(write(text), target="y", scaling="none", val=0, test=0)
    assert data.train.x[0].tolist() == [2.5, 1, 0, 0]
    assert data.notes[:2] == (
        "column a (NA): missing where they say so",
        "column 'a': 1 value missing, replaced by the train rows' median 2.5",
    )
    data = table(write(text), target="y", missing_marks=["NA"], scaling="none", val=0, test=0)
    assert data.train.x[0].tolist() == [2.5, 0, 0]
    assert data.notes[1] == "column 'word': 1 value missing, encoded as no category"
    assert torch.equal(encode(read_table(write(text)).frame, data.preprocessing), data.train.x)
    with pytest.raises(DataError, match=r"t.csv, line 2: 'none of it' in column 'a'.*\n.*missing_marks="):
        table(write(text.replace("NA,NA", "none of it,NA")), target="y")


def test_constant_columns_are_dropped_with_a_note_and_booleans_are_numbers(write):
    text = "same,word,none,flag,y\n" + "".join(f"7,w,,{'True' if i % 2 else 'false'},{i}.5\n" for i in range(10))
    data = table(write(text), target="y", val=0, test=0)
    assert data.train.x.flatten().tolist() == [i % 2 for i in range(10)]
    assert data.notes[0] == "column none: left out, since there is no value"
    assert [note.split("'")[1] for note in data.notes[1:3]] == ["same", "word"]
    with pytest.raises(DataError, match="nothing to learn from; constant in the train rows: same"):
        table(write(text), target="y", features=["same"])


def test_few_mistakes_in_a_column_are_named_and_not_learned_from(write):
    def refused(cells, message):
        text = "x,id,y\n" + "".join(f'{i},"{cell}",{i}.5\n' for i, cell in enumerate(cells))
        with pytest.raises(DataError, match=message):
            table(write(text), target="y")
        assert table(write(text), target="y", drop=["id"]).in_shape == (1,)
        assert table(write(text), target="y", categorical=["id"]).in_shape[0] > 2

    refused([*map(str, range(19)), "many"], r"line 21: 'many' in column 'id', .*\(1 of 20 are not\)")
    refused([*(f"2024-03-{i + 1:02}" for i in range(29)), "2024-02-30"], r"line 31: '2024-02-30' .* are dates or times")


# --- the target -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "task", "classes"),
    [
        (["yes", "no", "NA"], "multiclass", ("NA", "no", "yes")),
        (["None", "null"], "binary", ("None", "null")),
        (["true", "False"], "binary", ("false", "true")),
        (["10", "9", "2"], "multiclass", ("2", "9", "10")),
        (["0.0", "1.0"], "binary", ("0", "1")),
        (["0", "1.5"], "regression", ()),
        (["1.5", "2.5"], "regression", ()),
        ([str(i) for i in range(21)], "regression", ()),
    ],
)
def test_the_task_follows_from_the_target(write, cells, task, classes):
    text = "x,t\n" + "".join(f"{i},{cells[i % len(cells)]}\n" for i in range(63))
    data = table(write(text), target="t", val=0, test=0)
    assert (data.task, data.classes) == (task, classes)
    if classes:
        assert [classes[k].lower() for k in data.train.y.tolist()] == [
            cells[i % len(cells)].lower().removesuffix(".0") for i in range(63)
        ]
    assert data.targets == (() if classes else ("t",))


IDS = (
    [2**53 + i for i in range(4)],
    [2**63 + i for i in range(3)],
    [-(2**60) - i for i in range(3)],
    [10**19 + 1, 10**19],
)


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("ids", IDS, ids=lambda ids: str(ids[0]))
def test_whole_numbers_that_float64_would_merge_stay_different_classes(write, tmp_path, ids, form):
    cells = [ids[i % len(ids)] for i in range(60)]
    if form == "csv":
        path = write("x,t\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells)))
    else:
        path = str(tmp_path / "t.parquet")
        kind = pl.Int64 if min(ids) < 0 else pl.UInt64
        pl.DataFrame({"x": range(60), "t": pl.Series(cells, dtype=kind)}).write_parquet(path)
    for task in ("auto", "classification"):
        data = table(path, target="t", task=task, val=0, test=0)
        assert data.classes == tuple(map(str, sorted(ids)))
    data = table(path, target="t", val=0, test=0, scaling="none")
    assert data.train.y.tolist() == [sorted(ids).index(cells[int(row)]) for row in data.train.x[:, 0]]
    again = known_target(read_table(path), ["t"], classes=data.classes)
    assert again.tolist() == [sorted(ids).index(cell) for cell in cells]
    shown = write("x,t\n" + "".join(f"{i},{cell}.0\n" for i, cell in enumerate(cells)), "written.csv")
    assert known_target(read_table(shown), ["t"], classes=data.classes).tolist() == again.tolist()
    assert table(shown, target="t", task="classification", val=0, test=0).classes == data.classes


def test_the_task_can_be_told(write):
    path = write("x,i,f,w\n" + "".join(f"{i},{i % 3},{1 + i % 2}.0,{'ab'[i % 2]}\n" for i in range(30)))
    assert table(path, target="i", task="regression").targets == ("i",)
    assert table(path, target="f").task == "regression"
    assert table(path, target="f", task="classification").classes == ("1", "2")
    with pytest.raises(DataError, match="line 2: 'a' in target 'w' is not a number"):
        table(path, target="w", task="regression")
    with pytest.raises(ConfigError, match=r"data.task=binary: choose auto, classification, multilabel, regression"):
        table(path, target="w", task="binary")
    with pytest.raises(ConfigError, match="one target column, not 2"):
        table(path, target=["i", "w"], task="classification")


def test_several_targets_are_labels_or_values(write):
    path = write(
        "x,p,q,r,s\n" + "".join(f"{i},{i % 2},{'true' if i % 3 else 'false'},{i}.5,{i % 5}\n" for i in range(30))
    )
    labels = table(path, target=["p", "q"], drop=["r", "s"], val=0, test=0)
    assert (labels.task, labels.classes, labels.in_shape) == ("multilabel", ("p", "q"), (1,))
    assert labels.train.y.dtype == torch.float32
    assert labels.train.y[:4].tolist() == [[0, 0], [1, 1], [0, 1], [1, 0]]
    values = table(path, target=["r", "s"], features=["x"])
    assert (values.task, values.targets) == ("regression", ("r", "s"))
    assert values.train.y.mean(0).abs().max() < 1e-6
    assert values.units.std.shape == (2,)
    with pytest.raises(DataError, match=r"line 4: column 's' is 2; data.task=multilabel needs 0 or 1"):
        table(path, target=["p", "s"], task="multilabel")


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["1.5", "", "nan", "inf", "2.5", ""], "in 4 of 6 rows: .*line 3; .*line 4; .*line 5; ..."),
        (["a", "b", "", "a"], "target 't' is missing or not finite in 1 of 4 rows: .*line 4"),
        (["a"] * 6, "one class only: 'a'"),
        (["1.5"] * 6, "target 't' is 1.5 in each of the 6 rows"),
        ([*map(str, range(100, 140)), "many"], "line 42: 'many' in target 't' is not a number"),
        ([f"name {i}" for i in range(40)], "40 different values in 40 rows"),
    ],
)
def test_targets_that_cannot_be_learned_are_refused(write, cells, message):
    text = "x,t\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))
    with pytest.raises(DataError, match=message):
        table(write(text), target="t")


def test_columns_that_do_not_exist_are_answered_with_the_nearest(write):
    path = write(rows())
    with pytest.raises(
        DataError, match=r"t.csv: no column 'kinds' \(data.target\); did you mean 'kind'\?\nIts columns: a, b"
    ):
        table(path, target="kinds")
    with pytest.raises(DataError, match=r"no column 'q' \(data.drop\)\nIts columns"):
        table(path, target="y", drop=["q"])
    with pytest.raises(DataError, match=r"data.features"):
        table(path, target="y", features=["A1"])
    with pytest.raises(ConfigError, match=r"data.drop names the target column 'y'"):
        table(path, target="y", drop=["y"])
    with pytest.raises(DataError, match="no feature column is left"):
        table(path, target="y", drop=["a", "b", "kind"])


def test_classes_are_stratified_and_a_class_without_train_rows_is_named(write):
    text = "x,t\n" + "".join(f"{i},{'rare' if i % 10 == 0 else 'common'}\n" for i in range(200))
    data = table(write(text), target="t")
    assert [int((part.y == 1).sum()) for part in (data.test, data.val, data.train)] == [4, 2, 14]
    once = table(write(text + "200,once\n"), target="t")
    assert [part.y.bincount(minlength=3).tolist() for part in (once.test, once.val)] == [[37, 0, 4], [22, 0, 2]]
    assert once.notes == ("with one row, which is left to train on, so not judged: class once",)
    train = write("x,t\n" + "".join(f"{i},{'ab'[i % 2]}\n" for i in range(20)), "train.csv")
    test = write("x,t\n1,a\n2,c\n", "test.csv")
    assert table(train, target="t", test_path=test).notes[1:] == (
        "without a train row, so not to be learned: class c",
        "without a test row, so not judged there: class b",
    )


def test_a_test_file_of_its_own_is_the_test_part(write):
    path, other = write(rows(40)), write(rows(10, header="b,a,kind,y", row="{half},{i},{word},{i}.5"), "other.csv")
    data = table(path, target="y", test_path=other, scaling="none", val=0.25)
    assert [len(part) for part in (data.train, data.val, data.test)] == [30, 10, 10]
    assert data.test.x[:, :2].tolist() == [[i, i / 2] for i in range(10)]
    unused, *_, repeated = data.notes
    assert unused == f"the test rows are those of {other}; data.test=0.2 is not used"
    assert repeated.startswith("8 of the 10 test rows stand in the train part too, features and target (")
    with pytest.raises(DataError, match=r"less.csv: no column 'b' \(a column of .*t.csv\)"):
        table(path, target="y", test_path=write("a,kind,y\n1,red,2\n", "less.csv"))
    with pytest.raises(DataError, match=r"bad.csv, line 3: 'x' in column 'a'"):
        table(path, target="y", test_path=write("a,b,kind,y\n1,1,red,2\nx,1,red,2\n", "bad.csv"))


# --- files ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le-bom", "latin-1"])
def test_any_usual_encoding_is_read(write, encoding):
    text = "größe,wort,y\n" + "".join(f"{i},{('süß', 'öde')[i % 2]},{i}.5\n" for i in range(20))
    raw = b"\xff\xfe" + text.encode("utf-16-le") if encoding == "utf-16-le-bom" else text.encode(encoding)
    data = table(write(raw), target="y", val=0, test=0)
    assert [c["name"] for c in data.preprocessing["columns"]] == ["größe", "wort"]
    assert data.preprocessing["columns"][1]["categories"] == ["süß", "öde"]
    assert any("read as Latin-1" in note for note in data.notes) == (encoding == "latin-1")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.csv: the file is empty"),
        (" \n\n", "t.csv: the file is empty"),
        ("a,y\n", "has a header (a, y) and no rows"),
        ("a,b,a,y\n1,2,3,4\n", "names a more than once"),
        ("1.5,2\n3,4\n", "the first line holds only numbers (1.5, 2)"),
        ("a:b:y\n1:2:3\n", "only one column, 'a:b:y', when split at ','"),
        ("a:b:y\n1:2:3\n", "if another character parts them: 'data.separator=\":\"'"),
        (
            "# a comment\na,y\n1,2\n",
            "only one column, '# a comment', when split at ','\nits first line must name the col",
        ),
        ("a,y\n1,2\n3\n4,5\n", "t.csv, line 3: 1 cells where the header has 2; a cell that holds"),
        ("a,y\n1,2\n3,4\n5,6,7\n", "t.csv, line 4: 3 cells where the header has 2; a cell that holds"),
        ("a,y\n1,2,3\n4,5,6\n", "t.csv, line 2: 3 cells where the header has 2, and so in every row"),
        ("a,y\n1,2\n\r\n3,4,", "t.csv, line 4: 3 cells where the header has 2"),  # as many separators as if all fitted
        ('a,y\n"1\n2",3\n4\n', "t.csv, line 4: 1 cells"),
        ('a,y\n1,2\n3,"4\n5,6\n', "unexpected end of data (is a quotation mark left open?)"),
        ("a,,y\n1,x,3\n", "column 2 has no name"),
        (b"PK\x03\x04\0\0", "damaged: it begins like a zip archive, but File is not a zip file"),
        (b"\0" * 40, "holds NUL bytes"),
        (b"\xff\xfea", "starts like UTF-16 text but is damaged"),
    ],
)
def test_damaged_text_files_are_refused_with_the_line(write, content, message):
    with pytest.raises(DataError) as error:
        table(write(content), target="y")
    assert message in str(error.value)


def test_quotes_blank_lines_and_spaces_are_read_as_meant(write):
    text = 'name, a,y\n"x, ""big""", 1 ,2.5\n\n"two\nlines",2,3.5\n plain ,"",4.5\n'
    path = write(text)
    source = read_table(path)
    assert source.frame.rows() == [('x, "big"', "1", "2.5"), ("two\nlines", "2", "3.5"), ("plain", None, "4.5")]
    assert source.where.numbers.tolist() == [2, 4, 6]
    assert source.place(2) == f"{path}, line 6"


@pytest.mark.parametrize("text", ["a,y\n1,2\n3,4\n", "a,y\r\n1,\r\n,4", "é,#y\n #,\u2028\n\x0b,x\n"])
def test_the_quick_reader_gives_the_same_rows_as_the_careful_one(write, text):
    header = text.split("\n")[0].strip().split(",")
    assert _read_plain(text, Head(",", header, 1), 1) is not None
    quick = read_table(write(text, "quick.csv"))
    careful = read_table(write(text + '"","x"\n' if text.endswith("\n") else text + '\n"","x"\n', "careful.csv"))
    assert quick.frame.equals(careful.frame[:-1])
    assert quick.where.numbers.tolist() == careful.where.numbers[:-1].tolist()


def test_the_advice_to_leave_a_column_out_keeps_those_that_are_out_already(write):
    text = "id,day,sold on,y\n" + "".join(f"{i},{i % 7 or 'x'},{i % 9 or 'y'},{i}.5\n" for i in range(6))
    for drop, advice in ([], "data.drop=[day]"), (["id", "day"], """'data.drop=["id","day","sold on"]'"""):
        with pytest.raises(DataError) as error:
            table(write(text), target="y", drop=drop)
        assert str(error.value).endswith(f"leave the column out: {advice}")


def test_targets_of_too_many_words_or_numbers_are_told_with_the_remedy(write):
    for cells, task, advice in (
        (
            [f"2024-01-{i:02d}" for i in range(1, 31)],
            "auto",
            r"\('2024-01-01', '2024-01-02', ...\).*write amounts, and times, as",
        ),
        (list(map(str, range(60))), "classification", r"data.task=regression learns amounts"),
    ):
        with pytest.raises(DataError, match=f"these are not classes; {advice}" if task != "auto" else advice):
            table(write("a,y\n" + "".join(f"{i},{cell}\n" for i, cell in enumerate(cells))), target="y", task=task)


def test_separators_and_endings(write):
    cells = [["a", "y"], *([str(i), f"{i}.5"] for i in range(10))]
    expected = table(write("\n".join(map(",".join, cells))), target="y").train.x
    for mark, name, knob in (("\t", "t.tsv", None), (";", "t.txt", ";"), ("\t", "t.txt", "tab"), (" ", "t.dat", " ")):
        assert torch.equal(
            table(write("\n".join(map(mark.join, cells)), name), target="y", separator=knob).train.x, expected
        )
    for text in ("a y\n1 2\n", "a,y\nan apple, or a pear\n"):
        with pytest.raises(DataError, match=r"the ending '.txt' is not one of .csv, .* and its text is not plainly a"):
            table(write(text + "1\n", "t.txt"), target="y")
    with pytest.raises(DataError, match=r"when split at ';'\nits cells look separated by ',': "):
        table(write("a,y\n1,2\n"), target="y", separator=";")
    with pytest.raises(ConfigError, match="one ASCII character"):
        table(write("a,y\n1,2\n"), target="y", separator="::")


def test_the_index_column_that_pandas_writes_is_dropped_with_a_note(write):
    text = ",a,y\n" + "".join(f"{i},{i % 7},{i}.5\n" for i in (3, 0, 2, 1, 9))
    data = table(write(text), target="y", val=0, test=0)
    assert data.in_shape == (1,)
    assert "column 1, an index without a name" in data.notes[0]


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(DataError, match=r"no.csv: no such file"):
        table(str(tmp_path / "no.csv"), target="y")
    with pytest.raises(DataError, match="is an empty folder"):
        table(str(tmp_path), target="y")


def test_parquet_gives_the_same_data_as_csv(write, tmp_path):
    path = write(rows())
    frame = pl.read_csv(path).with_columns(pl.col("kind").cast(pl.Categorical), b=pl.col("b").cast(pl.Decimal(10, 1)))
    frame.write_parquet(tmp_path / "t.parquet")
    by_text, by_type = table(path, target="y"), table(str(tmp_path / "t.parquet"), target="y")
    assert by_text.preprocessing == by_type.preprocessing
    assert torch.equal(by_text.test.x, by_type.test.x)
    assert torch.equal(by_text.test.y, by_type.test.y)
    mixed = table(path, target="y", test_path=str(tmp_path / "t.parquet"))
    assert len(mixed.test) == 60


def test_damaged_or_unsuitable_parquet_is_refused(write, tmp_path):
    frame = pl.DataFrame(
        {"a": range(50), "when": pl.Series([0] * 50).cast(pl.Date), "l": [[1]] * 50, "y": [0.5, 1.5] * 25}
    )
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    raw = buffer.getvalue()
    with pytest.raises(DataError, match=rf"cut.parquet: not a whole Parquet file \({len(raw) // 2} bytes"):
        table(write(raw[: len(raw) // 2], "cut.parquet"), target="y")
    with pytest.raises(DataError, match=r"bad.parquet: cannot be read as Parquet"):
        table(write(raw[:4] + b"\xff" * (len(raw) - 8) + raw[-4:], "bad.parquet"), target="y")
    path = write(raw, "t.parquet")
    with pytest.raises(DataError, match="column 'l' holds List"):
        table(path, target="y", drop=["when"])
    assert table(path, target="y", features=["a"]).in_shape == (1,)
    with pytest.raises(DataError, match="target 'when' holds Date"):
        table(path, target="when", features=["a"])


def test_parquet_of_more_rows_than_a_file_can_tell_is_refused(tmp_path):
    """Two million equal rows take 15 kB there; and 96 MB of memory, or as many times more as the file says."""
    same = pl.DataFrame({"a": pl.zeros(2_000_000, eager=True), "y": pl.zeros(2_000_000, eager=True)})
    same.write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"t.parquet: says that it holds 2,000,000 rows, in [\d,]+ bytes"):
        table(str(tmp_path / "t.parquet"), target="y")


# --- absurd values --------------------------------------------------------------------------------------------------

ABSURD = [[1e30], [1e200], [-1e30, 1e30], [1.7e308, -1.7e308], [-999999.0], [300.0, 1e5, 1e12], [3.4e38]]


def with_absurd(values, *, n=2000, every=250, column="a"):
    """A table with columns a and b, whose sum is y; every 250th a (8 in all), or another column, is one of `values`."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0, 1, n), rng.normal(size=n)
    columns = {"a": a, "b": b, "y": a + b}
    for k, row in enumerate(range(100, n, every)):
        columns[column][row] = values[k % len(values)]
    lines = zip(*(c.tolist() for c in columns.values()), strict=True)
    return "a,b,y\n" + "".join(f"{a!r},{b!r},{y!r}\n" for a, b, y in lines)


@pytest.mark.parametrize("scaling", ["standard", "quantile"])
@pytest.mark.parametrize("values", ABSURD, ids=str)
def test_a_few_absurd_values_leave_the_others_their_differences_and_are_named(write, values, scaling):
    data = table(write(with_absurd(values)), target="y", scaling=scaling)
    whole = torch.cat([part.x[:, 0] for part in (data.train, data.val, data.test)])
    assert whole.isfinite().all()
    assert whole.abs().max() < 10
    middle = whole.sort().values[200:1800]
    assert (middle.max() - middle.min()).item() > 2  # 2.8 standard deviations of a uniform distribution
    (note,) = (note for note in data.notes if "column 'a'" in note)
    assert "8 values far from" in note
    assert f"{values[0]:g} at " in note
    assert "t.csv, line 102" in note
    assert json.loads(json.dumps(data.preprocessing)) == data.preprocessing


def test_without_absurd_values_nothing_is_cut_or_said(write):
    data = table(write(with_absurd([0.5])), target="y")
    assert data.notes == ()
    column, _ = data.preprocessing["columns"]
    assert column["low"] < -0.4  # half as far again as the values reach, which is beyond all
    assert column["high"] > 1.4
    heavy = np.exp(2 * np.random.default_rng(0).normal(size=500))  # as incomes are: 400 times their median
    rare = np.where(np.arange(500) % 20 == 3, 40.0, 0.0)  # mostly one value
    lines = "".join(f"{h!r},{r},{i % 7}\n" for i, (h, r) in enumerate(zip(heavy.tolist(), rare.tolist(), strict=True)))
    data = table(write("h,r,y\n" + lines), target="y", task="regression", val=0, test=0)
    assert not [note for note in data.notes if "column" in note]


def test_absurd_values_that_no_train_row_has_are_named(write):
    path = write(with_absurd([0.5]))
    data = table(path, target="y", test_path=write("a,b,y\n0.5,1,1.5\n1e30,0,0.5\n", "test.csv"))
    assert any("column 'a'" in note and "1e+30 at " in note and "test.csv, line 3" in note for note in data.notes)
    farther = table(path, target="y", test_path=write("a,b,y\n0.5,1e200,1.5\n0.5,1e9,1.5\n", "test.csv"))
    assert any("column 'b'" in note and "1e+200 at " in note for note in farther.notes)
    assert farther.test.x[0].equal(farther.test.x[1])  # both held
    with pytest.raises(DataError, match=r"t\.csv, line 102: 1e\+200 in column 'a'"):
        table(write(with_absurd([1e200])), target="y", scaling="none")


def test_the_median_of_numbers_near_the_largest_is_one_of_them(write):
    lines = "".join(f"{1.5e308 if i % 2 else 1.7e308},{i % 3},{i}\n" for i in range(60))
    data = table(write("a,b,y\n" + lines), target="y", task="regression", scaling="quantile")
    assert 1.5e308 <= data.preprocessing["columns"][0]["median"] <= 1.7e308


def test_a_column_that_a_scale_squashes_is_named(write):
    sentinel = table(write(with_absurd([1e30], every=4)), target="y")
    (note,) = sentinel.notes
    assert "column 'a'" in note
    assert "data.missing_marks" in note
    unscaled = table(write(with_absurd([1e30])), target="y", scaling="none")
    assert any(
        "column 'a': " in note and "values far from all others" in note and "t.csv, line" in note
        for note in unscaled.notes
    )


def test_absurd_targets_are_named(write):
    (note,) = table(write(with_absurd([1e30], column="y")), target="y").notes
    assert note.startswith("target 'y': 8 values far from all others (1e+30 at ")
    assert "t.csv, line 102" in note


def test_remarks_are_empty_for_rows_that_need_nothing(write):
    path = write(rows())
    data = table(path, target="y")
    assert remarks(read_table(path).frame, data.preprocessing) == []
    assert all("alone tell the target" in note for note in data.notes)  # which it does


# --- the configuration ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["digits", "iris", "wine", "breast_cancer", "diabetes", "california_housing", "table"]
    + ["xor", "moons", "circles", "spirals", "blobs", "sine", "linear", "multilabel"],
)
def test_yaml_lists_every_knob_with_the_functions_own_default(name):
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / f"{name}.yaml"))
    module, function = located(config.pop("_target_")).rsplit(".", 1)
    parameters = inspect.signature(getattr(import_module(module), function)).parameters
    assert config.keys() == parameters.keys() | {"batch_size", "workers"}
    config.pop("one_hot", None)  # programs get zeros and ones, which any net takes, and so do runs that know no codes
    for knob in config.keys() & parameters.keys():
        parameter = parameters[knob]
        default = "???" if parameter.default is parameter.empty else parameter.default
        assert config[knob] == default or (config[knob], default) == ([], None)


@pytest.mark.parametrize("name", ["x^2", "x\x01", "x\u069a", "x\u00da"])
def test_a_name_that_begins_as_a_compressed_file_does_is_a_name(tmp_path, name):
    file = tmp_path / "t.csv"
    file.write_text(f"{name},y\nx^1,2\n3,4\n", encoding="utf-8")
    frame = read_table(file).frame
    assert frame.columns == [name, "y"]
    assert frame.rows() == [("x^1", "2"), ("3", "4")]


@pytest.mark.parametrize("head", [b"a,b\n1,2\n", "a,b\n1,2\n".encode("utf-16")])
def test_a_hole_of_a_terabyte_does_not_come_into_memory(tmp_path, head):
    file = tmp_path / "t.csv"
    with file.open("wb") as opened:
        opened.write(head)
        opened.truncate(1 << 40)
    with pytest.raises(DataError, match="holds NUL bytes"):
        read_table(file)


def test_a_parquet_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("dltrain.data.tables.reading.free_memory", lambda: 10**8)
    file, n = tmp_path / "t.parquet", 4_000_000
    pl.DataFrame({"a": pl.int_range(n, eager=True) / 7, "y": pl.repeat(0, n, eager=True)}).write_parquet(file)
    with pytest.raises(DataError, match=r"4,000,000 rows of 2 columns take 0.2 GB of memory, and 0.1 GB are free"):
        read_table(file)


def test_a_parquet_that_is_a_hole_is_not_read(tmp_path):
    file = tmp_path / "t.parquet"
    for marks in (b"", b"PAR1"):
        with file.open("wb") as out:
            out.write(marks)
            out.truncate(1 << 40)
            out.seek(0, 2)
            out.write(marks)
        with pytest.raises(DataError, match=r"not a whole Parquet file|cannot be read as Parquet"):
            read_table(file)


@pytest.mark.parametrize("kind", ["f8", "i8"])
def test_a_masked_cell_is_missing(kind):
    cells, mask = [(1, 2), (3, 4)], [(False, True), (False, False)]
    plain = np.ma.array(np.array(cells, dtype=kind), mask=mask)
    record = np.ma.array(np.array(cells, dtype=[("a", kind), ("b", kind)]), mask=mask)
    for rows in (plain, record, {"a": plain[:, 0], "b": plain[:, 1]}):
        frame = frame_of(rows, ["a", "b"])
        assert frame.rows() == [(1, None), (3, 4)]
        assert frame["b"].dtype.is_numeric()


def test_a_long_word_that_a_parquet_file_stores_once_is_refused(tmp_path):
    word = "a" * 2_000_000
    pl.DataFrame({"c": [word] * 60, "y": ["u", "v"] * 30}).write_parquet(tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"column 'c' has texts of up to 2,000,000 letters, 0.1 GB in all"):
        read_table(tmp_path / "t.parquet")


# --- categories as codes --------------------------------------------------------------------------------------------


def many(n=200, words=30):
    """A table with a text of so many categories, every tenth cell of which is empty, and one of two."""
    lines = [f"{i},{f'z{i % words:02d}' if i % 10 else ''},{'ab'[i % 2]},{i % 7 + i / n}" for i in range(n)]
    return "\n".join(["a,zone,side,y", *lines]) + "\n"


def test_a_column_of_many_categories_is_one_code_and_of_few_zeros_and_ones(write):
    path = write(many())
    wide, data = table(path, target="y"), table(path, target="y", one_hot=20)
    zone = data.preprocessing["columns"][1]
    assert (wide.in_features, data.in_features) == (1 + 27 + 2, 1 + 1 + 2)  # three of the words are never there
    assert zone["coded"]
    assert "coded" not in data.preprocessing["columns"][2]
    assert code_columns(data.preprocessing) == [[1, 28]]
    codes = data.train.x[:, 1].long()
    assert set(codes.tolist()) == {*range(28)}
    hot = torch.nn.functional.one_hot(codes, 28)[:, 1:].float()
    assert torch.equal(torch.cat([data.train.x[:, :1], hot, data.train.x[:, 2:]], 1), wide.train.x)


def test_codes_come_back_as_words_and_unknown_ones_as_the_run_knows_them(write):
    data = table(write(many()), target="y", one_hot=5, min_count=5)
    zone = data.preprocessing["columns"][1]
    assert zone["other"]
    frame = pl.DataFrame({"a": [1.0] * 3, "zone": [zone["categories"][0], "new", None], "side": ["a"] * 3})
    codes = encode(frame, data.preprocessing)[:, 1]
    last = len(zone["categories"]) + 1
    assert codes.tolist() == [1, last, 0]
    back = decode(encode(frame, data.preprocessing), data.preprocessing)["zone"].to_list()
    assert back == [zone["categories"][0], "(other)", None]


def test_old_data_and_codes_take_each_others_place(write):
    """A run judges newly read data by its own preprocessing, whichever of the two it has."""
    path = write(many())
    wide, coded = table(path, target="y"), table(path, target="y", one_hot=0)
    for own, other in ((wide, coded), (coded, wide)):
        content = {"task": "regression", "in_shape": [other.in_features], "classes": [], "targets": ["y"]}
        content |= stored(other.units)
        known = facts(json.loads(json.dumps({**content, "preprocessing": other.preprocessing})), "data.json")
        assert torch.equal(again(own, own.test, known).x, other.test.x)


@pytest.mark.parametrize(
    "change", [{"coded": 1}, {"coded": "yes"}, {"kind": "number", "median": 0.0, "coded": True}, {"categories": []}]
)
def test_a_strangers_codes_are_checked(write, change):
    data = table(write(many()), target="y", one_hot=0)
    content = {"task": "regression", "in_shape": [3], "classes": [], "targets": ["y"], "target_mean": [0.0]}
    content |= {"target_std": [1.0], "preprocessing": json.loads(json.dumps(data.preprocessing))}
    assert facts(content, "data.json").in_features == 3
    content["preprocessing"]["columns"][1] |= change
    with pytest.raises(DataError, match=r"data\.json is not what a run writes: zone can't be used"):
        facts(content, "data.json")


def test_there_is_no_wall_of_categories_where_they_may_be_codes(write):
    lines = [f"s{i % 700:03d},{i},{i % 9}" for i in range(2100)]
    path = write("\n".join(["shop,a,y", *lines]) + "\n")
    assert table(path, target="y", task="regression").in_features == 1 + 257
    data = table(path, target="y", task="regression", one_hot=10)
    shop = data.preprocessing["columns"][0]
    assert shop["other"]  # of shops that stand in one train row
    assert code_columns(data.preprocessing) == [[0, len(shop["categories"]) + 2]]
    assert data.train.x[:, 0].max() > 500


def test_in_few_rows_columns_stay_zeros_and_ones_unless_the_user_says(write):
    few, enough, told = (
        table(
            write("\n".join(["zone,a,y", *(f"z{i % 40},{i},{i % 9}" for i in range(n))]) + "\n"),
            target="y",
            one_hot=most,
        )
        for n, most in ((2_000, "auto"), (3_000, "auto"), (200, 9))
    )
    assert [len(code_columns(data.preprocessing)) for data in (few, enough, told)] == [0, 1, 1]


def test_texts_that_are_all_rare_are_left_out_and_said():
    train = pl.DataFrame({"ticket": [f"t{i}" for i in range(30)], "a": [float(i % 7) for i in range(30)]})
    columns = [{"name": "ticket", "kind": "text"}, {"name": "a", "kind": "number"}]
    fitted, notes = fit(train, columns, Rules(one_hot=10))
    assert [column["name"] for column in fitted["columns"]] == ["a"]
    assert notes == ["column 'ticket' was dropped: each of its 30 different texts is rare (data.min_count=2)"]


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"one_hot": -1}, r"data\.one_hot=-1: a number of categories from 0 up, auto or null"),
        ({"max_categories": 1 << 25}, r"data\.max_categories=33554432: at most 16,777,214, which float32 tells apart"),
    ],
)
def test_numbers_of_categories_that_can_not_be(write, knobs, message):
    with pytest.raises(ConfigError, match=message):
        table(write(many()), target="y", **knobs)
