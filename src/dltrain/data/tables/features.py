"""What is learned from the columns of a table, of all at once or of some after others, and who takes the inputs of a
net that they become.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from torch import Tensor

from dltrain.data import Column, Preprocessing
from dltrain.data.split import Rows, Share, refuse_fold
from dltrain.data.tables.asked import Asked, features_of, learned_from
from dltrain.data.tables.encoding import Gaps, as_preprocessing, constant, encode, fit_columns, gaps, sentences
from dltrain.data.tables.kinds import Found, guesses
from dltrain.data.tables.oddities import Look
from dltrain.data.tables.rules import Rules
from dltrain.data.tables.table import Columns, Lines, Name, Place, Table, few, listed
from dltrain.data.tables.targets import TableTask, Target, TargetMissing, answered, read_target
from dltrain.errors import DataError

if TYPE_CHECKING:
    import polars as pl


class Encoder(Protocol):
    """Makes inputs of a net from columns."""

    def begin(self, rows: Rows, where: Lines) -> None:
        """How the rows are shared out, and where each stands."""

    def some(self, names: list[str]) -> Iterator[list[str]]:
        """The columns of a file, so many at a time as are to be in memory together."""

    def add(self, frame: pl.DataFrame, preprocessing: Preprocessing, place: Place) -> None:
        """The next columns, of all rows."""

    def inputs(self) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        """What they became, float32 [N, features], or the parts of that."""


class InMemory:
    """An `Encoder` that holds all columns."""

    def __init__(self) -> None:
        self._made: list[Tensor] = []

    def begin(self, rows: Rows, where: Lines) -> None:
        """All rows stay together."""

    def some(self, names: list[str]) -> Iterator[list[str]]:
        """All columns."""
        yield names

    def add(self, frame: pl.DataFrame, preprocessing: Preprocessing, place: Place) -> None:
        """See `Encoder`."""
        self._made.append(encode(frame, preprocessing, place=place))

    def inputs(self) -> Tensor:
        """Of all rows."""
        (x,) = self._made
        return x


class Answers(NamedTuple):
    """The rows that have an answer: which of a table's they are, bool [N of the table], what it is, how they are shared
    out, where they stand, how much each counts, float32 [N]; and notes on the others, and on the parts.
    """

    kept: np.ndarray
    answer: Target
    parts: Rows
    where: Lines
    weights: np.ndarray | None
    lacking: list[str]
    shared: list[str]


def answers(
    source: Table | Columns,
    own: int | None,
    wanted: Asked,
    *,
    task: TableTask,
    positive: Name | None,
    missing: TargetMissing,
    val: float | int,
    test: Share,
    seed: int,
) -> Answers:
    """Reads the targets, and shares out the rows. own: how many come first, where all others are the test part.

    Raises DataError, with file and line, for what can't be an answer, a weight, a group or a time.
    """
    names, roles = wanted.targets, wanted.roles
    needed = {*names, *(name for name in (roles.weight, roles.group, roles.time) if name is not None)}
    narrow = source.only([name for name in source.columns if name in needed])
    narrow, kept, lacking = answered(narrow, names, wanted.told, missing=missing, words=task == "classification")
    first = int(kept[:own].sum())
    answer = read_target(narrow, names, task=task, positive=positive)
    classes = answer.y[:first] if answer.classes and answer.y.ndim == 1 else None
    parts, shared = roles.share_out(narrow, first, val=val, test=test if own is None else 0, seed=seed, classes=classes)
    if own is not None:
        parts = *parts[:2], np.arange(first, len(narrow))
    weights = roles.weights(narrow, parts)
    shared += roles.remarks(weights)
    return Answers(kept, answer, parts, narrow.where, weights, lacking, shared)


def unused(test: Share, tests: Table | Columns) -> str:
    """A note on `data.test` where a file of its own has the test rows; raises ConfigError for a fold there."""
    refuse_fold(test, "the test rows are those of data.test_path")
    return f"the test rows are those of {tests.path}; data.test={test} is not used"


class Features(NamedTuple):
    """What was learned, and notes: what was guessed of the columns, which were dropped, and what is odd about them."""

    preprocessing: Preprocessing
    guessed: list[str]
    seen: list[str]


def learn(source: Table | Columns, wanted: Asked, rows: Answers, rules: Rules, encoder: Encoder) -> Features:
    """Recognises the columns of a table, fits them on the train rows, and has all rows encoded.

    What comes out is the same, whatever the number of columns that the encoder takes together. Raises DataError for
    what cannot be used, with file and line, and where nothing is left to learn from.
    """
    parts, place = rows.parts, rows.where.place
    found: list[Found] = []
    fitted: list[Column] = []
    notes: list[str] = []
    lacking: Gaps = {}
    look = Look(parts)
    encoder.begin(parts, rows.where)
    for names in encoder.some(features_of(source.columns, wanted)):
        frame, items = learned_from(_answered(source.only(names), rows), wanted)
        found += items
        if not (columns := _columns(items)):
            continue
        train = frame[parts[0]]
        learned, said = fit_columns(train, columns, rules, place=lambda row: place(int(parts[0][row])))
        fitted += learned
        notes += said
        look.at(frame, train, columns)
        del train
        if learned:
            made = as_preprocessing(learned, rules)
            lacking |= gaps(frame, made, place=place, known=True)
            encoder.add(frame, made, place)
    columns = _columns(found)
    if not columns:
        why = guesses(found) or [f"its columns: {listed(source.columns)}"]
        raise DataError("\n".join([f"{source.path}: no feature column is left", *why]))
    preprocessing = as_preprocessing(fitted, rules, columns, source=str(source.path))
    odd = look.notes(columns, rows.answer.y, rules.scaling)
    seen = [*few([*constant(columns, fitted, notes), *notes]), *few(sentences(lacking, preprocessing)), *odd]
    return Features(preprocessing, guesses(found), seen)


def _columns(found: list[Found]) -> list[Column]:
    return [column for item in found for column in item.columns]


def _answered(table: Table, rows: Answers) -> Table:
    """Those of its rows that have an answer."""
    frame = table.frame if rows.kept.all() else table.frame.filter(rows.kept)
    return replace(table, frame=frame, where=rows.where)
