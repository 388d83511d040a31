"""Every choice of every group, stopped within an epoch and resumed, ends with the bits of the undisturbed run: under
the plain step and under the direct one, where it is possible. A new YAML file is in it by itself.

With DLTRAIN_SOAK=1 there are more stops, pairs of choices, torch's other optimizers and schedulers, and programs.
"""

import os
import random
import sys

import graph_stand_in
import pytest
import torch
from choices import ALLOW, FROM_FILES, FROM_NETWORK, GROUPS, NEEDS, make_files
from outcomes import outcome

from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.runs import run_folder
from dltrain.training import experiment, resuming
from dltrain.training.stop import Stop

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
SMALL = (
    *("data=iris", "data.batch_size=8", "trainer.limit_train_batches=4", "trainer.epochs=3", "trainer.threads=1"),
    *("trainer.tensorboard=false", "trainer.save_every=1000", "trainer.progress=false"),
)
CHOICES = [f"{group}={name}" for group, names in GROUPS.items() for name in names if name not in FROM_NETWORK]
IMAGES = (
    *("affine", "auto_augment", "crop_flip", "cutmix", "elastic", "erasing"),
    *("rand_augment", "sub_policies", "trivial_augment"),
)
IN_OTHER_WAYS = {  # of the same choices
    "pictures that stream": ["data=image_folder", *NEEDS["data=image_folder"], "data.in_memory=false"],
    "pictures that workers read": ["data=image_folder", *NEEDS["data=image_folder"], "data.in_memory=false"]
    + ["data.workers=2", "regularisation=[crop_flip]", "trainer.epochs=2"],
    "an own Dataset in memory": ["data=dataset", *NEEDS["data=dataset"], "data.in_memory=true"],
    "a table with a target in words": ["data=table", "data.path=t.csv", "data.target=colour", "data.scaling=quantile"],
    "a table whose rows have weights": ["data=table", "data.path=t.csv", "data.target=label", "data.weight=size"]
    + ["regularisation=[mixup]", "trainer.accumulate=2", "trainer.report_every=0.5"],
    "codes of categories": [
        "data=table",
        "data.path=t.csv",
        "data.target=label",
        "data.one_hot=0",
        "model.embedding=3",
    ],
    "several batches a step": ["trainer.accumulate=2", "trainer.limit_train_batches=6", "model.norm=batch"],
    "bf16": ["trainer.precision=bf16", "model.dropout=0.2"],
    "several averages and penalties": ["regularisation=[ema,l1,l2,max_norm,mixup,input_noise,clip_norm]"],
    "reports within an epoch": ["trainer.report_every=0.25", "trainer.eval_every=0.5", "scheduler=plateau"],
}
took = {}  # the step that each choice had under auto
PLAIN_ALONE = {"model=torchvision", "optimizer=lbfgs"}  # choices for which there is no other


class StopAt(Stop):
    """Stops a run once it has made so many steps; `kind` is the step that it took."""

    def __init__(self, step, monkeypatch):
        super().__init__()
        self.step, self.trainer, make = step, None, build.make_trainer

        def made(plan):
            trainer = make(plan)
            self.trainer = self.trainer or trainer  # a later one looks into it
            return trainer

        monkeypatch.setattr(build, "make_trainer", made)

    def __call__(self):
        if self.trainer.steps >= self.step:
            self.reason = "SIGTERM"
        return super().__call__()


def composed(*words):
    made = compose.compose([*SMALL, *words])
    assert made.mistakes == ()
    return made


def begun(plan):
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    return folder


def stopped_and_resumed(plan, steps, monkeypatch, *, at_once=1):
    """Its folder, after a stop at each of `steps`, each resumed from the folder alone; and the kind of step.

    at_once: steps that a program makes together, between which it can't stop.
    """
    folder = begun(plan)
    for i, step in enumerate(steps):
        with monkeypatch.context() as patch:
            stop = StopAt(step, patch)
            goes_on = plan if i == 0 else make_plan(resuming.stored(folder), ALLOW)
            summary = experiment.train(goes_on, folder, resume=i > 0, stop=stop)
        assert summary["status"] == "stopped"
        assert step <= summary["steps"] < step + at_once
    experiment.train(make_plan(resuming.stored(folder), ALLOW), folder, resume=True)
    return folder, stop.trainer.step_kind


def same(one, other):
    """Whether two ends are the same but for the configuration, which names the step."""
    return _without(one) == _without(other)


