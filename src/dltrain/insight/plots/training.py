"""What happened while a net trained: learning curves, and the schedule of learning rate and momentum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, figure, styled
from dltrain.parts.metrics import SHARES


@styled
def curves(
    rows: Sequence[Mapping[str, Any]],
    *,
    metric: str,
    best_step: int | None = None,
    same: bool = False,
    standard: bool = False,
) -> Figure:
    """Loss of train and validation part, and a validation metric, over the epochs.

    rows: the reports of a run, each with step, epoch, train/loss and, where it was validated, val/loss and
    val/<metric>; None stands for a value that was not finite. `best_step` marks the report whose weights were kept.
    `same`: both parts are the same rows, and one curve is enough; `standard`: the loss is of standardised targets.
    """
    panels = ["loss", *[metric] * (metric != "loss" and any(_number(r.get(f"val/{metric}")) for r in rows))]
    fig, axes = figure(len(panels), 1, height=2.7 * len(panels))
    best = next((r for r in rows if r.get("step") == best_step), None) if best_step is not None else None
    for ax, name in zip(axes.flat if len(panels) > 1 else [axes], panels, strict=True):
        shown = []
        for part, colour in (("val", BLUE),) if same else (("train", BLUE), ("val", ORANGE)):
            points = [(r["epoch"], r[f"{part}/{name}"]) for r in rows if _number(r.get(f"{part}/{name}"))]
            if points:
                label = {"train": "train (mean over the epoch)", "val": "all rows" if same else "validation"}[part]
                ax.plot(*zip(*points, strict=True), color=colour, label=label, marker="." if len(points) < 3 else "")
                shown += [value for _, value in points]
        _scale(ax, name, shown)
        ax.set_ylabel("loss (standard units)" if standard and name == "loss" else name.replace("_", " "))
        if best is not None:
            _mark(ax, best, name)
        if shown:
            ax.legend(loc="best")
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=rows[-1]["epoch"] >= 3))
        if len(rows) == 1:
            ax.set_xlim(0, 2 * rows[0]["epoch"])
    ax.set_xlabel("epoch")
    return fig


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _scale(ax: Any, name: str, values: Sequence[float]) -> None:
    """Shares in per cent; losses that fall far on a logarithmic axis, where equal factors are equal heights."""
    if name in SHARES:
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        if values and max(values) <= 1:
            ax.set_ylim(top=min(ax.get_ylim()[1], 1.01))
    elif values and min(values) > 0 and max(values) > 30 * min(values):
        ax.set_yscale("log")


def _mark(ax: Any, best: Mapping[str, Any], name: str) -> None:
    value = best.get(f"val/{name}")
    ax.axvline(best["epoch"], color=GREY, linestyle=(0, (4, 3)), linewidth=1)
    if _number(value):
        text = f"{value:.1%}" if name in SHARES else f"{value:.4g}"
        ax.plot([best["epoch"]], [value], "o", color=INK, markersize=6, zorder=5, label=f"best epoch: {text}")


@styled
def schedule(
    steps: Sequence[float],
    rates: Sequence[float],
    momenta: Sequence[float] | None = None,
    *,
    momentum: str = "momentum",
) -> Figure:
    """The learning rate at each step and, where it moves, the momentum; `momentum` is what the optimizer calls it."""
    moving = momenta is not None and max(momenta) > min(momenta)
    fig, axes = figure(1 + moving, 1, height=2.4 + 1.6 * moving)
    axes = list(axes.flat) if moving else [axes]
    axes[0].plot(steps, rates, color=BLUE)
    axes[0].set_ylabel("learning rate")
    axes[0].set_ylim(bottom=0)
    if moving:
        axes[1].plot(steps, momenta, color=ORANGE)
        axes[1].set_ylabel(momentum)
    axes[-1].set_xlabel("step")
    return fig
