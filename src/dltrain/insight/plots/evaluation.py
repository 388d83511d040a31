"""What `dltrain eval` found, as one picture: by class, calibration, truth against prediction, the worst images."""

from __future__ import annotations

import math
from math import ceil
from typing import TYPE_CHECKING, Unpack

import numpy as np
from matplotlib.ticker import MaxNLocator, PercentFormatter

from dltrain.insight.plots import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PALE,
    RED,
    SKY,
    WIDTH,
    apart,
    cells,
    colours,
    empty,
    image,
    measured,
    number,
    plain,
    styled,
    title,
)
from dltrain.parts import metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

    from dltrain.trained.judge import Drawn, Result

_PAIR = 10.0  # inches: two panels side by side
_NAMED, _NUMBERED = 40, 15  # classes of a matrix whose names, and whose cells' numbers, are legible
_MATRIX = 100  # classes of a matrix whose cells can be told apart
_LABELS = 20  # labels that a bar chart can show
_BESIDE = 4  # curves whose legend has room beside them
_ACROSS = 8  # worst images in a row
_TARGETS = 4
_COLUMNS = 25  # that a bar chart can show
_POINTS = 5_000


@styled
def draw(result: Result, **shown: Unpack[Drawn]) -> Figure:
    """The picture of an evaluation, of what eval-<split>.json holds and what is shown beside it."""
    if "true" in shown and "predicted" in shown:
        return _regression(result, shown["true"], shown["predicted"])
    images, curves = shown.get("images", []), bool(result.get("curves"))
    heights = [4.5, *[4.2 + _below(result)] * curves, *[1.7 * ceil(len(images) / _ACROSS) + 0.4] * bool(images)]
    fig = empty(sum(heights), width=_PAIR if images or curves or "calibration" in result else WIDTH)
    above, *below = fig.subfigures(len(heights), 1, squeeze=False, height_ratios=heights).flat
    left, *right = above.subfigures(1, 1 + ("calibration" in result), squeeze=False).flat
    (_matrix if "confusion" in result else _by_label)(left.subplots(), result)
    for side in right:
        _calibration(side, result)
    if curves:
        _ranks(below[0].subplots(1, 2), result)
    for band in below[curves:]:
        _images(band, result, images)
    return fig


@styled
def parts(result: Result, **shown: Unpack[Drawn]) -> dict[str, Figure]:
    """The same as one narrow figure for each question: classes or labels, calibration, curves, mistakes; regression."""
    if "true" in shown and "predicted" in shown:
        both = shown["true"], shown["predicted"]
        return {"regression": _regression(result, *both, across=1), "residuals": _residuals(result, *both)}
    first = "confusion" if "confusion" in result else "labels"
    figures = {first: empty(5.2)}
    (_matrix if first == "confusion" else _by_label)(figures[first].subplots(), result)
    if len(result.get("confusion", {}).get("names", ())) > 2 and result["metrics"]["accuracy"] < 1:
        figures["mixed"] = empty(5.2)
        _matrix(figures["mixed"].subplots(), result, mistakes=True)
    if "calibration" in result:
        figures["calibration"] = empty(4.2)
        _calibration(figures["calibration"], result)
    if result.get("curves"):
        figures["ranking"] = empty(8.4 + 2 * _below(result))
        _ranks(figures["ranking"].subplots(2, 1), result)
    if images := shown.get("images"):
        figures["mistakes"] = empty(1.75 * ceil(len(images) / 4) + 0.5)
        _images(figures["mistakes"], result, images, across=4)
    return figures


