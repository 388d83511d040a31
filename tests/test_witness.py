"""Every number that a run logs, against one computed by other means: plain PyTorch, NumPy, scikit-learn."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, ExponentialLR, ReduceLROnPlateau, StepLR

from dltrain import config, experiment, losses, models, runs
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.plan import make_plan
from dltrain.schedules import TorchSchedule
from dltrain.trainer import Trainer

N, BATCH = 65, 16  # the last batch of an epoch is a single row
STEPS = ("plain", "direct")


def data(rows=N, features=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, features, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    x[-1] *= 30  # the row that has a batch of its own is like no other
    return Tensors(x, y)


def net(**more):
    torch.manual_seed(0)
    return models.MLP(6, 2, widths=[8], **more)


class Looped:
    """A loader of any batches."""

    def __init__(self, split, sizes):
        self.parts = torch.arange(sum(sizes)).split(sizes)
        self.split, self.samples, self.batch_size, self.batch_bytes = split, sum(sizes), sizes[0], None

    def __len__(self):
        return len(self.parts)

    def epoch(self, epoch, start=0):
        for index in self.parts[start:]:
            yield self.split.x[index], self.split.y[index], index


def trained(where, *overrides):
    """The run folder of a command."""
    plan = make_plan(config.compose([*overrides, f"runs_dir={where}", "trainer.progress=false"]))
    folder = runs.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    experiment.train(plan, folder)
    return folder


def reports(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# -- train/loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_train_loss_is_the_mean_over_rows(step, accumulate):
    """At a rate of 0 it is the loss of the whole train part, however that is cut into batches and steps."""
    split, model = data(), net()
    with torch.no_grad():
        rows = F.cross_entropy(model(split.x), split.y, reduction="none").double()
    trainer = Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.0), step=step, accumulate=accumulate)
    (record,) = trainer.fit(make_loader(split, batch_size=BATCH), epochs=1)
    assert record.metrics["train/loss"] == pytest.approx(rows.mean().item(), rel=1e-5)
    sizes = [len(part) for part in rows.split(BATCH * accumulate)]
    assert record.rows.tolist() == sizes
    assert record.losses.tolist() == pytest.approx([part.mean().item() for part in rows.split(sizes)], rel=1e-5)


def test_train_loss_counts_rows_of_any_loader_and_of_steps_made_by_hand():
    split, model = data(), net()
    with torch.no_grad():
        rows = F.cross_entropy(model(split.x), split.y, reduction="none")
    trainer = Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.0))
    trainer.step([(split.x[:5], split.y[:5], torch.arange(5))])
    records = list(trainer.fit(Looped(split, [3, 40, 1, 21]), steps=5, report_every=5))
    seen = torch.cat([rows[:5], rows[3:], rows[:3]])
    assert sum(len(r.losses) for r in records) == 5
    weights = [r.rows.sum().item() for r in records]
    mean = np.average([r.metrics["train/loss"] for r in records], weights=weights)
    assert mean == pytest.approx(seen.mean().item(), rel=1e-5)


def test_train_loss_of_a_command_is_that_of_its_rows(tmp_path):
    """With the by-step points of TensorBoard, each of several steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    still = ["data=iris", "model=linear", "optimizer=sgd", "optimizer.lr=0", "scheduler=constant"]
    folder = trained(tmp_path, *still, "data.batch_size=4", "trainer.epochs=2", "trainer.report_every=2")
    summary = runs.read_json(folder / "summary.json")
    line = reports(folder)[-1]
    assert summary["rows_judged"]["train"] % 4  # a ragged end
    assert line["train/loss"] == pytest.approx(summary["train"]["loss"], rel=1e-5)
    loaded = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    loaded.Reload()
    points = [(e.step, float(e.tensor_proto.float_val[0])) for e in loaded.Tensors("train/loss_by_step")]
    n = summary["rows_judged"]["train"]
    per_epoch = math.ceil(n / 4)
    sizes = [4 if step % per_epoch else (n - 1) % 4 + 1 for step in range(1, 2 * per_epoch + 1)]
    edges = [0, *(step for step, _ in points)]
    weights = [sum(sizes[a:b]) for a, b in itertools.pairwise(edges)]
    assert max(b - a for a, b in itertools.pairwise(edges)) > 1
    mean = np.average([value for _, value in points], weights=weights)
    assert mean == pytest.approx(summary["train"]["loss"], rel=1e-5)


@pytest.mark.parametrize("written_by", ["today", "0.1.0"])
def test_train_loss_across_a_checkpoint_between_reports(written_by):
    def start():
        model = net()
        return Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.1), accumulate=2)

    loader = make_loader(data(), batch_size=BATCH, shuffle=True)
    *_, whole = start().fit(loader, epochs=4, report_every=12)
    first, second = start(), start()
    assert not list(first.fit(loader, epochs=4, report_every=12, stop=lambda: first.steps == 7))
    state = first.state_dict()
    if written_by == "0.1.0":
        del state["rows"]  # which it did not have
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(state)
    *_, last = second.fit(loader, epochs=4, report_every=12)
    assert (last.metrics["train/loss"], last.rows.tolist()) == (whole.metrics["train/loss"], whole.rows.tolist())


# -- train/lr --------------------------------------------------------------------------------------------------

TORCHS = {
    "step, by epoch": (lambda o: StepLR(o, 1, gamma=0.5), "epoch"),
    "exponential, by epoch": (lambda o: ExponentialLR(o, 0.9), "epoch"),
    "exponential, by step": (lambda o: ExponentialLR(o, 0.9), "step"),
    "restarts, by step": (lambda o: CosineAnnealingWarmRestarts(o, 3), "step"),
    "plateau": (lambda o: ReduceLROnPlateau(o, factor=0.5, patience=0), "epoch"),
}


class Noting(SGD):
    """Plain descent that notes the rate of each of its steps."""

    def step(self, closure=None):
        self.used = [*getattr(self, "used", []), self.param_groups[0]["lr"]]
        return super().step(closure)


@pytest.mark.parametrize("report_every", [1, 5, 10])
@pytest.mark.parametrize("kind", TORCHS)
def test_train_lr_is_the_rate_of_the_last_step(kind, report_every):
    make, interval = TORCHS[kind]
    model = net()
    optimizer = Noting(model.parameters(), lr=0.5)
    schedule = TorchSchedule(make(optimizer), interval=interval)
    trainer = Trainer(model, losses.CrossEntropy(), optimizer, schedule=schedule, step="plain")
    records = list(
        trainer.fit(
            make_loader(data(), batch_size=BATCH), epochs=4, report_every=report_every, validate=lambda m: {"loss": 1.0}
        )
    )
    assert len(set(optimizer.used)) > 1
    assert [r.metrics["train/lr"] for r in records] == [optimizer.used[r.step - 1] for r in records]


def test_plateau_can_watch_the_training_loss():
    model = net()
    optimizer = SGD(model.parameters(), lr=0.0)
    schedule = TorchSchedule(ReduceLROnPlateau(optimizer, factor=0.5, patience=0), monitor="train/loss")
    trainer = Trainer(model, losses.CrossEntropy(), optimizer, schedule=schedule)
    for _ in trainer.fit(make_loader(data(), batch_size=BATCH), epochs=3):
        pass
    assert schedule.scheduler.last_epoch == 3
