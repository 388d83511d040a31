"""Losses, activations and first optimizer steps as equations: their text and what it gives, for `dltrain trace`.

In a formula `@` is the product of matrices and `*` works number by number; `1[...]` is 1 where what it holds is true, 0
elsewhere; `batch_` stands before what runs over the rows of the batch, `row_` before what runs within a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.parts import Group, losses
from dltrain.parts.models import Sign


@dataclass(frozen=True)
class Equation:
    """A quantity, how it is made, and what that gives: `text` is empty and `value` given for what is not made here."""

    name: str
    text: str
    value: Tensor


@dataclass(frozen=True)
class Criterion:
    """A loss from the outputs on: the target as it takes it and what it makes of the outputs; L and dL/d outputs.

    `between` are the steps from L back to the outputs, where there are such. `rules` are what a person should know of
    it, each with its title. A loss that has no equations here leaves `loss` and `slope` None.
    """

    before: list[Equation]
    loss: Equation | None = None
    slope: Equation | None = None
    between: list[Equation] = field(default_factory=list)
    rules: list[tuple[str, str]] = field(default_factory=list)


def number(value: float) -> str:
    """A number in a formula or a table: six digits that count."""
    return f"{value:.6g}"


def square(name: str) -> str:
    """The square of what a name stands for, as a formula."""
    return f"{name}^2" if name.isalnum() else f"({name})^2"


def transposed(name: str) -> str:
    """The transpose of what a name stands for, as a formula."""
    return f"{name}^T" if name.isalnum() else f"({name})^T"


def criterion(loss: nn.Module, outputs: Tensor, y: Tensor, symbol: str) -> Criterion:
    """The equations of a loss for outputs [B, K], called `symbol`, and the targets that it is given.

    They are the textbook's: whoever prints them compares what they give with what the loss gave.
    """
    make = _LOSSES.get(type(loss))
    if make is None or (make is _cross_entropy and outputs.dim() != 2):
        return Criterion([Equation("y", "", y)])
    return make(loss, outputs, y, symbol)


def _mean(n: int) -> str:
    return f" / {n}" if n > 1 else ""


def _off(n: int) -> str:
    return f"(p - y) / {n}" if n > 1 else "p - y"


def _squared(loss: nn.Module, a: Tensor, y: Tensor, s: str) -> Criterion:
    n = y.numel()
    value = Equation("L", f"mean(({s} - y)^2)", (a - y).square().mean())
    return Criterion([Equation("y", "", y)], value, Equation("", f"2 * ({s} - y){_mean(n)}", 2 * (a - y) / n))


def _absolute(loss: nn.Module, a: Tensor, y: Tensor, s: str) -> Criterion:
    n = y.numel()
    value = Equation("L", f"mean(abs({s} - y))", (a - y).abs().mean())
    return Criterion([Equation("y", "", y)], value, Equation("", f"sign({s} - y){_mean(n)}", (a - y).sign() / n))


def _huber(loss: losses.Huber | nn.HuberLoss, a: Tensor, y: Tensor, s: str) -> Criterion:
    n, d, e = y.numel(), loss.delta, a - y
    clipped = e.clamp(-d, d)
    return Criterion(
        [Equation("y", "", y), Equation("e", f"clip({s} - y, {number(-d)}, {number(d)})", clipped)],
        Equation("L", f"mean(e * ({s} - y) - e^2 / 2)", (clipped * e - clipped.square() / 2).mean()),
        Equation("", f"e{_mean(n)}", clipped / n),
        rules=[("loss", f"e is the error where it is at most {number(d)}, and {number(d)} beyond, with its sign")],
    )


def _cross_entropy(loss: losses.CrossEntropy | nn.CrossEntropyLoss, a: Tensor, y: Tensor, s: str) -> Criterion:
    n, classes, smoothing = len(a), a.shape[1], loss.label_smoothing
    soft = y.is_floating_point()
    if soft:
        target = torch.stack([1 - y, y], dim=1) if y.dim() == 1 else y
        before = [Equation("t", "", target)] if smoothing else []
    else:
        target = F.one_hot(y, classes).to(a.dtype)
        before = [Equation("class", "", y)]
    name = "t" if soft else "onehot(class)"
    text = f"{name} * {number(1 - smoothing)} + {number(smoothing / classes)}" if smoothing else name * (not soft)
    target = target * (1 - smoothing) + smoothing / classes
    p, logp = a.softmax(1), a.log_softmax(1)
    before += [Equation("y", text, target), Equation("p", f"softmax({s})", p)]
    rules = [] if soft or smoothing else [("one-hot", "y is 1 for the class of a row and 0 for the others")]
    weight = loss.weight
    if weight is None:
        rules.append(("softmax", "the derivatives of log and of softmax, multiplied, leave p - y: no factor is flat"))
        loss_ = Equation("L", f"-sum(y * log(p)){_mean(n)}", -(target * logp).sum() / n)
        return Criterion(before, loss_, Equation("", _off(n), (p - target) / n), rules=rules)
    total, over = (float(n), "the rows") if soft else (weight[y].sum().item(), "those of the batch's rows")
    before += [Equation("w", "", weight)]
    slope = (p * (weight * target).sum(1, keepdim=True) - weight * target) / total
    return Criterion(
        before,
        Equation("L", f"-sum(w * y * log(p)) / {number(total)}", -(weight * target * logp).sum() / total),
        Equation("", f"(p * row_sum(w * y) - w * y) / {number(total)}", slope),
        rules=[*rules, ("loss", f"w has the weight of each class; L is divided by {over}")],
    )


def _logistic(loss: losses.BCE | nn.BCEWithLogitsLoss, a: Tensor, y: Tensor, s: str) -> Criterion:
    n, smoothing, weight = y.numel(), getattr(loss, "label_smoothing", 0.0), loss.pos_weight
    given = y.view(len(y), -1)
    target = given.to(a.dtype) * (1 - smoothing) + smoothing / 2
    text = f"t * {number(1 - smoothing)} + {number(smoothing / 2)}" if smoothing else ""
    before = [Equation("t", "", given)] if smoothing else []
    p = a.sigmoid()
    before += [Equation("y", text, target), Equation("p", f"sigmoid({s})", p)]
    if weight is None:
        value = F.binary_cross_entropy_with_logits(a, target)
        return Criterion(
            before,
            Equation("L", "-mean(y * log(p) + (1 - y) * log(1 - p))", value),
            Equation("", _off(n), (p - target) / n),
            rules=[("sigmoid", "the derivatives of log and of sigmoid, multiplied, leave p - y: no factor is flat")],
        )
    value = F.binary_cross_entropy_with_logits(a, target, pos_weight=weight)
    slope = ((1 - target) * p - weight * target * (1 - p)) / n
    return Criterion(
        [*before, Equation("w", "", weight)],
        Equation("L", "-mean(w * y * log(p) + (1 - y) * log(1 - p))", value),
        Equation("", f"((1 - y) * p - w * y * (1 - p)){_mean(n)}", slope),
        rules=[("loss", "w multiplies the loss of positive targets")],
    )


def _signs(a: Tensor, y: Tensor) -> tuple[list[Equation], Tensor]:
    """The classes, and the target +1 or -1 of each output."""
    if a.shape[1] == 1:
        target = y[:, None].to(a.dtype) * 2 - 1
        return [Equation("class", "", y[:, None]), Equation("y", "2 * class - 1", target)], target
    target = F.one_hot(y, a.shape[1]).to(a.dtype) * 2 - 1
    return [Equation("class", "", y), Equation("y", "2 * onehot(class) - 1", target)], target


def _perceptron(loss: nn.Module, a: Tensor, y: Tensor, s: str) -> Criterion:
    before, target = _signs(a, y)
    n, margin = target.numel(), target * a
    mistake, ties = (margin <= 0).to(a.dtype), int((margin == 0).sum())
    rules = [("perceptron", f"y is -1 or +1, {s} is f(x); y * {s} <= 0 is a mistake, and only mistakes move w")]
    if ties:
        which = f"{s} is 0" if n == 1 else f"{ties} of the {n} numbers {s} are 0"
        rules += [
            ("tie", f"{which}, on the border: L is 0, and its derivative may be called 0 or -y; as a mistake it is -y"),
            ("", f"with < in the place of <=, weights of 0 would never move, as they make every {s} 0"),
        ]
    return Criterion(
        before,
        Equation("L", f"mean(max(0, -y * {s}))", (-margin).clamp_min(0).mean()),
        Equation("", f"-y * mistake{_mean(n)}", -target * mistake / n),
        between=[Equation("mistake", f"1[y * {s} <= 0]", mistake)],
        rules=rules,
    )


def _hinge(loss: losses.Hinge, a: Tensor, y: Tensor, s: str) -> Criterion:
    before, target = _signs(a, y)
    n, m, slack = target.numel(), number(loss.margin), (loss.margin - target * a).clamp_min(0)
    if loss.squared:
        return Criterion(
            before,
            Equation("L", f"mean(max(0, {m} - y * {s})^2)", slack.square().mean()),
            Equation("", f"-2 * y * max(0, {m} - y * {s}){_mean(n)}", -2 * target * slack / n),
        )
    return Criterion(
        before,
        Equation("L", f"mean(max(0, {m} - y * {s}))", slack.mean()),
        Equation("", f"-y * 1[y * {s} < {m}]{_mean(n)}", -target * (target * a < loss.margin) / n),
    )


def _one_hot_squared(loss: nn.Module, a: Tensor, y: Tensor, s: str) -> Criterion:
    if y.is_floating_point():
        target = torch.stack([1 - y, y], dim=1) if y.dim() == 1 else y
        before = [Equation("y", "", target)]
    else:
        target = F.one_hot(y, a.shape[1]).to(a.dtype)
        before = [Equation("class", "", y), Equation("y", "onehot(class)", target)]
    n, p = target.numel(), a.sigmoid()
    return Criterion(
        [*before, Equation("p", f"sigmoid({s})", p)],
        Equation("L", "mean((p - y)^2)", (p - target).square().mean()),
        Equation("", f"dL/dp * sigmoid'({s})", 2 * (p - target) * p * (1 - p) / n),
        between=[
            Equation("dL/dp", f"2 * (p - y){_mean(n)}", 2 * (p - target) / n),
            Equation(f"sigmoid'({s})", "p * (1 - p)", p * (1 - p)),
        ],
        rules=[
            ("loss", f"the factor sigmoid'({s}) is nearly 0 where the net is sure, also where it is sure and wrong"),
        ],
    )


_LOSSES: dict[type, Callable[..., Criterion]] = {
    losses.MSE: _squared,
    nn.MSELoss: _squared,
    losses.MAE: _absolute,
    nn.L1Loss: _absolute,
    losses.Huber: _huber,
    nn.HuberLoss: _huber,
    losses.CrossEntropy: _cross_entropy,
    nn.CrossEntropyLoss: _cross_entropy,
    losses.BCE: _logistic,
    nn.BCEWithLogitsLoss: _logistic,
    losses.Perceptron: _perceptron,
    losses.Hinge: _hinge,
    losses.OneHotMSE: _one_hot_squared,
}


# -- activations ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Activation:
    """A function g: its name, g' as a formula of {a} and {z} = g({a}) where it is short, and what else g is given."""

    name: str
    derivative: str
    knobs: str = ""


