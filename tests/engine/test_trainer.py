"""The step and the loop against plain PyTorch written out by hand."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import LBFGS, SGD, Adam, AdamW
from torch.utils.data import DataLoader, Subset

from dltrain.data import Tensors, take
from dltrain.data.loaders import make_loader, order
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import ConfigError, DataError, DivergedError
from dltrain.parts.regularisers import EMA, MaxNorm, Penalty
from dltrain.parts.schedules import PureSchedule, onecycle

N, BATCH = 100, 16  # the last batch of an epoch is ragged


def data(dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(N, 5, generator=generator, dtype=dtype)
    return Tensors(x, (x[:, 0] * x[:, 1] > 0).long())


def net(dropout=0.1):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 2))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("cls", [partial(SGD, momentum=0.9), Adam, AdamW])
def test_fifty_steps_equal_a_hand_written_loop_bit_for_bit(cls, fused):
    split, seed = data(), 7
    ours, theirs = net(), net()
    trainer = Trainer(ours, nn.CrossEntropyLoss(), cls(ours.parameters(), lr=0.01, fused=fused))
    seed_everything(3)
    records = list(trainer.fit(make_loader(split, batch_size=BATCH, shuffle=True, seed=seed), steps=50))

    optimizer = cls(theirs.parameters(), lr=0.01, fused=fused)
    seed_everything(3)
    losses, epoch = [], 0
    theirs.train()
    while len(losses) < 50:
        for rows in order(N, seed=seed, epoch=epoch).split(BATCH):
            optimizer.zero_grad()
            loss = F.cross_entropy(theirs(split.x[rows]), split.y[rows])
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            if len(losses) == 50:
                break
        epoch += 1
    assert same(ours, theirs)
    assert torch.cat([r.losses for r in records]).tolist() == losses


def test_schedule_is_set_before_each_step_like_torchs_loop():
    split = data()
    ours, theirs = net(), net()
    optimizer = AdamW(ours.parameters(), lr=0.01)
    trainer = Trainer(
        ours, nn.CrossEntropyLoss(), optimizer, schedule=PureSchedule(optimizer, onecycle(30, max_lr=0.05))
    )
    seed_everything(0)
    list(trainer.fit(make_loader(split, batch_size=BATCH), steps=30))

    reference = AdamW(theirs.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(reference, 0.05, total_steps=30)
    seed_everything(0)
    batches = [(split.x[i : i + BATCH], split.y[i : i + BATCH]) for i in range(0, N, BATCH)]
    for step in range(30):
        x, y = batches[step % len(batches)]
        reference.zero_grad()
        F.cross_entropy(theirs(x), y).backward()
        reference.step()
        if step < 29:
            scheduler.step()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=0, atol=1e-6)  # the schedules agree to 1e-12, not to the bit


def test_accumulated_gradient_is_that_of_the_whole_batch():
    split = data(torch.float64)
    gradients = []
    for size, accumulate in ((N, 1), (BATCH, 7)):  # 7 batches, the last one smaller
        torch.manual_seed(0)
        model = nn.Linear(5, 2).double()
        trainer = Trainer(
            model,
            nn.CrossEntropyLoss(),
            SGD(model.parameters(), lr=0.1),
            accumulate=accumulate,
            penalty=Penalty(model, l2=0.01),
        )
        (record,) = trainer.fit(make_loader(split, batch_size=size), epochs=1)
        gradients.append((record.step, model.weight.grad.clone(), record.losses.item()))
    assert gradients[0][0] == gradients[1][0] == 1
    torch.testing.assert_close(gradients[0][1], gradients[1][1], rtol=1e-12, atol=1e-14)
    assert gradients[0][2] == pytest.approx(gradients[1][2])


def test_clipping_bounds_the_norm_and_reports_it_before_clipping():
    split, model = data(), net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1), clip_norm=0.05)
    loader = make_loader(split, batch_size=BATCH)
    records = list(trainer.fit(loader, steps=5, report_every=1))
    assert nn.utils.get_total_norm([p.grad for p in model.parameters()]) <= 0.05 * 1.0001
    for record in records:
        norm, factor = record.metrics["train/grad_norm"], record.metrics["train/clip_factor"]
        assert norm > 0.05
        assert norm * factor == pytest.approx(0.05, rel=1e-4)
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1), clip_value=0.001)
    list(trainer.fit(loader, steps=1))
    assert max(p.grad.abs().max() for p in model.parameters()) <= 0.001


def test_penalty_constraint_and_average_take_part():
    split, model = data(), net()
    trainer = Trainer(
        model,
        nn.CrossEntropyLoss(),
        SGD(model.parameters(), lr=0.5),
        penalty=Penalty(model, l1=0.01),
        constraint=MaxNorm(model, 0.3),
        ema=EMA(model, 0.9),
    )
    seen = []
    records = list(
        trainer.fit(make_loader(split, batch_size=BATCH), epochs=2, validate=lambda m: seen.append(m) or {"loss": 1.0})
    )
    assert model[0].weight.norm(dim=1).max() <= 0.3 * 1.0001
    assert records[-1].metrics["train/penalty"] > 0
    assert seen[0] is trainer.best_model is not model


def test_records_come_at_reports_and_hold_every_loss_once():
    split, model = data(), net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1))
    calls = []
    records = list(
        trainer.fit(
            make_loader(split, batch_size=10),
            epochs=2.5,
            report_every=4,
            eval_every=10,
            validate=lambda m: {"accuracy": 0.5},
            progress=lambda: calls.append(1),
        )
    )
    assert [r.step for r in records] == [4, 8, 10, 12, 16, 20, 24, 25]
    assert [r.step for r in records if "val/accuracy" in r.metrics] == [10, 20, 25]
    assert sum(len(r.losses) for r in records) == len(calls) == 25
    assert records[-1].epoch == 2.5
    for record in records:
        assert record.metrics["train/loss"] == pytest.approx(record.losses.mean().item(), rel=1e-5)
        assert record.metrics["train/grad_norm"] > 0


def test_limited_epochs_end_where_they_should():
    model = net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1))
    records = list(trainer.fit(make_loader(data(), batch_size=10), epochs=3, limit_batches=2))
    assert [r.step for r in records] == [2, 4, 6]


@pytest.mark.parametrize("stop_at", range(1, 20, 3))
def test_stopped_anywhere_it_goes_on_bit_for_bit(stop_at):
    split = data()

    def fresh():
        torch.manual_seed(0)
        model = net()
        optimizer = AdamW(model.parameters(), lr=0.01)
        schedule = PureSchedule(optimizer, onecycle(20, max_lr=0.05))
        trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule, accumulate=2, ema=EMA(model, 0.9))
        return trainer, make_loader(split, batch_size=BATCH, shuffle=True, seed=5)

    def numbers(records):
        return [(r.step, {k: v for k, v in r.metrics.items() if "per_s" not in k}, r.losses.tolist()) for r in records]

    whole, loader = fresh()
    seed_everything(1)
    expected = list(whole.fit(loader, steps=20))

    first, loader = fresh()
    seed_everything(1)

    def stop():
        first.stop = first.steps == stop_at

    records = list(first.fit(loader, steps=20, progress=stop))
    weights, state = first.model.state_dict(), first.state_dict()
    second, loader = fresh()
    seed_everything(99)
    second.model.load_state_dict(weights)
    second.load_state_dict(state)
    records += list(second.fit(loader, steps=20))
    assert same(second.model, whole.model)
    assert same(second.ema.model, whole.ema.model)
    assert numbers(records) == numbers(expected)


def test_lbfgs_fits_a_linear_map_in_a_few_full_batches():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(50, 3, generator=generator)
    split = Tensors(x, x @ torch.tensor([[1.0], [-2.0], [0.5]]))
    model = nn.Linear(3, 1)
    trainer = Trainer(model, nn.MSELoss(), LBFGS(model.parameters(), line_search_fn="strong_wolfe"))
    *_, last = trainer.fit(make_loader(split, batch_size=None), epochs=5)
    assert last.metrics["train/loss"] < 1e-8


class Scaled(nn.Module):
    """Cross-entropy with a temperature that is learned, and a mean of what it has seen, which it keeps."""

    def __init__(self):
        super().__init__()
        self.temperature = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, logits, y):
        if self.training:
            self.seen.mul_(0.9).add_(0.1 * logits.detach().abs().mean())
        return F.cross_entropy(logits / self.temperature, y) + 0.1 * self.temperature.square() + 0.01 * self.seen


def test_parameters_of_the_loss_are_trained_and_resumed_with_it():
    split, loader = data(), make_loader(data(), batch_size=BATCH, shuffle=True)

    def fresh():
        model, loss = net(), Scaled()
        return Trainer(model, loss, AdamW([*model.parameters(), *loss.parameters()], lr=0.01))

    ours, theirs, loss = fresh(), net(), Scaled()
    seed_everything(1)
    records = list(ours.fit(loader, steps=20))
    reference = AdamW([*theirs.parameters(), *loss.parameters()], lr=0.01)
    seed_everything(1)
    for epoch in range(3):
        for rows in order(N, seed=0, epoch=epoch).split(BATCH)[: 20 - 7 * epoch]:
            reference.zero_grad()
            loss(theirs(split.x[rows]), split.y[rows]).backward()
            reference.step()
    assert loss.temperature != 2
    assert same(ours.model, theirs)
    assert same(ours.loss, loss)

    first, second = fresh(), fresh()
    seed_everything(1)
    before = list(first.fit(loader, steps=20, stop=lambda: first.steps == 9))
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    after = list(second.fit(loader, steps=20))
    assert same(second.model, ours.model)
    assert same(second.loss, ours.loss)
    assert [r.losses.tolist() for r in before + after] == [r.losses.tolist() for r in records]


def test_parameters_of_the_loss_that_nobody_would_train_are_refused():
    model = net()
    with pytest.raises(ValueError, match=r"the loss has parameters .*\(temperature\).*\*loss\.parameters\(\)"):
        Trainer(model, Scaled(), AdamW(model.parameters(), lr=0.01))
    Trainer(model, Scaled().requires_grad_(False), AdamW(model.parameters(), lr=0.01))


def test_a_loss_that_is_not_finite_stops_before_the_update():
    split = data()
    split.x[37, 2] = float("nan")
    model = nn.Linear(5, 2)
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1))
    with pytest.raises(
        DivergedError,
        match=r"step 4: the loss is nan, first in the batch itself, sample 7 of it .*lr 0\.1.*update was not made",
    ):
        list(trainer.fit(make_loader(split, batch_size=10), epochs=1))
    assert trainer.steps == 3
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_trains_with_full_precision_weights(precision):
    split, model = data(), net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), AdamW(model.parameters(), lr=0.01), precision=precision)
    first, *_, last = trainer.fit(make_loader(split, batch_size=50, shuffle=True), epochs=80)
    assert last.metrics["train/loss"] < 0.7 * first.metrics["train/loss"]
    assert all(p.dtype == torch.float32 for p in model.parameters())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": "float32"}, "precision='float32': choose one of fp32, bf16, fp16"),
        ({"step": "fast"}, "step='fast': choose one of auto, plain, direct, compiled, graph"),
        ({"accumulate": 0}, "accumulate=0: a step takes one batch at least"),
    ],
)
def test_what_there_is_not_is_refused_before_a_step(wrong, message):
    model = net()
    with pytest.raises(ValueError, match=message):
        Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1), **wrong)


def test_a_step_of_no_batch_is_refused():
    model = net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="a step takes one batch at least, and there is none"):
        trainer.step([])
    assert trainer.steps == 0


# -- rows with weights -------------------------------------------------------------------------------------------------


def weighted():
    split = data()
    weight = torch.rand(N, generator=torch.Generator().manual_seed(2))
    return Tensors(split.x, split.y, weight=weight * (weight > 0.3))


@pytest.mark.parametrize("accumulate", [1, 3])
def test_rows_count_by_their_weights_whatever_batches_they_are_in(accumulate):
    split, seed = weighted(), 7
    ours, theirs = (nn.Sequential(nn.Linear(5, 2)) for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    trainer = Trainer(ours, nn.CrossEntropyLoss(), SGD(ours.parameters(), lr=0.1), accumulate=accumulate)
    loader = make_loader(split, batch_size=BATCH, shuffle=True, seed=seed)
    (record,) = trainer.fit(loader, epochs=1)
    optimizer = SGD(theirs.parameters(), lr=0.1)
    total = 0.0
    for rows in order(N, seed=seed, epoch=0).split(BATCH * accumulate):
        optimizer.zero_grad()
        w = split.weight[rows]
        each = F.cross_entropy(theirs(split.x[rows]), split.y[rows], reduction="none")
        ((each * w).sum() / w.sum()).backward()
        optimizer.step()
        total += float((each * w).sum().detach())
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.allclose(p, q, atol=1e-6)
    assert record.metrics["train/loss"] == pytest.approx(total / float(split.weight.sum()), rel=1e-5)


@pytest.mark.parametrize("step", ["plain", "direct"])
def test_rows_of_weight_zero_are_as_if_they_were_not_there(step):
    split = weighted()
    there = split.weight > 0
    ends = []
    for part in (split, Tensors(split.x[there], split.y[there], weight=split.weight[there])):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 2))
        trainer = Trainer(model, nn.CrossEntropyLoss(), AdamW(model.parameters(), lr=0.01), step=step)
        ends.append(trainer.run(part, epochs=5, batch_size=len(part))[-1].metrics["train/loss"])
    assert ends[0] == pytest.approx(ends[1], rel=1e-5)


def test_some_rows_of_torchs_own_have_their_weights():
    split, some = weighted(), [3, 50, 7, 11, 12, 90]
    ends = []
    for part in (Subset(split, some), take(split, torch.tensor(some))):
        torch.manual_seed(0)
        model = nn.Linear(5, 2)
        trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1))
        ends.append(trainer.run(part, epochs=3, batch_size=2)[-1].losses.tolist())
    assert ends[0] == ends[1]


def test_a_run_with_weights_goes_on_to_the_same_bits_within_a_report():
    split = weighted()
    loader = make_loader(split, batch_size=BATCH, shuffle=True)

    def trainer():
        torch.manual_seed(0)
        model = net()
        return Trainer(model, nn.CrossEntropyLoss(), AdamW(model.parameters(), lr=0.01))

    whole = trainer()
    *_, last = whole.fit(loader, steps=20, report_every=10)
    begun = trainer()
    for _ in begun.fit(loader, steps=20, report_every=10, stop=lambda: begun.steps == 13):
        pass
    state, resumed = begun.state_dict(), trainer()
    resumed.model.load_state_dict(begun.model.state_dict())
    resumed.load_state_dict(state)
    (report,) = resumed.fit(loader, steps=20, report_every=10)
    assert same(whole.model, resumed.model)
    assert report.metrics["train/loss"] == last.metrics["train/loss"]


def test_programs_know_no_weights_and_give_way():
    model = nn.Sequential(nn.Flatten(), nn.Linear(5, 2))
    trainer = Trainer(model, nn.CrossEntropyLoss(), AdamW(model.parameters(), lr=0.01, fused=True), step="compiled")
    with pytest.warns(UserWarning, match="the compiled step gives way to the direct one: rows have weights"):
        trainer.run(weighted(), epochs=1)
    assert trainer.step_kind == "direct"


def test_what_has_no_loss_by_row_or_no_weight_by_row_is_refused():
    model = net()
    trainer = Trainer(model, lambda o, y: F.cross_entropy(o, y), AdamW(model.parameters()))
    with pytest.raises(ConfigError, match="<lambda> gives one number for a batch"):
        trainer.run(weighted(), epochs=1)
    with pytest.raises(DataError, match="a DataLoader does not say which rows"):
        trainer.run(DataLoader(weighted(), batch_size=8), epochs=1)
    trainer.loss = nn.CrossEntropyLoss()
    with pytest.raises(DataError, match="0 for every row"):
        trainer.run(Tensors(data().x, data().y, weight=[0.0] * N), epochs=1)
    wrong = [([1.0], "there are 100 rows"), ([-1.0] * N, r"weight\[0\] is -1"), ([float("nan")] * N, "is nan")]
    for weight, said in wrong:
        with pytest.raises(DataError, match=said):
            Tensors(data().x, data().y, weight=weight)
