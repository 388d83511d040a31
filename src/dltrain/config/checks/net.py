"""The net on the data: model, loss and augmentation, tried on a sample or two, and the step that will train them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.config import construct, trials
from dltrain.config.checks import Known
from dltrain.config.compose import Composed
from dltrain.config.construct import sizes
from dltrain.config.mistakes import Mistakes
from dltrain.config.policy import Part
from dltrain.config.settings import Regularisation, Settings
from dltrain.data import Data
from dltrain.engine import sync_batchnorm
from dltrain.engine.ranks import Ranks
from dltrain.engine.steps import compiled, cuda_graph, direct
from dltrain.errors import CheckpointError, ConfigError
from dltrain.parts import losses, pretrained, row_weights
from dltrain.parts.modules import Row
from dltrain.runs import checkpoint


def try_loss(loss_part: Part, data: Data, few: tuple[Tensor, Tensor]) -> Known:
    """The loss gives a number for two samples, and with it how many outputs it needs."""
    losses.check_task(loss_part.function, data.task)
    outputs = losses.outputs(loss_part.function, data.task, len(data.names))
    loss = loss_part(task=data.task, class_counts=trials.class_counts(data), samples=len(data.train))
    trials.loss(loss, outputs, few[1])
    if trials.weighted(data) and (why := row_weights.why_not(loss)) is not None:
        raise ValueError(why)
    if idle := [name for name, p in loss.named_parameters() if p.requires_grad]:
        raise ValueError(
            f"{type(loss).__name__} has parameters that would not be trained ({', '.join(idle[:3])}): "
            "move them into the model, or make them buffers"
        )
    return {"loss": loss, "out_features": outputs}


def try_augmentation(
    mistakes: Mistakes,
    regularisation: Regularisation,
    data: Data,
    few: tuple[Tensor, Tensor],
    loss: nn.Module,
    out_features: int,
) -> None:
    """Augmentation, mixup and cutmix suit the data, and what they make of the targets suits the loss."""
    wanted = [k for k, v in regularisation.augmentation.items() if v is not None]
    if (wanted or regularisation.cutmix) and len(data.in_shape) != 3:
        key = f"regularisation.augmentation.{wanted[0]}" if wanted else "regularisation.cutmix"
        mistakes.say(key, f"it needs images [C, H, W], and this data has inputs of shape {list(data.in_shape)}")
        return
    wanted = [k for k, v in (("mixup", regularisation.mixup), ("input_noise", regularisation.input_noise)) if v]
    if wanted and (positions := [at for at, _ in sizes(data, out_features)["codes"]]):
        many = f"{len(positions)} column{'s' * (len(positions) > 1)} of codes of categories, which are no amounts"
        mistakes.say(
            f"regularisation.{wanted[0]}",
            f"this data has {many}; data.one_hot=null makes zeros and ones of all, which it can change",
        )
        return
    if policy := construct.make_policy(regularisation, data):
        trials.change(data, policy)
    if transform := construct.make_transform(regularisation, data, seed=0, outputs=out_features):
        x, y = few
        trials.loss(loss, out_features, transform(x, y, torch.arange(len(x)), 0)[1])


def try_model(
    mistakes: Mistakes,
    composed: Composed,
    model_part: Part,
    data: Data,
    out_features: int,
    device: torch.device | None = None,
) -> Known:
    """The model is built without memory, and a sample sent through it.

    Raises ConfigError where it is not the one whose weights lie beside a stored configuration.
    """
    known = sizes(data, out_features)
    with pretrained.weights("skip" if composed.stored else "fetch"):
        model, rows, error = trials.model(model_part, known, "meta")
        sure = model_part.function.__module__.startswith("dltrain.") or isinstance(error, trials.TooMuchError)
        if error is not None and not sure and (model is None or not trials.is_large(model)):
            # Code that looks at values can't run on the meta device: only the CPU's word counts against a user's model.
            model, rows, error = trials.model(model_part, known, "cpu")
    if composed.file and model is not None:
        try:  # those that take no memory are compared in full, by the keys that changed
            checkpoint.check_fits(composed.file.parent / "checkpoints", model.state_dict(), least=trials.LARGE)
        except CheckpointError as unfit:
            raise ConfigError(str(unfit)) from unfit
    if error is not None:
        mistakes.blame("model", error, model_part.arguments if model is None else ())
        return {}
    assert model is not None  # without an error
    if device and device.type == "cpu" and (bad := trials.too_large(model)):
        mistakes.say("model", bad)
        return {}
    return {"model": model, "rows": rows}


def check_outputs(
    mistakes: Mistakes, model: nn.Module, rows: list[Row], data: Data, out_features: int, notes: list[str]
) -> None:
    made = rows[-1].output_shape
    if not any(p.requires_grad for p in model.parameters()):
        mistakes.say("model", "it has no parameters to train")
    elif made is None:
        mistakes.say("model", "it must return one tensor [B, outputs], and it returns something else")
    elif made != (out_features,):
        what = f"{data.task} data of {len(data.names)} {'classes' if data.classes else 'targets'}"
        needed = trials.batched((out_features,))
        mistakes.say("model", f"it returns {trials.batched(made)}; {what} needs {needed}")
    if any(row.type == "Sign" for row in rows):
        notes.append("activation=sign has a gradient of zero everywhere: the layers below it cannot learn")


def check_batch_size(
    mistakes: Mistakes,
    settings: Settings,
    model: nn.Module,
    data: Data,
    batch_size: int | None,
    ranks: Ranks | None = None,
) -> None:
    rows, size = min(batch_size or len(data.train), len(data.train)), 1 if ranks is None else ranks.world_size
    if rows < size and len(data.train) < size:
        few = f"{len(data.train)} row{'s' * (len(data.train) != 1)}"
        mistakes.say("data", f"{size} processes share each batch, and the train part has {few}")
    elif rows < size:
        mistakes.say("data.batch_size", f"{size} processes share each batch: give {size} rows or more")
    elif bad := trials.lonely_sample(model, data, rows, 1 if settings.sync_batchnorm else size):
        mistakes.say("data.batch_size", bad)


def check_shared(
    mistakes: Mistakes,
    settings: Settings,
    model: nn.Module,
    loss: nn.Module | None = None,
    ranks: Ranks | None = None,
) -> None:
    """What several processes can't do yet."""
    if ranks is None:
        return
    if getattr(loss, "reduction", None) == "sum":  # so torch's have it
        mistakes.say("loss.reduction", "several processes take the mean of their losses; use mean, and a larger rate")
    if settings.sync_batchnorm and (why := sync_batchnorm.why_not(model)):
        mistakes.say("trainer.sync_batchnorm", f"{why}; leave it false, or use nn.BatchNorm1d, 2d or 3d")
    if settings.step in ("compiled", "graph"):
        mistakes.say(
            "trainer.step", f"several processes can't share the {settings.step} step; use auto, direct or plain"
        )
    if settings.compile:
        mistakes.say("trainer.compile", "several processes can't share a compiled model; leave it false")