_ACTIVATIONS: dict[type[nn.Module], Activation] = {
    nn.ReLU: Activation("relu", "1[{a} > 0]"),
    nn.Tanh: Activation("tanh", "1 - {z2}"),
    nn.Sigmoid: Activation("sigmoid", "{z} * (1 - {z})"),
    nn.GELU: Activation("gelu", "Phi({a}) + {a} * phi({a})"),
    nn.SiLU: Activation("silu", "sigmoid({a}) + {z} * (1 - sigmoid({a}))"),
    nn.LeakyReLU: Activation("leaky_relu", "1[{a} > 0] + {slope} * 1[{a} <= 0]"),
    Sign: Activation("sign", "0"),
}
ACTIVATIONS = tuple(_ACTIVATIONS)


def activation(module: nn.Module) -> Activation:
    """What one of ACTIVATIONS is called, with the knobs that are not torch's usual ones."""
    found = _ACTIVATIONS[type(module)]
    if isinstance(module, nn.LeakyReLU):
        slope = number(module.negative_slope)
        text = found.derivative.replace("{slope}", slope)
        return Activation(found.name, text, f", {slope}" if slope != "0.01" else "")
    if isinstance(module, nn.GELU) and module.approximate != "none":
        return Activation(f"gelu_{module.approximate}", "")
    return found


