"""The compiled step against the plain one. Compiling takes most of the time."""

import shutil
import warnings

import pytest
import torch
from outcomes import outcome
from torch import nn, optim
from torch._inductor import config as inductor
from torch.utils._pytree import tree_flatten, tree_unflatten

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine.steps import compiled
from dltrain.engine.steps.flat import Flat
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import ConfigError, DivergedError
from dltrain.parts import losses, models, private
from dltrain.parts.regularisers import Penalty
from dltrain.runs import run_folder
from dltrain.training import experiment

OLDEST = torch.__version__.startswith("2.10.")
needs_scan = pytest.mark.skipif(OLDEST, reason="this torch refuses such a scan, and takes each step by itself")
needs_compiler = pytest.mark.skipif(not compiled.has_compiler(), reason="needs a C++ compiler")
X = torch.randn(100, 13, generator=torch.Generator().manual_seed(1))
Y = torch.randint(0, 5, (100,), generator=torch.Generator().manual_seed(2))
OPTIMIZERS = {
    "sgd": lambda p: optim.SGD(p, lr=0.1, weight_decay=0.01),
    "momentum": lambda p: optim.SGD(p, lr=0.05, momentum=0.9),
    "nesterov": lambda p: optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.01, lr_decay=0.01),
    "rmsprop": lambda p: optim.RMSprop(p, momentum=0.5),
    "adam": lambda p: optim.Adam(p, weight_decay=0.01),
    "amsgrad": lambda p: optim.Adam(p, amsgrad=True),
    "adamw": lambda p: optim.AdamW(p),
}


def loop(step, state, given):
    """What torch's scan does, uncompiled."""
    leaves, tree = tree_flatten(given)
    seen = []
    for slices in zip(*leaves, strict=True):
        state, out = step(state, tree_unflatten(list(slices), tree))
        seen.append(out)
    return state, tuple(torch.stack(column) for column in zip(*seen, strict=True))


def counted(monkeypatch):
    """A list of how many steps each call of a program makes."""
    calls, inner = [], compiled.Program.__call__
    patched = lambda self, steps, **more: calls.append(len(steps)) or inner(self, steps, **more)  # noqa: E731
    monkeypatch.setattr(compiled.Program, "__call__", patched)
    return calls


@pytest.fixture
def uncompiled(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(private, "scan", loop)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_program_computes_what_torch_computes(name, uncompiled):
    """Uncompiled: the formulas, in any optimizer, with penalty, clipping, accumulation and running statistics."""
    ends = []
    for step in ("plain", "compiled"):
        seed_everything(0)
        model = models.MLP(13, 5, widths=[17, 11], norm="batch", dropout=0.2, bias=False)
        trainer = Trainer(
            model,
            losses.CrossEntropy(),
            OPTIMIZERS[name](model.parameters()),
            step=step,
            penalty=Penalty(model, l1=0.001, l2=0.01),
            clip_norm=0.5,
            clip_value=0.1,
            accumulate=2,
        )
        records = list(trainer.fit(make_loader(Tensors(X, Y), batch_size=16, shuffle=True), epochs=4))
        state = trainer.state_dict()["optimizer"]["state"]
        ends.append((model.state_dict(), state, torch.cat([r.losses for r in records]), records[-1].metrics))
    plain, program = ends
    torch.testing.assert_close(program[:3], plain[:3], rtol=1e-3, atol=1e-5)
    for metric in ("train/loss", "train/grad_norm", "train/weight_norm", "train/penalty"):
        assert program[3][metric] == pytest.approx(plain[3][metric], rel=1e-3)


def test_mistakes_of_a_perceptron_are_counted_step_by_step_within_a_program(uncompiled):
    counts = []
    for step in ("plain", "compiled"):
        model = models.Perceptron(13, 5)
        trainer = Trainer(model, losses.Perceptron(), optim.SGD(model.parameters(), lr=0.1), step=step)
        loader = make_loader(Tensors(X, Y), batch_size=16, shuffle=True)
        counts.append([record.metrics["train/mistakes"] for record in trainer.fit(loader, epochs=3)])
    assert counts[0] == counts[1]
    assert min(counts[0]) > 0


def test_a_bad_step_is_left_out_and_said(uncompiled):
    model = models.MLP(13, 5, widths=[8])
    trainer = Trainer(
        model, losses.CrossEntropy(), optim.SGD(model.parameters(), lr=0.1), step="compiled", clip_value=1
    )
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = X[:8].clone()
    x[3, 2] = float("inf")
    with pytest.raises(DivergedError, match="the batch itself, sample 3"):
        trainer.step([(x, Y[:8], torch.arange(8))])
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_a_bad_step_among_several_is_left_out_with_those_after_it(uncompiled, monkeypatch):
    x = X.clone()
    x[52, 2] = float("inf")  # in the fourth of six batches, which are one program
    made = []

    def trained(steps):
        seed_everything(0)
        model = models.MLP(13, 5, widths=[8])
        trainer = Trainer(
            model, losses.CrossEntropy(), optim.SGD(model.parameters(), lr=0.1), step="compiled", clip_value=1
        )
        made.append(trainer)
        list(trainer.fit(make_loader(Tensors(x, Y), batch_size=16), steps=steps))
        return trainer

    calls = counted(monkeypatch)
    good = trained(3)
    with pytest.raises(DivergedError, match=r"step 4: .*the batch itself, sample 4") as caught:
        trained(7)
    assert calls == [1, 1, 1, 6]
    assert caught.value.state["samples"][0].tolist() == list(range(48, 64))
    assert not all(g.isfinite().all() for g in caught.value.state["gradients"].values())
    kept = made[-1]
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters, good.parameters, strict=True))
    assert kept.steps == 3


