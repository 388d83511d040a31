"""What a student changes in a chapter by KEY=VALUE: what is refused of it, and the commands with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from dltrain.config import command_line, compose, overrides
from dltrain.config.nodes import first_look
from dltrain.course.chapter import Chapter
from dltrain.errors import ConfigError
from dltrain.runs import seeds

_BESIDE = ("name", "runs_dir", "trainer.tensorboard", "trainer.progress", "data.workers")  # they change no number
_TRACE = "dltrain trace "


def deciding(changes: Sequence[str]) -> list[str]:
    """Those that change what is trained."""
    return [text for key, text in overrides.by_key(changes).items() if key not in _BESIDE]


def changed(command: str, changes: Sequence[str]) -> str:
    """A command with other values, where it trains or traces: those that it has are replaced."""
    had = _overrides(command)
    if not changes or had is None:
        return command
    new = overrides.by_key(deciding(changes) if command.startswith(_TRACE) else changes)
    kept = [text for key, text in overrides.by_key(had).items() if key not in new]
    words = [word for word in shlex.split(command) if word in kept or word not in had]
    return shlex.join([*words, *new.values()])


def check(found: Chapter, changes: Sequence[str]) -> str:
    """Where its runs go with these changes. Raises ConfigError for a key that its commands compare, as there would be
    nothing to compare, and for what is mistyped.
    """
    typed = [overrides.by_key(words) for command in found.commands if (words := _overrides(command)) is not None]
    for key in overrides.by_key(changes).keys() - {*found.free}:
        values = {tuple(overrides.alternatives(each[key])) if key in each else () for each in typed}
        if len(values) > 1 or any(len(several) > 1 for several in values):
            raise ConfigError(
                f"{key} is what this chapter compares: change something else, or run its commands by themselves: "
                f"{'; '.join(found.commands)}"
            )
    places = [_place(changed(command, changes)) for command in found.commands if changes and _trains(command)]
    return places[-1] if places else "runs"


def _place(command: str) -> str:
    """Below which folder the runs of a command go; raises ConfigError with its mistakes."""
    words = [word for word in _overrides(command) or [] if not word.startswith("resume=")]
    composed = compose.compose(overrides.first_of_each(seeds.split(words)[0]))
    if composed.mistakes:
        raise ConfigError("\n".join(composed.mistakes))
    first_look(composed)
    return str(composed.values["runs_dir"])


def _trains(command: str) -> bool:
    return shlex.split(command)[1] not in command_line.NAMES


def _overrides(command: str) -> list[str] | None:
    """The overrides of a command that trains or traces; None of another."""
    if not (_trains(command) or command.startswith(_TRACE)):
        return None
    return [word for word in shlex.split(command) if "=" in word]
