"""Does what a chapter says: its commands, the look at what they made, and its listing beside dltrain, bit for bit."""

from __future__ import annotations

import json
import runpy
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dltrain.config import build, command_line
from dltrain.course import looks
from dltrain.course.chapter import Chapter, Number, Seen, find
from dltrain.course.chapter import study as studied
from dltrain.engine.process import left_as_it_was
from dltrain.errors import DltrainError
from dltrain.insight.pictures import Picture
from dltrain.insight.whole_sweep import sweep
from dltrain.runs import seeds
from dltrain.trained.whole_run import TrainedRun, train

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


@dataclass(frozen=True)
class Bits:
    """The listing's weights beside dltrain's: how many numbers, and the largest difference."""

    count: int
    difference: float

    def __str__(self) -> str:
        numbers = f"{self.count:,} number{'s' * (self.count != 1)}"
        if self.difference == 0:
            return f"ends with the same weights, bit for bit ({numbers})"
        return f"ends within {self.difference:.2g} of the same weights ({numbers})"


@dataclass(frozen=True)
class Taught:
    """A chapter that was run. as_it_stands: nobody changed its commands, so that its numbers are the expected ones."""

    chapter: Chapter
    seen: Seen
    bits: Bits | None
    seconds: float
    as_it_stands: bool

    def kept(self) -> str:
        """What of it a page needs beside the files of its pictures, as JSON."""
        pictures = [[p.name, p.title, p.caption] for p in self.seen.pictures]
        seen = {**self.seen._asdict(), "pictures": pictures}
        bits = self.bits and asdict(self.bits)
        return json.dumps({"seen": seen, "bits": bits, "seconds": round(self.seconds, 1)}, indent=1, ensure_ascii=False)

    @classmethod
    def again(cls, found: Chapter, kept: str) -> Taught:
        """One that was kept, with empty pictures."""
        content = json.loads(kept)
        seen, bits = content["seen"], content["bits"]
        numbers = [Number(*number) for number in seen["numbers"]]
        pictures = [Picture(*words, content=b"") for words in seen["pictures"]]
        again = Seen(numbers, seen["answer"], seen["because"], pictures)
        return cls(found, again, Bits(**bits) if bits else None, content["seconds"], True)


def do(command: str, more: Sequence[str] = ()) -> Done:
    """Runs a command as it is typed, `dltrain ...`; `more` are overrides for what it trains.

    `last` is the last run of their runs_dir.
    """
    words = shlex.split(command)[1:]
    if words[0] in command_line.NAMES:
        roots = [word.partition("=")[2] for word in more if word.startswith("runs_dir=")]
        return _printed([f"{roots[-1]}/last" if roots and word == "last" else word for word in words])
    several = words[0] == "-m" or seeds.split(words)[0] != words
    words = [word for word in words if word != "-m"]
    return sweep(*words, *more) if several else train(*words, *more)


def _printed(words: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, "-m", "dltrain", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DltrainError(done.stderr.removeprefix("error: ").strip())
    return done.stdout


def study(name: str, *done: Done) -> Seen:
    """What is seen in what the commands of a chapter made."""
    return studied(find(name), done)


def teach(found: Chapter, more: Sequence[str] = (), *, tell: Callable[[str], None] | None = None) -> Taught:
    """Runs a chapter. `tell` hears of each command before it is run. Raises what the commands raise."""
    begin = time.perf_counter()
    done = []
    for command in found.commands:
        if tell:
            tell(command)
        done.append(do(command, more))
    seen = study(found.name, *done)
    changed = any(not word.startswith("runs_dir=") for word in more)
    bits = compare(found) if found.twin and not changed else None
    return Taught(found, seen, bits, time.perf_counter() - begin, not changed)


def compare(found: Chapter) -> Bits:
    """Trains what the listing trains, by dltrain in a folder that is removed, and by the listing itself."""
    with tempfile.TemporaryDirectory() as folder:
        run = do(found.twin, [f"runs_dir={folder}", "trainer.tensorboard=false"])
        assert isinstance(run, TrainedRun)
        ours = looks.last_weights(run)
        with left_as_it_was():
            build.set_threads_and_determinism(looks.plan(run))
            theirs = listed(found)
    return difference([*ours.values()], theirs)


def listed(found: Chapter) -> list[Tensor]:
    """The weights of the listing's `net`, after it ran."""
    return [*runpy.run_path(str(found.listing))["net"].state_dict().values()]


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Bits:
    pairs = [(a.double(), b.double().view_as(a)) for a, b in zip(ours, theirs, strict=True)]
    largest = max(float((a - b).abs().max()) for a, b in pairs)
    return Bits(sum(a.numel() for a, _ in pairs), largest if largest == largest else torch.inf)
