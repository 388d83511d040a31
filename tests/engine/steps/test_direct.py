"""The direct step against the plain one: the same bits in weights, optimizer, averages, losses and random numbers."""

import pytest
import torch
from outcomes import outcome, plain
from torch import nn, optim

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.steps import direct
from dltrain.engine.steps.flat import Flat
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.parts import codes, losses, models
from dltrain.parts.optimizers import parameter_groups
from dltrain.parts.regularisers import EMA, Compose, InputNoise, MaxNorm, Mixup, Penalty
from dltrain.runs import run_folder
from dltrain.training import experiment

_generator = torch.Generator().manual_seed(1)
X = torch.randn(150, 13, generator=_generator)  # odd numbers: the last batch is ragged, and so are the vectors
CLASS = torch.randint(0, 5, (150,), generator=_generator)
BINARY = torch.randint(0, 2, (150,), generator=_generator)
LABELS = torch.randint(0, 2, (150, 5), generator=_generator).float()
NUMBERS = torch.randn(150, 5, generator=_generator)
WEIGHT = torch.rand(150, generator=_generator).square()


def adamw(model):
    return optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def trained(
    step,
    make_model,
    loss,
    y,
    *,
    make_optimizer=adamw,
    batch_size=32,
    seams=lambda model: {},
    x=X,
    precision="fp32",
    weight=None,
):
    """What training for three epochs leaves, as plain values."""
    seed_everything(0)
    torch.set_num_threads(1)
    model = make_model()
    trainer = Trainer(model, loss, make_optimizer(model), step=step, precision=precision, **seams(model))
    assert trainer.step_kind == step
    loader = make_loader(Tensors(x, y, weight=weight), batch_size=batch_size, shuffle=True, seed=0)
    records = list(trainer.fit(loader, epochs=3))
    state = trainer.state_dict()
    assert state["optimizer"]["state"] or not state["optimizer"]["param_groups"][0].get("momentum", 1)
    reports = [{k: v for k, v in r.metrics.items() if k != "train/samples_per_s"} for r in records]
    return plain([dict(model.state_dict()), state, [r.losses for r in records], reports])


def assert_same(*args, **kwargs):
    one, other = (trained(step, *args, **kwargs) for step in ("plain", "direct"))
    for mine, theirs in zip(one, other, strict=True):
        assert mine == theirs


def mlp(outputs=5, **knobs):
    return lambda: models.MLP(13, outputs, **{"widths": [17, 11], **knobs})


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "identity", "sign"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_layers(activation, norm, dropout, precision):
    model = mlp(activation=activation, norm=norm, dropout=dropout)
    assert_same(model, losses.CrossEntropy(), CLASS, precision=precision)


@pytest.mark.parametrize(
    "make_model",
    [
        mlp(bias=False),
        mlp(widths=[]),
        mlp(input_dropout=0.4, norm="batch"),
        lambda: models.Linear(13, 5),
        lambda: models.Perceptron(13, 5),
        lambda: nn.Sequential(nn.LayerNorm(13), nn.Flatten(), nn.Identity(), nn.Sequential(nn.Linear(13, 5))),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(13, 8), nn.GELU(approximate="tanh"), nn.Linear(8, 5)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(13, 8), nn.LeakyReLU(0.3), nn.Linear(8, 5)),
    ],
)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_models(make_model, precision):
    assert_same(make_model, losses.CrossEntropy(), CLASS, precision=precision)


CODES = [[1, 40], [6, 3], [12, 7]]
CODED = X.clone()
CODED[:, [at for at, _ in CODES]] = torch.stack(
    [torch.randint(0, count, (150,), generator=_generator) for _, count in CODES], 1
).float()


@pytest.mark.parametrize(
    "make_model",
    [
        mlp(codes=CODES),
        mlp(codes=CODES, embedding=1, input_dropout=0.3, norm="batch"),
        mlp(codes=CODES, embedding=0, norm="layer"),
        lambda: codes.OneHot(models.Perceptron(57, 5), 13, CODES),
        lambda: codes.OneHot(nn.Sequential(nn.Linear(57, 8), nn.GELU(), nn.Linear(8, 5)), 13, CODES),
        lambda: nn.Sequential(codes.Embeddings(13, CODES, size=5), nn.Linear(25, 5)),
    ],
)
@pytest.mark.parametrize(("precision", "accumulate"), [("fp32", 1), ("fp32", 3), ("bf16", 1)])
def test_codes_of_categories(make_model, precision, accumulate):
    seams = {"seams": lambda model: {"accumulate": accumulate, "penalty": Penalty(model, l1=1e-3, l2=1e-2)}}
    assert_same(make_model, losses.CrossEntropy(), CLASS, precision=precision, x=CODED, **seams)


