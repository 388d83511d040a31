"""What is odd about the columns of a table is said before training, and what is usual is not."""

import numpy as np
import pytest

from dltrain.data.sources.table import table
from dltrain.errors import override


@pytest.fixture
def notes(tmp_path):
    """The notes on a table of 400 rows with columns a, b, c of noise, the further ones given, and the target y."""

    def notes(y, *, options=None, **columns):
        rng = np.random.default_rng(0)
        cells = {name: rng.normal(size=len(y)).round(4) for name in "abc"} | columns | {"y": y}
        lines = zip(*(np.asarray(column).tolist() for column in cells.values()), strict=True)
        text = "\n".join([",".join(cells), *(",".join(map(str, line)) for line in lines)])
        (tmp_path / "t.csv").write_text(text)
        return table(str(tmp_path / "t.csv"), target="y", **(options or {})).notes

    return notes


N = 400
DRAWN = np.random.default_rng(1)
AMOUNTS = DRAWN.normal(50, 10, N).round(3)
CLASSES = DRAWN.integers(0, 2, N)
WORDS = np.array(["no", "yes", "maybe"])[DRAWN.integers(0, 3, N)]


def test_a_column_that_gives_the_target_away_is_named(notes):
    (note,) = notes(AMOUNTS, total=(AMOUNTS * 1.1 + DRAWN.normal(0, 1, N)).round(3))
    assert note.startswith("column total (correlation 0.99")
    assert note.endswith(
        "alone tells the target; if it is known only once the answer is, leave it out: data.drop=[total]"
    )
    (note,) = notes(AMOUNTS, rank=np.exp(AMOUNTS / 10).round(2))  # by any rising curve
    assert "rank (correlation 1)" in note
    (note,) = notes(CLASSES, score=(CLASSES * 3 + DRAWN.normal(0, 0.3, N)).round(3), code=np.array(["x", "z"])[CLASSES])
    assert note.startswith(
        "columns score (area under the curve 1), code (share of right answers 1): alone tell the tar"
    )
    (note,) = notes(WORDS, also=np.char.upper(WORDS))
    assert "also (share of right answers 1)" in note


def test_columns_that_are_merely_good_are_not_named(notes):
    assert notes(AMOUNTS, near=(AMOUNTS + DRAWN.normal(0, 4, N)).round(3)) == ()
    assert notes(CLASSES, near=(CLASSES * 2 + DRAWN.normal(0, 1, N)).round(3)) == ()
    each = np.array([f"w{i % 390}" for i in range(N)])  # nearly a word for each row: it tells nothing
    assert not any("alone tell" in note for note in notes(CLASSES, each=each))
    rare = (np.arange(N) % 50 == 0).astype(int)  # always the usual answer is right in 98 %
    assert not any("alone tell" in note for note in notes(rare, word=np.array(["u", "v"])[CLASSES]))


@pytest.mark.parametrize(("value", "named"), [(999, True), (-999, True), (-1, True), (99, True), (60, False)])
def test_a_number_that_may_mean_a_missing_one_is_named(notes, value, named):
    ages = DRAWN.integers(18, 60, N).astype(float)
    ages[::9] = value
    found = notes(AMOUNTS, age=ages)
    wanted = f"column age: {value} stands far from all other values, and often; if it means a missing one: "
    assert any(note.startswith(wanted) for note in found) == named
    if named:
        assert any(note.endswith(override("data.missing_marks", [str(value)])) for note in found)
        assert not any("stands far" in n for n in notes(AMOUNTS, age=ages, options={"missing_marks": [str(value)]}))
    signs = np.where(CLASSES == 1, 1, -1)  # a usual pair
    assert not any("stands far" in note for note in notes(AMOUNTS, sign=signs))


def test_test_rows_beyond_the_train_rows_are_said(notes):
    year = np.repeat([2020, 2021, 2022, 2023], N // 4)
    found = notes(AMOUNTS, year=year, options={"time": "year", "test": 0.25, "val": 0.2})
    assert any(
        note.startswith("column year (100%): so many of the test rows lie beyond all train rows") for note in found
    )
    assert not any("beyond" in note for note in notes(AMOUNTS, year=year))


def test_without_a_scale_a_column_that_dwarfs_the_others_is_said(notes):
    pay = (AMOUNTS[::-1] * 1e6).round()
    assert any(
        "column pay: a thousand times as large" in n for n in notes(AMOUNTS, pay=pay, options={"scaling": "none"})
    )
    assert notes(AMOUNTS, pay=pay) == ()
