"""A composed configuration becomes a checked plan: every mistake is collected before anything is written.

Each check that can still run does, so that a user sees all that is wrong at once; a check that needs what failed
before it is left out.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn
from torch.utils.data import Subset

from dltrain import build, evaluation, losses, models, regularisation, runs
from dltrain.config import Composed
from dltrain.data import Data, Tensors
from dltrain.errors import ConfigError, DataError
from dltrain.targets import check_arguments, did_you_mean, resolve

_LOADER_KEYS = ("batch_size", "workers")  # of a data node, for the loader rather than the source


@dataclass(frozen=True)
class Settings:
    """The `trainer` node: configs/trainer/default.yaml explains each knob."""

    epochs: float
    max_steps: int | None
    device: str
    precision: Literal["fp32", "bf16", "fp16"]
    accumulate: int
    compile: bool
    deterministic: bool
    threads: int | None
    report_every: float
    eval_every: float
    monitor: str
    save_every: float
    limit_train_batches: int | None
    overfit_batches: int
    fast_dev_run: bool
    progress: bool
    tensorboard: bool

    def mistakes(self) -> dict[str, str]:
        """Values out of range, by key."""
        above_zero = ("epochs", "max_steps", "accumulate", "threads", "report_every", "eval_every")
        found = {}
        for name in (*above_zero, "limit_train_batches"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                found[name] = f"{value} must be above zero"
        for name in ("save_every", "overfit_batches"):
            if getattr(self, name) < 0:
                found[name] = f"{getattr(self, name)} must not be below zero"
        if bad := _device_mistake(self.device):
            found["device"] = bad
        return found


def _device_mistake(name: str) -> str | None:
    if name == "auto":
        return None
    try:
        device = torch.device(name)
    except RuntimeError:
        return f"`{name}` is no device; use auto, cpu, cuda or cuda:N"
    if device.type == "cuda" and not torch.cuda.is_available():
        return "this machine shows torch no CUDA device; use trainer.device=cpu or auto"
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        return f"there are {torch.cuda.device_count()} CUDA devices, counted from 0"
    return None


@dataclass(frozen=True)
class Regularisation:
    """The `regularisation` node: configs/regularisation/off.yaml explains each knob."""

    l1: float
    l2: float
    max_norm: float | None
    input_noise: float
    clip_norm: float | None
    clip_value: float | None
    ema: float | None
    mixup: float | None
    cutmix: float | None
    early_stopping: dict[str, Any] | None
    augmentation: dict[str, Any]

    def mistakes(self) -> dict[str, str]:
        """Values out of range, by key; each one's own class knows its range."""
        net = nn.Linear(2, 2)
        trials: dict[str, Callable[[], object]] = {
            "l1": lambda: regularisation.Penalty(net, l1=self.l1),
            "l2": lambda: regularisation.Penalty(net, l2=self.l2),
            "max_norm": lambda: self.max_norm is None or regularisation.MaxNorm(net, self.max_norm),
            "input_noise": lambda: self.input_noise == 0 or regularisation.InputNoise(self.input_noise),
            "ema": lambda: self.ema is None or regularisation.EMA(net, self.ema),
            "mixup": lambda: self.mixup is None or regularisation.Mixup(self.mixup, task="multiclass", outputs=2),
            "cutmix": lambda: self.cutmix is None or regularisation.CutMix(self.cutmix, task="multiclass", outputs=2),
            "early_stopping": lambda: build.make_stopping(self, "val/loss", "min"),
        }
        found = {}
        for name, trial in trials.items():
            try:
                trial()
            except (ValueError, TypeError) as error:
                found[name] = str(error).removeprefix(f"regularisation.{name}=")
        for name in ("clip_norm", "clip_value"):
            if (value := getattr(self, name)) is not None and value <= 0:
                found[name] = f"{value} must be above zero; null switches it off"
        return found


