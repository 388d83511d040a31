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
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING

import torch
from polars import DataFrame
from torch import Tensor

from dltrain.config import build, command_line
from dltrain.course import changes, looks
from dltrain.course.chapter import Chapter, Number, Seen, find, several
from dltrain.engine.assessment import no_better, trivial
from dltrain.engine.process import left_as_it_was
from dltrain.errors import ConfigError, DltrainError, override
from dltrain.errors.output import cut, note
from dltrain.insight.gallery import Picture
from dltrain.insight.whole_sweep import sweep
from dltrain.trained.whole_run import TrainedRun, load, train
from dltrain.training.stop import Interrupted

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
    """A chapter that was run, by these commands. changes: KEY=VALUEs by which other things were trained than the
    chapter's; without them its numbers are as expected. place: where the runs are. learned: whether one of them did.
    """

    chapter: Chapter
    commands: tuple[str, ...]
    seen: Seen
    bits: Bits | None
    seconds: float
    changes: tuple[str, ...] = ()
    place: str = "runs"
    learned: bool = True

    @property
    def astray(self) -> str:
        """A sentence where what was trained is not what the words of the chapter are about; else nothing."""
        if self.learned:
            return self.seen.astray(self.changes)
        return (
            f"With {' '.join(self.changes)}, what was trained knows nothing more than one answer for all rows. That "
            "decides for none of the answers."
        )

    @property
    def outcome(self) -> str:
        """Which answer it was, and what says so; nothing where none was decided."""
        return self.chapter.outcome(self.seen) if self.learned and not self.seen.undone else ""

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
        return cls(found, found.commands, again, Bits(**bits) if bits else None, content["seconds"])


def do(command: str, last: Done | None = None) -> Done:
    """Runs a command as it is typed, `dltrain ...`; its `last` is a run, where one is given."""
    words = shlex.split(command)[1:]
    if isinstance(last, TrainedRun):
        names = {"last": str(last.folder), "resume=last": override("resume", str(last.folder), shell=False)}
        words = [names.get(word, word) for word in words]
    if words[0] in command_line.NAMES:
        return _printed(words)
    return sweep(*(word for word in words if word != "-m")) if several(words) else train(*words)


def _printed(words: Sequence[str]) -> str:
    done = subprocess.run([sys.executable, "-m", "dltrain", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise DltrainError(done.stderr.removeprefix("error: ").strip())
    return done.stdout


def warn_in_words() -> None:
    """For a notebook: from here on a warning is a note, without the path and the code of where it comes from."""
    warnings.formatwarning = note


def study(name: str, *done: Done) -> Seen:
    """What is seen in what the commands of a chapter made."""
    return import_module(f"dltrain.course.chapters.{find(name).name}").study(done)


def teach(
    found: Chapter,
    more: Sequence[str] = (),
    *,
    place: str | None = None,
    tell: Callable[[str], None] | None = None,
) -> Taught:
    """Runs a chapter with KEY=VALUEs. place: what `changes.check` said of them, where they have been checked. `tell`
    hears of each command before it is run. Raises what the commands raise.
    """
    begin = time.perf_counter()
    place, others = place or changes.check(found, more), tuple(changes.deciding(more))
    commands = tuple(changes.changed(command, more) for command in found.commands)
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
        if not more or os.environ.get("DLTRAIN_DEBUG"):
            raise
        why = f" ({type(error).__name__}: {cut(str(error), 200)})" if str(error) else ""
        last = shlex.quote("last" if place == "runs" else f"{place}/last")
        raise ConfigError(
            f"what was trained with {' '.join(more)} is not what this chapter looks at{why}; the runs are kept: "
            f"`dltrain report {last}` shows the last"
        ) from error
    knows = not others or all(number.held for number in seen.numbers) or any(map(learned, done))
    bits = compare(found) if found.twin and not others else None
    return Taught(found, commands, seen, bits, time.perf_counter() - begin, others, place, knows)


def learned(done: Done) -> bool:
    """Whether a run, or one of a sweep, knows more of its train rows than one answer for all."""
    rows = [*done.iter_rows(named=True)] if isinstance(done, DataFrame) else []
    rows = [row for row in rows if row["status"] in ("done", "early_stopped")]
    run = load(rows[0]["folder"]) if rows else done
    if not isinstance(run, TrainedRun):
        return False
    plan, (_, y) = looks.plan(run), looks.rows(run)
    constant = trivial(y, task=plan.data.task)
    found = [{key.removeprefix("train/"): value for key, value in row.items()} for row in rows or [run.metrics]]
    return not all(no_better(metrics, constant) for metrics in found)


def compare(found: Chapter) -> Bits:
    """Trains what the listing trains, by dltrain in a folder that is removed, and by the listing itself."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            run = do(changes.changed(found.twin, [f"runs_dir={folder}", "trainer.tensorboard=false"]))
        except Interrupted as stop:
            raise KeyboardInterrupt from stop  # what it would go on with is removed
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
