"""A chapter of the course: its words, as a YAML file of chapters/ has them, and what a run of it showed.

A chapter called NAME is three files: chapters/NAME.yaml has its words and commands, chapters/NAME.py a function
`study` from what the commands made to what is seen in it, listings/NAME.py the same training in plain PyTorch.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from math import isinf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dltrain.config import command_line
from dltrain.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from dltrain.insight.pictures import Picture
    from dltrain.trained.whole_run import TrainedRun

    Done = TrainedRun | pl.DataFrame | str  # what a command made: a run, the table of a sweep, what it printed

_HERE = Path(__file__).parent
NAMES = (  # in the order of the course
    "perceptron",
    "xor",
    "two_linear_layers",
    "activations",
    "backpropagation",
    "modules",
    "linear_regression",
    "own_module",
    "training_loop",
    "cross_entropy",
    "squared_error",
    "multilabel",
    "overfitting",
    "weight_penalties",
    "dropout",
    "augmentation",
    "clipping",
    "vanishing_gradient",
    "normalisation",
    "centred_data",
    "two_spaces",
    "batch_size",
    "optimizers",
    "onecycle",
    "noise",
    "seeds",
    "data_loader",
    "checkpoints",
    "tensorboard",
)


class Next(NamedTuple):
    """What to change next: a command, and what it shows."""

    command: str
    shows: str


@dataclass(frozen=True)
class Chapter:
    """see: three sentences, what will be seen. formula: lines. answers: what one may predict; `study` says which came.

    commands: as they are typed, `dltrain ...`, and run in this order. twin: the command that trains what the listing
    trains, to the bit; empty where there is no such. words: of the glossary. free: keys that one may change although
    the commands differ in them.
    """

    number: int
    name: str
    title: str
    see: str
    formula: str
    question: str
    answers: tuple[str, ...]
    commands: tuple[str, ...]
    next: tuple[Next, ...]
    words: tuple[str, ...] = ()
    twin: str = ""
    free: tuple[str, ...] = ()

    @property
    def stem(self) -> str:
        """What its files are called: 03_two_linear_layers."""
        return f"{self.number:02}_{self.name}"

    def check(self, changes: Sequence[str]) -> None:
        """Raises ConfigError for a KEY=VALUE of a key that its commands compare: there would be nothing to compare."""
        words = [shlex.split(command)[1:] for command in self.commands]
        values = [
            dict(_pair(word) for word in each if "=" in word) for each in words if each[0] not in command_line.NAMES
        ]
        for key in {key for key, _ in map(_pair, changes)} - {*self.free}:
            found = {each.get(key) for each in values}
            if len(found) > 1 or any("," in re.sub(r"\[[^\]]*\]", "", value or "") for value in found):
                raise ConfigError(
                    f"{key} is what this chapter compares: change something else, or run its commands by themselves: "
                    f"{'; '.join(self.commands)}"
                )

    def outcome(self, seen: Seen) -> str:
        """Which answer it was, and what says so."""
        return f"It was {seen.answer}, “{self.answers[seen.answer - 1]}”. {seen.because}"

    @property
    def listing(self) -> Path:
        return _HERE / "listings" / f"{self.name}.py"


def _pair(word: str) -> tuple[str, str]:
    """Key and value of an override."""
    key, _, value = word.lstrip("+").partition("=")
    return key, value


class Number(NamedTuple):
    """A number that a run showed, and between which it lies, over seeds and machines, in the chapter as it stands.

    Of low and high one may be infinite. form: as Python formats it.
    """

    name: str
    value: float
    low: float
    high: float
    form: str = ".3g"

    @property
    def text(self) -> str:
        return format(self.value, self.form)

    @property
    def expected(self) -> str:
        low, high = format(self.low, self.form), format(self.high, self.form)
        if isinf(self.low) or isinf(self.high):
            return f"at most {high}" if isinf(self.low) else f"at least {low}"
        return low if low == high else f"{low} to {high}"

    @property
    def held(self) -> bool:
        return self.low <= self.value <= self.high


class Seen(NamedTuple):
    """What was seen: numbers, which of the answers it was (from 1), a sentence on what says so, and pictures."""

    numbers: Sequence[Number]
    answer: int
    because: str
    pictures: Sequence[Picture]

    def _repr_html_(self) -> str:
        """For a notebook."""
        from dltrain.insight import page

        table = page.table(
            ["", "measured", "expected as the cells stand"], [[n.name, n.text, n.expected] for n in self.numbers]
        )
        answer = page.paragraph(f"It was answer {self.answer}. {self.because}")
        return "\n".join([table, answer, *(page.picture(p.title, p.caption, p.content) for p in self.pictures)])


@cache
def chapter(name: str) -> Chapter:
    """The chapter of that name."""
    import yaml

    content = yaml.safe_load((_HERE / "chapters" / f"{name}.yaml").read_text(encoding="utf-8"))
    content |= {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
    content["next"] = tuple(Next(**entry) for entry in content["next"])
    return Chapter(number=NAMES.index(name) + 1, name=name, **content)


def around(found: Chapter) -> tuple[Chapter | None, Chapter | None]:
    """The chapters before and after."""
    at = NAMES.index(found.name)
    before, after = NAMES[at - 1 : at] if at else (), NAMES[at + 1 : at + 2]
    return next(map(chapter, before), None), next(map(chapter, after), None)


def chapters() -> tuple[Chapter, ...]:
    """All of them, in order."""
    return tuple(map(chapter, NAMES))


def find(word: str) -> Chapter:
    """A chapter by its number or its name; raises ConfigError where there is none."""
    if word.isdecimal() and len(word) < 4 and 1 <= int(word) <= len(NAMES):
        word = NAMES[int(word) - 1]
    if word in NAMES:
        return chapter(word)
    hint = did_you_mean(word, NAMES) or f"; they are numbered 1 to {len(NAMES)}"
    raise ConfigError(f"the course has no chapter `{word}`{hint}; `dltrain course` lists them")
