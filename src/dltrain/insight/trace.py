"""One training step of a small net, number by number: forward, backward, update (`dltrain trace`)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.config.trials import weighted
from dltrain.data.units import Log, Quantile, Units
from dltrain.engine import evaluation
from dltrain.engine.look import Seen, observe
from dltrain.engine.state import random_state, set_random_state
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.insight.equations import Criterion, criterion, first_step, number, square
from dltrain.insight.passes import Line, Masks, Symbols, backward, checked, forward
from dltrain.parts.models import Sign
from dltrain.parts.modules import BATCH_NORMS
from dltrain.parts.regularisers import MaxNorm, Penalty

ROWS, COLUMNS = 8, 6  # a larger matrix is summarised
_TERMS = 6  # weights that the formula of a sum over all of them lists


@dataclass(frozen=True)
class Trace:
    """The quantities of a step in their order, what one should know to read them, and the modules by their names."""

    notes: list[str]
    lines: list[Line]
    seen: list[Seen]
    symbols: Symbols
    rules: list[str]  # the notes that are about the loss


def trace(plan: Plan, *, modules: bool = False) -> Trace:
    """The first training step of a plan: what a look inside shows, and the update that the trainer then makes.

    With `modules` it is told of modules, z^k and delta^k, also where the net has layers of units, a_k and z_k.
    """
    precision = plan.settings.precision
    plan = replace(plan, step="plain", settings=replace(plan.settings, compile=False, precision="fp32"))
    build.set_threads_and_determinism(plan)
    batch = next(build.make_loaders(plan)[0].epoch(0))
    trainer = _trainer(plan)
    x, y, index = batch
    if trainer.transform is not None:
        x, y = trainer.transform(x, y, index, 0)
    draws = random_state(plan.device)
    masks = Masks(trainer.model, plan.device)
    outputs: list[Tensor] = []

    def objective(output: Tensor) -> Tensor:
        output.retain_grad()
        outputs.append(output)
        return trainer.loss(output, y)

    seen, loss = observe(trainer.model, x, objective)
    symbols = Symbols(trainer.model, seen, x, outputs[0], masks.found(), modules=modules)
    equations = criterion(trainer.loss, symbols.values[symbols.last], y, symbols.last)
    lines = [*forward(seen, symbols), *_loss(plan, equations, loss, symbols.last), *_penalty(trainer, symbols, loss)]
    slope = outputs[0].grad
    assert slope is not None  # `objective` asked for it
    lines += backward(seen, symbols, equations, slope)
    gradients = _Gradients(trainer, symbols)
    lines += gradients.lines
    after = _trainer(replace(plan, regularisation=replace(plan.regularisation, max_norm=None, ema=None)))
    after.step([batch])
    lines += _update(plan, trainer, after, gradients, symbols)
    set_random_state(draws, plan.device)  # L before and after is one function: the same mode, inputs and dropped units
    with torch.no_grad():
        new = after.loss(after.model(x), y)
    lines.append(Line("update", "new L", "", new, "L with the new weights, all else as above"))
    lines += _penalty(after, symbols, new, section="update", new="new ")
    rules = [rule for _, rule in equations.rules]
    return Trace(_notes(plan, seen, symbols, equations, precision), lines, seen, symbols, rules)


def _trainer(plan: Plan) -> Trainer:
    """A trainer with its first weights, and the random numbers as the first step finds them."""
    seed_everything(plan.seed)
    trainer = build.make_trainer(plan)
    trainer.model.train()
    trainer.loss.train()
    return trainer


# -- the loss and what is done about it ---------------------------------------------------------------------


def _loss(plan: Plan, found: Criterion, loss: Tensor, last: str) -> Iterator[Line]:
    data, kind = plan.data, type(plan.loss).__name__
    for made in found.before:
        if made.name == "y" and data.units is not None:
            yield from _learned(data.units, made.value)
        else:
            yield Line("forward", made.name, made.text, made.value)
    words = f"{kind} of {last} and y"
    if found.loss is None:
        yield Line("forward", "L", "", loss, words)
    else:
        yield checked("forward", "L", found.loss.text, loss, found.loss.value, words)


def _learned(units: Units, y: Tensor) -> Iterator[Line]:
    """What a net learns of the targets, and how it is made of them."""
    yield Line("forward", "target", "", evaluation.original(y.cpu(), units).float(), "in its own units")
    if isinstance(units, Quantile):
        words = "the rank of target among the train rows, from 0 to 1, as a normal deviate"
        yield Line("forward", "y", "", y, words)
        return
    of, name = ("the logarithms of ", "log(target)") if isinstance(units, Log) else ("", "target")
    yield Line("forward", "t_mean", "", units.mean, f"of {of}the train targets")
    yield Line("forward", "t_std", "", units.std)
    yield Line("forward", "y", f"({name} - t_mean) / t_std", y)


def _penalty(
    trainer: Trainer, symbols: Symbols, loss: Tensor, *, section: str = "forward", new: str = ""
) -> list[Line]:
    """R, which keeps weights small, and J = L + R, which the step goes down."""
    penalty = trainer.penalty
    if not isinstance(penalty, Penalty):
        return []
    names = _names(trainer, symbols)
    weights = [f"{new}{names[id(w)]}" for w in penalty.weights]
    terms = [" + ".join(f"sum({square(w)})" for w in weights), " + ".join(f"sum(abs({w}))" for w in weights)]
    if len(weights) > _TERMS:
        terms = ["sum of all weights' squares", "sum of all weights' sizes"]
    factors = zip((penalty.l2, penalty.l1), terms, strict=True)
    text = " + ".join(f"{number(factor)} * ({term})" for factor, term in factors if factor)
    value = penalty().detach()
    formula, words = (text, "") if len(weights) <= _TERMS else ("", text)
    return [
        Line(section, f"{new}R", formula, value, words),
        Line(section, f"{new}J", f"{new}L + {new}R", loss + value),
    ]


def _names(trainer: Trainer, symbols: Symbols) -> dict[int, str]:
    return {id(p): symbols.parameters[name] for name, p in trainer.model.named_parameters()}


class _Gradients:
    """What the optimizer is given for each parameter: dL, with the penalty's, clipped; and the lines that say so."""

    def __init__(self, trainer: Trainer, symbols: Symbols) -> None:
        self.lines: list[Line] = []
        names = _names(trainer, symbols)
        self.of = {
            names[id(p)]: (f"dL/d{names[id(p)]}", p.grad.detach().clone())
            for p in trainer.model.parameters()
            if p.grad is not None
        }
        if isinstance(trainer.penalty, Penalty):
            self._pull(trainer.penalty, names)
        if trainer.clip_value is not None:
            self._clip_values(trainer.clip_value)
        if trainer.clip_norm is not None:
            self._clip_norm(trainer.clip_norm)

    def _set(self, symbol: str, name: str, formula: str, value: Tensor) -> None:
        self.of[symbol] = name, value
        self.lines.append(Line("backward", name, formula, value))

    def _pull(self, penalty: Penalty, names: dict[int, str]) -> None:
        l1, l2 = penalty.l1, penalty.l2
        for weight in penalty.weights:
            symbol = names[id(weight)]
            name, value = self.of.get(symbol, ("0", torch.zeros_like(weight)))
            more = f" + {number(2 * l2)} * {symbol}" * bool(l2) + f" + {number(l1)} * sign({symbol})" * bool(l1)
            self._set(symbol, f"dJ/d{symbol}", name + more, value + penalty.gradient(weight.detach()))

    def _clip_values(self, most: float) -> None:
        for symbol, (name, value) in list(self.of.items()):
            self._set(symbol, f"v_{symbol}", f"clip({name}, {number(-most)}, {number(most)})", value.clamp(-most, most))

    def _clip_norm(self, most: float) -> None:
        norm = torch.stack([value.norm() for _, value in self.of.values()]).norm()
        names = [name for name, _ in self.of.values()]
        few = len(names) <= 2 * _TERMS
        formula = f"sqrt({' + '.join(f'sum({square(name)})' for name in names)})" if few else ""
        self.lines.append(Line("backward", "norm", formula, norm, "" if few else "of all gradients together"))
        factor = (most / (norm + 1e-6)).clamp_max(1.0)  # as torch.nn.utils.clip_grad_norm_ has it
        self.lines.append(Line("backward", "c", f"min(1, {number(most)} / (norm + 1e-06))", factor))
        for symbol, (name, value) in list(self.of.items()):
            self._set(symbol, f"g_{symbol}", f"c * {name}", value * factor)


