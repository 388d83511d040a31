"""A part by its name in `configs/`, or as the class itself: for programs that have no configuration."""

from __future__ import annotations

import functools
from collections.abc import Callable

from dltrain.config import choices, policy
from dltrain.config.policy import Part
from dltrain.errors import ConfigError, did_you_mean
from dltrain.runs import foreign

Named = str | Callable[..., object]  # a file of configs/; or a class or function, or a partial of one


def part(group: str, given: object) -> Part:
    """What a parameter stands for, and its arguments."""
    if isinstance(given, str):
        return _named(group, given)
    if isinstance(given, functools.partial) and not given.args:
        return Part(given.func, given.keywords)
    if not callable(given):
        raise ConfigError(f"{group}={given!r}: write a name out of `dltrain list {group}`, or give a class of torch")
    return Part(given, {})


@functools.cache
def _named(group: str, name: str) -> Part:
    """A file of configs/, which holds all defaults."""
    known = choices.groups()[group]
    if name not in known:
        near = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"{group}={name!r}: there is no such {group}{near}")
    text = (choices.CONFIGS / group / f"{name}.yaml").read_text(encoding="utf-8")
    arguments = foreign.node(foreign.parse_yaml(text, typed=True))
    if arguments["_target_"] == "???":
        raise ConfigError(f"{group}={name!r} stands for any class of torch: give the class itself")
    own = {key: value for key, value in arguments.items() if key != "_target_"}
    return Part(policy.resolve(arguments["_target_"], group), own)
