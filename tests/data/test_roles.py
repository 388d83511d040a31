"""Columns of a table that weigh rows, keep them together and order them; what parts have in common, and lack."""

import numpy as np
import polars as pl
import pytest
import torch

from dltrain.data.preprocessing import Facts, labelled
from dltrain.data.sources.table import table
from dltrain.errors import ConfigError, DataError

N = 300


@pytest.fixture
def visits(tmp_path):
    """Visits of patients, several of each, over two years: the path of a CSV, whose columns a test may replace."""
    random = np.random.default_rng(0)
    patient = random.integers(0, 40, N)

    def write(name="visits.csv", rows=slice(None), **columns):
        days = np.datetime64("2023-01-01") + random.integers(0, 700, N)
        cells = {
            "pressure": random.normal(size=N).round(3),
            "weight": random.integers(1, 5, N) / 2,
            "patient": [f"p{i:02}" for i in patient],
            "day": np.datetime_as_string(days),
            "month": days.astype("datetime64[M]").astype(int) % 12,
            "ill": ["yes" if value else "no" for value in random.integers(0, 4, N) == 0],
        }
        path = tmp_path / name
        frame = pl.DataFrame(cells | columns)[rows]
        frame.write_parquet(path) if name.endswith(".parquet") else frame.write_csv(path)
        return str(path)

    return write


def where(part):
    return set(part.rows.tolist())


def notes(data, beginning):
    return [note for note in data.notes if note.startswith(beginning)]


# -- weights -------------------------------------------------------------------------------------------------------


def test_a_column_of_weights_goes_with_its_rows_and_is_no_feature(visits):
    path = visits()
    data = table(path, target="ill", weight="weight", drop=["day"])
    cells = torch.tensor(pl.read_csv(path)["weight"].to_list())
    for part in (data.train, data.val, data.test):
        assert torch.equal(part.weight, cells[part.rows])
    assert [column["name"] for column in data.preprocessing["columns"]] == ["pressure", "patient", "month"]
    assert not data.notes
    plain = table(path, target="ill", drop=["day", "weight"])
    assert plain.train.weight is None
    assert torch.equal(plain.train.x, data.train.x)


def test_rows_that_are_judged_by_a_run_of_weights_have_theirs(visits):
    data = table(visits(), target="ill", weight="weight", features=["pressure"])
    known = Facts(data.task, data.in_shape, data.classes, (), None, data.preprocessing)
    other = visits("other.csv", slice(50), weight=[0.0] * 20 + [1.5] * (N - 20))
    part, _ = labelled(other, known, target="ill", weight="weight")
    assert part.weight.tolist() == [0.0] * 20 + [1.5] * 30
    pl.read_csv(other).drop("weight").write_csv(other)
    part, (note,) = labelled(other, known, target="ill", weight="weight")
    assert part.weight is None
    assert note.endswith("other.csv has no column 'weight' of weights: its rows count the same")


def test_weights_may_be_amounts(visits):
    path = visits(weight=[("1,5", "0,25", "10")[i % 3] for i in range(N)])
    data = table(path, target="ill", weight="weight", features=["pressure"])
    assert set(data.train.weight.tolist()) == {1.5, 0.25, 10.0}


def test_rows_of_weight_zero_are_counted(visits):
    path = visits(weight=[0, 1, 2] * 100)
    data = table(path, target="ill", weight="weight", features=["pressure"])
    assert notes(data, "data.weight") == ["data.weight: 100 of 300 rows have weight 0 and do not count"]


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ([1.0] * 7 + [-0.5], r"visits.csv, line 9: '-0.5' in column 'weight' \(data.weight\) is no weight"),
        ([1.0] * 7 + [float("inf")], "line 9: 'inf' in column 'weight'"),
        (["1"] * 7 + ["much"], "line 9: 'much' in column 'weight'"),
        ([1.0] * 7 + [None], r"'weight' \(data.weight\) is empty in 1 of 300 rows: .*line 9"),
        ([0.0] * 8, r"is 0 in each of the 204 rows of the train part, so that none of them counts"),
    ],
)
def test_what_is_no_weight_is_refused_with_its_line(visits, cells, said):
    path = visits(weight=pl.Series([*cells, *cells[:1] * (N - 8)]))
    with pytest.raises(DataError, match=said):
        table(path, target="ill", weight="weight", drop=["day"])


