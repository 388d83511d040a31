"""What is wrong with a run, in words, and the override to try: one function for each complaint.

A check names a cause only where the run shows its effect: half of the ReLU units may be dead in a net that learns
well, and a rate may be far from the best one. Thresholds come from the literature where it has them; the others lie
between the healthy and the sick runs of tests/insight/test_doctor.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from dltrain.data import Tensors, quality
from dltrain.engine import evaluation
from dltrain.engine.assessment import no_better, trivial
from dltrain.errors.output import cut
from dltrain.insight import history
from dltrain.insight.doctor.causes import STUCK
from dltrain.insight.doctor.examine import Examination
from dltrain.insight.doctor.remedies import longer, offer, regularisers
from dltrain.insight.doctor.verdict import Check, Verdict

_SHORTFALL = 0.1  # of accuracy that a net has below its rows' nearest neighbours: it fits worse than no model
_SHORTFALL_R2 = 0.15
_TIMES, _MORE = 3.0, 0.03  # a net may leave so many times the error of the nearest neighbours, unless that is tiny
_RARE = 9.0  # the most frequent class against the rarest: from here a constant answer of two classes is right in 90 %


def fails_to_learn(exam: Examination) -> bool:
    """Whether the net fits its own train rows no better than one answer for all, or worse than near rows would."""
    if exam.status == "diverged" or exam.weights is None:
        return True
    train, near = exam.scores["train"], exam.neighbours
    if not math.isfinite(train["loss"]):
        return True
    if no_better(train, exam.trivial) and not _imbalanced(exam):
        return True
    if near is None or near.z < 3:
        first = exam.at_first.loss
        return train["loss"] > 0.95 * first > 0
    name, shortfall = ("accuracy", _SHORTFALL) if "accuracy" in train else ("r2", _SHORTFALL_R2)
    short, left, near_left = near.score - train[name], 1 - train[name], 1 - near.score
    return short > shortfall or (short > _MORE and left > _TIMES * near_left)


def _imbalanced(exam: Examination) -> bool:
    return bool(exam.counts) and max(exam.counts) >= _RARE * max(1, min(exam.counts))


# -- data and loss ---------------------------------------------------------------------------------------------

_LOGITS = ("CrossEntropy", "CrossEntropyLoss", "BCE", "BCEWithLogitsLoss", "OneHotMSE", "Hinge", "Perceptron")


def wrong_loss(exam: Examination) -> Verdict | None:
    """A loss that is given what it is not made for: probabilities, bounded values, or classes as numbers."""
    name, data = type(exam.plan.loss).__name__, exam.plan.data
    end = _bounds(exam)
    off = (
        "try model.output=identity"
        if "output" in exam.plan.parts["model"].arguments
        else f"leave the last {end} out of the model"
    )
    if end and data.task != "regression" and name in _LOGITS:
        return Verdict("wrong_loss", f"the net ends in a {end}, and the loss {name} wants values without bounds", off)
    if data.task == "regression":
        y, (least, most) = exam.train[1], _REACH.get(end, (-math.inf, math.inf))
        outside = ((y < least) | (y > most)).double().mean().item()
        if outside > 0.05:
            units = f" (in {data.units.axis})" if data.units else ""
            what = f"the net ends in a {end}, and {outside:.0%} of the targets{units} are out of its reach"
            return Verdict("wrong_loss", what, off)
        if isinstance(data.train, Tensors) and data.train.y.shape[1] == 1 and len(data.train) >= 50:
            values = data.train.y.unique()
            original = evaluation.original(values[:, None], data.units)
            if len(values) <= 4 and (original - original.round()).abs().max() < 1e-3:
                what = f"the target has only {len(values)} whole values, which are rather classes than numbers"
                return Verdict("wrong_loss", what, "try data.task=classification loss=auto")
    elif any(value < -1e-3 for value in history.values(exam.curve, "train/loss")):
        what = f"the loss {name} is negative: it wants logarithms of probabilities, and gets values without bounds"
        return Verdict("wrong_loss", what, offer(exam.plan, "loss=auto", otherwise="try another loss"))
    return None


_REACH = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "ReLU": (0.0, math.inf)}


def _bounds(exam: Examination) -> str:
    """The activation that keeps the outputs within bounds, or nothing."""
    if not exam.at_first.weighted:
        return ""
    out = exam.reach
    if out.shape[1] > 1 and (out >= 0).all() and torch.allclose(out.sum(1), torch.ones(len(out)), atol=1e-4):
        return "softmax"
    low, high = out.min().item(), out.max().item()
    if high - low < 1e-6:  # all weights zero
        return ""
    return next((name for name, (least, most) in _REACH.items() if least <= low and high <= most), "")


def unscaled(exam: Examination) -> Verdict | None:
    """Inputs far larger or smaller than the first weights are made for."""
    low, high = exam.sizes.min().item(), exam.sizes.max().item()
    if quality.SMALL <= high <= quality.LARGE:
        return None
    knob = "data.scaling" if "scaling" in exam.plan.parts["data"].names else None
    words = "scale them to mean 0 and deviation 1 (fitted on the train part)"
    remedy = offer(exam.plan, f"{knob}=standard", otherwise=words) if knob else words
    return Verdict("unscaled_inputs", f"the inputs are unscaled: features of size {low:.2g} to {high:.2g}", remedy)


def leak(exam: Examination) -> Verdict | None:
    """Rows of val or test that stand in the train part too. Two of a few hundred may be chance: irises are; and of two
    rounded lengths many are.
    """
    for name, (count, rows) in exam.repeated.items():
        if count >= 3 and count >= 0.02 * rows and not exam.met:
            what = f"{count:,} of the {rows:,} {name} rows stand in the train part too, so that {name} shows too little"
            return Verdict("leak", what, "remove repeated rows before the data are split")
    return None


def other_split(exam: Examination) -> Verdict | None:
    """A val part that differs from the train part, as when sorted rows were cut without shuffling."""
    data = exam.plan.data
    if data.task == "multilabel" or not (isinstance(data.val, Tensors) and isinstance(data.train, Tensors)):
        return None
    n = len(data.val)
    if data.task == "regression":
        val, train = data.val.y.double(), data.train.y.double()
        off = ((val.mean(0) - train.mean(0)).abs() / train.std(0, correction=0).clamp_min(1e-12)).max().item()
        if off > max(0.5, 5 / n**0.5):
            what = f"the val targets lie {off:.1f} standard deviations from the train targets"
            return Verdict("other_split", what, "shuffle the rows before cutting off a part")
        return None
    share = [torch.bincount(part.y, minlength=len(data.classes)) / len(part) for part in (data.train, data.val)]
    off, worst = (share[0] - share[1]).abs().max(0)
    p = share[0][worst].item()
    if off > max(0.15, 5 * math.sqrt(max(p * (1 - p), 1 / n) / n)):
        what = (
            f"class {cut(data.classes[worst])} has {p:.0%} of the train rows and {share[1][worst]:.0%} of the val rows"
        )
        return Verdict("other_split", what, "shuffle the rows before cutting off a part")
    return None


def imbalance(exam: Examination) -> Verdict | None:
    """A rare class that the net passes over."""
    counts = exam.counts
    if not _imbalanced(exam) or min(counts) == 0 or exam.weights is None:
        return None
    rare = counts.index(min(counts))
    recall = exam.recalls[rare]
    if not recall < 0.5:
        return None
    name, share = cut(exam.plan.data.classes[rare]), max(counts) / sum(counts)
    what = (
        f"class {name} has {min(counts):,} of {sum(counts):,} train rows, and {recall:.0%} of its rows are found: "
        f"an answer that never changes has an accuracy of {share:.1%}"
    )
    balanced = "loss=bce loss.pos_weight=balanced" if exam.plan.out_features == 1 else ""
    balanced = balanced or "loss=cross_entropy loss.class_weights=balanced"
    remedy = offer(exam.plan, balanced, otherwise="find more rows of it")
    return Verdict("imbalance", what, f"{remedy}, and judge by average_precision")


def shuffled_labels(exam: Examination) -> Verdict | None:
    """Labels that have nothing to do with the inputs, for neighbours or for the net."""
    near = exam.neighbours
    if near is None or near.z >= 3 or not exam.scores:
        return None
    val, n = exam.scores["val"], len(exam.plan.data.val)
    if "accuracy" in val:
        y = exam.plan.data.val.y if isinstance(exam.plan.data.val, Tensors) else exam.train[1]
        chance = trivial(y, task=exam.plan.data.task)["accuracy"]
        learned, shown = val["accuracy"] > chance + 3 * math.sqrt(0.25 / n), f"an accuracy of {val['accuracy']:.1%}"
    else:
        learned, shown = val["r2"] > 0.1, f"an r2 of {val['r2']:.2f}"
    if learned:
        return None
    what = f"the labels have nothing to do with the inputs, neither for near rows nor for the net ({shown} on val)"
    return Verdict("shuffled_labels", what, "see whether inputs and labels were joined row by row")


def label_errors(exam: Examination) -> Verdict | None:
    """Many labels that all near rows contradict, in a set whose near rows agree otherwise (Northcutt et al. 2021)."""
    near = exam.neighbours
    if near is None or len(near.suspects) < max(5, 0.03 * near.rows) or near.score < 0.7 or near.z < 3:
        return None
    if max(exam.counts) >= _RARE * min(exam.counts):
        return None
    rows = ", ".join(map(str, near.suspects[:5]))
    what = f"{len(near.suspects)} of {near.rows:,} labels contradict their nearest rows (train rows {rows}, ...)"
    smoother = offer(exam.plan, "loss=cross_entropy loss.label_smoothing=0.1", otherwise="")
    return Verdict("label_errors", what, "look at them" + f"; {smoother}" * bool(smoother))


def overfitting(exam: Examination) -> Verdict | None:
    """A val loss that has risen from its lowest, and a gap to train that no chance makes."""
    losses = history.values(exam.curve, "val/loss")
    if not exam.scores or not losses or exam.plan.data.val is exam.plan.data.train:
        return None
    train, val, lowest = exam.scores["train"], exam.scores["val"], min(losses)
    if val["loss"] <= 1.2 * lowest or exam.status == "diverged":
        return None
    doubled = val["loss"] > 1.7 * lowest and val["loss"] > 2 * train["loss"]  # tells more than a few val rows' accuracy
    if "accuracy" in train:
        noise = 3 * math.sqrt(max(val["accuracy"] * (1 - val["accuracy"]), 1e-4) / len(exam.plan.data.val))
        gap = train["accuracy"] - val["accuracy"] > max(0.05, noise)
        gap = gap or (train["accuracy"] - val["accuracy"] > 0.08 and doubled)
        shown = f"accuracy {train['accuracy']:.1%} on train, {val['accuracy']:.1%} on val"
    else:
        gap, shown = train["loss"] < 0.5 * val["loss"], f"loss {train['loss']:.3g} on train, {val['loss']:.3g} on val"
    if not gap:
        return None
    what = f"the net overfits: {shown}, and the val loss rose from {lowest:.3g} to {val['loss']:.3g}"
    left = regularisers(exam.plan, "dropout", "early_stopping")
    tries = [f"regularisation=[{','.join(left)}]"] if left else []
    return Verdict("overfitting", what, f"try {', '.join([*tries, 'a smaller net'])}, or more rows")


def lagging(exam: Examination) -> Verdict | None:
    """A BatchNorm whose kept averages are not those of the net as it is: good in training, bad in eval mode."""
    if exam.weights is None or exam.status == "diverged" or exam.by_batch is None:
        return None
    name = "accuracy" if "accuracy" in exam.by_batch else "r2"
    batch, kept = exam.by_batch[name], exam.scores["train"][name]
    if not batch > kept + _SHORTFALL_R2:
        return None
    same = f", where every row gets the same answer, {exam.constant}" if exam.constant else ""
    what = (
        f"in eval mode the net has {name} {kept:.2f} on its train rows{same}, and {batch:.2f} with each batch's own "
        f"statistics: after {exam.plan.total_steps:,} steps the averages that BatchNorm keeps still lag behind"
    )
    return Verdict("lagging", what, f"try {longer(exam.plan)}, or give BatchNorm a momentum of 0.1 or more")


# -- all of them -----------------------------------------------------------------------------------------------

_ALWAYS: tuple[Check, ...] = (wrong_loss, unscaled, leak, other_split)
_LEARNT: tuple[Check, ...] = (imbalance, shuffled_labels, label_errors, overfitting)


def verdicts(exam: Examination) -> Iterator[Verdict]:
    """The complaints, the gravest first; none for a healthy run."""
    found = [verdict for check in _ALWAYS if (verdict := check(exam))]
    yield from found
    if any(verdict.name in ("wrong_loss", "unscaled_inputs") for verdict in found):
        return  # what else is seen follows from it
    if lag := lagging(exam):
        yield lag
        return
    checks = (shuffled_labels, *STUCK) if fails_to_learn(exam) else _LEARNT
    first = next((verdict for check in checks if (verdict := check(exam))), None)
    if first and checks is not _LEARNT and exam.constant:
        first = replace(first, what=f"{first.what}, and every row gets the same answer, {exam.constant}")
    if first:
        yield first
