"""Why a net does not learn, causes before their effects: one function for each, asked only where it does not.

Thresholds come from the literature where it has them; the others lie between the healthy and the sick runs of
tests/test_doctor.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dltrain.diagnosis import Layer
from dltrain.examining import Examination, Look
from dltrain.remedies import longer, offer


@dataclass(frozen=True)
class Verdict:
    """A complaint: its name, what is wrong, and what to try."""

    name: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}: {self.remedy}"


Check = Callable[[Examination], Verdict | None]

# Glorot & Bengio 2010 want gradients of the same size in all layers. A thousandth means a thousand times slower
# learning under SGD; healthy nets here have between a thirtieth and a few times the last layer's.
_VANISHED, _EXPLODED = 1e-3, 1e3
_HALF = 0.5  # of the units of a layer dead, or of its values saturated, before the first step
_WILD = 5.0  # first loss against that of an answer of zeros; Karpathy 2019 wants them equal, -log(1/C) for C classes
# The rate at which the loss is back at its start (Smith 2015) is too high whatever the schedule; a thirtieth of what
# the range test suggests takes a run that is thirty times as long.
_TOO_LOW = 1 / 30


def cut_off(exam: Examination) -> Verdict | None:
    """A step function, whose derivative is 0 wherever it has one: nothing below it is ever moved."""
    step = next((layer for layer in reversed(_inner(exam.at_first)) if layer.kind == "Sign"), None)
    if step is None:
        return None
    what = f"no gradient gets below {step.name}: the derivative of sign is 0, and what lies below stays as it was drawn"
    tries = "try model.activation=tanh or model.activation=relu"
    return Verdict("cut_off", what, tries if _has(exam, "activation") else "use tanh or ReLU in its place")


def exploding(exam: Examination) -> Verdict | None:
    """Values or gradients that grow from layer to layer, before the first step."""
    first = exam.at_first.weighted
    if len(first) < 2 or not (first[-1].gradient and first[0].gradient and first[0].std):
        return None
    growth, back = first[-1].std / first[0].std, first[0].gradient / first[-1].gradient
    if growth < _EXPLODED and back < _EXPLODED:
        return None
    what = f"gradients explode: {back:.0e} times the last layer's at the first one (values grow {growth:.0e} times)"
    return Verdict("exploding", what, _initial(exam, "regularisation=clip_norm"))


def dead_at_first(exam: Examination) -> Verdict | None:
    """Most units of a ReLU layer without any gradient, before the first step."""
    return _dead(exam, exam.at_first, "before the first step", _initial(exam))


def saturated(exam: Examination) -> Verdict | None:
    """Most values of a sigmoid or tanh layer in the flat part of the curve, before the first step."""
    for layer in _inner(exam.at_first):
        if layer.saturated is not None and layer.saturated > _HALF:
            share = f"{layer.saturated:.0%} of the values of {layer.name} ({layer.kind})"
            what = f"{share} are saturated before the first step"
            return Verdict("saturated", what, _initial(exam))
    return None


def vanishing(exam: Examination) -> Verdict | None:
    """Gradients that shrink from layer to layer on their way back, at the first step."""
    layers = exam.at_first.weighted
    last = layers[-1].gradient if layers else None
    if not last:
        return None
    ratios = [(layer.gradient or 0.0) / last for layer in layers]
    below = [i for i, ratio in enumerate(ratios) if ratio < _VANISHED]
    if not below:
        return None
    what = f"gradients vanish below layer {below[-1] + 2} ({ratios[0]:.0e} of the last layer's at the first one)"
    bent = exam.plan.parts["model"].arguments.get("activation") in ("sigmoid", "tanh")
    if bent:
        tries = ("model.activation=relu", "model.norm=batch")
        return Verdict("vanishing", what, offer(exam.plan, *tries, otherwise="try fewer layers"))
    return Verdict("vanishing", what, _initial(exam))


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
    if curve.edge is None or peak <= curve.edge:
        return None
    if curve.flat and exam.weights is not None and exam.scores["train"]["loss"] < 1.05 * exam.at_first.loss:
        return None  # an edge in a loss that never fell is noise, and the run itself did not rise
    what = f"the learning rate is too high: {peak:.2g}, and from {curve.edge:.2g} on the loss grows"
    tries = [f"optimizer.lr={curve.suggested:g}"] if curve.suggested else []
    remedy = offer(exam.plan, *tries, otherwise="see dltrain lr")
    return Verdict("lr_too_high", what, remedy)


def lr_too_low(exam: Examination) -> Verdict | None:
    """A peak far below what the range test suggests."""
    curve, peak = exam.rates, exam.peak
    if curve is None or curve.suggested is None or peak >= curve.suggested * _TOO_LOW or exam.weights is None:
        return None
    if not (_still_falling(exam) or exam.scores["train"]["loss"] > 0.7 * exam.at_first.loss):
        return None  # it got somewhere, and stays there
    moved = [layer.update for layer in exam.first_update if layer.update is not None]
    size = f", and a step changes the weights by {max(moved):.0e} of their size (1e-3 is usual)" if moved else ""
    what = f"the learning rate is too low: {peak:.2g}{size}"
    return Verdict(
        "lr_too_low", what, offer(exam.plan, f"optimizer.lr={curve.suggested:g}", otherwise="see dltrain lr")
    )


def dead_at_last(exam: Examination) -> Verdict | None:
    """ReLU units that training has killed."""
    if exam.at_last is None:
        return None
    half = f"optimizer.lr={exam.peak / 2:.2g}"
    tries = ["model.activation=leaky_relu", half] if _has(exam, "activation") else [half]
    return _dead(exam, exam.at_last, "at the end", offer(exam.plan, *tries, otherwise="see dltrain lr"))


def too_much_regularisation(exam: Examination) -> Verdict | None:
    """A net that could learn, and is held back."""
    regular, model = exam.plan.regularisation, exam.plan.parts["model"].arguments
    decay = exam.plan.parts["optimizer"].arguments.get("weight_decay") or 0.0
    strong = [f"model.dropout={model['dropout']}"] if (model.get("dropout") or 0.0) > 0.5 else []
    strong += [f"regularisation.{k}={v:g}" for k in ("l1", "l2", "input_noise") if (v := getattr(regular, k)) > 0]
    strong += [f"optimizer.weight_decay={decay:g}"] if decay > 0.1 else []
    if not strong or not exam.by_heart.enough:
        return None
    what = f"the regularisation is too strong: the net learns a batch by heart, and not the train part ({strong[0]})"
    return Verdict("too_much_regularisation", what, f"try {strong[0].partition('=')[0]}=0 or a tenth of it")


def too_small(exam: Examination) -> Verdict | None:
    """What is left: too few steps, where the same units learn more in a trial, else too few units."""
    if exam.weights is None:
        return None
    train, near = exam.scores["train"], exam.neighbours
    name = "accuracy" if "accuracy" in train else "r2"
    has = f"{name} {train[name]:.2f} on its own train rows"
    could = exam.capacity.value
    if could - train[name] > 0.5 * ((near.score if near else could) - train[name]) > 0:
        better = exam.rates.suggested if exam.rates else None
        faster = f" or optimizer.lr={better:g}" if better and better > exam.peak else ""
        what = f"the run is too short, or too slow: {has}, and the same net reaches {could:.2f} in a trial"
        return Verdict("too_short", what, f"try {longer(exam.plan)}{faster}")
    given = f", where ten near rows give {near.score:.2f}" if near and near.score > train[name] else ""
    what = f"the net is too small for this data: {has}{given}"
    return Verdict("too_small", what, f"try {_wider(exam)}")


def _wider(exam: Examination) -> str:
    """A larger net."""
    if _has(exam, "widths"):
        widths = exam.plan.parts["model"].arguments["widths"]
        return f"model.widths={[max(128, 2 * max(widths, default=0))] * max(2, len(widths))}".replace(" ", "")
    own = exam.plan.parts["model"].function.__module__ == "dltrain.models"
    return "model=mlp model.widths=[128,128]" if own else "more units or layers"


def _still_falling(exam: Examination) -> bool:
    """Whether the last third of the run took more than a tenth off the loss."""
    losses = [line["train/loss"] for line in exam.curve if isinstance(line.get("train/loss"), float)]
    return len(losses) >= 3 and losses[-1] < 0.9 * losses[-1 - max(1, len(losses) // 3)]


def _dead(exam: Examination, look: Look, when: str, remedy: str) -> Verdict | None:
    for layer in _inner(look):
        if layer.dead is not None and layer.dead > _HALF:
            what = f"{layer.dead:.0%} of the units of {layer.name} ({layer.kind}) are dead {when}: zero for every row"
            return Verdict("dead_relu", what, remedy)
    return None


def _inner(look: Look) -> list[Layer]:
    """All layers but those after the last one with weights."""
    last = max((i for i, layer in enumerate(look.layers) if layer.weight is not None), default=0)
    return look.layers[:last]


def _initial(exam: Examination, also: str = "") -> str:
    """What to do about first weights."""
    if not _has(exam, "init"):
        words = "draw the first weights smaller, as torch.nn.init.kaiming_normal_ does, with biases of zero"
        return f"{words}; or {also}" if also else words
    init = "kaiming" if exam.plan.parts["model"].arguments.get("activation") == "relu" else "xavier"
    tries = [f"model.init={init}", "model.norm=batch", *([also] if also else [])]
    return offer(exam.plan, *tries, otherwise="try fewer layers")


def _has(exam: Examination, knob: str) -> bool:
    return knob in exam.plan.parts["model"].arguments


STUCK: tuple[Check, ...] = (  # only the first one that applies is told
    cut_off,
    exploding,
    dead_at_first,
    saturated,
    vanishing,
    wild_start,
    lr_too_high,
    lr_too_low,
    dead_at_last,
    too_much_regularisation,
    too_small,
)
