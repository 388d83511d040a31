"""What a net answers everywhere on a line or a plane: decision regions, or the function that it learned.

Also as a moving picture: the same scene with the weights of several moments of the training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from matplotlib.colors import Normalize, to_rgb
from matplotlib.lines import Line2D
from matplotlib.typing import LineStyleType
from torch import Tensor, nn

from dltrain.engine import evaluation
from dltrain.insight.plots import BLUE, INK, ORANGE, apart, colours, figure, gif, plain, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dltrain.data.units import Units

    Also = Callable[[Axes], object]

_FINE = 180  # answers along each side of the plane
_MOST = 600  # points of the data shown
_SHADES = 5  # of each colour: sure answers are dark

_RATIO = 1.3  # of a plane's width to its height, where both axes have one scale

Extent = tuple[float, float, float, float]  # of a picture: left, right, bottom, top


@dataclass(frozen=True)
class Scene:
    """The data in whose midst the answers are drawn, one or two inputs for each sample.

    x: float32 [N, 1 or 2] as the net sees it; y: int64 [N], or float32 [N, K] for labels and regression. `names` and
    `units` (mean, std) of each axis, and `learned` of a regression, whose target is called `answer`, give original
    units. `sure`: the outputs are logits, so that a sigmoid or softmax makes probabilities of them. `equal`: both axes
    have one scale, so that right angles are such.
    """

    x: Tensor
    y: Tensor
    task: str
    names: tuple[str, ...]
    units: tuple[tuple[float, float], ...]
    classes: tuple[str, ...] = ()
    answer: str = "y"
    learned: Units | None = None
    sure: bool = True
    equal: bool = False

    def original(self, values: np.ndarray, axis: int) -> np.ndarray:
        """Values along one axis as they stood in the data."""
        mean, std = self.units[axis]
        return values * std + mean

    def truth(self, y: np.ndarray) -> np.ndarray:
        """The targets of a regression [N, 1] in their own units, [N]."""
        return evaluation.original(torch.from_numpy(y), self.learned)[:, 0].numpy()

    def said(self, outputs: np.ndarray) -> np.ndarray:
        """What outputs [N, 1] say of them, [N]."""
        return evaluation.answers(torch.from_numpy(outputs), self.learned)[:, 0].numpy()

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """At most `_MOST` samples, evenly taken: x and y, float64 where it will be unscaled."""
        every = max(1, -(-len(self.x) // _MOST))
        y = self.y[::every].numpy()
        return self.x[::every].numpy(), y.astype(np.float64) if self.task == "regression" else y


def _answers(model: nn.Module, x: np.ndarray) -> np.ndarray:
    """Outputs float64 [N, K] of a model in eval mode."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = torch.from_numpy(x.astype(np.float32)).to(device).split(8192)
        return torch.cat([model(part).float() for part in parts]).cpu().double().numpy()


@styled
def regions(model: nn.Module, scene: Scene, *, title: str | None = None, also: Also | None = None) -> Figure:
    """The answers of a model in eval mode over the scene. In a classification crosses are samples it has wrong.

    also: draws more on the last axes.
    """
    return _draw(model, scene, title=title, also=also)


def areas(ax: Axes, model: nn.Module, scene: Scene) -> None:
    """The answers of a classifier of two inputs, in axes of a larger figure."""
    _areas([ax], model, scene)


def border(ax: Axes, model: nn.Module, scene: Scene, *, color: str, linestyle: LineStyleType) -> None:
    """Where the answer of a classifier of two inputs changes, in axes of a larger figure."""
    first, second, inputs, _ = _plane(scene)
    for margin in _margins(_answers(model, inputs)):
        if margin.min() < 0 < margin.max():
            ax.contour(first, second, margin.reshape(_FINE, _FINE), levels=[0], colors=color, linestyles=[linestyle])


