"""`dltrain compare`: runs, or groups of runs that differ in seed or fold: who is better, by how much, in which numbers
and settings they differ, and their curves.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TypedDict

from dltrain.config import command_line
from dltrain.errors import ConfigError, DltrainError, tables
from dltrain.insight import entries, history, listing
from dltrain.insight.differences import Difference, Tested, difference, interval, sentence, with_p_values
from dltrain.insight.entries import Entry
from dltrain.parts import metrics
from dltrain.runs import reading, seeds, sweep_table
from dltrain.runs.foreign import Values
from dltrain.runs.reading import Report, Run

DRAWN = 10  # more curves than that can't be told apart
_FEW = 6  # names in a sentence
_ROWS = 100  # entries that are told one by one
_ON_ROWS = 6  # single runs whose answers to the test rows are compared: each net is built and asked again
_TRAINING_ONLY = ("loss.label_smoothing", "loss.class_weights", "loss.pos_weight")  # a val loss is the plain one


def metric_of(compared: Sequence[Entry]) -> str:
    """What decides: the test value of the metric that chose the best epochs, or the validation's where some lack it."""
    monitor = next((run.monitor for run in _runs(compared) if run.monitor), "val/loss")
    name = monitor.rpartition("/")[2]
    rated = [entry for entry in compared if entry.values(f"best/{name}")]
    return f"test/{name}" if all(entry.values(f"test/{name}") for entry in rated) else f"best/{name}"


def one_loss(compared: Sequence[Entry]) -> bool:
    """Whether the losses of all of them are one function, so that their values compare."""
    found = [entry.runs[0].config for entry in compared]
    names = {k for one in found for k in one if k == "loss" or k.startswith("loss.")} - {*_TRAINING_ONLY}
    same = all(len({str(one.get(name)) for one in found}) == 1 for name in names)
    return same and (not other_problems(compared) or len({_task(entry.runs[0]) for entry in compared}) == 1)


def _task(run: Run) -> str:
    """What decides which loss `auto` is."""
    return str(reading.node(reading.read_json(run.folder / "data.json")[0]).get("task"))


def other_problems(compared: Sequence[Entry]) -> list[str]:
    """The keys by which they are about different data or judged by different metrics."""
    problems = [reading.problem(run) for run in _runs(compared) if run.numbers]
    return [k for k in dict.fromkeys(k for p in problems for k in p) if len({p.get(k) for p in problems}) > 1]


def _runs(compared: Sequence[Entry]) -> list[Run]:
    return [run for entry in compared for run in entry.runs]


def _same_but_seed(compared: Sequence[Entry]) -> bool:
    differing = listing.differing([entry.runs[0] for entry in compared])
    return not any(entry.beside for entry in compared) and not set(differing).difference(seeds.keys(_runs(compared)))


# -- who is better -----------------------------------------------------------------------------------------------------


def against_first(compared: Sequence[Entry], metric: str, *, allow: Sequence[str] | None = None) -> list[Tested]:
    """Each entry but the first, with its difference to that: over seeds and folds, or, of single runs, over the test
    rows where they are the same. allow: packages that their nets may come from; None: no net is asked anew.
    """
    base, *others = compared
    if other_problems(compared):
        return [Tested(entry, None) for entry in others]
    found = [difference(entry, base, metric) for entry in others]
    alone = all(len(entry.runs) == 1 for entry in compared)
    if alone and allow is not None and len(compared) <= _ON_ROWS and metric.startswith("test/"):
        from dltrain.insight import same_rows

        judged = [entry.runs[0] for entry in others if base.values(metric) and entry.values(metric)]
        on_rows = iter(same_rows.against(base.runs[0], judged, metric, allow=allow))
        found = [next(on_rows) if entry.runs[0] in judged else None for entry in others]
    return with_p_values(others, found)


def verdict(compared: Sequence[Entry], metric: str, found: Sequence[Tested]) -> list[str]:
    """Who is better than whom in a sentence, and what it does not say."""
    if other := other_problems(compared):
        differ = f"{', '.join(other[:4])} differ{'s' * (len(other) == 1)}"
        return [f"{differ}: these are different problems, not better or worse"]
    runs, base = _runs(compared), compared[0]
    if _same_but_seed(compared):
        told = " and ".join(word.removesuffix("s") for word in seeds.words(runs).split(" and "))
        return [f"they differ in their {told} alone: what is seen here is the noise of one configuration"]
    if not base.values(metric):
        return [f"none of them has metrics: {entries.statuses(runs)}"]
    lines = [sentence(base, found, metric)] if any(t.difference for t in found) else []
    single = [entry.name for entry in compared if len(entry.values(metric)) == 1]
    alone = len(single) == sum(bool(entry.values(metric)) for entry in compared)
    on_rows = any(t.difference and t.difference.rows for t in found)
    if alone and on_rows:
        lines.append("that is of these runs on these rows: another seed may turn it; train with seeds=5")
    elif alone:
        best = f"{base.name} has {metric.replace('best/', 'val/')} {metrics.text(metric, base.values(metric)[0])}"
        lines.append(f"{best}; one run each can't tell which is better, as the seed alone makes a difference: seeds=5")
    elif single:
        few = f"{', '.join(single[:_FEW])}{f' and {len(single) - _FEW} more' * (len(single) > _FEW)}"
        lines.append(f"{few}: one run can't tell what is noise; train with seeds=5")
        if base.name in single and (several := next((e for e in compared if len(e.values(metric)) > 1), None)):
            lines.append(
                f"nothing is tested against one run: --to {several.runs[0].folder} holds all against {several.name}"
            )
    lacking = [f"{e.name} ({' '.join({r.status for r in e.runs})})" for e in compared if not e.values(metric)]
    if lacking:
        lines.append(f"without {metric.replace('best/', 'val/')}: {', '.join(lacking[:_ROWS])}")
    return lines


