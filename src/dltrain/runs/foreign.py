"""Files that may come from a stranger, read and parsed: every stored file goes through here, and becomes plain values.

A plain file is opened, no link and no pipe, and only up to a size. Its YAML has no tag, no alias, no key twice, little
depth, few nodes, and no interpolation, however it is written: it is asked of the values, after the parser has undone
escapes. Its JSON has not so many parts that a small file fills the memory.
"""

from __future__ import annotations

import errno
import json
import os
import re
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from dltrain.errors import system
from dltrain.errors.output import cut

if TYPE_CHECKING:
    from yaml import MappingNode, SafeLoader

Values = dict[str, Any]  # a mapping of a stored file, a node of a configuration: plain values, which may be anything

LARGEST = 1 << 26  # bytes of a file, unless the caller knows better
LARGEST_CONFIG = 1 << 22  # bytes of a configuration; a run that would have more does not start
LARGEST_WORD = 1 << 21  # bytes of what a run says of itself: what was typed, its summary, its environment
MOST_TYPED = 2_000  # overrides
_LONGEST = 1 << 24  # bytes of a line: a look into a net of many layers takes megabytes
_DEEPEST = 20  # nested nodes of a configuration
_MOST_NODES = 50_000  # keys and values of a stored configuration
MOST_COMPOSED = 20_000  # of one that is composed: Hydra copies it several times, half a millisecond for each
MOST_KEYS = 10_000  # of one node: for each unknown one a similar name is looked up
_TOO_MANY, _TOO_DEEP = "more than {:,} nodes", f"more than {_DEEPEST} nested nodes"
_TOO_WIDE = f"more than {MOST_KEYS:,} keys in one node"
_MOST_PARTS = 1 << 20  # lists and objects of a JSON file: each takes a hundred times its place in the file
_LONGEST_NUMBER = 100  # letters: to read one of base 60 takes the square of them, and a float ends at 1e308
_NUMBER = re.compile(
    r"[-+]?(0[xb][0-9a-fA-F_]+|[0-9.][0-9_.:]*([eE][-+]?[0-9]*)?)$"
)  # what YAML takes for one, and more


