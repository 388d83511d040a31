"""Schedules beside each other: rate, momentum and loss over the steps, and where they end by the rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.ticker import LogLocator, NullFormatter, NullLocator, StrMethodFormatter

from dltrain.insight.plots import COLOURS, INK, figure, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Told(NamedTuple):
    """The rate and the momentum at steps, and the mean train loss up to other steps."""

    steps: Sequence[float]
    rates: Sequence[float]
    momenta: Sequence[float]
    reported: Sequence[float]
    losses: Sequence[float]


@styled
def over_steps(schedules: Mapping[str, Told]) -> Figure:
    """Three panels of one axis, a line for each; the first is in front."""
    fig, axes = figure(3, 1, height=6.9)
    for (name, told), colour in zip(schedules.items(), COLOURS, strict=False):
        front = 3 if colour == COLOURS[0] else 2
        axes[0].plot(told.steps, told.rates, color=colour, label=name, zorder=front)
        axes[1].plot(told.steps, told.momenta, color=colour, zorder=front)
        axes[2].plot(told.reported, told.losses, color=colour, marker=".", zorder=front)
    axes[0].set(title="learning rate ε", ylim=(0, None))
    axes[1].set(title="momentum", ylim=(0.8, 1))
    axes[2].set(title="loss on the train part", yscale="log", xlabel="step")
    axes[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[2].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes[2].yaxis.set_minor_formatter(NullFormatter())
    for ax in axes[1:]:
        ax.sharex(axes[0])
    fig.legend(loc="outside upper center", ncols=len(schedules))
    return fig


@styled
def over_rates(losses: Mapping[str, Mapping[float, Sequence[float]]]) -> Figure:
    """Validation losses of each schedule over the rate, a small dot a seed; the lowest mean of each is ringed."""
    fig, (ax,) = figure(height=4)
    for (name, told), colour, aside in zip(losses.items(), COLOURS, (0.96, 1.04, 0.92, 1.08), strict=False):
        means = {rate: fmean(told[rate]) for rate in sorted(told)}
        ax.plot([*means], [*means.values()], "o-", color=colour, label=name)
        dots = [(rate * aside, loss) for rate, of_seeds in told.items() for loss in of_seeds]
        ax.plot(*zip(*dots, strict=True), "o", color=colour, alpha=0.35, markersize=5, markeredgewidth=0)
        best = min(means, key=means.__getitem__)
        ax.plot([best], [means[best]], "o", color=colour, markeredgecolor=INK, markersize=11, markeredgewidth=1.6)
    ax.set(xscale="log", yscale="log", xlabel="learning rate (of the cycle: its peak)", ylabel="validation loss")
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    rates = sorted({rate for told in losses.values() for rate in told})
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.legend(loc="upper left")
    return fig
