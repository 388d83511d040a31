"""Whether rows are said to be scaled already, or to lie far from the train rows."""

import numpy as np
import polars as pl
import pytest

from dltrain.data.likeness import unlike

TRAIN = np.linspace(0, 1, 200)  # mean 0.5, deviation 0.29: near standard figures as they stand


@pytest.fixture
def told():
    column = {"name": "b", "kind": "number", "mean": TRAIN.mean(), "std": TRAIN.std()}

    def of(values):
        rules = {"kind": "table", "missing": "error", "missing_marks": [], "columns": [column]}
        return unlike(pl.DataFrame({"b": values}), rules)

    return of


def test_rows_such_as_the_train_rows_are_not_called_scaled(told):
    wider = TRAIN.mean() + 1.05 * (TRAIN - TRAIN.mean())
    assert wider.std() > 0.3
    assert told(TRAIN) is None
    assert told(wider) is None


def test_rows_that_were_scaled_before_are_named_with_the_train_rows_figures(told):
    sentence = told((TRAIN - TRAIN.mean()) / TRAIN.std())
    assert sentence.startswith("the rows look scaled already (column 'b': ")
    assert "± 1, where the train rows had 0.5 ± 0.29), and were scaled once more" in sentence
    assert "lie far from those that the run was fitted on (column 'b'" in told(1000 * TRAIN)
