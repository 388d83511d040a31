"""L-BFGS evaluates its objective several times a step: against torch's own loop with a closure written by hand."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import LBFGS

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.parts.regularisers import InputNoise, Mixup, Penalty, penalty

N = 60


def data(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 5, generator=generator, dtype=dtype)
    return Tensors(x, (x[:, 0] * x[:, 1] > 0).long())


def net(*more):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), *more, nn.Tanh(), nn.Linear(16, 2))


def searching(model, **more):
    return LBFGS(model.parameters(), line_search_fn="strong_wolfe", max_iter=10, **more)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("factors", [{"l2": 0.05}, {"l1": 0.02}, {"l1": 0.01, "l2": 0.01}])
@pytest.mark.parametrize("search", ["strong_wolfe", None])
def test_the_penalty_is_in_the_objective_and_not_in_the_loss(search, factors, accumulate):
    split, ours, theirs = data(torch.float64), net().double(), net().double()
    made = [LBFGS(m.parameters(), lr=1.0 if search else 0.1, max_iter=6, line_search_fn=search) for m in (ours, theirs)]
    loader = make_loader(split, batch_size=N // accumulate)
    penalised = Penalty(ours, **factors)
    trainer = Trainer(ours, nn.CrossEntropyLoss(), made[0], penalty=penalised, accumulate=accumulate)
    records = list(trainer.fit(loader, epochs=3))
    reported, factors = [], {"l1": 0.0, "l2": 0.0} | factors

    def loss():
        return nn.functional.cross_entropy(theirs(split.x), split.y)

    def closure():
        made[1].zero_grad()
        objective = loss() + penalty(theirs.parameters(), **factors)
        objective.backward()
        return objective

    for _ in records:
        reported.append(loss().item())
        made[1].step(closure)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-6, atol=1e-8)
    assert [r.metrics["train/loss"] for r in records] == pytest.approx(reported, rel=1e-5)  # which is kept as float32


class Drawing(nn.Module):
    """Notes what it draws from every generator."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append((float(torch.rand(())), random.random(), float(np.random.rand())))
        return x * self.seen[-1][0]


def test_within_a_step_all_draws_are_the_same_and_the_next_step_draws_anew():
    seed_everything(3)
    drawing, steps = Drawing(), []
    model = net(drawing, nn.Dropout(0.5))
    trainer = Trainer(model, nn.CrossEntropyLoss(), searching(model), transform=InputNoise(0.5))
    for _ in trainer.fit(make_loader(data(), batch_size=None), epochs=3):
        steps.append(drawing.seen[:])
        drawing.seen.clear()
    assert all(len(seen) > 2 and len({*seen}) == 1 for seen in steps)
    assert len({seen[0] for seen in steps}) == 3


@pytest.mark.parametrize("make", [lambda: InputNoise(1.0), lambda: Mixup(1.0, task="multiclass", outputs=2)])
def test_within_a_step_it_is_one_function(make):
    """Asked twice about the same weights, the objective and its gradient are the same to the bit."""
    seed_everything(3)
    model, given = net(nn.BatchNorm1d(16), nn.Dropout(0.3)), []
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        searching(model),
        transform=lambda *batch: given.append(batch) or inner(*batch),
        penalty=Penalty(model, l2=0.01),
    )
    inner, search, asked = make(), trainer.optimizer.step, []

    def twice(closure):
        def asking():
            answers = [(closure().item(), *(p.grad.clone() for p in model.parameters())) for _ in range(2)]
            asked.append(answers)
            return torch.tensor(answers[0][0])

        return search(asking)

    trainer.optimizer.step = twice
    list(trainer.fit(make_loader(data(), batch_size=None), epochs=2))
    assert len(given) == 2
    assert len(asked) > 6
    for (value, *gradients), (again, *others) in asked:
        assert value == again
        assert all(map(torch.equal, gradients, others))


def test_a_step_leaves_the_statistics_and_the_generators_of_one_evaluation():
    split = data()

    def trained(optimizer):
        model = net(nn.BatchNorm1d(16), nn.Dropout(0.5))
        seed_everything(3)
        trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer(model), step="plain")
        list(trainer.fit(make_loader(split, batch_size=None), epochs=1))
        return model[1], torch.rand(3)

    (ours, drawn), (theirs, expected) = trained(searching), trained(lambda m: torch.optim.SGD(m.parameters(), lr=0.1))
    assert torch.equal(drawn, expected)
    assert ours.num_batches_tracked == 1
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_the_gradient_norm_is_that_of_the_reported_loss():
    split, model = data(), net()
    with_penalty = nn.functional.cross_entropy(model(split.x), split.y) + penalty(model.parameters(), l1=0.0, l2=0.1)
    gradients = torch.autograd.grad(with_penalty, list(model.parameters()))
    trainer = Trainer(model, nn.CrossEntropyLoss(), searching(model), penalty=Penalty(model, l2=0.1))
    (record,) = trainer.fit(make_loader(split, batch_size=None), epochs=1)
    assert record.metrics["train/grad_norm"] == pytest.approx(nn.utils.get_total_norm(gradients).item(), rel=1e-5)
