"""The mean of what several runs answer, each of which has fitted a preprocessing of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from dltrain.engine import evaluation
from dltrain.errors import DataError
from dltrain.parts import ensembles, losses
from dltrain.trained import inference
from dltrain.trained.inference import Trained

if TYPE_CHECKING:
    import polars as pl

    from dltrain.data.tables.table import Place


@dataclass(frozen=True)
class Mean:
    """Runs on the same rows and classes whose answers are averaged: probabilities, or values in original units; scores
    under a loss that makes no probabilities.
    """

    members: tuple[Trained, ...]

    @property
    def loss(self) -> nn.Module:
        """What makes probabilities of `outputs`."""
        first = self.members[0]
        own = losses.meaning(first.loss, first.facts.task) is None and first.facts.task != "regression"
        return first.loss if own else losses.auto(first.facts.task).eval()

    @property
    def columns(self) -> list[str]:
        """The columns that a table must have for all of them."""
        return list(dict.fromkeys(name for member in self.members for name in member.facts.columns))

    def inputs(self, rows: object, *, place: Place | None = None, allow_unknown: bool = False) -> list[Tensor]:
        """New rows as each run takes them, see `Trained.inputs`; refused is what all of them refuse, as a category that
        none of them knows.
        """
        found: list[Tensor | None] = []
        refused: list[DataError] = []
        for member in self.members:
            try:
                found.append(member.inputs(rows, place=place, allow_unknown=allow_unknown))
            except DataError as error:
                found.append(None)
                refused.append(error)
        if len(refused) == len(self.members):
            raise refused[0]
        return [
            member.inputs(rows, place=place, allow_unknown=True) if x is None else x
            for member, x in zip(self.members, found, strict=True)
        ]

    def remark(self, rows: object) -> str | None:
        """What `Trained.remark` says, where it is so for each of the runs."""
        found = [member.remark(rows) for member in self.members]
        return found[0] if all(found) else None

    def outputs(self, each: Sequence[Tensor]) -> Tensor:
        """What a net with the mean answers would say under `loss`, [N, K]; of a regression the values, float64.

        each: the outputs [N, K] of each run to the same rows.
        """
        task, names = self.members[0].facts.task, self.members[0].facts.names
        alike = [1] * len(each)
        if task == "regression":
            facts = [member.facts for member in self.members]
            values = [evaluation.answers(t, f.units) for t, f in zip(each, facts, strict=True)]
            return ensembles.mean(values, alike)
        meaning, labels = losses.meaning(self.members[0].loss, task), task == "multilabel"
        if meaning is None:
            return ensembles.mean(each, alike)
        shares = [ensembles.log_shares(outputs, meaning, labels) for outputs in each]
        count = losses.outputs(self.loss, task, len(names))
        return ensembles.logits(ensembles.mean_of_logs(shares, alike), count, labels)

    def answers(self, each: Sequence[Tensor]) -> pl.DataFrame:
        """The mean in words, as `Trained.answers` has them."""
        if len(each) == 1:
            return self.members[0].answers(each[0])
        first, outputs = self.members[0], self.outputs(each)
        if first.facts.task == "regression":
            return inference.values(outputs, first.facts)
        return replace(first, loss=self.loss).answers(outputs.float())
