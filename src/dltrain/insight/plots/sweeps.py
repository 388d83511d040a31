"""What a sweep found: how much each key decides, parallel coordinates, the metric against each key, a heat map for each
two, the best so far, all curves.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from dltrain.insight import history
from dltrain.insight.plots import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    apart,
    cells,
    colours,
    epoch_axis,
    figure,
    metric_axis,
    number,
    plain,
    styled,
    title,
    vector,
    wide,
)
from dltrain.insight.trials import MISSING, SEED, Score, Trial, Value, means
from dltrain.parts.metrics import SHARES
from dltrain.runs.reading import is_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from dltrain.insight.importance import Share
    from dltrain.runs.reading import Report

_AXES = 5  # keys that fit beside each other on a phone
_LINE = 10  # letters that fit above one of them
_CELLS = 12  # values of a key that a heat map shows
_LINES = 40  # lines across each other; more of them are paler
_WIDE = 6  # columns of one whose numbers must be short
_DOTS_ACROSS, _DOTS_HIGH = 55, 24  # dots that fit beside and above each other
_EACH, _BINS = 8, 6  # numbers that have a mean each; more of them are taken together in so many bins


@dataclass(frozen=True)
class _Scale:
    """Where the values of a key stand on an axis: numbers in proportion or by their logarithm, others in a row; runs
    that do not have it below the numbers.
    """

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
    if not numbers or not all(is_number(v) or v == MISSING for v in values):
        return _Scale({v: float(i) for i, v in enumerate(dict.fromkeys(map(str, values)))}, names=True)
    log = wide(numbers[0], numbers[-1])
    places: dict[Value, float] = {v: math.log10(v) if log else float(v) for v in numbers}
    low, high = places[numbers[0]], places[numbers[-1]]
    gap = {MISSING: low - (0.2 * (high - low) or 1.0)} if MISSING in values else {}
    return _Scale(gap | places, names=False)


def _best(trials: Sequence[Trial]) -> Trial:
    return min(trials, key=lambda t: t.place)


def _column(trials: Sequence[Trial], key: str) -> tuple[_Scale, list[Value]]:
    values = [t.values[key] for t in trials]
    scale = _scale(values)
    return scale, [str(v) for v in values] if scale.names else values


def _ticks(values: Sequence[Value]) -> list[str]:
    return apart([f"{value:.4g}" if isinstance(value, float) else value for value in values], 14)


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
        strong = (0.15 + 0.75 * rank / max(1, len(order) - 1)) * min(1.0, math.sqrt(_LINES / len(order)))
        colour, alpha, width, layer = (ORANGE, 1.0, 3.2, 4) if trials[i] is best else (BLUE, strong, 1.4, 2)
        (line,) = ax.plot(heights, color=colour, alpha=alpha, linewidth=width, zorder=layer)
        vector.name(line, f"{trials[i].told}: {number(score.name, scores[i])}")
    for at, (scale, _) in enumerate(columns[:-1]):
        _rail(ax, at, dict(zip(map(scale.unit, ticks := scale.ticks(6)), _ticks(ticks), strict=True)))
    scale = columns[-1][0]
    _rail(ax, len(shown), {scale.unit(v): number(score.name, v) for v in (min(scores), max(scores))})
    ax.set_xticks(range(len(columns)), _short([*shown, title(score.name)]), fontsize=9.5)
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


def _short(keys: Sequence[str]) -> list[str]:
    """The last part of each dotted key, the whole where two share it, on lines that stand side by side."""
    ends = [key.rpartition(".")[2] for key in keys]
    names = [end if ends.count(end) == 1 else key for key, end in zip(keys, ends, strict=True)]
    parts = [re.findall(r"[^._ ]+[._ ]*", name) or [name] for name in names]
    return [plain("\n".join(_filled([part[:_LINE] for part in own])), 60) for own in parts]


def _filled(parts: Sequence[str]) -> list[str]:
    """Parts of words as lines of at most so many letters; of many the last ones."""
    lines = [""]
    for part in parts:
        if len(lines[-1] + part) <= _LINE:
            lines[-1] += part
        else:
            lines.append(part)
    return lines[-4:]


@styled
def against(trials: Sequence[Trial], keys: Sequence[str], score: Score) -> Figure:
    """The score of each run over the values of each key, with the mean of each value, or of neighbours, and its 95 %
    interval: of configurations, where several runs differ in the seed alone.
    """
    fig, axes = figure(len(keys), 1, height=0.4 + 2.4 * len(keys))
    scales = {key: _column(trials, key) for key in keys}
    for key, ax in zip(keys, axes, strict=True):
        scale, values = scales[key]
        _over(ax, scale, values, trials, score)
        ax.set(xlabel=plain(key), ylabel=title(score.name))
        metric_axis(ax, score.name)
        told = ((t.values[key], t.score) for t in trials) if key == SEED else _configurations(trials, key)
        _effects(ax, scale, told)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return fig


def _configurations(trials: Sequence[Trial], key: str) -> list[tuple[Value, float]]:
    """The value of a key and the mean score of the runs of each configuration."""
    groups: dict[tuple[tuple[str, Value], ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(tuple((k, v) for k, v in trial.values.items() if k != SEED), []).append(trial)
    return [(own[0].values[key], sum(t.score for t in own) / len(own)) for own in groups.values()]


def _effects(ax: Axes, scale: _Scale, told: Iterable[tuple[Value, float]]) -> None:
    """The mean at each value with its interval; one that is much longer than the dots' range ends in an arrow."""
    points = [(scale.places[str(v) if scale.names else v], own) for v, own in told]
    lowest = scale.places.get(MISSING, -math.inf)
    numbers = [point for point in points if point[0] != lowest]
    bins = _BINS if not scale.names and len({place for place, _ in numbers}) > _EACH else None
    found = means(numbers, bins) if numbers else []
    found += means([point for point in points if point[0] == lowest]) if len(numbers) < len(points) else []
    if not any(mean.half is not None for mean in found):
        return
    at, middle, half = np.array([(m.place, m.mean, math.nan if m.half is None else m.half) for m in found]).T
    ends = _room(ax, middle - half, middle + half)
    lengths = [middle - np.maximum(middle - half, ends[0]), np.minimum(middle + half, ends[1]) - middle]
    for beyond, end, mark in ((middle - half < ends[0], ends[0], "v"), (middle + half > ends[1], ends[1], "^")):
        if beyond.any():  # the layout would make room for a line of no points
            ax.plot(at[beyond], np.full(beyond.sum(), end), mark, color=INK, markersize=7, clip_on=False)
    ax.errorbar(
        at,
        middle,
        lengths,  # none of one alone, of which nothing is known
        fmt="_",
        markersize=20,
        markeredgewidth=1.5,
        linewidth=1.5,
        capsize=4,
        color=INK,
        label="mean, 95 %",
    )


