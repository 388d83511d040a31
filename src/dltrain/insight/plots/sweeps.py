"""What a sweep found: parallel coordinates, the metric against each key, a heat map for each two, all curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dltrain.insight.plots import BLUE, GREY, INK, ORANGE, colours, figure, plain, styled
from dltrain.parts.metrics import SHARES

_AXES = 5  # keys that fit beside each other on a phone
_CELLS = 12  # values of a key that a heat map shows


@dataclass(frozen=True)
class Trial:
    """One run of a sweep: the value of each key, its score, finite, and its place among all, 0 for the best."""

    values: Mapping[str, Any]
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

    def text(self, value: float) -> str:
        """A value as a person reads it."""
        return f"{value:.1%}" if self.name in SHARES else f"{value:.3g}"


@dataclass(frozen=True)
class _Scale:
    """Where the values of a key stand on an axis: numbers in proportion or by their logarithm, others in a row."""

    values: tuple[Any, ...]  # that occur, in order
    kind: str  # linear, log or names

    def __call__(self, value: Any) -> float:
        if self.kind == "names":
            return float(self.values.index(value))
        return math.log10(value) if self.kind == "log" else float(value)

    def unit(self, value: Any) -> float:
        """From 0 to 1."""
        low, high = self(self.values[0]), self(self.values[-1])
        return (self(value) - low) / (high - low) if high > low else 0.5

    def ticks(self, most: int) -> list[Any]:
        """The values that are written at an axis."""
        if len(self.values) <= most:
            return list(self.values)
        wanted = np.linspace(0, 1, most)
        return list(dict.fromkeys(min(self.values, key=lambda v, w=w: abs(self.unit(v) - w)) for w in wanted))


def _scale(values: Sequence[Any]) -> _Scale:
    plain = [isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v) for v in values]
    if not all(plain):
        return _Scale(tuple(dict.fromkeys(map(str, values))), "names")
    ordered = tuple(sorted(set(values)))
    wide = ordered[0] > 0 and ordered[-1] >= 20 * ordered[0]
    return _Scale(ordered, "log" if wide else "linear")


def _best(trials: Sequence[Trial]) -> Trial:
    return min(trials, key=lambda t: t.place)


def _column(trials: Sequence[Trial], key: str) -> tuple[_Scale, list[Any]]:
    values = [t.values.get(key) for t in trials]
    scale = _scale(values)
    return scale, [str(v) for v in values] if scale.kind == "names" else values


def _tick(value: Any) -> str:
    return plain(f"{value:.4g}" if isinstance(value, float) else value, 14)


@styled
def parallel(trials: Sequence[Trial], keys: Sequence[str], score: Score) -> Figure:
    """One line for each run through its values and its score; the best one is orange and thick."""
    shown = list(keys)[:_AXES]
    fig, ax = figure(height=4.2)
    scores = [t.score for t in trials]
    columns = [*(_column(trials, key) for key in shown), (_scale(scores), scores)]
    best = _best(trials)
    order = sorted(range(len(trials)), key=lambda i: -trials[i].place)
    for rank, i in enumerate(order):
        heights = [scale.unit(values[i]) for scale, values in columns]
        shade = mpl.colormaps["Blues"](0.25 + 0.6 * rank / max(1, len(order) - 1))
        look = {"color": ORANGE, "linewidth": 3.2, "zorder": 4} if trials[i] is best else {"color": shade, "zorder": 2}
        ax.plot(heights, **{"linewidth": 1.4, **look})
    for at, (scale, _) in enumerate(columns[:-1]):
        _rail(ax, at, {scale.unit(v): _tick(v) for v in scale.ticks(6)})
    scale = columns[-1][0]
    _rail(ax, len(shown), {scale.unit(v): score.text(v) for v in (scale.values[0], scale.values[-1])})
    ax.set_xticks(range(len(columns)), [_short(k) for k in [*shown, score.name.replace("_", " ")]], fontsize=9.5)
    ax.set(ylim=(-0.06, 1.06), xlim=(-0.35, len(columns) - 0.65))
    ax.set_yticks([])
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    return fig


def _rail(ax: Any, at: int, texts: Mapping[float, str]) -> None:
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
    axes = list(axes.flat) if len(keys) > 1 else [axes]
    for key, ax in zip(keys, axes, strict=True):
        _over(ax, *_column(trials, key), trials, score)
        ax.set(xlabel=plain(key), ylabel=score.name.replace("_", " "))
        _score_axis(ax, [t.score for t in trials], score)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


def _over(ax: Any, scale: _Scale, values: list[Any], trials: Sequence[Trial], score: Score) -> None:
    places, scores, best = [scale(v) for v in values], [t.score for t in trials], _best(trials)
    ax.plot(places, scores, "o", color=BLUE, alpha=0.55, markersize=6, markeredgewidth=0)
    groups = {v: [t for t, own in zip(scores, values, strict=True) if own == v] for v in scale.values}
    if max(map(len, groups.values())) > 1:
        means = [sum(group) / len(group) for group in groups.values()]
        line = "none" if scale.kind == "names" else "-"
        look = {
            "linestyle": line,
            "marker": "_",
            "markersize": 20,
            "color": INK,
            "linewidth": 1,
            "markeredgewidth": 1.5,
        }
        ax.plot([scale(v) for v in groups], means, label="mean", **look)
    at = places[next(i for i, t in enumerate(trials) if t is best)]
    ax.plot([at], [best.score], "o", color=ORANGE, markersize=9, label=f"best: {score.text(best.score)}")
    texts = {scale(v): _tick(v) for v in scale.ticks(8)}
    ax.set_xticks(list(texts), list(texts.values()), rotation=20 if sum(map(len, texts.values())) > 56 else 0)
    edge = 0.08 * (max(places) - min(places)) or 0.5
    ax.set_xlim(min(places) - edge, max(places) + edge)


def _score_axis(ax: Any, scores: Sequence[float], score: Score) -> None:
    if score.name in SHARES:
        ax.yaxis.set_major_formatter(PercentFormatter(1))
    elif _scale(scores).kind == "log":
        ax.set_yscale("log")


def pairs(trials: Sequence[Trial], keys: Sequence[str]) -> list[tuple[str, str]]:
    """Each two of the first three keys that a heat map can show."""
    fit = [key for key in keys if 2 <= len(_column(trials, key)[0].values) <= _CELLS]
    return list(combinations(fit[:3], 2))


@styled
def heat(trials: Sequence[Trial], pair: tuple[str, str], score: Score) -> Figure:
    """The mean score at each two values; what was not tried is empty."""
    (across, first), (up, second) = (_column(trials, key) for key in pair)
    cells: dict[tuple[int, int], list[float]] = {}
    for trial, a, b in zip(trials, first, second, strict=True):
        cells.setdefault((up.values.index(b), across.values.index(a)), []).append(trial.score)
    grid = np.full((len(up.values), len(across.values)), np.nan)
    for place, scores in cells.items():
        grid[place] = sum(scores) / len(scores)
    fig, ax = figure(height=1.6 + 0.55 * len(up.values))
    means = grid[np.isfinite(grid)].tolist()
    norm = (LogNorm if _scale(means).kind == "log" else Normalize)(min(means), max(means))
    drawn = ax.imshow(grid, cmap="Blues" if score.larger else "Blues_r", norm=norm, origin="lower", aspect="auto")
    for (i, j), value in np.ndenumerate(grid):
        if math.isfinite(value):
            dark = norm(value) > 0.6 if score.larger else norm(value) < 0.4
            ax.text(j, i, score.text(value), ha="center", va="center", fontsize=9, color="white" if dark else INK)
    ax.grid(False)
    ax.set_xticks(range(len(across.values)), [_tick(v) for v in across.values], fontsize=9)
    ax.set_yticks(range(len(up.values)), [_tick(v) for v in up.values], fontsize=9)
    ax.set(xlabel=plain(pair[0]), ylabel=plain(pair[1]))
    fig.colorbar(
        drawn, ax=ax, label=score.name.replace("_", " "), format=PercentFormatter(1) if score.name in SHARES else None
    )
    return fig


@styled
def curves(logs: Sequence[tuple[str, Sequence[Mapping[str, Any]]]], score: Score) -> Figure:
    """The validation metric of every run over the epochs, the best run last in `logs`: (label, reports) each."""
    few, seen, latest = len(logs) <= 8, [], 1.0
    across = 1 if max(len(label) for label, _ in logs) > 26 else 2
    fig, ax = figure(height=3.6 + (0.22 * math.ceil(len(logs) / across) if few else 0))
    palette = [c for c in colours(len(logs) + 1) if c != ORANGE] if few else [GREY] * len(logs)
    for i, (label, rows) in enumerate(logs):
        points = [(r["epoch"], v) for r in rows if isinstance(v := r.get(score.logged), (int, float))]
        if points:
            best = i == len(logs) - 1
            look = {"color": ORANGE, "linewidth": 2.6} if best else {"color": palette[i], "linewidth": 1.3}
            ax.plot(*zip(*points, strict=True), alpha=1 if best or few else 0.4, label=plain(label, 48), **look)
            seen += [value for _, value in points]
            latest = max(latest, points[-1][0])
    ax.set(xlabel="epoch", ylabel=score.title)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=latest >= 3))
    _score_axis(ax, seen or [1.0], score)
    if few:
        fig.legend(loc="outside lower center", fontsize=9, ncols=across, reverse=True)
    return fig
