"""What the columns of a table are taken for: dates, amounts, marks, codes, identifiers; and what they are not."""

import datetime
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

from dltrain.data.preprocessing import decode, facts
from dltrain.data.sources.table import table
from dltrain.data.tables import amounts, kinds, times
from dltrain.data.tables.encoding import encode
from dltrain.data.tables.frames import frame_of
from dltrain.data.tables.kinds import Told, recognise
from dltrain.errors import ConfigError, DataError


def found(cells, name="c", **told):
    return recognise(pl.Series(name, cells), Told(**told), "line {}".format)


def kind(cells, **told):
    item = found(cells, **told)
    if item.columns and "part" in item.columns[0]:
        return "time"
    return item.columns[0]["kind"] if item.columns else item.guess


# --- dates and times ------------------------------------------------------------------------------------------------

MOMENT = datetime.datetime(2024, 3, 5, 14, 7, 9, tzinfo=datetime.UTC)
WAYS = {
    "%Y-%m-%d": "year-month-day", "%Y/%m/%d": "year-month-day", "%Y-%m-%d %H:%M": "year-month-day",
    "%Y-%m-%dT%H:%M:%S": "year-month-day", "%Y-%m-%dT%H:%M:%SZ": "year-month-day", "%d.%m.%Y": "day-month-year",
    "%d/%m/%Y %H:%M:%S": "day-month-year", "%m/%d/%Y": "month-day-year", "%m/%d/%y": "month-day-year",
    "%d %b %Y": "day-month-year", "%d-%b-%Y": "day-month-year", "%B %d, %Y": "month-day-year",
    "%m/%d/%Y %I:%M %p": "month-day-year", "%a, %d %b %Y %H:%M:%S GMT": "day-month-year", "%H:%M": "clock",
}  # fmt: skip


@pytest.mark.parametrize(("way", "layout"), WAYS.items())
def test_dates_are_read_as_they_were_written(way, layout):
    draw = random.Random(0)
    moments = [MOMENT + datetime.timedelta(minutes=draw.randrange(2_000_000)) for _ in range(60)]
    cells = pl.Series("c", [moment.strftime(way) for moment in moments])
    assert times.layouts(cells, asked=False, day_first=None)[0] == layout
    seconds = times.seconds(cells, layout)
    for text, made in zip(cells, seconds.tolist(), strict=True):
        wanted = datetime.datetime.strptime(text, way).replace(tzinfo=datetime.UTC)
        if layout == "clock":
            assert made == wanted.hour * 3600 + wanted.minute * 60
        else:
            assert made == wanted.timestamp()


def test_a_written_zone_counts_and_typed_times_are_the_same():
    cells = ["2024-03-05T14:07:09.25+02:00", "2024-03-05 12:07:09.25Z", "2024-03-05T07:07:09,25-0500"]
    assert set(times.seconds(pl.Series(cells), "year-month-day")) == {MOMENT.timestamp() - 7200 + 0.25}
    of_pandas = [frame_of(pd.DataFrame({"c": [m]}), ["c"])["c"] for m in (MOMENT, MOMENT.replace(tzinfo=None))]
    typed = [pl.Series([MOMENT]), pl.Series([MOMENT.replace(tzinfo=None)]), *of_pandas]
    assert {times.seconds(cells, None)[0] for cells in typed} == {MOMENT.timestamp()}
    assert times.seconds(pl.Series([MOMENT.date(), None]), None)[0] == MOMENT.timestamp() // 86400 * 86400


NO_DATES = ["2024-02-30", "2024-13-01", "31/04/2024", "2024-01-01 24:00", "12:60", "99:10", "1.10", "1.10.2", "10/20"]
NO_DATES += ["555-12-3456", "0001-01-01", "16:9", "20240131", "2 Foo 2024"]


@pytest.mark.parametrize("cell", NO_DATES)
def test_what_is_no_date_is_none(cell):
    assert times.layouts(pl.Series([cell]), asked=False, day_first=None) == []


