"""Tables that are not held in memory: the same data, bit by bit, from files that are encoded once."""

import inspect
import os
import time

import numpy as np
import polars as pl
import pytest
import torch

from dltrain.data import Tensors, cache, loaders, place, take
from dltrain.data.fingerprint import fingerprint
from dltrain.data.sources.table import table
from dltrain.data.tables import columns, kept
from dltrain.errors import ConfigError, DataError


@pytest.fixture(autouse=True)
def cached(tmp_path, monkeypatch):
    """A cache of its own; few rows of few columns at a time, as of a large table."""
    monkeypatch.setenv("DLTRAIN_CACHE", str(tmp_path / "kept"))
    monkeypatch.setattr(kept, "_CELLS", 500)
    monkeypatch.setattr(kept, "_ROWS", 64)
    monkeypatch.setattr(columns, "_CHARACTERS", 2000)
    return tmp_path / "kept"


def draw(seed, rows=300):
    """Columns of all kinds, as they stand in files."""
    random = np.random.default_rng(seed)
    number = random.standard_normal(rows).round(3)
    words = random.choice(["red", "green", "blue, dark", ' "x" ', "NA"], rows)
    days = np.datetime64("2024-01-01") + random.integers(0, 500, rows)
    made = {
        "number": [f"{v}" if random.random() > 0.1 else "" for v in number],
        "whole": [str(v) for v in random.integers(0, 50, rows)],
        "code": [f"{v:04}" for v in random.integers(0, 30, rows)],
        "far": [str(v) for v in np.where(np.arange(rows) == 7, 1e9, number)],
        "word": words.tolist(),
        "rare": [f"w{v}" for v in random.geometric(0.05, rows)],
        "flag": random.choice(["yes", "no"], rows).tolist(),
        "day": [str(day) for day in days],
        "money": [f"$ {v:,.2f}" for v in random.random(rows) * 1e5],
        "row id": [str(i) for i in range(rows)],
        "same": ["1"] * rows,
        "empty": [""] * rows,
        "marked": [str(v) if v > -1 else "?" for v in number],
        "group": [f"g{v}" for v in random.integers(0, 40, rows)],
        "weight": [str(v) for v in random.integers(0, 4, rows)],
        "y": [str(round(float(v), 3)) for v in number + random.standard_normal(rows)],
        "class": random.choice(["a", "b", "b", "b", "c"], rows).tolist(),
    }
    frame = pl.DataFrame(made)
    return pl.concat([frame, frame.head(20)])  # rows that are there twice


OPTIONS = [
    {"target": "y"},
    {"target": "class", "weight": "weight", "group": "group", "max_categories": 10, "min_count": 2},
    {
        "target": ["y", "whole"],
        "time": "day",
        "scaling": "quantile",
        "target_transform": "quantile",
        "missing_marks": ["3", "red"],
        "target_missing": "drop",
    },
    {"target": "class", "scaling": "none", "categorical": ["whole"], "drop": ["m*"], "test": 0, "val": 0},
    {"target": "money", "target_transform": "log", "features": ["number", "word"]},
    {"target": "class", "positive": "b", "features": ["number", "word", "day"], "split_seed": 3},
]


