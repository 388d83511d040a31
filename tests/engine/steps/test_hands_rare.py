"""What few users do: copies of a trainer, odd batches, errors in a step, hidden tensors; all as in the plain step."""

import copy
import functools
import pickle
import warnings

import drawn_nets
import pytest
import torch
import torch.nn.functional as F
from outcomes import plain
from torch import nn, optim

from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.parts import losses

X = torch.randn(32, 6, generator=torch.Generator().manual_seed(1))
Y = torch.arange(32) % 3
BATCH = [(X[:16], Y[:16], torch.arange(16))]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def made(step, optimizer=optim.AdamW, loss=None, **options):
    seed_everything(0)
    body = [nn.Linear(6, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(0.2)]
    model = nn.Sequential(nn.Flatten(), *body, nn.Linear(8, 3))
    made = optimizer(model.parameters(), lr=0.01, fused=optimizer is optim.AdamW or None)
    return Trainer(model, loss or losses.CrossEntropy(), made, step=step, **options)


def left(trainer):
    held = [trainer.optimizer.state.get(p) for p in trainer.parameters]
    gradients = [p.grad for p in trainer.parameters]
    return plain([dict(trainer.model.state_dict()), held, gradients, torch.get_rng_state()])


def tried(trainer, batches=BATCH):
    try:
        return plain(trainer.step(batches))
    except Exception as error:
        return type(error).__name__


def both(act, *, steps=(2, 2), **options):
    """What a trainer is after some steps, an act, which may give another trainer, and some more."""
    ends = []
    for step in ("plain", "auto"):
        trainer = made(step, **options)
        found = [tried(trainer) for _ in range(steps[0])]
        trainer = act(trainer) or trainer
        ends.append([found, [tried(trainer) for _ in range(steps[1])], left(trainer)])
    assert ends[0] == ends[1]
    return trainer, ends[0]


@pytest.mark.parametrize("how", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))], ids=["deepcopy", "pickle"])
@pytest.mark.parametrize("clip", [None, 0.1])
def test_a_copy_of_a_trainer_goes_on_by_itself(how, clip):
    trainer, (_, values, _) = both(how, clip_norm=clip)
    assert trainer.step_kind == "direct"
    whole = made("auto", clip_norm=clip)
    _, _, third = (plain(whole.step(BATCH)) for _ in range(3))
    assert values[0] == third


def test_a_copy_of_a_trainer_leaves_the_first_alone():
    def copied(trainer):
        other = copy.deepcopy(trainer)
        before = left(trainer)[:3]
        other.step(BATCH)
        assert left(trainer)[:3] == before

    both(copied)


def test_a_trainer_whose_step_has_given_way_may_be_copied():
    trainer = made("direct")
    trainer.model[1].weight.register_hook(lambda g: g * 0.5)
    trainer.step(BATCH)
    assert copy.deepcopy(trainer).step_kind == "direct"  # a copy of a parameter has no hooks
    trainer.model.append(nn.ELU())
    trainer.step(BATCH)
    assert copy.deepcopy(trainer).why_plain == "the direct step does not know ELU"


def test_a_model_that_was_left_in_eval_mode_trains_from_the_first_step_on():
    ends = []
    for step in ("plain", "auto"):
        trainer = made(step)
        trainer = Trainer(trainer.model.eval(), trainer.loss, trainer.optimizer, step=step)
        ends.append([tried(trainer), left(trainer)])
        assert trainer.model.training
    assert ends[0] == ends[1]


class Pick:
    """Stands for a generator that draws this one of the odd batches."""

    def __init__(self, number):
        self.number = number

    def choice(self, given):
        return given[self.number % len(given)]


@pytest.mark.parametrize("rows", [5, 1])
@pytest.mark.parametrize(
    ("kind", "number"), [(kind, i) for kind, made in drawn_nets.LOSSES.items() for i in range(len(made))]
)
def test_an_odd_batch_is_computed_or_refused_as_by_the_plain_step(kind, number, rows):
    """Targets that are too few, of other types, columns, or no classes; rows that are none, or too short."""
    for odd in range(18):
        ends = []
        for step in ("plain", "auto"):
            seed_everything(0)
            model = nn.Sequential(nn.Linear(6, 1 if kind == "one" else 3))
            loss, optimizer = drawn_nets.LOSSES[kind][number](), optim.SGD(model.parameters(), lr=0.1, fused=True)
            trainer = Trainer(model, loss, optimizer, step=step)
            given = drawn_nets.odd(Pick(odd), *drawn_nets.batch(Draws(), rows, kind=kind, dtype=torch.float32))
            if type(loss) is nn.MultiMarginLoss and not given[0].numel():
                continue  # whose mean of nothing is whatever memory held
            ends.append([tried(trainer, [given]), left(trainer)])
        assert not ends or ends[0] == ends[1], odd


class Draws:
    def randrange(self, end):
        return 7