def test_a_role_that_does_not_go_is_refused_before_anything_is_read_from_it(visits):
    path = visits()
    for knobs, said in (
        ({"weight": "ill"}, "data.weight=ill: this is the target"),
        ({"weight": "weight", "features": ["weight"]}, "data.features names"),
        ({"group": "patient", "time": "day"}, "rows are shared out by groups or by data.time=day, not by both"),
    ):
        with pytest.raises(ConfigError, match=said):
            table(path, target="ill", **knobs)
    with pytest.raises(DataError, match=r"no column 'pateint' \(data.group\); did you mean 'patient'\?"):
        table(path, target="ill", group="pateint")


# -- groups --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_no_group_is_in_two_parts_and_sizes_and_classes_are_as_wanted(visits, seed):
    path = visits()
    data = table(path, target="ill", group="patient", drop=["day"], split_seed=seed)
    patient, ill = pl.read_csv(path)["patient"].to_numpy(), pl.read_csv(path)["ill"].to_numpy() == "yes"
    parts = [part.rows.numpy() for part in (data.train, data.val, data.test)]
    assert sorted(np.concatenate(parts)) == list(range(N))
    assert [len(part) for part in parts] == pytest.approx([204, 36, 60], abs=2)
    assert [ill[part].mean() for part in parts] == pytest.approx([ill.mean()] * 3, abs=0.03)
    groups = [set(patient[part]) for part in parts]
    assert not (groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2])
    assert not notes(data, "data.group")
    assert "patient" not in [column["name"] for column in data.preprocessing["columns"]]
    named = table(path, target="ill", group="patient", features=["pressure", "patient"], split_seed=seed)
    assert [column["name"] for column in named.preprocessing["columns"]] == ["pressure", "patient"]
    assert [where(part) for part in (named.train, named.val)] == [where(part) for part in (data.train, data.val)]


def test_a_group_of_most_rows_is_trained_on_and_said(visits):
    path = visits(patient=["most"] * 250 + [f"p{i % 5}" for i in range(50)])
    data = table(path, target="ill", group="patient", drop=["day"])
    assert set(range(250)) <= where(data.train)
    assert [len(data.val), len(data.test)] == [20, 30]
    assert notes(data, "data.group") == [
        "data.group: 'most' alone has 250 of the 300 rows, and the train part was to have 204",
        "data.group: 6 whole groups make parts of 250 train, 20 validation, 30 test rows, in the place of 204 train, "
        "36 validation, 60 test",
    ]


def test_fewer_groups_than_parts_and_rows_without_one_are_refused(visits):
    two = visits(patient=["a", "b"] * 150)
    with pytest.raises(DataError, match=r"data.group: there are 2 groups, and rows of one group stay in one part"):
        table(two, target="ill", group="patient", drop=["day"])
    data = table(two, target="ill", group="patient", drop=["day"], val=0)
    assert [len(data.train), len(data.test)] == [150, 150]
    path = visits(patient=[None, "a", "?", *["b"] * 297])
    with pytest.raises(DataError, match=r"'patient' \(data.group\) is empty in 2 of 300 rows: .*line 2; .*line 4\n"):
        table(path, target="ill", group="patient", features=["pressure"], missing_marks=["?"])


def test_groups_of_the_test_file_that_stand_in_the_other_are_counted(visits):
    path = visits()
    other = visits("test.csv", slice(60), patient=["p01"] * 3 + ["new"] * 297)
    data = table(path, target="ill", group="patient", drop=["day"], test_path=other)
    (note,) = notes(data, "data.group")
    assert note.startswith("data.group: 1 group of the test file, with 3 of its rows, stands in ")
    assert len(data.test) == 60


