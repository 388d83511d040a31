"""What run folders say of themselves, read quickly and without trust: nothing that stands in one stops a listing.

A run folder is one that holds config.yaml, summary.json or overrides.txt; a sweep's holds sweep.json and its jobs.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from dltrain.errors import key_of, system
from dltrain.errors.output import cut
from dltrain.parts.metrics import larger_is_better
from dltrain.runs import foreign, key_roles, pulse
from dltrain.runs.foreign import Values, is_number, node
from dltrain.runs.pulse import Pulse

_DEPTH = 4  # of folders below the one that is searched: runs/<name>/<sweep>/<job>
_LONGEST_REASON = 500  # letters of what a run says it failed of
_MOST_STEPS = 1 << 62  # of a run; nor does one take so many seconds
_MOST_SHOWN = 5_000  # reports of a run in a picture
_MARKS = ("config.yaml", "summary.json", "overrides.txt")
STAMP = re.compile(r"\d{8}-\d{6}-([0-9a-f]{4})")  # the name of a folder that `run_folder.create` made
ENDED = ("done", "early_stopped")
HELD: set[str] = set()  # folders that this process has locked: to open and close a lock file would free its own lock
PAUSED = "pruning"  # why a job of a sweep was stopped, to be gone on with if it is among the best
STATUSES = ("running", "killed", *ENDED, "stopped", "pruned", "diverged", "failed", "damaged")


@dataclass(frozen=True)
class Run:
    """One run folder. `status` is one of `STATUSES`, `reason` says why where a run did not end by itself,
    on one line.

    A run is running while a process holds its lock; one without it and without an end was killed. On another machine,
    whose locks may not be seen here, it is running while it tells how far it is.
    """

    folder: Path
    status: str
    reason: str
    summary: Values
    sweep: Path | None = None

    @cached_property
    def environment(self) -> Values:
        """What environment.json holds; empty where there is none."""
        return node(read_json(self.folder / "environment.json", foreign.LARGEST_WORD)[0])

    @cached_property
    def overrides(self) -> tuple[str, ...]:
        """What was typed."""
        lines = (read_text(self.folder / "overrides.txt", foreign.LARGEST_WORD) or "").split("\n")[:-1]
        return tuple(str(_scalar(line)) if line.startswith('"') else line for line in lines[: foreign.MOST_TYPED])

    @cached_property
    def typed(self) -> dict[str, str]:
        """The same by key; the last of two equal keys counts."""
        return {key_of(override): override.partition("=")[2] for override in self.overrides}

    @cached_property
    def config(self) -> Values:
        """The configuration by dotted keys; empty where it can't be read. `optimizer` is what `optimizer._target_` is.

        Of a run that failed before it had one, what was typed.
        """
        text = read_text(self.folder / "config.yaml", foreign.LARGEST_CONFIG)
        if text is None:
            return {key_of(o): _scalar(o.partition("=")[2]) for o in self.overrides if "=" in o}
        return {
            key.removesuffix("._target_"): str(value).rsplit(".", 1)[-1] if key.endswith("._target_") else value
            for key, value in flat(parse_config(text) or {}).items()
        }

    @cached_property
    def pulse(self) -> Pulse | None:
        """The last that it told of how far it is; None where there is nothing."""
        return pulse.read(self.folder)

    @property
    def paused(self) -> bool:
        """Whether it is a job that its sweep has pruned, and that can go on."""
        return self.status == "pruned"

    @property
    def unwritten(self) -> bool:
        """Whether it ended before its configuration was written."""
        return not os.path.lexists(self.folder / "config.yaml")

    @property
    def fault(self) -> str:
        """What is wrong with the stored configuration, or nothing."""
        return "" if self.config or self.unwritten else "config.yaml is not the configuration of a run"

    @property
    def monitor(self) -> str:
        """The metric that chose the best epoch, such as val/accuracy; empty where that is not known."""
        name = self.environment.get("monitor")
        return name if isinstance(name, str) else ""

    @property
    def criterion(self) -> str:
        """Where `numbers` have that metric at the best epoch, such as best/accuracy; empty where it is not known."""
        return f"best/{plain_name(self.monitor)}" if self.monitor else ""

    @property
    def command(self) -> str:
        """What to type to make the run again; empty where that is not known.

        It may be a stranger's, and nobody should be led to type another command, or a package that he allows.
        """
        words: list[str] = []
        with suppress(KeyError, ValueError):
            words = shlex.split(str(self.environment["command"]))
        typed = _as_typed(words[1:]) if words[:1] == ["dltrain"] else None
        if typed is None:
            typed = _as_typed([o for o in self.overrides if not o.startswith("-")]) or []
        return shlex.join(["dltrain", *typed]) if typed or words == ["dltrain"] else ""

    @property
    def started(self) -> str:
        """Local time of the start, as the folder's name has it; empty for a folder that has another name."""
        stamped = next((m for f in (self.folder, self.folder.parent) if (m := STAMP.fullmatch(f.name))), None)
        return stamped[0][:15] if stamped else ""

    @cached_property
    def numbers(self) -> dict[str, float]:
        """Every metric as split/name: best and last validation, then train, val and test by the best weights.

        Of a run that has not ended, best and last are those of its log.
        """
        parts = {part: node(self.summary.get(part)) for part in ("best", "last", "train", "val", "test")}
        if not parts["last"]:
            parts["best"], parts["last"] = self._logged()
        each = ((f"{part}/{name}", v) for part, metrics in parts.items() for name, v in metrics.items())
        return {name: float(v) for name, v in each if is_number(v)}

    def _logged(self) -> tuple[Report, Report]:
        """The best and the last validation, as `keeper` would have them."""
        best: Report = {}
        last: Report = {}
        lowest = None
        for line in reports(self.folder):
            named = {plain_name(n): v for n, v in line.items() if n == "train/loss" or not n.startswith("train/")}
            if any(name.startswith("val/") for name in line):
                last = named
            if is_number(value := line.get(self.monitor)):
                found = rank(value, line.get("val/loss"), larger=larger_is_better(self.monitor))
                if lowest is None or found < lowest:
                    best, lowest = named, found
        return (best, last) if last else ({}, {})

    @property
    def steps(self) -> int | None:
        """Optimizer steps that were done and kept: as the summary says, or the newest checkpoint."""
        if type(done := self.summary.get("steps")) is int and abs(done) < _MOST_STEPS:
            return done
        return max((int(p.name[5:]) for p in checkpoints(self.folder) if p.name.startswith("step-")), default=None)

    @property
    def seconds(self) -> float | None:
        """How long it trained; of one that was killed, up to its last word."""
        value = self.summary.get("seconds")
        if not (is_number(value) and 0 <= value < _MOST_STEPS):
            return None
        if self.status in ("running", "killed"):  # the summary has what earlier sessions took, and dates from the start
            words = [path for name in ("metrics.jsonl", "progress.json") if (path := self.folder / name).is_file()]
            with suppress(OSError, ValueError):
                last = max(path.stat().st_mtime for path in words)
                value += max(0.0, last - (self.folder / "summary.json").stat().st_mtime)
        return float(value)


