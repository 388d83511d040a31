"""What users do to a model between its steps: it acts as in the plain step, to the bit, whatever step is taken."""

import copy
import warnings

import pytest
import torch
from outcomes import plain
from torch import nn, optim
from torch.nn.utils import parameters_to_vector, parametrizations, prune, vector_to_parameters

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.steps import compiled
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.parts import losses
from dltrain.parts.regularisers import EMA, MaxNorm, Penalty
from dltrain.parts.schedules import PureSchedule

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 3, (96,), generator=torch.Generator().manual_seed(2))


def loader():
    return make_loader(Tensors(X, Y), batch_size=16, shuffle=True, seed=0)


def batch(i=0, dtype=torch.float32):
    rows = slice(16 * (i % 6), 16 * (i % 6) + 16)
    return [(X[rows].to(dtype), Y[rows], torch.arange(96)[rows])]


def net():
    body = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.LeakyReLU(0.1), nn.Dropout(0.2), nn.Linear(8, 8), nn.Tanh()]
    return nn.Sequential(nn.Flatten(), *body, nn.Linear(8, 8), nn.Linear(8, 3))


def adamw(model):
    return optim.AdamW(model.parameters(), lr=1e-2, fused=True)


def momentum(model):
    return optim.SGD(model.parameters(), lr=0.1, momentum=0.9, fused=True)


def made(step, make=net, optimizer=adamw, loss=None, **seams):
    seed_everything(0)
    model = make()
    return Trainer(model, loss or losses.CrossEntropy(), optimizer(model), step=step, **seams)


def left(trainer, records=()):
    """All that counts of a trainer, as plain values."""
    state = trainer.optimizer.state_dict()
    return plain([dict(trainer.model.state_dict()), state, [r.losses for r in records], torch.get_rng_state()])


def by_fit(step, hand, *, at=(2, 4, 6), **options):
    """Seven reports of two steps each, the hand in the body of some."""
    trainer, records = made(step, **options), []
    for i, record in enumerate(trainer.fit(loader(), steps=14, report_every=2)):
        records.append(record)
        if i in at:
            hand(trainer)
    return trainer, left(trainer, records)


def by_step(step, hand, *, at=(3, 6), **options):
    trainer = made(step, **options)
    values = []
    for i in range(10):
        if i in at:
            hand(trainer)
        values.append(float(trainer.step(batch(i))))
    return trainer, [left(trainer), values]


@pytest.fixture(autouse=True)
def quiet():
    """That a step gives way is said in a test of its own."""
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="the .* step gives way")
        warnings.filterwarnings("ignore", message=".*backward hook")
        warnings.filterwarnings("ignore", message=".*(not in the optimizer|no longer has|another optimizer)")
        yield


_handles = []


def _is_linear(module):
    return type(module) is nn.Linear


def _first(t):
    return next(m for m in t.model.modules() if isinstance(m, nn.Linear))


def _last(t):
    return [m for m in t.model.modules() if isinstance(m, nn.Linear)][-1]


def _scale_data(t):
    for p in t.model.parameters():
        p.data = p.data * 0.9


def _assign(t):
    state = {name: value.clone() * 0.9 for name, value in t.model.state_dict().items()}
    t.model.load_state_dict(state, assign=True)


def _assign_and_new_optimizer(t):
    _assign(t)
    t.optimizer = type(t.optimizer)(t.model.parameters(), lr=0.02, fused=True)


def _new_layer(t):
    new = nn.Linear(8, 3)
    t.model[-1] = new
    t.optimizer.add_param_group({"params": list(new.parameters()), "lr": 0.05})


def _own_step(t):
    x, y, _ = batch()[0]
    t.optimizer.zero_grad()
    t.loss(t.model(x), y).backward()
    t.optimizer.step()


def _state(t, change):
    for state in t.optimizer.state.values():
        change(state)


def _groups(t, **values):
    for group in t.optimizer.param_groups:
        group.update({name: value for name, value in values.items() if name in group})


def _mask(p):
    return lambda g: g * (torch.arange(g.shape[-1]) % 2)


def _halved(p):
    p.grad.mul_(0.5)