def choose_step(
    mistakes: Mistakes,
    settings: Settings,
    device: torch.device,
    data: Data,
    model: nn.Module,
    loss: nn.Module,
    optimizer: Optimizer,
    notes: list[str],
    ranks: Ranks | None = None,
) -> Known:
    """The step that was asked for; of itself the direct one, or the plain one and why it is not direct."""
    wanted, precision = settings.step, settings.precision
    compiling = "trainer.compile=true" if settings.compile else None
    syncing = settings.sync_batchnorm and ranks is not None and sync_batchnorm.is_for(model)
    why = compiling or ("trainer.sync_batchnorm=true" if syncing else None)
    why = why or direct.why_not(model, loss, optimizer, precision=precision, device=device, in_shape=data.in_shape)
    if wanted in ("graph", "compiled"):
        kind = cuda_graph if wanted == "graph" else compiled
        bad = compiling or kind.why_not(model, optimizer, precision=precision, device=device)
        bad = bad or ("rows have weights, which it does not know" if trials.weighted(data) else None)
        if bad:
            mistakes.say("trainer.step", f"{bad}; use auto")
        if bad or wanted == "graph":
            return {"step": wanted, "why_plain": None}
        if compiled.has_compiler():
            if not why:
                notes.append("this net can take the direct step, with nothing to compile: step=auto")
            return {"step": "compiled", "why_plain": None}
        notes.append("trainer.step=compiled needs a C++ compiler, and there is none (apt install g++)")
    elif wanted == "direct" and why:
        mistakes.say("trainer.step", f"{why}; use auto or plain")
    elif wanted == "plain":
        why = "trainer.step=plain"
    return {"step": "plain" if why else "direct", "why_plain": why}
