"""One run from a plan: the visible loop, its checkpoints, and what it leaves in the run folder.

`run(plan)` is all of it, and needs no command line. What must be told on the way goes to stderr; a stop on a signal is
for who wants one, `stop.stop_on_signal`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import nn

from dltrain.config import build
from dltrain.config.compose import Composed
from dltrain.config.plan import Plan
from dltrain.data import units
from dltrain.data.loaders import Batches, StreamLoader, TensorLoader
from dltrain.engine import products
from dltrain.engine.judges import Measure, Stopped
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.errors import CheckpointError, DivergedError, DltrainError, Quiet, StorageError
from dltrain.errors.output import say
from dltrain.parts.regularisers import Best
from dltrain.runs import checkpoint, layout, reading, run_folder, storage
from dltrain.runs.tracker import Silent, Tracker
from dltrain.training import board, distributed, overview, resuming
from dltrain.training.distributed import on_rank_zero
from dltrain.training.keeper import Keeper
from dltrain.training.stop import Leavable, Stop
from dltrain.training.summary import Summary

if TYPE_CHECKING:
    from dltrain.training.diagnose import Watch
    from dltrain.training.profile import StepProfile


@dataclass(frozen=True)
class Ended:
    """A run that came to its end, or was stopped. summary: None where there was nothing left to do."""

    plan: Plan
    folder: Path
    summary: Summary | None


Judge = Callable[[nn.Module, Batches], dict[str, float]]


@dataclass
class Session:
    """What a run works with while it lasts."""

    plan: Plan
    trainer: Trainer
    train_loader: TensorLoader | StreamLoader
    loaders: dict[str, TensorLoader | StreamLoader]  # of each split, in order, for evaluation
    validate: Judge
    evaluate: Judge  # with all metrics
    measure: Measure  # of answers to training batches
    keeper: Keeper
    tracker: Tracker | Silent
    clock: run_folder.Stopwatch
    stop: Stop
    until: float | None = None  # a share of its steps, see `train`
    profile: StepProfile | None = None  # of a run with trainer.profile
    watch: Watch | None = None  # of a run with diagnose=true
    _due: float = 0.0  # by the run's clock, when a word or a checkpoint may be due: one look at the clock a step

    def save(self) -> None:
        """A checkpoint, after the log that belongs to it."""
        self.tracker.sync()
        self.keeper.save(self.clock.seconds)

    def tell_when_due(self) -> None:
        """Who follows the run is told how far it is, if the last word is old enough."""
        if (seconds := self.clock.seconds) >= self.tracker.due:
            self.tracker.tell(seconds, self.trainer.steps)

    def save_when_due(self) -> None:
        """The same, and a checkpoint, if the last one is old enough; of several processes all agree that it is."""
        ranks, seconds = self.plan.ranks, self.clock.seconds
        if ranks is not None and ranks.heard[1]:
            self.save()
        if seconds >= self._due:
            self.tell_when_due()
            if ranks is None and seconds >= self.keeper.due:
                self.save()
            self._due = min(self.tracker.due, self.keeper.due)

    def pause_when_due(self) -> None:
        """Has the run stop if its last validation is where it is to pause, and not its end."""
        plan, step = self.plan, self.keeper.last_metrics.get("step", 0)
        if self.until is not None and self.until * plan.total_steps <= step < plan.total_steps:
            self.stop.reason = self.stop.reason or reading.PAUSED

    def validation(self, model: nn.Module) -> dict[str, float]:
        """The metrics of a validation; raises Stopped between batches when the run is to stop."""
        return self._judged(self.validate, model, "val")

    def judge(self, model: nn.Module, split: str) -> dict[str, float]:
        """All metrics of a model on a split; raises Stopped like a validation."""
        return self._judged(self.evaluate, model, split)

    def _judged(self, judge: Judge, model: nn.Module, split: str) -> dict[str, float]:
        batches = Leavable(self.loaders[split], self.stop, self.tell_when_due)
        found = judge(model, batches)  # of fewer rows, where they were left
        if self.stop.by_any(batches.left):
            raise Stopped
        return found


def run(
    plan: Plan, *, command: Sequence[str] = (), stop: Stop | None = None, allow_changed_data: bool = False
) -> Ended:
    """Trains what a plan describes: in a new run folder, or where the plan resumes a run in the one of that.

    command: what was typed, for who wants to make it again. Raises DltrainError for what a user can mend, as
    DivergedError, StorageError or BusyError; whatever is raised in training, the run folder says what happened.
    """
    for folder in on_rank_zero(plan.ranks, lambda: resuming.find(plan)):
        try:
            return go_on(plan, folder, stop=stop, allow_changed_data=allow_changed_data)
        except CheckpointError as error:
            if plan.resume != "auto":
                raise
            resuming.passed_over(folder, str(error))
    folder = on_rank_zero(plan.ranks, lambda: run_folder.create(plan.runs_dir, plan.name))
    with _held(plan, folder):
        if plan.is_rank_zero:
            prepare(plan, folder, command)
            distributed.remember_run(plan.ranks, folder)
        return Ended(plan, folder, train(plan, folder, stop=stop))


def go_on(plan: Plan, folder: Path, *, stop: Stop | None = None, allow_changed_data: bool = False) -> Ended:
    """Resumes the run of a folder, unless it has all the steps that it should have."""
    with _held(plan, folder):
        plan = resuming.judged_as_begun(plan, folder)
        if run_folder.complete(folder, plan.total_steps):
            return Ended(plan, folder, None)
        return Ended(plan, folder, train(plan, folder, resume=True, stop=stop, allow_changed_data=allow_changed_data))


@contextmanager
def _held(plan: Plan, folder: Path) -> Iterator[None]:
    """A run folder that is this run's alone: of several processes the first holds it for all."""
    with run_folder.Lock(folder) if plan.is_rank_zero else nullcontext():
        on_rank_zero(plan.ranks, lambda: None)
        yield


