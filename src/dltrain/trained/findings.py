"""What `dltrain eval` found, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from dltrain.errors import tables
from dltrain.errors.output import apart, cut
from dltrain.parts import metrics

if TYPE_CHECKING:
    from dltrain.trained.judge import Result

_HEAVIEST = 30  # columns that the terminal shows
_SHOWN = 12  # classes, labels or targets that the terminal shows, the poorest first where there are more


def describe(result: Result) -> str:
    """Metrics, each class, calibration, the frequent confusions, the worst examples."""
    lines = [f"{result['split']}, {result['rows']:,} rows, weights of {result['checkpoint']}"]
    lines += [f"note         {note}" for note in result["notes"]]
    found = result["metrics"]
    names = metrics.told(found)
    lines += tables.turned([names, [metrics.text(n, found[n]) for n in names]])
    if others := [f"{n} {metrics.text(n, v)}" for n, v in found.items() if n not in names]:
        lines.append(f"also         {', '.join(others)}")
    lines += metrics.undefined({result["split"]: found}, names)
    for key, what in (("classes", "class"), ("labels", "label"), ("targets", "target")):
        if key in result and len(result[key]) > (key == "targets"):
            lines += _parts(result[key], what)
    lines += _thresholds(result)
    if calibration := result.get("calibration"):
        sure, right = (sum(b[k] * b["rows"] for b in calibration["bins"]) for k in ("confidence", "accuracy"))
        n = sum(b["rows"] for b in calibration["bins"])
        means = f"sure of its answers by {sure / n:.1%} on average, right in {right / n:.1%}"
        lines.append(f"calibration  ECE {calibration['ece']:.4f}: {means}")
    if confusions := _confusions(result):
        lines.append(f"confused     {confusions}")
    lines += [f"worst        {_example(worst)}" for worst in result["worst"][:5]]
    return "\n".join([*lines, *_importance(result)])


def _thresholds(result: Result) -> list[str]:
    """What each threshold gives: of the positive class, but for the balanced accuracy."""
    found = result.get("thresholds")
    if not (found and found["at"]):
        return []
    keys = list(found["at"][0]["here"])
    cells = [
        [_BEST[at["best_for"]], f"{at['threshold']:.4g}", *(metrics.text(key, at["here"][key]) for key in keys)]
        for at in found["at"]
    ]
    head = [f"best on val for {cut(found['of'])}", f"{cut(found['column'])} from", *(k.replace("_", " ") for k in keys)]
    return tables.table([head, *cells], right=range(1, 2 + len(keys)), cut=True)


_BEST = {"usual": "(as usual)", "f1": "f1", "balanced_accuracy": "balanced accuracy"}


def _importance(result: Result) -> list[str]:
    """By how much the metric is worse where a column is shuffled."""
    found = result.get("importance")
    if not found:
        return []
    name, columns = found["metric"], found["columns"]
    value = metrics.text(name, found["value"])
    lines = [f"shuffled     {found['rows']:,} rows, {found['repeats']} times a column: {name} {value} is worse by"]
    heaviest = columns[:_HEAVIEST]
    names = apart([c["name"] for c in heaviest])
    cells = [
        [n, *(metrics.difference(name, c[key]) for key in ("mean", "std"))]
        for n, c in zip(names, heaviest, strict=True)
    ]
    unit = " (points)" if metrics.in_percent(name) else ""
    lines += tables.table([["column", f"{name}{unit}", "deviation"], *cells], right=(1, 2), cut=True)
    left = len(columns) - _HEAVIEST
    return lines + [f"and {left} more, in the file"] * (left > 0)


def _parts(parts: list[Result], what: str) -> list[str]:
    """A row for each class, label or target."""
    keys = [k for k in parts[0] if k not in ("name", "predicted")]
    if len(parts) > _SHOWN:
        by = "f1" if "f1" in keys else "r2"
        parts = sorted(parts, key=lambda p: (p[by] != p[by], p[by]))[:_SHOWN]  # nan last
        what = f"{what} (poorest {_SHOWN})"
    names = apart([p["name"] for p in parts])
    cells = [
        [name, *(f"{p[k]:,}" if k == "rows" else metrics.text(k, p[k]) for k in keys)]
        for name, p in zip(names, parts, strict=True)
    ]
    return tables.table([[what, *(k.replace("_", " ") for k in keys)], *cells], right=range(1, 1 + len(keys)), cut=True)


def _confusions(result: Result) -> str:
    """The most frequent mistakes, in words."""
    found = result.get("confusion", {"names": [], "true_predicted_count": []})
    names = apart(found["names"])
    pairs = [(n, names[i], names[j]) for i, j, n in found["true_predicted_count"] if i != j]  # most frequent first
    more = f" and {len(pairs) - 5} other pairs" if len(pairs) > 5 else ""
    return ", ".join(f"{true} taken for {guess} ({n}x)" for n, true, guess in pairs[:5]) + more


def _example(worst: Result) -> str:
    where = cut(worst.get("file") or worst.get("place") or f"number {worst['index']}", 200)
    if isinstance(worst["true"], dict):
        values = (_apart(cut(name), value, worst["predicted"][name]) for name, value in worst["true"].items())
        return f"{where}: {'; '.join(values)}"
    both = (worst["true"], worst["predicted"])
    true, guess = (cut(", ".join(v) or "none" if isinstance(v, list) else v) for v in both)
    sure = f", by {worst['p_predicted']:.1%}" if "p_predicted" in worst else ""
    return f"{where}: {true}, predicted {guess}{sure}"


def _apart(name: str, true: float, predicted: float) -> str:
    """Two values with five digits; where those would hide their difference, as whole numbers or with more."""
    size, gap = max(abs(true), abs(predicted)), abs(true - predicted)
    digits = 5
    if 0 < gap < 1e-3 * size < math.inf:
        digits = min(17, max(2 + math.ceil(math.log10(size / gap)), math.ceil(math.log10(size))))
    return f"{name} {true:.{digits}g}, predicted {predicted:.{digits}g}"
