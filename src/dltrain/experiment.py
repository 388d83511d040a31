"""One run from a plan: the visible loop, its checkpoints, and what it leaves in the run folder."""

from __future__ import annotations

import math
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from torch import nn

from dltrain import build, checkpoint, runs
from dltrain.errors import CheckpointError, DivergedError, DltrainError
from dltrain.plan import Plan
from dltrain.regularisation import Best
from dltrain.tracking import Tracker
from dltrain.trainer import Record, Trainer, seed_everything


@dataclass
class Session:
    """What a run works with while it lasts."""

    plan: Plan
    trainer: Trainer
    train_loader: Any
    loaders: dict[str, Any]  # of each split, in order, for evaluation
    evaluate: Callable[[nn.Module, Any], dict[str, float]]
    keeper: Keeper
    tracker: Tracker
    clock: runs.Stopwatch


def train(plan: Plan, folder: Path, *, resume: bool = False) -> dict[str, Any]:
    """Trains in a run folder that is locked by the caller; returns the summary, which is also written there.

    status: done, early_stopped, stopped (by a signal, named by `signal`), diverged or failed.
    """
    session = _open(plan, folder, resume=resume)
    runs.write_json(folder / "summary.json", summary := {"status": "running", "seconds": session.clock.seconds})
    try:
        with stop_on_signal(session.trainer) as signals:
            _loop(session)
            result = {} if signals else _judge(session)
        summary = {"status": "stopped", "signal": signals[0]} if signals else result
    except BaseException as error:
        summary = {"status": "diverged" if isinstance(error, DivergedError) else "failed"}
        summary["error"] = str(error) if isinstance(error, DltrainError) else f"{type(error).__name__}: {error}"
        raise
    finally:
        summary |= {**session.keeper.summary(), "seconds": round(session.clock.seconds, 3)}
        if summary["status"] != "stopped":
            session.tracker.hparams(_flat(plan.config), summary)
        session.tracker.close()
        runs.write_json(folder / "summary.json", summary)
    return summary


def _loop(session: Session) -> None:
    """The training loop: its body is all that happens at a report, in this order."""
    plan, keeper, tracker = session.plan, session.keeper, session.tracker
    if not keeper.exhausted:  # a run may have been killed after its last step
        for record in session.trainer.fit(
            session.train_loader,
            steps=plan.total_steps,
            report_every=max(1, round(plan.settings.report_every * plan.steps_per_epoch)),
            eval_every=max(1, round(plan.settings.eval_every * plan.steps_per_epoch)),
            validate=lambda model: session.evaluate(model, session.loaders["val"]),
            limit_batches=plan.settings.limit_train_batches,
            progress=tracker.progress,
        ):
            tracker.write(record)
            keeper.see(record, session.clock.seconds)
            if keeper.exhausted:
                break
    keeper.save(session.clock.seconds)


def _judge(session: Session) -> dict[str, Any]:
    """The metrics of the best weights on every split."""
    model = session.trainer.best_model
    model.load_state_dict(session.keeper.best_weights)
    metrics = {split: session.evaluate(model, loader) for split, loader in session.loaders.items()}
    return {"status": "early_stopped" if session.keeper.exhausted else "done", **metrics}


def _open(plan: Plan, folder: Path, *, resume: bool) -> Session:
    """Builds everything from the seed; a resumed run then goes back to its newest checkpoint."""
    build.set_threads_and_determinism(plan)
    seed_everything(plan.seed)
    trainer = build.make_trainer(plan)
    train_loader, loaders = build.make_loaders(plan)
    stopping = build.make_stopping(plan.regularisation, plan.monitor, plan.mode)
    keeper = Keeper(folder / "checkpoints", trainer, plan, stopping)
    if resume:
        keeper.restore()
    tracker = Tracker(
        folder,
        total_steps=plan.total_steps,
        start=trainer.steps,
        bar=plan.settings.progress,
        tensorboard=plan.settings.tensorboard,
    )
    clock = runs.Stopwatch(keeper.seconds)
    return Session(plan, trainer, train_loader, loaders, build.make_evaluate(plan), keeper, tracker, clock)


def prepare(plan: Plan, folder: Path, command: list[str]) -> None:
    """Writes what is known before the first step: configuration, what was typed, environment, data facts."""
    data = plan.data
    runs.write_text(folder / "config.yaml", OmegaConf.to_yaml(OmegaConf.create(plan.config)))
    runs.write_text(folder / "overrides.txt", "".join(f"{o}\n" for o in plan.overrides))
    facts = {"device": str(plan.device), "threads": build.threads(plan), "monitor": plan.monitor}
    runs.write_json(folder / "environment.json", runs.environment(command, **facts))
    runs.write_json(
        folder / "data.json",
        {
            "task": data.task,
            "in_shape": list(data.in_shape),
            "classes": list(data.classes),
            "targets": list(data.targets),
            "rows": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
            "target_mean": None if data.target_mean is None else data.target_mean.tolist(),
            "target_std": None if data.target_std is None else data.target_std.tolist(),
            "preprocessing": data.preprocessing,
            "notes": list(plan.notes),
        },
    )


