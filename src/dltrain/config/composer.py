"""The jobs of a sweep, composed: Hydra makes what their choices make together, once; then values are set in a copy.

Hydra takes 80 ms for a configuration. Jobs that choose the same files differ in plain values, and those Hydra sets last
of all: to set them in a copy of what it made without them takes a hundredth of that, and gives the same.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dltrain.config import hydra
from dltrain.config.choices import GROUPS, Groups, groups
from dltrain.config.compose import Composed, compose
from dltrain.errors import key_of
from dltrain.runs.foreign import Values

_MOST = 1_000  # compositions that are kept: of so many combinations of choices
_LONGEST = 1_000  # letters of an override that is read again
_Path = tuple[str, ...]


@dataclass(frozen=True)
class _Plain:
    """`key=value` with a value that is set last: a number, a text, or a list of such."""

    path: _Path
    value: object


class Composer:
    """Composes overrides as `compose` does, those of one job at each call. quick: not all of it by Hydra each time."""

    def __init__(self, config_dir: Groups = None, *, quick: bool = True) -> None:
        self._config_dir = config_dir
        self.quick = quick
        self._groups = groups(config_dir)
        self._parse = hydra.parser(self._groups)
        self._read: dict[str, _Plain | None] = {}  # None: it is for Hydra
        self._made: dict[tuple[str, ...], Composed] = {}

    def __call__(self, overrides: Sequence[str]) -> Composed:
        """Raises ConfigError as `compose` does; unknown keys are among the result's mistakes."""
        if not self.quick:
            return compose(overrides, self._config_dir, sweep=True)
        plain = [read for text in overrides if (read := self._plain(text))]
        others = tuple(text for text in overrides if not self._plain(text))
        base = self.chosen(others)
        if not _can_be_set(base, plain, others):
            return compose(overrides, self._config_dir, sweep=True)
        values = copy.deepcopy(base.values)
        for change in plain:
            _at(values, change.path[:-1])[change.path[-1]] = copy.copy(change.value)
        copies = {k: v for k, v in base.resolved.copies.items() if not _is_set(tuple(k.split(".")), plain)}
        for key, source in copies.items():
            while source in copies:
                source = copies[source]
            *path, name = source.split(".")
            *parents, last = key.split(".")
            _at(values, tuple(parents))[last] = copy.deepcopy(_at(values, tuple(path))[name])
        return replace(base, resolved=hydra.Resolved(values, copies), overrides=tuple(overrides))

    def prove(self, overrides: Sequence[str]) -> bool:
        """Whether Hydra makes the same of a job; where it does not, it makes all of them from here on."""
        mine, hydras = self(overrides), compose(overrides, self._config_dir, sweep=True)
        self.quick = mine.resolved == hydras.resolved and mine.mistakes == hydras.mistakes
        return self.quick

    def read_from(self, config_dir: Groups) -> None:
        """Reads files from there from now on; what has been read is the same there."""
        self._config_dir = config_dir

    def chosen(self, overrides: tuple[str, ...]) -> Composed:
        """What Hydra makes of choices and of what else it has to see, remembered."""
        if (base := self._made.get(overrides)) is None:
            if len(self._made) >= _MOST:
                self._made.clear()
            base = self._made[overrides] = compose(overrides, self._config_dir, sweep=True)
        return base

    def _plain(self, text: str) -> _Plain | None:
        if text not in self._read:
            if len(self._read) >= 100 * _MOST:
                self._read.clear()
            self._read[text] = self._look(text)
        return self._read[text]

    def _look(self, text: str) -> _Plain | None:
        if len(text) > _LONGEST or not re.match(r"\w+(\.\w+)*=", text) or not text.isascii() or "~" in text:
            return None
        try:
            override = self._parse(text)
        except hydra.RefusedError:
            return None
        path = tuple(override.name.split("."))
        if override.several or override.package or path[0] == "hydra" or override.name in self._groups:
            return None
        value = override.value
        parts = value if isinstance(value, list) else [value]
        if not all(part is None or type(part) in (bool, int, float, str) for part in parts) or "${" in text:
            return None
        return _Plain(path, value)


def _at(values: Values, path: _Path) -> Values:
    """The node at a path."""
    for part in path:
        values = values[part]
    return values


def _is_set(path: _Path, plain: Sequence[_Plain]) -> bool:
    """Whether a key is set, or a node above it."""
    return any(path[: len(change.path)] == change.path for change in plain)


def _can_be_set(base: Composed, plain: Sequence[_Plain], others: Sequence[str]) -> bool:
    """Whether what is typed sets keys that are there, and what depends on them are copies of single values."""
    resolved = base.resolved
    if base.mistakes or resolved.unresolved or resolved.computed or any("[" in key for key in resolved.copies):
        return False
    if any(isinstance(_value(base.values, tuple(key.split("."))), dict) for key in resolved.copies.values()):
        return False
    keys = [tuple(key_of(text).split(".")) for text in others]
    nodes = [key for key in keys if len(key) > 1 or key[0] not in GROUPS]  # that Hydra adds to, or removes
    for change in plain:
        if any(key[: len(change.path)] == change.path[: len(key)] for key in nodes):
            return False
        before = _value(base.values, change.path)
        if before is _NONE or (isinstance(before, dict) and change.value is not None):
            return False
    return True


_NONE = object()


def _value(values: object, path: _Path) -> object:
    """The value at a path, `_NONE` where there is none."""
    for part in path:
        values = values.get(part, _NONE) if isinstance(values, dict) else _NONE
    return values
