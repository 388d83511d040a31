"""What a run has learned, seen in its weights: of the first layer as images, all by size, all in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.errors.output import apart
from dltrain.insight import captions, moments, weights_by_step
from dltrain.insight.moments import Cell
from dltrain.insight.plots import weights
from dltrain.parts.modules import working

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure
    from dltrain.training.replay import Way

NEAR_ZERO = 0.001  # weights below it are counted
_MOST_LETTERS = 40  # of a name
_MOST_NUMBERS = 100  # of a net whose weights are printed
_COLOURED = "Red is above zero, blue below; each table has one scale of colours for all moments."


class Table(NamedTuple):
    """The weights of a module: a column for each unit, a row for each of its inputs, and one for the bias."""

    titles: list[str]
    rows: list[list[str]]


class Numbers(NamedTuple):
    """The weights of a small net, with a sentence on them, and what they were at named moments of its way."""

    about: str
    tables: list[Table]
    names: Sequence[str] = ()
    way: Sequence[list[Table]] = ()


def first_layer(plan: Plan, model: nn.Module) -> tuple[str, Callable[[], Figure | None]] | None:
    """A caption, and what each unit of the first layer looks for; None of a net that begins with something else."""
    weight = weights.first_layer(model)
    if weight is None:
        return None
    data = plan.data
    outputs = data.names if len(weight) == plan.out_features == len(data.names) else ()
    count = weight.shape[1]
    named = captions.first_inputs(model, data.preprocessing, count) if "columns" in data.preprocessing else ()
    caption = "What each unit of the first layer looks for: red inputs excite it, blue ones quiet it."
    if len(data.in_shape) == 3:
        caption += " Noise without any shape would mean that training hardly moved them, or that the net overfits."
    return caption, lambda: weights.weights(weight, data.in_shape, inputs=named, outputs=outputs)


def by_size(plan: Plan, model: nn.Module, way: Way | None) -> tuple[str, Callable[[], Figure]] | None:
    """A caption, and the weights that an L1 or L2 penalty acts on, by their size; None of a run without a penalty."""
    regular = plan.regularisation
    if not (regular.l1 or regular.l2):
        return None
    names = [name for name, p in model.named_parameters() if p.dim() > 1]
    nets = {"at first": _all(way.weights[0], names)} if way else {}
    nets["learned"] = learned = _all(model.state_dict(), names)
    zeros = int((learned.abs() < NEAR_ZERO).sum())
    which = " and ".join(f"{name.upper()} ({name}={value:g})" for name, value in _penalties(plan) if value)
    caption = (
        f"All {len(learned):,} weights that {which} acts on, from the largest to the smallest; {zeros:,} of them are "
        f"below {NEAR_ZERO:g}. L1 pulls a small weight as hard as a large one, so that many come near to zero; the "
        "pull of L2 fades with the weight."
    )
    return caption, lambda: weights.sizes({name: values.numpy() for name, values in nets.items()}, NEAR_ZERO)


def _penalties(plan: Plan) -> tuple[tuple[str, float], ...]:
    return ("l1", plan.regularisation.l1), ("l2", plan.regularisation.l2)


def _all(state: dict[str, Tensor], names: list[str]) -> Tensor:
    return torch.cat([state[name].detach().float().cpu().flatten() for name in names])


def in_numbers(plan: Plan, model: nn.Module, way: Way | None = None, kept: str = "") -> Numbers | None:
    """A sentence, and the parameters of a small net, module by module, also on its way; None of a larger one. kept:
    what the weights of the model are called, where they are not the last ones of the way.
    """
    if sum(p.numel() for p in model.parameters()) > _MOST_NUMBERS:
        return None
    about = "A column is a unit: what it multiplies each of its inputs by, and its bias."
    if plan.parts["data"].arguments.get("scaling") in ("standard", "quantile", "unit"):
        about += f" Inputs are as the net gets them (data.scaling={plan.parts['data'].arguments['scaling']})."
    if plan.data.units is not None:
        about += f" What it learns are {plan.data.units.words}."
    tables = [*_tables(plan, model)]
    if way is None:
        return Numbers(about, tables)
    moving, names, found = build.make_model(plan), list[str](), list[list[Table]]()
    for k in moments.some(len(way.steps)):
        moving.load_state_dict(way.weights[k])
        names.append(weights_by_step.when(plan, way.steps[k]))
        found.append([*_tables(plan, moving)])
    if kept:
        names.append(kept)
        found.append(tables)
    return Numbers(f"{about} {_COLOURED}", tables, names, found)


def moving(numbers: Numbers) -> str:
    """The tables of a small net under a slider over its way."""
    made: list[str] = []
    for k, table in enumerate(numbers.tables):
        rows = [tables[k].rows for tables in numbers.way]
        sizes = [abs(float(text)) for each in rows for row in each for text in row[1:]]
        most = max(filter(math.isfinite, sizes), default=0.0) or 1.0
        cells = [[[Cell(text, float(text) / most) for text in row[1:]] for row in each] for each in rows]
        made.append(moments.table([(t, "") for t in table.titles], [r[0] for r in table.rows], cells, look="heat"))
    return moments.slider(numbers.names, *made)


def _tables(plan: Plan, model: nn.Module) -> Iterator[Table]:
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    for name, module in working(model):
        own = {key: p.detach().float().cpu() for key, p in module.named_parameters(recurse=False)}
        place = name.removeprefix("layers.")
        if isinstance(module, nn.Linear):
            inputs = [f"z{i + 1}" for i in range(module.in_features)]
            if module is layers[0]:
                inputs = captions.first_inputs(model, plan.data.preprocessing, module.in_features)
            values = torch.cat([p.reshape(module.out_features, -1) for p in own.values()], dim=1).T
            titles = [place, *_outputs(plan, module, last=module is layers[-1])]
            yield Table(titles, _rows(values, [*inputs, *["bias"] * ("bias" in own)]))
        else:
            for key, values in own.items():
                values = values.reshape(len(values), -1) if values.dim() > 1 else values.reshape(1, -1)
                titles = [f"{place}.{key}", *(f"{j + 1}" for j in range(values.shape[1]))]
                yield Table(titles, _rows(values, [f"{i + 1}" if len(values) > 1 else "" for i in range(len(values))]))


def _outputs(plan: Plan, layer: nn.Linear, *, last: bool) -> list[str]:
    """What the units of a layer are called."""
    known = plan.data.targets or () if plan.data.task == "regression" else plan.data.names
    if last and len(known) == layer.out_features:
        return apart(known, _MOST_LETTERS)
    return [f"unit {j + 1}" for j in range(layer.out_features)]


def _rows(values: Tensor, names: list[str]) -> list[list[str]]:
    texts = [[f"{value + 0.0:.4g}" for value in row] for row in values.tolist()]
    return [[name, *row] for name, row in zip(apart(names, _MOST_LETTERS), texts, strict=True)]
