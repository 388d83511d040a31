"""A large table as data of which little is in memory: it is encoded once, some columns after others, into files that
are kept (see `cache`), and are mapped into memory, of which the system holds as much as there is room for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, cast

import numpy as np
import torch
from torch import Tensor

from dltrain.data import Data, Preprocessing, Tensors, cache, units, weights
from dltrain.data.fingerprint import fingerprint
from dltrain.data.preprocessing import facts
from dltrain.data.split import Rows, Share
from dltrain.data.tables.cells import cells_of, width
from dltrain.data.tables.columns import columns_of, followed
from dltrain.data.tables.encoding import encode, gaps
from dltrain.data.tables.features import Encoder, unused
from dltrain.data.tables.files import Given
from dltrain.data.tables.headers import Format
from dltrain.data.tables.table import Columns, Lines, Place, Table
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl

_PARTS = ("train", "val", "test")
_ROWS = 1 << 17  # that are encoded together
_CELLS = 1 << 22  # of a table that are held together, where a column has no more: they take some 150 bytes each


class OnDisk:
    """An `Encoder` that holds the cells of few columns, and writes the inputs of each part into a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._widths: list[int] = []

    def begin(self, rows: Rows, where: Lines) -> None:
        """See `Encoder`."""
        self.rows, self.where = rows, where

    def some(self, names: list[str]) -> Iterator[list[str]]:
        """As many columns as are to be held together."""
        from tqdm import tqdm

        step = max(1, _CELLS // sum(map(len, self.rows)))
        with tqdm(desc="encoding", total=len(names), unit=" columns", disable=None) as bar:  # None: terminals only
            for begin in range(0, len(names), step):
                yield (some := names[begin : begin + step])
                bar.update(len(some))

    def add(self, frame: pl.DataFrame, preprocessing: Preprocessing, place: Place) -> None:
        """Encodes columns, so many rows at a time that they take little memory also as zeros and ones."""
        import polars as pl

        columns, marks = preprocessing["columns"], preprocessing["missing_marks"]
        frame = pl.DataFrame({c["name"]: cells_of(frame, c, marks) for c in columns})  # by all cells, not some of them
        if preprocessing["missing"] == "refuse" and gaps(frame, preprocessing):
            encode(frame, preprocessing, place=place)  # whose error counts what is missing in all rows
        for part, numbers in zip(_PARTS, self.rows, strict=True):
            with self._piece(part, len(self._widths)).open("wb") as file:
                for begin in range(0, len(numbers), _ROWS):
                    some = numbers[begin : begin + _ROWS]
                    x = encode(frame[some], preprocessing, place=lambda row, some=some: place(int(some[row])))
                    file.write(x.numpy().data)
        self._widths.append(sum(map(width, columns)))

    def inputs(self) -> tuple[Tensor, Tensor, Tensor]:
        """Those of the three parts, as files hold them."""
        train, val, test = (self._together(part, len(rows)) for part, rows in zip(_PARTS, self.rows, strict=True))
        return train, val, test

    def _together(self, part: str, rows: int) -> Tensor:
        """Puts the columns of a part beside each other."""
        pieces = [self._piece(part, i) for i in range(len(self._widths))]
        shapes = [(rows, width) for width in self._widths]
        with (self._folder / f"{part}.x").open("wb") as file:
            columns = [_array(path, shape) for path, shape in zip(pieces, shapes, strict=True)]
            for begin in range(0, rows, _ROWS):
                file.write(np.concatenate([each[begin : begin + _ROWS] for each in columns], axis=1).data)
        del columns
        for path in pieces:
            path.unlink()
        return _tensor(self._folder / f"{part}.x", [rows, sum(self._widths)], torch.float32)

    def _piece(self, part: str, number: int) -> Path:
        return self._folder / f"{part}.x{number}"


def _array(path: Path, shape: tuple[int, int]) -> np.ndarray:
    return np.memmap(path, dtype=np.float32, mode="r", shape=shape) if shape[0] else np.empty(shape, dtype=np.float32)


def _tensor(path: Path, shape: list[int], kind: torch.dtype) -> Tensor:
    """What a file holds. Who changes it changes a copy of his own."""
    size = int(np.prod(shape))
    if not size:
        return torch.empty(shape, dtype=kind)
    return torch.from_file(str(path), shared=False, size=size, dtype=kind).view(shape)


# -- what is kept ----------------------------------------------------------------------------------------------------


def kept_data(
    path: Given,
    test_path: Given | None,
    how: Format,
    learned: Callable[[Table | Columns, int | None, Encoder], Data],
    *,
    decisive: Sequence[object],
    test: Share,
) -> Data:
    """The data of a table that is not held in memory, as they were kept, or as `learned` makes them now.

    decisive: all that decides the data beside the files. Raises DataError as `reading.read_table` does, and
    StorageError where there is no room for what is kept.
    """

    @contextmanager
    def read() -> Iterator[tuple[Columns, int | None]]:
        with columns_of(path, how) as source:
            if test_path is None:
                yield source, None
                return
            with columns_of(test_path, how, knob="data.test_path") as tests:
                both = followed(source, tests)
                yield replace(both, notes=(unused(test, tests), *both.notes)), len(source)

    with read() as (source, own):
        names = [str(part.path) for part in (source.where, *source.where.rest)]
        name = cache.named("encoded", vars(how), *decisive, own, source.contents, names)

    def make(folder: Path) -> cache.Facts:
        encoder = OnDisk(folder)
        with read() as (found, own):  # which raises DataError where a file changes meanwhile
            if found.contents != source.contents:
                raise DataError(f"{source.path}: changed while it was read; wait until it is whole, or read a copy")
            saved = _saved(learned(found, own, encoder), folder, encoder.where)
        return {"about": f"{Path(names[0]).absolute()}: encoded", **saved}

    with cache.held(name, make) as entry:
        data = _loaded(entry)
        cache.keep_within_limit(entry)
    return data


class _Saved(TypedDict):
    """What is noted of data: `same` names the part that each is, `short` is of the units what is float32."""

    data: dict[str, object]
    short: list[str]
    notes: list[str]
    same: dict[str, str]
    rows: dict[str, int]
    weighted: bool
    sha256: dict[str, str]
    lines: list[tuple[str, str, int]]


def _saved(data: Data, folder: Path, where: Lines) -> _Saved:
    """Writes all of data but the inputs, which are there, and what is not numbers as facts."""
    first: dict[int, str] = {}
    same = {name: first.setdefault(id(getattr(data, name)), name) for name in _PARTS}
    for name in first.values():
        part = getattr(data, name)
        for key, values in (("y", part.y), ("rows", part.rows), ("weight", part.weight)):
            if values is not None:
                _write(folder / f"{name}.{key}", values.numpy())
    lines, tensors = (where, *where.rest), data.units.tensors() if data.units else {}
    with (folder / "lines").open("wb") as file:
        for some in lines:
            file.write(np.ascontiguousarray(some.numbers, dtype=np.int64).data)
    known: dict[str, object] = {
        "task": data.task,
        "in_shape": list(data.in_shape),
        "classes": list(data.classes),
        "targets": list(data.targets),
        **units.stored(data.units),
        "preprocessing": data.preprocessing,
    }
    return {
        "data": known,
        "short": [name for name, own in tensors.items() if own.dtype == torch.float32],
        "notes": list(data.notes),
        "same": same,
        "rows": {name: len(getattr(data, name)) for name in _PARTS},
        "weighted": weights(data.train) is not None,
        "sha256": fingerprint(data),
        "lines": [(str(some.path), some.word, len(some.numbers)) for some in lines],
    }


def _write(path: Path, values: np.ndarray) -> None:
    path.write_bytes(np.ascontiguousarray(values).data)


def _loaded(entry: cache.Entry) -> Data:
    """Data as they were saved."""
    noted, folder = cast(_Saved, entry.facts), entry.folder
    known = facts(noted["data"], str(folder / "entry.json"))
    scale = None if known.units is None else units.shortened(known.units, noted["short"])
    first, *others = _lines(noted["lines"], folder / "lines")
    origin = first.followed_by(others).place

    def part(name: str) -> Tensors:
        rows, answers = noted["rows"][name], torch.int64 if known.task in ("binary", "multiclass") else torch.float32
        made = Tensors(
            _tensor(folder / f"{name}.x", [rows, *known.in_shape], torch.float32),
            _tensor(folder / f"{name}.y", [rows, *([len(known.names)] if answers.is_floating_point else [])], answers),
            units=scale,
            rows=_tensor(folder / f"{name}.rows", [rows], torch.int64),
            origin=origin,
            weight=_tensor(folder / f"{name}.weight", [rows], torch.float32) if noted["weighted"] else None,
        )
        made.remember(noted["sha256"][name])
        return made

    parts = {name: part(name) for name in dict.fromkeys(noted["same"].values())}
    train, val, test = (parts[noted["same"][name]] for name in _PARTS)
    return Data(
        train=train,
        val=val,
        test=test,
        task=known.task,
        in_shape=known.in_shape,
        classes=known.classes,
        targets=known.targets,
        units=scale,
        preprocessing=known.preprocessing,
        notes=tuple(noted["notes"]),
    )


def _lines(noted: list[tuple[str, str, int]], file: Path) -> list[Lines]:
    ends = np.cumsum([count for _, _, count in noted])
    numbers = np.split(np.memmap(file, dtype=np.int64, mode="r"), ends[:-1])
    return [Lines(Path(path), some, word) for (path, word, _), some in zip(noted, numbers, strict=True)]
