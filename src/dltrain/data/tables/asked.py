"""What the user says of the columns of a table: which are targets, which are learned from, and which have a role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dltrain.data.tables.cells import derived, needed
from dltrain.data.tables.headers import NUMBERED
from dltrain.data.tables.kinds import Found, Told, recognise
from dltrain.data.tables.roles import Roles
from dltrain.data.tables.table import Columns, Name, Table, meant, require_columns
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
    source: Table | Columns,
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
    columns, path = source.columns, source.path
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


def _targets(target: Name | Sequence[Name], source: Table | Columns) -> list[str]:
    names = meant(target, source.columns, knob="data.target", path=source.path)
    if not names or len(set(names)) != len(names):
        raise ConfigError(f"data.target={target}: name at least one column, and none twice")
    try:
        require_columns(names, source.columns, knob="data.target", path=source.path)
    except DataError as error:
        doubt = [note for note in source.notes if NUMBERED in note]
        raise DataError("\n".join([str(error), *doubt])) from None
    return names


def features_of(columns: list[str], asked: Asked) -> list[str]:
    """The columns of a file to learn from, in its order, as far as the user's words tell."""
    wanted = set(columns if asked.features is None else asked.features)
    wanted = wanted.difference(asked.told.drop, asked.targets, asked.roles.no_features(asked.features))
    return [name for name in columns if name in wanted]


def learned_from(source: Table, asked: Asked) -> tuple[pl.DataFrame, list[Found]]:
    """What each column of a table holds, and those that are learned from, their numbers typed as such."""
    import polars as pl

    told = asked.told
    found = [recognise(cells, told, source.place) for cells in source.frame]
    columns = [column for item in found for column in item.columns]
    frame = derived(source.frame.select(needed(columns)), columns, list(told.missing_marks), place=source.place)
    plain = [c["name"] for c in columns if c["kind"] == "number" and frame[c["name"]].dtype != pl.Duration]
    return frame.cast(dict.fromkeys(plain, pl.Float64)), found
