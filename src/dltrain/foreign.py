"""Files that may come from a stranger, read and parsed: every stored file goes through here, and becomes plain values.

A plain file is opened, no link and no pipe, and only up to a size. Its YAML has no tag, no alias, no key twice, little
depth, and no interpolation, however it is written: it is asked of the values, after the parser has undone escapes.
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
_LONGEST = 1 << 20  # bytes of a line
_DEEPEST = 20  # nested nodes of a configuration


def read(path: Path, largest: int = LARGEST) -> bytes:
    """The content of a plain file; raises OSError for anything else, also for a link, and never waits."""
    with _plain_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > largest:
            raise OSError(errno.EFBIG, f"it has {size:,} bytes, and {largest:,} are the most", str(path))
        return file.read(size)


def lines(path: Path) -> Iterator[bytes]:
    """The whole lines of a plain file of any length, one at a time; of one above 1 MiB, which no log has, nothing."""
    with _plain_file(path) as file:
        whole = True  # whether the last part ended a line
        while part := file.readline(_LONGEST):
            begins, whole = whole, part.endswith(b"\n")
            if begins and whole:
                yield part


def _plain_file(path: Path) -> BinaryIO:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "it is not a plain file", str(path))
    return os.fdopen(handle, "rb")


def parse_json(content: bytes | str) -> Any:
    """The values of a JSON file; raises ValueError where it is none."""
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

    depth = 0
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("a YAML alias")
        if getattr(event, "tag", None) is not None:
            raise ValueError(f"the YAML tag {event.tag}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise ValueError(f"more than {_DEEPEST} nested nodes")


@cache
def _loader() -> Any:
    """PyYAML's safe loader, but 1e-3 is a number and 2001-01-01 a text, as for OmegaConf; no key stands twice."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            made = super().construct_mapping(node, deep=deep)
            if len(made) != len(node.value):
                raise ValueError("a key twice")
            return made

    stamp = "tag:yaml.org,2002:timestamp"
    Loader.yaml_implicit_resolvers = {
        first: [(tag, found) for tag, found in resolvers if tag != stamp]
        for first, resolvers in Loader.yaml_implicit_resolvers.items()
    }
    number = re.compile(r"^[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$")
    Loader.add_implicit_resolver("tag:yaml.org,2002:float", number, list("-+0123456789"))
    return Loader