def test_day_and_month_are_told_by_the_whole_column_and_said():
    assert found(["01/02/2024", "13/02/2024"]).about == "c (day-month-year)"
    assert found(["01/02/2024", "02/13/2024"]).about == "c (month-day-year)"
    unsure = found(["01/02/2024", "03/04/2024"])
    assert (unsure.guess, unsure.about) == ("unsure", "c (month-day-year; data.day_first=true for the other way)")
    assert found(["01/02/2024", "03/04/2024"], day_first=True).columns[0]["layout"] == "day-month-year"
    assert kind(["01/02/2024", "02/13/2024"], day_first=True) == "text"
    assert kind(["20240131", "20240201"]) == "number"
    assert found(["20240131", "20240201"], dates=["c"]).columns[0]["layout"] == "digits"
    with pytest.raises(DataError, match=r"line 0: 'soon' in column 'c' is not a date or time \(data.dates names it\)"):
        found(["soon", "later"], dates=["c"])


def test_what_a_date_is_worth_goes_round_with_the_year_and_the_week():
    seconds = times.seconds(pl.Series(["2024-01-01 06:00", "2024-07-01 18:00"]), "year-month-day")
    assert times.part_of(seconds, "days").tolist() == [19723.25, 19905.75]  # a Monday, and so was the other
    np.testing.assert_allclose(times.part_of(seconds, "month_cos"), [1, -1], atol=1e-12)
    np.testing.assert_allclose(times.part_of(seconds, "weekday_sin"), [0, 0], atol=1e-12)
    np.testing.assert_allclose(times.part_of(seconds, "hour_sin"), [1, -1], atol=1e-12)


# --- amounts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["$1,234.50", "$3"], [1234.5, 3]),
        (["1.234,56 €", "0,5 €", "-7 €"], [1234.56, 0.5, -7]),
        (["1,234", "12,345,678"], [1234, 12345678]),
        (["0,123", "2,5"], [0.123, 2.5]),
        (["12%", "7.5 %"], [12, 7.5]),
        (["(1,200)", "3,400"], [-1200, 3400]),
        (["1 234,5", "12 345 678"], [1234.5, 12345678]),
        (["1\u00a0234", "999"], [1234, 999]),
        (["CHF 1'234.5", "CHF 7"], [1234.5, 7]),
        (["EUR 5", "EUR 1,000"], [5, 1000]),
        (["\u22125", "3", "5-"], [-5, 3, -5]),
        (["1.234.567", "234"], [1234567, 234]),
    ],
)
def test_amounts_are_read_by_the_whole_column(cells, values):
    column = found(cells).columns[0]
    assert column["kind"] == "number"
    assert amounts.parse(pl.Series(cells), amounts.Writing(*column["writing"])).to_list() == values


@pytest.mark.parametrize(
    "cells",
    [
        ["612 345 678", "699 345 111"],  # telephone numbers
        ["+49 170 123 456", "+49 170 123 45"],
        ["555-1234", "555-9876"],
        ["1.10.2", "1.9.11"],  # versions
        ["v1.2", "v1.3"],
        ["192.168.1.10", "10.0.0.1"],
        ["4 5", "6 7"],
        ["1,2,3", "4,5,6"],
        ["12-34-56", "65-43-21"],
        ["978-3-16", "978-0-12"],
        ["$", "%"],
    ],
)
def test_what_is_no_amount_is_a_word(cells):
    assert kind(cells) == "text"


def test_two_decimal_marks_in_a_column_are_refused_with_a_cell_of_each():
    with pytest.raises(DataError, match=r"column 'c' has two decimal marks: '1,234.5' at line 1, and '1.234,5' at li"):
        found(["1.234,5", "1,234.5", "7"])
    assert kind(["1.5", "1,5"], categorical=["c"]) == "text"


def test_a_mark_that_is_given_decides():
    assert found(["1,234", "5,678"]).columns[0]["writing"] == [".", ","]
    assert found(["1,234", "5,678"], decimal=",").columns[0]["writing"][0] == ","
    assert found(["1.234", "5.678"], thousands=".").columns[0]["writing"] == [",", "."]
    with pytest.raises(ConfigError, match="are both"):
        Told(decimal=",", thousands=",").among(["c"], "t.csv")
    with pytest.raises(ConfigError, match="choose one of"):
        Told(decimal=";").among(["c"], "t.csv")


# --- numbers, words, identifiers ------------------------------------------------------------------------------------


