"""A case: what is typed, where, what lies around it, and what it may do."""

import io
import os
import pickle
import re
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from hostile import words

_AWAY = re.compile(r"(^|[\s=:,'\"\[{(])(/|~|\.\.)")  # a path that leads out of the folder that one works in


@dataclass
class Case:
    """One trial: what is typed, where, and what it may do there."""

    root: Path  # holds `in`, which was given, and `outside`, which nobody may touch
    number: int = 0  # among those of its kind
    in_turn: bool = False  # whether each command meets each kind of spoilt run, in place of what is drawn
    argv: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)  # what was done to the files, in words
    may_read: bool = False  # whether it was given a file outside to read
    may_ask: bool = False  # whether the environment may be asked: its owner typed so
    may_fetch: bool = False  # whether the network may be asked, as where what is missing is downloaded
    repositories: list[str] = field(default_factory=list)  # that a .git leads to: git's own names are read there
    environment: dict[str, str | None] = field(default_factory=dict)  # set, or taken away
    size: tuple[int, int] = (24, 80)  # of the terminal, where there is one
    answer: str = "n\n"  # what is typed there when the command asks
    fragments: bool = False  # whether the configuration has what a parser here would take for ever to read
    streams: str = "ppp"  # what standard input, output and error are: see `drive.quiet`

    @property
    def inside(self) -> Path:
        return self.root / "in"

    @property
    def own(self) -> list[Path]:
        """Where it may write: the folder it works in, its own home and its own folder of temporary files."""
        return [self.inside, self.root / "home", self.root / "tmp"]

    def consent(self, text: str) -> None:
        """What a hand typed, or a folder of configuration files says that it chose, may be done."""
        self.may_ask |= "oc." in text or "environ" in text
        self.may_read |= "environ" in text or _AWAY.search(text) is not None
        self.may_fetch |= any(word in text for word in ("_target_", "weights", "download", "http"))

    @property
    def outside(self) -> Path:
        return self.root / "outside"

    @property
    def marker(self) -> Path:
        return self.outside / "marker"

    @property
    def places(self) -> list[Path]:
        """Paths to be named in a file: of what is there, and of what must not come to be."""
        inner = [self.inside / "rows.csv", self.inside / "pictures", self.inside, self.inside / "none"]
        return [*inner, self.inside / "packed.tar.gz", self.inside / "weights.pth", Path("/nowhere/x")]


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def no_plain_file(case: Case, path: Path, number: int) -> None:
    """In its place a link to what lies outside (0), a pipe (1) or a folder (2)."""
    if number == 0:
        path.symlink_to(case.outside / "precious.txt")
        case.may_read = True
    elif number == 1:
        os.mkfifo(path)
    else:
        path.mkdir()


def plant(case: Case) -> None:
    """What lies around: a file of somebody else, a package, an archive that leads out, a pickle."""
    case.outside.mkdir(parents=True)
    for place in case.own:
        place.mkdir(exist_ok=True)
    (case.outside / "precious.txt").write_text(words.HEARD)
    (case.outside / "folder").mkdir()
    (case.outside / "folder" / "kept.txt").write_text(words.HEARD)
    with tarfile.open(case.inside / "packed.tar.gz", "w:gz") as archive:
        member = tarfile.TarInfo("../outside/marker")
        member.size = 1
        archive.addfile(member, io.BytesIO(b"x"))
    (case.inside / "weights.pth").write_bytes(pickle.dumps(Bomb(case.marker)))
    (case.inside / "evil_pkg").mkdir()
    text = f"import pathlib\npathlib.Path({str(case.marker)!r}).touch()\nfrom torch.nn import Linear as Net\n"
    (case.inside / "evil_pkg" / "__init__.py").write_text(text)