class Keeper:
    """Decides what is best and when to save; holds the best weights in memory between saves."""

    def __init__(self, folder: Path, trainer: Trainer, plan: Plan, stopping: Any) -> None:
        self.folder, self.trainer, self.stopping = folder, trainer, stopping
        self.monitor, self.every = plan.monitor, plan.settings.save_every
        self.best = Best(plan.mode)
        self.best_weights = checkpoint.copy_to_cpu(trainer.best_model.state_dict())
        self.best_metrics: dict[str, float] = {}
        self.last_metrics: dict[str, float] = {}
        self.exhausted = False
        self.seconds = 0.0
        self._saved_at = 0.0

    def see(self, record: Record, seconds: float) -> None:
        """Takes a record in, and saves when it is time."""
        if any(name.startswith("val/") for name in record.metrics):
            self.last_metrics = _numbers(record)
            if self.stopping and self.stopping.monitor in record.metrics:
                self.exhausted = self.stopping.update(record.metrics[self.stopping.monitor])
        if self._improved(record.metrics):
            self.best_metrics = _numbers(record)
            self.best_weights = checkpoint.copy_to_cpu(self.trainer.best_model.state_dict())
        if seconds - self._saved_at >= self.every:
            self.save(seconds)

    def _improved(self, metrics: dict[str, float]) -> bool:
        """By the monitor; among equals (accuracies of a small set often are) by the validation loss."""
        value = metrics.get(self.monitor)
        if value is not None and value == self.best.value:
            return metrics.get("val/loss", math.inf) < self.best_metrics["loss"]
        return self.best.improved(value)

    def save(self, seconds: float) -> None:
        """Writes the best weights if they are new, then the state to go on from; keeps two of the latter."""
        best = self.best_metrics.get("step")
        if best is not None and not (self.folder / f"best-{best:08d}").exists():
            state = {"metrics": self.best_metrics}
            checkpoint.save(self.folder, step=best, model=self.best_weights, state=state, kind="best")
        state = {
            "trainer": self.trainer.state_dict(),
            "best": self.best.state_dict(),
            "best_metrics": self.best_metrics,
            "last_metrics": self.last_metrics,
            "stopping": self.stopping.state_dict() if self.stopping else None,
            "exhausted": self.exhausted,
            "seconds": seconds,
        }
        path = checkpoint.save(self.folder, step=self.trainer.steps, model=self.trainer.model.state_dict(), state=state)
        keep = [*checkpoint.find(self.folder)[-2:], path]
        keep += [self.folder / f"best-{best:08d}"] if best is not None else checkpoint.find(self.folder, "best")
        checkpoint.prune(self.folder, keep=keep)
        self._saved_at = seconds

    def restore(self) -> None:
        """Goes back to the newest whole checkpoint; without any, the run starts at its beginning."""
        found = checkpoint.latest(self.folder)
        if found is None:
            return
        path, weights, state = found
        try:
            self.trainer.model.load_state_dict(weights)
            self.trainer.load_state_dict(state["trainer"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{path} does not fit this configuration: {reason}") from error
        self.best.load_state_dict(state["best"])
        self.best_metrics, self.last_metrics = state["best_metrics"], state["last_metrics"]
        self.exhausted = state["exhausted"]
        if self.stopping and state["stopping"]:
            self.stopping.load_state_dict(state["stopping"])
        self.seconds = self._saved_at = state["seconds"]
        if "step" in self.best_metrics:
            self.best_weights, _ = checkpoint.load(self.folder / f"best-{self.best_metrics['step']:08d}")

    def summary(self) -> dict[str, Any]:
        """The best and the last validation, each a map of metric to number, and the steps done."""
        return {"best": self.best_metrics, "last": self.last_metrics, "steps": self.trainer.steps}


def _numbers(record: Record) -> dict[str, float]:
    """A record's validation metrics under their plain names, its training loss, and where it was taken."""
    val = {name.removeprefix("val/"): value for name, value in record.metrics.items() if name.startswith("val/")}
    return {**val, "train_loss": record.metrics["train/loss"], "epoch": record.epoch, "step": record.step}


_HOUSEKEEPING = ("runs_dir", "name", "trainer.progress", "trainer.tensorboard", "trainer.threads", "trainer.save_every")


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys with values that TensorBoard can show: `model: MLP`, `model.widths: [64]`, ..."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            flat |= _flat(value, f"{name}.")
        elif key == "_target_":
            flat[prefix.removesuffix(".")] = value.rsplit(".", 1)[-1]
        elif value is not None and name not in _HOUSEKEEPING:
            flat[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    return flat


@contextmanager
def stop_on_signal(trainer: Trainer) -> Iterator[list[str]]:
    """The first SIGINT or SIGTERM ends training after the step at hand; a second one ends the process.

    Yields a list that then holds the signal's name. Only the main thread may take signals: elsewhere nothing
    changes.
    """
    names: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield names
        return

    def stop(number: int, _frame: Any) -> None:
        trainer.stop = True
        names.append(signal.Signals(number).name)
        signal.signal(number, before[number])
        print("\nstopping after this step; once more to leave at once", file=sys.stderr)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        signal.signal(number, stop)
    try:
        yield names
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
