"""Schedules against torch's own schedulers, step by step."""

import warnings

import pytest
import torch
from torch.optim import SGD, AdamW
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiStepLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from dltrain.parts import schedules
from dltrain.parts.schedules import PureSchedule, TorchSchedule

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


def groups(momentum=0.0):
    """Three groups as a fine-tuning has them: a low rate for what is known, a high one for what is new."""
    rates = ({"lr": 0.001}, {"lr": 0.1}, {"lr": 0.02})
    return SGD([{"params": weight(), **rate} for rate in rates], lr=0.1, momentum=momentum)


@pytest.mark.parametrize("base", [0.001, 0.1])
@pytest.mark.parametrize(
    ("ours", "theirs", "every"),
    [
        (lambda base: schedules.constant(base), lambda o: LambdaLR(o, lambda k: 1.0), 1),
        (lambda base: schedules.step(base, PER_EPOCH, step_size=3, gamma=0.5), lambda o: StepLR(o, 3, 0.5), PER_EPOCH),
        (
            lambda base: schedules.multistep(base, PER_EPOCH, milestones=[2, 5, 6], gamma=0.2),
            lambda o: MultiStepLR(o, [2, 5, 6], gamma=0.2),
            PER_EPOCH,
        ),
        (lambda base: schedules.exponential(base, PER_EPOCH, gamma=0.9), lambda o: ExponentialLR(o, 0.9), PER_EPOCH),
        (
            lambda base: schedules.cosine(base, TOTAL, min_lr=0.01),
            lambda o: CosineAnnealingLR(o, TOTAL - 1, eta_min=0.01),
            1,
        ),
        (lambda base: schedules.linear(base, TOTAL), lambda o: LinearLR(o, 1.0, 0.0, TOTAL - 1), 1),
        (
            lambda base: schedules.warmup_cosine(base, TOTAL, warmup=20 / TOTAL, min_lr=0.01),
            lambda o: SequentialLR(
                o,
                [LinearLR(o, 1 / 21, 1.0, 20), CosineAnnealingLR(o, TOTAL - 1 - 20, eta_min=0.01)],
                milestones=[20],
            ),
            1,
        ),
    ],
)
def test_groups_of_several_rates_are_each_their_own_base_as_in_torch(ours, theirs, every, base):
    mine, reference = groups(), groups()
    schedule = PureSchedule(mine, ours(base), total_steps=TOTAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SequentialLR's own use of torch
        scheduler = theirs(reference)
    for step in range(TOTAL):
        schedule.set(step)
        rates = [group["lr"] for group in reference.param_groups]
        assert [group["lr"] for group in mine.param_groups] == pytest.approx(rates, rel=1e-6, abs=1e-12)
        reference.step()
        if (step + 1) % every == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                scheduler.step()


@pytest.mark.parametrize(
    "knobs",
    [
        {"max_lr": 0.05},
        {"max_lr": [0.001, 0.1, 0.02]},
        {"max_lr": [0.001, 0.1, 0.02], "base_momentum": [0.8, 0.85, 0.7], "max_momentum": [0.9, 0.95, 0.99]},
        {"max_lr": [0.001, 0.1, 0.02], "cycle_momentum": False},
    ],
)
def test_onecycle_of_several_groups_is_torchs(knobs):
    mine, reference = groups(momentum=0.9), groups(momentum=0.9)
    schedule = PureSchedule(mine, schedules.onecycle(TOTAL, **knobs))
    scheduler = OneCycleLR(reference, total_steps=TOTAL, **knobs)
    for step in range(TOTAL - 1):
        schedule.set(step)
        for ours, theirs in zip(mine.param_groups, reference.param_groups, strict=True):
            assert ours["lr"] == pytest.approx(theirs["lr"], abs=1e-12)
            assert ours["momentum"] == pytest.approx(theirs["momentum"], abs=1e-12)
        reference.step()
        scheduler.step()


def test_a_rate_that_the_schedule_names_stands_where_the_groups_have_one():
    optimizer = SGD([{"params": weight()}, {"params": weight(), "weight_decay": 0.1}], lr=3.0)
    PureSchedule(optimizer, schedules.cosine(0.1, 10)).set(0)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1]


def test_any_function_of_the_step_is_the_first_groups_and_the_others_keep_their_ratio():
    optimizer = groups(momentum=0.9)
    PureSchedule(optimizer, lambda step: (0.002 * (step + 1), 0.5)).set(1)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.004, 0.4, 0.08])
    assert [group["momentum"] for group in optimizer.param_groups] == [0.5] * 3


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
        (lambda: schedules.onecycle(10, max_lr=[0.1, -1]), r"max_lr\[1\]=-1"),
        (lambda: PureSchedule(groups(), schedules.onecycle(10, max_lr=[0.1, 1])), "max_lr=.* 2 .* 3 parameter groups"),
        (
            lambda: PureSchedule(groups(), schedules.onecycle(10, max_lr=1, max_momentum=[0.9])),
            "max_momentum=.* 1 .* 3 parameter groups",
        ),
        (lambda: schedules.warmup_cosine(0.1, 10, warmup=1.5), "warmup=1.5"),
        (lambda: schedules.cosine(0.1, 10, min_lr=-1), "min_lr=-1: it must be zero or more"),
        (lambda: schedules.step(0.1, 10, step_size=0), "step_size=0"),
        (lambda: schedules.multistep(0.1, 10, milestones=[3, -1]), r"milestones\[1\]=-1"),
    ],
)
def test_bad_values_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()