def alike(first, second):
    """Whether two data are the same, to the bit and the word."""
    assert first.notes == second.notes
    assert first.preprocessing == second.preprocessing
    assert fingerprint(first) == fingerprint(second)
    assert (first.task, first.in_shape, first.names) == (second.task, second.in_shape, second.names)
    assert (first.val is first.train, first.test is first.val) == (
        second.val is second.train,
        second.test is second.val,
    )
    for name in ("train", "val", "test"):
        ours, theirs = getattr(first, name), getattr(second, name)
        for key in ("x", "y", "rows", "weight"):
            one, other = getattr(ours, key), getattr(theirs, key)
            assert (one is None and other is None) or (one.dtype == other.dtype and torch.equal(one, other)), key
        assert type(ours.units) is type(theirs.units) is type(first.units) is type(second.units)
        for key, one in (ours.units.tensors() if ours.units else {}).items():
            other = theirs.units.tensors()[key]
            assert one.dtype == other.dtype, key
            assert torch.equal(one, other), key
        assert [place(ours, i) for i in range(0, len(ours), 17)] == [place(theirs, i) for i in range(0, len(ours), 17)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_a_table_on_the_disk_gives_the_same_data(tmp_path, number, kind):
    frame, path = draw(number), tmp_path / f"t.{kind}"
    if kind == "csv":
        frame.write_csv(path)
    else:
        numbers = frame.with_columns(
            pl.col("number", "y", "whole").cast(pl.Float64, strict=False), pl.col("day").str.to_date()
        )
        numbers.write_parquet(path)
    options = {**OPTIONS[number], "path": str(path)}
    alike(table(**options, on_disk=False), table(**options, on_disk=True))
    alike(table(**options, on_disk=False), table(**options, on_disk=True))


def test_several_files_and_a_test_file_give_the_same_data(tmp_path):
    (tmp_path / "d").mkdir()
    for i in range(3):
        frame = draw(i, 100).with_row_index("")  # as pandas writes it
        (frame if i else frame.select(reversed(frame.columns))).write_csv(tmp_path / "d" / f"{i}.csv", separator=";")
    draw(9, 60).write_csv(tmp_path / "test.csv")
    options = {"path": str(tmp_path / "d"), "test_path": str(tmp_path / "test.csv"), "target": "class"}
    alike(table(**options, on_disk=False), table(**options, on_disk=True))


@pytest.mark.parametrize(("name", "target"), [("titanic", "survived"), ("taxis", "fare")])
def test_real_tables_give_the_same_data(shared_data, monkeypatch, name, target):
    path = shared_data / "tables" / f"{name}.csv.gz"
    monkeypatch.setattr(kept, "_CELLS", 20_000)
    monkeypatch.setattr(kept, "_ROWS", 1000)
    monkeypatch.setattr(columns, "_CHARACTERS", 100_000)
    alike(table(str(path), target=target, on_disk=False), table(str(path), target=target, on_disk=True))


def test_a_second_start_reads_no_cell(tmp_path, monkeypatch):
    draw(0).write_csv(tmp_path / "t.csv")
    first = table(str(tmp_path / "t.csv"), target="y", on_disk=True)
    monkeypatch.setattr(columns, "pieces", None)
    monkeypatch.setattr(kept, "encode", None)
    alike(first, table(str(tmp_path / "t.csv"), target="y", on_disk=True))
    os.utime(tmp_path / "t.csv", (1, 1))  # touched: the whole file is compared
    alike(first, table(str(tmp_path / "t.csv"), target="y", on_disk=True))


def test_other_options_take_the_columns_and_another_file_does_not(tmp_path, monkeypatch, cached):
    draw(0).write_csv(tmp_path / "t.csv")
    path = str(tmp_path / "t.csv")
    table(path, target="y", on_disk=True)
    with monkeypatch.context() as patch:
        patch.setattr(columns, "pieces", None)
        alike(
            table(path, target="y", split_seed=1, on_disk=False),
            table(path, target="y", split_seed=1, on_disk=True),
        )
    draw(1).write_csv(tmp_path / "t.csv")
    alike(table(path, target="y", on_disk=False), table(path, target="y", on_disk=True))
    assert sorted(each.name.split("-")[0] for each in cached.glob("*-*") if each.is_dir()) == ["columns"] + 3 * [
        "encoded"
    ]


CHANGED = {
    **{"target": "class", "features": ["number"], "drop": ["word"], "categorical": ["whole"], "numeric": ["code"]},
    **{"dates": ["day"], "task": "regression", "positive": "1", "target_missing": "drop", "target_transform": "log"},
    **{
        "scaling": "none",
        "missing": "refuse",
        "missing_marks": ["?"],
        "decimal": ",",
        "thousands": ".",
        "day_first": True,
    },
    **{"max_categories": 9, "min_count": 2, "unknown": "allow", "one_hot": 5, "separator": ";", "header": True},
    **{"weight": "weight", "group": "group", "time": "day", "val": 0.1, "test": 0.1, "split_seed": 1},
}


def test_every_option_decides_what_is_kept(tmp_path, monkeypatch):
    """One that did not would give the data of another value."""
    seen = []
    monkeypatch.setattr(
        "dltrain.data.sources.table.kept_data",
        lambda path, test_path, how, learned, *, decisive, test: seen.append(repr([how, decisive, test])),
    )
    table("t.csv", target="y", on_disk=True)
    for knob in inspect.signature(table).parameters.keys() - {"path", "test_path", "on_disk"}:
        table(**{"path": "t.csv", "target": "y", "on_disk": True, knob: CHANGED[knob]})
        assert seen[-1] != seen[0], knob


def test_what_is_changed_is_a_copy(tmp_path):
    draw(0).write_csv(tmp_path / "t.csv")
    data = table(str(tmp_path / "t.csv"), target="y", on_disk=True)
    before = fingerprint(data)
    data.train.x.zero_()
    assert fingerprint(table(str(tmp_path / "t.csv"), target="y", on_disk=True)) == before
    assert take(data.train, torch.arange(3)).digest is None


def test_large_is_what_takes_half_of_the_memory(tmp_path, monkeypatch, cached):
    draw(0, 20_000).write_csv(tmp_path / "t.csv")
    path, size = str(tmp_path / "t.csv"), (tmp_path / "t.csv").stat().st_size
    monkeypatch.setattr(columns, "free_memory", lambda: 11 * size)
    assert not columns.is_large({"data.path": path, "data.test_path": None})
    monkeypatch.setattr(columns, "free_memory", lambda: 9 * size)
    assert columns.is_large({"data.path": path, "data.test_path": None})


def test_a_table_that_proves_too_large_goes_to_the_disk(tmp_path, monkeypatch, cached):
    draw(0).write_csv(tmp_path / "t.csv")
    monkeypatch.setattr("dltrain.data.tables.text.free_memory", lambda: 1000)
    with pytest.raises(DataError, match="GB are free"):
        table(str(tmp_path / "t.csv"), target="y", on_disk=False)
    assert len(table(str(tmp_path / "t.csv"), target="y").train) == 217
    assert cached.exists()


def test_the_same_mistakes_are_said_in_the_same_words(tmp_path):
    frame = draw(0)
    frame.write_csv(tmp_path / "t.csv")
    (tmp_path / "odd.csv").write_text((tmp_path / "t.csv").read_text() + "1,2,3\n")
    frame.with_columns(day=pl.concat([frame["day"][:99], pl.Series(["2024-30-01"]), frame["day"][100:]])).write_csv(
        tmp_path / "typo.csv"
    )
    for name, options in {
        "t.csv": {"target": "z"},
        "./t.csv": {"target": "y", "missing": "refuse"},
        "odd.csv": {"target": "y"},
        "typo.csv": {"target": "y"},
        "t.*": {"target": "y", "features": ["same", "empty"]},
        "none.csv": {"target": "y"},
    }.items():
        said = []
        for on_disk in (False, True):
            with pytest.raises(DataError) as error:
                table(str(tmp_path / name), **options, on_disk=on_disk)
            said.append(str(error.value))
        assert said[0] == said[1]


def test_json_lines_are_held_in_memory(tmp_path):
    draw(0).write_ndjson(tmp_path / "t.jsonl")
    with pytest.raises(ConfigError, match="JSON lines are held in memory; write the table as CSV or Parquet"):
        table(str(tmp_path / "t.jsonl"), target="y", on_disk=True)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_changes_while_it_is_read_is_refused_and_not_kept(tmp_path, monkeypatch, kind, cached):
    path, recognise = tmp_path / f"t.{kind}", kept.encode
    getattr(draw(0), f"write_{kind}")(path)

    def changes(*arguments, **options):
        os.utime(path, (time.time() + 9,) * 2)
        return recognise(*arguments, **options)

    monkeypatch.setattr(kept, "encode", changes)
    with pytest.raises(DataError, match="changed while it was read; wait until it is whole, or read a copy"):
        table(str(path), target="y", on_disk=True)


def test_a_device_without_room_gets_its_rows_from_memory(monkeypatch):
    part = Tensors(torch.arange(40.0).reshape(20, 2), torch.arange(20))
    plain = [*loaders.make_loader(part, batch_size=6, shuffle=True).epoch(1)]
    monkeypatch.setattr(loaders, "_fits", lambda x, device: False)
    found = loaders.make_loader(part, batch_size=6, shuffle=True, device="meta")
    assert found.x.device.type == "cpu"
    assert {batch.x.device.type for batch in found.epoch(1)} == {"meta"}
    assert {batch.x.device.type for batch in loaders.make_loader(part, batch_size=6, device="meta").epoch()} == {"meta"}
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, *_: tensor)
    assert all(torch.equal(a.x, b.x) for a, b in zip(plain, found.epoch(1), strict=True))


def test_the_limit_is_looked_at_where_all_is_found_too(tmp_path, monkeypatch):
    """What this run needs stays; what others left goes, also where it was spared when it was made."""
    for name in ("a", "b"):
        draw(1).write_csv(tmp_path / f"{name}.csv")
        table(str(tmp_path / f"{name}.csv"), target="y", on_disk=True)
    for entry in cache.entries():
        os.utime(entry.folder / "entry.json", (time.time() - 100,) * 2)
    monkeypatch.setenv("DLTRAIN_CACHE_GB", "0")
    table(str(tmp_path / "b.csv"), target="y", on_disk=True)
    assert [str(entry.facts["about"]).split(": ")[0] for entry in cache.entries()] == [str(tmp_path / "b.csv")] * 2
