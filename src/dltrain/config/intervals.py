"""Intervals of numbers that a search draws from."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """Numbers from `first` to `last`, whole ones where both are; log: small ones as often as large ones."""

    first: float
    last: float
    log: bool

    @property
    def is_whole(self) -> bool:
        return isinstance(self.first, int) and isinstance(self.last, int)

    def fault(self) -> str | None:
        """Why nothing can be drawn from it, or None."""
        if not (math.isfinite(self.first) and math.isfinite(self.last) and self.first < self.last):
            return "write interval(SMALLER,LARGER), as interval(0,0.5)"
        if self.log and self.first <= 0:
            return "tag(log, ...) needs numbers above zero, as tag(log, interval(1e-5,1e-1))"
        return None

    def at(self, share: float) -> str:
        """The number, as it is typed, that so much of the interval lies below (from 0 to 1)."""
        first, last = self.first, self.last + self.is_whole  # a whole number stands for what follows up to the next
        if self.log:
            found = math.exp(math.log(first) + share * (math.log(last) - math.log(first)))
        else:
            found = first + share * (last - first)
        return f"{min(max(math.floor(found), self.first), self.last)}" if self.is_whole else f"{found:.6g}"

    def __str__(self) -> str:
        return f"interval({self.first},{self.last})"