def _ranks(axes: np.ndarray, result: Result) -> None:
    """ROC and precision-recall curves, of several classes or labels each against the others; dots: thresholds."""
    roc, pr = axes
    every = result["curves"]
    names = apart([curve["name"] for curve in every], 16)
    for curve, name, colour in zip(every, names, colours(len(every)), strict=True):
        roc.plot(*zip(*curve["roc"], strict=True), color=colour, label=f"{name} {curve['roc_auc']:.3f}")
        label = f"{name} {curve['average_precision']:.3f}"
        pr.plot(*zip(*curve["precision_recall"], strict=True), color=colour, label=label)
        pr.axhline(curve["share"], color=colour if len(every) > 1 else GREY, linewidth=0.8, linestyle="--")
    roc.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    for at, colour in zip(result.get("thresholds", {}).get("at", []), (GREY, ORANGE, GREEN), strict=False):
        text = f"{at['best_for'].replace('_', ' ')}: from {at['threshold']:.3g}"
        pr.plot(at["here"]["recall"], at["here"]["precision"], "o", color=colour, markersize=6, label=text)
    few = "" if len(every) == len(result.get("classes", result.get("labels", []))) - (len(every) == 1) else " (poorest)"
    metrics_ = result["metrics"]
    roc.set(xlabel="false positive rate", ylabel="recall")
    roc.set_title(f"ROC: area {metrics_['roc_auc']:.3f}{few}")
    pr.set(xlabel="recall", ylabel="precision")
    pr.set_title(f"average precision {metrics_['average_precision']:.3f}{few}")
    for ax, where in ((roc, "lower right"), (pr, "best")):
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.03))
        if _below(result):
            ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=_columns(result), columnspacing=1.2)
        else:
            ax.legend(loc=where)


def _columns(result: Result) -> int:
    """Of a legend of many curves, below them."""
    longest = max(map(len, apart([curve["name"] for curve in result["curves"]], 16)))
    return 4 if longest < 4 else 3 if longest < 9 else 2


def _below(result: Result) -> float:
    """The inches that it takes; 0 where it has room beside few curves."""
    return 0.22 * ceil(many / _columns(result)) if (many := len(result.get("curves", ()))) > _BESIDE else 0.0


@styled
def importance(result: Result) -> Figure:
    """By how much the metric is worse where a column is shuffled, with its deviation; the heaviest columns."""
    found = result["importance"]
    columns = found["columns"][:_COLUMNS]
    fig = empty(1.2 + 0.32 * len(columns))
    ax, at = fig.subplots(), np.arange(len(columns))
    ax.barh(at, [c["mean"] for c in columns], xerr=[c["std"] for c in columns], color=SKY, ecolor=GREY)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(at, apart([c["name"] for c in columns], 24))
    ax.set(ylim=(len(columns) - 0.4, -0.6), xlabel=f"{title(found['metric'])} is worse by")
    ax.grid(axis="y", visible=False)
    which = f" ({_COLUMNS} of {len(found['columns']):,})" if len(found["columns"]) > _COLUMNS else ""
    ax.set_title(f"{result['split']}: each column shuffled{which}")
    return fig


def _matrix(ax: Axes, result: Result, *, mistakes: bool = False) -> None:
    """Rows are the true classes; a cell is as dark as its share of the row. Of many classes the most confused.

    mistakes: these alone, in per cent of the row, as dark as they are among themselves.
    """
    every = result["confusion"]["names"]
    shown, counts = _confused(np.array(result["confusion"]["true_predicted_count"]), len(every))
    names, n = apart([every[i] for i in shown], 16), len(shown)
    share = counts / np.maximum([[result["classes"][i]["rows"]] for i in shown], 1)
    if mistakes:
        np.fill_diagonal(share, 0)
        counts = np.where(np.eye(n, dtype=bool), 0, counts)
        ax.set_facecolor(PALE)
    dark = max(share.max(), 1e-9) if mistakes else 1
    masked = np.ma.masked_where(np.eye(n) * mistakes > 0, share)
    drawn = ax.imshow(masked, cmap="Blues", vmin=0, vmax=dark, aspect="equal")
    cells.name(
        drawn, [[_told(a, b, counts[i, j], share[i, j]) for j, b in enumerate(names)] for i, a in enumerate(names)]
    )
    ax.grid(False)
    ax.set(xlabel="predicted", ylabel="true")
    if n <= _NAMED:
        crowded = n > 10 or max(map(len, names)) > 40 // n
        small = 10 if n <= 12 else min(7, 190 / n)
        ax.set_xticks(range(n), names, rotation=90 if crowded else 0, fontsize=small)
        ax.set_yticks(range(n), names, fontsize=small)
    ax.tick_params(length=0)
    if n <= _NUMBERED:
        for i, j in zip(*np.nonzero(counts), strict=True):
            colour = "white" if share[i, j] > cells.DARK * dark else INK
            text = f"{share[i, j]:.0%}" if mistakes else f"{counts[i, j]:.0f}"
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=10 if n <= 10 else 7)
    which = f"\nthe {n} most confused of {len(every):,} classes" if n < len(every) else ""
    right = f"{result['metrics']['accuracy']:.2%} of {result['rows']:,} right"
    ax.set_title(f"{result['split']}: {'the mistakes of each class' if mistakes else right}{which}")