def test_kinds_are_seen_by_the_cells():
    assert kind(["1", "2.5", "-3e4", "?"]) == "number"
    assert found(["1", "2", "?", "N/A"]).columns[0]["marks"] == ["?", "N/A"]
    assert kind(["Yes", "no", "Y", None]) == "boolean"
    assert kind(["yes", "yes"]) == "text"
    assert kind(["007", "012"]) == "text"
    assert kind(["007", "012"], numeric=["c"]) == "number"
    assert kind(["1", "2"], categorical=["c"]) == "text"
    assert kind([1.5, None]) == "number"
    assert kind([True, False]) == "boolean"
    assert kind([None, None]) == "empty"
    assert kind([datetime.timedelta(hours=1)]) == "number"
    assert kind([f"person {i}" for i in range(30)]) == "identifier"
    assert kind([f"person {i % 29}" for i in range(30)]) == "text"
    assert kind([str(i) for i in range(30)], name="x") == "number"
    assert kind([str(i) for i in range(30)], name="user_id") == "identifier"
    assert kind([str(i) for i in range(30)], name="user_id", numeric=["user_id"]) == "number"
    assert kind(["A1", "2", "3", "B2", "2"]) == "text"


def test_two_things_said_of_one_column_are_refused():
    with pytest.raises(ConfigError, match=r"data.categorical and data.numeric both name the column 'ab'"):
        Told(categorical=["ab"], numeric=["ab"]).among(["ab", "b"], "t.csv")
    with pytest.raises(DataError, match=r"no column 'pirce' \(data.numeric\); did you mean 'price'"):
        Told(numeric=["pirce"]).among(["price"], "t.csv")


def _drawn(draw):
    """A column of words of one kind that is neither a date nor an amount nor a number, and its name."""
    digits = lambda n: "".join(draw.choice("0123456789") for _ in range(n))  # noqa: E731
    return draw.choice(
        [
            lambda: f"+{draw.randint(1, 99)} {digits(3)} {digits(3)} {digits(4)}",
            lambda: f"({digits(3)}) {digits(3)}-{digits(4)}",
            lambda: f"{draw.randint(0, 9)}.{draw.randint(0, 20)}.{draw.randint(0, 20)}",
            lambda: f"{draw.choice('ABC')}{digits(4)}",
            lambda: f"{digits(3)}-{digits(2)}-{digits(4)}",
            lambda: f"{draw.randint(1, 255)}.{draw.randint(0, 255)}.{draw.randint(0, 255)}.{draw.randint(0, 255)}",
            lambda: f"{draw.randint(1, 9)}:{draw.randint(1, 9)}",
            lambda: f"{digits(8)}-{digits(4)}",
            lambda: f"{draw.randint(1, 9)} {draw.choice(['kg', 'km', 'dollars'])}",
            lambda: draw.choice(["red", "may", "mar 3rd", "1st", "2nd", "jan"]),
        ]
    )


def test_nothing_is_recognised_that_is_not_there():
    draw = random.Random(1)
    for _ in range(300):
        make = _drawn(draw)
        cells = [make() for _ in range(draw.randint(5, 40))]
        if draw.random() < 0.3:
            cells[0] = None
        assert kind(cells) in ("text", "identifier"), cells


def test_numbers_stay_numbers_however_they_are_written():
    draw = random.Random(2)
    for _ in range(200):
        values = [round(draw.uniform(-1e6, 1e6), draw.choice([0, 2])) for _ in range(30)]
        form = draw.choice(["{:.2f}", "{:e}", "{:,.2f}", "${:,.2f}", "{:.1f}%", "{:g}"])
        cells = [form.format(v) for v in values]
        column = found(cells).columns[0]
        assert column["kind"] == "number", cells
        read = (
            amounts.parse(pl.Series(cells), amounts.Writing(*column["writing"]))
            if "writing" in column
            else pl.Series(cells).cast(pl.Float64)
        )
        plain = [float(c.replace(",", "").replace("$", "").replace("%", "")) for c in cells]
        assert read.to_list() == plain


def test_guesses_are_one_line_for_each_kind():
    items = [found(["1", "?"], name=f"n{i}") for i in range(30)] + [found(["2024-01-02"], name="day")]
    lines = kinds.guesses(items)
    assert len(lines) == 2
    assert lines[0].startswith("column day (year-month-day): dates and times")
    assert "and 18 more: missing where they say so" in lines[1]


