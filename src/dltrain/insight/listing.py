"""`dltrain runs` and `dltrain show`: a table of runs, and all about one. Neither torch nor Hydra is needed."""

from __future__ import annotations

import json
import operator
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from dltrain.errors import ConfigError, did_you_mean, system, tables
from dltrain.errors.output import apart, cut, one_line
from dltrain.parts.metrics import DIRECTION, MAIN, in_percent, larger_is_better, told
from dltrain.runs import ensemble_members, jobs, key_roles, pulse, reading
from dltrain.runs.reading import Run

_LONGEST_VALUE = 1000  # letters that `show` prints of a value
_REASON = 34  # of why a run failed, at least so many letters stay, or half of them where there is room for little else
_KEYS = 6  # at most this many of the keys that differ fit beside the metrics
_FOLLOWED: dict[str, Callable[[float], str]] = {"share": pulse.share, "rate": pulse.per_second, "left": pulse.duration}
_FACTS: dict[str, Callable[[Run], object]] = {  # column -> what it holds
    "folder": lambda run: str(run.folder),
    "name": lambda run: (run.sweep or run.folder).parent.name,
    "status": lambda run: run.status,
    "reason": lambda run: run.reason or run.fault,
    "started": lambda run: run.started,
    "steps": lambda run: run.steps,
    "step": lambda run: run.pulse.step if run.pulse else None,
    "total": lambda run: run.pulse.total if run.pulse else None,
    "share": lambda run: run.pulse.share if run.pulse else None,
    "rate": lambda run: run.pulse.rate if run.pulse else None,
    "left": lambda run: run.pulse.left if run.pulse and run.status == "running" else None,
    "seconds": lambda run: None if run.seconds is None else round(run.seconds, 1),
    "command": lambda run: run.command,
}


def ids_of(found: Sequence[Run]) -> dict[Path, str]:
    folders = [run.folder for run in found]
    return dict(zip(folders, reading.short_ids(folders), strict=True))


def table(
    found: Sequence[Run],
    ids: dict[Path, str],
    chosen: list[str] | None,
    *,
    more: str = "--columns chooses, --csv has all",
) -> str:
    """The runs for a person: of the keys that differ those that were typed, the main metrics, why a run failed.

    Columns that the terminal has no room for are left out, and named below with how to see `more`, unless they were
    chosen.
    """
    typed = choices(found)
    keys = most_typed(differing(found, typed=typed), found) if chosen is None else []
    names, left = chosen or [], keys[_KEYS:]
    if chosen is None:
        several = len({_FACTS["name"](run) for run in found}) > 1
        followed = ["share", "left"] if any(run.status == "running" for run in found) else []
        reasons = any(run.reason or run.fault for run in found)
        metrics = _main_metrics(found)
        names = ["name"] * several + ["status", *followed, *keys[:_KEYS], *metrics, "seconds"] + ["reason"] * reasons
    columns = {n: [n, *(cell(n, shown(run, n, typed)) for run in found)] for n in names}
    if chosen is None and found:
        kept = _fitted(columns, found, keys[:_KEYS], tables.room() - max(map(len, ids.values())))
        left = [*(n for n in names if n not in kept), *left]
        columns = kept
    rows = zip(["run", *(ids[run.folder] for run in found)], *columns.values(), strict=True)
    lines = tables.table([*rows], cut=True)
    if left:
        others = f", and {len(left) - 8} more" * (len(left) > 8)
        lines += ["", f"not shown: {', '.join(left[:8])}{others}; {more}"]
    return "\n".join(lines)


Columns = dict[str, list[str]]  # what a column is -> its title, and a cell for each run