def _update(plan: Plan, trainer: Trainer, after: Trainer, gradients: _Gradients, symbols: Symbols) -> Iterator[Line]:
    """The step between two trainers, with its rate, momentum and decay, and the weights that it left."""
    before = {name: p.detach() for name, p in trainer.model.named_parameters()}
    groups = {id(p): group for group in after.optimizer.param_groups for p in group["params"]}
    stepped = {name: p.detach().clone() for name, p in after.model.named_parameters()}
    limit = plan.regularisation.max_norm
    if limit is not None:
        MaxNorm(after.model, limit)()
    for name, parameter in after.model.named_parameters():
        symbol = symbols.parameters[name]
        group = groups.get(id(parameter))
        if group is None or symbol not in gradients.of:
            continue
        g, gradient = gradients.of[symbol]
        step = stepped[name] - before[name]
        text, value = first_step(after.optimizer, group, before[name], gradient) or ("", None)
        words = f"{type(after.optimizer).__name__}, lr {number(group['lr'])}"
        blur = 2**-23 * float(before[name].abs().max())  # a weight moves by whole units of its own last place
        owner = name.rpartition(".")[0] or "model"
        line = checked("update", f"step of {symbol}", text.format(w=symbol, g=g), step, value, words, blur=blur)
        yield replace(line, by=owner)
        new = f"{symbol} + step of {symbol}"
        if limit is not None and parameter.ndim >= 2 and not torch.equal(parameter, stepped[name]):
            new = f"rows_at_most({new}, {number(limit)})"
        yield Line("update", f"new {symbol}", new, parameter.detach().clone(), by=owner)


