"""The files inside scikit-learn: what is read is what scikit-learn's own loaders give, bit for bit."""

import numpy as np
import pytest
import torch
from sklearn import datasets

from dltrain.data.sources import embedded, sklearn_sets
from dltrain.errors import ConfigError, DataError


@pytest.mark.parametrize(
    ("file", "load", "features"),
    [
        ("iris.csv", datasets.load_iris, None),
        ("wine_data.csv", datasets.load_wine, sklearn_sets._WINE),
        ("breast_cancer.csv", datasets.load_breast_cancer, None),
    ],
)
def test_classifications_are_scikit_learns(file, load, features):
    values, classes, names = embedded.labelled(file)
    wanted = load()
    assert values.dtype == wanted.data.dtype
    assert np.array_equal(values, wanted.data)
    assert classes.dtype == wanted.target.dtype
    assert np.array_equal(classes, wanted.target)
    assert names == [str(name) for name in wanted.target_names]
    assert features is None or features == list(wanted.feature_names)


def test_digits_are_scikit_learns():
    table, wanted = embedded.numbers("digits.csv.gz", delimiter=","), datasets.load_digits()
    assert np.array_equal(table[:, :-1], wanted.data)
    assert np.array_equal(table[:, -1], wanted.target)


def test_diabetes_are_scikit_learns():
    wanted = datasets.load_diabetes(scaled=False)
    assert np.array_equal(embedded.numbers("diabetes_data_raw.csv.gz"), wanted.data)
    assert np.array_equal(embedded.numbers("diabetes_target.csv.gz"), wanted.target)


@pytest.mark.parametrize(
    ("source", "load"),
    [
        (sklearn_sets.iris, datasets.load_iris),
        (sklearn_sets.wine, datasets.load_wine),
        (sklearn_sets.breast_cancer, datasets.load_breast_cancer),
        (sklearn_sets.diabetes, datasets.load_diabetes),
    ],
)
def test_features_have_scikit_learns_names(source, load):
    assert [c["name"] for c in source().preprocessing["columns"]] == [str(n) for n in load().feature_names]


def test_a_missing_file_is_said():
    with pytest.raises(DataError, match=r"scikit-learn's file nothing\.csv is missing"):
        embedded.labelled("nothing.csv")


def test_iris_may_have_some_of_its_lengths_in_any_order():
    whole, two = (sklearn_sets.iris(scaling="none", features=f) for f in (None, ["petal width", "sepal length"]))
    assert torch.equal(two.train.x, whole.train.x[:, [3, 0]])
    assert [c["name"] for c in two.preprocessing["columns"]] == ["petal width (cm)", "sepal length (cm)"]
    for features, said in ((["petal widht"], "did you mean `petal width`"), ([], "name one or more different lengths")):
        with pytest.raises(ConfigError, match=said):
            sklearn_sets.iris(features=features)