HANDS = {
    "freeze a layer": lambda t: _first(t).requires_grad_(False),
    "freeze all biases": lambda t: [p.requires_grad_(False) for p in t.model.parameters() if p.ndim == 1],
    "unfreeze all": lambda t: t.model.requires_grad_(True),
    "p.data": _scale_data,
    "one p.data": lambda t: setattr(_last(t).weight, "data", torch.ones_like(_last(t).weight)),
    "transposed p.data": lambda t: setattr(_first(t).weight, "data", _first(t).weight.data.t().contiguous().t()),
    "vector": lambda t: vector_to_parameters(parameters_to_vector(t.model.parameters()) * 0.8, t.model.parameters()),
    "in place": lambda t: nn.init.normal_(_first(t).weight),
    "load_state_dict": lambda t: t.model.load_state_dict({k: v * 1 for k, v in t.model.state_dict().items()}),
    "load_state_dict(assign)": _assign,
    "assign, and a new optimizer": _assign_and_new_optimizer,
    "tanh": lambda t: t.model.__setitem__(3, nn.Tanh()),
    "own module": lambda t: t.model.__setitem__(3, nn.ELU()),
    "no dropout": lambda t: t.model.__setitem__(4, nn.Identity()),
    "a layer more": lambda t: t.model.append(nn.Tanh()),
    "a new last layer": _new_layer,
    "a parameter more": lambda t: _first(t).register_parameter("more", nn.Parameter(torch.ones(2))),
    "weight as another parameter": lambda t: setattr(_last(t), "weight", nn.Parameter(_last(t).weight.detach() * 2)),
    "no bias": lambda t: setattr(_last(t), "bias", None),
    "shared weight": lambda t: setattr(t.model[7], "weight", t.model[5].weight),
    "shared memory": lambda t: setattr(t.model[2].weight, "data", t.model[2].bias.data),
    "forward hook": lambda t: _first(t).register_forward_hook(lambda m, i, o: o * 0.5),
    "forward pre-hook": lambda t: _last(t).register_forward_pre_hook(lambda m, i: (i[0] + 1,)),
    "backward hook": lambda t: _last(t).register_full_backward_hook(lambda m, i, o: (i[0] * 0.5,)),
    "hook on all modules": lambda t: _handles.append(
        nn.modules.module.register_module_forward_hook(lambda m, i, o: o * 0.9 if isinstance(m, nn.Linear) else o)
    ),
    "parameter hook": lambda t: _first(t).weight.register_hook(_mask(_first(t).weight)),
    "hook after accumulation": lambda t: _last(t).weight.register_post_accumulate_grad_hook(_halved),
    "hook on many": lambda t: torch.autograd.graph.register_multi_grad_hook(
        list(t.model.parameters()), lambda g: None, mode="all"
    ),
    "hook on the loss": lambda t: t.loss.register_forward_hook(lambda m, i, o: o * 2),
    "hook before the update": lambda t: t.optimizer.register_step_pre_hook(
        lambda o, a, k: [p.grad.mul_(0.5) for g in o.param_groups for p in g["params"] if p.grad is not None] and None
    ),
    "own forward": lambda t: setattr(_last(t), "forward", lambda x: nn.functional.linear(x, t.model[8].weight)),
    "weight norm": lambda t: _is_linear(t.model[1]) and parametrizations.weight_norm(t.model[1]),
    "pruned": lambda t: prune.l1_unstructured(_first(t), "weight", amount=0.5),
    "lr": lambda t: _groups(t, lr=0.003),
    "lr as a tensor": lambda t: _groups(t, lr=torch.tensor(0.003)),
    "weight decay": lambda t: _groups(t, weight_decay=0.3),
    "moments": lambda t: _groups(t, momentum=0.5, betas=(0.5, 0.6), nesterov=True),
    "no momentum": lambda t: _groups(t, momentum=0.0),
    "maximize": lambda t: _groups(t, maximize=True),
    "amsgrad": lambda t: _groups(t, amsgrad=True),
    "not fused": lambda t: _groups(t, fused=None),
    "one group's lr": lambda t: t.optimizer.param_groups[0].update(lr=0.5),
    "no state": lambda t: t.optimizer.state.clear(),
    "no state of one": lambda t: t.optimizer.state.pop(_first(t).weight, None),
    "state in place": lambda t: _state(
        t, lambda s: [v.mul_(0.5) for k, v in s.items() if k != "step" and v is not None]
    ),
    "other state": lambda t: _state(t, lambda s: s.update({k: v * 0.5 for k, v in s.items() if v is not None})),
    "state's data": lambda t: _state(
        t, lambda s: [setattr(v, "data", v.data * 0.5) for v in s.values() if v is not None]
    ),
    "optimizer.load_state_dict": lambda t: t.optimizer.load_state_dict(copy.deepcopy(t.optimizer.state_dict())),
    "zero_grad": lambda t: t.optimizer.zero_grad(),
    "gradients of zero": lambda t: t.model.zero_grad(set_to_none=False),
    "own optimizer.step": _own_step,
    "step again": lambda t: t.optimizer.step(),
    "another loss": lambda t: setattr(t, "loss", nn.MultiMarginLoss()),
    "class weights": lambda t: setattr(t.loss, "weight", torch.tensor([1.0, 2.0, 3.0])),
    "smoothing": lambda t: setattr(t.loss, "label_smoothing", 0.2),
    "another optimizer": lambda t: setattr(t, "optimizer", optim.RMSprop(t.model.parameters(), lr=0.001)),
    "another model": lambda t: (setattr(t, "model", net()), setattr(t, "optimizer", momentum(t.model))),
    "penalty": lambda t: setattr(t, "penalty", Penalty(t.model, l2=0.05)),
    "penalty on a part": lambda t: setattr(t, "penalty", Penalty(_last(t), l1=0.05)),
    "own penalty": lambda t: setattr(t, "penalty", lambda: sum(p.abs().sum() for p in t.model.parameters()) * 0.01),
    "stronger penalty": lambda t: setattr(t.penalty or t, "l2", 0.3),
    "clip_norm": lambda t: setattr(t, "clip_norm", 0.05),
    "clip_value": lambda t: setattr(t, "clip_value", 0.001),
    "constraint": lambda t: setattr(t, "constraint", MaxNorm(t.model, 0.5)),
    "transform": lambda t: setattr(t, "transform", lambda x, y, i, e: (x * 0.5, y)),
    "schedule": lambda t: setattr(t, "schedule", PureSchedule(t.optimizer, lambda k: (0.01 / (1 + k), None))),
    "dropout": lambda t: [setattr(m, "p", 0.6) for m in t.model.modules() if isinstance(m, nn.Dropout)],
    "all dropped": lambda t: [setattr(m, "p", 1.0) for m in t.model.modules() if isinstance(m, nn.Dropout)],
    "in-place module": lambda t: setattr(t.model[3], "inplace", True),
    "slope": lambda t: setattr(t.model[3], "negative_slope", 0.7),
    "eps": lambda t: setattr(t.model[2], "eps", 0.3),
    "norm's momentum": lambda t: setattr(t.model[2], "momentum", 0.5),
    "norm's average": lambda t: setattr(t.model[2], "momentum", None),
    "running mean": lambda t: setattr(t.model[2], "running_mean", torch.ones(8)),
    "no statistics": lambda t: setattr(t.model[2], "track_running_stats", False),
    "eval": lambda t: t.model.eval(),
    "norm.eval": lambda t: t.model[2].eval(),
    "loss.eval": lambda t: t.loss.eval(),
    "to float64 and back": lambda t: t.model.double().float(),
}


