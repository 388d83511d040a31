"""A case: what is typed, where, what lies around it, and what it may do."""

import io
import pickle
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from hostile import words


@dataclass
class Case:
    """One trial: what is typed, where, and what it may do there."""

    root: Path  # holds `in`, which was given, and `outside`, which nobody may touch
    number: int = 0  # among those of its kind
    in_turn: bool = False  # whether each command meets each kind of spoilt run, in place of what is drawn
    argv: list[str] = field(default_factory=list)
    done: list[str] = field(default_factory=list)  # what was done to the files, in words
    may_read: bool = False  # whether it was given a file outside to read
    may_ask: bool = False  # whether the environment and the network may be asked, as where one types it
    fragments: bool = False  # whether the configuration has what a parser here would take for ever to read
    streams: str = "ppp"  # what standard input, output and error are: see `drive.quiet`

    @property
    def inside(self) -> Path:
        return self.root / "in"

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


def plant(case: Case) -> None:
    """What lies around: a file of somebody else, a package, an archive that leads out, a pickle."""
    case.outside.mkdir(parents=True)
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
