"""Why a net does not learn, causes before their effects: one function for each, asked only where it does not.

Thresholds come from the literature where it has them; the others lie between the healthy and the sick runs of
tests/insight/test_doctor.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dltrain import located
from dltrain.errors.output import cut
from dltrain.insight import history
from dltrain.insight.doctor import signs
from dltrain.insight.doctor.examine import Examination, Look
from dltrain.insight.doctor.remedies import longer, offer, rate
from dltrain.insight.doctor.verdict import Check, Verdict

_WILD = 5.0  # first loss against that of an answer of zeros; Karpathy 2019 wants them equal, -log(1/C) for C classes
# The rate at which the loss is back at its start (Smith 2015) is too high whatever the schedule; a thirtieth of what
# the range test suggests takes a run that is thirty times as long.
_TOO_LOW = 1 / 30
_OUTWEIGHS = 30.0  # one class against all others together, of the rows times their weights
_USUAL = 1e-3  # of a weight's size, that a step changes (Karpathy 2019)
_PULL = 0.05  # the penalty on the first weights as a share of the first loss: from here on it counts beside the data


def cut_off(exam: Examination) -> Verdict | None:
    """A step function, whose derivative is 0 wherever it has one: nothing below it is ever moved."""
    step = next((layer for layer in reversed(signs.inner(exam.at_first.layers)) if layer.kind == "Sign"), None)
    if step is None:
        return None
    what = f"no gradient gets below {step.name}: the derivative of sign is 0, and what lies below stays as it was drawn"
    tries = "try model.activation=tanh or model.activation=relu"
    return Verdict("cut_off", what, tries if _has(exam, "activation") else "use tanh or ReLU in its place")


def alike(exam: Examination) -> Verdict | None:
    """A hidden layer whose units are one unit, many times over: nothing in a step tells them apart."""
    if not (name := exam.alike):
        return None
    what = f"all units of {name} have the same first weights, so they get the same gradients and stay alike"
    init = _init(exam)
    return Verdict("alike", what, offer(exam.plan, *init, otherwise="draw the first weights at random"))


def exploding(exam: Examination) -> Verdict | None:
    """Values or gradients that grow from layer to layer, before the first step."""
    first = exam.at_first.weighted
    if len(first) < 2 or not (first[-1].gradient and first[0].gradient and first[0].std):
        return None
    growth, back = first[-1].std / first[0].std, first[0].gradient / first[-1].gradient
    if growth < signs.EXPLODED and back < signs.EXPLODED:
        return None
    what = f"gradients explode: {back:.0e} times the last layer's at the first one (values grow {growth:.0e} times)"
    return Verdict("exploding", what, _initial(exam, "regularisation=clip_norm"))


def dead_at_first(exam: Examination) -> Verdict | None:
    """Most units of a ReLU layer without any gradient, before the first step."""
    return _dead(exam, exam.at_first, "before the first step", _initial(exam))


def saturated(exam: Examination) -> Verdict | None:
    """Most values of a sigmoid or tanh layer in the flat part of the curve, before the first step."""
    if layer := signs.saturated(exam.at_first.layers):
        share = f"{layer.saturated:.0%} of the values of {layer.name} ({layer.kind})"
        what = f"{share} are saturated before the first step"
        return Verdict("saturated", what, _initial(exam))
    return None


def vanishing(exam: Examination) -> Verdict | None:
    """Gradients that shrink from layer to layer on their way back, at the first step."""
    ratios = signs.ratios(exam.at_first.layers)
    below = [i for i, ratio in enumerate(ratios) if ratio < signs.VANISHED]
    if not below:
        return None
    what = f"gradients vanish below layer {below[-1] + 2} ({ratios[0]:.0e} of the last layer's at the first one)"
    model = exam.plan.parts["model"].arguments
    if model.get("activation") in ("sigmoid", "tanh") and model.get("init") != "normal":  # else they are too small
        tries = ("model.activation=relu", "model.norm=batch")
        return Verdict("vanishing", what, offer(exam.plan, *tries, otherwise="try fewer layers"))
    return Verdict("vanishing", what, _initial(exam))


def weighted(exam: Examination) -> Verdict | None:
    """Weights of classes that make one of them all that counts."""
    one, many = (getattr(exam.plan.loss, name, None) for name in ("pos_weight", "weight"))
    weights: list[float] = many.tolist() if isinstance(many, Tensor) else []
    if isinstance(one, Tensor) and one.numel() == 1:
        weights = [1.0, one.item()]
    shares = [weight * count for weight, count in zip(weights, exam.counts, strict=False)]
    if len(shares) < 2 or max(shares) <= _OUTWEIGHS * (sum(shares) - max(shares)):
        return None
    name = cut(exam.plan.data.classes[shares.index(max(shares))])
    what = f"class {name} is {max(shares) / sum(shares):.1%} of the loss by its weight, and the others hardly count"
    knob = "pos_weight" if one is not None else "class_weights"
    return Verdict("weighted", what, offer(exam.plan, f"loss.{knob}=balanced", otherwise="try smaller weights"))


def wild_start(exam: Examination) -> Verdict | None:
    """First outputs so large that the loss starts far above that of knowing nothing."""
    first, guess = exam.at_first.loss, exam.guess
    if not first > _WILD * guess > 0:
        return None
    what = f"the first loss is {first:.3g}, and an answer of zeros has {guess:.3g}: the first weights are too large"
    return Verdict("wild_start", what, _initial(exam))


def lr_too_high(exam: Examination) -> Verdict | None:
    """A peak above the rate at which the range test's loss is back at its start."""
    curve, peak = exam.rates, exam.peak
    if curve is None:
        return Verdict("lr_too_high", "the loss breaks down at any learning rate from 1e-5 up", "see dltrain trace")
    if curve.edge is None:  # the test ended where the loss was still low, or it has no scale
        if peak <= curve.rates[-1] or curve.suggested is None:
            return None
        if not (exam.status == "diverged" or _rose(exam) or _could(exam)):
            return None
        what = f"the learning rate is too high: {peak:.2g}, where the loss falls lowest near {curve.down_rate:.2g}"
        return Verdict("lr_too_high", what, f"try {rate(exam.plan, curve.suggested)}")
    if peak <= curve.edge:
        return None
    if curve.flat and exam.weights is not None and exam.scores["train"]["loss"] < 1.05 * exam.at_first.loss:
        return None  # an edge in a loss that never fell is noise, and the run itself did not rise
    what = f"the learning rate is too high: {peak:.2g}, and from {curve.edge:.2g} on the loss grows"
    tries = [rate(exam.plan, curve.suggested)] if curve.suggested else []
    remedy = offer(exam.plan, *tries, otherwise="see dltrain lr")
    return Verdict("lr_too_high", what, remedy)


