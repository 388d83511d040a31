"""The preprocessing that a run fitted, read back from its data.json and applied to rows that it has not seen.

What it gives is bit for bit what training would have made of the same rows. The file may come from a stranger: it is
checked before anything of it is used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Column, Data, Kind, Preprocessing, Some, Split, Task, Tensors, place
from dltrain.data.decoding import UNTOLD
from dltrain.data.sources.image_folders import ImageFiles
from dltrain.data.tables import amounts, times
from dltrain.data.tables.cells import needed, width, words
from dltrain.data.tables.encoding import encode, remarks
from dltrain.data.tables.files import Given
from dltrain.data.tables.headers import Format, Known
from dltrain.data.tables.kinds import MISSING, Told
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.roles import Roles
from dltrain.data.tables.rules import MOST
from dltrain.data.tables.scales import from_normal
from dltrain.data.tables.table import Name, Table, few, meant, require_columns
from dltrain.data.tables.targets import TargetMissing, answered, known_target
from dltrain.data.units import Units, learned, read
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Facts:
    """What a run knows of its data beyond the rows; the fields are those of `dltrain.data.Data`."""

    task: Task
    in_shape: tuple[int, ...]
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    units: Units | None
    preprocessing: Preprocessing

    @property
    def in_features(self) -> int:
        return prod(self.in_shape)

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns of the answer are called: classes, labels or regression targets."""
        return self.classes or self.targets

    @property
    def kind(self) -> str:
        """table, images or dataset."""
        return self.preprocessing["kind"]

    @property
    def columns(self) -> list[str]:
        """The columns that a table must have."""
        return needed(self.preprocessing["columns"])

    def columns_of(self, rows: object) -> list[str]:
        """Those that are taken from some rows: of a frame that `decode` made, what a date was worth, too."""
        import polars as pl

        return needed(self.preprocessing["columns"], rows.columns if isinstance(rows, pl.DataFrame) else ())

    @property
    def known(self) -> Known:
        """What is asked of a table, as `streaming.table` takes it."""
        return Known(self.columns, tuple(self.preprocessing.get("target", ())), self.preprocessing.get("numbered"))


def facts(content: Any, where: str) -> Facts:
    """The content of a data.json, checked; raises DataError where it is not what a run writes."""
    try:
        task, shape = content["task"], content["in_shape"]
        _want(task in get_args(Task), "task")
        _want(_all(shape, _size) and 0 < len(shape) < 8, "in_shape")
        names = {key: content[key] for key in ("classes", "targets")}
        for key, value in names.items():
            _want(_all(value, _word) and len(set(value)) == len(value), key)
        many = len(names["targets" if task == "regression" else "classes"])
        _want(many == 2 if task == "binary" else many > (task == "multiclass"), "classes and targets")
        units = read(content, len(names["targets"]))
        _check(content["preprocessing"], tuple(shape))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{where} is not what a run writes: {type(error).__name__}: {error}") from error
    except ValueError as error:
        raise DataError(f"{where} is not what a run writes: {error}") from error
    classes, targets = (tuple(names[key]) for key in ("classes", "targets"))
    return Facts(task, tuple(shape), classes, targets, units, content["preprocessing"])


def _want(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"{what} can't be used")


def _size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 1 << 31


def _number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _word(value: object) -> bool:
    """Whether it is a text that can be written: JSON can hold half a sign."""
    return isinstance(value, str) and not re.search("[\ud800-\udfff]", value)


def _all(values: object, good: Callable[[object], bool]) -> bool:
    return isinstance(values, list) and all(good(v) for v in values)


def _check(preprocessing: Preprocessing, shape: tuple[int, ...]) -> None:
    kind = preprocessing["kind"]
    if kind == "table":
        _want(preprocessing["missing"] in ("impute", "refuse"), "missing")
        _want(_all(preprocessing["missing_marks"], lambda m: isinstance(m, str)), "missing_marks")
        _want(_all(preprocessing.get("target", []), _word), "target")
        _want(_size(preprocessing.get("numbered", 1)), "numbered")
        medians = preprocessing["missing"] == "impute"
        width = sum(_check_column(column, medians) for column in preprocessing["columns"])
        _want((width,) == shape, "columns")
    elif kind == "images":
        channels, size = preprocessing["channels"], preprocessing["image_size"]
        _want(len(shape) == 3 and channels in ("gray", "rgb") and size == list(shape[1:]), "image_size")
        for key in ("mean", "std"):
            _want(_all(preprocessing[key], _number) and len(preprocessing[key]) == shape[0], key)
        _want(0 not in preprocessing["std"] and preprocessing.get("levels", 255) in (16, 255), "std")
        for deep, ends in preprocessing.get("deep", {}).items():
            _want(deep in UNTOLD and _all(ends, _number) and len(ends) == 2 and ends[0] < ends[1], "deep")
    else:
        _want(kind == "dataset", "kind")