def _draw(model: nn.Module, scene: Scene, *, title: str | None, also: Also | None = None) -> Figure:
    labels = scene.y.shape[1] if scene.task == "multilabel" else 1
    fig, axes = figure(labels, 1, height=4.4 if labels == 1 else 3.3 * labels)
    if scene.x.shape[1] == 1:
        _line(axes[0], model, scene)
    elif scene.task == "regression":
        _heights(fig, axes[0], model, scene)
    else:
        _areas(axes, model, scene)
    if also is not None:
        also(axes[-1])
    if title:
        fig.suptitle(title, fontsize=11.5, fontweight="bold", x=0.02, ha="left")
    return fig


# -- one input -------------------------------------------------------------------------------------------------


def _line(ax: Axes, model: nn.Module, scene: Scene) -> None:
    """A regression of one input: the learned function through the data."""
    x, y = scene.points()
    low, high = x.min(), x.max()
    edge = 0.1 * (high - low) or 1.0
    along = np.linspace(low - edge, high + edge, 400)[:, None]
    seen, answers = scene.truth(y), scene.said(_answers(model, along))
    ax.plot(scene.original(x[:, 0], 0), seen, ".", color=BLUE, alpha=0.5, label="train data")
    ax.plot(scene.original(along[:, 0], 0), answers, color=ORANGE, label="the net's answer")
    room = 0.25 * (seen.max() - seen.min()) or 1.0
    ax.set(xlabel=plain(scene.names[0]), ylabel=plain(scene.answer), ylim=(seen.min() - room, seen.max() + room))
    ax.legend(loc="upper right", ncols=2)


# -- two inputs ------------------------------------------------------------------------------------------------


def _plane(scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray, Extent]:
    """Grid positions [F, F] in original units, the same as inputs [F * F, 2], and the extent of the picture."""
    x = scene.x.numpy()
    low, high = x.min(0), x.max(0)
    edge = np.where(high > low, 0.12 * (high - low), 1.0)
    if scene.equal:
        scale = np.array([std for _, std in scene.units])
        wide, tall = (high - low + 2 * edge) * scale
        edge += np.array([max(0.0, _RATIO * tall - wide), max(0.0, wide / _RATIO - tall)]) / scale / 2
    sides = [np.linspace(a, b, _FINE) for a, b in zip(low - edge, high + edge, strict=True)]
    across, up = np.meshgrid(*sides)
    first, second = scene.original(across, 0), scene.original(up, 1)
    extent = float(first[0, 0]), float(first[0, -1]), float(second[0, 0]), float(second[-1, 0])
    return first, second, np.stack([across.ravel(), up.ravel()], axis=1), extent


def _heights(fig: Figure, ax: Axes, model: nn.Module, scene: Scene) -> None:
    """A regression of two inputs: the answer as colour, the data in the same colours."""
    _, _, inputs, extent = _plane(scene)
    height = scene.said(_answers(model, inputs)).reshape(_FINE, _FINE)
    x, y = scene.points()
    truth = scene.truth(y)
    scale = Normalize(float(min(truth.min(), height.min())), float(max(truth.max(), height.max())))
    ax.imshow(height, extent=extent, origin="lower", aspect="auto", norm=scale, interpolation="bilinear")
    spots = (scene.original(x[:, 0], 0), scene.original(x[:, 1], 1))
    drawn = ax.scatter(*spots, c=truth, norm=scale, s=22, edgecolors="white", linewidths=0.7)
    _frame(ax, scene, extent)
    fig.colorbar(drawn, ax=ax, label=plain(scene.answer))