@pytest.mark.parametrize("by", [by_fit, by_step])
@pytest.mark.parametrize("name", HANDS)
def test_a_hand_acts_as_in_the_plain_step(name, by):
    ends = []
    for step in ("plain", "direct"):
        try:
            ends.append(by(step, HANDS[name])[1])
        except Exception as error:
            ends.append((type(error), str(error)))
        finally:
            while _handles:
                _handles.pop().remove()
    assert ends[0] == ends[1]
    assert isinstance(ends[0], list) or name == "amsgrad"  # which torch can't switch on later


@pytest.mark.parametrize("by", [by_fit, by_step])
@pytest.mark.parametrize("step", ["plain", "direct"])
def test_model_and_loss_train_after_any_hand(step, by):
    """BatchNorm, dropout and the loss: what `eval` has switched off in the body of the loop is on in the next step."""
    seen = []

    def switched_off(trainer):
        seen.append(all(m.training for m in [*trainer.model.modules(), *trainer.loss.modules()]))
        trainer.model.eval()
        trainer.loss.eval()

    trainer, end = by(step, switched_off)
    assert seen[1:] == [True] * (len(seen) - 1)
    assert end == by(step, lambda trainer: None)[1]
    for record in trainer.fit(loader(), steps=trainer.steps + 4, validate=lambda model: model.eval() and {}):
        assert record.losses.isfinite().all()
    assert trainer.model[2].num_batches_tracked == trainer.steps