LOSSES = {
    "mse": (losses.MSE(), NUMBERS),
    "mae": (losses.MAE(), NUMBERS),
    "huber": (losses.Huber(delta=0.7), NUMBERS),
    "cross entropy": (losses.CrossEntropy(), CLASS),
    "weighted": (losses.CrossEntropy(class_weights=[1.0, 2.0, 3.0, 0.5, 0.0]), CLASS),
    "smoothed": (losses.CrossEntropy(label_smoothing=0.1), CLASS),
    "bce": (losses.BCE(), BINARY),
    "weighted bce": (losses.BCE(pos_weight=2.5, label_smoothing=0.1), BINARY),
    "labels": (losses.BCE(task="multilabel"), LABELS),
    "weighted labels": (losses.BCE(task="multilabel", pos_weight=[1.0, 2.0, 0.3, 4.0, 5.0]), LABELS),
    "perceptron": (losses.Perceptron(), BINARY),
    "perceptrons": (losses.Perceptron(), CLASS),
    "hinge": (losses.Hinge(), BINARY),
    "squared hinges": (losses.Hinge(margin=0.7, squared=True), CLASS),
    "one-hot mse": (losses.OneHotMSE(), CLASS),
    "torch's": (nn.CrossEntropyLoss(), CLASS),
    "torch's, smoothed": (nn.CrossEntropyLoss(label_smoothing=0.2), CLASS),
    "torch's mse": (nn.MSELoss(), NUMBERS),
    "unknown": (nn.SmoothL1Loss(), NUMBERS),
    "unknown, hard": (nn.MultiMarginLoss(), CLASS),
}


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses(name, precision, accumulate):
    loss, y = LOSSES[name]
    outputs = 1 if y is BINARY else 5
    options = {"seams": lambda _: {"accumulate": accumulate}, "precision": precision}
    assert_same(mlp(outputs, widths=[8]), loss, y, **options)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", LOSSES)
def test_losses_of_rows_with_weights(name, precision):
    loss, y = LOSSES[name]
    outputs = 1 if y is BINARY else 5
    options = {"seams": lambda _: {"accumulate": 3}, "precision": precision, "weight": WEIGHT}
    assert_same(mlp(outputs, widths=[8]), loss, y, **options)


def test_mixtures_of_rows_with_weights():
    assert_same(mlp(norm="batch"), losses.CrossEntropy(), CLASS, seams=SEAMS["mixup"], weight=WEIGHT)


@pytest.mark.parametrize(  # any two of them meet
    ("make", "optimizer", "accumulate"),
    [
        (models.Perceptron, "sgd", 1),
        (models.Perceptron, "adam", 2),
        (lambda i, n: models.MLP(i, n, widths=[8], bias=False), "sgd", 2),
        (lambda i, n: models.MLP(i, n, widths=[8], bias=False), "adam", 1),
    ],
)
def test_one_example_at_a_time(make, optimizer, accumulate):
    for loss, y, outputs in (
        (losses.Perceptron(), BINARY, 1),
        (losses.BCE(), BINARY, 1),
        (losses.BCE(label_smoothing=0.1), BINARY, 1),
        (losses.BCE(pos_weight=[3.0]), BINARY, 1),
        (losses.BCE(), BINARY.float(), 1),
        (losses.Hinge(), CLASS, 5),
    ):
        options = {"make_optimizer": OPTIMIZERS[optimizer], "batch_size": 1}
        assert_same(lambda n=outputs: make(13, n), loss, y, seams=lambda _: {"accumulate": accumulate}, **options)


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, fused=True),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, fused=True),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, fused=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.01),
    "rmsprop": lambda p: optim.RMSprop(p),
    "rmsprop, momentum": lambda p: optim.RMSprop(p, momentum=0.5),
    "adam": lambda p: optim.Adam(p, fused=True),
    "amsgrad": lambda p: optim.Adam(p, amsgrad=True, fused=True),
    "adamw": lambda p: optim.AdamW(p, fused=True),
    "not fused": lambda p: optim.AdamW(p),
    "another": lambda p: optim.NAdam(p),
}
OPTIMIZERS = {
    name: lambda model, make=make: make(model if isinstance(model, list) else model.parameters())
    for name, make in OPTIMIZERS.items()
}


