"""What a run keeps: its best weights, and checkpoints from which it goes on as if nothing had happened."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

from torch import Tensor

from dltrain.config.plan import Plan
from dltrain.data.randomness import mix
from dltrain.engine.records import Record
from dltrain.engine.state import check, of_process, seed_everything
from dltrain.engine.trainer import Trainer
from dltrain.errors import CheckpointError, DivergedError, DltrainError, StorageError
from dltrain.errors.output import say
from dltrain.parts import State
from dltrain.parts.regularisers import Best, EarlyStopping
from dltrain.runs import checkpoint, storage
from dltrain.training import resuming


class Keeper:
    """Decides what is best and when to save; holds the best weights in memory between saves."""

    def __init__(self, folder: Path, trainer: Trainer, plan: Plan, stopping: EarlyStopping | None, best: Best) -> None:
        self.folder, self.trainer, self.plan, self.stopping, self.best = folder, trainer, plan, stopping, best
        self.best_weights = checkpoint.copy_to_cpu(trainer.best_model.state_dict())
        self.best_metrics: dict[str, float] = {}
        self.last_metrics: dict[str, float] = {}
        self.exhausted = False
        self.unmistaken = 0  # steps in a row without a mistake, of a perceptron
        self.seconds = 0.0
        self._saved_at = 0.0
        self._saved: tuple[int, bool] | None = None  # the step, and whether its report was still to come
        if plan.is_rank_zero:
            storage.clean(folder)

    def see(self, record: Record) -> None:
        """Takes a record in."""
        if any(name.startswith("val/") for name in record.metrics):
            self.last_metrics = _numbers(record)
            if self.stopping and self.stopping.monitor in record.metrics:
                self.exhausted = self.stopping.update(record.metrics[self.stopping.monitor])
        if self.plan.settings.stop_without_mistakes and self._separates(record):
            self.exhausted = True
        if self._improved(record.metrics):
            self.best_metrics = _numbers(record)
            for name, tensor in self.trainer.best_model.state_dict().items():
                self.best_weights[name].copy_(tensor)

    def _separates(self, record: Record) -> bool:
        """Whether there is a whole epoch without a mistake among the last steps."""
        mistakes = record.metrics.get("train/mistakes")
        self.unmistaken = 0 if mistakes != 0 else self.unmistaken + len(record.losses)
        epoch = self.plan.steps_per_epoch
        return self.unmistaken >= epoch + record.step % epoch

    def _improved(self, metrics: dict[str, float]) -> bool:
        """By the monitor; among equals (accuracies of a small set often are) by the validation loss."""
        value = metrics.get(self.plan.monitor)
        if value is not None and value == self.best.value:
            return metrics.get("val/loss", math.inf) < self.best_metrics.get("loss", math.inf)
        return self.best.improved(value)

    @property
    def due(self) -> float:
        """When it is time to save, by the run's clock."""
        return self._saved_at + self.plan.settings.save_every

    def save(self, seconds: float) -> None:
        """Writes the best weights if they are new, then the state to go on from; keeps two of the latter. Of several
        processes one writes, what is each one's own, too.
        """
        trainer = self.trainer
        if self._saved != (trainer.steps, trainer.pending):
            own = trainer.state_dict()
            others = self._others(own)
            if self.plan.is_rank_zero:
                self._write({"trainer": own, **self._state(), "seconds": seconds, **others})
            self._saved, self._saved_at = (trainer.steps, trainer.pending), seconds
        if self.plan.is_rank_zero:
            self._prune()  # also where nothing was saved: a run may have been killed between the two

    def _others(self, own: State) -> State:
        """What the other processes' next steps depend on beside what all have: one entry each, in their order."""
        if (ranks := self.plan.ranks) is None:
            return {}
        ranks.broadcast_buffers(self.trainer.model, self.trainer.loss, self.trainer.best_model)
        ranks.check_weights(self.trainer.model.state_dict())
        return {"others": ranks.all_gather_object(of_process(own))[1:]}

    def _write(self, state: State) -> None:
        trainer = self.trainer
        if (step := self._best_step) is not None and not self._best_folder(step).exists():
            best = {"model": self.best_weights, "state": {"metrics": self.best_metrics}}
            checkpoint.save(self.folder, step=step, kind="best", more_follows=True, **best)
        checkpoint.save(self.folder, step=trainer.steps, model=trainer.model.state_dict(), state=state)

    def _prune(self) -> None:
        newest = checkpoint.name("step", self.trainer.steps)
        older = [p for p in checkpoint.find(self.folder) if int(p.name.rpartition("-")[2]) < self.trainer.steps]
        best = [] if self._best_step is None else [self._best_folder(self._best_step)]
        keep = [*older[-1:], self.folder / newest, *best]  # later ones were damaged, and passed over
        checkpoint.prune(self.folder, keep=keep)

    @property
    def _best_step(self) -> int | None:
        return int(self.best_metrics["step"]) if self.best_metrics else None

    def _best_folder(self, step: int) -> Path:
        return self.folder / checkpoint.name("best", step)

    def _state(self) -> State:
        """All but the trainer's state and the clock."""
        plan, steps = self.plan, self.trainer.steps
        epoch, batch = divmod(steps, plan.steps_per_epoch)
        return {
            "best": self.best.state_dict(),
            "best_metrics": self.best_metrics,
            "last_metrics": self.last_metrics,
            "stopping": self.stopping.state_dict() if self.stopping else None,
            "exhausted": self.exhausted,
            "unmistaken": self.unmistaken,
            "position": {"step": steps, "epoch": epoch, "batch": batch * plan.settings.accumulate},
            "plan": {"total_steps": plan.total_steps, "schedule_steps": plan.schedule_steps},
            "config": plan.config,
            "config_sha256": resuming.digest(plan.config),
            "data": self.plan.fingerprint,
            "environment": resuming.facts(plan),
        }

    def restore(self, *, allow_changed_data: bool = False) -> None:
        """Goes back to the newest whole checkpoint; without any, the run starts at its beginning.

        Raises CheckpointError when there are some and none is whole, or when it is not one of this run.
        """
        faults: list[str] = []
        best: dict[str, Tensor] | None = None
        like = {name: tensor.to("meta") for name, tensor in self.best_weights.items()}
        self.best_weights.clear()  # room for those that are read

        def accept(state: State) -> None:
            nonlocal best
            best = self._best_of(state)

        found = checkpoint.latest(self.folder, faults, accept=accept)
        if best is None:
            self.best_weights = checkpoint.copy_to_cpu(self.trainer.best_model.state_dict())
        if found is None:
            return
        path, weights, state = found
        for fault in faults:
            say(f"note: {fault}; using {path.name}", error=True)
        try:
            resuming.compare(state, self.plan, str(path), allow_changed_data=allow_changed_data)
            self._load(weights, state, best, like)
        except CheckpointError as error:
            raise CheckpointError(f"{path} does not fit this configuration: {error}") from error
        except DltrainError:
            raise
        except Exception as error:  # whatever torch and NumPy say to values that no run writes
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"{path} does not fit this configuration: {reason}") from error
        if not faults:
            self._saved = (self.trainer.steps, self.trainer.pending)

    def _best_of(self, state: State) -> dict[str, Tensor] | None:
        """The best weights that a state speaks of."""
        metrics = state.get("best_metrics")
        if not isinstance(metrics, dict) or not isinstance(metrics.get("step", 0), int):
            raise CheckpointError("its best metrics are damaged")
        return checkpoint.load(self._best_folder(metrics["step"]))[0] if "step" in metrics else None

    def _load(
        self, weights: dict[str, Tensor], state: State, best: dict[str, Tensor] | None, like: dict[str, Tensor]
    ) -> None:
        """best: the best weights, like: such as they must be."""
        check(weights, dict(sorted(self.trainer.model.state_dict().items())), "model")
        if best is not None:
            check(best, dict(sorted(like.items())), "best")
        own, older = self._state(), State(unmistaken=0)  # what checkpoints once lacked
        state = older | state
        for name in ("best", "stopping", "exhausted", "unmistaken", "position"):
            check(state.get(name), own[name], name)
        for name in ("best_metrics", "last_metrics"):
            if not all(isinstance(v, (int, float)) for v in state[name].values()):
                raise CheckpointError(f"{name}: want numbers")
        self.trainer.load_state_dict(self._own(state))
        self.trainer.model.load_state_dict(weights)
        self.best.load_state_dict(state["best"])
        if self.stopping:
            self.stopping.load_state_dict(state["stopping"])
        self.best_metrics, self.last_metrics = state["best_metrics"], state["last_metrics"]
        self.exhausted, self.unmistaken = state["exhausted"], state["unmistaken"]
        self.seconds = self._saved_at = float(state["seconds"])
        self.best_weights = best or self.best_weights

    def _own(self, state: State) -> State:
        """The trainer's state as this process has it: of another number of processes those that are new draw anew."""
        ranks, kept, others = self.plan.ranks, state["trainer"], state.get("others") or []
        rank, size = (0, 1) if ranks is None else (ranks.rank, ranks.world_size)
        if not (isinstance(others, list) and all(isinstance(other, dict) for other in others)):
            raise CheckpointError("others: want a mapping for each process but the first")
        if len(others) == size - 1:
            return kept | others[rank - 1] if rank else kept
        if rank == 0:
            counts = [other["mistakes"] for other in others if type(other.get("mistakes")) is int]
            return kept | {"mistakes": kept.get("mistakes", 0) + sum(counts)}
        seed_everything(mix(self.plan.seed, rank, kept["steps"]))
        return kept | of_process(self.trainer.state_dict())

    def keep_diverged(self, error: DivergedError) -> None:
        """Puts the state before a bad update, with its gradients, beside the good checkpoints, for study."""
        if error.state is None or not self.plan.is_rank_zero:
            return
        model, step = self.trainer.model.state_dict(), error.state["step"]
        assert isinstance(step, int)  # as the guard has it
        try:
            checkpoint.save(self.folder, step=step, model=model, state=error.state, kind="diverged")
        except StorageError as fault:
            say(f"warning: {fault}", error=True)

    def check_space(self) -> None:
        """Raises StorageError unless twice the first checkpoint fits: weights, moments, averages and best weights."""
        if not self.plan.is_rank_zero:
            return
        size = sum(t.nbytes for t in self.best_weights.values())
        wanted, free = 2 * 5 * size, shutil.disk_usage(self.folder.parent).free
        if free < wanted:
            raise StorageError(
                f"{self.folder.parent} has {free / 2**20:.1f} MiB free, and checkpoints need about "
                f"{wanted / 2**20:.1f} MiB; free some, or set runs_dir=..."
            )


def _numbers(record: Record) -> dict[str, float]:
    """A record's validation metrics under their plain names, its training loss, and where it was taken."""
    val = {name.removeprefix("val/"): value for name, value in record.metrics.items() if name.startswith("val/")}
    return {**val, "train_loss": record.metrics["train/loss"], "epoch": record.epoch, "step": record.step}
