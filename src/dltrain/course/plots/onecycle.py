"""Schedules beside each other: rate, momentum and loss over the steps, and where they end by the rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

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
    """Three panels of one axis, a line for each schedule."""
    fig, axes = figure(3, 1, height=6.6)
    for (name, told), colour in zip(schedules.items(), COLOURS, strict=False):
        axes[0].plot(told.steps, told.rates, color=colour, label=name)
        axes[1].plot(told.steps, told.momenta, color=colour)
        axes[2].plot(told.reported, told.losses, color=colour, marker=".")
    axes[0].set(title="learning rate ε", ylim=(0, None))
    axes[1].set(title="momentum β₁", ylim=(0.8, 1))
    axes[2].set(title="loss on the train part", yscale="log", xlabel="step")
    axes[2].yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes[2].yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes[2].yaxis.set_minor_formatter(NullFormatter())
    for ax in axes[1:]:
        ax.sharex(axes[0])
    axes[0].legend(loc="lower left", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


@styled
def over_rates(losses: Mapping[str, Mapping[float, Sequence[float]]]) -> Figure:
    """The test losses of each schedule's seeds over the rate, and their means; the lowest of each is ringed."""
    fig, (ax,) = figure(height=3.6)
    for (name, told), colour in zip(losses.items(), COLOURS, strict=False):
        rates, means = sorted(told), {rate: fmean(of_seeds) for rate, of_seeds in told.items()}
        for rate in rates:
            ax.plot([rate] * len(told[rate]), told[rate], "o", color=colour, alpha=0.4, markersize=4)
        ax.plot(rates, [means[rate] for rate in rates], "o-", color=colour, label=name)
        best = min(rates, key=means.__getitem__)
        ax.plot([best], [means[best]], "o", color=colour, markeredgecolor=INK, markersize=11, markeredgewidth=1.6)
    ax.set(xscale="log", ylim=(0, None), xlabel="learning rate (of the cycle: its peak)", ylabel="test loss")
    rates = sorted({rate for told in losses.values() for rate in told})
    ax.set_xticks(rates, [f"{rate:g}" for rate in rates])
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.legend()
    return fig
