"""What a net learns in the place of a regression's targets, and the way back into their own units.

`standard` makes what it learns of targets, `original` undoes that, and `answers` says what outputs stand for. Only the
last holds what it gives near the train targets: elsewhere an exponential or a rank has no answer.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from dltrain.data.tables.scales import FAREST, blurred, from_normal, moments, quantiles, tied, to_normal
from dltrain.errors import DataError

TargetTransform = Literal["none", "standard", "log", "quantile"]

# Times the largest train target, and a part of the smallest: so far answers of a logarithm reach. A row unlike all
# train rows is answered a few deviations off, of which an exponential makes ten times the largest price: of 10,788
# diamonds one such answer was most of the squared error. A fifth is left for targets that nobody has met yet.
BEYOND = 1.2
_SURE = 7  # digits that float32 is sure of


@dataclass(frozen=True)
class Standard:
    """(targets - mean) / std, both [K]: float32, or float64 where an offset or a unit needs it."""

    mean: Tensor
    std: Tensor

    name: ClassVar[TargetTransform] = "standard"
    words: ClassVar[str] = "targets in standard units"
    axis: ClassVar[str] = "standard units"

    @classmethod
    def fit(cls, train: np.ndarray, targets: tuple[str, ...]) -> Standard:
        """Of the train rows float64 [N, K]. Raises DataError for a target that float64 can't tell from a constant."""
        mean, std = moments(train)
        for k, name in enumerate(targets):
            if np.spacing(np.abs(train[:, k]).max()) > 0.01 * std[k]:
                around = f"target '{name}' lies around {mean[k]:g} and varies by {std[k]:g}"
                raise DataError(f"{around}, which float64 rounds away; subtract a constant from it")
        # As stored, so that undoing it is exact. Where float32 is wide enough the bits are those of earlier runs.
        with np.errstate(over="ignore"):
            short = mean.astype(np.float32), std.astype(np.float32)
        if (np.abs(short[0] - mean) < 1e-3 * std).all() and np.allclose(short[1], std, rtol=1e-6, atol=0):
            mean, std = short
        return cls(torch.from_numpy(mean), torch.from_numpy(std))

    def standard(self, values: np.ndarray) -> np.ndarray:
        """What is learned of targets float64 [N, K]."""
        return (values - self.mean.numpy()) / self.std.numpy()

    def original(self, learned: Tensor) -> Tensor:
        """The targets of what is learned of them, float64 [N, K]."""
        return learned * self.std + self.mean

    def answers(self, outputs: Tensor) -> Tensor:
        """What outputs float64 [N, K] say, in the units of the targets."""
        return self.original(outputs)

    def rounded(self, answers: np.ndarray) -> np.ndarray:
        """Answers [N, K] with as many digits below the deviation as float32 is sure of."""
        return _rounded(answers, torch.log10(self.std).floor().numpy())

    def size(self) -> tuple[np.ndarray, np.ndarray]:
        """A usual target and by how much targets differ, each [K]."""
        return self.mean.numpy(), self.std.numpy()

    def tensors(self) -> dict[str, Tensor]:
        """All that was fitted, by the names of the fields."""
        return {"mean": self.mean, "std": self.std}

    def stored(self) -> dict[str, object]:
        """As data.json holds it, see `stored`."""
        return {"target_mean": self.mean.tolist(), "target_std": self.std.tolist()}