def test_a_step_that_gives_way_says_so_and_returns():
    trainer = made("auto")
    assert (trainer.step_kind, trainer.why_plain) == ("direct", None)
    assert repr(trainer) == "Trainer(Sequential, CrossEntropy, AdamW): direct step"
    handle = trainer.model[1].weight.register_hook(lambda g: g)
    with pytest.warns(UserWarning, match="^the direct step gives way to the plain one: a parameter has a hook$"):
        trainer.step(batch())
    assert (trainer.step_kind, trainer.why_plain) == ("plain", "a parameter has a hook")
    assert repr(trainer).endswith("plain step, since a parameter has a hook")
    handle.remove()
    trainer.step(batch())
    assert (trainer.step_kind, trainer.why_plain) == ("direct", None)
    assert made("plain").why_plain == "step=plain"
    assert (
        made("auto", lambda: nn.Sequential(nn.Linear(6, 3), nn.ELU())).why_plain == "the direct step does not know ELU"
    )


OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, fused=True),
    "not fused": lambda p: optim.SGD(p, lr=0.1, momentum=0.9),
    "adamw": lambda p: optim.AdamW(p, lr=0.01, fused=True),
    "adam, not fused": lambda p: optim.Adam(p, lr=0.01, amsgrad=True),
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5),
    "adagrad": lambda p: optim.Adagrad(p),
    "nadam": lambda p: optim.NAdam(p),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("hand", [_own_step, lambda t: t.optimizer.step()])
