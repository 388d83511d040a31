"""What a run keeps: its best epoch, and all that a checkpoint must hold of any optimizer and scheduler."""

import math

import pytest
import torch
from outcomes import plain
from torch import nn
from torch.optim import Optimizer

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.engine.trainer import Trainer
from dltrain.parts.schedules import TorchSchedule
from dltrain.runs import checkpoint, reading, run_folder
from dltrain.training import experiment

SMALL = (
    *("data=iris", "data.batch_size=8", "trainer.limit_train_batches=4", "trainer.epochs=3", "trainer.threads=1"),
    *("trainer.tensorboard=false", "trainer.save_every=1000"),
)


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Trains in a new folder."""
    monkeypatch.chdir(tmp_path)

    def train(composed):
        plan = make_plan(composed)
        folder = run_folder.create(plan.runs_dir, plan.name)
        experiment.prepare(plan, folder, ["dltrain"])
        experiment.train(plan, folder)
        return folder

    return train


def composed(*words):
    made = compose.compose([*SMALL, *words])
    assert made.mistakes == ()
    return made


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
