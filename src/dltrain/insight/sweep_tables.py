"""The runs of a sweep as tables of a page: configurations, best first, their single runs folded below."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dltrain.errors.output import cut
from dltrain.insight import page, trials
from dltrain.parts import metrics
from dltrain.runs import seeds, sweep_table
from dltrain.runs.key_roles import FOLD
from dltrain.runs.reading import Run

_ROWS = 1_000  # runs in a table: a page that is read has no more


def ranking(groups: Sequence[Sequence[Run]], folder: Path) -> str:
    """A section with all runs, or with the configurations that several of them share, as `seeds.ranked` has them."""
    found, rows = [run for group in groups for run in group], 0
    shown: list[Sequence[Run]] = []
    for group in groups:
        rows += len(group)
        if shown and rows > _ROWS:
            break
        shown.append(group)
    left = len(found) - sum(map(len, shown))
    more = f"... and {left:,} more: dltrain runs {folder} --csv has all." if left else ""
    if max(map(len, groups), default=0) < 2:
        return page.section(
            "All runs, best first", runs([run for group in shown for run in group]), page.paragraph(more)
        )
    told = f"Mean and deviation over the {seeds.words(found)}."
    return page.section("Configurations, best first", _configurations(shown, found, told), page.paragraph(more))


def runs(ranked: Sequence[Run], *, whole: bool = True) -> str:
    """One row a run: the best validation and the test metrics, what was varied, how it ended. `whole`: it is a table of
    its own, whose columns can be drawn over each other.
    """
    varied, shown = [*trials.keys(ranked), *[FOLD] * (FOLD in seeds.keys(ranked))], _shown(ranked)
    titles = ["run", *varied, *(title for title, _ in shown), "status", "seconds"]
    rows = [
        [
            run.folder.name,
            *(str(trials.value(run, key)) for key in varied),
            *(metrics.text(key, run.numbers.get(key)) for _, key in shown),
            run.status.replace("_", " "),
            "" if run.seconds is None else f"{run.seconds:.1f}",
        ]
        for run in ranked
    ]
    return page.table(titles, rows, text=[*range(1 + len(varied)), len(titles) - 2], explored=varied if whole else ())


def _configurations(groups: Sequence[Sequence[Run]], found: Sequence[Run], caption: str) -> str:
    """One row for the runs that differ in seed or fold alone, which are folded below it."""
    shown = _shown(found)
    plain = [key for key in trials.keys(found) if key != trials.SEED]
    titles = ["place", *plain, *(title for title, _ in shown), "runs", "jobs"]
    rows = [
        [
            str(place),
            *(str(trials.value(group[0], key)) for key in plain),
            *(sweep_table.mean_and_deviation(key, seeds.values(group, key)) for _, key in shown),
            str(len(group)),
            cut(trials.job_numbers(group), 24),
        ]
        for place, group in enumerate(groups, start=1)
    ]
    text = [*range(1 + len(plain)), len(titles) - 1]
    below = [("", "") if _is_told(group) else (_its(group), runs(group, whole=False)) for group in groups]
    return page.table(titles, rows, text=text, caption=caption, below=below, explored=plain)


def _its(group: Sequence[Run]) -> str:
    return f"its {len(group)} runs" if len(group) > 1 else "its run"


def _is_told(group: Sequence[Run]) -> bool:
    """Whether the row of a configuration says all of its one run."""
    return len(group) == 1 and group[0].status == "done"


def _shown(found: Sequence[Run]) -> list[tuple[str, str]]:
    """The titles of the metrics' columns and what stands below: of each metric the validation's and the test's."""
    names = sweep_table.shown_metrics(found, *metrics.MAIN) or ["loss"]
    return [column for name in names for column in sweep_table.columns([name])]