@dataclass(frozen=True)
class Log:
    """The natural logarithm of targets above zero, standardised by its own mean and std [K].

    low, high: float64 [K], between which answers are held: a fifth beyond the smallest and the largest train target,
    see `BEYOND`.
    """

    mean: Tensor
    std: Tensor
    low: Tensor
    high: Tensor

    name: ClassVar[TargetTransform] = "log"
    words: ClassVar[str] = "logarithms of the targets, in standard units"
    axis: ClassVar[str] = "logarithm, in standard units"

    @classmethod
    def fit(cls, train: np.ndarray, targets: tuple[str, ...]) -> Log:
        """Of the train rows float64 [N, K], which are above zero."""
        scale = Standard.fit(np.log(train), tuple(f"log({name})" for name in targets))
        with np.errstate(over="ignore"):
            low, high = train.min(0) / BEYOND, np.minimum(train.max(0) * BEYOND, sys.float_info.max)
        low = np.maximum(low, sys.float_info.min)
        return cls(scale.mean, scale.std, torch.from_numpy(low), torch.from_numpy(high))

    def standard(self, values: np.ndarray) -> np.ndarray:
        """What is learned of targets float64 [N, K]; nan or -inf where one is not above zero, see `refuse`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return (np.log(values) - self.mean.numpy()) / self.std.numpy()

    def original(self, learned: Tensor) -> Tensor:
        """The targets of what is learned of them, float64 [N, K]."""
        return (learned * self.std + self.mean).exp()

    def answers(self, outputs: Tensor) -> Tensor:
        """What outputs float64 [N, K] say, in the units of the targets, held between the limits."""
        return torch.minimum(torch.maximum(self.original(outputs), self.low), self.high)

    def rounded(self, answers: np.ndarray) -> np.ndarray:
        """Answers [N, K] with the digits that float32 is sure of: those of a small one reach as far as of a large."""
        unit = 10.0 ** (_SURE - 1 - np.floor(np.log10(answers)))
        return np.where(np.isfinite(unit), (answers * unit).round() / unit, answers)

    def size(self) -> tuple[np.ndarray, np.ndarray]:
        """The geometric mean of targets, and by how much those near it differ, each [K]."""
        middle = self.mean.double().exp().numpy()
        return middle, middle * self.std.numpy()

    def tensors(self) -> dict[str, Tensor]:
        """All that was fitted, by the names of the fields."""
        return {"mean": self.mean, "std": self.std, "low": self.low, "high": self.high}

    def stored(self) -> dict[str, object]:
        """As data.json holds it, see `stored`."""
        held = {"target_low": self.low.tolist(), "target_high": self.high.tolist()}
        return {"target_mean": self.mean.tolist(), "target_std": self.std.tolist(), **held}


@dataclass(frozen=True)
class Quantile:
    """Targets on a normal shape by their quantiles, as `data.scaling=quantile` has columns. knots: float64 [Q, K].

    A target beyond the train rows' ends, which validation may have, lies on the straight line from end to end; an
    answer there is held at the end.
    """

    knots: Tensor

    name: ClassVar[TargetTransform] = "quantile"
    words: ClassVar[str] = "ranks of the targets, on a normal shape"
    axis: ClassVar[str] = "ranks on a normal shape"

    @classmethod
    def fit(cls, train: np.ndarray, targets: tuple[str, ...]) -> Quantile:
        """Of the train rows float64 [N, K]."""
        return cls(torch.tensor([quantiles(column) for column in train.T], dtype=torch.float64).T)

    def standard(self, values: np.ndarray) -> np.ndarray:
        """What is learned of targets float64 [N, K]."""
        knots = self.knots.numpy()
        low, high = knots[0], knots[-1]
        ranked = np.stack([to_normal(v, k) for v, k in zip(values.T, knots.T, strict=True)], axis=1)
        line = FAREST * ((values - low) - (high - values)) / (high - low)
        return np.where((values < low) | (values > high), line, ranked)

    def original(self, learned: Tensor) -> Tensor:
        """The targets of what is learned of them, float64 [N, K]."""
        low, high = self.knots[0], self.knots[-1]
        line = low + (learned / FAREST + 1) * ((high - low) / 2)
        return torch.where(learned.abs() < FAREST - 1e-6, from_normal(learned, self.knots), line)  # of float32

    def answers(self, outputs: Tensor) -> Tensor:
        """What outputs float64 [N, K] say, in the units of the targets, held between the train rows' ends."""
        return self.original(outputs.clamp(-FAREST, FAREST))

    def rounded(self, answers: np.ndarray) -> np.ndarray:
        """Answers [N, K] with as many digits below the usual difference as float32 is sure of."""
        return _rounded(answers, np.floor(np.log10(self.size()[1])))

    def size(self) -> tuple[np.ndarray, np.ndarray]:
        """The median, and half of what the middle two thirds span (all, where those are one value), each [K]."""
        knots = self.knots.numpy()
        low, middle, high = np.quantile(knots, (1 / 6, 1 / 2, 5 / 6), axis=0)
        return middle, np.where(high > low, high - low, knots[-1] - knots[0]) / 2

    def tensors(self) -> dict[str, Tensor]:
        """All that was fitted, by the names of the fields."""
        return {"knots": self.knots}

    def stored(self) -> dict[str, object]:
        """As data.json holds it, see `stored`."""
        return {"target_mean": None, "target_std": None, "target_quantiles": self.knots.T.tolist()}