@dataclass(frozen=True)
class Part:
    """A resolved `_target_` and its arguments."""

    function: Callable[..., Any]
    arguments: dict[str, Any]

    def __call__(self, *args: Any, **sizes: Any) -> Any:
        """Builds it; of `sizes` only what the signature names and the configuration does not set is passed."""
        names = _parameter_names(self.function)
        chosen = {n: v for n, v in sizes.items() if n in names and n not in self.arguments}
        return self.function(*args, **chosen, **{k: _build(v) for k, v in self.arguments.items()})


def _parameter_names(function: Callable[..., Any]) -> set[str]:
    try:
        return set(inspect.signature(function).parameters)
    except (TypeError, ValueError):
        return set()


def _build(value: Any) -> Any:
    if isinstance(value, Part):
        return value()
    if isinstance(value, list):
        return [_build(v) for v in value]
    return {k: _build(v) for k, v in value.items()} if isinstance(value, dict) else value


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
    loss: nn.Module
    out_features: int
    overrides: tuple[str, ...] = ()
    rows: list[Any] = field(default_factory=list)  # the model's summary
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, Any]:
        """What the data decides, under the names that constructors use."""
        shape = self.data.in_shape
        return {
            "in_features": self.data.in_features,
            "in_shape": shape,
            "in_channels": shape[0],
            "out_features": self.out_features,
            "num_classes": self.out_features,
        }


def make_plan(composed: Composed, allow: Sequence[str] = ()) -> Plan:
    """Checks everything and loads the data; raises ConfigError with all mistakes, or DataError."""
    return _Planner(composed, allow).plan()