def _areas(axes: list[Axes], model: nn.Module, scene: Scene) -> None:
    """Classes or labels: each area in the colour of its class, pale where the net is unsure, the boundary as a line."""
    first, second, inputs, extent = _plane(scene)
    far, (x, y) = _answers(model, inputs), scene.points()
    near = _answers(model, x)
    spots = (scene.original(x[:, 0], 0), scene.original(x[:, 1], 1))
    for label, ax in enumerate(axes):
        names = scene.classes
        outputs, truth, guesses = far, y, near
        if scene.task == "multilabel":
            outputs, truth, guesses = far[:, [label]], (y[:, label] > 0.5).astype(int), near[:, [label]]
            names = (f"not {names[label]}", names[label])
        palette = np.array([to_rgb(c) for c in colours(max(2, outputs.shape[1]))])
        winner, sureness = _winner(outputs, scene.sure)
        share = 0.12 + 0.4 * np.ceil(sureness * _SHADES)[:, None] / _SHADES
        shade = 1 - share * (1 - palette[winner])
        if outputs.shape[1] == 1:
            shade[outputs[:, 0] == 0] = 0.93  # a tie, as with weights of zero
        ax.imshow(shade.reshape(_FINE, _FINE, 3), extent=extent, origin="lower", aspect="auto")
        for margin in _margins(outputs):
            if margin.min() < 0 < margin.max():
                ax.contour(first, second, margin.reshape(_FINE, _FINE), levels=[0], colors=INK, linewidths=1.6)
        wrong = (_winner(guesses, scene.sure)[0] != truth) | ((guesses == 0).all(1) & (guesses.shape[1] == 1))
        _samples(ax, spots, truth, wrong, palette)
        _frame(ax, scene, extent)
        _legend(ax, names, palette)


def _winner(outputs: np.ndarray, sure: bool) -> tuple[np.ndarray, np.ndarray]:
    """The class at each place, int [N], and how sure it is, from 0 (as likely as any other) to 1."""
    if outputs.shape[1] == 1:
        outputs = np.concatenate([np.zeros_like(outputs), outputs], axis=1)  # softmax of (0, z) is sigmoid(z)
    winner = outputs.argmax(1)
    if not sure:
        return winner, np.full(len(outputs), 0.8)
    likely = np.exp(outputs - outputs.max(1, keepdims=True))
    top, chance = 1 / likely.sum(1), 1 / outputs.shape[1]
    return winner, (top - chance) / (1 - chance)


def _margins(outputs: np.ndarray) -> Iterable[np.ndarray]:
    """For each class by how much it leads; zero is its boundary."""
    if outputs.shape[1] == 1:
        return [outputs[:, 0]]
    if outputs.shape[1] == 2:
        return [outputs[:, 1] - outputs[:, 0]]
    second, first = np.partition(outputs, -2, axis=1)[:, -2:].T
    return (outputs[:, k] - np.where(outputs[:, k] == first, second, first) for k in range(outputs.shape[1]))


def _samples(
    ax: Axes, spots: tuple[np.ndarray, np.ndarray], truth: np.ndarray, wrong: np.ndarray, palette: np.ndarray
) -> None:
    for which, mark, size, edge, width, layer in ((~wrong, "o", 16, "white", 0.6, 3), (wrong, "X", 34, INK, 0.8, 4)):
        across, up = (values[which] for values in spots)
        look = palette[truth[which]]
        ax.scatter(across, up, color=look, s=size, marker=mark, edgecolors=edge, linewidths=width, zorder=layer)


def _frame(ax: Axes, scene: Scene, extent: Extent) -> None:
    ax.grid(False)
    ax.set(xlabel=plain(scene.names[0]), ylabel=plain(scene.names[1]), xlim=extent[:2], ylim=extent[2:])
    if scene.equal:
        ax.set_aspect("equal")


def _legend(ax: Axes, names: tuple[str, ...], palette: np.ndarray) -> None:
    marks = [
        Line2D([], [], color=c, marker="o", linestyle="", label=n)
        for n, c in zip(apart(names, 16), palette, strict=False)
    ]
    if len(marks) <= 6:
        one_row = sum(len(str(m.get_label())) + 4 for m in marks) < 52
        ax.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(marks) if one_row else 3)


# -- over the training -----------------------------------------------------------------------------------------


def film(moments: Iterable[tuple[str, nn.Module]], scene: Scene) -> bytes:
    """The regions with the weights of several moments, as an endless GIF: (title, model in eval mode) each.

    The models may be one object whose weights change while this goes from moment to moment.
    """
    return gif(_draw(model, scene, title=title) for title, model in moments)
