"""What a person should read about a picture of a run: words that hold for this run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain.data.tables.cells import words
from dltrain.insight import history
from dltrain.parts.codes import Embeddings
from dltrain.runs import pulse
from dltrain.runs.reading import Report, Run

if TYPE_CHECKING:
    from torch import nn

    from dltrain.data import Preprocessing
    from dltrain.data.units import Units
    from dltrain.training.replay import Way

QUESTIONS = {  # what `plots.evaluation.parts` draws: title and caption
    "confusion": (
        "Which classes are confused",
        "Test samples by their true class (rows) and the net's answer (columns). The diagonal is right; a coloured "
        "cell beside it is a pair of classes that the net mixes up.",
    ),
    "mixed": (
        "What is mixed up",
        "Of the test samples of each class (rows) the share that was called another (columns); the right ones are "
        "masked, so that rare mistakes are seen.",
    ),
    "residuals": (
        "What is left",
        "The error of each test sample over its prediction. It should have no shape: where the median leaves zero the "
        "answers are biased, and a funnel says that large answers are less sure than small ones.",
    ),
    "importance": (
        "Which columns matter",
        "By how much the metric is worse where a column of the test part is shuffled, five times. Of two columns that "
        "say the same each makes up for the other, and both look unimportant.",
    ),
    "labels": (
        "How each label is found",
        "Of the test samples: precision is the share of its answers that are right, recall the share of the true ones "
        "that it finds.",
    ),
    "calibration": (
        "Does it know when it is right?",
        "Test answers, grouped by the probability that the net gave them. On the dashed line its confidence is honest; "
        "bars below the line say that it is too sure of itself.",
    ),
    "ranking": (
        "How well does it rank?",
        "Each threshold is a point of both curves. Above: what share of the positive test samples is found, at the "
        "cost of which share of the others; chance is the dashed line. Below: which share of what it then calls "
        "positive is so. Where a class is rare the second tells more.",
    ),
    "mistakes": (
        "The worst answers",
        "The test samples to whose true class the net gave the least probability. Some can't be told by a person "
        "either, and some may be labelled wrongly.",
    ),
    "regression": (
        "Truth and prediction",
        "Each dot is a test sample: on the dashed line the prediction is exact. Below: how the errors are spread; a "
        "mean away from zero is a bias.",
    ),
}


GRADIENTS = (
    "The gradient, layer by layer",
    "The root mean square of the loss's gradient by each layer's weights, on some train rows, at first and at the end. "
    "A line that falls towards the first layers says that they hardly learn: the gradient vanishes on its way.",
)
ARROW = "The arrow is the direction of w, at a right angle to the boundary."
COUNTED = "A mistake is an answer with y f(x) ≤ 0, a tie too; nothing else moves the weights."


def clipped(norms: Sequence[float], most: float) -> tuple[str, str]:
    """The title and the caption of the gradients of a run that clips them to a norm."""
    cut = sum(norm > most for norm in norms)
    return "Gradients before and after clipping", (
        "Each dot is the step of a report: in blue the norm of the gradient of all weights as back-propagation gives "
        "it, in green what is left of it; its direction stays. "
        f"{cut:,} of these {len(norms):,} were cut to clip_norm={most:g}."
    )


def mistakes(count: int, *, cut: bool) -> str:
    """What the film of a perceptron's mistakes shows."""
    begin = "Each picture but the first and the last is a step that changed the weights"
    if cut:
        begin = f"The first {count:,} steps that changed the weights, and the end"
    return (
        f"{begin}. The ringed sample was answered wrongly, y f(x) ≤ 0; the dashed line is the boundary before w was "
        "moved to w + ε y x, where ε is the learning rate, the black one that after it. The arrow is the "
        "direction of w, at a right angle to the boundary, towards the samples that are called positive. Where no "
        "boundary is seen it lies outside the picture."
    )


def curves(reports: Sequence[Report], *, same: bool, units: Units | None, kept: bool) -> list[str]:
    """What the curves of this run show, sentence by sentence."""
    told = ["What became of the net, epoch by epoch."]
    if units:
        told.append(f"The loss is of the {units.words}.")
    turned = history.overfit(reports)
    if same:
        told.append("All rows are for training and validation alike, so that there is one curve.")
    elif turned is not None:
        told.append(
            f"From epoch {pulse.epoch(turned)} on the validation loss rises while the train loss falls: what the net "
            "learns there are its examples by heart."
            if turned
            else f"The {history.not_overfit(reports).partition(': the ')[2]}."
        )
    if kept:
        told.append("The dashed line marks the epoch whose weights were kept.")
    return told


def weights(run: Run) -> str:
    """Which weights the pictures of the net show."""
    return "last weights" if run.numbers.get("best/step") in (None, run.steps) else "best weights"


def kept(run: Run) -> str:
    """What the weights of the pictures are called beside those of the way, where they are not its last ones."""
    return "" if weights(run) == "last weights" else f"the best weights, step {run.numbers['best/step']:,.0f}"


def moments(run: Run) -> tuple[str, str]:
    """The same as a sentence, and what the end of the net's way is called."""
    kept, last = run.numbers.get("best/step"), run.steps
    if weights(run) == "last weights":
        return "These are the last weights.", "the last weights"
    best = f"These are the best weights by {run.monitor}, those of step {kept:,.0f}."
    return best, f"the last weights, those of step {last:,} (the best ones are of step {kept:,.0f})"


def start(way: Way) -> str:
    """What a way begins with."""
    zero = all(not tensor.any() for name, tensor in way.weights[0].items() if name.endswith(("weight", "bias")))
    return "weights of zero" if zero else "the first weights"


def inputs(preprocessing: Preprocessing, count: int) -> list[str]:
    """What each of so many inputs is called, categories one by one, a column of codes by its name; x1, x2, ... where
    nothing is known. They are those of the net, or those of the layer that sees zeros and ones in the place of codes.
    """
    found: list[list[str]] = [[], []]
    for column in preprocessing.get("columns", []):
        hot = [f"{column['name']}={word}" for word in words(column)] or [column["name"]]
        for names, coded in zip(found, (column.get("coded"), False), strict=True):
            names += [column["name"]] if coded else hot
    return next((names for names in found if len(names) == count), [f"x{i + 1}" for i in range(count)])


def first_inputs(model: nn.Module, preprocessing: Preprocessing, count: int) -> list[str]:
    """What the so many inputs of a net's first layer of units are called: behind `Embeddings` the numbers, then those
    that stand for each category.
    """
    front = next((m for m in model.modules() if isinstance(m, Embeddings)), None)
    if front is None:
        return inputs(preprocessing, count)
    names = inputs(preprocessing, front.in_features)
    numbers = [name for begin, end in front.spans for name in names[begin:end]]
    tables = zip(front.positions, front.tables, strict=True)
    return [*numbers, *(f"{names[at]} {k + 1}" for at, table in tables for k in range(table.shape[1]))]