def derivative(module: nn.Module, a: Tensor) -> Tensor:
    """g'(a) of an activation, by torch's autograd."""
    with torch.enable_grad():
        a = a.detach().clone().requires_grad_()
        made = module(a * 1.0)  # which may work in place
        return torch.autograd.grad(made.sum(), a)[0]


# -- the first step of an optimizer ----------------------------------------------------------------------------


def first_step(optimizer: torch.optim.Optimizer, group: Group, w: Tensor, g: Tensor) -> tuple[str, Tensor] | None:
    """The change of a weight w by the first step with the gradient g: a text about {w} and {g}, and what it gives.

    At a first step an average over the steps so far is this gradient alone, and its bias correction takes the rest.
    None for an optimizer whose step is no short equation.
    """
    make = _STEPS.get(type(optimizer))
    if make is None or group.get("maximize"):
        return None
    decay, pulled, pull = group.get("weight_decay", 0.0), g, "{g}"
    if decay and type(optimizer) is not torch.optim.AdamW:
        pulled, pull = g + decay * w, f"({{g}} + {number(decay)} * {{w}})"
    text, value = make(group, pull, pulled)
    if decay and type(optimizer) is torch.optim.AdamW:
        shrunk = group["lr"] * decay
        text, value = f"-{number(shrunk)} * {{w}} {text.replace('-', '- ', 1)}", -shrunk * w + value
    return text, value