class _Planner:
    """Collects mistakes while it works; each part is None when it could not be made."""

    def __init__(self, composed: Composed, allow: Sequence[str]) -> None:
        self.composed, self.allow = composed, allow
        self.mistakes = list(composed.mistakes)
        self.notes: list[str] = []
        self.cfg = self._container()

    def _container(self) -> dict[str, Any]:
        try:
            return OmegaConf.to_container(self.composed.cfg, resolve=True)
        except OmegaConfBaseException as error:
            raise ConfigError("\n".join([*self.mistakes, str(error).splitlines()[0]])) from error

    def say(self, key: str, message: str) -> None:
        """Notes a mistake with the place where the value was written."""
        self.mistakes.append(f"{key}: {message} ({self.composed.origin(key)})")

    def plan(self) -> Plan:
        seed, name, runs_dir = self._top()
        settings = self._knobs("trainer", Settings)
        regular = self._knobs("regularisation", Regularisation)
        parts = {slot: self._part(slot) for slot in ("data", "model", "loss", "optimizer", "scheduler")}
        batch_size, workers = self._loader_knobs()
        self._optimizer_values(parts["optimizer"])
        data = self._data(parts["data"])
        if data and settings and (settings.overfit_batches or settings.fast_dev_run):
            data, settings = _reduced(data, settings, batch_size)
        loss = out_features = None
        if data and parts["loss"]:
            loss, out_features = self._loss(parts["loss"], data)
        if data:
            self._augmentation(regular, data)
            monitor, mode = self._monitors(data, settings, regular, parts["scheduler"])
        if self.mistakes or not (data and settings and regular and loss and all(parts.values())):
            raise ConfigError("\n".join(self.mistakes))
        batches = math.ceil(len(data.train) / (batch_size or len(data.train)))
        per_epoch = math.ceil(min(batches, settings.limit_train_batches or batches) / settings.accumulate)
        plan = Plan(
            config=self.cfg,
            seed=seed,
            name=name or self._default_name(),
            runs_dir=runs_dir,
            settings=settings,
            regularisation=regular,
            parts=parts,
            data=data,
            batch_size=batch_size,
            workers=workers,
            device=_device(settings.device),
            monitor=monitor,
            mode=mode,
            steps_per_epoch=per_epoch,
            total_steps=settings.max_steps or max(1, round(settings.epochs * per_epoch)),
            loss=loss,
            out_features=out_features,
            overrides=self.composed.overrides,
            notes=[*data.notes, *self.notes],
        )
        self._model(plan)
        self._scheduler(plan)
        self._ignored(plan)
        if self.mistakes:
            raise ConfigError("\n".join(self.mistakes))
        return plan

    # -- plain knobs -------------------------------------------------------------------------------------------

    def _top(self) -> tuple[int, str | None, Path]:
        known = {"seed": int, "name": str | None, "runs_dir": str}

        def top(seed: int, name: str | None, runs_dir: str) -> None: ...

        top.__annotations__ = known
        given = {k: v for k, v in self.cfg.items() if not isinstance(v, dict) and k != "experiment"}
        for key, message in check_arguments(top, given).items():
            self.say(key, message)
        runs_dir = Path(str(given.get("runs_dir") or "runs"))
        if bad := runs.check_writable(runs_dir):
            self.say("runs_dir", bad)
        name = given.get("name")
        if isinstance(name, str) and (not name or name != Path(name).name):
            self.say("name", f"`{name}` can't be the name of a folder")
        return given.get("seed"), name, runs_dir

    def _default_name(self) -> str:
        chosen = self.composed.chosen
        return f"{chosen.get('experiment') or '{}-{}'.format(chosen.get('data'), chosen.get('model'))}"

    def _knobs(self, group: str, cls: type) -> Any:
        """A node that a dataclass describes."""
        given = self.cfg.get(group) or {}
        wrong = check_arguments(cls, given)
        for key, message in wrong.items():
            self.say(f"{group}.{key}", message)
        # Values that are right are looked at further, so that all mistakes come out together.
        values = {f.name: given.get(f.name) for f in fields(cls)}
        made = cls(**values)
        if not wrong:
            for key, message in made.mistakes().items():
                self.say(f"{group}.{key}", message)
        return None if wrong else made

    def _loader_knobs(self) -> tuple[int | None, int]:
        """Batch size (None is the whole train part) and number of workers."""
        node = self.cfg.get("data") or {}
        size, workers = node.get("batch_size"), node.get("workers", 0)
        if size != "full" and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
            self.say("data.batch_size", f"want a whole number above zero, or full; got {size!r}")
            size = 1
        if not isinstance(workers, int) or isinstance(workers, bool) or workers < 0:
            self.say("data.workers", f"want a whole number, 0 or more; got {workers!r}")
            workers = 0
        return (None if size == "full" else size), workers

    # -- nodes with a `_target_` -------------------------------------------------------------------------------

    def _part(self, slot: str) -> Part | None:
        node = self.cfg.get(slot)
        if not isinstance(node, dict) or "_target_" not in node:
            self.say(slot, f"choose one: {slot}=NAME (`dltrain list {slot}`)")
            return None
        ignored = _LOADER_KEYS if slot == "data" else ()
        part = self._resolve(slot, slot, {k: v for k, v in node.items() if k not in ignored})
        if part is None:
            return None
        special = {}
        if slot == "scheduler" and isinstance(part.function, type):
            special = {k: part.arguments[k] for k in ("interval", "monitor") if k in part.arguments}
        given = {k: v for k, v in part.arguments.items() if k not in special}
        wrong = check_arguments(part.function, given, passed=_PASSED[slot])
        for key, message in wrong.items():
            self.say(f"{slot}.{key}", message)
        return None if wrong else part

    def _resolve(self, key: str, slot: str, node: dict[str, Any]) -> Part | None:
        """The node as a Part, its nested nodes too."""
        arguments = {}
        for name, value in node.items():
            if name != "_target_":
                arguments[name] = self._nested(f"{key}.{name}", slot, value)
        try:
            return Part(resolve(node["_target_"], slot, self.allow), arguments)
        except ConfigError as error:
            self.say(f"{key}._target_", str(error))
            return None

    def _nested(self, key: str, slot: str, value: Any) -> Any:
        if isinstance(value, list):
            return [self._nested(f"{key}[{i}]", slot, v) for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {k: self._nested(f"{key}.{k}", slot, v) for k, v in value.items()}
        part = self._resolve(key, slot, value)
        if part:
            for name, message in check_arguments(part.function, part.arguments).items():
                self.say(f"{key}.{name}", message)
        return part

    def _optimizer_values(self, part: Part | None) -> None:
        """The constructor's own range checks, on a weight and a bias that stand for the model's."""
        if part is None:
            return
        dummy = [nn.Parameter(torch.zeros(2, 2)), nn.Parameter(torch.zeros(2))]
        try:
            part(dummy)
        except (ValueError, TypeError, RuntimeError) as error:
            key = next((k for k in part.arguments if k in str(error)), _named(error, part.arguments))
            self.say(f"optimizer.{key}" if key else "optimizer", str(error))

    def _data(self, part: Part | None) -> Data | None:
        if part is None:
            return None
        try:
            data = part()
        except DataError as error:
            if self.mistakes:  # both kinds of mistake together; the configuration's come first
                raise ConfigError("\n".join([*self.mistakes, f"data: {error}"])) from error
            raise
        except (ValueError, TypeError) as error:
            key = next((k for k in part.arguments if str(error).startswith((k, f"data.{k}"))), None)
            self.say(f"data.{key}" if key else "data", str(error))
            return None
        return data

    def _loss(self, part: Part, data: Data) -> tuple[nn.Module | None, int | None]:
        try:
            losses.check_task(part.function, data.task)
            count = len(data.classes) or len(data.targets)
            loss = part(task=data.task, class_counts=_class_counts(data), samples=len(data.train))
            outputs = losses.outputs(loss, data.task, count)
            y = torch.stack([torch.as_tensor(data.train[i][1]) for i in range(min(2, len(data.train)))])
            y = y.float() if y.dtype == torch.float64 else y
            loss.train()(torch.zeros(len(y), outputs), y)
        except (ValueError, TypeError, RuntimeError, IndexError) as error:
            self.say("loss", str(error).splitlines()[0].removeprefix("loss: "))
            return None, None
        return loss, outputs

    def _augmentation(self, regular: Regularisation | None, data: Data) -> None:
        """Mixup, cutmix and augmentation built once, to see that they suit the data."""
        if regular is None:
            return
        wanted = [k for k, v in regular.augmentation.items() if v is not None]
        if (wanted or regular.cutmix) and len(data.in_shape) != 3:
            key = f"regularisation.augmentation.{wanted[0]}" if wanted else "regularisation.cutmix"
            self.say(key, f"it needs images, and this data has inputs of shape {list(data.in_shape)}")
            return
        try:
            build.make_transform(regular, data, seed=0, outputs=2)
            build.make_policy(regular)
        except (ValueError, TypeError) as error:
            self.say("regularisation", str(error))

    # -- what needs the data -----------------------------------------------------------------------------------

    def _monitors(
        self, data: Data, settings: Settings | None, regular: Regularisation | None, scheduler: Part | None
    ) -> tuple[str, Literal["min", "max"]]:
        """The metric that chooses the best epoch, and which way is better; every monitor's name is checked."""
        known = ["train/loss", *(f"val/{m}" for m in evaluation.METRICS[data.task])]
        stopping = (regular.early_stopping if regular else None) or {}
        chosen = settings.monitor if settings else "auto"
        for key, name in (
            ("trainer.monitor", chosen),
            ("regularisation.early_stopping.monitor", stopping.get("monitor", "auto")),
            ("scheduler.monitor", scheduler.arguments.get("monitor", "auto") if scheduler else "auto"),
        ):
            if name not in ("auto", *known):
                hint = did_you_mean(str(name), known)
                self.say(key, f"there is no metric `{name}`{hint}; there are auto, {', '.join(known)}")
        monitor = chosen if chosen in known else f"val/{evaluation.default_monitor(data.task)}"
        return monitor, evaluation.mode(monitor.split("/")[1])

    def _model(self, plan: Plan) -> None:
        """Builds the model without memory, sends a batch through it, and compares the shapes."""
        try:
            with torch.device("meta"):
                model = plan.parts["model"](**plan.sizes)
        except (ValueError, TypeError, RuntimeError) as error:
            self.say("model", str(error).splitlines()[0])
            return
        if not isinstance(model, nn.Module):
            self.say("model._target_", f"it made a {type(model).__name__}, not an nn.Module")
            return
        try:
            plan.rows = models.summary(model, plan.data.in_shape)
        except NotImplementedError:  # an operation that has no meta form: shapes show up in the first step
            return
        except (ValueError, TypeError, RuntimeError) as error:
            self.say("model", f"inputs of shape {list(plan.data.in_shape)} don't pass: {str(error).splitlines()[0]}")
            return
        if not any(p.requires_grad for p in model.parameters()):
            self.say("model", "it has no parameters to train")
        made, wanted = plan.rows[-1].output_shape, (plan.out_features,)
        if made is not None and tuple(made) != wanted:
            self.say(
                "model",
                f"it gives outputs of shape {list(made)}, and {plan.data.task} data of "
                f"{len(plan.data.names)} {'classes' if plan.data.classes else 'targets'} under this "
                f"loss needs {list(wanted)}",
            )
        if any(row.type == "Sign" for row in plan.rows):
            plan.notes.append("activation=sign has a gradient of zero everywhere: the layers below it cannot learn")

    def _scheduler(self, plan: Plan) -> None:
        weight = nn.Parameter(torch.zeros(2, 2))
        try:
            build.make_schedule(plan, torch.optim.SGD([weight], lr=0.1, momentum=0.9))
        except (ValueError, TypeError) as error:
            self.say("scheduler", str(error))

    def _ignored(self, plan: Plan) -> None:
        """Settings that have no effect are named."""
        peak, lr = plan.parts["scheduler"].arguments.get("max_lr"), plan.parts["optimizer"].arguments.get("lr")
        if peak is not None and lr is not None and peak != lr:
            plan.notes.append(f"optimizer.lr={lr} is not used: the scheduler rises to scheduler.max_lr={peak}")
        typed = {o.split("=")[0] for o in plan.overrides}
        if plan.settings.max_steps and "trainer.epochs" in typed:
            plan.notes.append("trainer.epochs is not used: trainer.max_steps decides")
        if plan.settings.accumulate > 1 and plan.batch_size is None:
            plan.notes.append("trainer.accumulate is not used: a full batch is one step")
        if plan.workers and isinstance(plan.data.train, Tensors) and not plan.regularisation.augmentation.get("policy"):
            plan.notes.append("data.workers is not used: this data lives in memory, on the device")


_PASSED = {  # names that the border fills in
    "data": (),
    "model": ("in_features", "in_shape", "in_channels", "out_features", "num_classes"),
    "loss": ("task", "class_counts", "samples"),
    "optimizer": ("params",),
    "scheduler": ("base_lr", "total_steps", "steps_per_epoch", "optimizer"),
}


def _named(error: Exception, keys: Any) -> str | None:
    """The knob that a message speaks of: torch writes `Invalid learning rate: -1`."""
    text = str(error).lower()
    if "learning rate" in text:
        return "lr"
    return next((k for k in keys if k.replace("_", " ") in text), None)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _reduced(data: Data, settings: Settings, batch_size: int | None) -> tuple[Data, Settings]:
    """The data and settings of `overfit_batches` or `fast_dev_run`."""
    if settings.fast_dev_run:
        return data, replace(settings, epochs=1, max_steps=None, limit_train_batches=2)
    few = range(min(len(data.train), settings.overfit_batches * (batch_size or len(data.train))))
    part = data.train
    part = replace(part, x=part.x[: len(few)], y=part.y[: len(few)]) if isinstance(part, Tensors) else Subset(part, few)
    return replace(data, train=part, val=part, test=part), settings


def _class_counts(data: Data) -> list[int] | None:
    """Training samples of each class, or positives of each label; None where the data only streams."""
    if not isinstance(data.train, Tensors) or not data.classes:
        return None
    y = data.train.y
    if data.task == "multilabel":
        return y.sum(0).long().tolist()
    return torch.bincount(y, minlength=len(data.classes)).tolist()
