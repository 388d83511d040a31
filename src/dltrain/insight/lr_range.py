"""The learning rate range test: the real plan trained for some hundred steps while the rate rises (Smith 2015)."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from dltrain.config import build, trials
from dltrain.config.plan import Plan
from dltrain.engine.trainer import seed_everything
from dltrain.errors import DivergedError, key_of
from dltrain.parts import Group, schedules

LOW, HIGH, STEPS = 1e-5, 10.0, 300  # fifty steps for each power of ten
_REACH = 5  # the loss of a step is averaged with so many before and after it: batches are noisy, and a causal mean lags
_HOPELESS = 4.0  # a loss so many times the first one: what follows shows nothing new
_ENOUGH = 0.05  # of the fall still to come: an easy loss stays low for long, and its lowest point is chance
_FLAT = 0.1  # a fall by less than this share of the first loss is hardly more than the noise of the batches


@dataclass(frozen=True)
class Curve:
    """The loss of each step against its rate, and what follows from it.

    `down_rate` is the rate by which the smoothed loss has all but fallen to its lowest; `edge` the one at which it is
    back where it began, None where it never was.
    """

    rates: list[float]
    losses: list[float]
    smooth: list[float]
    start: float
    lowest: float
    down_rate: float
    edge: float | None

    @property
    def suggested(self) -> float | None:
        """A rate to train with, of one significant digit; None where the loss fell at no rate, or is zero at first.

        A tenth of the edge, and not above `down_rate`. Of ten plans (seven data sets; AdamW, Adam, momentum, SGD)
        whose runs were tried at ten rates from 1e-4 to 3, it lay in eight within a factor of ten of the one with the
        best validation loss, and in none at one that failed.
        """
        if self.lowest >= self.start or self.losses[0] == 0:
            return None
        rate = self.down_rate if self.edge is None else min(self.down_rate, self.edge / 10)
        return float(f"{rate:.1g}")

    @property
    def flat(self) -> bool:
        """Whether the loss fell so little that the suggestion is a guess."""
        return self.start - self.lowest < _FLAT * abs(self.start)


def scheduled(plan: Plan) -> tuple[schedules.PureSchedule | schedules.TorchSchedule, Group]:
    """The schedule of a plan, and the parameter group whose rate and momentum it sets."""
    optimizer = trials.stand_in(plan.parts["optimizer"])
    return build.make_schedule(plan, optimizer), optimizer.param_groups[0]


def measure(plan: Plan, *, low: float = LOW, high: float = HIGH, steps: int = STEPS) -> Curve:
    """Trains a net of the plan's own from `low` to `high`, each step at a rate higher by the same factor.

    Ends early where the loss is no number or has grown beyond hope. Nothing is written, and what was drawn is gone.
    """
    build.set_threads_and_determinism(plan)
    seed_everything(plan.seed)
    trainer = build.make_trainer(plan)
    train, _ = build.make_loaders(plan)
    growth = (high / low) ** (1 / (steps - 1))
    trainer.schedule = schedules.PureSchedule(trainer.optimizer, lambda step: schedules.Setting(low * growth**step))
    rates: list[float] = []
    losses: list[float] = []
    broke = False
    try:
        limit = plan.settings.limit_train_batches
        for record in trainer.fit(train, steps=steps, report_every=1, eval_every=steps + 1, limit_batches=limit):
            rates.append(low * growth ** (record.step - 1))
            losses.append(float(record.losses[-1]))
            if fmean(losses[-10:]) > _HOPELESS * fmean(losses[:10]) > 0:
                break
    except DivergedError:
        if len(losses) < 2 * _REACH:
            raise
        broke = True
    return _curve(rates, losses, broke=broke)


def _curve(rates: list[float], losses: list[float], *, broke: bool) -> Curve:
    smooth = [fmean(losses[max(0, i - _REACH) : i + _REACH + 1]) for i in range(len(losses))]
    start = fmean(losses[: max(1, len(losses) // 10)])  # the first rates are too low to change anything
    best = min(range(len(smooth)), key=smooth.__getitem__)
    edge = next((rate for rate, loss in zip(rates[best:], smooth[best:], strict=True) if loss > start), None)
    edge = rates[-1] if edge is None and broke else edge
    edge = edge if losses[0] != 0 else None  # the perceptron's, with weights of zero: it has no scale
    enough = smooth[best] + _ENOUGH * (start - smooth[best])
    down = next((rate for rate, loss in zip(rates, smooth, strict=True) if loss <= enough), rates[best])
    return Curve(rates, losses, smooth, start, smooth[best], down, edge)


def describe(plan: Plan, curve: Curve, picture: Path) -> str:
    """What was seen, and the command to type next."""
    size = min(plan.batch_size or len(plan.data.train), len(plan.data.train))
    if curve.lowest < curve.start:
        edge, last = curve.edge, curve.rates[-1]
        end = f"back at its start near {edge:.2g}" if edge else f"still below its start at {last:.2g}"
        fell = f"{curve.start:.4g} at first, down to {curve.lowest:.4g} near {curve.down_rate:.2g}, {end}"
    else:
        fell = f"{curve.start:.4g} at first, and never below it"
    steps = f"{len(curve.rates)} steps of {size:,} sample{'s' * (size > 1)}"
    lines = [
        f"rates      {curve.rates[0]:g} to {curve.rates[-1]:.2g} in {steps}",
        f"loss       {fell}",
        f"picture    {picture}",
    ]
    if curve.losses[0] == 0:
        why = "it is 0 at first, as the perceptron's is at weights of zero, where every rate makes the same decisions"
        return "\n".join([*lines, f"suggested  nothing: the loss has no scale; {why}"])
    if curve.suggested is None:
        return "\n".join([*lines, "suggested  nothing: the loss fell at no rate"])
    if curve.flat:
        lines.append(f"note       the loss fell by less than {_FLAT:.0%}: the suggestion is a guess")
    typed = [o for o in plan.overrides if key_of(o) not in ("optimizer.lr", "scheduler.max_lr")]
    added = "+" * any(o.startswith(f"+{plan.rate_key}=") for o in plan.overrides)
    override = f"{added}{plan.rate_key}={curve.suggested:g}"
    peak = " (the peak of the cycle, max_lr)" if "max_lr" in plan.parts["scheduler"].arguments else ""
    return "\n".join(
        [*lines, f"suggested  {override}{peak}", f"try        {shlex.join(['dltrain', *typed, override])}"]
    )
