"""The step as a CUDA graph, as far as a CPU can try it: what a graph keeps, a recorder keeps, too."""

import warnings

import graph_stand_in
import pytest
import torch
from torch import nn, optim
from torch._subclasses.fake_tensor import FakeTensorMode

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.steps import cuda_graph, hands
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import DivergedError
from dltrain.parts import losses, models
from dltrain.parts.regularisers import EMA, MaxNorm, Penalty
from dltrain.parts.schedules import PureSchedule, onecycle

X = torch.randn(150, 13, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 5, (150,), generator=torch.Generator().manual_seed(2))


@pytest.fixture
def captures(monkeypatch):
    """A list of what was captured, by recorders in the place of graphs."""
    return graph_stand_in.put_in_place(monkeypatch)


class Own(nn.Module):
    """No net of known modules."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(13, 9, bias=False), nn.BatchNorm1d(9), nn.Linear(9, 5)

    def forward(self, x):
        x = torch.tanh(self.norm(self.first(x)))
        return self.last(x * x.mean(1, keepdim=True))


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01, fused=True),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5),
    "adamw": lambda p: optim.AdamW(p, fused=True),
    "amsgrad": lambda p: optim.Adam(p, amsgrad=True),
}
SEAMS = {
    "bare": lambda m: {},
    "all": lambda m: {
        "clip_norm": 0.5,
        "clip_value": 0.1,
        "penalty": Penalty(m, l1=0.001, l2=0.01),
        "accumulate": 2,
        "ema": EMA(m, 0.9),
        "constraint": MaxNorm(m, 1.0),
    },
}


def trained(step, model, optimizer, *, seams=SEAMS["bare"], momentum=None, x=X, epochs=4, device="cpu", made=None):
    """What training leaves; `made` takes the trainer, also of a run that ends in an error."""
    seed_everything(0)
    net = model().to(device)
    steps_by = optimizer(net.parameters())
    knobs = {"total_steps": 40, "max_lr": 0.02, "cycle_momentum": momentum is not None}
    trainer = Trainer(
        net,
        losses.CrossEntropy(),
        steps_by,
        schedule=PureSchedule(
            steps_by, onecycle(**knobs) if momentum is not None else lambda k: (0.01 / (1 + k), None)
        ),
        step=step,
        **seams(net),
    )
    if made is not None:
        made.append(trainer)
    records = list(trainer.fit(make_loader(Tensors(x, Y), batch_size=16, shuffle=True, device=device), epochs=epochs))
    state = trainer.state_dict()["optimizer"]["state"]
    return trainer, (net.state_dict(), state, torch.cat([r.losses for r in records]), records[-1].metrics)


@pytest.mark.parametrize("seams", SEAMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("model", [Own, lambda: models.MLP(13, 5, widths=[11, 7], norm="layer")])
def test_a_graph_makes_the_plain_step(captures, model, name, seams):
    """Rates that change, ragged last batches, and whatever else acts on a step."""
    _, plain = trained("plain", model, OPTIMIZERS[name], seams=SEAMS[seams])
    _, replayed = trained("graph", model, OPTIMIZERS[name], seams=SEAMS[seams])
    assert len(captures) == 1
    assert len(captures[0].calls) > 10
    torch.testing.assert_close(replayed[:3], plain[:3], rtol=1e-3, atol=1e-5)
    for metric in ("train/loss", "train/lr", "train/grad_norm", "train/weight_norm"):
        assert replayed[3][metric] == pytest.approx(plain[3][metric], rel=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("momentum", [None, True])
@pytest.mark.parametrize("seams", SEAMS)
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("model", [Own, lambda: models.MLP(13, 5, widths=[11, 7], norm="layer")])
def test_on_a_gpu(model, name, seams, momentum):
    """The graph itself: as good as the plain step, and the same bits again."""
    options = {"seams": SEAMS[seams], "momentum": momentum, "device": "cuda"}
    plain, one, two = (trained(step, model, OPTIMIZERS[name], **options)[1] for step in ("plain", "graph", "graph"))
    torch.testing.assert_close(one[:3], plain[:3], rtol=2e-2, atol=1e-3)
    assert all(torch.equal(a, b) for a, b in zip(one[0].values(), two[0].values(), strict=True))


def believe(monkeypatch):
    """Lets make-believe stand for a GPU: a mode of torch, which steps give way to; and some calls want a driver."""
    monkeypatch.setattr(hands, "watched", lambda: False)
    monkeypatch.setattr(torch.Tensor, "is_set_to", lambda one, other: one.data_ptr() == other.data_ptr())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("momentum", [None, True])
@pytest.mark.parametrize(
    "name", [n for n in OPTIMIZERS if n != "adagrad"]
)  # has a state, which is read, before the step
def test_nothing_of_it_is_on_the_host(captures, monkeypatch, name, momentum, precision):
    """On a GPU that torch makes believe: whatever mixes devices, or asks for a value, is an error."""
    for kernel in ("_fused_sgd_", "_fused_adam_", "_fused_adamw_"):  # which want a driver even then
        monkeypatch.setattr(torch, kernel, lambda *_, **__: None)
    believe(monkeypatch)
    gpu = torch.device("cuda", 0)
    with FakeTensorMode(), gpu, warnings.catch_warnings(action="ignore"):
        model = models.MLP(13, 5, widths=[16, 8], norm="batch", dropout=0.1)
        optimizer = OPTIMIZERS[name](model.parameters())
        knobs = {"max_lr": 0.02, "cycle_momentum": momentum is not None}
        schedule = PureSchedule(optimizer, onecycle(40, **knobs))
        seams = {"clip_norm": 0.5, "clip_value": 0.1, "penalty": Penalty(model, l1=0.001, l2=0.01)}
        trainer = Trainer(
            model, losses.CrossEntropy(), optimizer, schedule=schedule, step="graph", precision=precision, **seams
        )
        for _ in range(5):
            loss = trainer.step([(torch.randn(16, 13), torch.zeros(16, dtype=torch.int64), torch.arange(16))])
        assert loss.device == trainer.guard.bad.device == gpu
    assert len(captures) == 1


@pytest.mark.parametrize("rows", [16, 1])
@pytest.mark.parametrize("loss", [losses.BCE, losses.Perceptron, losses.Hinge, losses.MSE, losses.MAE, losses.Huber])
def test_no_loss_asks_the_device_for_a_value(captures, monkeypatch, loss, rows):
    """On torch's make-believe GPU, whose tensors have none; BCE of one sample is a case of its own, as on a CPU."""
    monkeypatch.setattr(torch, "_fused_sgd_", lambda *_, **__: None)
    believe(monkeypatch)
    with FakeTensorMode(), torch.device("cuda", 0), warnings.catch_warnings(action="ignore"):
        model = models.MLP(13, 1, widths=[16])
        trainer = Trainer(model, loss(), optim.SGD(model.parameters(), lr=0.1, fused=True), step="graph")
        y = torch.zeros(rows, 1) if "regression" in loss.tasks else torch.zeros(rows, dtype=torch.int64)
        for _ in range(5):
            trainer.step([(torch.randn(rows, 13), y, torch.arange(rows))])
    assert len(captures) == 1


