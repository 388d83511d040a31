"""What a run keeps: stopped anywhere, under any choice, it goes on as if nothing had happened."""

import math
import sys

import pytest
import torch
from choices import ALLOW, FROM_FILES, FROM_NETWORK, GROUPS, NEEDS, make_files
from outcomes import outcome, plain
from torch import nn
from torch.optim import Optimizer

from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.engine.trainer import Trainer
from dltrain.parts.schedules import TorchSchedule
from dltrain.runs import checkpoint, reading, run_folder
from dltrain.training import experiment, resuming
from dltrain.training.stop import Stop

SMALL = (
    *("data=iris", "data.batch_size=8", "trainer.limit_train_batches=4", "trainer.epochs=3", "trainer.threads=1"),
    *("trainer.tensorboard=false", "trainer.save_every=1000"),
)


class StopAt(Stop):
    """Stops a run once it has made so many steps."""

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


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains in a new folder; or stops after so many epochs, and resumes from the folder alone."""
    monkeypatch.chdir(tmp_path)

    def train(composed, stop=None):
        plan = make_plan(composed, ALLOW)
        folder = run_folder.create(plan.runs_dir, plan.name)
        experiment.prepare(plan, folder, ["dltrain"])
        if stop is None:
            experiment.train(plan, folder)
            return folder
        with monkeypatch.context() as patch:
            step = math.ceil(stop * plan.steps_per_epoch)
            summary = experiment.train(plan, folder, stop=StopAt(step, patch))
        assert (summary["status"], summary["steps"]) == ("stopped", step)
        experiment.train(make_plan(resuming.stored(folder), ALLOW), folder, resume=True)
        return folder

    return train


def composed(*words):
    made = compose.compose([*SMALL, *words])
    assert made.mistakes == ()
    return made


CHOICES = [
    f"{group}={name}"
    for group, names in GROUPS.items()
    for name in names
    if group != "data" or name not in (*FROM_NETWORK, *FROM_FILES)
]
IMAGES = ("affine", "auto_augment", "crop_flip", "cutmix", "elastic", "erasing", "rand_augment", "trivial_augment")


@pytest.mark.parametrize("choice", CHOICES)
def test_stopped_within_an_epoch_each_choice_ends_with_the_same_bits(trained, tmp_path, monkeypatch, choice):
    group, _, name = choice.partition("=")
    needs = [word for word in NEEDS.get(choice, ()) if word != "data.batch_size=full"]  # of one step an epoch
    if choice == "data=rows":
        needs += ["data.batch_size=1"]  # of three
    if name in (*IMAGES, "torchvision"):
        needs = ["data=digits", *needs, "trainer.overfit_batches=2", "trainer.epochs=2"]
    if group != "model" and "model=perceptron" not in needs:
        needs += ["model.widths=[8]"]
    if group == "optimizer":
        needs += ["diagnose=true"]  # whose twin takes the same state over at each report
    if group == "data":
        make_files(tmp_path)
        monkeypatch.syspath_prepend(tmp_path)
    made = composed(choice, *needs)
    assert outcome(trained(made, stop=1.5)) == outcome(trained(made))
    sys.modules.pop("rows_for_choices", None)


@pytest.mark.parametrize("monitor", ["train/loss", "val/loss", "val/accuracy"])
@pytest.mark.parametrize("every", [("2", "1"), ("1", "2"), ("2", "2"), ("0.5", "1.5")])
def test_any_monitor_chooses_among_equals_however_rarely_it_is_asked(trained, monitor, every):
    words = [f"trainer.monitor={monitor}", f"trainer.eval_every={every[0]}", f"trainer.report_every={every[1]}"]
    still = ["optimizer=sgd", "optimizer.lr=1e-30", "scheduler=constant", "data.batch_size=full", "trainer.epochs=4"]
    folder = trained(composed(*still, *words, "regularisation=[early_stopping]"))
    run = reading.read(folder)
    assert (run.status, run.numbers["best/step"]) == (
        "done",
        min(int(line["step"]) for line in chosen(folder, monitor)),
    )
    (folder / "summary.json").unlink()
    assert reading.read(folder).numbers["best/step"] == run.numbers["best/step"]


def chosen(folder, monitor):
    """The reports with the best value of a monitor; among equals those with the lowest validation loss."""
    lines = [line for line in reading.read_log(folder) if monitor in line]
    sign = -1 if monitor == "val/accuracy" else 1
    best = min((sign * line[monitor], line.get("val/loss", math.inf)) for line in lines)
    return [line for line in lines if (sign * line[monitor], line.get("val/loss", math.inf)) == best]


OPTIMIZERS = [
    name
    for name, found in vars(torch.optim).items()
    if isinstance(found, type) and issubclass(found, Optimizer) and name not in ("Optimizer", "SparseAdam")
]
SCHEDULERS = {
    "ConstantLR": {"total_iters": 3},
    "CosineAnnealingLR": {"T_max": 5},
    "CosineAnnealingWarmRestarts": {"T_0": 3},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 3},
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {"total_iters": 6},
    "MultiStepLR": {"milestones": [2, 5]},
    "OneCycleLR": {"max_lr": 0.01, "total_steps": 8},
    "PolynomialLR": {"total_iters": 6},
    "ReduceLROnPlateau": {"patience": 1},
    "StepLR": {"step_size": 2},
}


@pytest.mark.parametrize("name", [*OPTIMIZERS, *SCHEDULERS])
def test_any_optimizer_and_scheduler_of_torch_goes_on_from_a_checkpoint(tmp_path, name):
    x, y = torch.randn(8, 4), torch.arange(8) % 3
    batch = (x, y, torch.arange(8))

    def trainer():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3, bias=name != "Muon"))  # torch's own takes matrices alone
        made = getattr(torch.optim, name) if name in OPTIMIZERS else torch.optim.SGD
        optimizer = made(model.parameters(), **({"momentum": 0.9} if name in SCHEDULERS else {}), lr=0.01)
        schedule = None
        if name in SCHEDULERS:
            interval = "epoch" if name == "ReduceLROnPlateau" else "step"
            scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **SCHEDULERS[name])
            schedule = TorchSchedule(scheduler, interval=interval)
        return Trainer(model, nn.CrossEntropyLoss(), optimizer, schedule=schedule)

    def steps(trainer, count):
        for _ in range(count):
            trainer.step([batch])
            if trainer.schedule:
                trainer.schedule.end_epoch({"val/loss": 1.0})

    whole, first, second = trainer(), trainer(), trainer()
    steps(whole, 7)
    steps(first, 4)
    saved = checkpoint.save(tmp_path, step=4, model=first.model.state_dict(), state=first.state_dict())
    weights, state = checkpoint.load(saved)
    second.model.load_state_dict(weights)
    second.load_state_dict(state)
    steps(second, 3)
    pairs = zip(whole.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert plain(second.state_dict()) == plain(whole.state_dict())