SIGNS = "a row is a sample; @ multiplies matrices, * number by number; 1[...] is 1 where true, else 0"
_DEVIATIONS = {"standard": ": as many deviations from their mean"}


def _notes(plan: Plan, seen: list[Seen], symbols: Symbols, found: Criterion, precision: str) -> list[str]:
    if symbols.layered:
        names = "a before the non-linearity, z = g(a) after it, g' the derivative of g by a, delta = dL/da"
    else:
        names = "z^k = M^k(z^(k-1), W^k) is what module k makes of what module k-1 made, delta^k = dL/dz^k"
    notes = [f"notation   {names}", f"           {SIGNS}"]
    notes.append("step       the difference of two weights of some seven digits: its own last digits are rounded")
    if precision != "fp32":
        notes.append(f"precision  fp32, which the run has {precision} for")
    notes += _of_modules(seen, symbols)
    notes += [f"{title:<10} {rule}" for title, rule in found.rules]
    if plan.data.units is not None:
        notes.append(f"loss       L is of y, the {plan.data.units.words}{_DEVIATIONS.get(plan.data.units.name, '')}")
    if weighted(plan.data):
        notes.append("weights    rows count the same here, and by data.weight where the run trains")
    regular = plan.regularisation
    values = {**regular.augmentation, **{key: getattr(regular, key) for key in ("input_noise", "mixup", "cutmix")}}
    if changes := [key for key, value in values.items() if value]:
        notes.append(f"batch      x and y are what {' and '.join(changes)} made of the rows")
    if regular.max_norm is not None:
        notes.append("max_norm   rows_at_most(W, c) shortens a row, a unit's weights, to the norm c where it is longer")
    optimizer = plan.parts["optimizer"].arguments
    if optimizer.get("weight_decay"):
        notes.append("decay      weight_decay acts on weights, not on biases and norms; torch.optim's own acts on all")
    if plan.settings.accumulate > 1:
        notes.append(f"batch      the first of the {plan.settings.accumulate} that a step averages over, as if alone")
    return notes


def _of_modules(seen: list[Seen], symbols: Symbols) -> Iterator[str]:
    """What one should know of the modules of a net."""
    kinds = {type(item.module) for item in seen}
    if nn.GELU in kinds:
        yield "gelu       Phi is the standard normal distribution, phi its density"
    modes = ["dropout is on"] * (nn.Dropout in kinds)
    modes += ["BatchNorm takes the mean and variance of this batch"] * bool(kinds & {*BATCH_NORMS})
    if modes:
        yield f"mode       train: {', '.join(modes)}; so it is for new L"
    if any(_has_bias(lower) and type(norm.module) in BATCH_NORMS for lower, norm in pairwise(seen)):
        yield "bias       BatchNorm takes it off again with the mean: dL by a b before it is 0, but for rounding"
    for item in seen:
        if item.calls > 1 and symbols.own(item.module):
            yield f"shared     {item.name} works {item.calls} times: here is the first, and dL by its weights is of all"
    if Sign in kinds:
        yield "sign       its derivative is 0: nothing below it learns"


def _has_bias(item: Seen) -> bool:
    return isinstance(item.module, (nn.Linear, nn.Conv2d)) and item.module.bias is not None


# -- for the eye -----------------------------------------------------------------------------------------------


def show(traced: Trace) -> str:
    """The lines as aligned text: name, formula, shape, numbers; a large tensor as its mean, deviation and range."""
    lines = traced.lines
    heads = [_head(line) for line in lines]
    width = min(60, max(map(len, heads)))
    shapes = [str(list(line.values.shape)) if line.values.dim() else "" for line in lines]
    space = max(map(len, shapes))
    text, section = list(traced.notes), ""
    for line, head, shape in zip(lines, heads, shapes, strict=True):
        if line.section != section:
            section = line.section
            text += ["", section]
        first, *rest = _numbers(line.values)
        if len(head) > width:
            text.append(f"  {head}")
            head = ""
        text.append(f"  {head:<{width}}  {shape:<{space}}  {first}".rstrip())
        text += [f"{'':<{width + space + 6}}{row}" for row in rest]
    return "\n".join(text)


def _head(line: Line) -> str:
    if line.formula:
        return f"{line.name} = {line.formula}"
    return f"{line.name}  ({line.words})" if line.words else line.name


def _numbers(values: Tensor) -> list[str]:
    """A row of text for each row of numbers."""
    flat = values.flatten(1) if values.dim() > 1 else values.reshape(1, -1)
    whole = not values.is_floating_point()
    if flat.shape[0] > ROWS or flat.shape[1] > (2 * COLUMNS if whole else COLUMNS):
        v = values.double()
        mean, std, low, high = (float(f) + 0.0 for f in (v.mean(), v.std(), v.min(), v.max()))
        return [f"mean {mean:.4g}, deviation {std:.4g}, from {low:.4g} to {high:.4g}"]
    cells = [[str(v) if whole else number(v) for v in row] for row in (flat + 0).tolist()]  # + 0: no -0
    width = max(len(c) for row in cells for c in row) + 1
    return ["".join(f"{c:>{width if whole else max(width, 11)}}" for c in row) for row in cells]
