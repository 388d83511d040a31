"""The loss around the weights that a run ended with, along two directions (Li et al. 2018, arXiv:1712.09913)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from dltrain.insight.plots import INK, ORANGE, figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.contour import ContourSet
    from matplotlib.figure import Figure


def random_directions(model: nn.Module, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Two random directions [P], filter-normalised: every row of a weight is as long as the net's own row.

    So a step of 1 means the same for every net and layer, whatever the scale of its weights. Biases and the
    parameters of norms stay where they are, as in the paper.
    """
    generator = torch.Generator().manual_seed(seed)

    def direction() -> Tensor:
        parts = []
        for parameter in model.parameters():
            weight = parameter.detach().float().cpu()
            part = torch.zeros_like(weight)
            if weight.dim() > 1:
                noise = torch.randn(weight.shape, generator=generator).flatten(1)
                lengths = weight.flatten(1).norm(dim=1, keepdim=True) / noise.norm(dim=1, keepdim=True)
                part = (noise * lengths).view_as(weight)
            parts.append(part.flatten())
        return torch.cat(parts)

    return direction(), direction()


def main_directions(way: Tensor) -> tuple[Tensor, Tensor, float] | None:
    """The two orthonormal directions [P] in which a way of weights [n, P] extends most, seen from its end.

    Also the share of its extent (sum of squares) that they hold. None for a way that does not leave a line.
    """
    steps = (way - way[-1]).double()
    values, vectors = torch.linalg.eigh(steps @ steps.T)  # n x n: P may be half a million
    total = float(values.sum())
    if len(way) < 3 or not torch.isfinite(values).all() or values[-2] <= 1e-9 * max(total, 1e-300):
        return None
    first, second = (steps.T @ vectors[:, -i] / values[-i].sqrt() for i in (1, 2))
    return first.float(), second.float(), float(values[-2:].sum()) / total


def surface(
    model: nn.Module,
    loss: Callable[[], float],
    directions: tuple[Tensor, Tensor],
    across: np.ndarray,
    up: np.ndarray,
) -> np.ndarray:
    """Loss [len(up), len(across)] where the weights are moved by across * first + up * second direction.

    `loss()` judges the model as it stands; its weights are put back at the end.
    """
    parameters = list(model.parameters())
    with torch.no_grad():
        end = parameters_to_vector(parameters).clone()
        first, second = (d.to(end.device, end.dtype) for d in directions)
        values = np.empty((len(up), len(across)))
        try:
            for i, b in enumerate(up):
                for j, a in enumerate(across):
                    vector_to_parameters(end + a * first + b * second, parameters)
                    values[i, j] = loss()
        finally:
            vector_to_parameters(end, parameters)
    return values


@styled
def landscape(
    values: np.ndarray,
    across: np.ndarray,
    up: np.ndarray,
    *,
    way: np.ndarray | None = None,
    labels: tuple[str, str] = ("first direction", "second direction"),
    star: str = "end",
) -> Figure:
    """A map of the loss with `star` at (0, 0) and, if given, the way [n, 2] that training took to it."""
    fig, (ax,) = figure(height=4.4)
    finite = values[np.isfinite(values)]
    low, high = float(max(finite.min(), 1e-8)), float(finite.max())
    high = min(high, low * 1e5)  # beyond it all is far away
    shown = np.clip(np.nan_to_num(values, nan=high, posinf=high), low, high)
    levels = np.geomspace(low, max(high, low * 1.05), 22)
    ax.grid(False)
    drawn = ax.contourf(
        across, up, shown, levels=levels, norm=LogNorm(levels[0], levels[-1]), cmap="YlGnBu_r", extend="both"
    )
    ax.contour(across, up, shown, levels=levels[1::2], colors="white", linewidths=0.6, alpha=0.7)
    if way is not None:
        ax.plot(way[:, 0], way[:, 1], ".-", color=ORANGE, linewidth=1.6, markersize=6, label="the way of training")
        ax.plot(way[0, 0], way[0, 1], "o", color="white", markeredgecolor=INK, markersize=8, label="start")
    ax.plot(0, 0, "*", color=ORANGE, markeredgecolor=INK, markersize=15, label=star)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
    _bar(fig, drawn, ax, levels)
    return fig


def _bar(fig: Figure, drawn: ContourSet, ax: Axes, levels: np.ndarray) -> None:
    """A colour bar with a few round numbers, whatever the range."""
    ticks = [t for t in LogLocator(subs=(1, 2, 5)).tick_values(levels[0], levels[-1]) if levels[0] <= t <= levels[-1]]
    ticks = ticks[:: max(1, len(ticks) // 6)] if len(ticks) > 1 else [levels[0], levels[-1]]
    bar = fig.colorbar(drawn, ax=ax, label="loss on the train part")
    bar.set_ticks(ticks, labels=[f"{t:.3g}" for t in ticks])
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