def _fitted(columns: Columns, found: Sequence[Run], keys: Sequence[str], room: int) -> Columns:
    """As many of the columns as there is room for. Those go first that say next to nothing, and the name and what all
    runs have typed go last, as they tell them apart: before these keys go they get shorter titles and shorter cells.
    """
    varied = [key for key in keys if all(key in run.typed for run in found)]
    others = [key for key in keys if key not in varied]
    metrics = [n for n in columns if "/" in n and n not in keys]
    empty = [n for n in columns if 2 * columns[n].count("-") > len(found) and n not in varied]
    empty += ["share"] * (2 * columns.get("share", []).count("100%") > len(found))  # all but a few have ended
    same = ["status"] * (len({*columns["status"][1:]}) == 1)
    last = [n for n in metrics if n.startswith("last/")]
    kept = {n: [*cells] for n, cells in columns.items()}
    widths = {n: max(map(tables.width, cells)) + tables.GAP for n, cells in columns.items()}

    def without(*names: str, reason: int) -> None:
        for name in names:
            if "reason" in widths:
                widths["reason"] = min(widths["reason"], reason)  # the line's end, which may be cut
            if name in kept and sum(widths.values()) > room:
                del kept[name], widths[name]

    spare = [*(n for n in empty if n != "reason"), *others[2:][::-1], *last, "seconds"]
    without(*spare, *(n for n in empty if n == "reason"), reason=_REASON)
    if sum(widths.values()) > room:
        for name, title in tables.short(kept).items():
            if name in varied:
                kept[name] = apart([title, *kept[name][1:]], max(12, room // 4))
                widths[name] = max(map(tables.width, kept[name])) + tables.GAP
    last = ["name", "reason", *metrics[:1], *varied[::-1]]
    without(*others[:2][::-1], *same, *metrics[:0:-1], *last, reason=_REASON // 2)
    return kept


def sweeps(found: Sequence[Run]) -> list[str]:
    """A line for each sweep in progress, whichever of its runs are shown."""
    going = {sweep: [reading.read(f, s) for f, s in reading.walk(sweep)] for sweep in jobs.in_progress(found)}
    return [one_line(f"sweep {sweep.name}: {jobs.read(sweep, runs)}") for sweep, runs in going.items()]


def cell(name: str, found: object) -> str:
    """A value as a table shows it: shares in per cent, what is not there as -."""
    if found is None or found == "":
        return "-"
    if isinstance(found, float):
        if name in _FOLLOWED:
            return _FOLLOWED[name](found)
        if "/" in name and in_percent(name):
            return f"{found:.2%}"
        return f"{found:.1f}" if name == "seconds" else f"{found:.6g}"
    text = _yaml(found)
    return text if len(text) <= 60 else f"{text[:59]}…"


# -- keys --------------------------------------------------------------------------------------------------------


def chosen(run: Run) -> dict[str, str]:
    """What was typed, by key, and the name of each group's choice, of those that nobody typed, too."""
    known = reading.node(run.environment.get("chosen"))
    return {group: name for group, name in known.items() if isinstance(name, str)} | run.typed


def choices(found: Sequence[Run]) -> frozenset[str]:
    """The groups whose choice is known of each of the runs: a table shows its name (momentum), not its class (SGD)."""
    common = set.intersection(*(set(chosen(run)) for run in found)) if found else set[str]()
    return frozenset(
        name
        for name in common
        if "." not in name and all(isinstance(run.config.get(name), str | None) for run in found)
    )


def shown(run: Run, name: str, typed: frozenset[str]) -> object:
    """What a table shows of a run: the name of a choice where it is one of `choices`, else its value."""
    return chosen(run)[name] if name in typed else value(run, name)


def differing(found: Sequence[Run], *, duplicates: bool = False, typed: frozenset[str] = frozenset()) -> list[str]:
    """The keys of the configurations that differ, those that somebody typed first.

    A key is left out when only some runs have it and it is the same in those, or when it repeats another one's values
    (unless `duplicates`). Those of `choices` in `typed` are told apart by what was typed.
    """
    configs = [run.config | {name: words[name] for name in typed} for run in found for words in [chosen(run)]]
    own = {key for run in found for key in run.typed}
    names = [name for name in dict.fromkeys(name for config in configs for name in config)]
    names = [name for name in names if name not in key_roles.UNSEEN]
    kept: dict[str, dict[int, str]] = {}  # key -> its values, by the number of the run
    for name in sorted(names, key=lambda name: name not in own):
        values = {i: str(config[name]) for i, config in enumerate(configs) if name in config}
        repeats = not duplicates and any(values.items() <= other.items() for other in kept.values())
        if len(set(values.values())) > 1 and not repeats:
            kept[name] = values
    return list(kept)


def most_typed(keys: Sequence[str], found: Sequence[Run]) -> list[str]:
    """The keys in the order of how many of the runs somebody typed them for: the first tell most of the runs apart."""
    return sorted(keys, key=lambda key: -sum(key in run.typed for run in found))


def _main_metrics(found: Sequence[Run]) -> list[str]:
    chosen = {reading.plain_name(run.monitor): None for run in found}
    names = [
        f"{part}/{name}" for name in chosen if name not in (*MAIN, "loss", "train_loss") for part in ("best", "test")
    ]
    names += [f"{part}/{metric}" for metric in MAIN for part in ("best", "last", "test")]
    names = [name for name in names if any(name in run.numbers for run in found)]
    return names or [n for n in ("best/loss", "last/loss") if any(n in run.numbers for run in found)]


def value(run: Run, name: str) -> object:
    """What a run has in a column: a fact, a metric, or a key of its configuration; None where it has none."""
    if name in _FACTS:
        return _FACTS[name](run)
    return run.numbers[name] if name in run.numbers else run.config.get(name)


def known(name: str, found: Sequence[Run]) -> str:
    """The name of a column; `val/accuracy` is what the best epoch had. Raises ConfigError for an unknown one."""
    name = name.strip()
    known = dict.fromkeys([*_FACTS, *(n for run in found for n in (*run.numbers, *run.config))])
    if name.startswith("val/") and (best := name.replace("val", "best", 1)) in known:
        return best
    if found and name not in known:
        hint = did_you_mean(name, known) or "; dltrain runs --json shows what they have"
        raise ConfigError(f"no run has `{name}`{hint}")
    return name


def selected(place: Path, conditions: Sequence[str], sort: str | None) -> tuple[list[Run], dict[Path, str]]:
    """The runs below a folder for which all conditions hold, the best first where `sort` names a key; the short id of
    each run there.
    """
    found = [reading.read(folder, sweep) for folder, sweep in reading.walk(place)]
    ids = ids_of(found)
    for condition in conditions:
        found = where(found, condition)
    return (ranked(found, sort) if sort else found), ids


def where(found: list[Run], condition: str) -> list[Run]:
    match = re.fullmatch(r"\s*([^=!<>]+?)\s*(!=|<=|>=|==|=|<|>)\s*(.*?)\s*", condition)
    if not match:
        raise ConfigError(f"--where {condition}: write KEY=VALUE, or one of != < <= > >= for the =")
    name, sign, wanted = known(match[1], found), match[2], match[3]
    return [run for run in found if _holds(run, name, sign, wanted)]


def _holds(run: Run, name: str, sign: str, wanted: str) -> bool:
    """Whether a condition is true of a run. `optimizer=adamw` means the class, or the choice as it was typed."""
    has = value(run, name)
    if has is None and name not in run.config:  # which is not the same as null
        return sign == "!="
    left, right = _number(has), _number(wanted)
    numbers = left is not None and right is not None
    if sign in ("=", "==", "!="):
        same = left == right if numbers else _words(str(has)) == _words("None" if wanted == "null" else wanted)
        return (same or f"{name}={wanted}" in run.overrides) == (sign != "!=")
    return numbers and _LARGER[sign](left, right)


_LARGER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def _number(found: object) -> float | None:
    try:
        return float(found) if isinstance(found, (int, float, str)) else None
    except (ValueError, OverflowError):
        return None


def _words(text: str) -> str:
    """A value without what may be typed in one way or another."""
    return re.sub(r"[\s'\"]", "", text).lower()


def ranked(found: list[Run], key: str) -> list[Run]:
    """Best first, equals by their validation loss, those without the value last; names in their order."""
    name = known(key, found)

    def rank(run: Run) -> tuple[int, tuple[bool, float, float], str]:
        has, larger = value(run, name), larger_is_better(name)
        number = reading.rank(has if reading.is_number(has) else None, run.numbers.get("best/loss"), larger=larger)
        return (0 if not number[0] else 2 if has is None else 1), number, "" if has is None else str(has)

    return sorted(found, key=rank)


# -- for programs ------------------------------------------------------------------------------------------------


def row(run: Run, chosen: list[str] | None, keys: list[str]) -> dict[str, object]:
    """A run as plain data: every fact, the keys that differ, every metric."""
    if chosen is not None:
        return {name: value(run, name) for name in chosen}
    config = {name: run.config.get(name) for name in keys}
    facts = {name: _FACTS[name](run) for name in _FACTS}
    return {**facts, "config": config, "metrics": run.numbers}


def flat_row(row: dict[str, object]) -> dict[str, object]:
    """A row whose configuration and metrics have columns of their own, after the others."""
    nodes = [node for key in ("config", "metrics") if isinstance(node := row.get(key), dict)]
    line = {key: value for key, value in row.items() if key not in ("config", "metrics")}
    return line | {name: value for node in nodes for name, value in node.items()}


# -- one run -----------------------------------------------------------------------------------------------------


def story(run: Run) -> list[str]:
    """What it is, how it ended, and what can be typed now."""
    environment = run.environment
    ended = {"stopped": f"stopped by {run.reason}"}.get(run.status, run.status.replace("_", " "))
    steps = "" if run.steps is None else f" after {run.steps:,} step{'s' * (run.steps != 1)}"
    took = "" if run.seconds is None else f", {run.seconds:,.1f} s"
    commit = environment.get("git")
    lines = [f"run       {run.folder}", f"status    {ended}{steps}{took}", *_where(run)]
    if run.reason and run.status != "stopped":
        lines.append(f"          {run.reason}")
    if environment:
        where = f"on {environment.get('host')}, {environment.get('device')}, in {environment.get('folder')}"
        lines.append(one_line(f"started   {environment.get('started')} {where}"))
    if isinstance(commit, dict):
        lines.append(one_line(f"commit    {commit.get('commit')}{', with changes' * bool(commit.get('changed'))}"))
    if run.command:
        lines.append(f"again     {one_line(run.command)}")
    if ensemble_members.are_in(run.summary):
        lines += [f"member    {line}" for line in ensemble_members.told(run.summary)]
    elif run.status in ("killed", "stopped", "pruned") or (run.status == "failed" and reading.checkpoints(run.folder)):
        lines.append(f"go on     dltrain resume {run.folder}")
    return lines


def _where(run: Run) -> list[str]:
    """How far a run is that has not ended, and when it said so."""
    word = run.pulse
    if word is None or run.status not in ("running", "killed", "stopped", "pruned"):
        return []
    if run.status != "running":
        return [f"          at {word.place}, {pulse.duration(word.age)} ago"]
    return [
        f"          at {word.told}{'' if word.loss is None else f', loss {word.loss:.4g}'}",
        one_line(f"          said {pulse.duration(word.age)} ago, by process {word.pid} on {word.host}"),
    ]


def configuration(run: Run) -> list[str]:
    """Every key, with * where it was typed."""
    if not run.config:
        return ["no configuration was written"]
    rows = [
        [f"{'  ' if run.typed.keys().isdisjoint({key, *_parents(key)}) else '* '}{key}", _yaml(found)]
        for key, found in run.config.items()
    ]
    return ["configuration (* was typed)", *tables.columns(rows, right=())]


def _yaml(found: object) -> str:
    """A value as one would type it."""
    return cut(found if isinstance(found, str) else json.dumps(found, default=str), _LONGEST_VALUE)


def _parents(key: str) -> set[str]:
    """The nodes that hold a dotted key, without the group: choosing a file is not typing all that is in it."""
    parts = key.split(".")
    return {".".join(parts[:n]) for n in range(2, len(parts))}


def result(run: Run) -> list[str]:
    """Metrics by split; those of the best epoch's weights, and of the last validation."""
    there = dict.fromkeys(name.partition("/")[2] for name in run.numbers)
    metrics = [*told(there, run.monitor), *(name for name in there if name not in DIRECTION)]
    parts = [
        part for part in ("best", "last", "train", "val", "test") if any(n.startswith(f"{part}/") for n in run.numbers)
    ]
    if not parts:
        return ["no metrics yet", ""]
    rows = [["", *metrics], *([p, *(cell(f"{p}/{m}", run.numbers.get(f"{p}/{m}")) for m in metrics)] for p in parts)]
    chosen = f" (best by {run.monitor}; train, val and test with its weights)" * bool(run.monitor)
    return [f"metrics{chosen}", *tables.table(rows, cut=True), ""]


def files(folder: Path) -> list[str]:
    """What is in the folder, with sizes; each checkpoint as one."""
    found = [
        *(p for p in sorted(folder.iterdir()) if p.name not in (".lock", "checkpoints")),
        *reading.checkpoints(folder),
    ]
    return [f"  {size(p):>9}  {one_line(str(p.relative_to(folder)))}" for p in found]


def size(path: Path) -> str:
    """What a file or folder takes on the disk, for a person."""
    inside = path.is_dir() and not system.leads_elsewhere(path)
    total, folders = 0 if inside else path.lstat().st_size, [str(path)] * inside
    while folders:  # a list of its own: folders may be nested more deeply than Python calls
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    total += entry.stat(follow_symlinks=False).st_size
    return f"{total / 2**20:,.1f} MB" if total >= 2**20 else f"{total / 2**10:,.1f} kB"