# --- a whole table --------------------------------------------------------------------------------------------------


def _write(path, n=120):
    draw = random.Random(0)
    start = datetime.datetime(2023, 11, 1, tzinfo=datetime.UTC)
    lines = ["when,price,smoker,zip,word,y"]
    for i in range(n):
        moment = start + datetime.timedelta(hours=7 * i)
        price = draw.randint(100, 99_999) / 10
        zip_code = f"0{draw.randint(10, 14)}"
        word = draw.choice(["a", "a", "b", "c", f"rare{i}"])
        cells = f'"{price:,.2f} €",{draw.choice(["yes", "NO"])},{zip_code},{word},{price + moment.hour}'
        lines.append(f"{moment:%d.%m.%Y %H:%M},{cells}")
    Path(path).write_text("\n".join(lines), encoding="utf-8")
    return str(path)


def test_a_table_of_all_kinds_is_read_said_and_read_again(tmp_path):
    path = _write(tmp_path / "t.csv")
    data = table(path, target="y", min_count=5, val=0, test=0)
    columns = {column["name"]: column for column in data.preprocessing["columns"]}
    assert [*columns][:7] == [f"when.{part}" for part in times.PARTS]
    assert columns["price"]["writing"] == [".", ","]
    assert columns["smoker"]["kind"] == "boolean"
    assert columns["zip"]["categories"] == ["010", "011", "012", "013", "014"]
    assert columns["word"]["categories"] == ["a", "b", "c"]
    assert columns["word"]["other"] is True
    assert any('count as one, "other" (data.min_count=5)' in note for note in data.notes)
    known = facts(_content(data), "data.json")
    assert known.columns == ["when", "price", "smoker", "zip", "word"]
    raw = pl.read_csv(path, infer_schema=False)
    assert torch.equal(encode(frame_of(raw, known.columns), data.preprocessing), data.train.x)
    typed = raw.with_columns(pl.col("when").str.to_datetime("%d.%m.%Y %H:%M"))
    assert torch.equal(
        encode(frame_of(pd.DataFrame(typed.to_dict(as_series=False)), known.columns), data.preprocessing), data.train.x
    )
    back = decode(data.train.x, data.preprocessing)
    assert torch.allclose(encode(back, data.preprocessing), data.train.x, atol=1e-5)
    with pytest.raises(
        DataError, match=r"row 1: '2024-01-02' in column 'when' is not a date or time, written day-month"
    ):
        encode(raw.head(1).with_columns(when=pl.lit("2024-01-02")), data.preprocessing)
    with pytest.raises(DataError, match=r"row 1: 'cheap' in column 'price' is not a number as those of the train rows"):
        encode(raw.head(1).with_columns(price=pl.lit("cheap")), data.preprocessing)


def _content(data):
    """What data.json says of it."""
    fixed = {"task": "regression", "classes": [], "targets": ["y"], "target_mean": None, "target_std": None}
    return json.loads(json.dumps({**fixed, "in_shape": data.in_shape, "preprocessing": data.preprocessing}))


@pytest.mark.parametrize(
    "change",
    [
        {"part": "year"}, {"layout": "%Y"}, {"marks": [1]}, {"writing": [";", ""]}, {"source": 3},
        {"kind": "text", "categories": ["a"]}, {"other": 1},
    ],
)  # fmt: skip
def test_a_strangers_columns_are_checked(tmp_path, change):
    data = table(_write(tmp_path / "t.csv"), target="y", val=0, test=0)
    content = _content(data)
    content["preprocessing"]["columns"][0] |= change
    with pytest.raises(DataError, match=r"data.json is not what a run writes"):
        facts(content, "data.json")