def lr_too_low(exam: Examination) -> Verdict | None:
    """A peak far below what the range test suggests."""
    curve, peak = exam.rates, exam.peak
    if curve is None or curve.suggested is None or peak >= curve.suggested * _TOO_LOW or exam.weights is None:
        return None
    if curve.flat:
        return None  # it learns at no rate
    if not (_still_falling(exam) or exam.scores["train"]["loss"] > 0.7 * exam.at_first.loss):
        return None  # it got somewhere, and stays there
    if not _could(exam):
        return None  # nor does the net get further at another rate
    moved = [layer.update for layer in exam.first_update if layer.update is not None]
    little = bool(moved) and max(moved) < _USUAL / 3
    size = f", and a step changes the weights by {max(moved):.0e} of their size (1e-3 is usual)" * little
    what = f"the learning rate is too low: {peak:.2g}{size}"
    return Verdict("lr_too_low", what, offer(exam.plan, rate(exam.plan, curve.suggested), otherwise="see dltrain lr"))


def dead_at_last(exam: Examination) -> Verdict | None:
    """ReLU units that training has killed."""
    if exam.at_last is None:
        return None
    half = rate(exam.plan, float(f"{exam.peak / 2:.2g}"))
    tries = ["model.activation=leaky_relu", half] if _has(exam, "activation") else [half]
    return _dead(exam, exam.at_last, "at the end", offer(exam.plan, *tries, otherwise="see dltrain lr"))


def too_much_regularisation(exam: Examination) -> Verdict | None:
    """A net that could learn, and is held back."""
    strong = next(_strong(exam), None)
    if strong is None or not exam.by_heart.enough:
        return None
    what, remedy = strong
    what = f"the regularisation is too strong: the net learns a batch by heart, and not the train part ({what})"
    return Verdict("too_much_regularisation", what, f"try {remedy}")


def _strong(exam: Examination) -> Iterator[tuple[str, str]]:
    """What may hold a net back, and what to try in its place."""
    regular, model = exam.plan.regularisation, exam.plan.parts["model"].arguments
    optimizer = exam.plan.parts["optimizer"]
    less = "{}=0 or a tenth of it"
    for key in ("dropout", "input_dropout"):
        if (model.get(key) or 0.0) > 0.5:
            yield f"model.{key}={model[key]:g}", less.format(f"model.{key}")
    least = {"l1": 0.0, "l2": 0.0} if exam.pull > _PULL else {}
    for key, bound in (least | {"input_noise": signs.HALF * exam.sizes.mean().item()}).items():
        if (value := getattr(regular, key)) > bound:
            yield f"regularisation.{key}={value:g}", less.format(f"regularisation.{key}")
    if (decay := optimizer.arguments.get("weight_decay") or 0.0) > 0.1:
        yield f"optimizer.weight_decay={decay:g}", less.format("optimizer.weight_decay")
    proportional = optimizer.function is torch.optim.SGD  # others divide by the size of what they are given
    bounds = {"max_norm": (0.5, 3), "clip_norm": (0.01 * proportional, 1), "clip_value": (1e-4 * proportional, 0.5)}
    for key, (least, usual) in bounds.items():
        value = getattr(regular, key)
        if value is not None and value < least:
            yield f"regularisation.{key}={value:g}", f"regularisation.{key}={usual}"