def _descent(group: Group, g: str, value: Tensor) -> tuple[str, Tensor]:
    look_ahead = 1 + group["momentum"] if group.get("nesterov") else 1.0
    factor = f" * {number(look_ahead)}" if look_ahead != 1 else ""
    return f"-{number(group['lr'])}{factor} * {g}", -group["lr"] * look_ahead * value


def _adam(group: Group, g: str, value: Tensor) -> tuple[str, Tensor]:
    lr, eps = group["lr"], group["eps"]
    return f"-{number(lr)} * {g} / (abs({g}) + {number(eps)})", -lr * value / (value.abs() + eps)


def _rectified(group: Group, g: str, value: Tensor) -> tuple[str, Tensor]:
    return f"-{number(group['lr'])} * {g}", -group["lr"] * value


def _rms(group: Group, g: str, value: Tensor) -> tuple[str, Tensor]:
    lr, eps, share = group["lr"], group["eps"], 1 - group["alpha"]
    text = f"-{number(lr)} * {g} / (sqrt({number(share)} * ({g})^2) + {number(eps)})"
    return text, -lr * value / ((share * value.square()).sqrt() + eps)


def _adadelta(group: Group, g: str, value: Tensor) -> tuple[str, Tensor]:
    lr, eps, share = group["lr"], group["eps"], 1 - group["rho"]
    text = f"-{number(lr)} * {g} * sqrt({number(eps)}) / sqrt({number(share)} * ({g})^2 + {number(eps)})"
    return text, -lr * value * eps**0.5 / (share * value.square() + eps).sqrt()


_STEPS: dict[type, Callable[..., tuple[str, Tensor]]] = {
    torch.optim.SGD: _descent,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
    torch.optim.Adamax: _adam,
    torch.optim.Adagrad: _adam,
    torch.optim.RAdam: _rectified,
    torch.optim.RMSprop: _rms,
    torch.optim.Adadelta: _adadelta,
}