@pytest.mark.parametrize("decay", [0.0, 0.05])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(name, decay):
    def make(model):
        return OPTIMIZERS[name](parameter_groups(model, weight_decay=decay) if decay else model)

    assert_same(mlp(norm="batch"), losses.CrossEntropy(), CLASS, make_optimizer=make)


SEAMS = {
    "l1": lambda m: {"penalty": Penalty(m, l1=0.01)},
    "l2": lambda m: {"penalty": Penalty(m, l2=0.01)},
    "both, accumulated": lambda m: {"penalty": Penalty(m, l1=0.003, l2=0.02), "accumulate": 4},
    "max-norm": lambda m: {"constraint": MaxNorm(m, 0.5)},
    "average": lambda m: {"ema": EMA(m, 0.99)},
    "clip norm": lambda m: {"clip_norm": 0.1},
    "clip value": lambda m: {"clip_value": 0.001},
    "noise": lambda m: {"transform": InputNoise(0.3)},
    "mixup": lambda m: {"transform": Compose([InputNoise(0.1), Mixup(0.4, task="multiclass", outputs=5)])},
    "many": lambda m: {
        "clip_norm": 0.5,
        "penalty": Penalty(m, l2=0.01),
        "ema": EMA(m, 0.9),
        "constraint": MaxNorm(m, 1.0),
        "accumulate": 2,
    },
}


@pytest.mark.parametrize("name", SEAMS)
def test_regularisers(name):
    model = mlp(norm="layer", dropout=0.2, input_dropout=0.1)
    assert_same(model, losses.CrossEntropy(), CLASS, seams=SEAMS[name])


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "smoothed"])
def test_gradients_are_the_slope_of_the_loss(name):
    """In float64, by central differences; no autograd."""
    loss, y = LOSSES[name]
    loss = type(loss)(**{"delta": 0.7} if name == "huber" else {})
    torch.manual_seed(3)
    outputs = 1 if y is BINARY else 5
    layers = [nn.Flatten(), nn.Linear(13, 7), nn.BatchNorm1d(7), nn.Tanh(), nn.LayerNorm(7), nn.SiLU()]
    model = nn.Sequential(*layers, nn.Linear(7, outputs)).double()
    if isinstance(loss, losses.BCE) and y is LABELS:
        loss = losses.BCE(task="multilabel")
    flat = Flat(optim.SGD(model.parameters(), lr=1.0))
    flat.take_gradients()
    net, x = direct.Net(model, loss), X[:32].double()
    y = y[:32].double() if y.is_floating_point() else y[:32]
    one, width = torch.ones((), dtype=torch.float64), 1e-6
    with torch.inference_mode():
        net.gradients(x, y, one)
        gradient, data = flat.rows[0].grad.clone(), flat.rows[0].data
        for i in range(0, len(data), 7):
            here = data[i].item()
            values = []
            for moved in (here - width, here + width):
                data[i] = moved
                values.append(net.gradients(x, y, one).item())
            data[i] = here
            assert (values[1] - values[0]) / (2 * width) == pytest.approx(gradient[i].item(), abs=1e-7, rel=1e-5)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_what_others_put_in_place_is_taken_in(name):
    """Weights and optimizer state that were replaced between two calls of fit."""
    ends = []
    for step in ("plain", "direct"):
        seed_everything(0)
        model = mlp()()
        trainer = Trainer(model, nn.CrossEntropyLoss(), OPTIMIZERS[name](model), step=step)
        loader = make_loader(Tensors(X, CLASS), batch_size=32, shuffle=True, seed=0)
        list(trainer.fit(loader, epochs=1))
        for p in model.parameters():
            p.data = p.data * 0.5
        trainer.load_state_dict(trainer.state_dict())  # which gives the optimizer new groups
        trainer.optimizer.param_groups[0]["lr"] = 0.5
        list(trainer.fit(loader, epochs=2))
        ends.append(plain(dict(model.state_dict())))
    assert ends[0] == ends[1]


def _unfit(net):
    net[1].running_mean = torch.zeros(2)
    return net


