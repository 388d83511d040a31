"""`dltrain predict RUN INPUT`: what a trained model says of new rows, read and written piece by piece."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from dltrain.data import streaming
from dltrain.data.tables.encoding import Gaps, gaps
from dltrain.data.tables.files import PARQUET, Given
from dltrain.data.tables.headers import Format
from dltrain.data.tables.table import ROW, Place, kept, listed
from dltrain.errors import ConfigError, DataError, StorageError, system
from dltrain.errors.output import cell, csv_rows, encodable
from dltrain.errors.paths import permitted
from dltrain.runs import storage
from dltrain.runs.reading import flat
from dltrain.trained.inference import Trained
from dltrain.trained.mean import Mean

if TYPE_CHECKING:
    import polars as pl
    from torch import Tensor


_ANSWERS = 1 << 22  # numbers in a frame of answers: of 10,000 classes each row has as many


@dataclass(frozen=True)
class Piece:
    """Some raw rows, a frame or pixels, as `Trained.inputs` takes them; where each stands, or the files' names."""

    rows: pl.DataFrame | Tensor
    place: Place | None = None
    files: list[str] | None = None
    notes: tuple[str, ...] = ()


def read(
    trained: Trained,
    source: Given | BinaryIO,
    *,
    columns: Sequence[str] | None = None,
    keep: Sequence[str] = (),
    unreadable: list[DataError] | None = None,
) -> Iterator[Piece]:
    """The rows of a table, in a file, several, a folder or an open stream; or of image files: one, a folder's, an IDX.

    columns: of a table, where others than the run's are needed. Raises DataError for what is of another kind than the
    run was trained on, and for a file that is damaged; those of a folder's images go to `unreadable`, if that is given,
    and the others are read.
    """
    facts = trained.facts
    with permitted():
        if facts.kind == "table":
            if isinstance(source, Path) and source.is_file() and streaming.kind_of(source) == "pictures":
                raise _other_kind(trained, source)
            known = replace(facts.known, keep=tuple(keep), columns=list(columns or facts.columns))
            for piece in streaming.table(source, known, table_format(trained)):
                yield Piece(piece.frame, piece.place, notes=piece.notes)
            return
        kind = streaming.kind_of(source) if isinstance(source, Path) else "table"
        if others := [word for word in keep if word != ROW]:
            raise ConfigError(
                f"--keep {others[0]}: images have no columns; their file, or --keep row, says which is which"
            )
        if facts.kind == "dataset" or kind == "table" or not isinstance(source, Path):
            raise _other_kind(trained, source)
        if kind == "idx":
            yield from map(Piece, streaming.idx(source, facts.in_shape))
            return
        _, height, width = facts.in_shape
        made, size = facts.preprocessing, (height, width)
        how = {"channels": made["channels"], "deep": made.get("deep")}
        for names, pixels in streaming.pictures(source, size=size, unreadable=unreadable, **how):
            yield Piece(pixels, files=names)


def table_format(trained: Trained) -> Format:
    """How the run was told that its tables are written."""
    told = flat(trained.outline.config)
    return Format(told.get("data.separator"), told.get("data.header"))