def _check_column(column: Column, median: bool) -> int:
    """How many inputs a column becomes."""
    name, kind = column["name"], column["kind"]
    _want(_word(name) and kind in get_args(Kind), "a column")
    _want(_all(column.get("marks", []), _word) and isinstance(column.get("other", False), bool), name)
    _want(isinstance(column.get("open", False), bool), name)
    _want(isinstance(column.get("coded", False), bool) and (kind == "text" or "coded" not in column), name)
    _want(tuple(column.get("writing", amounts.WRITINGS[0])) in amounts.WRITINGS, name)
    _want(_word(column.get("source", name)) and column.get("part", times.PARTS[0]) in times.PARTS, name)
    _want(("source" in column) == ("part" in column) and (kind == "number" or "part" not in column), name)
    _want(column.get("layout", times.LAYOUTS[0]) in times.LAYOUTS, name)
    if kind == "text":
        categories = column["categories"]
        _want(_all(categories, _word) and len(set(categories)) == len(categories), name)
        _want(0 < len(words(column)) <= MOST + 1, name)
        return width(column)
    _want(all(_number(column[key]) for key in ("median", "mean", "std", "low", "high") if key in column), name)
    _want(("low" in column) == ("high" in column) and column.get("low", 0) <= column.get("high", 0), name)
    _want("median" in column or not median, name)
    _want(("mean" in column) == ("std" in column) and column.get("std") != 0, name)
    if "quantiles" in column:
        knots = column["quantiles"]
        _want(_all(knots, _number) and len(knots) > 1 and knots == sorted(knots), name)
    return 1


# -- images --------------------------------------------------------------------------------------------------------


