"""What a sweep found: parallel coordinates, the metric against each key, a heat map for each two, all curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import PercentFormatter

from dltrain.insight import history
from dltrain.insight.plots import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    colours,
    epoch_axis,
    figure,
    metric_axis,
    number,
    plain,
    styled,
    title,
    wide,
)
from dltrain.parts.metrics import SHARES
from dltrain.runs.reading import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dltrain.runs.reading import Report

Value = float | str  # of a key: a number as a number, anything else as it was typed

_AXES = 5  # keys that fit beside each other on a phone
_CELLS = 12  # values of a key that a heat map shows


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: the value of each key, its score, finite, and its place among all, 0 for the best."""

    values: Mapping[str, Value]
    score: float
    place: int


@dataclass(frozen=True)
class Score:
    """The metric that judges: its plain name (accuracy, train_loss), and whether larger is better."""

    name: str
    larger: bool

    @property
    def logged(self) -> str:
        """Its name in the reports of a run."""
        return "train/loss" if self.name == "train_loss" else f"val/{self.name}"

    @property
    def title(self) -> str:
        """Its name for a person."""
        return self.logged.replace("val/", "validation ").replace("/", " ")


@dataclass(frozen=True)
class _Scale:
    """Where the values of a key stand on an axis: numbers in proportion or by their logarithm, others in a row."""

    places: dict[Value, float]  # of each value that occurs, in order
    names: bool

    def unit(self, value: Value) -> float:
        """From 0 to 1."""
        low, high = next(iter(self.places.values())), next(reversed(self.places.values()))
        return (self.places[value] - low) / (high - low) if high > low else 0.5

    def ticks(self, most: int) -> list[Value]:
        """The values that are written at an axis."""
        if len(self.places) <= most:
            return list(self.places)
        wanted = np.linspace(0, 1, most)
        return list(dict.fromkeys(min(self.places, key=lambda v, w=w: abs(self.unit(v) - w)) for w in wanted))


def _scale(values: Sequence[Value]) -> _Scale:
    numbers = sorted({v for v in values if is_number(v)})
    if not all(map(is_number, values)):
        return _Scale({v: float(i) for i, v in enumerate(dict.fromkeys(map(str, values)))}, names=True)
    log = wide(numbers[0], numbers[-1])
    return _Scale({v: math.log10(v) if log else float(v) for v in numbers}, names=False)


def _best(trials: Sequence[Trial]) -> Trial:
    return min(trials, key=lambda t: t.place)


def _column(trials: Sequence[Trial], key: str) -> tuple[_Scale, list[Value]]:
    values = [t.values[key] for t in trials]
    scale = _scale(values)
    return scale, [str(v) for v in values] if scale.names else values


def _tick(value: Value) -> str:
    return plain(f"{value:.4g}" if isinstance(value, float) else value, 14)


@styled
def parallel(trials: Sequence[Trial], keys: Sequence[str], score: Score) -> Figure:
    """One line for each run through its values and its score; the best one is orange and thick."""
    shown = list(keys)[:_AXES]
    fig, (ax,) = figure(height=4.2)
    scores = [t.score for t in trials]
    columns = [*(_column(trials, key) for key in shown), (_scale(scores), scores)]
    best = _best(trials)
    order = sorted(range(len(trials)), key=lambda i: -trials[i].place)
    for rank, i in enumerate(order):
        heights = [scale.unit(values[i]) for scale, values in columns]
        shade = mpl.colormaps["Blues"](0.25 + 0.6 * rank / max(1, len(order) - 1))
        colour, width, layer = (ORANGE, 3.2, 4) if trials[i] is best else (shade, 1.4, 2)
        ax.plot(heights, color=colour, linewidth=width, zorder=layer)
    for at, (scale, _) in enumerate(columns[:-1]):
        _rail(ax, at, {scale.unit(v): _tick(v) for v in scale.ticks(6)})
    scale = columns[-1][0]
    _rail(ax, len(shown), {scale.unit(v): number(score.name, v) for v in (min(scores), max(scores))})
    ax.set_xticks(range(len(columns)), [_short(k) for k in [*shown, title(score.name)]], fontsize=9.5)
    ax.set(ylim=(-0.06, 1.06), xlim=(-0.35, len(columns) - 0.65))
    ax.set_yticks([])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def _rail(ax: Axes, at: int, texts: Mapping[float, str]) -> None:
    """One of the parallel axes with its values."""
    ax.axvline(at, color=GREY, linewidth=1, zorder=1)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 1}
    for height, text in texts.items():
        ax.text(at, height, text, ha="center", va="center", fontsize=9, bbox=box, zorder=5)


def _short(key: str) -> str:
    """A dotted key over two lines, so that several stand side by side."""
    head, _, tail = key.rpartition(".")
    return plain(f"{head[-14:]}.\n{tail[-16:]}" if head else key[-16:])


