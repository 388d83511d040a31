"""One training step of a small net, number by number: forward, backward, update (`dltrain trace`)."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from dltrain import build, commands, config
from dltrain.diagnosis import Seen, observe
from dltrain.output import say
from dltrain.plan import Plan, make_plan
from dltrain.trainer import Trainer, seed_everything

_ROWS, _COLUMNS = 8, 6  # a larger matrix is summarised
_FUNCTIONS = {  # activation -> its name in a formula, and its derivative in terms of z and a
    nn.ReLU: ("relu", "({z} > 0)"),
    nn.Tanh: ("tanh", "(1 - {a}^2)"),
    nn.Sigmoid: ("sigmoid", "{a} (1 - {a})"),
    nn.GELU: ("gelu", "gelu'({z})"),
    nn.SiLU: ("silu", "silu'({z})"),
    nn.LeakyReLU: ("leaky_relu", "leaky_relu'({z})"),
}
_LOSSES = {  # loss without smoothing or weights -> its derivative by the outputs, of which the batch has {n}
    "MSE": "2 ({a} - y) / {n}",
    "CrossEntropy": "(softmax({a}) - onehot(y)) / {n}",
    "BCE": "(sigmoid({a}) - y) / {n}",
}
_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Line:
    """One quantity of a step: `forward`, `backward` or `update`; its name, what it is made of, and its values."""

    section: str
    name: str
    formula: str
    values: Tensor


def trace(plan: Plan) -> list[Line]:
    """The first training step of a plan: what a look inside shows, and the update that the trainer then makes."""
    plan = replace(plan, settings=replace(plan.settings, compile=False, precision="fp32"))
    build.set_threads_and_determinism(plan)
    batch = next(build.make_loaders(plan)[0].epoch(0))
    trainer = _trainer(plan)
    x, y = batch.x, batch.y
    if trainer.transform is not None:
        x, y = trainer.transform(x, y, batch.index, 0)

    def objective(output: Tensor) -> Tensor:
        loss = trainer.loss(output, y)
        return loss if trainer.penalty is None else loss + trainer.penalty()

    seen, loss = observe(trainer.model, x, objective)
    symbols = _Symbols(seen)
    lines = [Line("forward", "x", "", x), *_forward(seen, symbols), Line("forward", "y", "", y)]
    penalty = "" if trainer.penalty is None else " + penalty"
    lines.append(Line("forward", "L", f"{type(plan.loss).__name__}({symbols.last}, y){penalty}", loss))
    return [*lines, *_backward(seen, symbols, _first(plan, symbols, y)), *_update(plan, batch, symbols)]


def _first(plan: Plan, symbols: _Symbols, y: Tensor) -> str:
    """The derivative of the loss by the outputs as a formula, where it is a plain one."""
    formula = "" if any(plan.parts["loss"].arguments.values()) else _LOSSES.get(type(plan.loss).__name__, "")
    n = y.numel()  # CrossEntropy averages over samples, the other two over all targets
    return formula.format(a=symbols.last, n=n).removesuffix(" / 1")


def _trainer(plan: Plan) -> Trainer:
    """A trainer with its first weights, and the random numbers as the first step finds them."""
    seed_everything(plan.seed)
    trainer = build.make_trainer(plan)
    trainer.model.train()
    trainer.loss.train()
    return trainer


class _Symbols:
    """The names of a textbook: z_k and W_k of the k-th layer with weights, a_k of the activation after it."""

    def __init__(self, seen: list[Seen]) -> None:
        self.of: dict[str, str] = {}  # module -> the symbol of its output
        self.parameters: dict[str, str] = {}  # parameter -> its symbol
        self.inputs: dict[str, str] = {}  # module -> the symbol of its input
        made: list[tuple[Tensor, str]] = []
        layer = 0
        for item in seen:
            layer += isinstance(item.module, _WEIGHTED)
            source = next((s for tensor, s in reversed(made) if tensor is item.input), None if made else "x")
            self.inputs[item.name] = source or "?"
            symbol = self._symbol(item, layer)
            if symbol in self.of.values():
                symbol = item.name
            self.of[item.name] = symbol
            made.append((item.output, symbol))
            for key, _ in item.module.named_parameters(recurse=False):
                short = {"weight": "W", "bias": "b"}.get(key) if isinstance(item.module, _WEIGHTED) else None
                full = f"{item.name}.{key}"
                self.parameters[full] = f"{short}{layer}" if short else full.removeprefix("layers.")
        self.last = self.of[seen[-1].name] if seen else "output"

    @staticmethod
    def _symbol(item: Seen, layer: int) -> str:
        if isinstance(item.module, _WEIGHTED):
            return f"z{layer}"
        if isinstance(item.module, nn.Flatten):
            return "x" if layer == 0 else item.name
        return f"a{layer}" if type(item.module) in _FUNCTIONS else item.name.rpartition(".")[2]


def _forward(seen: list[Seen], symbols: _Symbols) -> Iterator[Line]:
    for item in seen:
        for key, parameter in item.module.named_parameters(recurse=False):
            name = f"{item.name}.{key}"
            symbol, place = symbols.parameters[name], name.removeprefix("layers.")
            yield Line("forward", symbol, place if place != symbol else "", parameter.detach().clone())
        if isinstance(item.module, nn.Flatten):
            continue
        source, layer = symbols.inputs[item.name], symbols.of[item.name][1:]
        if isinstance(item.module, nn.Linear):
            bias = "" if item.module.bias is None else f" + b{layer}"
            formula = f"{source} W{layer}^T{bias}"
        else:
            function = _FUNCTIONS.get(type(item.module), (type(item.module).__name__, ""))[0]
            formula = f"{function}({source})"
        yield Line("forward", symbols.of[item.name], formula, item.values)


def _backward(seen: list[Seen], symbols: _Symbols, after: str) -> Iterator[Line]:
    """`after` is what comes down from above: at first the derivative of the loss."""
    for item in reversed(seen):
        if item.gradient is None or isinstance(item.module, nn.Flatten):
            continue
        symbol = symbols.of[item.name]
        weighted = isinstance(item.module, _WEIGHTED)
        name, chain = f"dL/d{symbol}", after
        if weighted:
            name, chain = f"delta{symbol[1:]}", f"dL/d{symbol}" + f" = {after}" * bool(after)
        yield Line("backward", name, chain, item.gradient)
        for key, parameter in item.module.named_parameters(recurse=False):
            full = f"{item.name}.{key}"
            if parameter.grad is not None:
                formula = (
                    _gradient(key, symbol, symbols.inputs[item.name]) if isinstance(item.module, nn.Linear) else ""
                )
                yield Line("backward", f"dL/d{symbols.parameters[full]}", formula, parameter.grad.detach().clone())
        layer, derivative = symbol[1:], _FUNCTIONS.get(type(item.module), ("", ""))[1]
        if isinstance(item.module, nn.Linear):
            after = f"delta{layer} W{layer}"
        elif derivative:
            after = f"dL/d{symbol} * {derivative.format(z=symbols.inputs[item.name], a=symbol)}"
        else:
            after = f"back through {type(item.module).__name__}"


def _gradient(key: str, symbol: str, source: str) -> str:
    return f"delta{symbol[1:]}^T {source}" if key == "weight" else f"sum of delta{symbol[1:]} over the samples"


def _update(plan: Plan, batch: tuple[Tensor, Tensor, Tensor], symbols: _Symbols) -> Iterator[Line]:
    """The trainer's own step, from the same first weights: with its clipping, decay, momentum and rate."""
    trainer = _trainer(plan)
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    trainer.step([batch])
    group = trainer.optimizer.param_groups[0]
    plain = type(trainer.optimizer) is torch.optim.SGD and not group["momentum"] and not group["weight_decay"]
    regular = plan.regularisation
    plain = plain and not (regular.clip_norm or regular.clip_value or regular.max_norm)
    for name, parameter in trainer.model.named_parameters():
        symbol = symbols.parameters.get(name, name)
        rate = f"{group['lr']:g}"
        formula = f"-{rate} dL/d{symbol}" if plain else f"{type(trainer.optimizer).__name__}, lr {rate}"
        yield Line("update", f"step of {symbol}", formula, parameter.detach() - before[name])
        yield Line("update", f"new {symbol}", "", parameter.detach().clone())
    with torch.no_grad():
        x, y, _ = batch
        after = trainer.loss.eval()(trainer.model.eval()(x), y)
    yield Line("update", "new L", "of the same batch, in eval mode", after)


