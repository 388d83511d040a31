"""What to tell of a configuration without mistakes: functions from facts to sentences on settings without effect."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import torch
from torch import nn

from dltrain.config import construct
from dltrain.config.compose import Composed
from dltrain.config.policy import Part
from dltrain.config.settings import Regularisation, Settings
from dltrain.data import Data, Tensors
from dltrain.engine import sync_batchnorm
from dltrain.engine.ranks import Ranks
from dltrain.errors import key_of
from dltrain.parts.losses import Perceptron

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)


def own_peak(optimizer_part: Part, scheduler_part: Part) -> Iterator[str]:
    peak, lr = scheduler_part.arguments.get("max_lr"), optimizer_part.arguments.get("lr")
    if peak is not None and lr is not None and peak != lr:
        yield f"optimizer.lr={lr} is not used: the scheduler rises to scheduler.max_lr={peak}"


def typed_in_vain(overrides: tuple[str, ...], settings: Settings) -> Iterator[str]:
    typed: dict[str, str] = {}
    for override in overrides:
        key = key_of(override)
        if key in typed:
            yield f"{typed[key]} is not used: {override} stands after it"
        typed[key] = override
    if settings.max_steps and "trainer.epochs" in typed:
        yield "trainer.epochs is not used: trainer.max_steps decides"


def no_hidden_layer(model_part: Part) -> Iterator[str]:
    if model_part.arguments.get("dropout") and model_part.arguments.get("widths") == []:
        yield "model.dropout is not used: there is no hidden layer"


def lbfgs(optimizer_part: Part, batch_size: int | None, regularisation: Regularisation) -> Iterator[str]:
    if optimizer_part.function is not torch.optim.LBFGS:
        return
    if batch_size is not None:
        yield "lbfgs is made for full batches: data.batch_size=full scheduler=constant"
    for knob in ("clip_norm", "clip_value"):
        if getattr(regularisation, knob) is not None:
            yield f"lbfgs takes the clipped gradient for the slope of the loss: regularisation.{knob}=null"


def without_mistakes(settings: Settings, loss: nn.Module, optimizer_part: Part) -> Iterator[str]:
    counts = isinstance(loss, Perceptron) and optimizer_part.function is not torch.optim.LBFGS
    if settings.stop_without_mistakes and not counts:
        yield "trainer.stop_without_mistakes is not used: only loss=perceptron counts mistakes, and not under lbfgs"


def batches(
    settings: Settings, regularisation: Regularisation, data: Data, batch_size: int | None, workers: int | None
) -> Iterator[str]:
    if settings.overfit_batches:
        yield f"overfit_batches: train, validation and test are the same {len(data.train)} samples"
    if settings.accumulate > 1 and batch_size is None:
        yield "trainer.accumulate is not used: a full batch is one step"
    held = isinstance(data.train, Tensors) and not construct.make_sample_transform(regularisation, data)
    if workers and held:
        yield "data.workers is not used: this data lives in memory, on the device"


def shared(
    data: Data,
    batch_size: int | None,
    model: nn.Module,
    settings: Settings,
    regularisation: Regularisation,
    ranks: Ranks | None = None,
) -> Iterator[str]:
    normalises = sync_batchnorm.is_for(model)
    if settings.sync_batchnorm and (ranks is None or not normalises):
        why = "one process has all rows" if ranks is None else "the net has no BatchNorm"
        yield f"trainer.sync_batchnorm is not used: {why}"
    if ranks is None:
        return
    rows = min(batch_size or len(data.train), len(data.train))
    each = f"{ceil(rows / ranks.world_size):,} of {rows:,} rows each"
    yield f"{ranks.world_size} processes share each batch: {'at most ' * (rows % ranks.world_size > 0)}{each}"
    if normalises and not settings.sync_batchnorm:
        yield (
            "BatchNorm normalises by the rows of each process alone, and what is judged and kept is of process 0; "
            "trainer.sync_batchnorm=true: by those of all"
        )
    drops = any(isinstance(module, _DROPOUTS) and module.p > 0 for module in model.modules())
    if drawn := [*["dropout"] * drops, *["input_noise"] * (regularisation.input_noise > 0)]:
        yield f"{' and '.join(drawn)}: each process draws for its own rows, and not what one process would"
    if regularisation.mixup or regularisation.cutmix:
        yield "mixup and cutmix take partners from the rows of each process alone"


def beside_the_choice(composed: Composed) -> list[str]:
    return [*composed.switched_beside(), *composed.set_by_the_schedule()]