def predict(
    trained: Trained | Mean,
    source: Given | BinaryIO,
    *,
    keep: Sequence[str] = (),
    allow_unknown: bool = False,
    found: Gaps | None = None,
    notes: list[str] | None = None,
    unreadable: list[DataError] | None = None,
) -> Iterator[pl.DataFrame]:
    """Answers in pieces, one row for each of the input's, in its order; those on image files begin with `file`. Those
    of several runs are averaged.

    source, unreadable: see `read`. keep: columns of a table, by names and patterns, that stand before the answers; row:
    the number of each row, from 1, unless a column has that name. What was missing or unknown is counted in `found`;
    `notes` takes what else a user should know.
    """
    import polars as pl

    done = 0
    mean = trained if isinstance(trained, Mean) else Mean((trained,))
    first, columns = mean.members[0], mean.columns if mean.members[0].facts.kind == "table" else None
    for number, piece in enumerate(read(first, source, columns=columns, keep=keep, unreadable=unreadable)):
        inputs = mean.inputs(piece.rows, place=piece.place, allow_unknown=allow_unknown)
        if notes is not None:
            notes += piece.notes
            if number == 0 and (remark := mean.remark(piece.rows)):
                notes.append(remark)
        if isinstance(piece.rows, pl.DataFrame) and found is not None:
            for key, (count, words) in gaps(piece.rows, first.facts.preprocessing, place=piece.place).items():
                before, seen = found.get(key, (0, ()))
                found[key] = before + count, tuple(sorted({*seen, *words}))[:3]
        size, count = max(1, _ANSWERS // first.outputs), len(inputs[0])
        for start in range(0, count, size):
            answers = mean.answers(
                [m.logits(x[start : start + size]) for m, x in zip(mean.members, inputs, strict=True)]
            )
            if piece.files:
                names = [*map(encodable, piece.files[start : start + size])]
                answers.insert_column(0, pl.Series("file", names))
            yield _beside(piece, keep, answers, start=start, done=done) if keep else answers
        done += count


def _beside(piece: Piece, keep: Sequence[str], answers: pl.DataFrame, *, start: int, done: int) -> pl.DataFrame:
    """What is kept of the rows from `start` on, and then the answers to them; what has a name of these is input_NAME.

    done: how many rows there were in the pieces before.
    """
    import polars as pl

    frame = piece.rows if isinstance(piece.rows, pl.DataFrame) else pl.DataFrame()
    names = kept(keep, frame.columns, path="the rows")
    shown = {name: frame[name][start : start + len(answers)] for name in names}
    if ROW in keep and ROW not in shown:
        first = done + start + 1
        numbers = {ROW: pl.Series(range(first, first + len(answers)), dtype=pl.Int64)}
        shown = numbers | shown if keep[0] == ROW else shown | numbers
    renamed = [series.alias(f"input_{n}" if n in answers.columns else n) for n, series in shown.items()]
    return pl.DataFrame(renamed).hstack(answers)


def _other_kind(trained: Trained, source: Given | BinaryIO) -> DataError:
    """What to say where the input is of another kind than what the run was trained on."""
    facts = trained.facts
    if facts.kind == "dataset":
        shape = ", ".join(map(str, ("N", *facts.in_shape)))
        return DataError(
            f"{trained.folder} was trained on a Dataset, whose preprocessing is code: in Python, "
            f"dltrain.load(RUN).predict(x) takes inputs [{shape}] as that Dataset gives them"
        )
    if facts.kind == "table":
        return DataError(f"{source}: the run was trained on a table with the columns {listed(facts.columns)}")
    called = source if isinstance(source, (str, Path)) else "INPUT"
    shape = list(facts.in_shape)
    return DataError(f"{called}: the run was trained on images {shape}: give a folder of them, or an IDX file")


# -- the answers on their way out ----------------------------------------------------------------------------------


def write(pieces: Iterator[pl.DataFrame], path: Path) -> int:
    """Writes a CSV or Parquet file whole or not at all, in the place of one that may be there; returns its rows.

    Raises StorageError when the file system refuses; what was there before stays.
    """
    draft = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    parts = draft.with_name(f"{draft.name}.parts")
    rows = 0
    try:
        if path.suffix in PARQUET:
            rows = _parquet(pieces, draft, parts)
        else:
            log = storage.Log(draft)
            for piece in pieces:
                log.write(as_csv(piece, header=not rows).encode())
                rows += len(piece)
            log.sync()
        system.patiently(storage.disk.replace, draft, path)
        storage.sync(path.parent)
        return rows
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror or error}") from error
    finally:
        for left in (draft, parts):
            with suppress(OSError):
                storage.remove(left)


def as_csv(piece: pl.DataFrame, *, header: bool) -> str:
    """Answers as lines of a CSV file, its texts as `output.cell` writes them."""
    import polars as pl

    texts = piece.select(pl.selectors.string())
    words = {word: cell(word) for name in texts.columns for word in texts[name].unique() if word is not None}
    changed = {word: made for word, made in words.items() if made != word}
    if changed:
        piece = piece.with_columns(pl.selectors.string().replace(changed))
    return csv_rows([piece.columns]) * header + piece.write_csv(include_header=False)


def _parquet(pieces: Iterator[pl.DataFrame], draft: Path, parts: Path) -> int:
    """One Parquet file from many small ones, which are joined without holding them all: polars has no writer that
    takes pieces.
    """
    import polars as pl

    storage.disk.mkdir(parts)
    rows = 0
    for number, piece in enumerate(pieces):
        piece.write_parquet(parts / f"{number:08d}.parquet")
        rows += len(piece)
    pl.scan_parquet(sorted(parts.iterdir()), glob=False).sink_parquet(draft)
    storage.sync(draft)
    return rows