def test_a_new_text_is_expected_where_texts_are_rare(tmp_path):
    file = tmp_path / "t.csv"
    file.write_text("few,many,t\n" + "".join(f"{'ab'[i % 2]},w{i % 55},{i}.5\n" for i in range(60)), encoding="utf-8")
    data = table(str(file), target="t", val=0, test=0)
    new = pl.DataFrame({"few": ["a"], "many": ["w99"]})
    assert encode(new, data.preprocessing, strict=True)[0].tolist() == [1.0, *[0.0] * 56]
    for knobs in ({}, {"unknown": "refuse"}):
        data = table(str(file), target="t", val=0, test=0, **knobs)
        with pytest.raises(DataError, match=r"'c' in column 'few' is unknown"):
            encode(new.with_columns(few=pl.lit("c")), data.preprocessing, strict=True)
    data = table(str(file), target="t", val=0, test=0, unknown="allow")
    assert not encode(new.with_columns(few=pl.lit("c")), data.preprocessing, strict=True).any()


# --- the target -----------------------------------------------------------------------------------------------------


def _target(tmp_path, cells, **knobs):
    file = tmp_path / "t.csv"
    file.write_text("x,t\n" + "".join(f'{i},"{cells[i % len(cells)]}"\n' for i in range(60)), encoding="utf-8")
    return table(str(file), target="t", val=0, test=0, **knobs)


def test_a_guess_at_the_task_is_said_with_its_alternative(tmp_path):
    data = _target(tmp_path, "12345")
    assert data.notes[0] == (
        "target 't': 5 whole numbers from 1 to 5, taken as 5 classes; data.task=regression for numbers"
    )
    assert _target(tmp_path, "12345", task="classification").notes == data.notes[1:]
    assert not any("target" in note for note in _target(tmp_path, ["0", "1"]).notes)
    numbers = _target(tmp_path, [str(i) for i in range(30, 55)])
    assert "25 whole numbers from 30 to 54, taken as numbers" in numbers.notes[0] or len(numbers.targets) == 1


def test_the_positive_class_is_the_second_or_stands_against_the_rest(tmp_path):
    assert _target(tmp_path, ["good", "bad"], positive="bad").classes == ("good", "bad")
    data = _target(tmp_path, ["a", "b", "c"], positive="b")
    assert (data.task, data.classes, int(data.train.y.sum())) == ("binary", ("rest", "b"), 20)
    assert _target(tmp_path, ["1", "2"], positive=1).classes == ("2", "1")
    with pytest.raises(ConfigError, match=r"data.positive=bda: no such class in bad, good; did you mean 'bad'"):
        _target(tmp_path, ["good", "bad"], positive="bda")
    with pytest.raises(ConfigError, match="names a class, and the target t has none"):
        _target(tmp_path, ["1.5", "2.5"], positive="b")


def test_rows_without_a_target_are_dropped_where_that_is_asked_for(tmp_path):
    with pytest.raises(DataError, match=r"missing or not finite in 20 of 60 rows: .*line 4.*\n.*target_missing=drop"):
        _target(tmp_path, ["0", "1", "NA"])
    data = _target(tmp_path, ["0", "1", "NA"], target_missing="drop")
    assert (data.classes, len(data.train)) == (("0", "1"), 40)
    assert "20 of 60 rows lack the target and were dropped" in data.notes
    assert data.train.origin(2).endswith("t.csv, line 5")
    assert _target(tmp_path, ["0", "1", "NA"], task="classification").classes == ("0", "1", "NA")
    assert len(_target(tmp_path, ["a", "b", "gone"], target_missing="drop", missing_marks=["gone"]).train) == 40


def test_targets_may_be_written_as_amounts(tmp_path):
    data = _target(tmp_path, ["1.234,50 €", "2,5 €", "7,75 €"])
    y = data.train.y.double() * data.units.std + data.units.mean
    assert y[:3, 0].tolist() == pytest.approx([1234.5, 2.5, 7.75], rel=1e-5)


def test_columns_are_named_by_patterns(tmp_path):
    file = tmp_path / "t.csv"
    lines = "".join(f"{i % 3},{i % 4},{i % 5},{i}.5\n" for i in range(40))
    file.write_text("code_a,code_b,n,t\n" + lines, encoding="utf-8")
    data = table(str(file), target="t", categorical=["code_*"], val=0, test=0)
    assert data.in_shape == (3 + 4 + 1,)
    assert table(str(file), target=-1, drop=["code_?"], val=0, test=0).in_shape == (1,)
    with pytest.raises(DataError, match=r"no column 'x_\*' \(data.drop\)"):
        table(str(file), target="t", drop=["x_*"])