@needs_compiler
@needs_scan
def test_a_compiled_run_learns_as_a_plain_one_and_resumes_to_the_bit(tmp_path):
    common = ["data=digits", "trainer.epochs=3", "model.norm=batch", "model.dropout=0.1", "data.batch_size=128"]
    common += ["trainer.tensorboard=false", "trainer.threads=1", f"runs_dir={tmp_path}"]

    class After:
        """Stops within the second epoch."""

        reason = "SIGTERM"
        left = 5  # the first epoch is a program of nine steps and a plain one, then it is asked within validation

        def after(self, seconds):
            pass

        def by_any(self, left):
            return left

        def __call__(self):
            self.left -= 1
            return self.left < 0

        wanted = __call__

    ends = []
    for step, stop in (("plain", None), ("compiled", None), ("compiled", After())):
        plan = make_plan(compose.compose([*common, f"trainer.step={step}"]))
        assert plan.step == step
        folder = run_folder.create(plan.runs_dir, plan.name)
        experiment.prepare(plan, folder, ["dltrain"])
        summary = experiment.train(plan, folder, stop=stop)
        if stop:
            assert summary["status"] == "stopped"
            assert plan.steps_per_epoch < summary["steps"] < 2 * plan.steps_per_epoch
            experiment.train(plan, folder, resume=True)
        ends.append(outcome(folder))
    plain, whole, resumed = ends
    assert whole == resumed
    for mine, theirs in zip(whole[2], plain[2], strict=True):
        assert mine["train/loss"] == pytest.approx(theirs["train/loss"], rel=1e-3)


class Pictures(nn.Module):
    """Somebody's module: convolutions, running statistics, dropout by function, a weight that is used twice."""

    def __init__(self, dropout):
        super().__init__()
        self.dropout = dropout
        self.conv, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.square, self.last = nn.Linear(4, 4), nn.Linear(4, 5)

    def forward(self, x):
        x = nn.functional.gelu(self.norm(self.conv(x))).mean((2, 3))
        x = nn.functional.dropout(x, self.dropout, self.training)
        return self.last(self.square(torch.tanh(self.square(x))))