def _rounded(answers: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Answers [N, K] with the digits that float32 is sure of beside a difference of 10 ** power, [K]."""
    digits = (_SURE - 1 - powers).astype(int).tolist()
    return np.stack([column.round(most) for column, most in zip(answers.T, digits, strict=True)], axis=1)


Units = Standard | Log | Quantile
_KINDS: dict[TargetTransform, type[Units]] = {"standard": Standard, "log": Log, "quantile": Quantile}


def fit(transform: TargetTransform, train: np.ndarray, targets: tuple[str, ...]) -> Units:
    """What targets of the train rows float64 [N, K] are learned as; raises DataError for one that can't be learned."""
    for k, name in enumerate(targets):
        if train[:, k].min() == train[:, k].max():
            raise DataError(f"target '{name}' is {train[0, k]:g} in every one of the {len(train)} train rows")
    return _KINDS[transform].fit(train, targets)


def check_squares(train: np.ndarray, targets: tuple[str, ...]) -> None:
    """Raises DataError for targets of the train rows float64 [N, K] whose squared errors float64 can't hold.

    Whatever is learned in their place, the metrics are of the targets themselves.
    """
    for name, own in zip(targets, train.T, strict=True):
        std = moments(own)[1]
        if own.min() < own.max() and not 1e-150 < std < 1e150:
            raise DataError(f"target '{name}' varies by {std:g}, whose square float64 can't hold: choose another unit")


def learned(units: Units, values: np.ndarray, targets: tuple[str, ...], place: Callable[[int], str]) -> np.ndarray:
    """What is learned of targets float64 [N, K]; place: where a user finds a row, see `check`."""
    check(units.name, values, targets, place)
    return units.standard(values)


def check(
    transform: TargetTransform, values: np.ndarray, targets: tuple[str, ...], place: Callable[[int], str]
) -> None:
    """Raises DataError for targets float64 [N, K] of which one has no logarithm, where that is wanted, and for those
    that float32 can't hold, where they are to stand as they are.
    """
    for name, own in zip(targets, values.T, strict=True):
        if transform == "log" and len(rows := np.flatnonzero(~(own > 0))):
            more = f" (and {len(rows) - 1:,} more are not above zero)" * (len(rows) > 1)
            others = "standard" if tied(own) else "quantile, or standard"
            raise DataError(
                f"{place(int(rows[0]))}: target '{name}' is {own[rows[0]]:g}{more}, and a logarithm "
                "(data.target_transform=log) takes numbers above zero\nCorrect or remove it; or train with "
                f"data.target_transform={others}"
            )
        if transform == "none" and blurred(own):
            raise DataError(
                f"target '{name}' lies around {own.mean():g} and varies by {own.std():g}, which float32 can't hold as "
                "it stands; data.target_transform=standard can"
            )


def moved(units: Units, device: torch.device) -> Units:
    """The same on a device."""
    return replace(units, **{name: value.to(device) for name, value in units.tensors().items()})


def shortened(units: Units, names: Collection[str]) -> Units:
    """The same with some of its tensors as float32."""
    return replace(units, **{name: value.float() for name, value in units.tensors().items() if name in names})


def column(units: Units, k: int) -> Units:
    """The same of one target."""
    return replace(units, **{name: value[..., k : k + 1] for name, value in units.tensors().items()})


# -- data.json -----------------------------------------------------------------------------------------------------


def stored(units: Units | None) -> dict[str, object]:
    """What data.json says of them: `target_transform`, `target_mean`, `target_std`, and what else there is."""
    if units is None:
        return {"target_transform": "none", "target_mean": None, "target_std": None}
    return {"target_transform": units.name, **units.stored()}


def read(content: Mapping[str, object], targets: int) -> Units | None:
    """The same of so many targets, from a file that anyone may have written; ValueError names what can't be used.

    Files of earlier versions have a mean and a deviation, or null, and do not say `target_transform`.
    """
    given = content["target_mean"], content["target_std"]
    transform = content.get("target_transform", "none" if given == (None, None) else "standard")
    _want(transform in get_args(TargetTransform), "target_transform")
    if transform in ("none", "quantile"):
        _want(given == (None, None), "target_mean")
        return None if transform == "none" else _knots(content["target_quantiles"], targets)
    mean, std = _numbers(content, "target_mean", targets), _numbers(content, "target_std", targets)
    _want(bool((std > 0).all()), "target_std")
    if transform == "standard":
        return Standard(mean, std)
    low, high = _numbers(content, "target_low", targets), _numbers(content, "target_high", targets)
    _want(bool((low > 0).all()), "target_low")
    _want(bool((high >= low).all()), "target_high")
    return Log(mean, std, low, high)


def _knots(given: object, targets: int) -> Quantile:
    _want(isinstance(given, list) and len(given) == targets > 0, "target_quantiles")
    assert isinstance(given, list)  # as is wanted
    count = len(given[0]) if isinstance(given[0], list) else 0
    _want(count > 1, "target_quantiles")
    knots = [_numbers({"target_quantiles": own}, "target_quantiles", count) for own in given]
    _want(all(bool((own.diff() >= 0).all()) and bool(own[0] < own[-1]) for own in knots), "target_quantiles")
    return Quantile(torch.stack(knots, dim=1))


def _want(good: bool, what: str) -> None:
    if not good:
        raise ValueError(f"{what} can't be used")


def _numbers(content: Mapping[str, object], key: str, count: int) -> Tensor:
    """So many finite numbers, float64 [count]."""
    values = content[key]
    _want(isinstance(values, list) and len(values) == count, key)
    assert isinstance(values, list)  # as is wanted
    _want(all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values), key)
    _want(all(abs(v) <= sys.float_info.max for v in values), key)  # nan is not, either
    return torch.tensor([float(v) for v in values], dtype=torch.float64)
