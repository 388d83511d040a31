"""What chapters look at in runs: the jobs of a sweep, a plan, the data, the weights on the way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan, make_plan
from dltrain.engine.process import left_as_it_was
from dltrain.engine.trainer import seed_everything
from dltrain.errors import DivergedError
from dltrain.errors.output import cut
from dltrain.insight import captions
from dltrain.insight.gallery import picture as picture
from dltrain.insight.plots import regions
from dltrain.runs import checkpoint, reading
from dltrain.trained.whole_run import TrainedRun, load
from dltrain.training import replay, resuming

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def run(done: Done) -> TrainedRun:
    """A command's run, where it trained one."""
    assert isinstance(done, TrainedRun)
    return done


def table(done: Done) -> pl.DataFrame:
    """A command's sweep, a row for each job, in the order of the jobs."""
    assert isinstance(done, pl.DataFrame)
    return done.sort("job")


def runs(done: Done) -> list[TrainedRun]:
    """Those of a sweep, in the order of its jobs. Raises DivergedError where one broke down: it has no weights."""
    jobs = table(done)
    if len(broken := jobs.filter(pl.col("status").is_in(["diverged", "failed"]))):
        raise DivergedError(
            f"{len(broken)} of {len(jobs)} runs broke down, so that the chapter can't show them side by side: "
            f"{cut(broken['reason'][0] or '', 300)}; `dltrain doctor {broken['folder'][0]}` looks into it"
        )
    return [load(folder) for folder in jobs["folder"]]


def numbers(done: Done, column: str) -> list[float]:
    """Those of each job of a sweep; inf where it has none, as one that diverged."""
    return [math.inf if number is None or math.isnan(number) else number for number in table(done)[column]]


def typed(done: Done, key: str) -> list[str]:
    """What was typed for a key in each job of a sweep: momentum, not SGD."""
    return [reading.read(Path(folder)).typed[key] for folder in table(done)["folder"]]


def rows(run: TrainedRun, split: str = "train") -> tuple[Tensor, Tensor]:
    """x [N, ...] and y [N, ...] of a part of a run's data, as the net gets them."""
    batches = [*build.make_loaders(plan(run))[1][split].epoch()]
    return torch.cat([batch.x for batch in batches]), torch.cat([batch.y for batch in batches])


def scene(run: TrainedRun) -> regions.Scene:
    """The train data of a classifier of two inputs, for pictures of what it answers everywhere."""
    data, (x, y) = plan(run).data, rows(run)
    names = tuple(captions.inputs(data.preprocessing, data.in_features))
    return regions.Scene(x, y, data.task, names, ((0.0, 1.0),) * len(names), classes=data.classes)


def plan(run: TrainedRun) -> Plan:
    """What a run trained, with its data."""
    return make_plan(resuming.stored(run.folder), run.allow, writes=False)


def last_weights(run: TrainedRun) -> dict[str, Tensor]:
    """The weights that a run ended with, which need not be its best, in the order of its layers."""
    kept = checkpoint.latest(run.folder / "checkpoints")
    assert kept is not None  # a run that has ended has saved
    return {name: kept[1][name] for name in run.model.state_dict()}


def way(run: TrainedRun, *, moments: int | None) -> replay.Way:
    """The weights that a run had on its way, at so many moments, close together at first, or (None) after each step: it
    is trained again in memory.
    """
    steps = int(run.metrics["last/step"])
    wanted = range(steps + 1) if moments is None else replay.moments(steps, moments)
    found = replay.replay(plan(run), steps=steps, wanted=wanted, seconds=60)
    assert found is not None  # the course's runs take seconds
    return found


def start(run: TrainedRun) -> dict[str, Tensor]:
    """The weights that a run began with."""
    made = plan(run)
    with left_as_it_was():
        seed_everything(made.seed)
        return checkpoint.copy_to_cpu(build.make_trainer(made).model.state_dict())


@torch.no_grad()
def given(net: nn.Module, layer: nn.Module, x: Tensor) -> Tensor:
    """What a layer of a net gets [N, D] for x."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])

    hook = layer.register_forward_pre_hook(keep)
    net(x)
    hook.remove()
    return found[0]