def _told(true: str, guess: str, count: float, share: float) -> str:
    return f"{true} called {guess}: {count:.0f}, {share:.1%} of all {true}"


def _confused(pairs: np.ndarray, classes: int) -> tuple[list[int], np.ndarray]:
    """The classes that a matrix shows, and its counts [n, n]: all, or of many those with the most mistakes."""
    true, guess, count = pairs.T
    shown = np.arange(classes)
    if classes > _MATRIX:
        wrong = np.bincount(np.r_[true, guess], np.r_[count, count] * np.r_[true != guess, true != guess], classes)
        shown = np.sort(np.argsort(-wrong, kind="stable")[:_NAMED])
    place = np.full(classes, -1)
    place[shown] = np.arange(len(shown))
    inside = (place[true] >= 0) & (place[guess] >= 0)
    counts = np.zeros((len(shown), len(shown)))
    counts[place[true[inside]], place[guess[inside]]] = count[inside]
    return shown.tolist(), counts


def _by_label(ax: Axes, result: Result) -> None:
    """Precision and recall of each label; of many labels the poorest."""
    labels = sorted(result["labels"], key=lambda p: (p["f1"] != p["f1"], p["f1"]))[:_LABELS]
    at = np.arange(len(labels))
    for offset, key, colour in ((-0.2, "precision", BLUE), (0.2, "recall", SKY)):
        ax.barh(at + offset, [np.nan_to_num(p[key]) for p in labels], 0.4, color=colour, label=key)
    ax.set_yticks(at, apart([p["name"] for p in labels], 16))
    ax.set(xlim=(0, 1.02), ylim=(len(labels) - 0.4, -0.6))
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(axis="y", visible=False)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.08), ncols=2)
    which = "" if len(labels) == len(result["labels"]) else f" (poorest {_LABELS})"
    ax.set_title(f"{result['split']}, {result['rows']:,} rows: each label{which}")


def _calibration(fig: Figure | SubFigure, result: Result) -> None:
    """Share that is right against confidence, bin by bin, over the number of answers in each bin."""
    ax, below = fig.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    ece, bins = result["calibration"]["ece"], result["calibration"]["bins"]
    keys = ("from", "to", "accuracy", "confidence", "rows")
    left, right, accuracy, confidence, rows = (np.array([b[key] for b in bins]) for key in keys)
    ax.bar(left, accuracy, right - left, align="edge", color=SKY, edgecolor="white", label="share right")
    ax.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--", label="well calibrated")
    ax.plot(confidence, accuracy, "o", color=BLUE, markersize=5, label="mean confidence")
    ax.set(ylim=(0, 1.03), xlim=(0, 1), ylabel="right")
    ax.legend(loc="upper left")
    ax.set_title(f"calibration error (ECE) {ece:.3f}")
    below.bar(left, rows, right - left, align="edge", color=GREY, edgecolor="white")
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    below.set(xlabel="probability given to the answer", ylabel="answers")
    for axes in (ax, below):
        axes.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def _images(fig: Figure | SubFigure, result: Result, images: list[np.ndarray], across: int = _ACROSS) -> None:
    fig.suptitle("worst answers: true → predicted", x=0.01, ha="left", fontsize=11.5, fontweight="bold")
    axes = fig.subplots(ceil(len(images) / across), across, squeeze=False).flat
    for ax, pixels, answer in zip(axes, images, result["worst"], strict=False):
        picture = pixels.transpose(1, 2, 0).astype(float)
        low, high = picture.min(), picture.max()
        picture = (picture - low) / (high - low if high > low else 1)
        ax.imshow(picture if picture.shape[2] == 3 else picture[:, :, 0], cmap="gray")
        sure = f"\nby {answer['p_predicted']:.0%}" if "p_predicted" in answer else ""
        wrong = answer["true"] != answer["predicted"]
        true, guess = (plain(str(answer[key]), 15) for key in ("true", "predicted"))
        text = f"{true}{' ' if len(true + guess) < 12 else chr(10)}→ {guess}{sure}"
        ax.set_title(text, fontsize=9, loc="center", fontweight="normal", color=RED if wrong else INK)
    for ax in fig.axes:
        image(ax)