def _as_typed(words: Sequence[str]) -> list[str] | None:
    """The words of a training that make it again; None where they are those of something else."""
    kept: list[str] = []
    rest = iter(words)
    for word in rest:
        option, sign, _ = word.partition("=")
        if option in ("--config-dir", "-cd", "--allow"):
            pair = [word] if sign else [word, *itertools.islice(rest, 1)]
            kept += pair if option != "--allow" else []
        elif word in ("-m", "--multirun") or not word.startswith("-"):
            if not (sign or word.startswith(("-", "~"))):
                return None
            kept += [word] if option != "resume" else []
    return kept


def read(folder: Path, sweep: Path | None = None) -> Run:
    """What a run folder says."""
    summary, fault = read_json(folder / "summary.json", foreign.LARGEST_WORD)
    if is_alive(folder):
        return Run(folder, "running", word.stale if (word := pulse.read(folder)) else "", node(summary), sweep)
    if fault:
        return Run(folder, "damaged", fault, {}, sweep)
    if summary is not None and not (isinstance(summary, dict) and summary.get("status") in STATUSES):
        return Run(folder, "damaged", "summary.json is not the summary of a run", {}, sweep)
    if summary is None or summary["status"] == "running":  # and nobody holds it
        return Run(folder, *pulse.unheld(pulse.read(folder)), node(summary), sweep)
    status, reason = summary["status"], summary.get("error", summary.get("reason", ""))
    if status == "stopped" and reason == PAUSED:
        return Run(folder, "pruned", "", summary, sweep)
    return Run(folder, status, cut(reason, _LONGEST_REASON) if isinstance(reason, str) else "", summary, sweep)