# -- the table ---------------------------------------------------------------------------------------------------------


def numbers(compared: Sequence[Entry], metric: str, found: Sequence[Tested]) -> list[str]:
    """The entries in their order: mean and deviation of the metric that decides, its interval, how far they are from
    the first, and the other metrics, as far as there is room.
    """
    name, shown = metric.partition("/")[2], compared[:_ROWS]
    others = dict.fromkeys([f"best/{name}", f"last/{name}", "test/loss", "best/loss", "train/loss"])
    beside = [m for m in others if m != metric and any(entry.values(m) for entry in compared)]
    if not one_loss(compared):
        beside = [m for m in beside if not m.endswith("/loss")]
    known = {t.entry.name: t for t in found}
    columns: dict[str, list[str]] = {"": [entry.name for entry in shown]}
    columns["runs"] = [str(len(entry.values(metric))) for entry in shown]
    columns[metric] = [sweep_table.mean_and_deviation(metric, entry.values(metric)) for entry in shown]
    columns["95 % interval"] = [told_interval(metric, interval(entry.values(metric))) for entry in shown]
    columns["difference"] = [told_difference(metric, known.get(entry.name)) for entry in shown]
    columns["p"] = [told_p(known.get(entry.name)) for entry in shown]
    columns |= {m: [sweep_table.mean_and_deviation(m, entry.values(m)) for entry in shown] for m in beside}
    columns["seconds"] = [_seconds(entry) for entry in shown]
    columns |= (settings := _settings(shown))
    columns["which"] = entries.told(shown)
    same = [title for title, cells in columns.items() if title not in ("", metric) and {*cells} <= {"-", ""}]
    same += ["runs"] * ({*columns["runs"]} == {"1"})
    kept = {title: cells for title, cells in columns.items() if title not in same}
    spare = ["which", *reversed(settings), "seconds", *reversed(beside), "95 % interval", "runs", "p"]
    return _fitted(kept, spare, len(compared) - len(shown))


def _fitted(columns: dict[str, list[str]], spare: Sequence[str], more: int) -> list[str]:
    kept = tables.fitted(columns, spare)
    left = [title for title in columns if title not in kept]
    lines = tables.table([[*kept], *zip(*kept.values(), strict=True)], cut=True)
    lines += [f"and {more:,} more, which --json has; dltrain runs FOLDER --sort KEY ranks them"] * (more > 0)
    others = f" and {len(left) - 4} more" * (len(left) > 4)
    return lines + [f"not shown: {', '.join(left[:4])}{others}; --json has all"] * bool(left)


def _settings(compared: Sequence[Entry]) -> dict[str, list[str]]:
    """What differs beside that by which they are named."""
    firsts = [entry.runs[0] for entry in compared]
    typed = listing.choices(firsts)
    keys = [k for k in listing.differing(firsts, typed=typed) if k not in (*seeds.keys(_runs(compared)), "name")]
    cells = {key: [listing.cell(key, listing.shown(run, key, typed)) for run in firsts] for key in keys}
    words = [{word.rpartition("=")[2] for word in entry.name.split()} for entry in compared]
    return {
        key: own
        for key, own in cells.items()
        if not all(cell in (*known, "-") for cell, known in zip(own, words, strict=True))
    }


def told_interval(metric: str, bounds: tuple[float, float] | None) -> str:
    """An interval as a cell of a table; a dash for none."""
    if bounds and metrics.in_percent(metric):
        bounds = max(0.0, bounds[0]), min(1.0, bounds[1])  # Student's t knows no limits
    return "-" if bounds is None else " to ".join(metrics.text(metric, b) for b in bounds)


def told_difference(metric: str, found: Tested | None) -> str:
    """The difference to the first entry as a cell of a table, of shares in points."""
    if found is None or found.difference is None:
        return "-"
    mean = found.difference.mean
    return f"{'-' if mean < 0 else '+'}{metrics.difference(metric, abs(mean))}"


def told_p(found: Tested | None) -> str:
    """p as a cell of a table."""
    if found is None or found.p is None:
        return "-"
    return "< 0.001" if found.p < 0.001 else f"{found.p:.2g}"


def _seconds(entry: Entry) -> str:
    took = [run.seconds for run in entry.runs if run.seconds is not None]
    return f"{statistics.fmean(took):.1f}" if took else "-"