def _regression(result: Result, true: np.ndarray, predicted: np.ndarray, across: int = 2) -> Figure:
    """For each target the predictions over the truth, and how the errors are spread: side by side, or below."""
    targets = result["targets"][:_TARGETS]
    rows = len(targets) * 2 // across
    fig = empty(4.2 * rows, width=_PAIR if across == 2 else WIDTH)
    axes = fig.subplots(rows, across, squeeze=False).reshape(-1, 2)
    some = np.random.default_rng(0).permutation(len(true))[:_POINTS]
    for k, (target, (scatter, spread)) in enumerate(zip(targets, axes, strict=True)):
        both = np.stack([true[:, k], predicted[:, k]])
        low, high = both.min(), both.max()
        scatter.plot([low, high], [low, high], color=GREY, linewidth=1, linestyle="--")
        size = 4 if len(some) > 1_000 else 14
        scatter.scatter(
            true[some, k], predicted[some, k], s=size, color=BLUE, alpha=0.3 if len(some) > 1_000 else 0.6, linewidths=0
        )
        name = plain(target["name"], 40)
        scatter.set(xlabel=f"{name}, true", ylabel="predicted")
        r2 = f": r2 {target['r2']:.3f}" if math.isfinite(target["r2"]) else ""  # one row, or targets that are all equal
        rows_ = f"{result['rows']:,} row{'s' * (result['rows'] != 1)}"
        scatter.set_title(f"{result['split']}, {rows_}{r2}")
        for axis, scale in ((scatter.xaxis, scatter.set_xscale), (scatter.yaxis, scatter.set_yscale)):
            measured(axis, true[:, k], scale)  # both alike, so that the line of right answers is straight
        error = predicted[:, k] - true[:, k]
        spread.hist(error, bins=min(60, max(10, len(error) // 10)), color=SKY, edgecolor="white", linewidth=0.4)
        spread.axvline(0, color=GREY, linewidth=1, linestyle="--")
        measured(spread.xaxis, error)
        spread.axvline(error.mean(), color=ORANGE, linewidth=1.5, label=f"mean {number('rmse', error.mean())}")
        spread.set(xlabel="error: predicted - true", ylabel="rows")
        spread.yaxis.set_major_locator(MaxNLocator(6, integer=True))
        spread.legend()
        spread.set_title(
            f"RMSE {metrics.text('rmse', target['rmse'])}, MAE {metrics.text('mae', target['mae'])}, "
            f"median {metrics.text('mae', target['median_absolute_error'])}"
        )
    return fig


def _residuals(result: Result, true: np.ndarray, predicted: np.ndarray) -> Figure:
    """For each target the errors over the predictions, with their running median: what is left should have no shape."""
    targets = result["targets"][:_TARGETS]
    fig = empty(3.6 * len(targets))
    some = np.random.default_rng(0).permutation(len(true))[:_POINTS]
    for k, (target, ax) in enumerate(zip(targets, fig.subplots(len(targets), 1, squeeze=False).flat, strict=True)):
        order = some[np.argsort(predicted[some, k], kind="stable")]
        told, error = predicted[order, k], predicted[order, k] - true[order, k]
        look = {"alpha": 0.3, "markersize": 3} if len(some) > 1_000 else {"alpha": 0.6, "markersize": 5}
        ax.plot(told, error, "o", color=BLUE, markeredgewidth=0, label="_dots", **look)
        ax.axhline(0, color=GREY, linewidth=1, linestyle="--")
        parts = [part for part in np.array_split(np.arange(len(told)), min(10, len(told) // 10 or 1)) if len(part)]
        medians = [(np.median(told[part]), np.median(error[part])) for part in parts]
        if len(medians) > 2:
            ax.plot(*zip(*medians, strict=True), color=ORANGE, label="median of a tenth")
            ax.legend(loc="best")
        for axis, numbers, scale in ((ax.xaxis, told, ax.set_xscale), (ax.yaxis, error, ax.set_yscale)):
            measured(axis, numbers, scale)
        name = plain(target["name"], 30)
        ax.set(xlabel=f"{name}, predicted", ylabel=f"error, in units of {name}")
    return fig