# -- times ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["visits.csv", "visits.parquet"])
@pytest.mark.parametrize("as_date", [True, False])
def test_training_is_before_validation_before_test(visits, form, as_date):
    days = np.datetime64("2023-01-01") + np.random.default_rng(1).permutation(N)
    time = (days if form == "visits.parquet" else np.datetime_as_string(days)) if as_date else days.astype(int)
    path = visits(form, day=time)
    features = ["pressure", *["day"] * (not as_date)]
    data = table(path, target="ill", time="day", features=features)
    parts = [days[part.rows.numpy()] for part in (data.train, data.val, data.test)]
    assert [len(part) for part in parts] == [204, 36, 60]
    assert parts[0].max() < parts[1].min()
    assert parts[1].max() < parts[2].min()
    assert not notes(data, "data.time")
    assert table(path, target="ill", time="day", features=features, split_seed=3).notes[0] == (
        "data.split_seed=3 is not used: data.time decides"
    )


def test_rows_of_one_time_stay_together_and_those_that_moved_are_counted(visits):
    path = visits(month=[i // 25 for i in range(N)])  # 12 months of 25 rows
    data = table(path, target="ill", time="month", drop=["day"])
    assert [len(part) for part in (data.train, data.val, data.test)] == [200, 50, 50]
    (note,) = notes(data, "data.time")
    assert note == (
        "data.time: 22 rows moved across a border, so that no two parts have rows of one time; there are 200 train, "
        "50 validation, 50 test"
    )
    assert "month" in [column["name"] for column in data.preprocessing["columns"]]
    with pytest.raises(DataError, match=r"data.time: there are 2 times, and rows of one time stay in one part"):
        table(visits(month=[0] * 150 + [1] * 150), target="ill", time="month", drop=["day"])


@pytest.mark.parametrize(
    "words",
    [
        ["2023-12-31 23:59", "2024-01-01T00:00:00Z", "2024-01-01 02:30:00+01:00", "2024-01-01 00:00:01"],
        ["9:59", "10:00", "10:00:30", "23:59"],
        ["2023-09", "2023-10", "2024-01", "2024-02"],
    ],
)
def test_dates_and_times_of_iso_8601_are_in_their_order(visits, words):
    order = [0, 1, 3, 2] if "+01:00" in words[2] else [0, 1, 2, 3]
    path = visits(day=[words[i % 4] for i in range(N)])
    data = table(path, target="ill", time="day", features=["pressure"], val=75, test=75)
    assert [{i % 4 for i in where(part)} for part in (data.train, data.val, data.test)] == [
        set(order[:2]),
        {order[2]},
        {order[3]},
    ]


def test_what_is_no_time_is_refused_with_its_line(visits):
    path = visits(day=["2024-01-01", "soon", *["2024-01-02"] * 298])
    with pytest.raises(DataError, match=r"line 3: 'soon' in column 'day' \(data.time\) is no number, and no date"):
        table(path, target="ill", time="day", features=["pressure"])


def test_days_and_months_are_read_as_the_user_says(visits):
    words = ["01/02/2024", "02/01/2024", "03/03/2024"]
    path = visits(day=[words[i // 100] for i in range(N)])
    options = {"target": "ill", "time": "day", "features": ["pressure"], "val": 100, "test": 100}
    guessed = table(path, **options)
    assert notes(guessed, "data.time") == [
        "data.time: '01/02/2024' is read as month-day-year; data.day_first=true reads it otherwise"
    ]
    assert min(where(guessed.train)) == 0  # the second of January
    assert min(where(table(path, day_first=True, **options).train)) == 100


def test_a_test_file_that_is_not_later_is_said(visits):
    path, other = visits(day=list(range(N))), visits("test.csv", slice(60), day=list(range(290, 290 + N)))
    data = table(path, target="ill", time="day", features=["pressure"], test_path=other)
    assert [len(part) for part in (data.train, data.val, data.test)] == [255, 45, 60]
    (note,) = notes(data, "data.time")
    assert note.startswith("data.time: 10 of the 60 rows of the test file are not later than the last one of ")


# -- what parts have in common, and what they lack -----------------------------------------------------------------


def test_rows_in_two_parts_are_counted_before_training(visits):
    pressure, ill = np.arange(N) / 7, ["no", "yes"] * 150
    for row, first, same in ((210, 6, True), (250, 7, True), (260, 8, True), (270, 9, False), (211, 255, True)):
        pressure[row], ill[row] = pressure[first], ill[first] if same else ill[first + 1]
    path = visits(pressure=pressure, ill=ill, month=list(range(N)))
    data = table(path, target="ill", time="month", features=["pressure"])
    (note,) = notes(data, "1 of the 36 ")
    assert note == (
        "1 of the 36 validation rows and 2 of the 60 test rows stand in the train part too, features and target "
        f"({path}, line 212 as {path}, line 8): they may be remembered, not learned; remove such rows, or let "
        "data.group keep together what belongs together"
    )
    numbers = table(path, target="pressure", time="month", features=["ill"])
    assert "1 of the 36 validation rows and 2 of the 60 test rows stand in" in notes(numbers, "1 of the 36 ")[0]


def test_classes_that_a_part_lacks_are_named(visits):
    kinds = ["rare" if i in (5, 6) else "common" for i in range(N)]
    data = table(visits(ill=kinds, month=list(range(N))), target="ill", time="month", features=["pressure"])
    assert [note for note in data.notes if note.startswith("without")] == [
        "without a validation row, so not judged there: class rare",
        "without a test row, so not judged there: class rare",
    ]
    labels = {"dry": [0, 1] * 150, "late": [int(i > 280) for i in range(N)]}
    data = table(visits(**labels, month=list(range(N))), target=["dry", "late"], time="month", features=["pressure"])
    assert [note for note in data.notes if note.startswith("without")] == [
        "without a train row, so not to be learned: label late"
    ]


# -- folds ---------------------------------------------------------------------------------------------------------


def folds(path, **options):
    return [table(path, target="ill", drop=["day"], test=f"{k}/4", **options) for k in range(1, 5)]


def test_folds_keep_weights_and_groups_and_fit_on_their_own_train_rows(visits):
    path = visits()
    patients, cells = pl.read_csv(path)["patient"].to_list(), torch.tensor(pl.read_csv(path)["weight"].to_list())
    made = folds(path, weight="weight", group="patient")
    assert sorted(row for data in made for row in where(data.test)) == list(range(N))
    for data in made:
        of = [{patients[row] for row in where(part)} for part in (data.train, data.val, data.test)]
        assert sum(map(len, of)) == 40
        assert torch.equal(data.test.weight, cells[data.test.rows])
        pressure = torch.tensor(pl.read_csv(path)["pressure"].to_list(), dtype=torch.float64)[data.train.rows]
        (column,) = [c for c in data.preprocessing["columns"] if c["name"] == "pressure"]
        assert column["mean"] == pytest.approx(float(pressure.mean()))
    assert len({data.preprocessing["columns"][0]["mean"] for data in made}) == 4


def test_folds_in_time_say_what_they_leave_out(visits):
    path = visits()
    made, days = folds(path, time="day"), pl.read_csv(path)["day"].to_list()
    for number, data in enumerate(made, 1):
        assert max(days[row] for row in where(data.val)) < min(days[row] for row in where(data.test))
        left = N - sum(len(part) for part in (data.train, data.val, data.test))
        (note,) = notes(data, "data.time: fold")
        assert f"fold {number} of 4 is block {number + 1} of 5 in the order of time" in note
        assert f"{left:,} later rows are not used" in note
    assert left == 0


def test_a_fold_beside_test_rows_of_their_own_is_refused(visits):
    with pytest.raises(DataError, match=r"4 folds: the test rows are those of data.test_path; folds are made"):
        folds(visits(), test_path=visits("more.csv"))