def _room(ax: Axes, low: np.ndarray, high: np.ndarray) -> tuple[float, float]:
    """The limits of the vertical axis, up to half as much again on either side where intervals reach there."""
    log, top = ax.get_yscale() == "log", ax.get_ylim()[1]
    begin, end = (math.log(limit) if log else limit for limit in ax.get_ylim())
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = (np.log(np.maximum(values, 0)) if log else values for values in (low, high))
    more = 0.5 * (end - begin)
    limits = (
        max(begin - more, min(begin, np.nanmin(low) - more / 8)),
        min(end + more, max(end, np.nanmax(high) + more / 8)),
    )
    found = tuple(math.exp(limit) if log else limit for limit in limits)
    share = isinstance(ax.yaxis.get_major_formatter(), PercentFormatter)
    ax.set_ylim(max(found[0], 0.0) if share else found[0], top if share else found[1])
    return ax.get_ylim()


def _over(ax: Axes, scale: _Scale, values: list[Value], trials: Sequence[Trial], score: Score) -> None:
    places, scores, best = [scale.places[v] for v in values], [t.score for t in trials], _best(trials)
    across = _beside(places, scores)
    (dots,) = ax.plot(across, scores, "o", color=BLUE, alpha=0.55, markersize=6, markeredgewidth=0, clip_on=False)
    vector.name(dots, "runs", [t.told for t in trials])
    at = across[next(i for i, t in enumerate(trials) if t is best)]
    told = f"best: {number(score.name, best.score)}"
    ax.plot([at], [best.score], "o", color=ORANGE, markersize=9, label=told, clip_on=False)
    ticks = scale.ticks(8 if len(scale.places) <= 8 else 6)
    texts = dict(zip((scale.places[v] for v in ticks), _ticks(ticks), strict=True))
    ax.set_xticks(list(texts), list(texts.values()), rotation=20 if sum(map(len, texts.values())) > 44 else 0)
    edge = 0.08 * (max(places) - min(places)) or 0.5
    ax.set_xlim(min(min(places) - edge, min(across) - edge / 4), max(max(places) + edge, max(across) + edge / 4))


def _beside(places: Sequence[float], scores: Sequence[float]) -> list[float]:
    """Where the dots stand: those of one place and about one score side by side, no wider than half the way to the
    next place.
    """
    distinct, height = sorted({*places}), (max(scores) - min(scores)) / _DOTS_HIGH or 1.0
    rows: dict[tuple[float, int], list[int]] = {}
    for i, (place, score) in enumerate(zip(places, scores, strict=True)):
        rows.setdefault((place, round((score - min(scores)) / height)), []).append(i)
    gap, width = min((b - a for a, b in pairwise(distinct)), default=1.0), distinct[-1] - distinct[0] or 1.0
    found = [*places]
    for row in rows.values():
        step = min(width / _DOTS_ACROSS, gap / 2 / len(row))
        for k, i in enumerate(row):
            found[i] += step * (k - (len(row) - 1) / 2)
    return found