def walk(root: Path) -> Iterator[tuple[Path, Path | None]]:
    """Each run folder at or below a folder, in the order of the start, with the sweep that it belongs to.

    Links are not followed, hidden folders and those of other programs are passed over.
    """
    yield from sorted(_below(root, None, _DEPTH), key=lambda found: _order(found[0]))


def _below(folder: Path, sweep: Path | None, depth: int) -> Iterator[tuple[Path, Path | None]]:
    names: set[str] = set()
    inner: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name)
                if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False):
                    inner.append(entry.name)
    except OSError:
        return
    if "sweep.json" in names and sweep is None:  # none is the job of another
        jobs = [folder / name for name in inner if is_job(name)]
        for job in jobs:
            yield from _below(job, folder, 0)
    elif not names.isdisjoint(_MARKS) or (".lock" in names and STAMP.fullmatch(folder.name)):
        yield folder, sweep
    elif depth:
        for name in inner:
            yield from _below(folder / name, None, depth - 1)


def _order(folder: Path) -> tuple[str, str, int]:
    if is_job(folder.name):
        return folder.parent.name, str(folder.parent), int(folder.name)
    return folder.name, str(folder), 0


def is_job(name: str) -> bool:
    """Whether a folder in that of a sweep is one of its jobs."""
    return re.fullmatch(r"[0-9]{1,9}", name) is not None


def sweep_of(folder: Path) -> Path | None:
    """The sweep that a run folder is a job of."""
    return folder.parent if is_job(folder.name) and (folder.parent / "sweep.json").is_file() else None


def is_run(folder: Path) -> bool:
    """Whether a folder is that of a run."""
    return any(found == folder for found, _ in _below(folder, None, 0))


def problem(run: Run) -> dict[str, str]:
    """What runs must share for their best metrics to be comparable: monitor, data, and the loss if it is the metric."""
    own = {k: key_roles.shared(k, v) for k, v in run.config.items() if key_roles.of(k) is key_roles.Role.PROBLEM}
    own |= {k: "given" for k, v in run.config.items() if key_roles.of(k) is key_roles.Role.PLACE and v is not None}
    loss = {k: v for k, v in run.config.items() if run.monitor.endswith("loss") and key_roles.scales_loss(k, v)}
    return {key: str(value) for key, value in {**own, "trainer.monitor": run.monitor, **loss}.items()}


def short_ids(folders: Sequence[Path]) -> list[str]:
    """What a person types for each run folder: its 4 hex, and of a sweep's job `hex/number`; the folder's whole name
    where two share the 4 hex.
    """
    makers = [f.parent if sweep_of(f) else f for f in folders]
    short = {f: m[1] if (m := STAMP.fullmatch(f.name)) else f.name for f in set(makers)}
    shared = Counter(short.values())
    own = [short[m] if shared[short[m]] == 1 else m.name for m in makers]
    return [name if f == m else f"{name}/{f.name}" for f, m, name in zip(folders, makers, own, strict=True)]