def test_mistakes_of_a_perceptron_are_counted_by_the_graph(captures):
    counts = []
    for step in ("plain", "graph"):
        model = models.Perceptron(13, 5)
        trainer = Trainer(model, losses.Perceptron(), optim.SGD(model.parameters(), lr=0.1), step=step)
        loader = make_loader(Tensors(X, Y), batch_size=16, shuffle=True)
        counts.append([record.metrics["train/mistakes"] for record in trainer.fit(loader, epochs=3)])
    assert len(captures) == 1
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", ["momentum", "adamw", "rmsprop"])
def test_momentum_that_moves(captures, name):
    _, plain = trained("plain", Own, OPTIMIZERS[name], momentum=True)
    _, replayed = trained("graph", Own, OPTIMIZERS[name], momentum=True)
    torch.testing.assert_close(replayed[:3], plain[:3], rtol=1e-3, atol=1e-5)
    assert len(captures) == 1


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bad_step_and_those_after_it_are_left_out(captures, name):
    """In the graph and beside it; the report says so."""
    order = make_loader(Tensors(X, Y), batch_size=16, shuffle=True).epoch(0)
    x = X.clone()
    x[list(order)[5].index[3]] = float("nan")  # the sixth batch of ten, the fourth has been captured
    good, _ = trained("graph", Own, OPTIMIZERS[name], epochs=0.5)
    with pytest.raises(DivergedError, match=r"step 6: the loss or a gradient is not finite"):
        trained("graph", Own, OPTIMIZERS[name], x=x, made=(made := []))
    kept = made[0]
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters, good.parameters, strict=True))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_computes_the_same_bits(captures, precision):
    """With dropout, whose numbers are drawn anew at each replay."""

    def make():
        seed_everything(0)
        model = models.MLP(13, 5, widths=[32, 32], norm="batch", dropout=0.3)
        optimizer = optim.AdamW(model.parameters(), fused=True)
        schedule = PureSchedule(optimizer, lambda k: (0.01 / (1 + k), None))
        trainer = Trainer(model, losses.CrossEntropy(), optimizer, schedule=schedule, step="graph", precision=precision)
        return model, trainer

    loader = make_loader(Tensors(X, Y), batch_size=16, shuffle=True)
    model, trainer = make()
    whole = [r.losses for r in trainer.fit(loader, epochs=4)]
    assert len(torch.cat(whole).unique()) == 40
    half, first = make()
    parts = [r.losses for r in first.fit(loader, epochs=2)]
    weights, state = {k: v.clone() for k, v in half.state_dict().items()}, first.state_dict()
    other, second = make()
    other.load_state_dict(weights)
    second.load_state_dict(state)
    parts += [r.losses for r in second.fit(loader, epochs=4)]
    assert torch.equal(torch.cat(parts), torch.cat(whole))
    assert all(torch.equal(a, b) for a, b in zip(other.parameters(), model.parameters(), strict=True))
    assert len(captures) == 3


