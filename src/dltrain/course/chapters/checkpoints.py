"""Checkpoints: the weights of a run that was stopped and went on, beside those of one that was not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dltrain.config import build
from dltrain.course import lab, looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import resumed
from dltrain.engine.process import left_as_it_was
from dltrain.runs import checkpoint
from dltrain.training import replay

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun


def study(done: Sequence[Done]) -> Seen:
    whole, stopped, resumed_run = map(looks.run, done)
    ours, theirs = ([*looks.last_weights(run).values()] for run in (whole, resumed_run))
    apart = lab.difference(ours, theirs)
    held = sum(file.stat().st_size for file in checkpoint.find(whole.folder / "checkpoints")[-1].rglob("*"))
    sizes = held / sum(4 * weight.numel() for weight in ours)
    at = float(str(stopped.config["trainer.epochs"]))  # of its folder by now the other one's
    weights, forgetful = _from_weights_alone(whole, at)
    without = lab.difference(ours, weights)
    curves = {"not stopped": _curve(whole), "stopped and resumed": _curve(resumed_run), "from W alone": forgetful}
    caption = (
        f"The validation loss; the vertical line is where a run was stopped, after {at:g} epochs. The dashed curve "
        "lies on the other: what a checkpoint holds is all that the next step depends on. The third run went on from W "
        "alone: Adam's means m and s began again at zero. It comes as far, but by another way, as is seen below."
    )
    how_far = "by no bit" if apart.difference == 0 else f"by at most {apart.difference:.2g}"
    return Seen(
        [
            Number("largest difference of the last weights", apart.difference, 0.0, 0.0, ".2g"),
            Number("the same where it goes on from W alone", without.difference, 0.001, 1.0, ".2g"),
            Number("numbers compared", apart.count, 9_610, 9_610, ",.0f"),
            Number("size of a checkpoint, as a multiple of its weights", sizes, 3.0, 4.0, ".2f"),
        ],
        3 if apart.difference == 0 else 2 if apart.difference < 1e-4 else 1,
        f"The last weights differ {how_far}; from W alone by up to {without.difference:.2g}. With Adam's two means the "
        f"checkpoint has {sizes:.1f} times the size of the weights, three of them W, m and s.",
        [
            looks.picture(
                "curves.png", "Two runs, one curve, and one that forgot", caption, resumed.curves(curves, at=at)
            )
        ],
    )


def _curve(run: TrainedRun) -> list[tuple[float, float]]:
    return run.history.select("epoch", "val/loss").drop_nulls().rows()


def _from_weights_alone(run: TrainedRun, at: float) -> tuple[list[Tensor], list[tuple[float, float]]]:
    """Goes on from the weights that a run had after `at` epochs, with an optimizer that knows nothing of them: the last
    weights, and the validation loss by epoch.
    """
    plan = looks.plan(run)
    begin = min(round(at * plan.steps_per_epoch), plan.total_steps - 1)
    way = replay.replay(plan, steps=begin, wanted=[begin], seconds=60)
    assert way is not None  # it was short
    with left_as_it_was():
        trainer, (loader, parts) = build.make_trainer(plan), build.make_loaders(plan)
        judge = build.make_evaluate(plan)
        trainer.model.load_state_dict(way.weights[-1])
        trainer.steps = begin
        go_on = trainer.fit(loader, steps=plan.total_steps, validate=lambda model: judge(model, parts["val"]))
        losses = [(record.epoch, record.metrics["val/loss"]) for record in go_on if "val/loss" in record.metrics]
    return [tensor.cpu() for tensor in trainer.model.state_dict().values()], losses
