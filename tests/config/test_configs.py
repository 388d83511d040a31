"""Every YAML file of every group is listed, composed, planned and built: model, loss, optimizer step, schedule."""

import sys
from math import isfinite

import pytest
import torch
from choices import ALLOW, FROM_FILES, FROM_NETWORK, GROUPS, NEEDS, OF_THE_USER, make_files

from dltrain.config import build, choices
from dltrain.config.compose import compose
from dltrain.config.plan import make_plan
from dltrain.errors import ConfigError


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def plan(*overrides, allow=()):
    composed = compose(overrides)
    assert composed.mistakes == ()
    return make_plan(composed, allow)


def one_step(made):
    """One optimizer step from the plan's own trainer and loader; returns the trainer."""
    trainer = build.make_trainer(made)
    train, _ = build.make_loaders(made)
    before = [p.detach().clone() for p in trainer.model.parameters()]
    assert isfinite(trainer.step([next(train.epoch())]))
    changed = [not torch.equal(p, b) for p, b in zip(trainer.model.parameters(), before, strict=True)]
    assert any(changed)
    return trainer


# -- what `dltrain list` shows ---------------------------------------------------------------------------------


@pytest.mark.parametrize("group", sorted(GROUPS))
def test_each_choice_and_knob_is_explained(group):
    for choice in choices.choices(group):
        assert choice.explanation.endswith("."), choice.path
        for key, value, note in choice.knobs:
            assert note or not value, f"{choice.path}: {key} has no comment"


# -- data ------------------------------------------------------------------------------------------------------

LOCAL = [n for n in GROUPS["data"] if n not in (*FROM_NETWORK, *OF_THE_USER, *FROM_FILES)]


@pytest.mark.parametrize("name", LOCAL)
def test_data(name):
    one_step(plan(f"data={name}"))


@pytest.mark.parametrize("name", FROM_NETWORK)
def test_data_from_the_network_has_the_right_knobs(name):
    """A mistake elsewhere ends the plan before the download; it is then the only one."""
    with pytest.raises(ConfigError, match=r"^trainer\.epochs: 0 must be above zero[^\n]*$"):
        plan(f"data={name}", "trainer.epochs=0")


@pytest.mark.parametrize("name", FROM_FILES)
def test_data_from_files(name, shared_data):
    one_step(plan(f"data={name}", f"data.root={shared_data / name}"))


def test_a_torchvision_model_on_mnist(shared_data):
    made = plan("model=torchvision", "model.name=resnet18", "data=mnist", f"data.root={shared_data / 'mnist'}")
    assert made.rows[0].output_shape == (64, 14, 14)
    assert made.rows[-1].output_shape == (10,)


@pytest.mark.parametrize("name", OF_THE_USER)
def test_data_of_the_user(name, tmp_path, monkeypatch):
    make_files(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    one_step(plan(f"data={name}", *NEEDS[f"data={name}"], allow=ALLOW))
    sys.modules.pop("rows_for_choices", None)


# -- the other groups ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice", [f"{g}={n}" for g in ("model", "loss", "optimizer", "regularisation") for n in GROUPS[g]]
)
def test_choice(choice):
    made = plan(choice, *NEEDS.get(choice, []))
    one_step(made)
    if not choice.endswith(("none", "off")) and choice.startswith("regularisation="):
        assert made.config != plan().config


@pytest.mark.parametrize("name", GROUPS["scheduler"])
def test_scheduler(name):
    made = plan(f"scheduler={name}", *NEEDS.get(f"scheduler={name}", []), "trainer.epochs=2")
    trainer = one_step(made)
    rates = []
    for step in range(1, made.total_steps):
        trainer.schedule.set(step)
        trainer.optimizer.step()
        rates.append(trainer.optimizer.param_groups[0]["lr"])
        if step % made.steps_per_epoch == 0:
            trainer.schedule.end_epoch({"val/loss": 1.0})
    assert all(0 <= rate < 1 for rate in rates)
    assert (len(set(rates)) == 1) == (name in ("constant", "plateau", "multistep", "step"))  # in two epochs


@pytest.mark.parametrize(
    ("overrides", "mode"),
    [
        (["scheduler.monitor=val/loss"], "min"),
        (["scheduler.monitor=val/accuracy"], "max"),
        (["scheduler.monitor=val/f1"], "max"),
        (["scheduler.monitor=auto"], "max"),  # the run's own, val/accuracy
        (["scheduler.monitor=auto", "data=diabetes"], "min"),
        (["scheduler.monitor=val/r2", "data=diabetes"], "max"),
        (["scheduler.monitor=val/accuracy", "scheduler.mode=min"], "min"),  # as runs of version 0.1.0 have it
    ],
)
@pytest.mark.parametrize("by_name", [True, False])
def test_plateau_knows_which_way_its_metric_is_better(overrides, mode, by_name):
    """Also where torch's class is named, whose own default is min."""
    target = "scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau"
    if not by_name:
        overrides = [o.replace("scheduler.m", "+scheduler.m") for o in overrides]
    trainer = build.make_trainer(plan(*(["scheduler=plateau"] if by_name else ["scheduler=torch", target]), *overrides))
    plateau = trainer.schedule
    assert plateau.scheduler.mode == mode
    for value in (0.5, 0.6, 0.7) if mode == "max" else (0.7, 0.6, 0.5):
        plateau.end_epoch({plateau.monitor: value})
    assert plateau.scheduler.num_bad_epochs == 0


@pytest.mark.parametrize("name", GROUPS["trainer"])
def test_trainer(name):
    one_step(plan(f"trainer={name}"))


def test_regularisers_combine():
    names = [n for n in GROUPS["regularisation"] if n not in ("none", "off", "label_smoothing")]
    policies = {"auto_augment", "rand_augment", "sub_policies", "trivial_augment"}
    chosen = [n for n in names if n not in policies]
    made = plan(f"regularisation=[{','.join(chosen)}]")
    one_step(made)
    assert made.regularisation.early_stopping["patience"] == 10
    assert made.parts["model"].arguments["dropout"] == 0.5


def test_every_group_is_covered():
    assert set(GROUPS) == {"data", "model", "loss", "optimizer", "scheduler", "regularisation", "trainer"}