def test_the_users_own_steps_between_ours(name, hand):
    def make(model):
        return OPTIMIZERS[name](model.parameters())

    ends = [by_step(step, hand, optimizer=make, at=range(10))[1] for step in ("plain", "direct")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("common", [False, True])
def test_two_trainers_of_one_model_in_turn(name, common):
    ends = []
    for steps in (("plain", "plain"), ("direct", "direct"), ("plain", "direct")):
        seed_everything(0)
        model = net()
        optimizers = [OPTIMIZERS[name](model.parameters()) for _ in range(2)]
        pairs = zip(optimizers[:1] * 2 if common else optimizers, steps, strict=True)
        trainers = [Trainer(model, losses.CrossEntropy(), optimizer, step=step) for optimizer, step in pairs]
        values = [float(trainers[i % 2].step(batch(i))) for i in range(8)]
        ends.append([values, *map(left, trainers)])
    assert ends[0] == ends[1] == ends[2]


def _attack(t):
    """The user's transform looks for the worst inputs: it runs the model, and leaves it in eval mode."""

    def transform(x, y, index, epoch):
        t.model.eval()
        x = x.clone().requires_grad_()
        t.loss(t.model(x), y).backward()
        t.model.zero_grad()
        return x.detach() + 0.1 * x.grad.sign(), y

    t.transform = transform


def _prune_data(t):
    weight = t.model[5].weight
    mask = weight.detach() > 0

    def constraint():
        weight.data = weight.data * mask

    t.constraint = constraint


class Thawing:
    """Not of dltrain: a schedule that trains one layer at a time."""

    moves_momentum = False

    def __init__(self, trainer):
        self.model = trainer.model

    def set(self, step):
        self.model[1].requires_grad_(step % 4 > 1)

    def end_epoch(self, metrics):
        pass

    def state_dict(self):
        return {}


SEAMS = {"transform": _attack, "constraint": _prune_data, "schedule": lambda t: setattr(t, "schedule", Thawing(t))}


@pytest.mark.parametrize("by", [by_fit, by_step])
@pytest.mark.parametrize("name", SEAMS)
def test_what_a_users_seam_does_to_the_model_is_seen_in_the_same_step(name, by):
    ends = [by(step, SEAMS[name], at=(0,))[1] for step in ("plain", "direct")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", ["progress", "save", "stop", "loader"])
def test_what_a_users_function_does_between_steps_is_seen(name):
    ends = []
    for step in ("plain", "direct"):
        trainer = made(step)

        def act(trainer=trainer):
            if trainer.steps % 3 == 1:
                _scale_data(trainer)
            trainer.model[1].requires_grad_(trainer.steps % 3 > 0)
            trainer.model.eval()

        class Loader:
            """A user's, which looks at the model before each batch."""

            samples, batch_size, batch_bytes = 96, 16, None

            def __len__(self):
                return 6

            def epoch(self, epoch, start=0):
                for i in range(start, 6):
                    act()
                    yield batch(i)[0]

        source = Loader() if name == "loader" else loader()
        options = {} if name == "loader" else {name: lambda act=act: bool(act())}
        records = list(trainer.fit(source, steps=15, report_every=6, **options))
        ends.append(left(trainer, records))
    assert ends[0] == ends[1]


def rows_net():
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_net_for_rows_needs_no_flatten():
    assert by_fit("direct", _scale_data, make=rows_net)[1] == by_fit("plain", _scale_data, make=rows_net)[1]
    assert made("auto", rows_net).step_kind == "direct"


def test_batches_of_another_shape_take_the_plain_step():
    x, y = torch.randn(8, 4, 6), torch.randn(8, 4, 3)
    ends = []
    for step in ("plain", "direct"):
        trainer = made(step, rows_net, loss=losses.MSE())
        trainer.step([(x[:, 0], y[:, 0], torch.arange(8))])
        values = [
            float(trainer.step([(x[:4], y[:4], torch.arange(4)), (x[4:], y[4:], torch.arange(4))])) for _ in "123"
        ]
        ends.append([values, left(trainer)])
    assert ends[0] == ends[1]
    assert trainer.step_kind == "plain"
    assert trainer.why_plain == "inputs have 3 axes, and no Flatten stands before the first Linear"


def test_inputs_that_want_gradients_get_them():
    for step in ("plain", "direct"):
        x = X[:16].clone().requires_grad_()
        made(step).step([(x, Y[:16], torch.arange(16))])
        assert x.grad.abs().sum() > 0


def test_autocast_around_the_trainer_acts():
    def low(trainer):
        with torch.autocast("cpu", torch.bfloat16):
            trainer.step(batch())

    assert by_step("direct", low)[1] == by_step("plain", low)[1]


class Reads(nn.Module):
    """A loss that looks at more than outputs and targets, and no module shows it."""

    def __init__(self, model):
        super().__init__()
        self.weights = list(model.parameters())

    def forward(self, logits, y):
        return nn.functional.cross_entropy(logits, y) + 0.1 * sum(w.square().sum() for w in self.weights)


def test_a_users_loss_may_read_the_model():
    ends = [by_step(step, lambda t: setattr(t, "loss", Reads(t.model)), at=(0,))[1] for step in ("plain", "direct")]
    assert ends[0] == ends[1]


@pytest.mark.parametrize("name", ["device", "precision", "accumulate", "parameters"])
def test_what_can_not_be_changed_is_refused_in_a_sentence(name):
    trainer = made("auto")
    with pytest.raises(AttributeError, match=f"trainer.{name} can't be changed; make a new Trainer"):
        setattr(trainer, name, getattr(trainer, name))


BAKED = ("dropout", "eps", "clip_norm", "stronger penalty", "weight decay", "another loss", "class weights", "tanh")
READ = ("lr", "p.data", "vector", "no state", "zero_grad", "state in place", "eval", "own optimizer.step")


@pytest.mark.parametrize("name", [*BAKED, *READ, "freeze a layer", "parameter hook"])
def test_a_program_is_made_again_where_it_holds_what_has_changed(name, monkeypatch):
    """Uncompiled: what Python decided when a program was traced does not change in it; memory and rates do."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    programs, ends, inner = [], [], compiled.Program.__init__
    monkeypatch.setattr(compiled.Program, "__init__", lambda *a, **more: programs.append(a[0]) or inner(*a, **more))
    for step in ("plain", "compiled"):
        trainer = made(step, optimizer=momentum, clip_value=0.1)
        trainer.penalty = Penalty(trainer.model, l2=0.01)
        values = []
        for i in range(6):
            if i == 3:
                HANDS[name](trainer)
                programs.clear()
            values.append(float(trainer.step(batch(i))))
        ends.append([torch.tensor(values), dict(trainer.model.state_dict())])
    torch.testing.assert_close(*ends, rtol=1e-3, atol=1e-4)
    assert trainer.step_kind == ("compiled" if name in (*BAKED, *READ) else "plain")
    assert bool(programs) == (name in BAKED)


APART = {
    "10 of the model's parameters are not in the optimizer": _assign,
    "trainer.ema averages tensors that the model no longer has": _new_layer,
    "trainer.schedule sets the rates of another optimizer": HANDS["another optimizer"],
}


@pytest.mark.parametrize("step", ["plain", "auto"])
@pytest.mark.parametrize("words", APART)
def test_what_no_longer_belongs_together_is_said_once(words, step):
    trainer = made(step)
    trainer.ema = EMA(trainer.model, 0.9)
    trainer.schedule = PureSchedule(trainer.optimizer, lambda k: (0.01, None))
    trainer.step(batch())
    APART[words](trainer)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        trainer.step(batch())
        trainer.step(batch())
    assert sum(words in str(w.message) for w in caught) == 1


def test_a_group_may_be_empty():
    def emptied(trainer):
        trainer.optimizer.add_param_group({"params": []})

    assert by_step("auto", emptied)[1] == by_step("plain", emptied)[1]