def footnote(compared: Sequence[Entry], metric: str, found: Sequence[Tested]) -> list[str]:
    """How the differences were tested."""
    known = [t.difference for t in found if t.difference]
    if not known:
        return []
    points = ", in points" * metrics.in_percent(metric)
    over = ", ".join([seeds.words(_runs(compared)), *compared[0].beside])
    of_rows = f"of the answers to {known[0].rows:,} test rows: {'McNemar' if points else 'paired bootstrap'}"
    kinds = {of_rows if d.rows else f"paired t-test over {over}" if d.paired else "Welch's t-test" for d in known}
    holm = f"; p by Holm's method over {len(known)} comparisons" * (len(known) > 1)
    return [f"difference to {compared[0].name}{points}; {' or '.join(sorted(kinds))}{holm}"]


def with_notes(
    compared: Sequence[Entry], metric: str, *, allow: Sequence[str] | None
) -> tuple[list[Tested], list[str]]:
    """`against_first`, without those of single rows where a net can't answer again, and what a reader must know."""
    notes: list[str] = []
    try:
        found = against_first(compared, metric, allow=allow)
    except DltrainError as error:
        notes.append(f"the answers to the test rows are left out: {error}")
        found = against_first(compared, metric)
    if not one_loss(compared):
        notes.append("the losses are different functions: one of them being smaller says nothing")
    return found, notes


def told(compared: Sequence[Entry], metric: str, *, allow: Sequence[str] | None = None) -> list[str]:
    """All of it in words: who is better, the numbers, and how that was tested."""
    found, notes = with_notes(compared, metric, allow=allow)
    table = [*numbers(compared, metric, found), *footnote(compared, metric, found)]
    return [
        "\n".join(verdict(compared, metric, found)),
        "\n".join(table),
        *(f"note     {note}" for note in notes),
    ]


# -- picture and data --------------------------------------------------------------------------------------------------


def draw(compared: Sequence[Entry], metric: str, output: Path, *, over: str = "epochs") -> str:
    """Draws the curves; returns a line that says where."""
    if output.suffix.lower() != ".png" or output.is_dir() or not output.parent.is_dir():
        raise ConfigError(f"-o {output}: name a PNG file in a folder that exists, such as compare.png")
    from dltrain.insight import plots
    from dltrain.insight.plots.comparison import curves

    groups = [
        (_titled(entry), [history.over(run, reports) for run, reports in logs]) for entry, logs in logged(compared)
    ]
    if not groups:
        return "no curves: none of them has reported"
    drawn = curves(groups, metric=metric.partition("/")[2], losses=one_loss(compared), over=over)
    with command_line.writing(output, "; name another with -o FILE"):
        plots.save(drawn, output)
    return f"curves   {output}{f' (of the first {DRAWN})' if len(compared) > DRAWN else ''}"


def logged(compared: Sequence[Entry]) -> list[tuple[Entry, list[tuple[Run, list[Report]]]]]:
    """The first entries that have reported, as many as are drawn, each with its runs that have; the logs of the others
    are not read.
    """
    logs = ((entry, [(r, reports) for r in entry.runs if (reports := history.logged(r))]) for entry in compared)
    return [*islice((pair for pair in logs if pair[1]), DRAWN)]


def _titled(entry: Entry) -> str:
    return f"{entry.name} ({len(entry.runs)} {seeds.words(entry.runs)})" if len(entry.runs) > 1 else entry.name


def _statistics(values: Sequence[float]) -> dict[str, object]:
    mean, deviation = seeds.spread(values)
    return {"n": len(values), "mean": mean, "std": deviation, "interval": interval(values)}


class Compared(TypedDict):
    """The whole of it for programs, as --json writes it."""

    metric: str
    entries: list[Values]
    differences: list[Values]
    verdict: list[str]
    notes: list[str]


def as_data(compared: Sequence[Entry], metric: str, *, allow: Sequence[str] | None = None) -> Compared:
    """All of it as plain data, by the same tests as `told`."""
    known, notes = with_notes(compared, metric, allow=allow)
    base = compared[0]
    keys = listing.differing([entry.runs[0] for entry in compared])
    rows: list[Values] = []
    for entry in compared:
        names = dict.fromkeys(name for run in entry.runs for name in run.numbers)
        found = {name: _statistics(entry.values(name)) for name in names}
        config = {key: listing.value(entry.runs[0], key) for key in keys if key not in seeds.keys(_runs(compared))}
        rows.append(
            {"name": entry.name, "runs": [str(r.folder) for r in entry.runs], "config": config, "metrics": found}
        )
    unlike: list[Values] = [
        {"of": t.entry.name, "to": base.name, **(_flat(t.difference, t.p) if t.difference else {"p": None})}
        for t in known
    ]
    said = verdict(compared, metric, known)
    return {"metric": metric, "entries": rows, "differences": unlike, "verdict": said, "notes": notes}


def _flat(found: Difference, p: float | None) -> Values:
    own = vars(found)
    return {**(own if found.rows else {k: v for k, v in own.items() if k != "rows"}), "p_holm": p}