def train(
    plan: Plan,
    folder: Path,
    *,
    resume: bool = False,
    stop: Stop | None = None,
    allow_changed_data: bool = False,
    until: float | None = None,
) -> Summary:
    """Trains in a run folder that is locked by the caller; returns the summary, which is also written there.

    until: pauses at the first validation after this share of its steps, if that is not the last; the run is as one that
    was stopped there, and goes on at any time.
    """
    stop = stop or Stop()
    stop.after(plan.settings.max_time)
    plan = resuming.judged_as_begun(plan, folder) if resume else plan
    session = _open(plan, folder, stop, resume=resume, allow_changed_data=allow_changed_data)
    session.until = until
    summary: Summary = {"status": "running", "seconds": session.clock.seconds}
    if plan.is_rank_zero:
        run_folder.write_json(folder / "summary.json", summary, more_follows=True)
    try:
        _loop(session)
        summary = {"status": "early_stopped" if session.keeper.exhausted else "done", **_judge(session)}
    except Stopped:
        summary = {"status": "stopped", "reason": session.stop.reason}
    except KeyboardInterrupt:  # the second Ctrl-C
        summary = {"status": "stopped", "reason": "SIGINT"}
        raise
    except BaseException as error:
        summary = {"status": "diverged" if isinstance(error, DivergedError) else "failed"}
        summary["error"] = str(error) if isinstance(error, DltrainError | Quiet) else f"{type(error).__name__}: {error}"
        if isinstance(error, DivergedError):
            session.keeper.keep_diverged(error)
            error.folder = folder
        raise
    finally:
        keeper = session.keeper
        summary |= {"best": keeper.best_metrics, "last": keeper.last_metrics, "steps": keeper.trainer.steps}
        summary |= {"seconds": round(session.clock.seconds, 3)}
        if plan.is_rank_zero:
            _close(session, folder, summary)
    return summary


def _close(session: Session, folder: Path, summary: Summary) -> None:
    """Tells the followers how it ended, then writes the summary, whatever becomes of them: a run that is killed in
    between has none, goes on, and tells them again. Where another error is on its way, a full disk is only said.
    """
    plan = session.plan
    try:
        if plan.settings.tensorboard:
            values, texts = board.values(plan.config, folder, plan.chosen), board.texts(plan, folder, summary)
            session.tracker.hparams(values, summary, texts)
        session.tracker.close(session.trainer.steps)
        if session.profile:
            session.profile.close()
    finally:
        _write_summary(folder, summary)


def _write_summary(folder: Path, summary: Summary) -> None:
    try:
        run_folder.write_json(folder / "summary.json", summary)
    except StorageError as error:
        if summary["status"] not in ("diverged", "failed"):
            raise
        say(f"warning: {error}", error=True)


def _loop(session: Session) -> None:
    """The training loop: its body is all that happens at a report, in this order. Raises Stopped when left early."""
    plan, keeper, tracker = session.plan, session.keeper, session.tracker
    if not keeper.exhausted:  # a run may have been killed after its last step, or where it is to pause
        session.pause_when_due()
        for record in session.trainer.fit(
            session.train_loader,
            steps=plan.total_steps,
            report_every=plan.report_steps,
            eval_every=plan.eval_steps,
            validate=session.validation,
            measure=session.measure,
            limit_batches=plan.settings.limit_train_batches,
            progress=session.profile,
            save=session.save_when_due,
            stop=session.stop,
        ):
            tracker.write(record)
            if session.watch:
                tracker.diagnose(record, *session.watch.look())
            keeper.see(record)
            session.save_when_due()
            if keeper.exhausted:
                break
            session.pause_when_due()
    session.save()
    if session.stop():
        raise Stopped