@needs_compiler
@needs_scan
@pytest.mark.parametrize(("precision", "accumulate", "dropout"), [("fp32", 2, 0.0), ("bf16", 1, 0.2)])
@inductor.patch({"aot_inductor.debug_compile": True})
def test_many_steps_of_anybodys_module_in_one_program(precision, accumulate, dropout, recwarn, monkeypatch):
    """A scan, compiled: penalty, both kinds of clipping, accumulation, a weighted loss, two groups.

    The compiler optimises nothing, which takes it a third of the time; it does for the run above.
    """
    calls = counted(monkeypatch)
    torch.manual_seed(3)
    split, ends = Tensors(torch.randn(300, 1, 6, 6), torch.randint(0, 5, (300,))), []
    for step in ("plain", "compiled"):
        seed_everything(0)
        model = Pictures(dropout)
        groups = [
            {"params": [model.conv.weight, model.last.weight]},
            {"params": [*model.norm.parameters()], "lr": 0.01},
        ]
        groups += [{"params": [*model.square.parameters(), model.last.bias], "weight_decay": 0}]
        trainer = Trainer(
            model,
            nn.CrossEntropyLoss(weight=torch.arange(1.0, 6.0)),
            optim.AdamW(groups, lr=1e-3, fused=True),
            step=step,
            precision=precision,
            penalty=Penalty(model, l1=0.001, l2=0.01),
            clip_norm=0.5,
            clip_value=0.1,
            accumulate=accumulate,
        )
        records = list(trainer.fit(make_loader(split, batch_size=16, shuffle=True), epochs=3))
        state = trainer.state_dict()["optimizer"]["state"]
        ends.append((model.state_dict(), state, torch.cat([r.losses for r in records]), records[-1].metrics))
    assert [str(w.message) for w in recwarn.list] == []
    assert calls == [18 // accumulate] * 3
    assert not recwarn.list
    plain, program = ends
    close = {"rtol": 1e-3, "atol": 1e-5} if precision == "fp32" else {"rtol": 0.05, "atol": 3e-3}
    torch.testing.assert_close(program[:3], plain[:3], **close)
    assert program[3]["train/grad_norm"] == pytest.approx(plain[3]["train/grad_norm"], rel=0.05)


def test_what_torch_can_not_scan_is_done_step_by_step(uncompiled, monkeypatch):
    def refuses(*_):
        raise RuntimeError("this module changes itself\nand more")

    def forgets(step, state, given):
        return loop(lambda _, now: step(state, now), state, given)

    ends, words = [], {refuses: "this module changes itself", forgets: "torch compiles them to something else"}
    for scan in (loop, refuses, forgets):
        monkeypatch.setattr(private, "scan", scan)
        seed_everything(0)
        model = models.MLP(13, 5, widths=[8], dropout=0.2)
        trainer = Trainer(model, losses.CrossEntropy(), optim.Adam(model.parameters()), step="compiled", clip_norm=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            losses_ = [r.losses for r in trainer.fit(make_loader(Tensors(X, Y), batch_size=16, shuffle=True), epochs=3)]
        said = [str(w.message) for w in caught]
        assert said == [
            f"each step has a call of its own; several in one program: {words[s]}" for s in words if s is scan
        ]
        ends.append((torch.cat(losses_), *model.parameters()))
    for end in ends[1:]:
        assert all(torch.equal(a, b) for a, b in zip(ends[0], end, strict=True))


def test_what_can_not_be_compiled_is_told(monkeypatch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(13, 5))
    with pytest.raises(ValueError, match="step=compiled: there is no compiled step for NAdam; use auto or plain"):
        Trainer(model, nn.CrossEntropyLoss(), optim.NAdam(model.parameters()), step="compiled")
    with pytest.raises(ConfigError, match=r"trainer.step: .*does not scale losses.*; use auto"):
        make_plan(compose.compose(["trainer.step=compiled", "trainer.precision=fp16"]))
    if compiled.has_compiler():
        plan = make_plan(compose.compose(["trainer.step=compiled"]))
        assert any("the direct step, with nothing to compile" in note for note in plan.notes)
        plan = make_plan(compose.compose(["trainer.step=compiled", "model=torchvision", "model.name=resnet18"]))
        assert not any("direct step" in note for note in plan.notes)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    plan = make_plan(compose.compose(["trainer.step=compiled"]))
    assert plan.step == "direct"
    assert any("needs a C++ compiler" in note for note in plan.notes)


def test_two_programs_are_two(monkeypatch):
    """Without guards, one program must not be taken for another of the same class."""
    functions = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: functions.append(function) or function)
    for width in (3, 4):
        model = nn.Sequential(nn.Flatten(), nn.Linear(13, width))
        flat = Flat(optim.SGD(model.parameters(), lr=0.1), exact=False)
        program = compiled.Program(model, nn.CrossEntropyLoss(), flat, autocast=torch.no_grad)
        program([[(X, Y % 3)]])
    one, other = (function.__func__.__code__ for function in functions)
    assert one is not other
