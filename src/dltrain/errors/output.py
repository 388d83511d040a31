"""The way out: what is printed goes through `say`, what stands in a CSV file through `cell`.

Names of classes, columns and files, keys of a summary and the texts of errors may come from a stranger's file. A
terminal obeys escape sequences, bidirectional controls show words in another order, a spreadsheet computes a cell that
begins with =. Here they become visible signs.
"""

from __future__ import annotations

import csv
import io
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

_OBEYED = re.compile(  # all controls but the tab and the end of a line; marks that hide or reorder what is beside them
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_TABLE = re.compile(r"^(.*)\n(─+)$", re.MULTILINE)  # as `tables.table` makes them
_COLOURS = {"error": 31, "warning": 33, "note": 36}  # red, yellow and cyan as the terminal has them
_WORD = re.compile(rf"^({'|'.join(_COLOURS)}): ", re.MULTILINE)
_MOST_LINES, _MOST_LETTERS = 50, 1000  # of an error
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)
_COMPUTED = re.compile(  # where a cell begins to be computed; spreadsheets of some countries cut cells at ; as well
    r"^(?=[\t\r])|((?:^|[;\t\r])[^\S\t\r\n]*)(?=[=+\-@\uff1d\uff0b\uff0d\uff20].)"
)


class _Voice:
    """Whether this process speaks, and what its errors begin with: of several that do the same one does."""

    silent, name = False, ""


@contextmanager
def voice_kept() -> Iterator[None]:
    """Afterwards this process speaks as it did before."""
    before = _Voice.silent, _Voice.name
    try:
        yield
    finally:
        _Voice.silent, _Voice.name = before


def silence() -> None:
    """From here on nothing is said, since another process says it."""
    _Voice.silent = True


def speak(name: str = "") -> None:
    """From here on this process speaks; its errors begin with its name."""
    _Voice.silent, _Voice.name = False, name


def say(text: str = "", *, error: bool = False, end: str = "\n", flush: bool = False) -> None:
    """Prints a text, also a foreign one, on standard output, or on standard error."""
    if _Voice.silent:
        return
    if _Voice.name and text.startswith("error:"):
        text = text.replace("error:", f"error: {_Voice.name}:", 1)
    stream = sys.stderr if error else sys.stdout
    print(_styled(plain(text)) if _takes_colour(stream) else plain(text), file=stream, end=end, flush=flush)


def _takes_colour(stream: TextIO | None) -> bool:
    """Whether it is a terminal that shows some, and nobody asks for none (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb" and sys.platform != "win32"
    return wanted and stream is not None and not stream.closed and stream.isatty()


def _styled(text: str) -> str:
    """All tables look alike: the head bold, the line below it dim; what an error or a note begins with has a colour."""
    text = _TABLE.sub("\x1b[1m\\1\x1b[22m\n\x1b[2m\\2\x1b[22m", text)
    return _WORD.sub(lambda found: f"\x1b[{_COLOURS[found[1]]}m{found[0]}\x1b[39m", text)


def plain(text: str) -> str:
    r"""The same text with \u001b and the like in the place of signs that would be obeyed; its lines stay."""
    return _OBEYED.sub(_escape, text)


def one_line(text: str) -> str:
    """The same on one line."""
    return re.sub(r"[\n\t]", " ", plain(text))


def cut(text: str, most: int = 60) -> str:
    """The same on one line of so many letters, however long it was."""
    return one_line(text if len(text) <= most else f"{text[: most - 1]}…")


def apart(texts: Sequence[str], most: int = 60) -> list[str]:
    """Each as `cut` has it; where several would look the same that are not, their middle goes instead of their ends,
    and where these are the same, too, their numbers stand before them.
    """
    head = most // 3
    numbers = {text: f"{number}: " for number, text in enumerate(dict.fromkeys(texts), 1)}
    shown = [cut(text, most) for text in texts]
    ends = [cut(f"{text[:head]}…{text[head + 1 - most :]}", most) for text in texts]
    numbered = [numbers[text] + cut(text, max(2, most - len(numbers[text]))) for text in texts]
    for others in (ends, numbered):
        meant: dict[str, set[str]] = {}
        for text, own in zip(texts, shown, strict=True):
            meant.setdefault(own, set()).add(text)
        shown = [other if len(meant[own]) > 1 else own for other, own in zip(others, shown, strict=True)]
    return shown


def encodable(text: str) -> str:
    r"""The same with \udcff and the like spelled: bytes of a file's name that are no UTF-8, and so in no text."""
    return text.encode("utf-8", "backslashreplace").decode()


def note(message: Warning | str, *_: object, **__: object) -> str:
    """A warning as a line, in the place of `warnings.formatwarning`; nothing where another process says it."""
    return "" if _Voice.silent else f"note: {cut(str(message), _MOST_LETTERS)}\n"


@contextmanager
def warnings_in_words() -> Iterator[None]:
    """While it lasts, a warning is told as a note: without the path and the code of the line that it comes from."""
    before = warnings.formatwarning
    warnings.formatwarning = note
    try:
        yield
    finally:
        warnings.formatwarning = before


def short_lines(text: str) -> list[str]:
    """The lines of an error: whatever it quotes, no more of them, and no longer ones, than can be read."""
    lines = text.splitlines() or [""]
    more = len(lines) - _MOST_LINES
    return [cut(line, _MOST_LETTERS) for line in lines[:_MOST_LINES]] + [f"... and {more:,} more lines"] * (more > 0)


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def cell(text: str) -> str:
    """A text as a cell of a CSV file: what a spreadsheet would compute begins with ' there, which marks a text."""
    return plain(text if _NUMBER.fullmatch(text) else _COMPUTED.sub(r"\1'", text))


def csv_rows(rows: Iterable[Iterable[object]]) -> str:
    """Lines of a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([cell(value) if isinstance(value, str) else value for value in row] for row in rows)
    return text.getvalue()
