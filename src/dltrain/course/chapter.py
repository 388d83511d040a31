"""A chapter of the course: its words, as a YAML file of chapters/ has them, and what a run of it showed.

A chapter called NAME is three files: chapters/NAME.yaml has its words and commands, chapters/NAME.py a function
`study` from what the commands made to what is seen in it, listings/NAME.py the same training in plain PyTorch.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from functools import cache
from math import isfinite, isinf
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dltrain.errors import ConfigError, did_you_mean
from dltrain.runs import seeds

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from dltrain.insight.gallery import Picture
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

    def onward(self, where: str = "runs") -> tuple[Next, ...]:
        """What to change next, after runs below that folder, in which `last` is then looked for."""
        if where == "runs":
            return self.next
        last = shlex.quote(f"{where}/last")
        return tuple(step._replace(command=re.sub(r"(?<= )last\b", lambda _: last, step.command)) for step in self.next)

    def outcome(self, seen: Seen) -> str:
        """Which answer it was, and what says so."""
        return f"It was {seen.answer}, “{self.answers[seen.answer - 1]}”. {seen.because}"

    @property
    def listing(self) -> Path:
        return _HERE / "listings" / f"{self.name}.py"


def several(words: Sequence[str]) -> bool:
    """Whether these words of a command, which trains, make several runs: a sweep."""
    return "-m" in words or seeds.split(words)[0] != [*words]


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
        if isinf(self.low) and isinf(self.high):
            return ""
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

    @property
    def undone(self) -> list[Number]:
        """Those of its numbers that are none, or infinite where nobody expects it."""
        return [number for number in self.numbers if not (isfinite(number.value) or number.held)]

    def astray(self, changes: Sequence[str] = ()) -> str:
        """A sentence where what was trained is not what the words of the chapter are about; else nothing."""
        what = f"With {' '.join(changes)}, " if changes else "Here "
        if undone := self.undone:
            return (
                f"{what}{undone[0].name} is {undone[0].text}: what was trained broke down, or never came so far. "
                "That decides for none of the answers."
            )
        others = sum(not number.held for number in self.numbers)
        if not others or not changes:
            return ""
        return (
            f"{what}{others} of {len(self.numbers)} numbers lie outside those of the chapter as it stands: where its "
            "words speak of that, they may not fit."
        )

    def _repr_html_(self) -> str:
        """For a notebook."""
        from dltrain.insight import page

        titles = ["", "measured", "expected as the cells stand"]
        answer = "" if self.undone else f"It was answer {self.answer}. {self.because}"
        parts = [
            page.table(titles, [[number.name, number.text, number.expected] for number in self.numbers]),
            page.paragraph(self.astray() or answer),
        ]
        parts += [page.picture(p.title, p.caption, p.content, film=False) for p in self.pictures]
        return "\n".join(parts)


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
