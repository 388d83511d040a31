"""A trained model back from its run folder, with all that is needed to use it.

The preprocessing is the one that the run fitted, the weights are its best, and nothing in the folder can run code.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from dltrain.config import construct, trials
from dltrain.config.build import evaluation_size
from dltrain.config.construct import Sizes, sizes
from dltrain.config.mistakes import reason
from dltrain.config.plan import Outline, outline
from dltrain.config.policy import Part
from dltrain.config.settings import pick_device
from dltrain.data import Data, Split, Tensors, as_tensor
from dltrain.data.likeness import check_pixels, unlike, unlike_pixels
from dltrain.data.loaders import make_loader
from dltrain.data.preprocessing import Facts, facts, normalise
from dltrain.data.tables.cells import code_columns
from dltrain.data.tables.encoding import encode
from dltrain.data.tables.frames import frame_of
from dltrain.engine import evaluation, products
from dltrain.engine.state import check
from dltrain.engine.steps import direct
from dltrain.errors import CheckpointError, ConfigError, DataError
from dltrain.errors.output import cut
from dltrain.parts import codes, losses, pretrained
from dltrain.parts.modules import evaluating
from dltrain.runs import checkpoint, key_roles, layout, reading, run_folder
from dltrain.runs.key_roles import Role
from dltrain.trained import blocks
from dltrain.training import resuming

if TYPE_CHECKING:
    import polars as pl

    from dltrain.data.tables.table import Place

_FREE = ("data.*", *key_roles.keys(Role.MACHINE))
_WHY = "the weights are what they are, and only the data may be others"


_LOOKED_AT = 1000  # rows, at least, that are held against the train rows


@dataclass(frozen=True, eq=False)
class Trained:
    """A trained model in eval mode, and what its run knows: classes, and the preprocessing that it fitted."""

    folder: Path
    checkpoint: Path
    outline: Outline
    facts: Facts
    model: nn.Module
    loss: nn.Module
    device: torch.device

    def __repr__(self) -> str:
        what = f"{self.facts.task}: {', '.join(map(cut, self.facts.names[:8]))}{', ...' * (len(self.facts.names) > 8)}"
        return f"<{type(self.model).__name__} of {self.checkpoint}, {what}>"

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes or labels; none for a regression."""
        return self.facts.classes

    @property
    def outputs(self) -> int:
        """How many outputs the model has."""
        return losses.outputs(self.loss, self.facts.task, len(self.facts.names))

    @property
    def widest(self) -> int:
        """Numbers of a row where the model begins, with zeros and ones in the place of codes if it makes such."""
        return codes.widest(self.model, self.facts.in_features)

    def rebuild(self, weights: dict[str, Tensor]) -> nn.Module:
        """The model once more, with these weights, on the CPU."""
        return _network(self.outline.parts["model"], sizes(self.facts, self.outputs), weights, self.checkpoint)

    def predict(self, rows: object, *, allow_unknown: bool = False) -> pl.DataFrame:
        """What the model says of new rows, as `dltrain predict` writes it: one row for each.

        A run on a table takes a data frame, a dict of columns, a list of dicts or of rows, or an array [N, columns]
        (see `frame_of`). A run on images takes pixels [N, C, H, W], or [N, H, W]: uint8 from 0 to 255, else in the
        units of its data set. A run on a Dataset takes inputs [N, ...] as that Dataset gives them. Raises DataError
        for rows that do not fit, and unless `allow_unknown` for a category that the train rows did not have and for an
        infinite number; warns of rows that lie far from the train rows, or have been scaled already.
        """
        _check_raw(rows)
        if self.facts.kind == "table":
            rows = frame_of(rows, self.facts.columns_of(rows))
        x = self.inputs(rows, allow_unknown=allow_unknown)
        if remark := self.remark(rows):
            warnings.warn(remark, stacklevel=2)
        return self.answers(self.logits(x))

    def evaluate(self, part: Split | tuple[object, object]) -> dict[str, float]:
        """The metrics of the run's summary on rows that are prepared: a part of data such as `dltrain.data` makes, any
        Dataset of (x, y), or a pair of arrays, in the model's units.
        """
        if hasattr(part, "columns"):
            raise DataError("a frame holds rows as in the file, which `predict` takes: evaluate takes prepared ones")
        if isinstance(part, (tuple, list)) and len(part) == 2:
            part = Tensors(as_tensor(part[0]), as_tensor(part[1]))
        if not hasattr(part, "__getitem__") or len(part) == 0:
            raise DataError(f"{type(part).__name__} has no rows to judge; give a part, such as data.test")
        if (shape := tuple(part[0][0].shape)) != self.facts.in_shape:
            raise DataError(f"the part's rows have the shape {list(shape)}: the run takes {list(self.facts.in_shape)}")
        if isinstance(part, Tensors) and (wrong := codes.mistake(part.x, code_columns(self.facts.preprocessing))):
            raise DataError(f"the part's {wrong}")
        values = max(self.widest, self.outputs)
        size = evaluation_size(part, batch_size=self.outline.given_size, values=values)
        return evaluation.evaluate(
            self.model,
            make_loader(part, batch_size=size, device=self.device),
            self.loss,
            task=self.facts.task,
            units=self.facts.units,
            metrics="all",
        )

    def inputs(self, rows: object, *, place: Place | None = None, allow_unknown: bool = False) -> Tensor:
        """New rows as the float32 [N, ...] that training would have made of them."""
        facts = self.facts
        _check_raw(rows)
        if facts.kind == "table":
            frame = frame_of(rows, facts.columns_of(rows))
            return encode(frame, facts.preprocessing, place=place, strict=not allow_unknown)
        try:
            x = torch.as_tensor(rows).detach()
        except (TypeError, ValueError, RuntimeError) as error:
            raise DataError(f"rows as {type(rows).__name__} make no tensor: {error}") from error
        if facts.kind == "images" and x.shape[1:] == facts.in_shape[1:] and facts.in_shape[0] == 1:
            x = x.unsqueeze(1)
        if x.shape[1:] != facts.in_shape:
            raise DataError(f"rows of shape {list(x.shape)}: the run takes {['N', *facts.in_shape]}".replace("'", ""))
        if facts.kind == "dataset":
            return x.to(torch.float32)
        check_pixels(x, facts.preprocessing)
        return normalise(x, facts.preprocessing)

    def remark(self, rows: object) -> str | None:
        """A sentence where rows or pixels lie far from those that the run was fitted on, or were scaled before."""
        if self.facts.kind == "dataset":
            return None
        if self.facts.kind == "images":
            pixels = torch.as_tensor(rows).detach()
            return unlike_pixels(pixels[:: max(1, len(pixels) // _LOOKED_AT)], self.facts.preprocessing)
        frame = frame_of(rows, self.facts.columns_of(rows))
        return unlike(frame.gather_every(max(1, len(frame) // _LOOKED_AT)), self.facts.preprocessing)

    def logits(self, x: Tensor) -> Tensor:
        """The outputs float32 [N, K] for inputs of `inputs`; those for a row are the same alone and among others."""
        if not len(x):
            return torch.empty(0, self.outputs)
        size = blocks.rows_of(self.widest, self.device)
        products_ = direct.applied(self.model, products.used())
        with evaluating(self.model), torch.inference_mode(), blocks.aligned(self.model), products_:
            return blocks.apply(lambda block: self.model(block.to(self.device)).float().cpu(), x, size)

    def probabilities(self, logits: Tensor) -> Tensor | None:
        """`losses.probabilities` of outputs [N, K], those of a row the same alone and among others."""
        chances = losses.probabilities(self.loss, logits[:1], self.facts.task)
        if chances is None or not len(logits):
            return chances

        def of(block: Tensor) -> Tensor:
            chances = losses.probabilities(self.loss, block, self.facts.task)
            assert chances is not None  # the loss and the task say so, and those of the first row are there
            return chances

        return blocks.apply(of, logits)

    def answers(self, logits: Tensor) -> pl.DataFrame:
        """Outputs in words: targets in original units; or `prediction` and `p_<class>`; or labels 0/1 and `p_<label>`.

        Where the loss makes no probabilities the outputs themselves stand as `score_<class>`.
        """
        import polars as pl

        facts = self.facts
        names = facts.names
        if facts.task == "regression":
            return values(evaluation.answers(logits, facts.units), facts)
        guess = evaluation.decide(logits, facts.task).numpy()
        chances, prefix = self.probabilities(logits), "p"
        if chances is None:
            chances, prefix = logits, "score"
        titles = names[1:] if chances.shape[1] < len(names) else names
        shares = dict(zip((f"{prefix}_{name}" for name in titles), chances.numpy().T, strict=True))
        if facts.task == "multilabel":
            return pl.DataFrame({**dict(zip(names, guess.T.astype("int8"), strict=True)), **shares})
        return pl.DataFrame({"prediction": pl.Series(names, dtype=pl.String)[guess], **shares})


def values(originals: Tensor, facts: Facts) -> pl.DataFrame:
    """Targets in original units [N, K] by their names: float64 with as many digits as float32 is sure of, or float32
    where they were learned as they stand.
    """
    import polars as pl

    told = originals.numpy()
    told = told.astype(np.float32) if facts.units is None else facts.units.rounded(told)
    return pl.DataFrame(dict(zip(facts.names, told.T, strict=True)))


def _check_raw(rows: object) -> None:
    if isinstance(rows, (Dataset, Data)):
        raise DataError(f"{type(rows).__name__} holds rows that are prepared: judge a part by evaluate(part)")


def load(run: str | Path, *, allow: Sequence[str] = ()) -> Trained:
    """The trained model of a run: its folder, its short id below ./runs, or `last`; ready to `predict`.

    `allow` names packages of yours whose code its configuration may name.
    """
    return open_run(run_folder.find(str(run)), allow=allow)


def open_run(folder: Path, *, overrides: Sequence[str] = (), allow: Sequence[str] = (), data: bool = False) -> Trained:
    """The best weights of a run, else its last, in the model that its configuration describes.

    `data=True` also resolves where its data come from. Raises ConfigError, DataError or CheckpointError in the words
    of what is missing or wrong.
    """
    layout.check(folder)
    known = _facts(folder)
    slots = ("model", "loss", "data") if data else ("model", "loss")
    composed = resuming.stored(folder, overrides, free=_FREE, why=_WHY)
    found = outline(composed, allow, slots=slots)
    part = found.parts["loss"]
    try:
        loss = _loss(part, known)
        outputs = losses.outputs(loss, known.task, len(known.names))
    except Exception as error:
        raise ConfigError(f"loss: {error}") from error
    known_sizes = sizes(known, outputs)
    if all(f.__module__.split(".")[0] in ("dltrain", "torch", "torchvision") for f in found.parts["model"].functions):
        checkpoint.check_fits(folder / "checkpoints", _build(found.parts["model"], known_sizes, "meta").state_dict())
    path, weights = _weights(folder)
    device = pick_device(found.settings.device)
    model = _network(found.parts["model"], known_sizes, weights, path).to(device)
    return Trained(folder, path, found, known, model, loss.to(device).eval(), device)


def _facts(folder: Path) -> Facts:
    file = folder / "data.json"
    if not file.is_file():
        raise ConfigError(f"{folder} is no whole run: it has no data.json, because it ended before its first step")
    return facts(run_folder.read_json(file), str(file))


def _loss(part: Part, known: Facts) -> nn.Module:
    """The loss without what weighs classes, which needs the train rows and acts on them alone."""
    own = part.function.__module__ == losses.__name__
    weighing = ("class_weights", "pos_weight") if own else ()
    return Part(part.function, {k: v for k, v in part.arguments.items() if k not in weighing})(task=known.task)


def _weights(folder: Path) -> tuple[Path, dict[str, Tensor]]:
    if best := checkpoint.find(folder / "checkpoints", "best"):
        try:
            return best[-1], checkpoint.load(best[-1])[0]
        except CheckpointError:
            newer = checkpoint.find(folder / "checkpoints", "best")
            if newer == best:  # else the run goes on, and has found a better one meanwhile
                raise
            return newer[-1], checkpoint.load(newer[-1])[0]
    found = checkpoint.latest(folder / "checkpoints")
    if found is None:
        if reading.read(folder).status in ("diverged", "failed"):
            raise CheckpointError(f"{folder} has no checkpoint: it ended before the first")
        raise CheckpointError(f"{folder} has no checkpoint yet; go on with it: dltrain resume {folder}")
    return found[:2]


def _network(part: Part, known: Sizes, weights: dict[str, Tensor], where: Path) -> nn.Module:
    """The model with these weights, in eval mode; raises CheckpointError unless they are built as its own are."""
    model = _build(part, known, "cpu")
    try:
        check(weights, model.state_dict(), "model")
    except CheckpointError as error:
        raise CheckpointError(f"{where} does not fit this configuration: {error}") from error
    model.load_state_dict(weights)
    return model.eval()


def _build(part: Part, known: Sizes, device: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]), trials.Bounded(), torch.device(device), pretrained.weights("skip"):
        try:
            model = construct.make_model(part, known)
        except Exception as error:
            raise ConfigError(f"model: {reason(error)}") from error
    if not isinstance(model, nn.Module):
        raise ConfigError(f"model: {part.function.__name__} made a {type(model).__name__}, not an nn.Module")
    return model


def set_threads(trained: Trained) -> None:
    """Gives torch the number of threads that the run had, and its other switches, for the whole process: sums over
    other numbers of them differ in their last bits. A notebook keeps its own.
    """
    file, settings = trained.folder / "environment.json", trained.outline.settings
    recorded = run_folder.read_json(file) if file.is_file() else None
    if settings.threads:
        torch.set_num_threads(settings.threads)
    construct.set_arithmetic(settings)
    resuming.as_begun(settings, recorded)
    construct.set_deterministic(settings.deterministic)