def broke_down(exam: Examination) -> Verdict | None:
    """A run that ended where a number was none, for no reason that stands above."""
    if exam.status != "diverged":
        return None
    what = f"the loss or a gradient was no number any more, with a learning rate of up to {exam.peak:.2g}"
    lower = rate(exam.plan, float(f"{exam.peak / 10:.1g}"))
    return Verdict("broke_down", what, offer(exam.plan, lower, "regularisation=clip_norm", otherwise="see dltrain lr"))


def too_small(exam: Examination) -> Verdict | None:
    """What is left: too few steps, where the same units learn more in a trial, else too few units."""
    if exam.weights is None:
        return None
    train, near = exam.scores["train"], exam.neighbours
    name = "accuracy" if "accuracy" in train else "r2"
    has = f"{name} {train[name]:.2f} on its own train rows"
    if _could(exam):
        better = exam.rates.suggested if exam.rates else None
        faster = f" or {rate(exam.plan, better)}" if better and better > exam.peak else ""
        could = f"the same net reaches {exam.capacity.value:.2f} in a trial"
        what = f"the run is too short, or too slow: {has}, and {could}"
        return Verdict("too_short", what, f"try {longer(exam.plan)}{faster}")
    given = f", where ten near rows give {near.score:.2f}" if near and near.score > train[name] else ""
    what = f"the net is too small for this data: {has}{given}"
    return Verdict("too_small", what, f"try {_wider(exam)}")


def _could(exam: Examination) -> bool:
    """Whether the same units get half of what the net lacks in a trial, at the trial's rate and length."""
    near, could = exam.neighbours, exam.capacity
    has = exam.scores["train"][could.metric]
    return could.value - has > 0.5 * ((near.score if near else could.value) - has) > 0


def _rose(exam: Examination) -> bool:
    """Whether the run ended above where it began."""
    return exam.weights is not None and exam.scores["train"]["loss"] > exam.at_first.loss


def _wider(exam: Examination) -> str:
    """A larger net."""
    if _has(exam, "widths"):
        widths = exam.plan.parts["model"].arguments["widths"]
        return f"model.widths={[max(128, 2 * max(widths, default=0))] * max(2, len(widths))}".replace(" ", "")
    own = exam.plan.parts["model"].function.__module__ == located("dltrain.models")
    return "model=mlp model.widths=[128,128]" if own else "more units or layers"


def _still_falling(exam: Examination) -> bool:
    """Whether the last third of the run took more than a tenth off the loss."""
    losses = history.values(exam.curve, "train/loss")
    return len(losses) >= 3 and losses[-1] < 0.9 * losses[-1 - max(1, len(losses) // 3)]


def _dead(exam: Examination, look: Look, when: str, remedy: str) -> Verdict | None:
    if layer := signs.dead(look.layers):
        what = f"{layer.dead:.0%} of the units of {layer.name} ({layer.kind}) are dead {when}: zero for every row"
        return Verdict("dead_relu", what, remedy)
    return None


def _initial(exam: Examination, also: str = "") -> str:
    """What to do about first weights."""
    if not _has(exam, "init"):
        words = "draw the first weights smaller, as torch.nn.init.kaiming_normal_ does, with biases of zero"
        return f"{words}; or {also}" if also else words
    tries = [*_init(exam), "model.norm=batch", *([also] if also else [])]
    return offer(exam.plan, *tries, otherwise="try fewer layers")


def _init(exam: Examination) -> list[str]:
    """The override that draws first weights as the activation wants them; none for a model without that knob."""
    model = exam.plan.parts["model"].arguments
    init = "kaiming" if model.get("activation") == "relu" else "xavier"
    own = "model.weights=null " if model.get("weights") is not None else ""  # which stand in the place of init
    return [f"{own}model.init={init}"] if "init" in model else []


def _has(exam: Examination, knob: str) -> bool:
    return knob in exam.plan.parts["model"].arguments


STUCK: tuple[Check, ...] = (  # only the first one that applies is told
    cut_off,
    alike,
    exploding,
    dead_at_first,
    saturated,
    vanishing,
    weighted,
    wild_start,
    lr_too_high,
    lr_too_low,
    too_much_regularisation,
    dead_at_last,
    broke_down,
    too_small,
)
