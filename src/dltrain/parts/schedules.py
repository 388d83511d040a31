"""Learning rate (and momentum) as a pure function of the step, so that there is nothing to save or restore.

Each function here returns a `step -> Setting`; steps count optimizer updates from 0. `base_lr` is the rate of an
optimizer whose parameter groups share one; groups of several rates are each their own base, as in torch. Any class of
`torch.optim.lr_scheduler` works beside them through `TorchSchedule`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, inf, pi
from typing import Literal, NamedTuple

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from dltrain.parts import State


class Setting(NamedTuple):
    """What one step uses; `momentum=None` leaves the optimizer's own."""

    lr: float
    momentum: float | None = None


Schedule = Callable[[int], Setting]


@dataclass(frozen=True)
class Curve:
    """A schedule that also says what parameter groups of these rates use, each for itself."""

    one: Schedule
    each: Callable[[list[float]], list[Schedule]]

    def __call__(self, step: int) -> Setting:
        return self.one(step)


def _based(base_lr: float, lr: Callable[[int, float], float]) -> Curve:
    """The curve of `lr(step, base)`."""

    def of(base: float) -> Schedule:
        return lambda step: Setting(lr(step, base))

    one = of(base_lr)
    return Curve(one, lambda rates: [one] * len(rates) if len({*rates}) == 1 else [of(rate) for rate in rates])


def constant(base_lr: float) -> Schedule:
    """The optimizer's learning rate, throughout."""
    return _based(base_lr, lambda step, base: base)


def cosine(base_lr: float, total_steps: int, *, min_lr: float = 0.0) -> Schedule:
    """Half a cosine from base_lr down to min_lr (Loshchilov & Hutter 2017, without restarts)."""
    _not_negative(min_lr=min_lr)
    return _based(base_lr, lambda step, base: _anneal(base, min_lr, step / max(1, total_steps - 1)))


def warmup_cosine(base_lr: float, total_steps: int, *, warmup: float = 0.05, min_lr: float = 0.0) -> Schedule:
    """A linear rise during the fraction `warmup` of all steps, then half a cosine down to min_lr."""
    if not 0 <= warmup < 1:
        raise ValueError(f"warmup={warmup}: give the fraction of all steps that the rise takes, in [0, 1)")
    _not_negative(min_lr=min_lr)
    rise = round(warmup * total_steps)

    def lr(step: int, base: float) -> float:
        if step < rise:
            return base * (step + 1) / (rise + 1)
        return _anneal(base, min_lr, (step - rise) / max(1, total_steps - 1 - rise))

    return _based(base_lr, lr)


def linear(base_lr: float, total_steps: int, *, end_lr: float = 0.0) -> Schedule:
    """A straight line from base_lr to end_lr."""
    _not_negative(end_lr=end_lr)
    return _based(base_lr, lambda step, base: _straight(base, end_lr, step / max(1, total_steps - 1)))


