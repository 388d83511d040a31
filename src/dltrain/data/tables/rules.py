"""How the columns of a table are fitted: what a user says of that, checked, and what it means for a column of words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from dltrain.data import OneHot, Scaling, Unknown
from dltrain.errors import ConfigError

MOST = (1 << 24) - 2  # categories of a column: with none and "other" each is a whole number that float32 holds
_MOST_HOT, _MOST_CODED, _LEAST_CODED = 256, 10_000, 2  # unless the user says
_FEW, _MANY_ROWS = 20, 2_000  # categories and train rows, by scripts/benchmark_categories.py


@dataclass(frozen=True)
class Rules:
    """How columns are fitted, by the names in `data=table`.

    Of texts the `max_categories` most frequent are told apart, if they stand in `min_count` train rows. `unknown` ones
    may come later, or are refused; "auto" expects them where two texts or more stand in one row each. Columns of more
    than `one_hot` categories are coded; None: none are, and "auto": those of more than 20 in 2,000 train rows or more,
    since in few rows zeros and ones are learned sooner. Where the first two are None they are 256 and 1, and 10,000 and
    2 of columns that may be coded: of a category that stands in one row a net learns that row by heart.
    """

    scaling: Scaling = "standard"
    missing: Literal["impute", "refuse"] = "impute"
    missing_marks: Sequence[str] = ()
    max_categories: int | None = None
    min_count: int | None = None
    unknown: Unknown = "auto"
    one_hot: OneHot = None

    def __post_init__(self) -> None:
        choices = {"scaling": get_args(Scaling), "missing": ("impute", "refuse"), "unknown": get_args(Unknown)}
        for knob, known in choices.items():
            if (value := getattr(self, knob)) not in known:
                raise ConfigError(f"data.{knob}={value}: choose {', '.join(known)}")
        for knob in ("max_categories", "min_count"):
            if (value := getattr(self, knob)) is not None and value < 1:
                raise ConfigError(f"data.{knob}={value}: at least 1")
        if self.one_hot not in (None, "auto") and not (isinstance(self.one_hot, int) and self.one_hot >= 0):
            raise ConfigError(f"data.one_hot={self.one_hot}: a number of categories from 0 up, auto or null")
        if self.max_categories is not None and self.max_categories > MOST:
            raise ConfigError(f"data.max_categories={self.max_categories}: at most {MOST:,}, which float32 tells apart")

    def most_hot(self, rows: int) -> float:
        """How many categories of a column with so many train rows become zeros and ones; of more it is coded."""
        if self.one_hot == "auto":
            return _FEW if rows >= _MANY_ROWS else math.inf
        return math.inf if self.one_hot is None else self.one_hot

    def bounds(self, *, coded: bool) -> tuple[int, int]:
        """How many categories are told apart, and in how many train rows each of them stands."""
        most, least = (_MOST_CODED, _LEAST_CODED) if coded else (_MOST_HOT, 1)
        return self.max_categories or most, self.min_count or least