def checkpoints(folder: Path) -> list[Path]:
    """The folders of a run's checkpoints."""
    parent = folder / "checkpoints"
    if system.leads_elsewhere(parent) or not parent.is_dir():
        return []
    found = [p for p in parent.iterdir() if re.fullmatch(r"(step|best|diverged)-\d{8,20}", p.name)]
    return sorted(found, key=lambda p: (p.name.partition("-")[0], len(p.name), p.name))  # by number: 8 digits, or more


def is_alive(folder: Path) -> bool:
    """Whether a process holds the folder's lock."""
    return os.path.realpath(folder) in HELD or system.is_locked(folder / ".lock")


# -- files ------------------------------------------------------------------------------------------------------


def read_text(path: Path, largest: int = foreign.LARGEST) -> str | None:
    """The text of a plain file; None where there is none, or it is larger than that many bytes."""
    try:
        return foreign.read(path, largest).decode(errors="replace")
    except OSError:
        return None


def read_json(path: Path, largest: int = foreign.LARGEST) -> tuple[object, str]:
    """The content of a JSON file, None where there is none; and what is wrong with it."""
    text = read_text(path, largest)
    if text is None:
        return None, f"{path.name} is not a file that can be read" if os.path.lexists(path) else ""
    try:
        return foreign.parse_json(text), ""
    except ValueError:
        return None, f"{path.name} is not JSON"


Report = dict[str, float | None]  # a line of metrics.jsonl: step, epoch and metrics; None for one that is not finite


def reports(folder: Path) -> Iterator[Report]:
    """The reports in metrics.jsonl one by one, without a line that was cut or is not one; however many there are."""
    try:
        for line in foreign.lines(folder / "metrics.jsonl"):
            try:
                found = foreign.parse_json(line)
            except ValueError:
                continue
            if isinstance(found, dict) and is_number(found.get("step")):
                yield {name: value for name, value in found.items() if value is None or type(value) in (int, float)}
    except OSError:
        return


def read_log(folder: Path) -> list[Report]:
    """The same as a list, for pictures: of more than 5,000 reports every second, fourth, ... and the last."""
    kept: list[Report] = []
    every, last, count = 1, None, 0
    for count, last in enumerate(reports(folder), start=1):
        if (count - 1) % every == 0:
            kept.append(last)
            if len(kept) == _MOST_SHOWN:
                kept, every = kept[::2], 2 * every
    return kept if last is None or (count - 1) % every == 0 else [*kept, last]


def parse_config(text: str) -> Values | None:
    """A stored configuration; None where it is not one.

    1,000 runs have much in common: the text is cut at the keys of its top level, and each part that occurs is parsed
    once, which takes 0.1 s where whole files take 1.5 s.
    """
    parts = re.split(r"^(?=[A-Za-z_])", text, flags=re.MULTILINE)
    if len(parts) > foreign.MOST_KEYS:
        return None
    nodes = [_parse(part) for part in parts if part.strip()]
    if any(node is None for node in nodes):
        return None
    return {key: value for node in nodes for key, value in (node or {}).items()}


@lru_cache(maxsize=1 << 14)
def _parse(text: str) -> Values | None:
    try:
        found = foreign.parse_yaml(text)
    except ValueError:
        return None
    return {} if found is None else found if isinstance(found, dict) else None


def flat(node: Values, prefix: str = "") -> Values:
    """A configuration with dotted keys; an empty node stays as it is."""
    found: Values = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


def rank(value: float | None, loss: float | None, *, larger: bool) -> tuple[bool, float, float]:
    """Sorts the better first: by the monitor's value, among equals by the validation loss; no number comes last."""
    known = is_number(value)
    return not known, (-value if larger else value) if known else 0.0, loss if is_number(loss) else math.inf


def plain_name(metric: str) -> str:
    """A metric of a report as the numbers of an epoch have it: accuracy for val/accuracy, train_loss for train/loss."""
    return metric.removeprefix("val/").replace("/", "_")


def _scalar(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