def step(base_lr: float, steps_per_epoch: int, *, step_size: float = 10, gamma: float = 0.1) -> Schedule:
    """Times gamma every `step_size` epochs."""
    _positive(step_size=step_size, gamma=gamma)
    every = max(1, round(step_size * steps_per_epoch))
    return _based(base_lr, lambda step, base: base * gamma ** (step // every))


def multistep(base_lr: float, steps_per_epoch: int, *, milestones: list[float], gamma: float = 0.1) -> Schedule:
    """Times gamma at each milestone, in epochs."""
    _positive(gamma=gamma, **{f"milestones[{i}]": m for i, m in enumerate(milestones)})
    at = [round(m * steps_per_epoch) for m in milestones]
    return _based(base_lr, lambda step, base: base * gamma ** sum(step >= milestone for milestone in at))


def exponential(base_lr: float, steps_per_epoch: int, *, gamma: float = 0.95) -> Schedule:
    """Times gamma after each epoch."""
    _positive(gamma=gamma)
    return _based(base_lr, lambda step, base: base * gamma ** (step // steps_per_epoch))


def onecycle(
    total_steps: int,
    *,
    max_lr: float | list[float],
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
    anneal: Literal["cos", "linear"] = "cos",
    three_phase: bool = False,
    cycle_momentum: bool = True,
    base_momentum: float | list[float] = 0.85,
    max_momentum: float | list[float] = 0.95,
) -> Schedule:
    """One cycle: the learning rate rises to max_lr and falls far below its start; momentum does the reverse.

    Source: Smith & Topin 2018; the same numbers as `torch.optim.lr_scheduler.OneCycleLR`. For Adam-like
    optimizers the momentum is beta1. max_lr and the momenta are for all parameter groups, or lists of one for each.
    """
    _positive(div_factor=div_factor, final_div_factor=final_div_factor)
    if not 0 <= pct_start <= 1:
        raise ValueError(f"pct_start={pct_start}: give the fraction of all steps that the rise takes, in [0, 1]")
    if isinstance(max_lr, (list, tuple)):
        _positive(**{f"max_lr[{i}]": lr for i, lr in enumerate(max_lr)})
    else:
        _positive(max_lr=max_lr)
    given = {"max_lr": max_lr, "base_momentum": base_momentum, "max_momentum": max_momentum}
    lists = {name: value for name, value in given.items() if isinstance(value, (list, tuple))}

    def of_group(i: int) -> Schedule:
        top, low, high = (value[i] if isinstance(value, (list, tuple)) else value for value in given.values())
        start, end = top / div_factor, top / div_factor / final_div_factor
        peak, last = pct_start * total_steps - 1, total_steps - 1
        phases = [(peak, start, top, high, low), (last, top, end, low, high)]
        if three_phase:
            phases[1:] = [(2 * peak, top, start, low, high), (last, start, end, high, high)]

        return _through(phases, _anneal if anneal == "cos" else _straight, momentum=cycle_momentum)

    def each(rates: list[float]) -> list[Schedule]:
        for name, values in lists.items():
            if len(values) != len(rates):
                found = f"it has {len(values)} numbers for {len(rates)} parameter groups"
                raise ValueError(f"{name}={list(values)}: {found}; write one number, or one for each group")
        return [of_group(i) for i in range(len(rates))] if lists else [one] * len(rates)

    one = of_group(0) if all(lists.values()) else each([0.0])[0]
    return Curve(one, each)


def _through(
    phases: list[tuple[float, float, float, float, float]],
    between: Callable[[float, float, float], float],
    *,
    momentum: bool,
) -> Schedule:
    """Phases in a row, each its last step, the rates it goes from and to, and the momenta."""
    last = phases[-1][0]

    def setting(step: int) -> Setting:
        begin = 0.0
        for stop, lr0, lr1, m0, m1 in phases:
            if step <= stop or stop == last:
                x = (step - begin) / (stop - begin) if stop > begin else 1.0
                return Setting(between(lr0, lr1, x), between(m0, m1, x) if momentum else None)
            begin = stop
        raise AssertionError("phases end at the last step")

    return setting


def _anneal(start: float, end: float, x: float) -> float:
    """Half a cosine from start (x = 0) to end (x = 1)."""
    return end + (start - end) / 2 * (1 + cos(pi * min(1.0, x)))


def _straight(start: float, end: float, x: float) -> float:
    """A line from start (x = 0) to end (x = 1)."""
    return start + (end - start) * min(1.0, x)


def _positive(**knobs: float) -> None:
    for name, value in knobs.items():
        if not value > 0:
            raise ValueError(f"{name}={value}: it must be above zero")


def _not_negative(**knobs: float) -> None:
    for name, value in knobs.items():
        if not value >= 0:
            raise ValueError(f"{name}={value}: it must be zero or more")


class PureSchedule:
    """Sets an optimizer to a pure function of the step; there is no state.

    The functions of this module know what parameter groups of several rates use. Any other function of the step gives
    the rate of the first group (that has one), and the others keep the ratio to it that they have now. `total_steps` is
    how many steps the function was made for; beyond them its last value holds. Raises ValueError where a list has not
    one number for each group.
    """

    def __init__(self, optimizer: Optimizer, schedule: Schedule, *, total_steps: float = inf) -> None:
        self.optimizer, self.schedule, self.last = optimizer, schedule, total_steps - 1
        rates = [float(group["lr"]) for group in optimizer.param_groups]
        if isinstance(schedule, Curve):
            each = schedule.each(rates)
        else:
            first = next((rate for rate in rates if rate), rates[0])
            each = [schedule if rate == first else _scaled(schedule, rate / first) for rate in rates]
        self._parts = [(one, [i for i, of in enumerate(each) if of is one]) for one in dict.fromkeys(each)]

    def set(self, step: int) -> None:
        """Called before update number `step` (from 0)."""
        step, groups = step if step < self.last else int(self.last), self.optimizer.param_groups
        for schedule, numbers in self._parts:
            lr, momentum = schedule(step)
            for i in numbers:
                group = groups[i]
                group["lr"] = lr
                if momentum is not None:
                    if "betas" in group:
                        group["betas"] = (momentum, *group["betas"][1:])
                    elif group.get("momentum"):  # plain descent stays plain
                        group["momentum"] = momentum

    @property
    def moves_momentum(self) -> bool:
        """Whether the momentum changes, too."""
        return any(schedule(0)[1] is not None for schedule, _ in self._parts)

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Nothing: the step says it all."""

    def state_dict(self) -> State:
        """Nothing: the step decides the rate."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Nothing to restore."""


def _scaled(schedule: Schedule, ratio: float) -> Schedule:
    def setting(step: int) -> Setting:
        lr, momentum = schedule(step)
        return Setting(lr * ratio, momentum)

    return setting


class TorchSchedule:
    """Any scheduler of `torch.optim.lr_scheduler`, stepped after each optimizer step or each epoch as declared.

    `monitor` is the metric that `ReduceLROnPlateau` watches, at the end of each epoch.
    """

    def __init__(
        self,
        scheduler: LRScheduler,
        *,
        interval: Literal["step", "epoch"] = "epoch",
        monitor: str = "val/loss",
    ) -> None:
        self.scheduler, self.interval, self.monitor = scheduler, interval, monitor
        self.steps = 0
        # torch warns where `optimizer.step` was not called, which the direct step does without.
        vars(scheduler.optimizer)["_opt_called"] = True
        if isinstance(scheduler, ReduceLROnPlateau) and interval != "epoch":
            raise ValueError("ReduceLROnPlateau watches a metric, which comes once an epoch: give interval=epoch")

    def set(self, step: int) -> None:
        """Called before update number `step` (from 0): catches up with the steps that have been done."""
        if self.interval == "step":
            for _ in range(step - self.steps):
                self.scheduler.step()
        self.steps = step

    @property
    def moves_momentum(self) -> bool:
        """Whether the momentum changes, too."""
        return bool(getattr(self.scheduler, "cycle_momentum", False))

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """Called after the last update of an epoch, with the newest metrics."""
        if self.interval == "step":
            return
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if self.monitor in metrics:
                self.scheduler.step(metrics[self.monitor])
        else:
            self.scheduler.step()

    def state_dict(self) -> State:
        """The scheduler's own, and how many steps it has seen."""
        return {"steps": self.steps, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        """Goes on from what `state_dict` gave."""
        self.steps = state["steps"]
        self.scheduler.load_state_dict(state["scheduler"])
