"""What a complaint is, and what makes one of an examination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dltrain.insight.doctor.examine import Examination


@dataclass(frozen=True)
class Verdict:
    """A complaint: its name, what is wrong, and what to try."""

    name: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


Check = Callable[[Examination], Verdict | None]