@styled
def against(trials: Sequence[Trial], keys: Sequence[str], score: Score) -> Figure:
    """The score of each run over the values of each key, with the mean where several runs share a value."""
    fig, axes = figure(len(keys), 1, height=0.4 + 2.4 * len(keys))
    for key, ax in zip(keys, axes, strict=True):
        _over(ax, *_column(trials, key), trials, score)
        ax.set(xlabel=plain(key), ylabel=title(score.name))
        metric_axis(ax, score.name)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


def _over(ax: Axes, scale: _Scale, values: list[Value], trials: Sequence[Trial], score: Score) -> None:
    places, scores, best = [scale.places[v] for v in values], [t.score for t in trials], _best(trials)
    ax.plot(places, scores, "o", color=BLUE, alpha=0.55, markersize=6, markeredgewidth=0, clip_on=False)
    groups: dict[Value, list[float]] = {v: [] for v in scale.places}
    for value, own in zip(values, scores, strict=True):
        groups[value].append(own)
    if max(map(len, groups.values())) > 1:
        means = {v: sum(group) / len(group) for v, group in groups.items()}
        ax.plot(
            [scale.places[v] for v in means],
            list(means.values()),
            linestyle="none" if scale.names else "-",
            linewidth=1,
            marker="_",
            markersize=20,
            markeredgewidth=1.5,
            color=INK,
            label="mean",
        )
    at = places[next(i for i, t in enumerate(trials) if t is best)]
    told = f"best: {number(score.name, best.score)}"
    ax.plot([at], [best.score], "o", color=ORANGE, markersize=9, label=told, clip_on=False)
    texts = {scale.places[v]: _tick(v) for v in scale.ticks(8)}
    ax.set_xticks(list(texts), list(texts.values()), rotation=20 if sum(map(len, texts.values())) > 56 else 0)
    edge = 0.08 * (max(places) - min(places)) or 0.5
    ax.set_xlim(min(places) - edge, max(places) + edge)


def pairs(trials: Sequence[Trial], keys: Sequence[str]) -> list[tuple[str, str]]:
    """Each two of the first three keys that a heat map can show."""
    fit = [key for key in keys if 2 <= len(_column(trials, key)[0].places) <= _CELLS]
    return list(combinations(fit[:3], 2))


@styled
def heat(trials: Sequence[Trial], pair: tuple[str, str], score: Score) -> Figure:
    """The mean score at each two values; what was not tried is empty."""
    (across, first), (up, second) = (
        (list(scale.places), values) for scale, values in (_column(trials, k) for k in pair)
    )
    cells: dict[tuple[int, int], list[float]] = {}
    for trial, a, b in zip(trials, first, second, strict=True):
        cells.setdefault((up.index(b), across.index(a)), []).append(trial.score)
    grid = np.full((len(up), len(across)), np.nan)
    for place, scores in cells.items():
        grid[place] = sum(scores) / len(scores)
    fig, (ax,) = figure(height=1.6 + 0.55 * len(up))
    means = grid[np.isfinite(grid)].tolist()
    norm = (LogNorm if wide(min(means), max(means)) else Normalize)(min(means), max(means))
    drawn = ax.imshow(grid, cmap="Blues" if score.larger else "Blues_r", norm=norm, origin="lower", aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        if math.isfinite(value):
            dark = norm(value) > 0.6 if score.larger else norm(value) < 0.4
            ax.text(
                j, i, number(score.name, value), ha="center", va="center", fontsize=9, color="white" if dark else INK
            )
    ax.grid(False)
    ax.set_xticks(range(len(across)), [_tick(v) for v in across], fontsize=9)
    ax.set_yticks(range(len(up)), [_tick(v) for v in up], fontsize=9)
    ax.set(xlabel=plain(pair[0]), ylabel=plain(pair[1]))
    fig.colorbar(drawn, ax=ax, label=title(score.name), format=PercentFormatter(1) if score.name in SHARES else None)
    return fig


@styled
def curves(logs: Sequence[tuple[str, Sequence[Report]]], score: Score) -> Figure:
    """The validation metric of every run over the epochs, the best run last in `logs`: (label, reports) each."""
    few = len(logs) <= 8
    across = 1 if max(len(label) for label, _ in logs) > 26 else 2
    fig, (ax,) = figure(height=3.6 + (0.22 * math.ceil(len(logs) / across) if few else 0))
    palette = [c for c in colours(len(logs) + 1) if c != ORANGE] if few else [GREY] * len(logs)
    for i, (label, reports) in enumerate(logs):
        if points := history.points(reports, score.logged):
            best = i == len(logs) - 1
            colour, width, alpha = (ORANGE, 2.6, 1.0) if best else (palette[i], 1.3, 1.0 if few else 0.4)
            ax.plot(*zip(*points, strict=True), color=colour, linewidth=width, alpha=alpha, label=plain(label, 48))
    ax.set(xlabel="epoch", ylabel=score.title)
    epoch_axis(ax)
    metric_axis(ax, score.name)
    if few:
        fig.legend(loc="outside lower center", fontsize=9, ncols=across, reverse=True)
    return fig
