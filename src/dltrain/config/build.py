"""Objects from a plan: one function for each. `experiment.py` trains with them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn
from torch.optim import Optimizer

from dltrain.config import construct
from dltrain.data import Data, Split, Tensors, take
from dltrain.data.loaders import Batches, Loader, make_loader, order
from dltrain.engine import evaluation, products, sync_batchnorm
from dltrain.engine.judges import Measure
from dltrain.engine.trainer import Trainer
from dltrain.parts import codes, metrics, pretrained, regularisers
from dltrain.parts.modules import Row
from dltrain.parts.schedules import PureSchedule, TorchSchedule

if TYPE_CHECKING:
    from dltrain.config.plan import Plan
    from dltrain.config.settings import BatchSize, Regularisation

_JUDGED = 10_000  # rows of the train part: their accuracy has a standard error of at most 0.5 %
_EVAL_VALUES = 1 << 21  # input numbers per evaluation batch: 8 MiB; of more the first layer fills fresh pages


def make_model(plan: Plan) -> nn.Module:
    """The model with its initial weights, on the plan's device."""
    with pretrained.weights(plan.pretrained):
        model = construct.make_model(plan.parts["model"], plan.sizes).to(plan.device)
    if plan.settings.compile:
        model.compile()  # in place, so that names in the state_dict stay
    return model


def make_optimizer(plan: Plan, model: nn.Module) -> Optimizer:
    """The optimizer; weight decay acts on weights, not on biases and norms."""
    return construct.make_optimizer(plan.parts["optimizer"], model, plan.device)


def make_stopping(
    regular: Regularisation, monitor: str, mode: Literal["min", "max"]
) -> regularisers.EarlyStopping | None:
    """Early stopping on `monitor`, unless the configuration names another metric."""
    knobs = dict(regular.early_stopping or {})
    if not knobs:
        return None
    name = knobs.pop("monitor", "auto")
    if name not in ("auto", monitor):
        monitor, mode = name, metrics.mode(name.split("/")[-1])
    return regularisers.EarlyStopping(monitor, mode, **knobs)


def make_schedule(plan: Plan, optimizer: Optimizer, *, total_steps: int | None = None) -> PureSchedule | TorchSchedule:
    """The schedule of a plan, as it is or would be in a run of so many steps, which sets the rates of an optimizer."""
    return construct.make_schedule(
        plan.parts["scheduler"],
        optimizer,
        total_steps=total_steps or plan.schedule_steps,
        steps_per_epoch=plan.steps_per_epoch,
        monitor=plan.monitor,
    )


def make_trainer(plan: Plan) -> Trainer:
    """Model, optimizer, schedule and the seams of the step, composed."""
    regular, settings = plan.regularisation, plan.settings
    model = make_model(plan)
    if settings.sync_batchnorm and plan.ranks is not None:
        sync_batchnorm.convert(model, plan.ranks)
    optimizer = make_optimizer(plan, model)
    penalised = regular.l1 or regular.l2
    trainer = Trainer(
        model,
        plan.loss.to(plan.device),
        optimizer,
        schedule=make_schedule(plan, optimizer),
        device=plan.device,
        precision=settings.precision,
        step="auto" if settings.step == "auto" else plan.step,  # which is what a look at the plan found
        accumulate=settings.accumulate,
        clip_norm=regular.clip_norm,
        clip_value=regular.clip_value,
        transform=construct.make_transform(
            regular, plan.data, seed=plan.seed, outputs=plan.out_features, device=plan.device
        ),
        penalty=regularisers.Penalty(model, l1=regular.l1, l2=regular.l2) if penalised else None,
        constraint=regularisers.MaxNorm(model, regular.max_norm) if regular.max_norm else None,
        ema=regularisers.EMA(model, regular.ema) if regular.ema else None,
        ranks=plan.ranks,
    )
    trainer.rate_key = plan.rate_key
    if "scaling" in plan.parts["data"].names:
        scaled = plan.parts["data"].arguments.get("scaling") in ("standard", "quantile")
        trainer.scale_key = None if scaled else "data.scaling=standard"
    return trainer


