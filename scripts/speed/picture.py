"""The picture for docs/steps.md: time per step of all contenders, one panel a workload."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import numpy as np

from dltrain.insight import plots
from speed import startup
from speed.conduct import Result
from speed.workloads import Workload

_COLOURS = {"dltrain": plots.ORANGE, "hand-written": plots.GREY, "peer": plots.SKY, "floor": plots.PALE}
_NAMES = {"peer": "other frameworks", "hand-written": "loops written by hand", "floor": "floor of the machine"}
_TITLE = 29  # letters of a line that have room above a panel
_COLUMNS = 2  # so that the words stay readable at the width of a page


def draw(path: Path, workloads: list[tuple[Workload, list[Result]]]) -> Path:
    """Horizontal bars, fastest first; returns the path."""
    drawn = [(w, _of_interest(results)) for w, results in workloads if w.name != "L1"]  # two bars: the table says it
    return plots.save(_figure(drawn or workloads), path)


def _of_interest(results: list[Result]) -> list[Result]:
    """Of a framework's two forms the quiet one."""
    names = {r.name for r in results if r.median}
    return sorted((r for r in results if r.median and f"{r.name}, quiet" not in names), key=lambda r: -r.median)


@plots.styled
def _figure(workloads: list[tuple[Workload, list[Result]]]) -> Any:
    columns = min(_COLUMNS, len(workloads))
    rows = -(-len(workloads) // columns)
    counts = [len(results) for _, results in workloads]
    most = [max(counts[first : first + columns]) for first in range(0, len(counts), columns)]  # of each row
    figure, panels = plots.figure(rows, columns, width=6.2 * columns, height=0.27 * sum(most) + 1.4 * rows + 0.4)
    panels = np.ravel(panels)
    panels[0].get_gridspec().set_height_ratios([0.27 * count + 0.3 for count in most])
    for number, (axes, (workload, results)) in enumerate(zip(panels, workloads, strict=False)):
        _panel(axes, workload, results)
        bottom = len(results) - most[number // columns]
        axes.set_ylim(bottom - 0.6, len(results) - 0.4)  # bars of one thickness everywhere
    for axes in panels[len(workloads) :]:
        axes.set_axis_off()
    kinds = {r.kind for _, results in workloads for r in results}
    legend = [_patch(_NAMES.get(kind, kind), colour) for kind, colour in _COLOURS.items() if kind in kinds]
    figure.legend(handles=legend, loc="outside lower center", ncols=min(len(legend), 2 * columns))
    return figure


def _patch(label: str, colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label=label)


def _panel(axes: Any, workload: Workload, results: list[Result]) -> None:
    process = workload is startup.WORKLOAD
    times = [r.median / (1e6 if process else 1) for r in results]
    bars = axes.barh([r.name for r in results], times, color=[_COLOURS[r.kind] for r in results], height=0.74)
    shown = [f"{t:.2f}" if process else f"{t:,.0f}" if t >= 10 else f"{t:.1f}" for t in times]
    axes.bar_label(bars, shown, padding=3, fontsize=9)
    axes.set_xlim(0, 1.2 * max(times))
    axes.set_title(textwrap.fill(f"{workload.name}: {workload.title}", _TITLE))
    axes.set_xlabel("seconds" if process else "microseconds" if workload.name == "E60000" else "microseconds per step")
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.grid(False, axis="y")
    for label, result in zip(axes.get_yticklabels(), results, strict=True):
        label.set_fontweight("bold" if result.kind == "dltrain" else "normal")
