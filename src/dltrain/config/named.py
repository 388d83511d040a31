"""A part by its name in `configs/`, or as the class itself: for programs that have no configuration."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping

from dltrain.config import choices, policy
from dltrain.config.arguments import check_arguments
from dltrain.config.policy import Part
from dltrain.errors import ConfigError, did_you_mean
from dltrain.runs import foreign

Named = str | Callable[..., object]  # a file of configs/; or a class, or a functools.partial of one


_PASSED = {  # group -> what the caller fills in
    "loss": ("task", "class_counts", "samples"),
    "optimizer": ("params",),
    "scheduler": ("optimizer", "base_lr", "total_steps", "steps_per_epoch"),
}


def part(group: str, given: object) -> Part:
    """What a loss, an optimizer or a scheduler stands for, and its arguments. Raises ConfigError."""
    if isinstance(given, str):
        return _named(group, given)
    made = Part(given.func, given.keywords) if isinstance(given, functools.partial) and not given.args else None
    if made is None and isinstance(given, type):
        made = Part(given, {})
    if made is None or not policy.is_of_kind(made.function, group):
        names = f"a name out of `dltrain list {group}`"
        raise ConfigError(f"{group}={given!r}: give {names}, a class of torch's, or a functools.partial of one")
    check(made.function, made.arguments, passed=_PASSED[group])
    return made


def check(function: Callable[..., object], given: Mapping[str, object], *, passed: Iterable[str]) -> None:
    """Raises ConfigError for the first argument that does not fit. passed: what the caller fills in."""
    for key, wrong in check_arguments(function, given, node="", passed=passed).items():
        name = getattr(function, "__name__", str(function))
        missing = f"{name} needs {key}: give functools.partial({name}, {key}=...)"
        raise ConfigError(f"{key}={given[key]!r}: {wrong}" if key in given else missing)


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