@styled
def importance(shares: Sequence[Share]) -> Figure:
    """How much of the differences each key decides alone, the most important on top, with its interval."""
    fig, (ax,) = figure(height=1.0 + 0.42 * len(shares))
    at, sizes = range(len(shares)), [share.share for share in shares]
    below = [max(0.0, share.share - share.low) for share in shares]
    above = [max(0.0, share.high - share.share) for share in shares]
    ax.barh(at, sizes, xerr=(below, above), height=0.6, color=BLUE, ecolor=INK, capsize=4, error_kw={"linewidth": 1.2})
    ax.set_yticks(at, [plain(share.key, 28) for share in shares])
    ax.invert_yaxis()
    ax.set(xlim=(0, 1.02), xlabel="share of the differences")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(visible=False, axis="y")
    return fig


@styled
def so_far(ordered: Sequence[Trial], records: Sequence[int], score: Score) -> Figure:
    """The score of each trial in the order in which they ended, and the best until then; the numbers of the jobs that
    set the last records.
    """
    fig, (ax,) = figure(height=3.2)
    places = range(1, len(ordered) + 1)
    (dots,) = ax.plot(places, [t.score for t in ordered], "o", color=BLUE, alpha=0.45, markersize=4)
    vector.name(dots, "trials", [t.told for t in ordered])
    ends = [*records[1:], len(ordered) - 1]
    for i, end in zip(records, ends, strict=True):
        ax.plot([i + 1, end + 1], [ordered[i].score] * 2, color=ORANGE, linewidth=2.2)
    ax.plot([i + 1 for i in records], [ordered[i].score for i in records], "o", color=ORANGE, label="best so far")
    ax.set(xlabel="trials that have ended", ylabel=title(score.name))
    metric_axis(ax, score.name)
    drop, at = -12 if score.larger else 6, len(ordered) * 2.0
    for i in reversed(records[-3:]):
        if at - i > 0.15 * len(ordered):  # else one would lie over the other
            ax.annotate(ordered[i].jobs[:12], (i + 1, ordered[i].score), xytext=(4, drop), textcoords="offset points")
            at = i
    ax.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    ax.legend(loc="lower right" if score.larger else "upper right")
    return fig


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
    scores_of: dict[tuple[int, int], list[float]] = {}
    for trial, a, b in zip(trials, first, second, strict=True):
        scores_of.setdefault((up.index(b), across.index(a)), []).append(trial.score)
    grid = np.full((len(up), len(across)), np.nan)
    for place, scores in scores_of.items():
        grid[place] = sum(scores) / len(scores)
    many = len(across) > _WIDE
    fig, (ax,) = figure(height=2.0 + (0.4 if many else 0.55) * len(up))
    means = grid[np.isfinite(grid)].tolist()
    norm = (LogNorm if wide(min(means), max(means)) else Normalize)(min(means), max(means))
    drawn = ax.imshow(grid, cmap="Blues" if score.larger else "Blues_r", norm=norm, origin="lower", aspect="auto")
    names, names_up = _ticks(across), _ticks(up)
    told = [[f"{pair[0]} {x}\n{pair[1]} {y}\n{title(score.name)}" for x in names] for y in names_up]
    cells.name(
        drawn, [[f"{told[i][j]} {number(score.name, v)}" for j, v in enumerate(row)] for i, row in enumerate(grid)]
    )
    for (i, j), value in np.ndenumerate(grid):
        if math.isfinite(value):
            dark = norm(value) > cells.DARK if score.larger else norm(value) < 1 - cells.DARK
            text = number(score.name, value).removesuffix("%" * many)  # the bar has the unit
            look = {"ha": "center", "va": "center", "fontsize": 7.5 if many else 9}
            ax.text(j, i, text, color="white" if dark else INK, **look)
    ax.grid(False)
    ax.set_xticks(range(len(across)), names, fontsize=9)
    if sum(map(len, names)) > 40:
        for label in ax.get_xticklabels():
            label.set(rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(up)), names_up, fontsize=9)
    ax.set(xlabel=plain(pair[0]), ylabel=plain(pair[1]))
    share = PercentFormatter(1) if score.name in SHARES else "%.3g"
    ticks = LogLocator(subs=(1, 2, 5)) if isinstance(norm, LogNorm) else None
    bar = fig.colorbar(drawn, ax=ax, label=title(score.name), format=share, location="top", aspect=45, ticks=ticks)
    bar.minorticks_off()
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