def _judge(session: Session) -> Summary:
    """The metrics of the best weights on every split."""
    model = session.trainer.best_model
    model.load_state_dict(session.keeper.best_weights)
    judged: dict[int, dict[str, float]] = {}  # without a test part, val and test are the same rows
    for split, loader in session.loaders.items():
        if id(loader) not in judged:
            judged[id(loader)] = session.judge(model, split)
    val = judged[id(session.loaders["val"])]
    val |= {name: value for name, value in session.keeper.best_metrics.items() if name in val}  # the same, to the bit
    train, val, test = (judged[id(session.loaders[split])] for split in ("train", "val", "test"))
    ranks = session.plan.ranks
    rows = {
        split: loader.samples if ranks is None else int(ranks.total(loader.samples))
        for split, loader in session.loaders.items()
    }
    summary: Summary = {"train": train, "val": val, "test": test, "rows_judged": rows}
    return {**summary, "no_better": overview.nothing_learned(session.plan, summary)}


def _open(plan: Plan, folder: Path, stop: Stop, *, resume: bool, allow_changed_data: bool) -> Session:
    """Builds everything from the seed; a resumed run then goes back to its newest checkpoint."""
    layout.check(folder, written=True)
    on_rank_zero(plan.ranks, lambda: storage.clean(folder))
    build.set_threads_and_determinism(plan)
    if resume:
        resuming.as_begun(plan.settings, reading.read_json(folder / "environment.json")[0])
    seed_everything(plan.seed)
    if resume and checkpoint.find(folder / "checkpoints"):
        plan = replace(plan, pretrained="skip")  # the checkpoint has all weights
    trainer = build.make_trainer(plan)
    train_loader, loaders = build.make_loaders(plan)
    stopping = build.make_stopping(plan.regularisation, plan.monitor, plan.mode)
    keeper = Keeper(folder / "checkpoints", trainer, plan, stopping, Best(plan.mode))
    if resume:
        keeper.restore(allow_changed_data=allow_changed_data)
    if plan.ranks is not None:
        distributed.start_alike(plan.ranks, plan, trainer, resumed=bool(keeper.seconds))
    tracker = _track(plan, folder, trainer, resume=resume)
    keeper.check_space()
    clock = run_folder.Stopwatch(keeper.seconds)
    judges = build.make_evaluate(plan, plan.metrics), build.make_evaluate(plan, "all"), build.make_measure(plan)
    if plan.ranks is not None:
        stop = distributed.SharedStop(stop, plan.ranks, lambda: clock.seconds >= keeper.due)
    session = Session(plan, trainer, train_loader, loaders, *judges, keeper, tracker, clock, stop)
    if plan.settings.profile and plan.is_rank_zero:
        from dltrain.training.profile import StepProfile

        session.profile = StepProfile(folder, plan.settings.profile, device=plan.device)
    if plan.diagnose and plan.is_rank_zero:
        from dltrain.training.diagnose import Watch

        session.watch = Watch(plan, trainer)
    return session


def _track(plan: Plan, folder: Path, trainer: Trainer, *, resume: bool) -> Tracker | Silent:
    """What is told of the run while it lasts, by the first of several processes."""
    if not plan.is_rank_zero:
        return Silent()
    if resume:
        run_folder.write_text(folder / "config.yaml", plan.text)  # what may change may have changed
    return Tracker(
        folder,
        total_steps=plan.total_steps,
        start=trainer.steps - trainer.pending,  # a pending report is written when it has been made
        bar=plan.settings.progress,
        events=plan.settings.tensorboard,
        losses=lambda: trainer.losses,
        monitor=plan.monitor,
        name=board.name(folder),
    )


def prepare(plan: Plan, folder: Path, command: Sequence[str]) -> None:
    """Writes what is known before the first step: configuration, what was typed, environment, data facts."""
    data = plan.data
    facts = {"device": str(plan.device), "threads": build.threads(plan), "matmul": products.used()}
    facts |= {"chosen": dict(plan.chosen), "monitor": plan.monitor, "config_sha256": resuming.digest(plan.config)}
    facts |= {"processes": plan.ranks.world_size} if plan.ranks else {}
    learned = {
        "task": data.task,
        "in_shape": list(data.in_shape),
        "classes": list(data.classes),
        "targets": list(data.targets),
        "rows": {"train": len(data.train), "val": len(data.val), "test": len(data.test)},
        **units.stored(data.units),
        "preprocessing": data.preprocessing,
        "sha256": plan.fingerprint,
        "notes": list(plan.notes),
    }
    texts = {
        "config.yaml": plan.text,
        "overrides.txt": run_folder.as_lines(plan.overrides),
        "environment.json": run_folder.as_json(run_folder.environment(command, **facts)),
        "data.json": run_folder.as_json(learned),
    }
    run_folder.write_texts(folder, texts)


def show_failure(folder: Path, composed: Composed, summary: Summary) -> None:
    """Enters a job that had no plan in TensorBoard's HParams tab, unless what was typed can't even be read."""
    if composed.resolved.unresolved:
        return
    config = composed.values
    trainer = config.get("trainer")
    wanted = isinstance(trainer, dict) and trainer.get("tensorboard") is True
    tracker = Tracker(folder, total_steps=0, start=0, bar=False, events=wanted, name=board.name(folder))
    tracker.hparams(board.values(config, folder, composed.chosen), summary)
