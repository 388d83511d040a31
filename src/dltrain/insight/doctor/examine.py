"""What the doctor looks at: a run's data, its net at first and at last, its curve, and two small experiments."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.data import Tensors, quality
from dltrain.data.loaders import make_loader
from dltrain.data.quality import Neighbours
from dltrain.engine import assessment, evaluation
from dltrain.engine.look import Layer, layers, observe, relative_updates
from dltrain.engine.trainer import seed_everything
from dltrain.errors import CheckpointError, DivergedError
from dltrain.errors.output import cut
from dltrain.insight import lr_range
from dltrain.insight.doctor import signs
from dltrain.insight.doctor.by_heart import AT_ONCE, Learned, judge, learn
from dltrain.parts import State
from dltrain.parts.modules import BATCH_NORMS, working
from dltrain.parts.regularisers import Penalty
from dltrain.parts.schedules import PureSchedule, Setting
from dltrain.runs import checkpoint, reading
from dltrain.runs.reading import Report
from dltrain.training.diagnose import probe

_JUDGED = 5000  # samples that a split is judged by
_FEW, _TRIES = 32, 300  # samples to learn by heart, and steps for it
_BY_HEART = {"accuracy": 0.97, "r2": 0.9}  # of 32 rows one may be wrong
_ALL = {"accuracy": 0.995, "r2": 0.99}
_STILL = 1e-3  # outputs that differ by less than this share of the targets' spread are one answer


@dataclass(frozen=True)
class Look:
    """A net at one moment: the loss of the probe, its outputs [n, K], and each layer's statistics.

    The loss is that of judging, which knows no weights of classes and no smoothing: comparable with scores and guesses.
    """

    loss: float
    outputs: Tensor
    layers: list[Layer]

    @property
    def weighted(self) -> list[Layer]:
        """The layers with weights, norms left out."""
        return signs.weighted(self.layers)


@dataclass
class Examination:
    """Everything that a verdict follows from; what costs time is made when it is asked for."""

    plan: Plan
    status: str = "new"
    curve: list[Report] = field(default_factory=list)
    weights: State | None = None  # at the end, None where nothing was saved

    @cached_property
    def train(self) -> tuple[Tensor, Tensor, Tensor]:
        """At most 2,000 train rows (x, y, index)."""
        return quality.sample(self.plan.data.train, 2000)

    @cached_property
    def numbers(self) -> Tensor:
        """The inputs x of `train`, with zeros and ones in the place of codes: what has a size, and distances."""
        return quality.spread_out(self.train[0], [at for at, _ in self.plan.sizes["codes"]])

    @cached_property
    def sizes(self) -> Tensor:
        """The root mean square of each input feature or channel."""
        return quality.sizes(self.numbers)

    @cached_property
    def counts(self) -> list[int]:
        """Train rows of each class; empty where a row has no single class."""
        data = self.plan.data
        if data.task not in ("binary", "multiclass"):
            return []
        y = data.train.y if isinstance(data.train, Tensors) else self.train[1].long()
        return torch.bincount(y, minlength=len(data.classes)).tolist()

    @cached_property
    def repeated(self) -> dict[str, tuple[int, int]]:
        """Split -> how many of its rows stand in the train part too, and how many it has."""
        data = self.plan.data
        parts = {"val": data.val} | ({} if data.test is data.val else {"test": data.test})
        return {name: (len(quality.repeated(part, data.train)), len(part)) for name, part in parts.items()}

    @cached_property
    def met(self) -> bool:
        """Whether these are rows of few rounded numbers, which meet by chance."""
        data = self.plan.data
        return all(quality.by_chance(part, data.train) for part in (data.val, data.test) if part is not data.train)

    @cached_property
    def neighbours(self) -> Neighbours | None:
        """What the nearest train rows say of a row's label."""
        _, y, index = self.train
        return quality.neighbours(self.numbers, y, index, classes=len(self.plan.data.classes))

    @cached_property
    def at_first(self) -> Look:
        """The net with its first weights."""
        return look(self.plan, self._fresh())

    @cached_property
    def at_last(self) -> Look | None:
        """The net with the last saved weights."""
        return None if self.weights is None else look(self.plan, self._trained())

    @cached_property
    def alike(self) -> str:
        """The lowest layer whose units all have the same weights, at first and at the end, and which is not the last
        one with weights; empty without one.
        """
        models = [self._fresh(), *([self._trained()] if self.weights is not None else [])]
        for layer in self.at_first.weighted[:-1]:
            if all(_same_units(dict(working(model))[layer.name]) for model in models):
                return layer.name
        return ""

    @cached_property
    def pull(self) -> float:
        """What l1 and l2 ask for the first weights, as a share of the first loss."""
        l1, l2 = self.plan.regularisation.l1, self.plan.regularisation.l2
        if not (l1 or l2):
            return 0.0
        asked = Penalty(self._fresh(), l1=l1, l2=l2)().item()
        return asked / self.at_first.loss if self.at_first.loss > 0 else math.inf

    @cached_property
    def guess(self) -> float:
        """The loss of an answer of zeros, which knows nothing: -log(1/C) for C classes, the variance of targets."""
        _, y = probe(self.plan)
        loss = self.plan.loss.to(self.plan.device).eval()
        return loss(torch.zeros(len(y), self.plan.out_features, device=y.device), y).item()

    @cached_property
    def reach(self) -> Tensor:
        """Outputs [2 n, K] of the first net for the probe, its last layer's weights and biases large, of either sign.

        Outputs that stay within bounds then, come out of an activation that keeps them there.
        """
        name, x = self.at_first.weighted[-1].name, probe(self.plan)[0]
        model = self._fresh().eval()
        weight, bias = _own(dict(working(model))[name])
        found: list[Tensor] = []
        with torch.no_grad():
            for scale, shift in ((1000.0, 1000.0), (-1.0, -1000.0)):
                weight.mul_(scale)
                if bias is not None:
                    bias.fill_(shift)
                found.append(model(x).float().cpu())
        return torch.cat(found)

    @cached_property
    def scores(self) -> dict[str, dict[str, float]]:
        """Metrics of the last weights on (a part of) each split."""
        if self.weights is None:
            return {}
        evaluate, model = build.make_evaluate(self.plan), self._trained()
        found: dict[str, dict[str, float]] = {}
        for name, split in (("train", self.plan.data.train), ("val", self.plan.data.val)):
            x, y, _ = quality.sample(split, _JUDGED)
            found[name] = evaluate(model, make_loader(Tensors(x, y), batch_size=AT_ONCE, device=self.plan.device))
        return found

    @cached_property
    def recalls(self) -> list[float]:
        """Of each class, the share of the train and val rows that the last weights find; NaN without a row."""
        rows = [quality.sample(split, _JUDGED) for split in (self.plan.data.train, self.plan.data.val)]
        x, y = torch.cat([r[0] for r in rows]), torch.cat([r[1] for r in rows])
        guess = evaluation.decide(self._answers(x), self.plan.data.task)
        return [float((guess[y == c] == c).double().mean()) for c in range(len(self.plan.data.classes))]

    @cached_property
    def by_heart(self) -> Learned:
        """Whether the net can learn one small batch by heart.

        "Overfit a single batch" (Karpathy 2019): a net that can't has too few units, a fault, or inputs that say
        nothing.
        """
        x, y, _ = (t.to(self.plan.device) for t in quality.sample(self.plan.data.train, _FEW, seed=2))
        return learn(self.plan, self._fresh(), x, y, steps=_TRIES, enough=_BY_HEART)

    @cached_property
    def capacity(self) -> Learned:
        """What a fresh net gets from 512 train rows with Adam, all at once and without regularisation.

        What it reaches in 500 steps is what its units allow, whatever the run's own rate, length and penalties are.
        """
        x, y, _ = (t.to(self.plan.device) for t in quality.sample(self.plan.data.train, 512))
        return learn(self.plan, self._fresh(), x, y, steps=500, enough=_ALL)

    @cached_property
    def trivial(self) -> dict[str, float]:
        """Metrics of the best answer that is the same for every train row."""
        return assessment.trivial(self.train[1], task=self.plan.data.task)

    @cached_property
    def outputs(self) -> Tensor:
        """Outputs [n, K] of the last weights for the rows of `train`, in eval mode."""
        return self._answers(self.train[0])

    @cached_property
    def constant(self) -> str:
        """What every row of `train` is told, in words; empty where answers differ, or the labels don't."""
        data, y = self.plan.data, self.train[1]
        if self.weights is None or len(y.unique(dim=0)) < 2:
            return ""
        if data.task == "regression":
            same = self.outputs.std(0).max() < _STILL * y.float().std(0).max()
            told = evaluation.answers(self.outputs.mean(0)[None], data.units)[0, 0]
            return f"{data.targets[0]} {told:.4g}" if same else ""
        answers = evaluation.decide(self.outputs, data.task)
        if (answers != answers[:1]).any():
            return ""
        if data.task != "multilabel":
            return cut(data.classes[int(answers[0])])
        present = [c for c, on in zip(data.classes, answers[0].tolist(), strict=True) if on]
        return cut(" and ".join(present), 200) or "no label"

    @cached_property
    def by_batch(self) -> dict[str, float] | None:
        """Metrics of the last weights on `train` with the batches' own statistics in BatchNorm, dropout off.

        None for a net without BatchNorm. Where eval mode has others, the averages that it keeps lag behind the net.
        """
        model = self._trained().eval()
        norms = [m for m in model.modules() if isinstance(m, BATCH_NORMS) and m.track_running_stats]
        for norm in norms:
            norm.train()
        if not norms:
            return None
        x, y, _ = self.train
        size = max(2, min(self.plan.batch_size or len(x), 256))
        whole = len(x) - (len(x) % size == 1)  # statistics want two rows
        with torch.no_grad():
            outputs = [model(part.to(self.plan.device)).float() for part in x[:whole].split(size)]
        return judge(self.plan, torch.cat(outputs), y[:whole])

    @cached_property
    def rates(self) -> lr_range.Curve | None:
        """The learning rate range test of this plan; None where its first steps already break down."""
        try:
            return lr_range.measure(self.plan)
        except DivergedError:
            return None

    @cached_property
    def peak(self) -> float:
        """The highest learning rate of the run."""
        schedule, group = lr_range.scheduled(self.plan)
        found, epochs = 0.0, 0
        for step in range(0, self.plan.total_steps, max(1, self.plan.total_steps // 200)):
            for _ in range(step // self.plan.steps_per_epoch - epochs):
                schedule.end_epoch({})
            epochs = step // self.plan.steps_per_epoch
            schedule.set(step)
            found = max(found, group["lr"])
        return found

    @cached_property
    def first_update(self) -> list[Layer]:
        """The layers with their relative change in a first step at the peak rate."""
        seed_everything(self.plan.seed)
        trainer = build.make_trainer(self.plan)
        trainer.schedule = PureSchedule(trainer.optimizer, lambda step: Setting(self.peak))
        before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
        x, y = probe(self.plan)
        n = min(self.plan.batch_size or len(x), len(x))
        try:
            trainer.step([(x[:n], y[:n], torch.arange(n))])
        except DivergedError:
            return []
        return look(self.plan, trainer.model, relative_updates(before, trainer.model)).layers

    def _answers(self, x: Tensor) -> Tensor:
        """Outputs [N, K] of the last weights for x, in eval mode."""
        model = self._trained().eval()
        with torch.no_grad():
            return torch.cat([model(part.to(self.plan.device)).float().cpu() for part in x.split(AT_ONCE)])

    def _fresh(self) -> nn.Module:
        seed_everything(self.plan.seed)
        return build.make_model(self.plan)

    def _trained(self) -> nn.Module:
        assert self.weights is not None  # what asks for the trained net has looked
        model = self._fresh()
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            raise CheckpointError(f"the checkpoint does not fit this configuration: {error}") from error
        return model


def _own(module: nn.Module) -> tuple[Tensor, Tensor | None]:
    """The weight and the bias of a layer with weights."""
    weight, bias = module.weight, module.bias
    assert isinstance(weight, Tensor)
    return weight, bias if isinstance(bias, Tensor) else None


def _same_units(module: nn.Module) -> bool:
    weight, bias = _own(module)
    rows = weight.detach().flatten(1)
    whole = rows if bias is None else torch.cat([rows, bias.detach()[:, None]], dim=1)
    return len(whole) > 1 and torch.allclose(whole, whole[:1].expand_as(whole), rtol=1e-4, atol=1e-7)


def examine(plan: Plan, folder: Path) -> Examination:
    """The examination of a run folder, read without running anything that it holds."""
    found = checkpoint.latest(folder / "checkpoints")
    weights = "present" if found and plan.pretrained == "cached" else plan.pretrained
    plan = replace(plan, settings=replace(plan.settings, compile=False), pretrained=weights)
    build.set_threads_and_determinism(plan)
    return Examination(plan, reading.read(folder).status, reading.read_log(folder), found[1] if found else None)


def look(plan: Plan, model: nn.Module, updates: dict[str, float] | None = None) -> Look:
    """One forward and backward pass of the probe in training mode; the model's gradients and averages change."""
    x, y = probe(plan)
    loss = plan.loss.to(plan.device).train()
    made: list[Tensor] = []

    def objective(output: Tensor) -> Tensor:
        made.append(output.detach().clone())
        return loss(output, y)

    seen, _ = observe(model.train(), x, objective)
    with torch.no_grad():
        judged = loss.eval()(made[0], y).item()
        outputs = model.eval()(x).float().cpu()
    return Look(judged, outputs, layers(seen, updates))
