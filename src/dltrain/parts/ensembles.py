"""The average of several trained nets as one net: of their probabilities, or of the values of a regression.

It takes and gives what a net of its own does, inputs [B, ...] and logits [B, K], so that every loss, metric and export
takes it. Probabilities are averaged as logarithms: a net that is sure of itself has none that is exactly 0 or 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.errors import ConfigError
from dltrain.parts.losses import Meaning
from dltrain.parts.quantiles import normal

Outputs = Literal["values", Meaning]


class Member(nn.Module):
    """A net of an ensemble. weight: how often it counts; outputs: what its outputs mean, see `log_shares`."""

    def __init__(self, model: nn.Module, *, weight: int, outputs: Outputs) -> None:
        super().__init__()
        if not 1 <= weight <= 1_000_000:
            raise ValueError(f"weight={weight} must be a whole number above zero")
        if outputs not in get_args(Outputs):
            raise ValueError(f"outputs={outputs} is none of {', '.join(get_args(Outputs))}")
        self.model, self.weight, self.outputs = model, weight, outputs

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class Rescaled(nn.Module):
    """A net that was trained on inputs of some scale, for inputs without one.

    shape: that of inputs or [C, 1, 1], of the mean and the deviation; fenced: whether there are limits, too; ranked:
    columns of a table that were put on a normal shape by their quantiles, of which `knots` says the number. All these
    come with the weights.
    """

    low: Tensor  # this and the next only where `fenced`
    high: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self, model: nn.Module, *, shape: list[int], fenced: bool, ranked: list[int], knots: list[int]
    ) -> None:
        super().__init__()
        if len(ranked) != len(knots) or not all(0 <= n < shape[0] for n in ranked) or any(n < 2 for n in knots):
            raise ValueError(
                f"ranked={ranked}, knots={knots}: want columns below {shape[0]}, and 2 knots or more of each"
            )
        self.model, self.fenced, self.ranked = model, fenced, ranked
        for name in (*(("low", "high") if fenced else ()), "mean", "std"):
            self.register_buffer(name, torch.zeros(shape))
        for at, count in zip(ranked, knots, strict=True):
            self.register_buffer(f"knots{at}", torch.zeros(count))

    def forward(self, x: Tensor) -> Tensor:
        if self.fenced:
            x = torch.minimum(torch.maximum(x, self.low), self.high)
        x = x if x.device.type == "mps" else x.double()  # which has no float64
        scaled = (x - self.mean) / self.std
        if self.ranked:
            columns = list(scaled.unbind(1))
            for at in self.ranked:
                columns[at] = normal(x[:, at].contiguous(), self.get_buffer(f"knots{at}").to(x.dtype))
            scaled = torch.stack(columns, dim=1)
        return self.model(scaled.float())


class Ensemble(nn.Module):
    """The weighted mean of the answers of its members, each a `Member`, as logits [B, out_features].

    labels: whether each output is a label of its own; else several outputs are classes, and one is the second of two.
    codes: which inputs are codes, see `dltrain.codes`; each member takes them as it has learned to.
    """

    def __init__(
        self,
        members: list[nn.Module],
        out_features: int,
        *,
        labels: bool = False,
        codes: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__()
        kinds: list[tuple[int, Outputs]] = []
        for member in members:
            if not isinstance(member, Member):
                raise ValueError(f"a {type(member).__name__} is none of its members: those are `Member`s")
            kinds.append((member.weight, member.outputs))
        if len({outputs == "values" for _, outputs in kinds}) != 1:
            raise ValueError("its members have to answer with values, or all of them with probabilities")
        if labels and any(outputs != "sigmoid" for _, outputs in kinds):
            raise ValueError("labels have a sigmoid each, and its members have others")
        self.members, self.kinds = nn.ModuleList(members), kinds
        self.out_features, self.labels = out_features, labels

    def forward(self, x: Tensor) -> Tensor:
        weights = [weight for weight, _ in self.kinds]
        answers = [log_shares(member(x), self.kinds[i][1], self.labels) for i, member in enumerate(self.members)]
        values = self.kinds[0][1] == "values"
        wanted = (
            (self.out_features, 2) if self.labels else (self.out_features if values else max(self.out_features, 2),)
        )
        for i, answer in enumerate(answers):
            if tuple(answer.shape[1:]) != wanted:
                raise ConfigError(f"member {i} answers with {[*answer.shape[1:]]} numbers for a row, not {[*wanted]}")
        if values:
            return mean(answers, weights)
        return logits(mean_of_logs(answers, weights), self.out_features, self.labels)


def log_shares(outputs: Tensor, meaning: Outputs, labels: bool) -> Tensor:
    """What outputs [B, K] say as logarithms of probabilities: of the classes [B, C]; of each label not to be there, and
    to be there, [B, K, 2]. Values stay what they are.

    softmax and sigmoid: the probabilities that a loss makes of them; shares: sigmoids that are divided by their sum.
    """
    outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
    if meaning == "values":
        return outputs
    if meaning == "softmax":
        return outputs.log_softmax(1)
    there = F.logsigmoid(outputs)
    if meaning == "shares":
        return there.log_softmax(1)
    both = [F.logsigmoid(-outputs), there]
    return torch.stack(both, dim=-1) if labels else torch.cat(both, dim=1)


def logits(shares: Tensor, out_features: int, labels: bool) -> Tensor:
    """Of such logarithms the outputs [B, out_features] that a net with these probabilities would have."""
    if labels or out_features == 1:
        return (shares[..., 1] - shares[..., 0]).reshape(-1, out_features)
    return shares


def mean(values: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
    """The weighted mean of tensors."""
    whole = sum(weights)
    return torch.stack([value * (weight / whole) for value, weight in zip(values, weights, strict=True)]).sum(0)


def mean_of_logs(shares: Sequence[Tensor], weights: Sequence[int]) -> Tensor:
    """The same of what the tensors are the logarithms of, as a logarithm."""
    whole = sum(weights)
    return torch.stack([s + log(weight / whole) for s, weight in zip(shares, weights, strict=True)]).logsumexp(0)
