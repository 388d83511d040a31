"""`dltrain ensemble SWEEP`: the average of the runs that go together best, as a run folder."""

from __future__ import annotations

import argparse
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from dltrain.commands.garbage import collect_again
from dltrain.config import command_line
from dltrain.errors import ConfigError, tables
from dltrain.errors.output import cut, say
from dltrain.parts import metrics
from dltrain.runs import reading, run_folder
from dltrain.runs.foreign import Values
from dltrain.trained import candidates, ensemble, selection
from dltrain.trained.candidates import SPLITS, Library

_SHOWN = 10  # runs that are left out, one by one


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain ensemble`: chooses the members, writes the folder, says what it gains."""
    parser = command_line.parser("ensemble", "Average trained runs on the same rows, and keep that as a run.")
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a sweep, a folder with runs in it, or several runs")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--greedy", action="store_true", help="those that validate best together, which is the default")
    how.add_argument("--top", type=_count, metavar="K", help="the K that validate best, each once")
    given = parser.parse_intermixed_args(words)
    runs, overrides, place = _sorted(given.runs)
    name = place.get("name", "ensemble")
    root = ensemble.place(place.get("runs_dir", "runs"), name)
    collect_again()
    allow, changed = command_line.allowed(options.allow), options.allow_changed_data
    library = candidates.gather(run_folder.collect(runs), overrides=overrides, allow=allow, allow_changed_data=changed)
    weights = ensemble.choose(library, top=given.top)
    typed = ["dltrain", *options.typed]
    folder = ensemble.write(library, weights, root=root, name=name, command=typed)
    say("\n".join(_told(library, weights, folder)))
    return 0


def _count(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,5}", text):
        raise argparse.ArgumentTypeError(f"{text[:60]}: write how many, as in --top 5")
    return int(text)


def _sorted(words: Sequence[str]) -> tuple[list[str], list[str], dict[str, str]]:
    """What was typed as runs, as overrides of their data, and as the place of the folder."""
    runs, overrides = list[str](), list[str]()
    place: dict[str, str] = {}
    for word in words:
        key, sign, value = word.partition("=")
        if key in ("name", "runs_dir") and sign:
            place[key] = value
        elif re.fullmatch(r"[\w.]+", key) and sign and not os.path.isdir(word):
            overrides.append(word)
        else:
            runs.append(word)
    if not runs:
        raise ConfigError("say which runs: dltrain ensemble SWEEP, a folder with runs in it, or RUN RUN ...")
    return runs, overrides, place


def _told(library: Library, weights: Counter[int], folder: Path) -> Iterator[str]:
    """What was left out, the members, and what their average gains over the best run and over that of all."""
    yield from (f"left out     {cut(line, 300)}" for line in library.left[:_SHOWN])
    if (more := len(library.left) - _SHOWN) > 0:
        yield f"left out     {more} more"
    if library.data.val is library.data.train:
        yield "note         there is no validation part: the rows of the train part chose the members"
    if len(weights) == 1:
        yield "note         no average of them validates better than the best run alone"
    summary = reading.read(folder).summary
    yield from _members(summary["members"], library.metric)
    everyone = Counter(range(len(library.candidates)))
    best = selection.best(library.answers("val"), library.score, 1)
    alone, together = (_judged(library, chosen) for chosen in (best, everyone))
    made = f"the ensemble, {len(weights)} of them"
    yield ""
    yield from _table({"the best run": alone, f"all {len(everyone)}": together, made: summary}, library.metric)
    yield from _gain(library.metric, alone, summary)
    yield f"run folder   {folder}"
    yield "what else    dltrain eval last, dltrain predict last FILE, dltrain report last, dltrain export last"


def _judged(library: Library, weights: Counter[int]) -> dict[str, dict[str, float]]:
    return {split: library.metrics(library.average(weights, split), split) for split in SPLITS}


def _members(members: Sequence[Values], metric: str) -> list[str]:
    head = ["run", "weight", *(f"{split} {metric}" for split in SPLITS), "overrides"]
    rows = [
        [
            *(cut(each["run"]), str(each["weight"])),
            *(metrics.text(metric, each[split][metric]) for split in SPLITS),
            cut(" ".join(each["overrides"]), 80),
        ]
        for each in members
    ]
    return tables.table([head, *rows], right=(1, 2, 3), cut=True)


def _table(rows: Mapping[str, Mapping[str, Mapping[str, float]]], metric: str) -> list[str]:
    names = list(dict.fromkeys((metric, "loss")))
    head = ["", *(f"{split} {name}" for split in SPLITS for name in names)]
    cells = [
        [title, *(metrics.text(name, found[split].get(name)) for split in SPLITS for name in names)]
        for title, found in rows.items()
    ]
    return tables.turned([head, *cells])


def _gain(
    metric: str, alone: Mapping[str, Mapping[str, float]], made: Mapping[str, Mapping[str, float]]
) -> Iterator[str]:
    """What it gains over the best run."""
    sign = 1 if metrics.larger_is_better(metric) else -1
    unit = " points" if metrics.in_percent(metric) else ""
    gains = (sign * (made[split][metric] - alone[split][metric]) + 0.0 for split in SPLITS)  # no -0
    val, test = (metrics.difference(metric, gain) for gain in gains)
    yield f"gained       {test}{unit} of {metric} on test over the best run; {val}{unit} on val, which chose"
