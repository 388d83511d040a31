"""The picture for the README: time per step of all contenders, one panel a workload."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from dltrain import plots
from speed.conduct import Result
from speed.workloads import Workload

_COLOURS = {"dltrain": plots.ORANGE, "hand-written": plots.GREY, "peer": plots.SKY, "floor": plots.PALE}


def draw(path: Path, workloads: list[tuple[Workload, list[Result]]]) -> Path:
    """Horizontal bars on a logarithmic axis, fastest first; returns the path."""
    return plots.save(_figure(workloads), path)


@plots.styled
def _figure(workloads: list[tuple[Workload, list[Result]]]) -> Any:
    most = max(sum(1 for r in results if r.median) for _, results in workloads)
    figure, panels = plots.figure(1, len(workloads), width=5.4 * len(workloads), height=0.3 * most + 1.6)
    for axes, (workload, results) in zip(np.ravel(panels), workloads, strict=True):
        _panel(axes, workload, sorted((r for r in results if r.median), key=lambda r: -r.median))
    kinds = {r.kind for _, results in workloads for r in results if r.median}
    legend = [_patch(kind, colour) for kind, colour in _COLOURS.items() if kind in kinds]
    figure.legend(handles=legend, loc="outside lower center", ncols=len(legend))
    return figure


def _patch(kind: str, colour: str) -> Any:
    from matplotlib.patches import Patch

    return Patch(color=colour, label={"peer": "other frameworks", "hand-written": "loops by hand"}.get(kind, kind))


def _panel(axes: Any, workload: Workload, results: list[Result]) -> None:
    times = [r.median for r in results]
    bars = axes.barh([r.name for r in results], times, color=[_COLOURS[r.kind] for r in results], height=0.74)
    axes.bar_label(bars, [f"{t:,.0f}" if t >= 10 else f"{t:.1f}" for t in times], padding=3, fontsize=9)
    axes.set_xscale("log")
    axes.set_xlim(min(times, default=1) / 2, 3 * max(times, default=1))
    axes.set_title(f"{workload.name}: {workload.title}")
    axes.set_xlabel("microseconds per step (logarithmic)")
    axes.tick_params(axis="y", labelsize=9, length=0)
    axes.grid(False, axis="y")
    for label, result in zip(axes.get_yticklabels(), results, strict=True):
        label.set_fontweight("bold" if result.kind == "dltrain" else "normal")
