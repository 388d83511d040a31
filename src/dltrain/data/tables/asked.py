"""What the user says of the columns of a table: which are targets, which are learned from, and which have a role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dltrain.data import Column
from dltrain.data.tables.cells import derived, needed
from dltrain.data.tables.headers import NUMBERED
from dltrain.data.tables.kinds import Told, guesses, recognise
from dltrain.data.tables.roles import Roles
from dltrain.data.tables.table import Name, Table, listed, meant, require_columns
from dltrain.errors import ConfigError, DataError

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True)
class Asked:
    """The columns by their names in the file. features: those to learn from, None where the user names none."""

    targets: list[str]
    features: list[str] | None
    told: Told
    roles: Roles


def asked(
    source: Table,
    *,
    target: Name | Sequence[Name],
    features: Sequence[Name] | None,
    told: Told,
    roles: Mapping[str, Name | None],
) -> Asked:
    """What names, numbers and patterns mean among the columns of `source`.

    told: its columns as the user wrote them. roles: those of `Roles`. Raises DataError for columns that there are not,
    and ConfigError for what does not go together.
    """
    columns, path = source.frame.columns, source.path
    targets = _targets(target, source)
    told = told.among(columns, path)
    chosen = None if features is None else meant(features, columns, knob="data.features", path=path)
    named = {
        key: meant(name, columns, knob=f"data.{key}", path=path)[0] for key, name in roles.items() if name is not None
    }
    found = Roles(**named, told=told)
    found.check(source, targets, chosen)
    require_columns(chosen or [], columns, knob="data.features", path=path)
    for knob, given in (("data.drop", told.drop), ("data.features", chosen or [])):
        if both := set(targets).intersection(given):
            raise ConfigError(f"{knob} names the target column '{min(both)}'")
    return Asked(targets, chosen, told, found)


def _targets(target: Name | Sequence[Name], source: Table) -> list[str]:
    names = meant(target, source.frame.columns, knob="data.target", path=source.path)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"data.target={target}: name at least one column, and none twice")
    try:
        require_columns(names, source.frame.columns, knob="data.target", path=source.path)
    except DataError as error:
        doubt = [note for note in source.notes if NUMBERED in note]
        raise DataError("\n".join([str(error), *doubt])) from None
    return names


def learned_from(source: Table, asked: Asked) -> tuple[pl.DataFrame, list[Column], list[str]]:
    """The columns to learn from, in the file's order, their numbers typed as such; what each holds, and what of it was
    guessed.
    """
    import polars as pl

    names, path, told = source.frame.columns, source.path, asked.told
    wanted = set(names if asked.features is None else asked.features)
    wanted = wanted.difference(told.drop, asked.targets, asked.roles.no_features(asked.features))
    found = [recognise(source.frame[name], told, source.place) for name in names if name in wanted]
    columns = [column for item in found for column in item.columns]
    if not columns:
        why = guesses(found) or [f"its columns: {listed(names)}"]
        raise DataError("\n".join([f"{path}: no feature column is left", *why]))
    frame = derived(source.frame.select(needed(columns)), columns, list(told.missing_marks), place=source.place)
    plain = [c["name"] for c in columns if c["kind"] == "number" and frame[c["name"]].dtype != pl.Duration]
    return frame.cast(dict.fromkeys(plain, pl.Float64)), columns, guesses(found)