def read(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a plain file; raises OSError for anything else, also for a link, and never waits."""
    with system.plain_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and {largest:,} are the most", str(path))
        return file.read(size)


def lines(path: Path, begin: int = 0) -> Iterator[bytes]:
    """The whole lines of a plain file of any length, one at a time, from one that begins at that byte; none after one
    above 16 MiB, which no log has.
    """
    with system.plain_file(path) as file:
        file.seek(begin)
        while (line := file.readline(_LONGEST)).endswith(b"\n"):
            yield line


def parse_json(content: bytes | str) -> Any:
    """The values of a JSON file; raises ValueError where it is none."""
    opened = (b"[", b"{") if isinstance(content, bytes) else ("[", "{")
    if sum(map(content.count, opened)) > _MOST_PARTS:
        raise ValueError(f"it has more than {_MOST_PARTS:,} lists and objects")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str, *, typed: bool = False) -> Any:
    """The values of a stored YAML file; raises ValueError in the words of what it has that such a file has not.

    typed: it is no stored file. There tags, aliases and interpolations may stand, within the same limits.
    """
    import yaml

    try:
        _check_events(text, typed=typed)
        value = _loader()(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(
            f"what is not YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}"
        ) from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    if not typed and has_interpolation(value):
        raise ValueError("an interpolation")
    return value


def has_interpolation(value: object) -> bool:
    """Whether OmegaConf would compute a part of these plain values, or of their keys."""
    if isinstance(value, dict):
        return any(has_interpolation(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(has_interpolation, value))
    return isinstance(value, str) and "${" in value.replace("\\", "")


def node(value: object) -> Values:
    """A mapping as it is; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def is_number(value: object) -> TypeGuard[float]:
    """Whether what stands in a file is a finite number, and no truth value."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def fault(values: object) -> tuple[str, str] | None:
    """What no stored configuration holds among plain values, and its dotted key before it; None where all is well."""
    nodes = 0
    left: list[tuple[str, object, int]] = [("", values, 1)]
    while left:
        key, value, depth = left.pop()
        nodes += 1 + (len(value) if isinstance(value, dict) else 0)
        if nodes > _MOST_NODES:
            return "", _TOO_MANY.format(_MOST_NODES)
        if isinstance(value, (dict, list)):
            if depth > _DEEPEST:
                return key, _TOO_DEEP
            if isinstance(value, dict) and len(value) > MOST_KEYS:
                return key, _TOO_WIDE
            if has_interpolation([*value] if isinstance(value, dict) else None):
                return key, "an interpolation as a key"
            parts = value.items() if isinstance(value, dict) else ((None, part) for part in value)
            left += [(key if k is None else f"{key}.{k}".lstrip("."), part, depth + 1) for k, part in parts]
        elif has_interpolation(value):
            return key, "an interpolation"
        elif isinstance(value, int) and abs(value) >= 10**_LONGEST_NUMBER:
            return key, f"a number of more than {_LONGEST_NUMBER} letters"
    return None


@dataclass
class _Open:
    """A node that has not ended: its anchor, the nodes and letters before it, and its parts so far."""

    anchor: str | None
    nodes: int
    letters: int
    parts: int = 0


def _check_events(text: str, *, typed: bool) -> None:
    """Refuses what makes a small file large, deep, slow to read, or an object. An alias counts what it stands for."""
    import yaml

    nodes = letters = 0
    opened: list[_Open] = []
    whole: dict[str, tuple[int, int]] = {}  # anchor -> the nodes and letters of what has it
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.NodeEvent) and opened:
            opened[-1].parts += 1
        if isinstance(event, yaml.AliasEvent):
            if not typed:
                raise ValueError("a YAML alias")
            if event.anchor not in whole:
                raise ValueError("a YAML alias of what it stands in, or of nothing")
            nodes, letters = nodes + whole[event.anchor][0], letters + whole[event.anchor][1]
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            if event.tag is not None and not typed:
                raise ValueError(f"the YAML tag {cut(event.tag)}")
            opened.append(_Open(event.anchor, nodes, letters))
            nodes += 1
        if isinstance(event, yaml.ScalarEvent):
            letters += len(event.value)
            if len(event.value) > _LONGEST_NUMBER and (event.tag or (event.implicit[0] and _NUMBER.match(event.value))):
                raise ValueError(f"a number of {len(event.value):,} letters")
        if isinstance(event, yaml.CollectionStartEvent) and len(opened) > _DEEPEST:
            raise ValueError(_TOO_DEEP)
        check_size(nodes, letters, most=MOST_COMPOSED if typed else _MOST_NODES)
        if isinstance(event, (yaml.ScalarEvent, yaml.CollectionEndEvent)):
            ended = opened.pop()
            if ended.anchor:
                whole[ended.anchor] = nodes - ended.nodes, letters - ended.letters
            if isinstance(event, yaml.MappingEndEvent) and ended.parts > 2 * MOST_KEYS:
                raise ValueError(_TOO_WIDE)


def check_size(nodes: int, letters: int, *, most: int) -> None:
    """Raises ValueError where a configuration has more than that many keys and values, or letters in them."""
    if nodes > most:
        raise ValueError(_TOO_MANY.format(most))
    if letters > LARGEST_CONFIG:
        raise ValueError(f"more than {LARGEST_CONFIG:,} letters")


@cache
def _loader() -> type[SafeLoader]:
    """PyYAML's safe loader, but 1e-3 is a number and 2001-01-01 a text, as for OmegaConf; no key stands twice."""
    import yaml

    base: type[SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    stamp = "tag:yaml.org,2002:timestamp"
    without = {
        first: [(tag, found) for tag, found in resolvers if tag != stamp]
        for first, resolvers in base.yaml_implicit_resolvers.items()
    }

    class Loader(base):
        yaml_implicit_resolvers = without

        def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, object]:
            seen: set[str] = set()
            for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
                if key.value in seen:
                    problem = f"the key {cut(key.value)} twice"
                    raise yaml.constructor.ConstructorError(problem=problem, problem_mark=key.start_mark)
                seen.add(key.value)
            made = super().construct_mapping(node, deep=deep)
            if None in made:
                raise yaml.constructor.ConstructorError(problem="a key that is null", problem_mark=node.start_mark)
            return made

    number = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader
