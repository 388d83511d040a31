"""What is wrong with what a case said, how it ended, and the files that it wrote."""

import os
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from hostile import words
from hostile.case import Case

CODES = (0, 2, 3, 4, 5, 6, 7, 8, 138)
OBEYED = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f]"
)
BAR = re.compile("\r|\x1b\\[A|\n\r")  # what a progress bar asks of a terminal
TEXTS = (".csv", ".tsv", ".html", ".json", ".jsonl", ".md", ".txt")
LARGEST = 20 << 20


def verdict(case: Case, code: object, text: str) -> list[str]:
    """What is wrong with an exit code and what was said."""
    wrong = []
    if not isinstance(code, int) or code not in CODES:
        wrong.append(f"exit code {code}")
    if "Traceback" in text or "--debug shows" in text:
        wrong.append("a traceback")
    wrong += secrets(case, text)
    if "t" in case.streams:
        text = BAR.sub("", text)
    if found := OBEYED.search(text):
        wrong.append(f"the sign {found[0]!r}, {text[max(0, found.start() - 80) : found.start()]!r} before it")
    if code not in (0, None) and not text.strip() and case.streams[2] in "pt":
        wrong.append("silence")
    if "MemoryError" in text or "Unable to allocate" in text or "can't allocate memory" in text:
        wrong.append("what would take all memory was tried")
    if len(text) > 4_000_000:
        wrong.append(f"{len(text):,} letters")
    if "Error: " in text and re.search(r"^\w*(Error|Exception|Panic\w*): ", text, re.MULTILINE):
        wrong.append("a raw error")
    return wrong


def secrets(case: Case, text: str) -> list[str]:
    read = words.HEARD in text and not case.may_read
    return ["a secret"] if read or (words.SECRET in text and not case.may_ask) else []


class Written:
    """The files that a command wrote, from here on: what was there before is the stranger's own."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.before = dict(self._files())

    def wrong(self) -> list[str]:
        """A secret, a sign or a script in them."""
        found = []
        for path, facts in self._files():
            if self.before.get(path) == facts or not path.endswith(TEXTS) or facts[0] > LARGEST:
                continue
            text = Path(path).read_bytes().decode("utf-8", "replace")
            name = os.path.relpath(path, self.case.root).encode("ascii", "backslashreplace").decode()
            found += [f"{what} in {name}" for what in self._in(text, Path(path))]
        return found

    def _in(self, text: str, path: Path) -> list[str]:
        found = secrets(self.case, text)
        if sign := OBEYED.search(text):
            found.append(f"the sign {sign[0]!r} after {text[max(0, sign.start() - 60) : sign.start()]!r}")
        if path.suffix == ".html":
            page = Page()
            page.feed(text)
            found += page.found
        if path.suffix == ".md" and re.search(r"<\s*(script|img|svg)|\]\(\s*javascript:", text, re.IGNORECASE):
            found.append("markup")
        return found[:4]

    def _files(self) -> Iterator[tuple[str, tuple]]:
        """Path -> size and time, of plain files; links are not followed."""
        for place in self.case.own:
            for folder, _, names in os.walk(place):
                for name in names:
                    path = os.path.join(folder, name)
                    facts = os.lstat(path)
                    if not os.path.islink(path) and os.path.isfile(path):
                        yield path, (facts.st_size, facts.st_mtime_ns, facts.st_ino)


class Page(HTMLParser):
    """What a page would run or fetch, as a browser reads it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "base", "form"):
            self.found.append(f"<{tag}>")
        for name, value in attrs:
            leads = name in ("href", "src", "action", "xlink:href", "srcset", "data", "background")
            away = leads and not str(value).startswith(("data:image/", "#"))
            if name.startswith("on") or away:
                self.found.append(f"<{tag} {name}={str(value)[:40]!r}>")
