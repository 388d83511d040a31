"""The mistakes of a configuration, collected while the checks go on and raised together."""

from __future__ import annotations

import re
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

from dltrain.config.compose import Composed
from dltrain.errors import ConfigError, DltrainError

_NOT_USERS = (str(Path(__file__).parents[1]), sysconfig.get_path("stdlib"), "<")
_INSTALLED = {"site-packages", "dist-packages"}  # of this environment, or of one below it


class Mistakes:
    """One line for each key that is wrong: the key, what is wrong, where it was written."""

    def __init__(self, composed: Composed) -> None:
        self.composed = composed
        self.lines: dict[str, str] = {line: line for line in composed.mistakes}  # by key
        self.known: set[str] = set()  # keys that are wrong because another one is, which has its own line
        self.cause: Exception | None = None  # the last exception of somebody's code, for --debug
        for key, why in composed.resolved.unresolved.items():
            if why is not None:  # None: it takes the value of a missing one, which has its own line
                self.say(key, why)
            self.known |= {key, key.partition("[")[0]}

    def __bool__(self) -> bool:
        return bool(self.lines)

    def say(self, key: str, message: str) -> None:
        """Notes what is wrong with a dotted key; the first word on a key counts."""
        copies = self.composed.resolved.copies
        if key not in self.known and copies.get(key) not in self.lines:
            source = copies.get(key, key)
            own = "" if source == key else f"the value of {source}, "
            self.lines.setdefault(key, f"{key}: {message} ({own}{self.composed.origin(source)})")

    def blame(self, slot: str, error: Exception, knobs: Iterable[str] = ()) -> None:
        """Notes what somebody's code says about its arguments, under the knob that it speaks of."""
        text, self.cause = reason(error), error
        found = re.match(r"(?:(\w+)\.)?(\w+)=(?!=)", text)  # `model.dropout=1.5 must be ...`, `gamma=-1: ...`
        if found and found[1] in (None, slot) and found[2] in (*knobs, slot):
            key = slot if found[2] == slot else f"{slot}.{found[2]}"
            self.say(key, text[found.end() :])
        else:
            knob = named(text, knobs)
            key = f"{slot}.{knob}" if knob else slot
            self.say(key, text.removeprefix(f"{slot}: ").removeprefix(f"{key} "))

    def stop(self) -> None:
        """Raises ConfigError if there are any."""
        if self.lines:
            raise ConfigError("\n".join(self.lines.values())) from self.cause


def reason(error: Exception) -> str:
    """What an exception says, on one line; of a user's own code also where it was raised."""
    text = " ".join(line.strip() for line in str(error).splitlines()[:3])[:400]
    if isinstance(error, MemoryError) and not text:
        text = "it takes more memory than is free"
    kind = "" if isinstance(error, (ValueError, RuntimeError, DltrainError)) and text else f"{type(error).__name__}: "
    own = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    place = f" (at {Path(own[-1].filename).name}:{own[-1].lineno})" if own else ""
    when = "".join(f", {note}" for note in getattr(error, "__notes__", ()))
    return f"{kind}{text}{when}{place}"


def _is_users(file: str) -> bool:
    return not file.startswith(_NOT_USERS) and _INSTALLED.isdisjoint(Path(file).parts)


def named(text: str, knobs: Iterable[str]) -> str | None:
    """The knob that a message speaks of: torch writes `Invalid learning rate: -1`, `Invalid beta parameter`."""
    words = text.replace("learning rate", "lr").replace("beta parameter", "betas").replace("epsilon", "eps")
    return next((k for k in knobs if re.search(rf"\b{k}\b", words) or f" {k.replace('_', ' ')} " in words), None)