TOO_FEW = [(X[:16], Y[:1], torch.arange(16))]
BAD = {
    "the first batch": TOO_FEW,
    "a later batch": BATCH + TOO_FEW,
    "a batch that is the plain step's": [(X[:16].clone().requires_grad_(), Y[:16] + 7, torch.arange(16))],
    "numbers that are not finite": [(X[:16] * torch.inf, Y[:16], torch.arange(16))],
    "one row under a BatchNorm": [(X[:1], Y[:1], torch.arange(1))],
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("steps", [0, 1])
def test_a_step_that_fails_leaves_the_gradients_that_autograd_leaves(name, steps):
    def fails(trainer):
        assert isinstance(tried(trainer, BAD[name]), str)
        gradients.append(plain([p.grad for p in trainer.parameters]))
        trainer.optimizer.step()  # which moves nothing whose gradient is None

    gradients = []
    both(fails, steps=(steps, 2))
    assert gradients[0] == gradients[1]


def test_a_transform_that_fails_leaves_the_gradients_of_the_step_before():
    def fails(x, y, index, epoch):
        raise ValueError

    both(lambda t: setattr(t, "transform", fails))
    both(lambda t: setattr(t, "transform", fails), steps=(0, 1))


def _hide(t):
    t.model[1].__dict__["weight"] = t.model[1].weight.detach() * 0.5


def _twice(t):
    t.optimizer.param_groups[0]["params"].append(t.model[1].weight)


def _inference_weight(t):
    with torch.inference_mode():
        t.model[1].weight.data = t.model[1].weight.data * 0.5


def _scripted(t):
    t.model[3] = torch.jit.script(t.model[3])


def _counts(t):
    for state in t.optimizer.state.values():
        state["step"] = state["step"].reshape(1)


WHY = {
    _hide: "an attribute hides a tensor or a part of a module",
    _twice: "the optimizer has a parameter twice",
    _scripted: "the direct step does not know RecursiveScriptModule",
    _inference_weight: "a parameter was made in inference mode",
    _counts: None,
    lambda t: t.optimizer.param_groups[0].pop("weight_decay") and None: None,
    lambda t: t.optimizer.param_groups[0].pop("lr") and None: None,
}


@pytest.mark.parametrize("act", WHY)
def test_what_only_torch_can_serve_is_left_to_it(act):
    trainer, _ = both(act, clip_norm=0.1)
    assert trainer.why_plain == WHY[act]


@pytest.mark.parametrize("optimizer", [optim.AdamW, optim.SGD])
@pytest.mark.parametrize("steps", [0, 1])
def test_under_a_default_device_without_values_torch_trains(optimizer, steps):
    def under(trainer):
        with torch.device("meta"):
            tried(trainer)

    both(under, steps=(steps, 2), optimizer=optimizer)


def test_a_batch_made_in_inference_mode_trains():
    def given(trainer):
        with torch.inference_mode():
            x, y = X[:16] * 2, Y[:16] + 0
        assert isinstance(tried(trainer, [(x, y, torch.arange(16))]), float)

    both(given)


def _halved(inner):
    return lambda *a, **k: inner(*a, **k) * 0.5


def _get(self, name):
    value = nn.Module.__dict__["__getattr__"](self, name)
    return value * 0.5 if name == "weight" else value


@pytest.mark.parametrize("around", [torch.no_grad(), torch.enable_grad(), torch.inference_mode()])
@pytest.mark.parametrize("named", [False, True], ids=["", "and its name is torch's"])
def test_an_update_in_a_wrapper_of_torchs_acts(monkeypatch, around, named):
    inner = optim.SGD.step

    def step(self, *given):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(0.5)
        return inner(self, *given)

    def act(trainer):
        wrapped = around(step)
        monkeypatch.setattr(optim.SGD, "step", functools.wraps(inner)(wrapped) if named else wrapped)
        tried(trainer)
        monkeypatch.setattr(optim.SGD, "step", inner)

    both(act, optimizer=optim.SGD)


@pytest.mark.parametrize(
    ("owner", "name", "by"),
    [
        (nn.Linear, "__getattr__", _get),
        (nn.Linear, "__call__", _halved(nn.Linear.__call__)),
        (F, "gelu", functools.wraps(F.gelu)(torch.enable_grad()(_halved(F.gelu)))),
    ],
)
def test_a_class_that_gives_or_is_called_otherwise_acts(monkeypatch, owner, name, by):
    def act(trainer):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, by, raising=False)
            tried(trainer)

    trainer, _ = both(act)
    assert trainer.step_kind == "direct"  # again


def test_a_fit_goes_on_with_a_copy():
    ends = []
    for step in ("plain", "auto"):
        trainer, found = made(step), []
        loader = make_loader(Tensors(X, Y), batch_size=8, shuffle=True, seed=0)
        for record in trainer.fit(loader, steps=6, report_every=2, validate=lambda model: model.eval() and {}):
            found.append(plain(record.losses))
        trainer = copy.deepcopy(trainer)
        found += [plain(record.losses) for record in trainer.fit(loader, steps=12, report_every=2)]
        ends.append([found, left(trainer)])
    assert ends[0] == ends[1]
