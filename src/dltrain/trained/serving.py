"""A trained model as one module from raw rows to answers, with no code around it: what an export holds.

A table's rows are float64 [N, columns]: a number as it stands (nan where it is missing), true as 1, and for a text the
position of its category (-1 where it is none); a date is several numbers; `encoding.numbers` makes them. Images are
uint8 [N, C, H, W].
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from dltrain.data import Preprocessing
from dltrain.data.preprocessing import Facts
from dltrain.data.tables.cells import width, words
from dltrain.parts import losses
from dltrain.parts.quantiles import normal


class Serving(nn.Module):
    """`forward(rows)` gives one row of answers for each: probabilities or scores, float32, or values in original units,
    float64 where it learned others.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, facts: Facts) -> None:
        super().__init__()
        kinds: dict[str, Callable[[Preprocessing], nn.Module]] = {
            "table": _Table,
            "images": _Images,
            "dataset": nn.Identity,  # inputs as the Dataset gave them
        }
        self.prepare = kinds[facts.kind](facts.preprocessing)
        self.model, self.loss, self.task = model, loss, facts.task
        self.units = facts.units

    def forward(self, rows: Tensor) -> Tensor:
        outputs = self.model(self.prepare(rows))
        if self.task == "regression":
            return outputs if self.units is None else self.units.answers(outputs.double())
        chances = losses.probabilities(self.loss, outputs, self.task)
        return outputs if chances is None else chances


class _Table(nn.Module):
    """The operations of `encoding.encode` on numbers, in float64 as there."""

    numbers: Tensor
    median: Tensor
    mean: Tensor
    std: Tensor
    low: Tensor  # this and the next only where `fenced`
    high: Tensor
    order: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        columns = preprocessing["columns"]
        numbers = [i for i, c in enumerate(columns) if c["kind"] != "text"]
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.int64))
        impute = preprocessing["missing"] == "impute"
        self.fenced = any("low" in column for column in columns)
        limits = (("low", -torch.inf), ("high", torch.inf)) if self.fenced else ()
        for name, default in (("median", torch.nan), ("mean", 0.0), ("std", 1.0), *limits):
            values = [columns[i].get(name, default) if impute or name != "median" else torch.nan for i in numbers]
            self.register_buffer(name, torch.tensor(values, dtype=torch.float64))
        self.knots = nn.ParameterDict()  # by position among the numbers
        for at, i in enumerate(numbers):
            if "quantiles" in columns[i]:
                knots = torch.tensor(columns[i]["quantiles"], dtype=torch.float64)
                self.knots[str(at)] = nn.Parameter(knots, requires_grad=False)
        texts = [(i, c) for i, c in enumerate(columns) if c["kind"] == "text"]
        self.texts = [(i, width(c)) for i, c in texts if not c.get("coded")]
        self.coded = [(i, len(words(c))) for i, c in texts if c.get("coded")]
        order = [(i, 0) for i in numbers] + [(i, k) for i, size in self.texts for k in range(size)]
        order += [(i, 0) for i, _ in self.coded]
        self.register_buffer("order", torch.tensor(sorted(range(len(order)), key=order.__getitem__)))

    def forward(self, rows: Tensor) -> Tensor:
        values = rows.index_select(1, self.numbers)
        values = torch.where(values.abs() < torch.inf, values, self.median)  # nan is not below infinity either
        if self.fenced:
            values = torch.minimum(torch.maximum(values, self.low), self.high)
        scaled = (values - self.mean) / self.std
        if len(self.knots):
            parts = list(scaled.unbind(1))
            for at, knots in self.knots.items():
                parts[int(at)] = normal(values[:, int(at)].contiguous(), knots)
            scaled = torch.stack(parts, dim=1)
        hot = [rows[:, i : i + 1] == torch.arange(size, dtype=rows.dtype) for i, size in self.texts]
        codes = [_code(rows[:, i : i + 1], count) for i, count in self.coded]
        parts = [scaled.float(), *(h.float() for h in hot), *codes]
        return torch.cat(parts, dim=1).index_select(1, self.order)


def _code(positions: Tensor, count: int) -> Tensor:
    """Positions of categories, 0 ... count - 1, as codes from 1, float32; 0 for anything else."""
    return torch.where((positions >= 0) & (positions < count), positions + 1, 0.0).float()


class _Images(nn.Module):
    """The operations of `preprocessing.normalise`: float32 on bytes, float64 on a data set's own levels."""

    mean: Tensor
    std: Tensor

    def __init__(self, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.levels = preprocessing.get("levels", 255)
        dtype = torch.float32 if self.levels == 255 else torch.float64
        for name in ("mean", "std"):
            self.register_buffer(name, torch.tensor(preprocessing[name], dtype=dtype).view(-1, 1, 1))

    def forward(self, rows: Tensor) -> Tensor:
        return ((rows.to(self.mean.dtype) / self.levels - self.mean) / self.std).float()