def make_loaders(plan: Plan) -> tuple[Loader, dict[str, Loader]]:
    """The training loader, and one for each split in order and in large batches, for evaluation."""
    common = {"device": plan.device, "workers": plan.workers, "seed": plan.seed}
    train = make_loader(
        plan.data.train,
        batch_size=plan.batch_size,
        shuffle=True,
        transform=construct.make_sample_transform(plan.regularisation, plan.data),
        **common,
    )
    splits = {"train": judged_train(plan.data, plan.seed), "val": plan.data.val, "test": plan.data.test}
    values = max(plan.data.in_features, plan.out_features, *_expanded(plan.rows))
    made: dict[int, Loader] = {}  # splits that are the same object share one copy on the device
    for split in splits.values():
        size = evaluation_size(split, batch_size=plan.given_size, values=values)
        if id(split) not in made:
            own = split if plan.ranks is None else take(split, plan.ranks.shard(torch.arange(len(split))))
            made[id(split)] = make_loader(own, batch_size=size, **common)
    return train, {name: made[id(split)] for name, split in splits.items()}


def _expanded(rows: list[Row]) -> list[int]:
    """How many zeros and ones a net makes of the codes of a row."""
    return [row.output_shape[0] for row in rows if row.type == codes.Expand.__name__ and row.output_shape]


def judged_train(data: Data, seed: int) -> Split:
    """What of the train part the best weights are judged on: all of it, or of a large one rows that the seed draws.

    A pass over all rows would take a third of an epoch, and of images that are decoded on the way a whole one.
    """
    if len(data.train) <= _JUDGED or data.train is data.val:
        return data.train
    return take(data.train, order(len(data.train), seed=seed, epoch=-1)[:_JUDGED])


def evaluation_size(split: Split, *, batch_size: BatchSize, values: int) -> int:
    """Samples of a batch where nothing is learned: large ones from memory; a stream's batches stay as they are.

    values: numbers of a sample, of its input or its output, whichever are more.
    """
    least = None if batch_size == "auto" else batch_size
    if isinstance(split, Tensors):
        return max(least or 1, min(8192, _EVAL_VALUES // values))
    return least or 256


def make_evaluate(plan: Plan, metrics: evaluation.More = ()) -> Callable[[nn.Module, Batches], dict[str, float]]:
    """A function (model, loader) -> metrics: the usual ones, and more."""

    def evaluate(model: nn.Module, loader: Batches) -> dict[str, float]:
        return evaluation.evaluate(
            model,
            loader,
            plan.loss,
            task=plan.data.task,
            units=plan.data.units,
            metrics=metrics,
            ranks=plan.ranks,
        )

    return evaluate


def make_measure(plan: Plan) -> Measure:
    """What judges the answers to training batches: by the metric that chooses the best epoch, or the task's usual one
    where that is a loss.
    """
    chosen, task = plan.monitor.removeprefix("val/"), plan.data.task
    losses = ("loss", *metrics.OF_PROBABILITIES)
    name = chosen if chosen in metrics.METRICS[task] and chosen not in losses else metrics.default_monitor(task)
    return partial(evaluation.of_training, name=name, task=task, loss=plan.loss, units=plan.data.units)


_ALL_THREADS = torch.get_num_threads()
SMALL = 30_000_000  # multiply-adds of a forward pass under which a second thread costs more than it brings


def threads(plan: Plan) -> int:
    """CPU threads of torch: as configured; else one for a small dense net, all for anything larger.

    Threads that wait for each other at every small product lose twice where other work shares the machine: 6,000
    steps of the default run took 3 s with one thread and over 60 s with two, beside another busy process.
    """
    if plan.settings.threads is not None:
        return plan.settings.threads
    lookups = (codes.Embeddings.__name__, nn.Embedding.__name__)  # rows of a table, which nobody multiplies
    layers = [row for row in plan.rows[:-1] if row.parameters and row.type not in lookups]
    dense = bool(layers) and all(len(row.output_shape or (0, 0)) == 1 for row in layers)
    work = (plan.batch_size or len(plan.data.train)) * sum(row.parameters for row in layers)
    return 1 if dense and work < SMALL else _ALL_THREADS


def has_large_products(plan: Plan) -> bool:
    """Whether a net that the direct step knows has layers whose products may be oneDNN's, of rows enough."""
    linears = [(row.parameters, (row.output_shape or (0,))[-1]) for row in plan.rows[:-1] if row.type == "Linear"]
    large = any(  # with a bias, weights / outputs is one more than the inputs
        weights > products.LARGE and outputs >= products.NARROW and weights // outputs > products.NARROW
        for weights, outputs in linears
    )
    return large and plan.device.type == "cpu" and plan.settings.precision == "fp32"


def set_threads_and_determinism(plan: Plan) -> None:
    """The process-wide switches of torch that a run sets."""
    torch.set_num_threads(threads(plan))
    construct.set_arithmetic(plan.settings)
    construct.set_deterministic(plan.settings.deterministic)
