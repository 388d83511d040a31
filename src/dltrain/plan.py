"""A composed configuration becomes a checked plan: every mistake is collected before anything is written.

Each check that can still run does, so that a user sees all that is wrong at once; a check that needs what failed
before it is left out.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Subset

from dltrain import build, evaluation, losses, runs, trials
from dltrain.catalogue import GROUPS
from dltrain.config import Composed, interpolations, name_mistake
from dltrain.data import Data, Tensors
from dltrain.errors import ConfigError, DataError
from dltrain.mistakes import Mistakes
from dltrain.settings import Regularisation, Settings, device_or_auto, loader_knobs, pick_device
from dltrain.targets import Part, check_arguments, did_you_mean, resolve
from dltrain.trainer import seed_everything

_NODES = tuple(group for group in GROUPS if group != "experiment")  # an experiment is a choice of the others
_LOADER_KEYS = ("batch_size", "workers")  # of a data node, for the loader rather than the source


@dataclass
class Plan:
    """Everything that a run needs, checked, with nothing written yet."""

    config: dict[str, Any]
    seed: int
    name: str
    runs_dir: Path
    settings: Settings
    regularisation: Regularisation
    parts: dict[str, Part]
    data: Data
    batch_size: int | None
    workers: int
    device: torch.device
    monitor: str
    mode: Literal["min", "max"]
    steps_per_epoch: int
    total_steps: int
    schedule_steps: int
    loss: nn.Module
    out_features: int
    resume: str | None = None
    overrides: tuple[str, ...] = ()
    rows: list[Any] = field(default_factory=list)  # the model's summary
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, Any]:
        """What the data decides, under the names that constructors use."""
        return sizes(self.data, self.out_features)


def sizes(data: Any, out_features: int) -> dict[str, Any]:
    """What `Data`, or the facts that a run keeps of them, decide, under the names that constructors use."""
    return {
        "in_features": data.in_features,
        "in_shape": data.in_shape,
        "in_channels": data.in_shape[0],
        "out_features": out_features,
        "num_classes": out_features,
    }


def make_plan(composed: Composed, allow: Sequence[str] = ()) -> Plan:
    """Checks everything and loads the data; raises ConfigError with all mistakes, or DataError."""
    return _Planner(composed, allow).plan()


@dataclass(frozen=True)
class Outline:
    """What a stored configuration says, checked, before any data are read."""

    seed: int
    settings: Settings
    parts: dict[str, Part]
    data: dict[str, Any]  # the node as it stands
    batch_size: int | None
    workers: int


def outline(composed: Composed, allow: Sequence[str] = (), *, slots: Sequence[str]) -> Outline:
    """Some parts of a stored configuration, checked as `make_plan` checks them.

    A device that this machine lacks gives way to one that it has, unless an override names it.
    """
    planner = _Planner(composed, allow)
    trainer = planner.cfg.get("trainer")
    if isinstance(trainer, dict) and not any(o.startswith("trainer.device=") for o in composed.overrides):
        trainer["device"] = device_or_auto(trainer.get("device"))
    seed, *_ = planner._top()
    settings = planner._knobs("trainer", Settings)
    parts = {slot: planner._part(slot) for slot in slots}
    batch_size, workers = planner._loader()
    planner.mistakes.stop()
    return Outline(seed, settings, parts, planner.cfg["data"], batch_size, workers)


class _Planner:
    """Collects mistakes while it works; each part is None when it could not be made."""

    def __init__(self, composed: Composed, allow: Sequence[str]) -> None:
        self.composed, self.allow = composed, allow
        self.mistakes = Mistakes(composed)
        self.say = self.mistakes.say
        self.notes: list[str] = []
        self.few: tuple[Tensor, Tensor] | None = None  # the first training samples
        self.cfg = self._container()

    def _container(self) -> dict[str, Any]:
        """The configuration as plain values; what can't be resolved is noted and counts as missing."""
        cfg = copy.deepcopy(self.composed.cfg)
        for parent, key, path in interpolations(cfg):
            raw = str(parent._get_node(key)._value())
            if plain := re.fullmatch(r"\$\{([\w.]+)\}", raw):
                self.mistakes.copies[path] = plain[1]
            try:
                parent[key]
            except OmegaConfBaseException as error:
                if not isinstance(error, InterpolationToMissingValueError):  # the missing one has its own line
                    line = str(error).splitlines()[0].replace("Recursive interpolation detected", "it leads to itself")
                    self.say(path, f"{raw} can't be resolved: {line}")
                self.mistakes.known |= {path, path.partition("[")[0]}
                parent[key] = "???"
        return OmegaConf.to_container(cfg, resolve=True)

    def plan(self) -> Plan:
        seed, name, runs_dir, resume = self._top()
        settings = self._knobs("trainer", Settings)
        regular = self._knobs("regularisation", Regularisation)
        parts = {slot: self._part(slot) for slot in ("data", "model", "loss", "optimizer", "scheduler")}
        batch_size, workers = self._loader()
        optimizer = self._optimizer(parts["optimizer"], settings)
        data = self._data(parts["data"], seed)
        if data and settings and (settings.overfit_batches > 0 or settings.fast_dev_run):
            data, settings = reduced(data, settings, batch_size)
        loss, outputs = self._loss(parts["loss"], data)
        self._augmentation(regular, data, loss, outputs)
        monitor, mode = self._monitors(data, regular, parts["scheduler"])
        rows = self._model(parts["model"], data, outputs, batch_size)
        per_epoch, total = _steps(data, settings, batch_size)
        planned = (settings.schedule_steps if settings else None) or total
        self._scheduler(parts["scheduler"], optimizer, planned, per_epoch)
        self.mistakes.stop()
        plan = Plan(
            config=self.cfg,
            seed=seed,
            name=name,
            runs_dir=runs_dir,
            settings=settings,
            regularisation=regular,
            parts=parts,
            data=data,
            batch_size=batch_size,
            workers=workers,
            device=pick_device(settings.device),
            monitor=monitor,
            mode=mode,
            steps_per_epoch=per_epoch,
            total_steps=total,
            schedule_steps=planned,
            loss=loss,
            out_features=outputs,
            resume=resume,
            overrides=self.composed.overrides,
            rows=rows,
            notes=[*data.notes, *self.notes],
        )
        plan.notes += _ignored(plan)
        return plan

    # -- plain knobs -------------------------------------------------------------------------------------------

    def _top(self) -> tuple[int, str, Path, str | None]:
        """The keys outside the groups: seed, name, runs_dir, resume."""
        given = {key: value for key, value in self.cfg.items() if key not in _NODES}
        if isinstance(given.get("experiment"), dict):
            del given["experiment"]
            self.say("experiment", "the file's first line must be `# @package _global_`, or its keys reach nothing")
        known = ("seed", "name", "runs_dir", "resume", *_NODES)
        for key, message in check_arguments(_top, given, node="").items():
            hint = did_you_mean(str(key), known) or f"; there are {', '.join(known)}"
            self.say(key, message if key in known else f"there is no such key{hint}")
        seed, name, runs_dir = (given.get(key) for key in ("seed", "name", "runs_dir"))
        if isinstance(seed, int) and not 0 <= seed < 2**32:
            self.say("seed", f"{seed} must be from 0 to 4294967295 (2^32 - 1)")
            seed = 0
        bad = name_mistake(name) if isinstance(name, str) else None
        if bad:
            self.say("name", bad)
        name = name if isinstance(name, str) and not bad else self._default_name()
        if runs_dir == "":
            self.say("runs_dir", "name a folder, such as runs")
        elif isinstance(runs_dir, str) and (bad := runs.check_writable(Path(runs_dir) / name)):
            self.say("runs_dir", bad)
        return seed, name, Path(str(runs_dir)), self.cfg.pop("resume", None)  # which is no part of what a run is

    def _default_name(self) -> str:
        chosen = self.composed.chosen
        return f"{chosen.get('experiment') or '{}-{}'.format(chosen.get('data'), chosen.get('model'))}"

    def _knobs(self, group: str, cls: type) -> Any:
        """A node that a dataclass describes."""
        given = self.cfg.get(group)
        if not isinstance(given, dict):
            self.say(group, f"want keys and values, got {given!r}; `dltrain list {group}` shows them")
            return None
        wrong = check_arguments(cls, given, node=group, called=group)
        made = cls(**{f.name: given.get(f.name) for f in fields(cls)})
        wrong = made.mistakes() | wrong
        for key, message in wrong.items():
            self.say(f"{group}.{key}", message)
        return None if wrong else made

    def _loader(self) -> tuple[int | None, int]:
        """Batch size (None is the whole train part) and number of workers."""
        node = self.cfg.get("data")
        batch_size, workers, wrong = loader_knobs(node if isinstance(node, dict) else {"batch_size": 1})
        for key, message in wrong.items():
            self.say(f"data.{key}", message)
        return batch_size, workers

    # -- nodes with a `_target_` -------------------------------------------------------------------------------

    def _part(self, slot: str) -> Part | None:
        node = self.cfg.get(slot)
        if not isinstance(node, dict) or "_target_" not in node:
            self.say(slot, f"choose one: {slot}=NAME (`dltrain list {slot}` explains them)")
            return None
        ignored, before = _LOADER_KEYS if slot == "data" else (), len(self.mistakes.lines)
        part = self._resolve(slot, slot, {k: v for k, v in node.items() if k not in ignored})
        if part is None:
            return None
        special: Sequence[str] = ()
        if slot == "scheduler" and isinstance(part.function, type):
            special = ("interval", "monitor")
            if (interval := part.arguments.get("interval", "epoch")) not in ("step", "epoch"):
                self.say("scheduler.interval", f"want step or epoch, got {interval!r}")
        given = {k: v for k, v in part.arguments.items() if k not in special}
        wrong = check_arguments(part.function, given, node=slot, passed=_PASSED[slot])
        for key, message in wrong.items():
            self.say(f"{slot}.{key}", message)
        return None if wrong or len(self.mistakes.lines) > before else part

    def _resolve(self, key: str, slot: str, node: dict[str, Any]) -> Part | None:
        """The node as a Part, its nested nodes too."""
        arguments = {k: self._nested(f"{key}.{k}", slot, v) for k, v in node.items() if k != "_target_"}
        try:
            function = resolve(node["_target_"], slot, self.allow, nested=key != slot)
        except ConfigError as error:
            self.say(f"{key}._target_", str(error))
            return None
        return Part(function, arguments)

    def _nested(self, key: str, slot: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._nested(f"{key}[{i}]", slot, v) for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {k: self._nested(f"{key}.{k}", slot, v) for k, v in value.items()}
        part = self._resolve(key, slot, value)
        if part is None:
            return Part(lambda: None, {})  # the mistake is noted; what holds it can still be checked
        for name, message in check_arguments(part.function, part.arguments, node=key).items():
            self.say(f"{key}.{name}", message)
        return part

    def _optimizer(self, part: Part | None, settings: Settings | None) -> Optimizer | None:
        """The optimizer on stand-ins: its constructor checks its own ranges."""
        if part is None:
            return None
        try:
            optimizer = trials.stand_in(part)
        except Exception as error:
            self.mistakes.blame("optimizer", error, part.arguments)
            return None
        if isinstance(optimizer, torch.optim.LBFGS) and settings and settings.precision == "fp16":
            self.say("trainer.precision", "lbfgs takes many gradients a step, and fp16 scales one; use fp32 or bf16")
        return optimizer

    def _data(self, part: Part | None, seed: Any) -> Data | None:
        if part is None or (self.mistakes and "root" in part.names):  # a download takes minutes, mistakes come first
            return None
        try:
            seed_everything(seed if isinstance(seed, int) else 0)  # a user's data may draw random numbers
            data = part()
            if not isinstance(data, Data):
                raise TypeError(f"it returned a {type(data).__name__}, not a dltrain.data.Data")
            trials.contents(data)
            self.few = trials.few(data)
        except DataError as error:
            if not self.mistakes:
                raise
            self.mistakes.lines["data"] = f"data: {error}"
            self.mistakes.stop()
        except Exception as error:
            self.mistakes.blame("data", error, part.arguments)
        else:
            return data
        return None

    # -- what needs the data -----------------------------------------------------------------------------------

    def _loss(self, part: Part | None, data: Data | None) -> tuple[nn.Module | None, int | None]:
        """The loss, and the outputs that it needs, after it has given a number for two samples."""
        if part is None or data is None:
            return None, None
        try:
            losses.check_task(part.function, data.task)
            outputs = losses.outputs(part.function, data.task, len(data.names))
            loss = part(task=data.task, class_counts=trials.class_counts(data), samples=len(data.train))
            trials.loss(loss, outputs, self.few[1])
        except Exception as error:
            self.mistakes.blame("loss", error, part.arguments)
            return None, None
        return loss, outputs

    def _augmentation(
        self, regular: Regularisation | None, data: Data | None, loss: nn.Module | None, outputs: int | None
    ) -> None:
        """Augmentation, mixup and cutmix tried on two samples, to see that they suit the data and the loss."""
        if regular is None or data is None or loss is None:
            return
        wanted = [k for k, v in regular.augmentation.items() if v is not None]
        if (wanted or regular.cutmix) and len(data.in_shape) != 3:
            key = f"regularisation.augmentation.{wanted[0]}" if wanted else "regularisation.cutmix"
            self.say(key, f"it needs images [C, H, W], and this data has inputs of shape {list(data.in_shape)}")
            return
        try:
            build.make_policy(regular)
            if transform := build.make_transform(regular, data, seed=0, outputs=outputs):
                x, y = self.few
                trials.loss(loss, outputs, transform(x, y, torch.arange(len(x)), 0)[1])
        except Exception as error:
            self.mistakes.blame("regularisation", error)

    def _monitors(
        self, data: Data | None, regular: Regularisation | None, scheduler: Part | None
    ) -> tuple[str, Literal["min", "max"]]:
        """The metric that chooses the best epoch, and which way is better; every monitor's name is checked."""
        if data is None:
            return "val/loss", "min"
        known = ["train/loss", *(f"val/{m}" for m in evaluation.METRICS[data.task])]
        stopping = (regular.early_stopping if regular else None) or {}
        trainer = self.cfg.get("trainer")
        chosen = trainer.get("monitor", "auto") if isinstance(trainer, dict) else "auto"
        for key, name in (
            ("trainer.monitor", chosen),
            ("regularisation.early_stopping.monitor", stopping.get("monitor", "auto")),
            ("scheduler.monitor", scheduler.arguments.get("monitor", "auto") if scheduler else "auto"),
        ):
            if name not in ("auto", *known):
                hint = did_you_mean(str(name), known)
                self.say(key, f"there is no metric `{name}`{hint or '; there are auto, ' + ', '.join(known)}")
        monitor = chosen if chosen in known else f"val/{evaluation.default_monitor(data.task)}"
        return monitor, evaluation.mode(monitor.split("/")[1])

    def _model(self, part: Part | None, data: Data | None, outputs: int | None, batch_size: int | None) -> list[Any]:
        """Builds the model without memory, sends a sample through it, and compares the shapes; returns its summary."""
        if part is None or data is None or outputs is None:
            return []
        # Code that looks at values can't run on the meta device, so only the CPU's word counts against a user's model.
        for device in ("meta",) if part.function.__module__.startswith("dltrain.") else ("meta", "cpu"):
            model, rows, error = trials.model(part, sizes(data, outputs), device)
            if error is None:
                break
        else:
            self.mistakes.blame("model", error, part.arguments if model is None else ())
            return []
        made = rows[-1].output_shape
        if not any(p.requires_grad for p in model.parameters()):
            self.say("model", "it has no parameters to train")
        elif made is None:
            self.say("model", "it must return one tensor [B, outputs], and it returns something else")
        elif made != (outputs,):
            what = f"{data.task} data of {len(data.names)} {'classes' if data.classes else 'targets'}"
            self.say("model", f"it returns {trials.batched(made)}; {what} needs {trials.batched((outputs,))}")
        if bad := trials.lonely_sample(model, data, batch_size or len(data.train)):
            self.say("data.batch_size", bad)
        if any(row.type == "Sign" for row in rows):
            self.notes.append("activation=sign has a gradient of zero everywhere: the layers below it cannot learn")
        return rows

    def _scheduler(self, part: Part | None, optimizer: Optimizer | None, total: int, per_epoch: int) -> None:
        if part is None or optimizer is None:
            return
        try:
            build.make_schedule(part, optimizer, total_steps=total, steps_per_epoch=per_epoch, monitor="val/loss")
        except Exception as error:
            self.mistakes.blame("scheduler", error, part.arguments)


def _top(seed: int, name: str | None, runs_dir: str, resume: str | None = None) -> None:
    """The keys outside the groups, as a signature to check against."""


def _steps(data: Data | None, settings: Settings | None, batch_size: int | None) -> tuple[int, int]:
    """Optimizer steps of an epoch and of the whole run; round numbers while they are not known."""
    if data is None or settings is None:
        return 100, 1000
    batches = math.ceil(len(data.train) / (batch_size or len(data.train)))
    per_epoch = math.ceil(min(batches, settings.limit_train_batches or batches) / max(1, settings.accumulate))
    return per_epoch, settings.max_steps or max(1, round(settings.epochs * per_epoch))


def _ignored(plan: Plan) -> list[str]:
    """Settings that have no effect, in words."""
    found = []
    peak, lr = plan.parts["scheduler"].arguments.get("max_lr"), plan.parts["optimizer"].arguments.get("lr")
    if peak is not None and lr is not None and peak != lr:
        found.append(f"optimizer.lr={lr} is not used: the scheduler rises to scheduler.max_lr={peak}")
    typed: dict[str, str] = {}
    for override in plan.overrides:
        key = override.split("=")[0]
        if key in typed:
            found.append(f"{typed[key]} is not used: {override} stands after it")
        typed[key] = override
    if plan.settings.max_steps and "trainer.epochs" in typed:
        found.append("trainer.epochs is not used: trainer.max_steps decides")
    arguments, few = plan.parts["model"].arguments, plan.settings.overfit_batches
    if arguments.get("dropout") and arguments.get("widths") == []:
        found.append("model.dropout is not used: there is no hidden layer")
    if plan.parts["optimizer"].function is torch.optim.LBFGS and plan.batch_size is not None:
        found.append("lbfgs is made for full batches: data.batch_size=full scheduler=constant")
    if few:
        found.append(f"overfit_batches: train, validation and test are the same {len(plan.data.train)} samples")
    if plan.settings.accumulate > 1 and plan.batch_size is None:
        found.append("trainer.accumulate is not used: a full batch is one step")
    if plan.workers and isinstance(plan.data.train, Tensors) and not plan.regularisation.augmentation.get("policy"):
        found.append("data.workers is not used: this data lives in memory, on the device")
    return found


_PASSED = {  # names that the border fills in
    "data": (),
    "model": ("in_features", "in_shape", "in_channels", "out_features", "num_classes"),
    "loss": ("task", "class_counts", "samples"),
    "optimizer": ("params",),
    "scheduler": ("base_lr", "total_steps", "steps_per_epoch", "optimizer"),
}


def reduced(data: Data, settings: Settings, batch_size: int | None) -> tuple[Data, Settings]:
    """The data and settings of `overfit_batches` or `fast_dev_run`."""
    if settings.fast_dev_run:
        return data, replace(settings, epochs=1, max_steps=None, limit_train_batches=2)
    few = range(min(len(data.train), settings.overfit_batches * (batch_size or len(data.train))))
    part = data.train
    part = replace(part, x=part.x[: len(few)], y=part.y[: len(few)]) if isinstance(part, Tensors) else Subset(part, few)
    return replace(data, train=part, val=part, test=part), settings
