"""A table of the user's own: CSV or Parquet, one or several target columns, any mix of numbers and text."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

from dltrain.data import Data, OneHot, Scaling, Unknown
from dltrain.data.assembly import assemble
from dltrain.data.quality import repeats
from dltrain.data.split import Share
from dltrain.data.tables.asked import asked
from dltrain.data.tables.columns import is_large
from dltrain.data.tables.features import Encoder, InMemory, answers, learn, unused
from dltrain.data.tables.headers import Format, numbers
from dltrain.data.tables.kept import kept_data
from dltrain.data.tables.kinds import Told
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.rules import Rules
from dltrain.data.tables.table import Columns, Name, Table, append
from dltrain.data.tables.targets import TableTask, TargetMissing
from dltrain.data.tables.text import TooLargeError
from dltrain.data.units import TargetTransform
from dltrain.errors import ConfigError


def table(
    path: str | list[str],
    *,
    target: Name | list[Name],
    features: list[Name] | None = None,
    drop: list[Name] | None = None,
    categorical: list[Name] | None = None,
    numeric: list[Name] | None = None,
    dates: list[Name] | None = None,
    task: TableTask = "auto",
    positive: Name | None = None,
    target_missing: TargetMissing = "refuse",
    target_transform: TargetTransform = "standard",
    scaling: Scaling = "standard",
    missing: Literal["impute", "refuse"] = "impute",
    missing_marks: list[str] | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    day_first: bool | None = None,
    max_categories: int | None = None,
    min_count: int | None = None,
    unknown: Unknown = "auto",
    one_hot: OneHot = None,
    separator: str | None = None,
    header: bool | None = None,
    test_path: str | list[str] | None = None,
    weight: Name | None = None,
    group: Name | None = None,
    time: Name | None = None,
    val: float | int = 0.15,
    test: Share = 0.2,
    split_seed: int = 0,
    on_disk: bool | None = None,
) -> Data:
    """Rows of CSV, TSV, JSON lines or Parquet files, to predict the column or columns `target` from the others.

    `path` is a file, a list, a folder or a pattern (see `files.find`). Columns have names, or with `header=False`
    numbers from 1; -1 is the last.

    Numbers are scaled, text columns become zeros and ones per category, or a code where they have more than `one_hot`
    (see `dltrain.codes`), dates what they are worth (see `times`), missing numbers become the median; all of it is
    learned from the train rows. What a column holds is seen by its cells (see `kinds`) unless `categorical`, `numeric`
    or `dates` names it, by a name or a pattern; each guess is said in `notes`. An empty cell, or one equal to a word of
    `missing_marks`, is missing; among numbers and dates the usual marks are, too, while "NA" as a class stays a class.
    With `test_path` the test rows are those of that file and `test` is not used. `weight`, `group` and `time` name
    columns that say how much each row counts, which rows stay in one part, and which are later: see `Roles`. `on_disk`
    says whether the table is encoded once, some columns after others, into files that are kept (see `tables.kept`), or
    held in memory; None: as it allows. The data are the same.

    Raises `DataError` with the file and line for whatever cannot be used.
    """
    _check_choices(task=task, target_missing=target_missing)
    rules = Rules(scaling, missing, missing_marks or [], max_categories, min_count, unknown, one_hot)
    told = Told(
        categorical or [], numeric or [], dates or [], drop or [], decimal, thousands, day_first, missing_marks or []
    )
    how, roles = Format(separator, header), {"weight": weight, "group": group, "time": time}
    sizes = {"val": val, "test": test, "seed": split_seed}

    def learned(source: Table | Columns, own: int | None, encoder: Encoder) -> Data:
        wanted = asked(source, target=target, features=features, told=told, roles=roles)
        rows = answers(source, own, wanted, task=task, positive=positive, missing=target_missing, **sizes)
        found, x = learn(source, wanted, rows, rules, encoder), encoder.inputs()
        found.preprocessing["target"] = wanted.targets
        if header is False and source.columns == numbers(len(source.columns)):
            found.preprocessing["numbered"] = len(source.columns)
        said = [*source.notes, *rows.answer.notes, *rows.lacking, *found.guessed, *rows.shared, *found.seen]
        return assemble(
            x,
            rows.answer.y,
            rows.parts,
            classes=rows.answer.classes,
            targets=rows.answer.targets,
            target_transform=target_transform,
            preprocessing=found.preprocessing,
            notes=[*said, *repeats(x, rows.answer.y, rows.parts, rows.where.place)],
            origin=rows.where.place,
            weights=rows.weights,
        )

    paths: dict[str, str | list[str] | None] = {"data.path": path, "data.test_path": test_path}
    if on_disk is False or (on_disk is None and not is_large(paths)):
        try:
            return learned(*_read(path, test_path, how, test=test), InMemory())
        except TooLargeError:  # only a packed text shows how large it is as it is read
            if on_disk is False:
                raise
    decisive = [target, features, task, positive, target_missing, target_transform, rules, told, roles, sizes]
    return kept_data(path, test_path, how, learned, decisive=decisive, test=test)


def _check_choices(**given: str) -> None:
    choices = {"task": get_args(TableTask), "target_missing": get_args(TargetMissing)}
    for knob, value in given.items():
        if value not in choices[knob]:
            raise ConfigError(f"data.{knob}={value}: choose {', '.join(choices[knob])}")


def _read(
    path: str | list[str], test_path: str | list[str] | None, how: Format, *, test: Share
) -> tuple[Table, int | None]:
    """The rows of `path`, then those of `test_path`; and how many the former are, where there are such."""
    source = read_table(path, how)
    if test_path is None:
        return source, None
    tests = read_table(test_path, how, knob="data.test_path")
    return replace(append(source, tests), notes=(unused(test, tests), *source.notes, *tests.notes)), len(source)
