"""Configuration files of a folder that the user names, perhaps a stranger's: held to limits before Hydra reads them.

What a small file may become is asked before it does: an alias counts as much as what it stands for, and an
interpolation, too. OmegaConf computes an interpolation again wherever it is named, also while it merges files, so that
30 lines of two interpolations each would take a thousand million steps. Those wait as plain words until all is
composed and counted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from yaml import MarkedYAMLError

from dltrain.config.choices import readable
from dltrain.errors.output import cut
from dltrain.runs import foreign
from dltrain.runs.foreign import Values

_WAITS = "\ue000"  # of Unicode's private signs, between $ and {
_NAMED = re.compile(r"""\$\{\s*(?:(\w[\w.]*)\s*:)?\s*["']?([^\s'"{}$:,]*)""")
_OF_NODES = re.compile(r"oc\.(select|deprecated|dict\.\w+)")  # resolvers whose argument names a node
_Path = tuple[str, ...]
_Tree: TypeAlias = "str | dict[str, _Tree]"  # a configuration as dicts of texts
_LONGEST_CHAIN = 20  # interpolations that lead to one another


def read(path: Path) -> tuple[str, object]:
    """The text of a file and what it holds; raises ValueError where that is more than a configuration may be."""
    try:
        text = foreign.read(path, foreign.LARGEST_CONFIG).decode()
        content = foreign.parse_yaml(text, typed=True)
    except OSError as error:
        raise ValueError(f"{readable(path)} can't be read: {error.strerror}") from error
    except ValueError as error:
        if isinstance(cause := error.__cause__, MarkedYAMLError) and (mark := cause.problem_mark):
            raise ValueError(f"{readable(path)}, line {mark.line + 1}: this is not YAML: {cause.problem}") from error
        raise ValueError(f"{readable(path)} has {error}") from error
    if isinstance(content, dict):
        content = {key: value if key == "defaults" else _hold(value) for key, value in content.items()}
    return text, content


def _hold(value: object) -> object:
    """The same, where a text of several interpolations is none as long as it waits."""

    def held(text: str) -> str:
        several = text.replace("\\", "").count("${") > 1
        return text.replace("${", f"${_WAITS}{{") if several else text

    return _with_texts(value, held)


def release(value: object) -> object:
    """The same with those that waited as interpolations again."""
    return _with_texts(value, lambda text: text.replace(f"${_WAITS}{{", "${"))


def asks(values: object) -> str | None:
    """The first text in plain values with an interpolation that is not the plain name of a key, such as
    ${oc.env:HOME}, or None.
    """
    if isinstance(values, (dict, list)):
        parts = values.values() if isinstance(values, dict) else values
        return next((found for part in parts if (found := asks(part))), None)
    text = str(release(values)) if isinstance(values, str) else ""
    return text if "${" in re.sub(r"\$\{[\w.]+\}", "", text.replace("\\", "")) else None


def _with_texts(value: object, change: Callable[[str], str]) -> object:
    """Plain values with each text changed; keys stay."""
    if isinstance(value, dict):
        return {key: _with_texts(part, change) for key, part in value.items()}
    if isinstance(value, list):
        return [_with_texts(part, change) for part in value]
    return change(value) if isinstance(value, str) else value


def released(values: Values) -> Values:
    """What was composed, with its interpolations; raises ValueError where they would make too much of it."""
    values = {key: release(value) for key, value in values.items()}
    sizes = _Sizes(values)
    sizes.of((), sizes.root)
    return values


@dataclass(frozen=True)
class _Size:
    """What a part of a configuration takes when every interpolation in it has been computed."""

    nodes: int
    letters: int
    chain: int  # interpolations, one behind the other


class _Sizes:
    """Counts it without computing any."""

    def __init__(self, root: Values) -> None:
        self.root = _tree(root)
        self.known: dict[_Path, _Size | None] = {}  # None: it is being counted

    def of(self, path: _Path, value: _Tree) -> _Size:
        """Raises ValueError beyond the limits of a configuration, or where an interpolation never ends."""
        if path not in self.known:
            self.known[path] = None
            self.known[path] = self._count(path, value)
        if (size := self.known[path]) is None:
            raise ValueError(f"an interpolation that leads back to where it stands, {cut('.'.join(path))}")
        return size

    def _count(self, path: _Path, value: _Tree) -> _Size:
        named = list(self._named(path, value)) if isinstance(value, str) else []
        parts = [((*path, key), part) for key, part in value.items()] if isinstance(value, dict) else named
        nodes, letters, chain = 1, sum(map(len, value)) if isinstance(value, dict) else len(value), 0
        for part in parts:
            size = self.of(*part)
            nodes, letters, chain = nodes + size.nodes, letters + size.letters, max(chain, size.chain + bool(named))
            foreign.check_size(nodes, letters, most=foreign.MOST_COMPOSED)
            if chain > _LONGEST_CHAIN:
                raise ValueError(f"more than {_LONGEST_CHAIN} interpolations that lead to one another")
        return _Size(nodes, letters, chain)

    def _named(self, path: _Path, text: str) -> Iterator[tuple[_Path, _Tree]]:
        """What the interpolations of a text name, as far as it is there; of a name that is computed all it may be."""
        for resolver, name in _NAMED.findall(text.replace("\\", "")):
            if not resolver or _OF_NODES.fullmatch(resolver):
                dots = len(name) - len(name.lstrip("."))
                start = path[:-dots] if dots else ()
                yield self._reached((*start, *re.findall(r"[^.\[\]]+", name[dots:])))

    def _reached(self, path: _Path) -> tuple[_Path, _Tree]:
        """The part at the end of a path, or the text on the way to it that stands for what follows."""
        value: _Tree = self.root
        for i, key in enumerate(path):
            if not isinstance(value, dict):
                return path[:i], value
            value = value.get(key, "")
        return path, value


def _tree(value: object) -> _Tree:
    """The same as dicts of texts."""
    if isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {str(key): _tree(part) for key, part in pairs}
    return str(value)
