"""A composed configuration becomes a checked plan: every mistake is collected before anything is written.

Each check that can still run does, so that a user sees all that is wrong at once; a check that needs what failed
before it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.config import construct, trials
from dltrain.config.compose import Composed
from dltrain.config.hydra import as_yaml
from dltrain.config.mistakes import reason
from dltrain.config.nodes import SLOTS, Nodes
from dltrain.config.policy import Part, did_you_mean
from dltrain.config.settings import Regularisation, Settings, device_or_auto, pick_device
from dltrain.data import Data, Tensors, take
from dltrain.data.fingerprint import fingerprint
from dltrain.engine.steps import compiled, cuda_graph, direct
from dltrain.engine.trainer import seed_everything
from dltrain.errors import CheckpointError, ConfigError, DataError
from dltrain.errors.output import cut
from dltrain.parts import losses, metrics, pretrained
from dltrain.runs import checkpoint, foreign
from dltrain.runs.foreign import LARGEST_CONFIG
from dltrain.runs.reading import flat


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
    workers: int | None  # None: as many as the loader finds useful
    device: torch.device
    monitor: str
    mode: Literal["min", "max"]
    steps_per_epoch: int
    total_steps: int
    schedule_steps: int
    loss: nn.Module
    out_features: int
    rate_key: str = "optimizer.lr"  # the key that decides the highest learning rate
    resume: str | None = None
    pretrained: Literal["fetch", "cached", "present", "skip"] = "fetch"  # as `pretrained.weights` takes it
    diagnose: bool = False
    overrides: tuple[str, ...] = ()
    rows: list[Any] = field(default_factory=list)  # the model's summary
    step: Literal["direct", "plain", "compiled", "graph"] = "plain"
    why_plain: str | None = None  # why the step is not the direct one
    notes: list[str] = field(default_factory=list)

    @property
    def sizes(self) -> dict[str, Any]:
        """What the data decides, under the names that constructors use."""
        return sizes(self.data, self.out_features)

    @cached_property
    def fingerprint(self) -> dict[str, str]:
        """SHA-256 of each part of the data, worked out once: it reads every byte."""
        return fingerprint(self.data)

    @property
    def report_steps(self) -> int:
        """Steps between reports."""
        return max(1, round(self.settings.report_every * self.steps_per_epoch))

    @property
    def eval_steps(self) -> int:
        """Steps between validations."""
        return max(1, round(self.settings.eval_every * self.steps_per_epoch))

    @cached_property
    def text(self) -> str:
        """The configuration as config.yaml holds it."""
        return as_yaml(self.config)


def sizes(data: Any, out_features: int) -> dict[str, Any]:
    """What `Data`, or the facts that a run keeps of them, decide, under the names that constructors use."""
    return {
        "in_features": data.in_features,
        "in_shape": data.in_shape,
        "in_channels": data.in_shape[0],
        "out_features": out_features,
        "num_classes": out_features,
    }


def make_plan(composed: Composed, allow: Sequence[str] = (), *, writes: bool = True) -> Plan:
    """Checks everything and loads the data; raises ConfigError with all mistakes, or DataError.

    `writes` says whether a run folder is to be made, so that its place is checked, too.
    """
    return _Planner(composed, allow).plan(writes=writes)


@dataclass(frozen=True)
class Outline:
    """What a stored configuration says, checked, before any data are read."""

    config: dict[str, Any]
    seed: int
    settings: Settings
    parts: dict[str, Part]
    batch_size: int | None
    workers: int | None


def outline(composed: Composed, allow: Sequence[str] = (), *, slots: Sequence[str]) -> Outline:
    """Some parts of a stored configuration, checked as `make_plan` checks them.

    A device that this machine lacks gives way to one that it has, unless an override names it.
    """
    nodes = Nodes(composed, allow)
    trainer = nodes.cfg.get("trainer")
    if isinstance(trainer, dict) and not any(o.startswith("trainer.device=") for o in composed.overrides):
        trainer["device"] = device_or_auto(trainer.get("device"))
    seed, *_ = nodes.top(writes=False)
    settings = nodes.tried("trainer", nodes.knobs("trainer", Settings))
    parts = {slot: nodes.part(slot) for slot in slots}
    batch_size, workers = nodes.loader()
    nodes.mistakes.stop()
    return Outline(nodes.cfg, seed, settings, parts, batch_size, workers)


class _Planner:
    """Collects mistakes while it works; each part is None when it could not be made."""

    def __init__(self, composed: Composed, allow: Sequence[str]) -> None:
        self.nodes = Nodes(composed, allow)
        self.mistakes, self.say = self.nodes.mistakes, self.nodes.say
        self.notes: list[str] = []
        self.few: tuple[Tensor, Tensor] | None = None  # the first training samples

    def plan(self, *, writes: bool) -> Plan:
        nodes = self.nodes
        seed, name, runs_dir, resume = nodes.top(writes=writes)
        settings = nodes.tried("trainer", nodes.knobs("trainer", Settings))
        if settings:
            construct.flush_denormals(settings)
        regular = nodes.tried("regularisation", nodes.knobs("regularisation", Regularisation))
        parts = {slot: nodes.part(slot) for slot in SLOTS}
        batch_size, workers = nodes.loader()
        optimizer = self._optimizer(parts["optimizer"], settings)
        data = self._data(parts["data"], seed)
        if data and settings and (settings.overfit_batches > 0 or settings.fast_dev_run):
            data, settings = reduced(data, settings, batch_size)
        loss, outputs = self._loss(parts["loss"], data)
        self._augmentation(regular, data, loss, outputs)
        monitor, mode = self._monitors(data, regular, parts["scheduler"])
        rows, model = self._model(parts["model"], data, outputs, batch_size, settings)
        step, why_plain = self._step(settings, data, model, loss, optimizer)
        per_epoch, total = _steps(data, settings, batch_size)
        planned = (settings.schedule_steps if settings else None) or total
        made = self._scheduler(parts["scheduler"], optimizer, steps=planned, per_epoch=per_epoch, monitor=monitor)
        if made and data and settings:
            self._try_schedule(made, parts["scheduler"], settings, steps=total, per_epoch=per_epoch)
        self.mistakes.stop()
        plan = Plan(
            config=nodes.cfg,
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
            rate_key=self._rate_key(parts),
            resume=resume,
            pretrained="cached" if nodes.composed.stored else "fetch",
            diagnose=nodes.cfg.get("diagnose") is True,
            overrides=nodes.composed.overrides,
            rows=rows,
            step=step,
            why_plain=why_plain,
            notes=[*data.notes, *self.notes],
        )
        plan.notes += [*_ignored(plan), *nodes.composed.switched_beside()]
        _check_readable(plan)
        return plan

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

    def _rate_key(self, parts: dict[str, Part]) -> str:
        """A schedule with a peak of its own does not ask the optimizer's rate, unless its peak is said to be that.

        Of a stored configuration, which has numbers alone, equal ones count as said to be.
        """
        peak, lr = parts["scheduler"].arguments.get("max_lr"), parts["optimizer"].arguments.get("lr")
        linked = self.nodes.composed.resolved.copies.get("scheduler.max_lr") == "optimizer.lr"
        follows = peak == lr if self.nodes.composed.stored else linked
        return "optimizer.lr" if peak is None or follows else "scheduler.max_lr"

    def _data(self, part: Part | None, seed: Any) -> Data | None:
        if part is None or (self.mistakes and "root" in part.names):  # a download takes minutes, mistakes come first
            return None
        try:
            seed_everything(seed if isinstance(seed, int) else 0)  # a user's data may draw random numbers
            data = construct.make_data(part, stored=self.nodes.composed.stored)
            if not isinstance(data, Data):
                raise TypeError(f"it returned a {type(data).__name__}, not a dltrain.data.Data")
            trials.contents(data)
            self.few = trials.few(data)
            if data.transform:
                self._transform(data)
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

    def _transform(self, data: Data) -> None:
        """The change of train samples, tried on some."""
        try:
            trials.change(data, data.transform)
        except Exception as error:
            self.say("data.train_transform", reason(error).removeprefix("data.train_transform "))

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
            if idle := [name for name, p in loss.named_parameters() if p.requires_grad]:
                raise ValueError(
                    f"{type(loss).__name__} has parameters that would not be trained ({', '.join(idle[:3])}): "
                    "move them into the model, or make them buffers"
                )
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
            if policy := construct.make_policy(regular, data):
                trials.change(data, policy)
            if transform := construct.make_transform(regular, data, seed=0, outputs=outputs):
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
        known = ["train/loss", *(f"val/{m}" for m in metrics.METRICS[data.task])]
        stopping = (regular.early_stopping if regular else None) or {}
        trainer = self.nodes.cfg.get("trainer")
        chosen = trainer.get("monitor", "auto") if isinstance(trainer, dict) else "auto"
        for key, name in (
            ("trainer.monitor", chosen),
            ("regularisation.early_stopping.monitor", stopping.get("monitor", "auto")),
            ("scheduler.monitor", scheduler.arguments.get("monitor", "auto") if scheduler else "auto"),
        ):
            if name not in ("auto", *known):
                hint = did_you_mean(str(name), known)
                self.say(key, f"there is no metric `{name}`{hint or '; there are auto, ' + ', '.join(known)}")
        monitor = chosen if chosen in known else f"val/{metrics.default_monitor(data.task)}"
        return monitor, metrics.mode(monitor.split("/")[1])

    def _model(
        self,
        part: Part | None,
        data: Data | None,
        outputs: int | None,
        batch_size: int | None,
        settings: Settings | None,
    ) -> Any:
        """Builds the model without memory, sends a sample through it, and compares the shapes.

        Returns its summary, and the model.
        """
        if part is None or data is None or outputs is None:
            return [], None
        # Code that looks at values can't run on the meta device, so only the CPU's word counts against a user's model.
        for device in ("meta",) if part.function.__module__.startswith("dltrain.") else ("meta", "cpu"):
            with pretrained.weights("skip" if self.nodes.composed.stored else "fetch"):
                model, rows, error = trials.model(part, sizes(data, outputs), device)
            if error is None or isinstance(error, trials.TooMuchError) or (model and trials.is_large(model)):
                break
        if (file := self.nodes.composed.file) and model:
            try:  # those that take no memory are compared in full, by the keys that changed
                checkpoint.check_fits(file.parent / "checkpoints", model.state_dict(), least=trials.LARGE)
            except CheckpointError as error:
                raise ConfigError(str(error)) from error
        if error is not None:
            self.mistakes.blame("model", error, part.arguments if model is None else ())
            return [], None
        if settings and pick_device(settings.device).type == "cpu" and (bad := trials.too_large(model)):
            self.say("model", bad)
            return [], None
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
        return rows, model

    def _step(
        self,
        settings: Settings | None,
        data: Data | None,
        model: nn.Module | None,
        loss: nn.Module | None,
        optimizer: Optimizer | None,
    ) -> tuple[Any, str | None]:
        """Which step it is, and why it is the plain one."""
        if settings is None or data is None or model is None or loss is None or optimizer is None:
            return "plain", None
        facts = {"precision": settings.precision, "device": pick_device(settings.device)}
        wanted = settings.step
        if wanted == "graph":
            if why := "trainer.compile=true" if settings.compile else cuda_graph.why_not(model, optimizer, **facts):
                self.say("trainer.step", f"{why}; use auto")
            return "graph", None
        if wanted == "compiled":
            if why := "trainer.compile=true" if settings.compile else compiled.why_not(model, optimizer, **facts):
                self.say("trainer.step", f"{why}; use auto")
            elif compiled.has_compiler():
                if not direct.why_not(model, loss, optimizer, **facts, in_shape=data.in_shape):
                    self.notes.append("this net can take the direct step, with nothing to compile: step=auto")
                return "compiled", None
            else:
                self.notes.append("trainer.step=compiled needs a C++ compiler, and there is none (apt install g++)")
        why = direct.why_not(model, loss, optimizer, **facts, in_shape=data.in_shape)
        why = "trainer.compile=true" if settings.compile else why
        if why and wanted == "direct":
            self.say("trainer.step", f"{why}; use auto or plain")
        if wanted == "plain":
            why = "trainer.step=plain"
        return ("plain" if why else "direct"), why

    def _scheduler(
        self, part: Part | None, optimizer: Optimizer | None, *, steps: int, per_epoch: int, monitor: str
    ) -> Any:
        """The schedule over stand-ins."""
        if part is None or optimizer is None or "scheduler.monitor" in self.mistakes.lines:
            return None
        try:
            return construct.make_schedule(
                part, optimizer, total_steps=steps, steps_per_epoch=per_epoch, monitor=monitor
            )
        except Exception as error:
            self.mistakes.blame("scheduler", error, part.arguments)
            return None

    def _try_schedule(self, made: Any, part: Part, settings: Settings, *, steps: int, per_epoch: int) -> None:
        """Whether it lasts as long as the run, does something, and watches its metric the right way round."""
        try:
            notes = trials.schedule(made, part.function.__name__, steps=steps, per_epoch=per_epoch)
        except Exception as error:
            self.mistakes.blame("scheduler", error, part.arguments)
            return
        if not settings.fast_dev_run:
            self.notes += notes
        way = metrics.mode(made.monitor.split("/")[1]) if hasattr(made, "monitor") else None
        if (set_to := part.arguments.get("mode")) in ("min", "max") and way and set_to != way:
            better = {"min": "smaller", "max": "larger"}[way]
            self.notes.append(f"scheduler.mode={set_to}: of {made.monitor} the {better} is better; mode=auto knows it")


def _steps(data: Data | None, settings: Settings | None, batch_size: int | None) -> tuple[int, int]:
    """Optimizer steps of an epoch and of the whole run; round numbers while they are not known."""
    if data is None or settings is None:
        return 100, 1000
    batches = math.ceil(len(data.train) / (batch_size or len(data.train)))
    per_epoch = math.ceil(min(batches, settings.limit_train_batches or batches) / max(1, settings.accumulate))
    return per_epoch, settings.max_steps or max(1, round(settings.epochs * per_epoch))


def _check_readable(plan: Plan) -> None:
    """Raises ConfigError where the run folder's readers would refuse what this run writes."""
    if found := foreign.fault(plan.config):
        key, what = found
        shown = f"{key}={cut(str(flat(plan.config)[key]))}" if key in flat(plan.config) else key or "the configuration"
        raise ConfigError(f"{shown} has {what}, which a run folder can't hold; write it in another way")
    if (size := len(plan.text.encode())) > LARGEST_CONFIG:
        sizes = {key: len(str(value)) for key, value in flat(plan.config).items()}
        key = max(sizes, key=sizes.__getitem__)
        raise ConfigError(
            f"the configuration takes {size:,} bytes as YAML, and {LARGEST_CONFIG:,} are the most; "
            f"{cut(key)} takes {sizes[key]:,}: shorten it"
        )


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
    for knob in ("clip_norm", "clip_value") if plan.parts["optimizer"].function is torch.optim.LBFGS else ():
        if getattr(plan.regularisation, knob) is not None:
            found.append(f"lbfgs takes the clipped gradient for the slope of the loss: regularisation.{knob}=null")
    if few:
        found.append(f"overfit_batches: train, validation and test are the same {len(plan.data.train)} samples")
    if plan.settings.accumulate > 1 and plan.batch_size is None:
        found.append("trainer.accumulate is not used: a full batch is one step")
    if (
        plan.workers
        and isinstance(plan.data.train, Tensors)
        and not construct.make_sample_transform(plan.regularisation, plan.data)
    ):
        found.append("data.workers is not used: this data lives in memory, on the device")
    return found


def reduced(data: Data, settings: Settings, batch_size: int | None) -> tuple[Data, Settings]:
    """The data and settings of `overfit_batches` or `fast_dev_run`."""
    if settings.fast_dev_run:
        return data, replace(settings, epochs=1, max_steps=None, limit_train_batches=2)
    n = len(data.train)
    part = take(data.train, torch.arange(min(n, settings.overfit_batches * (batch_size or n))))
    return replace(data, train=part, val=part, test=part), settings
