"""Schedules against torch's own schedulers, step by step."""

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from dltrain import schedules
from dltrain.schedules import PureSchedule, TorchSchedule

TOTAL = 137


def weight():
    return [torch.nn.Parameter(torch.zeros(2, 2))]


def by_torch(optimizer, scheduler, steps):
    """(lr, momentum) that each step would use in torch's own loop."""
    rows = []
    for _ in range(steps):
        group = optimizer.param_groups[0]
        rows.append((group["lr"], group["betas"][0] if "betas" in group else group["momentum"]))
        optimizer.step()
        scheduler.step()
    return rows


@pytest.mark.parametrize("three_phase", [False, True])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize("make", [lambda p: SGD(p, lr=0.1, momentum=0.9), lambda p: AdamW(p, lr=0.1)])
def test_onecycle_is_torchs_over_a_whole_run(make, anneal, three_phase):
    knobs = {"max_lr": 0.03, "pct_start": 0.27, "three_phase": three_phase}
    theirs = make(weight())
    scheduler = OneCycleLR(theirs, total_steps=TOTAL, anneal_strategy=anneal, **knobs)
    ours = make(weight())
    schedule = PureSchedule(ours, schedules.onecycle(TOTAL, anneal=anneal, **knobs))
    # torch refuses the step after the last
    for step, (lr, momentum) in enumerate(by_torch(theirs, scheduler, TOTAL - 1)):
        schedule.set(step)
        group = ours.param_groups[0]
        assert group["lr"] == pytest.approx(lr, rel=0, abs=1e-12)
        mine = group["betas"][0] if "betas" in group else group["momentum"]
        assert mine == pytest.approx(momentum, rel=0, abs=1e-12)
    assert schedules.onecycle(TOTAL, **knobs)(TOTAL - 1).lr == pytest.approx(0.03 / 25 / 1e4, abs=1e-12)


def test_onecycle_leaves_plain_descent_without_momentum():
    optimizer = SGD(weight(), lr=0.1)
    PureSchedule(optimizer, schedules.onecycle(TOTAL, max_lr=0.1)).set(50)
    assert optimizer.param_groups[0]["momentum"] == 0


PER_EPOCH = 10


@pytest.mark.parametrize(
    ("ours", "theirs", "every"),
    [
        (schedules.step(0.1, PER_EPOCH, step_size=3, gamma=0.5), lambda o: StepLR(o, 3, gamma=0.5), PER_EPOCH),
        (
            schedules.multistep(0.1, PER_EPOCH, milestones=[2, 5, 6], gamma=0.2),
            lambda o: MultiStepLR(o, [2, 5, 6], gamma=0.2),
            PER_EPOCH,
        ),
        (schedules.exponential(0.1, PER_EPOCH, gamma=0.9), lambda o: ExponentialLR(o, 0.9), PER_EPOCH),
        (schedules.cosine(0.1, TOTAL, min_lr=0.01), lambda o: CosineAnnealingLR(o, TOTAL - 1, eta_min=0.01), 1),
        (schedules.linear(0.1, TOTAL, end_lr=0.05), lambda o: LinearLR(o, 1.0, 0.5, TOTAL - 1), 1),
    ],
)
def test_schedule_is_torchs(ours, theirs, every):
    optimizer = SGD(weight(), lr=0.1)
    scheduler = theirs(optimizer)
    for step in range(TOTAL):
        assert ours(step).lr == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        if (step + 1) % every == 0:
            scheduler.step()


def test_warmup_rises_to_the_rate_and_ends_at_min_lr():
    schedule = schedules.warmup_cosine(0.1, 100, warmup=0.1, min_lr=0.001)
    rates = [schedule(step).lr for step in range(100)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[10] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.001)


def test_any_torch_scheduler_by_step_equals_torchs_loop():
    theirs, ours = SGD(weight(), lr=0.1), SGD(weight(), lr=0.1)
    rows = by_torch(theirs, CosineAnnealingLR(theirs, 20), 60)
    schedule = TorchSchedule(CosineAnnealingLR(ours, 20), interval="step")
    for step, (lr, _) in enumerate(rows):
        schedule.set(step)
        assert ours.param_groups[0]["lr"] == lr
        ours.step()


def test_plateau_lowers_the_rate_when_the_metric_stalls():
    optimizer = SGD(weight(), lr=0.1)
    schedule = TorchSchedule(ReduceLROnPlateau(optimizer, patience=1, factor=0.5), monitor="val/loss")
    for loss in (1.0, 0.9, 0.9, 0.9):
        schedule.end_epoch({"val/loss": loss})
    assert optimizer.param_groups[0]["lr"] == 0.05


def test_torch_scheduler_state_survives():
    def make():
        optimizer = SGD(weight(), lr=0.1)
        return optimizer, TorchSchedule(StepLR(optimizer, 2), interval="epoch")

    optimizer, schedule = make()
    for _ in range(3):
        optimizer.step()
        schedule.end_epoch({})
    fresh_optimizer, fresh = make()
    fresh.load_state_dict(schedule.state_dict())
    fresh_optimizer.load_state_dict(optimizer.state_dict())
    for o, s in ((optimizer, schedule), (fresh_optimizer, fresh)):
        o.step()
        s.end_epoch({})
    assert fresh_optimizer.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.onecycle(10, max_lr=0.0), "max_lr=0.0: it must be above zero"),
        (lambda: schedules.onecycle(10, max_lr=float("nan")), "max_lr=nan"),
        (lambda: schedules.onecycle(10, max_lr=0.1, pct_start=2), "pct_start=2: give the fraction"),
        (lambda: schedules.warmup_cosine(0.1, 10, warmup=1.5), "warmup=1.5"),
        (lambda: schedules.cosine(0.1, 10, min_lr=-1), "min_lr=-1: it must be zero or more"),
        (lambda: schedules.step(0.1, 10, step_size=0), "step_size=0"),
        (lambda: schedules.multistep(0.1, 10, milestones=[3, -1]), r"milestones\[1\]=-1"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