def normalise(pixels: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Raw pixels [N, C, H, W] as the network's float32 input, as training makes it of the same pixels.

    uint8 reaches from 0 to 255; anything else from 0 to the levels of the data set itself (16 for the 8x8 digits).
    """
    levels = preprocessing.get("levels", 255)
    if pixels.dtype == torch.uint8 and levels == 255:
        mean, std = _statistics(preprocessing)
        return Tensors(pixels, pixels, mean, std).normalise(pixels)
    mean, std = (torch.tensor(preprocessing[k], dtype=torch.float64).view(-1, 1, 1) for k in ("mean", "std"))
    full = 255 if pixels.dtype == torch.uint8 else levels
    return ((pixels.to(torch.float64) / full - mean) / std).to(torch.float32)


def _statistics(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, float32 [C]."""
    return torch.tensor(preprocessing["mean"]), torch.tensor(preprocessing["std"])


# -- tables --------------------------------------------------------------------------------------------------------


def decode(x: Tensor, preprocessing: Preprocessing) -> pl.DataFrame:
    """The rows of a table that inputs [N, features] stand for: what was filled in stays filled in.

    Undoing a scale leaves an error of rounding; the ends of a quantile scale are cut. What a date was worth has a
    column each, which `encode` takes in the place of the date.
    """
    import polars as pl

    columns: dict[str, pl.Series] = {}
    begin, values = 0, x.double().numpy()
    for column in preprocessing["columns"]:
        name = column["name"]
        if column.get("coded"):
            known = [None, *words(column)]
            columns[name] = pl.Series([known[int(code)] for code in values[:, begin]], dtype=pl.String)
            begin += 1
        elif column["kind"] == "text":
            end = begin + width(column)
            part, known = values[:, begin:end], words(column)
            hot = np.asarray(part.any(1))
            cells = [known[i] if one else None for i, one in zip(part.argmax(1), hot, strict=True)]
            columns[name], begin = pl.Series(cells, dtype=pl.String), end
        else:
            numbers = _unscale(values[:, begin], column)
            columns[name] = pl.Series(numbers > 0.5 if column["kind"] == "boolean" else numbers)
            begin += 1
    return pl.DataFrame(columns)


def _unscale(values: np.ndarray, column: Column) -> np.ndarray:
    if "std" in column:
        return values * column["std"] + column["mean"]
    if "quantiles" not in column:
        return values
    knots = torch.tensor(column["quantiles"], dtype=torch.float64)
    return from_normal(torch.from_numpy(values)[:, None], knots[:, None])[:, 0].numpy()


def labelled(
    given: Given,
    known: Facts,
    *,
    target: Name | Sequence[Name],
    weight: Name | None = None,
    how: Format | None = None,
    told: Told = Told(),  # noqa: B008 - it is frozen
    positive: Name | None = None,
    target_missing: TargetMissing = "refuse",
) -> tuple[Tensors, list[str]]:
    """All rows of a table with its targets, as the run would have them, and notes on what was filled in.

    target: as it was typed, for runs that did not store how the columns are called. weight: the column of the rows'
    weights, without which they count the same. The other options are the run's.
    """
    source = read_table(given, how)
    columns = source.frame.columns
    if (width := known.known.numbered) not in (None, len(columns)):
        raise DataError(f"{source.path}: has {len(columns)} columns, and the run was trained on {width} without names")
    names = known.preprocessing.get("target") or meant(target, columns, knob="data.target", path=source.path)
    require_columns(names, columns, knob="data.target", path=source.path)
    among = not {*map(str.lower, known.classes)}.isdisjoint(MISSING)
    source, _, lacking = answered(source, names, told, missing=target_missing, words=among)
    y = known_target(source, names, classes=known.classes, positive=None if positive is None else str(positive))
    if known.units is not None:
        y = learned(known.units, y, known.targets, source.place)
    x = encode(source.frame, known.preprocessing, place=source.place, source=source.path)
    answers = torch.from_numpy(y.astype(np.int64 if y.ndim == 1 else np.float32))
    weights, unweighted = _weights(source, weight, told)
    part = Tensors(
        x,
        answers,
        units=known.units,
        rows=torch.arange(len(x)),
        origin=source.where.place,
        weight=None if weights is None else torch.from_numpy(weights),
    )
    return part, [
        *source.notes,
        *lacking,
        *unweighted,
        *few(remarks(source.frame, known.preprocessing, place=source.place)),
    ]


def _weights(source: Table, name: Name | None, told: Told) -> tuple[np.ndarray | None, list[str]]:
    """How much each row counts, float32 [N], and a note where the table does not say."""
    if name is None:
        return None, []
    (column,) = meant(name, source.frame.columns, knob="data.weight", path=source.path)
    if column not in source.frame.columns:
        return None, [f"{source.path} has no column '{column}' of weights: its rows count the same"]
    return Roles(column, told=told).weights(source), []


def again(data: Data, part: Split, known: Facts) -> Split:
    """A part of newly loaded data as the run would have it: with the run's preprocessing in place of its own.

    Raises DataError where the data are of another kind.
    """
    if isinstance(part, Some):
        return Some(again(data, part.split, known), part.indices)
    own, shape = data.preprocessing, data.in_shape
    same = (data.task, data.classes, len(data.targets)) == (known.task, known.classes, len(known.targets))
    same = same and (data.units is None) == (known.units is None)
    if own.get("kind") != known.kind or not same or (shape != known.in_shape and known.kind != "table"):
        theirs, ours = _described(data), _described(known)
        raise DataError(f"these data are {theirs}\nand the run was trained on {ours}")
    if isinstance(part, Tensors):
        part = _in_units(part, data, known)
    if own == {**own, **known.preprocessing} or known.kind == "dataset":
        return part
    if isinstance(part, ImageFiles):
        mean, std = _statistics(known.preprocessing)
        return replace(part, mean=mean, std=std, deep=known.preprocessing.get("deep"))
    if not isinstance(part, Tensors):
        raise DataError(f"a part that is a {type(part).__name__} can't be put on the scale that the run fitted")
    if known.kind == "table":
        return replace(part, x=encode(decode(part.x, own), known.preprocessing))
    mean, std = _statistics(known.preprocessing)
    scale = known.preprocessing.get("deep", UNTOLD)
    if any(tuple(ends) != tuple(scale.get(deep, ())) for deep, ends in own.get("deep", {}).items()):
        raise DataError(f"these images were read on the scale {own['deep']}; the run's own needs data.in_memory=false")
    if part.mean is not None:
        return replace(part, mean=mean, std=std)
    before = {key: torch.tensor(own[key], dtype=torch.float64).view(-1, 1, 1) for key in ("mean", "std")}
    raw = part.x.double() * before["std"] + before["mean"]
    return replace(part, x=((raw - mean.double().view(-1, 1, 1)) / std.double().view(-1, 1, 1)).float())


def _in_units(part: Tensors, data: Data, known: Facts) -> Tensors:
    """A part of the data with its targets as the run learned them, where it did not as they stand."""
    if data.units is None or known.units is None:
        return part
    y = data.units.original(part.y.double()).numpy()
    y = learned(known.units, y, known.targets, lambda row: place(part, row) or f"row {row}")
    return replace(part, y=torch.from_numpy(y).float(), units=known.units)


def _described(data: Data | Facts) -> str:
    classes = f"{len(data.classes)} classes ({', '.join(data.classes[:4])}{', ...' * (len(data.classes) > 4)})"
    what = classes if data.classes else f"{len(data.targets)} targets"
    return f"{data.preprocessing['kind']}, {data.task}, inputs {list(data.in_shape)}, {what}"
