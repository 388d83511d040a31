"""Does what a chapter says: its commands, the look at what they made, and its listing beside dltrain, bit for bit."""

from __future__ import annotations

import json
import os
import runpy
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dltrain.config import build, command_line
from dltrain.course import looks
from dltrain.course.chapter import Chapter, Number, Seen, find
from dltrain.engine.process import left_as_it_was
from dltrain.errors import ConfigError, DltrainError, override
from dltrain.errors.output import cut
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
    """A chapter that was run, by these commands. as_it_stands: nobody changed them, so that numbers are as expected."""

    chapter: Chapter
    commands: tuple[str, ...]
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
        return cls(found, found.commands, again, Bits(**bits) if bits else None, content["seconds"], True)


def changed(command: str, more: Sequence[str]) -> str:
    """A command with other values, where it trains or traces: those that it has are replaced."""
    program, *words = shlex.split(command)
    if words[0] == "trace":
        more = [word for word in more if not word.startswith("runs_dir=")]
    elif words[0] in command_line.NAMES:
        return command
    keys = {word.partition("=")[0] for word in more}
    return shlex.join([program, *(word for word in words if word.partition("=")[0] not in keys), *more])


def do(command: str, last: Done | None = None) -> Done:
    """Runs a command as it is typed, `dltrain ...`; its `last` is a run, where one is given."""
    words = shlex.split(command)[1:]
    if isinstance(last, TrainedRun):
        names = {"last": str(last.folder), "resume=last": override("resume", str(last.folder), shell=False)}
        words = [names.get(word, word) for word in words]
    if words[0] in command_line.NAMES:
        return _printed(words)
    several = words[0] == "-m" or seeds.split(words)[0] != words
    return sweep(*(word for word in words if word != "-m")) if several else train(*words)


def _printed(words: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, "-m", "dltrain", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DltrainError(done.stderr.removeprefix("error: ").strip())
    return done.stdout


def study(name: str, *done: Done) -> Seen:
    """What is seen in what the commands of a chapter made."""
    return import_module(f"dltrain.course.chapters.{find(name).name}").study(done)


def teach(found: Chapter, more: Sequence[str] = (), *, tell: Callable[[str], None] | None = None) -> Taught:
    """Runs a chapter. `tell` hears of each command before it is run. Raises what the commands raise."""
    begin = time.perf_counter()
    as_it_stands = all(word.startswith("runs_dir=") for word in more)
    commands = tuple(changed(command, more) if more else command for command in found.commands)
    done: list[Done] = []
    for command in commands:
        if tell:
            tell(command)
        done.append(do(command, done[-1] if done else None))
    try:
        seen = study(found.name, *done)
    except (DltrainError, OSError, MemoryError):
        raise
    except Exception as error:
        if as_it_stands or os.environ.get("DLTRAIN_DEBUG"):
            raise
        why = f" ({type(error).__name__}: {cut(str(error), 200)})" if str(error) else ""
        raise ConfigError(
            f"what was trained with {' '.join(more)} is not what this chapter looks at{why}; the runs are kept: "
            "`dltrain report last` shows the last"
        ) from error
    bits = compare(found) if found.twin and as_it_stands else None
    return Taught(found, commands, seen, bits, time.perf_counter() - begin, as_it_stands)


def compare(found: Chapter) -> Bits:
    """Trains what the listing trains, by dltrain in a folder that is removed, and by the listing itself."""
    with tempfile.TemporaryDirectory() as folder:
        run = do(changed(found.twin, [f"runs_dir={folder}", "trainer.tensorboard=false"]))
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