def test_where_a_part_is_replaced_another_graph_is_made_on_the_same_memory(captures):
    ends = []
    for step in ("plain", "graph"):
        seed_everything(0)
        model = models.MLP(13, 5, widths=[11])
        optimizer = optim.AdamW(model.parameters(), fused=True)
        schedule = PureSchedule(optimizer, lambda k: (0.01 / (1 + k), None))
        trainer = Trainer(model, losses.CrossEntropy(), optimizer, schedule=schedule, step=step)
        for i in range(12):
            if i == 6:
                trainer.clip_norm = 0.1
            trainer.step([(X[:16], Y[:16], torch.arange(16))])
        ends.append(dict(model.state_dict()))
        assert trainer.step_kind == step
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-5)
    assert len(captures) == 2


def test_a_step_that_can_not_be_captured_is_launched_each_time(captures):
    class Curious(Own):
        def forward(self, x):
            factor = 2.0 if x.sum().item() > 0 else 1.0
            return super().forward(x) * factor

    with pytest.warns(UserWarning, match="can't be a CUDA graph, and is launched .*: the step asks the device"):
        _, launched = trained("graph", Curious, OPTIMIZERS["adamw"])
    _, plain = trained("plain", Curious, OPTIMIZERS["adamw"])
    torch.testing.assert_close(launched[:3], plain[:3], rtol=1e-3, atol=1e-5)


def test_what_is_no_graph_is_told():
    model = Own()
    with pytest.raises(ValueError, match="step=graph: a CUDA graph needs a GPU, not cpu; use auto or plain"):
        Trainer(model, losses.CrossEntropy(), optim.AdamW(model.parameters()), step="graph")
    facts = {"precision": "fp32", "device": torch.device("cuda")}
    assert cuda_graph.why_not(model, optim.AdamW(model.parameters()), **facts) is None
    assert "no graph step for NAdam" in cuda_graph.why_not(model, optim.NAdam(model.parameters()), **facts)
    assert "fp16" in cuda_graph.why_not(model, optim.AdamW(model.parameters()), **facts | {"precision": "fp16"})
