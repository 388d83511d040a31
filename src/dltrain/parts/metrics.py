"""Metrics by their names: which a task has, which way is better, and how a value is told. Torch is not needed.

loss                    the mean of the loss that is trained by, without class weights and label smoothing
accuracy, exact_match   the share of rows (of labels: of all single ones) that are right; of rows with all labels right
balanced_accuracy, mcc  the mean recall of the classes that occur; Matthews' correlation, 0 of an answer for all rows
f1                      of classes the macro average, of labels the micro average, as in all runs so far
*_macro, _micro,        precision, recall and F1 as scikit-learn averages them: over classes that occur or are
_weighted               predicted, over all rows, over classes by their rows; over labels that are set or predicted
log_loss, brier         of probabilities, also where the loss is another; of labels the mean over them
roc_auc,                areas under the curves: how well answers rank rows. Of several classes one against the rest, and
average_precision       the mean over those that some rows have and some have not, as of labels
rmse, mae, r2,          in original units, mean over the targets
median_absolute_error
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from dltrain.data import Task

_CLASSES = (
    *("loss", "accuracy", "f1", "balanced_accuracy", "mcc", "roc_auc", "average_precision", "log_loss", "brier"),
    *("f1_macro", "f1_micro", "f1_weighted", "precision_macro", "recall_macro"),
)
METRICS: dict[Task, tuple[str, ...]] = {  # all that a task has; the last judgement of a run has them all
    "binary": _CLASSES,
    "multiclass": _CLASSES,
    "multilabel": (
        *("loss", "accuracy", "exact_match", "f1", "roc_auc", "average_precision", "log_loss", "brier"),
        *("f1_macro", "f1_micro"),
    ),
    "regression": ("loss", "rmse", "mae", "r2", "median_absolute_error"),
}
USUAL: dict[Task, tuple[str, ...]] = {  # what each validation has: sums that cost nearly nothing
    "binary": ("loss", "accuracy", "f1", "balanced_accuracy", "mcc"),
    "multiclass": ("loss", "accuracy", "f1", "balanced_accuracy", "mcc"),
    "multilabel": ("loss", "accuracy", "exact_match", "f1"),
    "regression": ("loss", "rmse", "mae", "r2"),
}
OF_PROBABILITIES = ("log_loss", "brier")
OF_ALL_ROWS = ("roc_auc", "average_precision", "median_absolute_error")  # no sums: they need the rank of each answer
DIRECTION: dict[str, Literal["min", "max"]] = {  # in the order in which they are shown
    "loss": "min",
    "accuracy": "max",
    "exact_match": "max",
    "f1": "max",
    "balanced_accuracy": "max",
    "mcc": "max",
    "roc_auc": "max",
    "average_precision": "max",
    "rmse": "min",
    "mae": "min",
    "r2": "max",
    "median_absolute_error": "min",
    "log_loss": "min",
    "brier": "min",
    "f1_macro": "max",
    "f1_micro": "max",
    "f1_weighted": "max",
    "precision_macro": "max",
    "recall_macro": "max",
}
MAIN = ("accuracy", "rmse")  # one for each task: what a row of a table has room for
_TOLD = (  # what a table of one run has room for
    *("loss", "accuracy", "exact_match", "f1", "balanced_accuracy", "roc_auc", "average_precision"),
    *("rmse", "mae", "r2", "median_absolute_error"),
)
SHARES = (  # from 0 to 1, and in per cent along an axis
    *("accuracy", "exact_match", "f1", "balanced_accuracy", "roc_auc", "average_precision"),
    *("f1_macro", "f1_micro", "f1_weighted", "precision_macro", "recall_macro"),
)
_ONE_CLASS = "these rows have one class alone, or one value of each label, or are too many to be ranked"
_WHY = {
    **dict.fromkeys(("roc_auc", "average_precision"), _ONE_CLASS),
    **dict.fromkeys(("f1", "f1_micro", "f1_macro"), "no label is set or predicted"),
    "r2": "a target is the same in all rows",
}


def mode(metric: str) -> Literal["min", "max"]:
    """Whether a smaller or a larger value of the metric is better."""
    if metric not in DIRECTION:
        raise ValueError(f"there is no metric {metric}; the metrics are {', '.join(DIRECTION)}")
    return DIRECTION[metric]


def default_monitor(task: Task) -> str:
    """The metric by which the best epoch is chosen unless the user says otherwise."""
    return next(name for name in MAIN if name in METRICS[task])


def for_rare(counts: Sequence[int]) -> str:
    """The metric that chooses where a class is rare, by the rows of each class.

    Of two classes the average precision is that of the second, which is blind where the first is rare. Decisions, as in
    F1 or the balanced accuracy, choose early epochs by chance where a net never answers with the rare class: on a table
    with 2.5 % positive rows this cost a third of the average precision on the test part.
    """
    return "roc_auc" if len(counts) == 2 and counts[0] < counts[1] else "average_precision"


def told(names: Iterable[str], *others: str) -> list[str]:
    """Of metrics that there are those that a table of one run shows, in its order; `others` are asked for by name, such
    as val/mcc.
    """
    wanted = {*_TOLD, *(name.rsplit("/", 1)[-1] for name in others)}
    return [name for name in DIRECTION if name in wanted and name in {*names}]


def undefined(parts: Mapping[str, Mapping[str, float | None]], names: Iterable[str]) -> list[str]:
    """A line on those of some metrics that have no value in a part, and why that may be; none where all have one."""
    found = {
        n: [part for part, own in parts.items() if n in own and (own[n] is None or own[n] != own[n])] for n in names
    }
    lacking = [f"{name} ({', '.join(own)})" for name, own in found.items() if own]
    why = {_WHY[name] for name, own in found.items() if own and name in _WHY}
    return (
        [f"not defined  {', '.join(lacking)}: {'; '.join(sorted(why)) or 'some numbers are not finite'}"]
        if lacking
        else []
    )


def larger_is_better(metric: str) -> bool:
    """Whether larger values are; of any name that is no metric they are not."""
    return DIRECTION.get(metric.rsplit("/", 1)[-1]) == "max"


def in_percent(metric: str) -> bool:
    """Whether a text says it in per cent, and a difference in percentage points; of test/accuracy as of accuracy."""
    return metric.rsplit("/", 1)[-1] in ("accuracy", "exact_match", "balanced_accuracy")  # shares of rows


def text(metric: str, value: float | None) -> str:
    """A value as a person reads it."""
    if value is None or value != value:
        return "-"
    if in_percent(metric):
        return f"{value:.2%}"
    return f"{value:,.0f}" if 10_000 <= abs(value) < 1e15 else f"{value:.4g}"


def difference(metric: str, value: float) -> str:
    """The difference of two values, without a unit."""
    return f"{100 * value:.2f}" if in_percent(metric) else f"{value:.4g}"