REFUSED = {
    "Conv2d": nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(8, 2)),
    "Flatten": nn.Sequential(nn.Flatten(0), nn.Linear(4, 2)),
    "running statistics": _unfit(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))),
    "in place": nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.ReLU(inplace=True), nn.Linear(2, 2)),
    "BatchNorm1d": nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.BatchNorm1d(2, momentum=None)),
    "LayerNorm": nn.Sequential(nn.Flatten(), nn.Linear(4, 2), nn.LayerNorm(2, bias=False)),
    "not trained": nn.Sequential(nn.Flatten(), nn.Linear(4, 2).requires_grad_(False), nn.Linear(2, 2)),
    "drops everything": nn.Sequential(nn.Flatten(), nn.Dropout(1.0), nn.Linear(4, 2)),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_other_nets_take_the_plain_step(reason):
    model, parameters = REFUSED[reason], [p for p in REFUSED[reason].parameters() if p.requires_grad]
    trainer = Trainer(model, nn.CrossEntropyLoss(), optim.SGD(parameters, lr=0.1))
    assert trainer.step_kind == "plain"
    with pytest.raises(ValueError, match=f"step=direct: .*{reason}.*; use auto or plain"):
        Trainer(model, nn.CrossEntropyLoss(), optim.SGD(parameters, lr=0.1), step="direct")


class Doubled(nn.Sequential):
    """What it computes is its own affair."""

    def forward(self, x):
        return 2 * super().forward(x)


def test_hooks_shared_weights_and_subclasses_are_not_passed_over():
    hooked = models.Linear(13, 5)
    hooked.layers.linear.register_forward_hook(lambda *_: None)
    linear = nn.Linear(13, 13)
    shared = nn.Sequential(nn.Flatten(), linear, nn.Tanh(), linear)
    for model in (hooked, shared, Doubled(nn.Flatten(), nn.Linear(13, 5))):
        assert Trainer(model, nn.CrossEntropyLoss(), adamw(model)).step_kind == "plain"


def test_a_run_says_which_step_it_takes_and_why(tmp_path, capsys):
    common = ["data=digits", "trainer.epochs=2", "trainer.tensorboard=false", f"runs_dir={tmp_path}"]
    ends = []
    for step in ("direct", "plain"):
        plan = make_plan(compose.compose([*common, f"trainer.step={step}"]))
        folder = run_folder.create(plan.runs_dir, plan.name)
        experiment.prepare(plan, folder, ["dltrain"])
        experiment.train(plan, folder)
        weights, state, *rest = outcome(folder)
        assert state["config"]["trainer"].pop("step") == step
        ends.append((weights, state, *rest))
    assert ends[0] == ends[1]
    assert make_plan(compose.compose(common)).why_plain is None
    assert make_plan(compose.compose([*common, "trainer.precision=bf16"])).why_plain is None
    assert "know fp16" in make_plan(compose.compose([*common, "trainer.precision=fp16"])).why_plain
    assert "L-BFGS" in make_plan(compose.compose([*common, "optimizer=lbfgs"])).why_plain
    assert make_plan(compose.compose([*common, "trainer.step=plain"])).why_plain == "trainer.step=plain"


@pytest.mark.parametrize("wide", [16, 17, 33])
def test_one_number_of_one_sample_is_a_row_and_a_column(wide):
    """Autograd takes it for a column, and then multiplies the other way round."""

    def make():
        return nn.Sequential(nn.Linear(13, 1), nn.GELU(), nn.Linear(1, wide), nn.Tanh(), nn.Linear(wide, 5))

    assert_same(make, losses.CrossEntropy(), CLASS, batch_size=1)


def test_adagrad_begins_anew_with_its_first_value():
    ends = []
    for step in ("plain", "direct"):
        seed_everything(0)
        model = mlp()()
        trainer = Trainer(model, losses.CrossEntropy(), _adagrad(model), step=step)
        for _ in range(3):
            trainer.step([(X[:32], CLASS[:32], torch.arange(32))])
            if step == "plain":
                trainer.optimizer = _adagrad(model)
            else:
                trainer.optimizer.state.clear()
        ends.append(plain(dict(model.state_dict())))
    assert ends[0] == ends[1]


def _adagrad(model):
    return optim.Adagrad(model.parameters(), initial_accumulator_value=0.1)


@pytest.mark.parametrize("made", [optim.RMSprop, optim.Adagrad, optim.Adam])
def test_counts_have_torchs_type_whatever_the_default(made):
    ends = []
    torch.set_default_dtype(torch.float64)
    try:
        for step in ("plain", "direct"):
            seed_everything(0)
            model = nn.Sequential(nn.Linear(13, 5)).float()
            options = {"fused": True} if made is optim.Adam else {}
            optimizer = made(model.parameters(), **options)
            trainer = Trainer(model, losses.CrossEntropy(), optimizer, step=step)
            trainer.step([(X[:32], CLASS[:32], torch.arange(32))])
            ends.append([s["step"].dtype for s in optimizer.state.values()])
    finally:
        torch.set_default_dtype(torch.float32)
    assert ends[0] == ends[1]