def _without(value):
    if isinstance(value, dict):
        return {k: _without(v) for k, v in value.items() if k != "config"}
    return [_without(v) for v in value] if isinstance(value, (list, tuple)) else value


def assert_resumes(words, monkeypatch, *, seed=0, stops=1, steps=("auto", "plain")):
    """The step that it took first."""
    dice = random.Random(f"{words} {seed}")
    plan = make_plan(composed(*words, "trainer.step=plain"), ALLOW)
    folder = begun(plan)
    experiment.train(plan, folder)
    whole, last = outcome(folder), plan.total_steps
    within = [step for step in range(1, last) if step % plan.steps_per_epoch] or list(range(1, last))
    first = None
    for kind in steps:
        plan = make_plan(composed(*words, f"trainer.step={kind}"), ALLOW)
        at = sorted(dice.sample(within, min(stops, len(within))))
        folder, taken = stopped_and_resumed(plan, at, monkeypatch)
        first = first or taken
        assert same(whole, outcome(folder)), f"{words}: {taken} step, stopped at {at} of {last}"
        if taken == "plain":  # the other would be the same once more
            break
    return first


def words_of(choice):
    """A choice with what it needs beside it, as a small run."""
    group, _, name = choice.partition("=")
    needs = [word for word in NEEDS.get(choice, ()) if word != "data.batch_size=full"]  # of one step an epoch
    if choice == "data=rows":
        needs += ["data.batch_size=1"]  # of three
    if name in (*IMAGES, "torchvision"):
        needs = ["data=digits", *needs, "trainer.overfit_batches=2"]
    if group != "model" and "model=perceptron" not in needs:
        needs += ["model.widths=[8]"]
    if group != "scheduler" and not SOAK:
        needs += ["trainer.epochs=2"]
    if group == "optimizer":
        needs += ["diagnose=true"]  # whose twin takes the same state over at each report
    return [choice, *needs]


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_files(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("rows_for_choices", None)


@pytest.mark.parametrize("choice", CHOICES)
def test_each_choice_ends_with_the_same_bits(request, monkeypatch, choice):
    group, _, name = choice.partition("=")
    words = words_of(choice)
    if name in FROM_FILES and group == "data":
        words += [f"data.root={request.getfixturevalue('shared_data') / name}"]
        words += ["data.limit=300", "data.val=60"] if name == "mnist" else []
    for seed in range(4 if SOAK else 1):
        took[choice] = assert_resumes(words, monkeypatch, seed=seed, stops=3 if SOAK else 1)


@pytest.mark.parametrize("name", IN_OTHER_WAYS)
def test_each_way_of_running_ends_with_the_same_bits(monkeypatch, name):
    assert assert_resumes([*IN_OTHER_WAYS[name], "model.widths=[8]"], monkeypatch, stops=2) == "direct"


def test_only_the_known_choices_take_the_plain_step():
    """A choice that lost the direct step in silence would be tried by half; a new one says here which it has."""
    if len(took) < len(CHOICES):
        pytest.skip("needs the runs of the tests above")
    assert {choice for choice, step in took.items() if step == "plain"} == PLAIN_ALONE


TABLE = ["data=table", *NEEDS["data=table"]]
PICTURES = ["data=image_folder", *NEEDS["data=image_folder"], "data.in_memory=false"]
JUDGED = {  # the odd choices of each group -> what to predict
    "data and optimizer": ([*PICTURES, "optimizer=muon", "diagnose=true", "model.widths=[8]"], "pictures"),
    "model, loss and scheduler": (
        [*TABLE, "model=module", "model._target_=torch.nn.Linear"]
        + ["scheduler=torch", *NEEDS["scheduler=torch"], "loss=module", *NEEDS["loss=module"]],
        "t.csv",
    ),
    "regularisation and trainer": (
        [*TABLE, "regularisation=[ema,l1,l2,max_norm,mixup,input_noise,early_stopping,clip_value]"]
        + ["trainer.accumulate=2", "trainer.precision=bf16", "model.norm=layer"],
        "t.csv",
    ),
}


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("groups", JUDGED)
def test_a_resumed_run_of_each_group_can_be_used(dltrain, monkeypatch, groups):
    words, source = JUDGED[groups]
    plan = make_plan(composed(*words), ALLOW)
    folder, _ = stopped_and_resumed(plan, [plan.total_steps // 2], monkeypatch)
    for command in (
        *(["eval", "last"], ["predict", "last", source, "-o", "answers.csv"], ["report", "last"], ["doctor", "last"]),
        *(["show", "last"], ["runs"], ["export", "last", "--format", "pt2"], ["resume", "last"]),
    ):
        code, out, err = dltrain(*command)
        assert code == 0, (command, err)
        assert out or command[0] == "predict", command
    assert (folder / "model.pt2").is_file()


def _optimizers():
    """Torch's own that no file names, which take a dense gradient and no closure."""
    found = [name for name, made in vars(torch.optim).items() if isinstance(made, type)]
    return [name for name in found if name not in ("Optimizer", "SparseAdam", "LBFGS", "Muon")]


SCHEDULERS = {
    "ConstantLR": {"total_iters": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 3, "cycle_momentum": False},
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {"total_iters": 6},
    "OneCycleLR": {"max_lr": 0.01, "total_steps": 12},
    "PolynomialLR": {"total_iters": 6},
    "StepLR": {"step_size": 2},
}


@pytest.mark.parametrize("name", [*_optimizers(), *SCHEDULERS] if SOAK else ["ASGD", "CyclicLR"])
def test_torchs_other_optimizers_and_schedulers_by_target(monkeypatch, name):
    if name in SCHEDULERS:
        words = ["scheduler=torch", f"scheduler._target_=torch.optim.lr_scheduler.{name}"]
        words += [f"+scheduler.{key}={value}" for key, value in SCHEDULERS[name].items()]
    else:
        words = ["optimizer=sgd", f"optimizer._target_=torch.optim.{name}"]
        words += [f"~optimizer.{key}" for key in ("momentum", "nesterov", "weight_decay")]
    assert_resumes([*words, "model.widths=[8]"], monkeypatch, stops=3)


@pytest.mark.parametrize("seed", range(300 if SOAK else 3))
def test_choices_drawn_together(monkeypatch, seed):
    """An optimizer, a schedule, up to three regularisers, and a task with a loss for it."""
    dice = random.Random(seed)
    task = dice.choice([
        ["data=iris"], ["data=wine", "loss=one_hot_mse"], ["data=breast_cancer"], ["data=breast_cancer", "loss=hinge"],
        ["data=diabetes"], ["data=diabetes", "loss=huber"], ["data=diabetes", "loss=mae"], ["data=multilabel"],
        ["data=moons"], TABLE, [*PICTURES, "data.workers=0"], ["data=dataset", *NEEDS["data=dataset"]],
    ])  # fmt: skip
    optimizer = dice.choice([name for name in GROUPS["optimizer"] if name != "lbfgs"])
    scheduler = dice.choice([name for name in GROUPS["scheduler"] if name != "torch"])
    usual = [n for n in GROUPS["regularisation"] if n not in (*IMAGES, "none", "off", "label_smoothing", "mixup")]
    regularisers = ",".join(dice.sample(usual, dice.randint(0, 3)) or ["none"])
    words = [*task, f"optimizer={optimizer}", f"scheduler={scheduler}", f"regularisation=[{regularisers}]"]
    words += [f"model.norm={dice.choice(['none', 'batch', 'layer'])}", f"model.dropout={dice.choice([0, 0.3])}"]
    words += [f"model.widths={dice.choice(['[8]', '[9,5]', '[]'])}", f"trainer.accumulate={dice.choice([1, 1, 2])}"]
    assert_resumes(words, monkeypatch, seed=seed, stops=dice.randint(1, 4))


PROGRAMS = [[], ["model.norm=batch", "model.dropout=0.2"], ["optimizer=momentum"]]


@pytest.mark.parametrize("kind", ["compiled", "graph"] if SOAK else ["graph"])
@pytest.mark.parametrize("words", PROGRAMS if SOAK else PROGRAMS[:1])
def test_a_program_goes_on_with_its_own_bits(monkeypatch, words, kind):
    """A graph's stand-in: its own bits, too, since a step that is captured anew makes what the first one made."""
    captured = graph_stand_in.put_in_place(monkeypatch)
    words = [*words, "model.widths=[8]", f"trainer.step={kind}"]
    plan = make_plan(composed(*words), ALLOW)
    folder = begun(plan)
    experiment.train(plan, folder)
    resumed, taken = stopped_and_resumed(plan, [3, 7], monkeypatch, at_once=4 if kind == "compiled" else 1)
    assert taken == kind
    assert len(captured) == (3 if kind == "graph" else 0)  # whole, and twice; three steps are too few
    assert outcome(resumed) == outcome(folder)
