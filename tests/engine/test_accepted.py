"""What people have at hand is taken by a Trainer; what can't be is refused in one sentence that says what to write."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn, optim
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from dltrain import EMA, Penalty, PureSchedule, TorchSchedule, Trainer, data, evaluate, make_loader, predict, schedules
from dltrain.data import Tensors
from dltrain.errors import ConfigError, DataError

X, Y = torch.randn(70, 5, generator=torch.Generator().manual_seed(0)), torch.arange(70) % 3


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3))


def trainer(model=None, loss=F.cross_entropy, **more):
    model = model or net()
    return Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1), **more)


def weights(t):
    return torch.cat([p.detach().flatten() for p in t.model.parameters()])


def same(one, other):
    return torch.equal(weights(one), weights(other))


def trained(t, given=(X, Y), **more):
    torch.manual_seed(1)
    for _ in t.fit(given, **({"epochs": 2} | more)):
        pass
    return t


# -- losses, schedules, numbers ------------------------------------------------------------------------------------


def test_a_function_of_torch_as_loss_is_its_module():
    one, other = trained(trainer()), trained(trainer(loss=nn.CrossEntropyLoss()))
    assert (one.step_kind, same(one, other)) == ("direct", True)


def test_any_function_is_a_loss():
    one = trained(trainer(loss=lambda z, y: F.cross_entropy(z, y) * 2))
    two = trained(trainer(loss=lambda z, y: F.cross_entropy(z, y) * 2, step="plain"))
    assert same(one, two)
    assert not same(one, trained(trainer()))
    assert "<lambda>" in repr(one.loss)


def test_a_loss_that_can_be_called_needs_no_hash():
    class Doubled:
        __hash__ = None

        def __call__(self, outputs, targets):
            return F.cross_entropy(outputs, targets) * 2

    assert same(trained(trainer(loss=Doubled())), trained(trainer(loss=lambda z, y: F.cross_entropy(z, y) * 2)))


def test_torchs_schedulers_are_stepped_as_their_manual_says():
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    t = Trainer(model, F.cross_entropy, optimizer, schedule=optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5))
    rates = [record.metrics["train/lr"] for record in t.fit((X, Y), epochs=3)]
    assert rates == [1.0, 0.5, 0.25]
    model = net()
    optimizer = optim.SGD(model.parameters(), lr=1.0, momentum=0.9)
    cycle = optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=6)
    t = Trainer(model, F.cross_entropy, optimizer, schedule=cycle)
    assert (type(t.schedule), t.schedule.interval) == (TorchSchedule, "step")
    rates = [record.metrics["train/lr"] for record in t.fit((X, Y), epochs=2, report_every=1)]
    pure = schedules.onecycle(6, max_lr=0.1)
    assert rates == pytest.approx([pure(step).lr for step in range(6)])


def test_a_function_of_the_step_is_a_schedule():
    t = trainer(schedule=schedules.onecycle(6, max_lr=0.1))
    assert type(t.schedule) is PureSchedule


def test_a_decay_is_an_average_and_a_factor_a_penalty():
    one = trained(trainer(ema=0.9, penalty=1e-2))
    model = net()
    other = trained(trainer(model, ema=EMA(model, 0.9), penalty=Penalty(model, l2=1e-2)))
    assert same(one, other)
    assert torch.equal(one.best_model[0].weight, other.best_model[0].weight)


# -- rows ----------------------------------------------------------------------------------------------------------


class Rows(Dataset):
    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return X[index], Y[index]


@pytest.mark.parametrize(
    "given",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        (X.double().numpy(), Y.int().numpy()),
        (X.tolist(), Y.tolist()),
        Tensors(X, Y),
        Tensors(X.numpy(), Y.short()),
        Rows(),
        TensorDataset(X, Y),
        make_loader(Tensors(X, Y), batch_size=32, shuffle=True),
    ],
    ids=["tensors", "arrays", "doubles", "lists", "Tensors", "of numpy", "Dataset", "TensorDataset", "loader"],
)
def test_rows_however_they_come_train_alike(given):
    assert same(trained(trainer(), given), trained(trainer()))


def test_data_is_its_train_part():
    digits = data.digits()
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    (record,) = trainer(model).fit(digits, epochs=1)
    assert record.step == -(-len(digits.train) // 32)


@pytest.mark.parametrize("drop_last", [False, True])
def test_a_loader_of_torch_is_read_as_it_is(drop_last):
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, drop_last=drop_last)
    t = trainer()
    records = list(t.fit(loader, epochs=3))
    assert [r.step for r in records] == ([4, 8, 12] if drop_last else [5, 10, 15])
    assert records[0].rows.tolist() == [16] * 4 + [6] * (not drop_last)
    by_hand = trainer()
    for _ in range(3):
        for x, y in loader:
            by_hand.step((x, y))
    assert same(t, by_hand)
    assert list(trainer().fit(loader, steps=7))[-1].step == 7


def test_a_loader_of_torch_with_a_sampler_of_batches():
    loader = DataLoader(TensorDataset(X, Y), batch_sampler=[[0, 1, 2], [3], [4, 5]])
    records = list(trainer().fit(loader, epochs=2))
    assert records[-1].step == 6
    assert records[0].rows.tolist() == [3, 1, 2]


def test_a_step_takes_a_pair_a_batch_or_several():
    ways = [(X, Y), [X, Y], (X, Y, torch.arange(70)), [(X, Y)], [(X, Y, torch.arange(70))], (X.numpy(), Y.numpy())]
    one = trainer()
    one.step([(X, Y, torch.arange(70))])
    for way in ways:
        other = trainer()
        other.step(way)
        assert same(one, other)
    both = trainer()
    both.step([(X[:40], Y[:40]), (X[40:], Y[40:])])
    torch.testing.assert_close(weights(both), weights(one))


@pytest.mark.parametrize(("found", "said"), [(0.25, {"val/score": 0.25}), ({"a": 1}, {"val/a": 1.0}), (None, {})])
def test_validation_says_a_number_or_several(found, said):
    (record,) = trainer().fit((X, Y), epochs=1, validate=lambda model: found)
    assert {k: v for k, v in record.metrics.items() if k.startswith("val/")} == said


# -- what can't be taken -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"model": nn.Linear}, "model=Linear: this is a class"),
        ({"model": "mlp"}, "model: give an nn.Module, not a str"),
        ({"loss": nn.MSELoss}, "loss=MSELoss: this is a class; give a module, MSELoss()"),
        ({"loss": "mse"}, "loss: give a module or a function"),
        (
            {"optimizer": optim.Adam},
            "optimizer=Adam: this is a class; give torch.optim.Adam(model.parameters(), lr=...)",
        ),
        ({"optimizer": "adam"}, "optimizer: give one of torch.optim"),
        ({"optimizer": optim.SGD(net().parameters(), lr=0.1)}, "none of the model's parameters"),
        ({"schedule": optim.lr_scheduler.StepLR}, "schedule=StepLR: this is a class; give StepLR(optimizer, ...)"),
        ({"schedule": 0.1}, "schedule: give a scheduler of torch.optim.lr_scheduler"),
        (
            {"schedule": optim.lr_scheduler.StepLR(optim.SGD(net().parameters(), lr=0.1), 1)},
            "this StepLR moves the rates of another optimizer",
        ),
        ({"ema": "yes"}, "ema: give a decay, as 0.999"),
        ({"ema": 1.5}, "ema"),
        ({"penalty": "l2"}, "penalty: give a factor of the squared weights"),
        ({"penalty": -1.0}, "l2"),
        ({"transform": 0.1}, "transform: give a function"),
        ({"constraint": 3.0}, "constraint: give a function without arguments, as dltrain.MaxNorm(model, 3.0)"),
        ({"clip_norm": -1.0}, "clip_norm=-1.0: give a number above zero, or None"),
        ({"clip_value": 0}, "clip_value=0: give a number above zero, or None"),
        ({"precision": "bf16-mixed"}, "precision='bf16-mixed': choose one of fp32, bf16, fp16"),
        ({"step": "drect"}, "step='drect': choose one of auto, plain, direct"),
        ({"accumulate": 0}, "accumulate=0"),
    ],
)
def test_what_a_trainer_cant_take_it_refuses_in_one_sentence(given, said):
    model = given.get("model", net())
    parts = {"model": model, "loss": F.cross_entropy, "optimizer": None} | given
    if parts["optimizer"] is None:
        parts["optimizer"] = optim.SGD((model if isinstance(model, nn.Module) else net()).parameters(), lr=0.1)
    with pytest.raises(ValueError, match=re.escape(said)) as raised:
        Trainer(**parts)
    assert "\n" not in str(raised.value)


class Endless(IterableDataset):
    def __iter__(self):
        return iter([(X[0], Y[0])])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (X, "inputs without targets: give both"),
        (X.numpy(), "inputs without targets: give both"),
        ("digits", "give Data, a loader, a Dataset with a length, or a pair"),
        (Endless(), "give Data, a loader, a Dataset with a length"),
        (DataLoader(Endless()), "give the dataset a __len__"),
        ((X, Y[:-1]), r"not as many rows: their shapes are \[70, 5\] and \[69\]"),
        ((X, ["a"] * 70), "of a list no tensor can be made"),
    ],
)
def test_what_is_no_rows_is_refused_where_fit_is_called(given, said):
    with pytest.raises(DataError, match=said):
        trainer().fit(given, epochs=1)


def test_a_batch_that_is_no_pair_is_refused():
    loader = DataLoader([{"x": X[i], "y": Y[i]} for i in range(4)], batch_size=2)
    with pytest.raises(DataError, match="batches are a dict: a collate_fn gives pairs of tensors"):
        list(trainer().fit(loader, epochs=1))
    with pytest.raises(DataError, match="not 5 values"):
        trainer().step([(X, Y, Y, Y, Y)])
    with pytest.raises(ConfigError, match="validate: it is to return a number, or a dict"):
        list(trainer().fit((X, Y), epochs=1, validate=lambda model: "good"))


@pytest.mark.parametrize("step", ["direct", "plain"])
@pytest.mark.parametrize("loss", [F.mse_loss, nn.L1Loss(), nn.HuberLoss()])
def test_targets_of_another_shape_than_the_outputs_are_not_held_against_all_of_them(step, loss):
    model = nn.Linear(5, 1)
    t = trainer(model, loss, step=step)
    with pytest.raises(
        ValueError, match=re.escape("shape [70, 1], but the targets have shape [70]; targets[:, None] fit")
    ):
        t.step((X, Y.float()))
    t.step((X, Y.float()[:, None]))
    with pytest.raises(ValueError, match=re.escape("but the targets have shape [70, 1, 1]")):
        t.step((X, torch.zeros(70, 1, 1)))


def test_a_second_fit_of_as_many_epochs_says_that_nothing_is_left():
    t = trainer()
    t.run((X, Y), epochs=2)
    with pytest.warns(UserWarning, match="of 6 steps, which are counted from the very first, 6 are done"):
        assert t.run((X, Y), epochs=2) == []
    assert [r.step for r in t.run((X, Y), epochs=3)] == [9]


def test_the_first_batch_of_a_loader_can_be_looked_at():
    x, y, index = next(iter(make_loader(Tensors(X, Y), batch_size=4)))
    assert (x.shape, y.tolist(), index.tolist()) == ((4, 5), [0, 1, 2, 0], [0, 1, 2, 3])


def test_a_fit_that_nobody_iterates_warns():
    with pytest.warns(UserWarning, match="nothing was trained"):
        trainer().fit((X, Y), epochs=1)


# -- what is judged --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [(X, Y), Tensors(X, Y), Rows(), DataLoader(TensorDataset(X, Y), batch_size=16)])
def test_what_fit_takes_is_judged_and_predicted(given):
    model = net()
    found = evaluate(model, given, F.cross_entropy, task="multiclass")
    assert found["loss"] == pytest.approx(F.cross_entropy(model(X), Y).item(), rel=1e-5)
    outputs, targets = predict(model, given)
    torch.testing.assert_close(outputs, model(X).detach())
    assert torch.equal(targets, Y)


def test_a_task_that_there_is_none_of_is_refused():
    with pytest.raises(ConfigError, match="task='classification': choose one of binary, multiclass"):
        evaluate(net(), (X, Y), F.cross_entropy, task="classification")


# -- without a loop ----------------------------------------------------------------------------------------------------


def test_run_trains_and_returns_the_records():
    one, other = trainer(), trainer()
    torch.manual_seed(1)
    records = one.run((X, Y), epochs=2)
    assert [r.step for r in records] == [3, 6]
    assert same(one, trained(other))


@pytest.mark.parametrize("ema", [None, 0.5])
def test_run_keeps_the_best_weights_and_stops_when_nothing_is_better(ema):
    losses, seen = iter([3.0, 1.0, 2.0, 2.0, 0.5]), []

    def validate(model):
        seen.append(torch.cat([p.detach().flatten().clone() for p in model.parameters()]))
        return {"loss": next(losses)}

    t = trainer(ema=ema)
    records = t.run((X, Y), epochs=5, validate=validate, best="val/loss", patience=2)
    assert [r.metrics["val/loss"] for r in records] == [3.0, 1.0, 2.0, 2.0]
    assert torch.equal(weights(t), seen[1])


def test_the_larger_accuracy_is_the_better():
    values = iter([0.1, 0.9, 0.3])
    t = trainer()
    seen = []
    records = t.run(
        (X, Y), epochs=3, best="val/accuracy", validate=lambda m: seen.append(weights(t)) or {"accuracy": next(values)}
    )
    assert len(records) == 3
    assert torch.equal(weights(t), seen[1])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"best": "val/acuracy"}, "say which way it is better, mode='max' or mode='min'; did you mean `accuracy`?"),
        ({"best": "val/acuracy", "mode": "max"}, "no report has it; did you mean `val/accuracy`?"),
        ({"best": "val/top3"}, "best='val/top3': say which way it is better, mode='max' or mode='min'"),
        ({"best": "val/top3", "mode": "largest"}, "mode='max' or mode='min'"),
        ({"best": "val/accuracy", "validate": None}, "best='val/accuracy': nothing is validated; give validate="),
        ({"validate": [(X, Y)]}, "validate: give a function of the model"),
        ({"best": "val/loss", "validate": lambda m: None}, "best='val/loss': no report has it"),
        ({"validate": lambda m: "x"}, "validate: it is to return a number, or a dict of them"),
        ({"best": "tain/loss"}, "did you mean `train/loss`?"),
        ({"patience": 3}, "patience=3: say in which metric, as best='val/loss'"),
        ({"best": "val/loss", "patience": 0}, "patience"),
    ],
)
def test_what_run_cant_watch_is_refused(options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        trainer().run((X, Y), **{"epochs": 2, "validate": lambda m: {"accuracy": 0.5}, **options})


@pytest.mark.parametrize(("mode", "best"), [("max", 1), ("min", 0)])
def test_a_metric_of_ones_own_is_better_as_one_says(mode, best):
    values, seen = iter([0.1, 0.9, 0.3]), []
    t = trainer()
    t.run(
        (X, Y),
        epochs=3,
        best="val/top3",
        mode=mode,
        validate=lambda m: seen.append(weights(t)) or {"top3": next(values)},
    )
    assert torch.equal(weights(t), seen[best])


class Tempered(nn.Module):
    def __init__(self):
        super().__init__()
        self.heat = nn.Parameter(torch.ones(()))

    def forward(self, outputs, targets):
        return F.cross_entropy(outputs / self.heat, targets)


def test_the_best_of_a_loss_that_learns_is_put_back_too():
    model, loss, heats = net(), Tempered(), []
    t = Trainer(model, loss, optim.SGD([*model.parameters(), *loss.parameters()], lr=0.1))
    values = iter([3.0, 1.0, 2.0])
    t.run(
        (X, Y), epochs=3, best="val/loss", validate=lambda m: heats.append(loss.heat.item()) or {"loss": next(values)}
    )
    assert loss.heat.item() == heats[1] != heats[2]


def test_the_best_weights_stay_where_it_is_interrupted():
    t, seen = trainer(), []

    def validate(model):
        if len(seen) == 2:
            raise KeyboardInterrupt
        seen.append(weights(t))
        return {"loss": float(len(seen))}

    with pytest.raises(KeyboardInterrupt):
        t.run((X, Y), epochs=5, best="val/loss", validate=validate)
    assert torch.equal(weights(t), seen[0])


def test_rows_are_taken_in_batches_and_an_order_that_one_says():
    found = []
    for options in ({}, {"seed": 0, "batch_size": 32}, {"seed": 1}, {"batch_size": 8}):
        torch.manual_seed(0)
        t = trainer()
        (record,) = t.run((X, Y), epochs=1, **options)
        found.append((record.step, weights(t)))
    assert found[3][0] == -(-len(X) // 8)
    assert torch.equal(found[0][1], found[1][1])
    assert not torch.equal(found[0][1], found[2][1])
    loader = make_loader(Tensors(X, Y), batch_size=4)
    with pytest.raises(ConfigError, match="the loader's own"):
        trainer().run(loader, epochs=1, batch_size=8)


def test_a_function_that_subtracts_two_shapes_is_warned_of():
    model = nn.Linear(5, 1)
    t = Trainer(model, lambda outputs, y: (outputs - y).abs().mean(), optim.SGD(model.parameters(), lr=0.1))
    with pytest.warns(UserWarning, match=r"32 x 32 numbers; targets\[:, None\] fit"):
        t.run((torch.randn(32, 5), torch.randn(32)), epochs=1)


def test_what_is_judged_fits_its_task():
    x, y, model = torch.randn(40, 5), torch.randn(40), nn.Linear(5, 1)
    with pytest.raises(ValueError, match=r"targets\[:, None\] fit"):
        evaluate(model, (x, y), nn.MSELoss(), task="regression")
    with pytest.raises(DataError, match="targets are the numbers of classes"):
        evaluate(model, (x, torch.rand(40)), nn.BCEWithLogitsLoss(), task="binary")
    with pytest.raises(ConfigError, match="BCELoss takes probabilities"):
        evaluate(model, (x, (y > 0).float()), F.binary_cross_entropy, task="binary")
    with pytest.raises(ConfigError, match="BCELoss takes probabilities"):
        evaluate(nn.Sequential(model, nn.Sigmoid()), (x, (y > 0).float()), nn.BCELoss(), task="binary")
    with pytest.raises(ValueError, match=r"targets\[:, None\] fit"):
        trainer(model, nn.BCEWithLogitsLoss()).run((x, (y > 0).float()), epochs=1)
    with pytest.raises(DataError, match=r"say which, as data\.val"):
        evaluate(model, data.iris(), nn.CrossEntropyLoss(), task="multiclass")
    with pytest.raises(DataError, match=r"say which, as data\.val"):
        predict(model, data.iris())


@pytest.mark.parametrize("device", ["cuda:99", "gpu"])
def test_a_device_that_there_is_not(device):
    with pytest.raises(ConfigError, match="device"):
        trainer(device=device)


def test_what_is_made_says_what_it_is():
    model = net()
    shown = [EMA(model, 0.9), trainer().fit((X, Y), epochs=1), make_loader(Tensors(X, Y), batch_size=4, shuffle=True)]
    assert all(" object at 0x" not in repr(made) and len(repr(made)) < 120 for made in shown)
    next(shown[1])


def test_a_trainer_says_the_name_of_a_function():
    def mine(outputs, targets):
        return F.cross_entropy(outputs, targets) * 2

    assert repr(trainer(loss=mine)).startswith("Trainer(Sequential, mine, SGD)")


def test_what_is_set_later_is_taken_as_in_the_constructor():
    x, y = torch.randn(64, 8), torch.randint(3, (64,))

    def trained(**options):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 3))
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        given = {name: make(optimizer) for name, make in options.items()}
        return model, optimizer, given

    options = {
        "loss": lambda _: F.cross_entropy,
        "ema": lambda _: 0.9,
        "penalty": lambda _: 1e-3,
        "clip_norm": lambda _: 1.0,
        "schedule": lambda optimizer: torch.optim.lr_scheduler.StepLR(optimizer, 1),
    }
    model, optimizer, given = trained(**options)
    first = Trainer(model, given.pop("loss"), optimizer, **given)
    model, optimizer, given = trained(**options)
    later = Trainer(model, nn.MSELoss(), optimizer)
    for name, value in given.items():
        setattr(later, name, value)
    for trainer in (first, later):
        trainer.run((x, y), epochs=3)
    for one, other in zip(first.best_model.parameters(), later.best_model.parameters(), strict=True):
        assert torch.equal(one, other)
    for name, wrong in (("loss", 3), ("ema", "x"), ("penalty", "x"), ("clip_norm", -1), ("schedule", 3), ("model", 3)):
        with pytest.raises(ConfigError, match=name):
            setattr(later, name, wrong)


def test_two_classes_by_torchs_own_loss_are_judged_however_they_are_given():
    x, y, model = torch.randn(40, 5), torch.randint(2, (40,)), nn.Linear(5, 1)
    found = [
        evaluate(model, (x, form), nn.BCEWithLogitsLoss(), task="binary") for form in (y, y.float(), y[:, None].float())
    ]
    right = ((model(x)[:, 0] > 0).long() == y).float().mean().item()
    for metrics in found:
        assert metrics == found[0]
        assert metrics["accuracy"] == pytest.approx(right)
        wanted = F.binary_cross_entropy_with_logits(model(x)[:, 0], y.float()).item()
        assert metrics["loss"] == pytest.approx(wanted, rel=1e-5)


def test_a_function_that_takes_rows_of_one_number_is_no_mistake(recwarn):
    def loss(outputs, y):
        return (outputs[:, 0] - y).square().mean()

    x, y, model = torch.randn(40, 5), torch.randn(40), nn.Linear(5, 1)
    Trainer(model, loss, optim.SGD(model.parameters(), lr=0.1)).run((x, y), epochs=1)
    assert not recwarn
    found = evaluate(model, (x, y), loss, task="regression")
    assert found["rmse"] ** 2 == pytest.approx(found["loss"], rel=1e-4)
    assert found["loss"] == pytest.approx(loss(model(x), y).item(), rel=1e-5)


def test_a_function_of_the_step_gives_the_rate():
    t = trainer(schedule=lambda step: 0.5 / (1 + step))
    records = t.run((X, Y), epochs=2, report_every=1)
    assert [r.metrics["train/lr"] for r in records] == pytest.approx([0.5 / (1 + i) for i in range(len(records))])


def test_a_look_at_a_loss_draws_nothing_and_stops_nothing():
    def loss(outputs, y):
        assert len(outputs) > 1, "one row has no rank"
        return ((outputs[:, 0] - y) * torch.rand(len(y))).square().mean()

    x, y = torch.randn(40, 5), torch.randn(40)
    seen = []
    for wrapped in (loss, nn.Module()):
        torch.manual_seed(0)
        model = nn.Linear(5, 1)
        if wrapped is not loss:
            wrapped.forward = loss
        Trainer(model, wrapped, optim.SGD(model.parameters(), lr=0.1)).run((x, y), epochs=2)
        seen.append(model.weight.detach().clone())
    assert torch.equal(*seen)
