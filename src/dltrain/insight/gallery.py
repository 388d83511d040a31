"""The pictures of a run or a sweep as they are made, each as a file and as it stands in a page."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from dltrain.insight import plots
from dltrain.insight.plots import fonts, seen, vector

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure
    from dltrain.insight.weight_pictures import Numbers

Made = TypeVar("Made")
_HEAVY = 1_500_000  # letters of an element: pixels are lighter


@dataclass(frozen=True)
class Picture:
    """An image file with what a person should read about it; no file where it lives in a page alone."""

    name: str  # of the file, curves.png
    title: str
    caption: str
    content: bytes
    drawn: str = ""  # the same as an <svg> element, where it is of lines, or as `moments.slider` makes it
    seen: str = ""  # what it shows, in words

    @property
    def shown(self) -> bytes:
        """What stands in a page."""
        return self.drawn.encode() or self.content


def picture(name: str, title: str, caption: str, made: Figure | bytes) -> Picture:
    """A figure, or the bytes of a file, as a picture."""
    if isinstance(made, bytes):
        return Picture(name, title, caption, made)
    drawn = vector.svg(made) if vector.fits(made) else ""
    if drawn and fonts.drawable(made):
        made.set_layout_engine("none")  # it lies as it does there, which takes half of the time
    return Picture(name, title, caption, plots.png(made), drawn if len(drawn) < _HEAVY else "", seen.seen(made))


@dataclass
class Gallery:
    """The pictures made so far, and sentences on what could not be made."""

    pictures: list[Picture] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    about: str = ""  # the plan of the run, as its start printed it
    outcome: list[str] = field(default_factory=list)  # sentences on what came of it
    verdict: list[str] = field(default_factory=list)  # of the doctor
    findings: str = ""  # what it looked at
    graph: bytes | None = None  # of the net, for TensorBoard
    numbers: Numbers | None = None  # the weights of a small net
    worst: tuple[list[str], list[list[str]]] = ([], [])  # of the answers: titles and rows

    def add(self, name: str, title: str, caption: str, make: Callable[[], Figure | bytes | None]) -> None:
        """Makes a picture: a Figure, the bytes of a file, or None where there is nothing to see."""

        def made() -> Picture | None:
            drawn = make()
            return None if drawn is None else picture(name, title, caption, drawn)

        if (found := self.tried(title, made)) is not None:
            self.pictures.append(found)

    def add_moments(self, name: str, title: str, caption: str, make: Callable[[], str | None]) -> None:
        """What `moments.slider` makes, or None where there is nothing to see."""
        if found := self.tried(title, make):
            self.pictures.append(Picture(name, title, caption, b"", found))

    def tried(self, title: str, make: Callable[[], Made]) -> Made | None:
        """What is made; None, and a note, where that fails."""
        try:
            return make()
        except Exception as error:  # a net or a file of the user's may do anything; the other pictures still help
            if os.environ.get("DLTRAIN_DEBUG"):
                raise
            self.notes.append(f"{title}: not drawn ({type(error).__name__}: {' '.join(str(error).split())[:200]})")
            return None
