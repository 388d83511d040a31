"""What a model answered to its training batches is measured at validations, of every step, also over a stop."""

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine import evaluation
from dltrain.engine.steps import answers
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import CheckpointError

N, BATCH = 1300, 64  # more than are measured, and a ragged last batch


def data(weighted=False):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 5, generator=generator)
    weight = torch.rand(N, generator=generator) if weighted else None
    return Tensors(x, (x[:, 0] * x[:, 1] > 0).long(), weight=weight)


def trainer_of(step, optimizer=SGD, **options):
    seed_everything(0)
    model = nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 2))
    return Trainer(model, nn.CrossEntropyLoss(), optimizer(model.parameters(), lr=0.1), step=step, **options)


def accuracy(outputs, target, weight):
    loss = nn.CrossEntropyLoss()
    return evaluation.of_training(outputs, target, weight, name="accuracy", task="multiclass", loss=loss)


def fit(trainer, split, **options):
    loader = make_loader(split, batch_size=BATCH, shuffle=True, seed=3)
    return trainer.fit(loader, measure=accuracy, validate=lambda m: {"loss": 1.0}, **options)


class Spy(nn.Module):
    """Keeps the answers that a loss sees, in training, by hand."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, logits, target):
        self.seen.append((logits.detach().clone(), target.clone()))
        return nn.functional.cross_entropy(logits, target)


@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_accuracy_of_the_last_thousand_rows_as_they_were_trained_on(weighted):
    trainer = trainer_of("plain")
    if not weighted:
        trainer.loss = spy = Spy()
    records = list(fit(trainer, data(weighted), epochs=3))
    found = [record.metrics["train/accuracy"] for record in records]
    if not weighted:
        steps = len(spy.seen) // 3
        for epoch, value in enumerate(found, start=1):  # 16 of an epoch's 21 batches
            last = spy.seen[epoch * steps - 16 : epoch * steps]
            right = sum(int((logits.argmax(1) == y).sum()) for logits, y in last)
            assert value == right / sum(len(y) for _, y in last)
    direct = [record.metrics["train/accuracy"] for record in fit(trainer_of("direct"), data(weighted), epochs=3)]
    assert direct == found
    assert all(0 < value < 1 for value in found)


def test_only_validations_measure_and_a_report_between_two_does_not():
    records = list(fit(trainer_of("direct"), data(), epochs=2, report_every=5, eval_every=21))
    assert [record.step for record in records if "train/accuracy" in record.metrics] == [21, 42]
    assert {"val/loss", "train/accuracy"} <= records[-1].metrics.keys()


def test_reports_on_the_way_and_ends_of_epochs_take_no_rows_from_it():
    whole = [record.metrics["train/accuracy"] for record in fit(trainer_of("direct"), data(), epochs=2)]
    often = [record.metrics for record in fit(trainer_of("direct"), data(), epochs=2, report_every=4, eval_every=21)]
    assert [found["train/accuracy"] for found in often if "train/accuracy" in found] == whole
    sizes = []
    loader = make_loader(data(), batch_size=BATCH, shuffle=True, seed=3)
    measure = {"measure": lambda outputs, y, weight: {"n": float(sizes.append(len(y)) or len(y))}}
    list(trainer_of("direct").fit(loader, **measure, epochs=2, eval_every=25))
    assert sizes == [15 * BATCH + N % BATCH] * 2  # 16 steps, a ragged one among them


@pytest.mark.parametrize("often", [{}, {"report_every": 4}])
@pytest.mark.parametrize("stop", [3, 10, 21, 30])
def test_a_run_that_is_stopped_anywhere_measures_the_same(stop, often):
    whole = [r.metrics.get("train/accuracy") for r in fit(trainer_of("direct"), data(), epochs=2, **often)]
    first, split = trainer_of("direct"), data()
    stopped = fit(first, split, epochs=2, stop=lambda: first.steps == stop, **often)
    seen = [r.metrics.get("train/accuracy") for r in stopped]
    state = [{k: v.clone() for k, v in first.model.state_dict().items()}, first.state_dict()]
    second = trainer_of("direct")
    second.model.load_state_dict(state[0])
    second.load_state_dict(state[1])
    seen += [r.metrics.get("train/accuracy") for r in fit(second, split, epochs=2, **often)]
    assert seen == whole


def test_of_many_answers_within_a_step_the_first_is_measured():
    trainer, begins = trainer_of("plain", LBFGS), [0]
    trainer.loss = spy = Spy()
    (record,) = fit(trainer, data(), epochs=1, progress=lambda: begins.append(len(spy.seen)))
    assert len(spy.seen) > 2 * len(begins)
    firsts = [spy.seen[begin] for begin in begins[-17:-1]]  # of 16 steps
    right = sum(int((logits.argmax(1) == y).sum()) for logits, y in firsts)
    assert record.metrics["train/accuracy"] == right / sum(len(y) for _, y in firsts)


def test_targets_between_two_classes_are_not_measured():
    def mixed(x, y, index, epoch):
        return x, nn.functional.one_hot(y, 2).float() * 0.9 + 0.05

    records = list(fit(trainer_of("direct", transform=mixed), data(), epochs=1))
    assert "train/accuracy" not in records[-1].metrics
    assert "val/loss" in records[-1].metrics


@pytest.mark.parametrize("found", [3, [torch.ones(2)], [torch.ones(2, 1), torch.ones(3)], [torch.ones(()), "a"]])
def test_a_checkpoint_with_something_else_is_refused(found):
    with pytest.raises(CheckpointError, match="answers: want outputs"):
        answers.check(found)
