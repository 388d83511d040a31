"""Clipping: the norms of a net's gradients before and after it, one long step, and rates with and without it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf, isfinite
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import clipping
from dltrain.runs import reading
from dltrain.trained.whole_run import load
from dltrain.training import replay

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.gallery import Picture
    from dltrain.trained.whole_run import TrainedRun

_EXPECTED = {  # accuracy of 6 seeds, by rate and whether it is clipped
    (0.1, False): (0.93, 0.98),
    (0.1, True): (0.88, 0.95),
    (0.3, False): (0.90, 0.98),
    (0.3, True): (0.91, 0.98),
    (1.0, False): (0.0, 0.3),
    (1.0, True): (0.91, 0.98),
    (3.0, False): (0.0, 0.0),
    (3.0, True): (0.0, 0.3),
}


@dataclass(frozen=True)
class _Clipped:
    folder: Path
    rate: float
    bound: float | None
    accuracy: float  # 0 where it broke down
    alive: float  # share of the last hidden layer's units that differ from one train row to another
    steps: clipping.Steps

    @property
    def name(self) -> str:
        return f"rate {self.rate:g}, {'not clipped' if self.bound is None else f'clipped to {self.bound:g}'}"

    @property
    def share(self) -> float:
        """Of the steps that were cut."""
        return float((self.steps.factors < 1).mean())


def study(done: Sequence[Done]) -> Seen:
    folders = looks.table(done[0])["folder"]
    pairs = zip(folders, looks.numbers(done[0], "test/accuracy"), strict=True)
    runs = [_look(Path(folder), accuracy) for folder, accuracy in pairs]
    kinds = {(run.rate, run.bound is not None): run for run in runs}
    wild, tamed = kinds.get((1.0, False), runs[0]), kinds.get((1.0, True), runs[-1])
    accuracy, side = tamed.accuracy, _side(tamed)
    before, cut, whole = (float(np.interp(at, side.lengths, side.losses)) for at in (0, side.cut, side.whole))
    numbers = [
        Number(
            f"accuracy, {run.name}{'' if run.accuracy else ' (broke down)'}",
            run.accuracy,
            *_EXPECTED.get(kind, (-inf, inf)),
            ".1%",
        )
        for kind, run in kinds.items()
    ]
    numbers += [
        Number(f"steps that were clipped, {tamed.name}", tamed.share, 0.6, 0.8, ".0%"),
        Number(f"live units of the last layer, {wild.name}", wild.alive, 0, 0.1, ".0%"),
        Number("its rows' loss before the longest gradient's step", before, 0.3, 5, ".2f"),
        Number("after it, as it was cut", cut, 0, 1, ".2f"),
        Number("after it, had it not been cut", whole, 4, inf, ".3g"),
    ]
    free = max((run.accuracy for run in runs if run.bound is None), default=0.0)
    far = kinds[3.0, True].accuracy if (3.0, True) in kinds else 1.0
    return Seen(
        numbers,
        1 if accuracy < 0.3 else 2 if accuracy < 0.8 else 3,
        f"With {tamed.name}, it has {accuracy:.1%} of the digits right, and {tamed.share:.0%} of its steps were cut; "
        f"with {wild.name}, {wild.accuracy:.1%}.{_BOUGHT * (free >= accuracy - 0.02 and far < 0.3)}",
        _pictures(kinds.values(), wild, tamed, side),
    )


_BOUGHT = (
    " The best rate without clipping does as well, and at 3 clipping does not help either: what it buys is that a rate "
    "which is somewhat too large ruins nothing."
)


def _pictures(runs: Iterable[_Clipped], wild: _Clipped, tamed: _Clipped, side: clipping.Side) -> list[Picture]:
    step = (
        f"The longest gradient of the net with {tamed.name}, and the loss of the same rows along it. A gradient says "
        "which way is down from here, and nothing of how far: the loss falls for a short way, and then rises far above "
        "where it began. At a rate of 1 a step is as long as the gradient."
    )
    steps = (
        f"Each dot is a step with {tamed.name}; a green one is what is left of the blue one above it. Without clipping "
        "a few long steps at the start cost the net its units: they are never on again, hardly any gradient passes "
        "through them, and its loss stays that of guessing. Below all runs, one that broke down as 0%: clipping lets "
        "a larger rate work, not every rate."
    )
    arrows = (
        "Gradients of two numbers, pale as they were, dark as they are cut to c = 1. By norm each keeps its direction; "
        "by value each component is cut by itself, which turns it towards a diagonal."
    )
    rates = {
        name: sorted((run.rate, run.accuracy) for run in runs if (run.bound is None) is unbound)
        for name, unbound in (("not clipped", True), ("clipped", False))
    }
    return [
        looks.picture("side.png", "A step that is too long", step, clipping.side(side)),
        looks.picture(
            "norms.png", "Before and after", steps, clipping.norms(tamed.steps, wild.steps, tamed.bound, rates)
        ),
        looks.picture("arrows.png", "By norm and by value", arrows, clipping.arrows(*_arrows())),
    ]


def _side(run: _Clipped) -> clipping.Side:
    """The loss along the longest of a run's gradients, of the rows that it is of, seen from where it was."""
    trained, step = load(run.folder), int(run.steps.numbers[run.steps.norms.argmax()])
    plan = looks.plan(trained)
    way = replay.replay(plan, steps=step - 1, wanted=[step - 1], seconds=60) if step > 1 else None
    net = build.make_model(plan)
    net.load_state_dict(way.weights[-1] if way else looks.start(trained))
    loader, _ = build.make_loaders(plan)
    epoch, number = divmod(step - 1, len([*loader.epoch(0)]))
    batch = [*loader.epoch(epoch)][number]
    gradient = torch.autograd.grad(plan.loss(net(batch.x), batch.y), [*net.parameters()])
    whole = float(torch.stack([part.norm() for part in gradient]).norm())
    cut = min(whole, run.bound or whole)
    lengths = np.unique([*np.linspace(0, 1.08 * whole, 60), *np.linspace(0, 2 * cut, 20), cut, whole])
    begin = [p.detach().clone() for p in net.parameters()]
    losses: list[float] = []
    with torch.no_grad():
        for length in lengths:
            for p, at, part in zip(net.parameters(), begin, gradient, strict=True):
                p.copy_(at - float(length) / whole * part)
            losses.append(float(plan.loss(net(batch.x), batch.y)))
    return clipping.Side(lengths, np.array(losses), cut, whole)