# -- for the eye -----------------------------------------------------------------------------------------------


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain trace`: prints the first step of what would be trained, and trains nothing."""
    about = "The first training step, number by number: forward, backward, update. Try experiment=worked_example."
    parser = commands.parser("trace", about)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as for training")
    given = parser.parse_intermixed_args(words)
    plan = make_plan(config.compose(given.overrides, options.config_dir), commands.allowed(options.allow))
    say(show(trace(plan)))
    return 0


def show(lines: list[Line]) -> str:
    """The lines as aligned text: name, formula, shape, numbers; a large tensor as its mean, deviation and range."""
    heads = [_head(line) for line in lines]
    width = min(60, max(map(len, heads)))
    shapes = [str(list(line.values.shape)) if line.values.dim() else "" for line in lines]
    space = max(map(len, shapes))
    text, section = [], ""
    for line, head, shape in zip(lines, heads, shapes, strict=True):
        if line.section != section:
            section = line.section
            text += ["", section] if text else [section]
        first, *rest = _numbers(line.values)
        text.append(f"  {head:<{width}}  {shape:<{space}}  {first}".rstrip())
        text += [f"{'':<{width + space + 6}}{row}" for row in rest]
    return "\n".join(text)


def _head(line: Line) -> str:
    if not line.formula:
        return line.name
    own = line.name[:1] in "Wb" and line.section == "forward"
    return f"{line.name}  ({line.formula})" if own else f"{line.name} = {line.formula}"


def _numbers(values: Tensor) -> list[str]:
    if not values.is_floating_point():
        return [" ".join(f"{v}" for v in values.flatten()[:_ROWS].tolist()) + " ..." * (values.numel() > _ROWS)]
    flat = values.flatten(1) if values.dim() > 1 else values.reshape(1, -1)
    if flat.shape[0] > _ROWS or flat.shape[1] > _COLUMNS:
        mean, std, low, high = (float(f) for f in (values.mean(), values.std(), values.min(), values.max()))
        return [f"mean {mean:.4g}, deviation {std:.4g}, from {low:.4g} to {high:.4g}"]
    sizes = flat.abs()[flat != 0]
    fixed = not sizes.numel() or (float(sizes.max()) < 1e4 and float(sizes.max()) >= 1e-3)
    cells = [[f"{v:.6f}" if fixed else f"{v:.4e}" for v in row] for row in flat.tolist()]
    width = max(len(c) for row in cells for c in row) + 1
    return ["".join(f"{c:>{max(width, 11)}}" for c in row) for row in cells]
