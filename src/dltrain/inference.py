"""A trained model back from its run folder, with all that is needed to use it.

The preprocessing is the one that the run fitted, the weights are its best, and nothing in the folder can run code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dltrain import checkpoint, losses, models, resuming, runs
from dltrain.data.stored import Facts, facts
from dltrain.errors import CheckpointError, ConfigError
from dltrain.plan import Outline, outline, sizes
from dltrain.settings import pick_device
from dltrain.state import check
from dltrain.targets import Part

FREE = ("data.*", "trainer.device", "trainer.threads")
_WHY = "the weights are what they are, and only the data may be others"


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model in eval mode, and what its run knows."""

    folder: Path
    checkpoint: Path
    outline: Outline
    facts: Facts
    model: nn.Module
    loss: nn.Module
    device: torch.device


def open_run(folder: Path, *, overrides: Sequence[str] = (), allow: Sequence[str] = (), data: bool = False) -> Trained:
    """The best weights of a run, else its last, in the model that its configuration describes.

    `data=True` also resolves where its data come from. Raises ConfigError, DataError or CheckpointError in the words
    of what is missing or wrong.
    """
    known = _facts(folder)
    slots = ("model", "loss", "data") if data else ("model", "loss")
    composed = resuming.stored(folder, overrides, free=FREE, why=_WHY)
    found = outline(composed, allow, slots=slots)
    part = found.parts["loss"]
    try:
        loss = _loss(part, known)
        outputs = losses.outputs(part.function, known.task, len(known.names))
    except Exception as error:
        raise ConfigError(f"loss: {error}") from error
    path, weights = _weights(folder)
    device = pick_device(found.settings.device)
    model = _network(found.parts["model"], sizes(known, outputs), weights, path).to(device)
    _set_threads(folder, found)
    if found.settings.compile:
        model.compile()
    return Trained(folder, path, found, known, model, loss.to(device).eval(), device)


def _facts(folder: Path) -> Facts:
    file = folder / "data.json"
    if not file.is_file():
        raise ConfigError(f"{folder} is no whole run: it has no data.json, because it ended before its first step")
    return facts(runs.read_json(file), str(file))


def _loss(part: Part, known: Facts) -> nn.Module:
    """The loss without what weighs classes, which needs the train rows and acts on them alone."""
    own = part.function.__module__ == losses.__name__
    weighing = ("class_weights", "pos_weight") if own else ()
    return Part(part.function, {k: v for k, v in part.arguments.items() if k not in weighing})(task=known.task)


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    best = checkpoint.find(folder / "checkpoints", "best")
    if best:
        return best[-1], checkpoint.load(best[-1])[0]
    found = checkpoint.latest(folder / "checkpoints")
    if found is None:
        raise CheckpointError(f"{folder} has no checkpoint yet; go on with it: dltrain resume {folder}")
    return found[:2]


def _network(part: Part, known: dict[str, Any], weights: dict[str, Tensor], where: Path) -> nn.Module:
    """The model with these weights, in eval mode; raises CheckpointError unless they are built as its own are."""
    pretrained = part.function is models.torchvision and part.arguments.get("weights")
    with torch.random.fork_rng(devices=[]), torch.device("meta" if pretrained else "cpu"):  # meta downloads nothing
        try:
            model = part(**known)
        except Exception as error:
            raise ConfigError(f"model: {type(error).__name__}: {error}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: {part.function.__name__} made a {type(model).__name__}, not an nn.Module")
    try:
        check(weights, model.state_dict(), "model")
    except CheckpointError as error:
        raise CheckpointError(f"{where} does not fit this configuration: {error}") from error
    model.load_state_dict(weights, assign=bool(pretrained))
    return model.eval().requires_grad_(False)


def _set_threads(folder: Path, found: Outline) -> None:
    """As many as the run had: sums over other numbers of threads differ in their last bits."""
    file = folder / "environment.json"
    recorded = runs.read_json(file) if file.is_file() else {}
    threads = recorded.get("threads") if isinstance(recorded, dict) else None
    threads = found.settings.threads or threads
    if type(threads) is int and 0 < threads <= 1024:
        torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(found.settings.deterministic)