def _look(folder: Path, accuracy: float) -> _Clipped:
    """What a run's log has of its steps, until it broke down where it did: such a run may have left no weights."""
    broken, config = accuracy == inf, reading.read(folder).config
    rows = [row for row in reading.read_log(folder) if isfinite(row.get("train/grad_norm") or inf)]
    norms, losses = (np.array([row[f"train/{name}"] for row in rows]) for name in ("grad_norm", "loss"))
    factors = np.array([row.get("train/clip_factor", 1.0) for row in rows])
    steps = clipping.Steps(np.array([row["step"] for row in rows]), norms, factors, losses)
    rate, bound = config["optimizer.lr"], config["regularisation.clip_norm"]
    return _Clipped(folder, rate, bound, 0.0 if broken else accuracy, 0.0 if broken else _alive(load(folder)), steps)


def _alive(run: TrainedRun) -> float:
    net = build.make_model(looks.plan(run)).eval()
    net.load_state_dict(looks.last_weights(run))
    output = [module for module in net.modules() if isinstance(module, torch.nn.Linear)][-1]
    z = looks.given(net, output, looks.rows(run)[0])
    return float((z.max(0).values > z.min(0).values).float().mean())


def _arrows() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients [N, 2], and the same as PyTorch clips them to 1 by norm and by value."""
    angles = torch.arange(12) * torch.pi / 6 + 0.35
    lengths = torch.tensor([0.6, 2.0, 1.5, 2.4])[torch.arange(12) % 4]
    given = lengths[:, None] * torch.stack([angles.cos(), angles.sin()], dim=1)
    by_norm, by_value = given.clone(), given.clone()
    for row in by_norm:
        one = torch.zeros(2, requires_grad=True)
        one.grad = row
        torch.nn.utils.clip_grad_norm_([one], 1.0)
    by_value.clamp_(-1.0, 1.0)
    return given.numpy(), by_norm.numpy(), by_value.numpy()
