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
import stat
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO

LARGEST = 1 << 26  # bytes of a file, unless the caller knows better
_LONGEST = 1 << 24  # bytes of a line: a look into a net of many layers takes megabytes
_DEEPEST = 20  # nested nodes of a configuration
_MOST_NODES = 50_000  # keys and values of a configuration: OmegaConf takes a tenth of a millisecond for each
MOST_KEYS = 10_000  # of one node: for each unknown one a similar name is looked up
_MOST_PARTS = 1 << 20  # lists and objects of a JSON file: each takes a hundred times its place in the file
_LONGEST_NUMBER = 100  # letters: to read one of base 60 takes the square of them, and a float ends at 1e308


def read(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a plain file; raises OSError for anything else, also for a link, and never waits."""
    with _plain_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and {largest:,} are the most", str(path))
        return file.read(size)


def lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a plain file of any length, one at a time; none after one above 16 MiB, which no log has."""
    with _plain_file(path) as file:
        while (line := file.readline(_LONGEST)).endswith(b"\n"):
            yield line


def _plain_file(path: Path) -> BinaryIO:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return os.fdopen(handle, "rb")


def parse_json(content: bytes | str) -> Any:
    """The values of a JSON file; raises ValueError where it is none."""
    opened = (b"[", b"{") if isinstance(content, bytes) else ("[", "{")
    if sum(map(content.count, opened)) > _MOST_PARTS:
        raise ValueError(f"it has more than {_MOST_PARTS:,} lists and objects")
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """The values of a stored YAML file; raises ValueError in the words of what it has that such a file has not."""
    import yaml

    try:
        _check_events(text)
        value = _loader()(text).get_single_data()
    except yaml.YAMLError as error:
        raise ValueError(
            f"what is not YAML: {getattr(error, 'problem', None) or str(error).splitlines()[0]}"
        ) from error
    except RecursionError as error:
        raise ValueError(f"more than {_DEEPEST} nested nodes") from error
    if has_interpolation(value):
        raise ValueError("an interpolation")
    return value


def has_interpolation(value: Any) -> bool:
    """Whether OmegaConf would compute a part of these plain values, or of their keys."""
    if isinstance(value, dict):
        return any(has_interpolation(part) for pair in value.items() for part in pair)
    if isinstance(value, list):
        return any(map(has_interpolation, value))
    return isinstance(value, str) and "${" in value.replace("\\", "")


def _check_events(text: str) -> None:
    """Refuses what makes a small file large, deep, or an object."""
    import yaml

    depth = nodes = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("a YAML alias")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"the YAML tag {event.tag}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} nested nodes")
        nodes += isinstance(event, yaml.NodeEvent)
        if nodes > _MOST_NODES:
            raise ValueError(f"more than {_MOST_NODES:,} nodes")


@cache
def _loader() -> Any:
    """PyYAML's safe loader, but 1e-3 is a number and 2001-01-01 a text, as for OmegaConf; no key stands twice."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            if len(node.value) > MOST_KEYS:
                raise ValueError(f"more than {MOST_KEYS:,} keys in one node")
            made = super().construct_mapping(node, deep=deep)
            if len(made) != len(node.value):
                raise ValueError("a key twice")
            return made

        def construct_yaml_int(self, node: Any) -> int:
            return super().construct_yaml_int(_short(node))

        def construct_yaml_float(self, node: Any) -> float:
            return super().construct_yaml_float(_short(node))

    for kind, make in (("int", Loader.construct_yaml_int), ("float", Loader.construct_yaml_float)):
        Loader.add_constructor(f"tag:yaml.org,2002:{kind}", make)
    stamp = "tag:yaml.org,2002:timestamp"
    Loader.yaml_implicit_resolvers = {
        first: [(tag, found) for tag, found in resolvers if tag != stamp]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    number = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader


def _short(node: Any) -> Any:
    """The node of a number that can be computed and printed."""
    if len(node.value) > _LONGEST_NUMBER:
        raise ValueError(f"a number of {len(node.value):,} letters")
    return node
