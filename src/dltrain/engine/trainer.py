"""The training step and the loop. The loop is a generator of `Record`s: the caller's `for` body is the callback.

trainer = Trainer(model, nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), lr=1e-3))
for record in trainer.fit(loader, epochs=10):
    print(record.step, record.metrics["train/loss"])
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from dltrain.engine import accepted, products
from dltrain.engine.best import BestWeights
from dltrain.engine.choice import Choice
from dltrain.engine.fixed import Fixed, Taken
from dltrain.engine.guard import Guard, norm
from dltrain.engine.judges import Judges, Measure, Stopped, Validate
from dltrain.engine.ranks import Ranks
from dltrain.engine.records import Meter, Record, Records
from dltrain.engine.state import restore, state_of
from dltrain.engine.state import seed_everything as seed_everything
from dltrain.engine.steps.answers import Answers
from dltrain.engine.steps.batches import read, rows, transformed, weights
from dltrain.engine.steps.mistakes import Mistakes
from dltrain.engine.steps.step import Average, Batch, Kind, Loader, Precision, Schedule
from dltrain.engine.timetable import Timetable
from dltrain.errors import ConfigError
from dltrain.parts import State
from dltrain.parts.regularisers import BatchTransform
from dltrain.parts.schedules import Setting

Pair = tuple[Tensor, Tensor]  # x [B, ...] and y [B] or [B, K]


class Trainer:
    """A model, a loss and an optimizer, and how they make a step.

    Four seams act inside the step: `transform(x, y, index, epoch)` on each batch, the `penalty` added to the loss,
    clipping, and `constraint()` after the update. `schedule` sets the learning rate before it; `ema` averages the
    weights after it, and then stands for the model in validation.

    `step_kind` says which step is taken, and `why_plain` why it is the plain one. At each `fit`, after each record and
    at each `step` by hand the trainer sees model, optimizer and its own attributes as they are then, and puts model
    and loss in train mode, all of their modules: to freeze running statistics, give the module a `train` of its own.
    What only autograd can serve, such as a hook or a frozen layer, the plain step takes over, and a warning says so.
    Parameters lie in memory of the trainer's own, unless the step is plain.
    """

    device, precision, accumulate = Fixed[torch.device](), Fixed[Precision](), Fixed[int]()
    model = Taken[nn.Module](lambda given, _: accepted.model(given))
    loss = Taken[nn.Module](lambda given, _: accepted.loss(given))
    optimizer = Taken[Optimizer](lambda given, own: accepted.optimizer(given, own.model, own.loss))
    schedule: Taken[Schedule | None] = Taken(lambda given, own: accepted.schedule(given, own.optimizer))
    penalty: Taken[Callable[[], Tensor] | None] = Taken(lambda given, own: accepted.penalty(given, own.model))
    ema: Taken[Average | None] = Taken(lambda given, own: accepted.average(given, own.model))
    clip_norm: Taken[float | None] = Taken(lambda given, _: accepted.limit("clip_norm", given))
    clip_value: Taken[float | None] = Taken(lambda given, _: accepted.limit("clip_value", given))

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module | Callable[[Tensor, Tensor], Tensor],
        optimizer: Optimizer,
        *,
        schedule: Schedule | LRScheduler | Callable[[int], Setting] | None = None,
        device: torch.device | str | None = None,
        precision: Precision = "fp32",
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        transform: BatchTransform | None = None,
        penalty: Callable[[], Tensor] | float | None = None,
        constraint: Callable[[], object] | None = None,
        ema: Average | float | None = None,
        step: Kind | Literal["auto"] = "auto",
        ranks: Ranks | None = None,
    ) -> None:
        """`loss` may be a function, `schedule` a function of the step, or one of torch's, which is stepped once an
        epoch, OneCycleLR and CyclicLR once a step (`TorchSchedule(s, interval="step")` says so); `penalty` a factor of
        the squared weights, `ema` a decay. `step`: plain is autograd, for any module; direct goes without it, where
        `direct.why_not` has nothing against it, and gives the same bits; auto is direct where it can; compiled is the
        whole step as one program, for any module, equal to rounding; graph is the step as a CUDA graph, equal to
        rounding, with other random numbers. Parameters of the loss are trained where the optimizer has them. `ranks`:
        the processes that share each batch. Raises ValueError for what can't be taken, a step that can't be, and
        parameters that would not be trained.
        """
        kinds = ("auto", *get_args(Kind))
        for name, value, known in (("precision", precision, get_args(Precision)), ("step", step, kinds)):
            if value not in known:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(known)}")
        if accumulate < 1:
            raise ValueError(f"accumulate={accumulate}: a step takes one batch at least")
        self.ranks = ranks
        accepted.called("transform", transform, "a function (x, y, index, epoch) -> (x, y)")
        accepted.called("constraint", constraint, "a function without arguments, as dltrain.MaxNorm(model, 3.0)")
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.schedule, self.accumulate, self.ema, self.penalty = schedule, accumulate, ema, penalty
        self.clip_norm, self.clip_value, self.transform, self.constraint = clip_norm, clip_value, transform, constraint
        self.device = accepted.device(device) if device else self.parameters[0].device
        self.precision, self.kernels = precision, products.used()
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.rate_key = "optimizer.lr"  # what an error advises to make smaller
        self.scale_key: str | None = "inputs of mean 0 and deviation 1"  # where they are large; None: they are scaled
        self.steps = self._left_at = 0  # that are done, and that were when a `fit` of this trainer ended
        self.pending = False  # a report is due for the last step: `fit` makes it first, also after a resume
        self.losses: list[Tensor] = []  # of the steps since the last record, on the device
        self.rows: list[int] = []  # of each of them
        self.weights: list[float] = []  # the sum of those of its rows, where these have such
        self.mistakes = Mistakes(self.device)  # of a perceptron, since the last record
        self.answers = Answers()  # to the last rows before a validation
        self._choice = Choice(self, step)

    @property
    def parameters(self) -> list[Tensor]:
        """The optimizer's, in its order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @parameters.setter
    def parameters(self, value: object) -> None:
        raise AttributeError("trainer.parameters can't be changed; make a new Trainer, or set trainer.optimizer")

    @property
    def step_kind(self) -> Kind:
        """The step that is taken now: plain, direct, compiled or graph."""
        return self._choice.step.kind

    @property
    def why_plain(self) -> str | None:
        """Why the step is the plain one, in a few words; None where it is not."""
        return self._choice.why if self.step_kind == "plain" else None

    @property
    def guard(self) -> Guard:
        """What holds back an update whose loss or gradient is not finite."""
        return self._choice.guard

    @property
    def best_model(self) -> nn.Module:
        """The model to judge: the averaged one where there is one."""
        return self.model if self.ema is None else self.ema.model

    def gradient_norm(self) -> float:
        """Of the last step, before clipping by norm."""
        known = self._choice.gate.norm
        return norm([p.grad for p in self.parameters if p.grad is not None]) if known is None else float(known)

    def __repr__(self) -> str:
        names = [type(part).__name__ for part in (self.model, self.loss, self.optimizer)]
        if isinstance(self.loss, accepted.Function):
            names[1] = self.loss.extra_repr()
        parts = ", ".join(names)
        why = self._choice.why
        return f"Trainer({parts}): {self.step_kind} step{f', since {why}' if why else ''}"

    def __getstate__(self) -> dict[str, object]:
        """For a copy or a pickle. A step holds on to this trainer's memory: a copy chooses its own."""
        self._choice.ask()
        return vars(self) | {"_choice": (self._choice.wanted, self._choice.gate.norm)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        wanted, known = state.pop("_choice")
        vars(self).update(state)
        self._choice = Choice(self, wanted, late=True)
        self._choice.gate.norm = known

    # -- the step ----------------------------------------------------------------------------------------------

    def step(self, batches: Sequence[Batch] | Sequence[Pair] | Pair | Batch, epoch: int = 0) -> Tensor:
        """One update from one batch, or from several whose gradients are averaged.

        batches: (x [B, ...], y [B] or [B, K], index [B]) each, the index left out where nothing asks for it, and the
        weights [B] of the rows, on the CPU, behind it where these do not count the same; a batch alone, or a list of
        them. Returns the mean loss, a detached scalar.
        Raises DivergedError before the update when the loss or a gradient is not finite; where asking would make
        the device wait, the update is held back there, and `fit` raises at the next report.
        """
        if not batches:
            raise ValueError("a step takes one batch at least, and there is none")
        ready = accepted.batches(batches)
        self._choice.look(self)
        loss = self._step(ready, epoch)
        self._choice.let_go(self)
        return loss

    def _step(self, batches: Sequence[Batch], epoch: int, *, rest: bool = False) -> Tensor:
        """The step, and what acts around it. rest: what a program has left out is not for a program."""
        if self.schedule is not None:  # the number of steps done decides, which a resumed run knows, too
            self.schedule.set(self.steps)
        choice, ready = self._choice, batches
        if choice.watchful:
            choice.look(self)
        if self.transform is not None:
            ready = transformed(self.transform, batches, epoch)
            if choice.watchful:  # it may run the model, or change it; batches after the first wait for their turn
                ready = chain([next(ready)], ready)
                choice.look(self)
        loss = (choice.rest if rest else choice.step)(ready, batches, epoch)
        if self.constraint is not None or self.ema is not None:
            self._after_update()
        self.steps += 1
        self.losses.append(loss)  # as it is: to read it here would make the host wait for the device at each step
        self.rows.append(rows(batches))
        self.weights += weights(batches)
        return loss

    def _steps(self, batches: Sequence[Batch], epoch: int) -> None:
        """As many updates by one program. What it leaves out is made without it, and then says what was wrong."""
        groups = [batches[i : i + self.accumulate] for i in range(0, len(batches), self.accumulate)]
        change, schedule, program, done = self.transform, self.schedule, self._choice.program, self.steps
        assert program is not None
        ready = groups if change is None else [list(transformed(change, group, epoch)) for group in groups]

        def set_rates(k: int) -> None:
            if schedule is not None:
                schedule.set(done + k)

        losses, good = program.several(ready, schedule=set_rates)
        self.losses.extend(losses[:good])
        self.rows.extend(map(rows, groups[:good]))
        self.steps += good
        if good:
            self._after_update()
        for group in groups[good:]:
            self._step(group, epoch, rest=True)

    @torch.no_grad()
    def _after_update(self) -> None:
        if self.constraint is not None:
            self.constraint()
        if self.ema is not None:
            self.ema.update()

    # -- the loop ----------------------------------------------------------------------------------------------

    def fit(
        self,
        train: Loader | accepted.Source,
        *,
        epochs: float | None = None,
        steps: int | None = None,
        report_every: int | None = None,
        eval_every: int | None = None,
        validate: Validate | None = None,
        measure: Measure | None = None,
        batch_size: int | None = None,
        seed: int | None = None,
        limit_batches: int | None = None,
        progress: Callable[[], object] | None = None,
        save: Callable[[], object] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Record]:
        """Trains until `epochs` (or `steps`) are done, counted from the very first, and yields a Record at each report.

        train: a loader, also torch's; or `Data`, a Dataset or a pair (x, y), of which a step takes `batch_size` rows
        (32), shuffled by `seed` (0). Rows of `Tensors(x, y, weight=w)` count by their weights: the loss of a step is
        sum(w_i l_i) / sum(w_i).
        `report_every` and `eval_every` are in steps, an epoch when not given. `validate(model)` returns metrics,
        which enter the record as val/*; it may raise `Stopped`. `measure(outputs, targets, weights or None)` does so as
        train/*, of what the model answered to the last 1,000 rows as they were trained on, dropout and augmentation at
        work; not in several steps of one program or a graph. `limit_batches` shortens every epoch. `progress()`
        is called after each step, `save()` after each that makes no report: everything about the step is done then.
        `stop()` is asked before each step: if true, the loop ends. Nothing is trained before the first record is asked
        for.
        """
        train = accepted.loader(train, device=self.device, shuffle=True, batch_size=batch_size, seed=seed)
        size = {"samples": train.samples, "batch_size": train.batch_size, "accumulate": self.accumulate}
        every = {"report_every": report_every, "eval_every": eval_every}
        table = Timetable(len(train), limit=limit_batches, epochs=epochs, steps=steps, **size, **every)
        if self._left_at == self.steps >= table.total > 0:
            left = f"of {table.total:,} steps, which are counted from the very first, {self.steps:,} are done"
            warnings.warn(f"nothing is left to train: {left}; give more epochs, or steps", stacklevel=2)
        return Records(self._fit(train, table, Judges(validate, measure), progress=progress, save=save, stop=stop))

    def run(
        self,
        train: Loader | accepted.Source,
        *,
        best: str | None = None,
        mode: Literal["min", "max"] | None = None,
        patience: int | None = None,
        **options: Any,
    ) -> list[Record]:
        """`fit` without a loop, with all of its options: trains, and returns the records.

        best: a metric (val/accuracy, val/loss, ...): the model ends with the weights of its best validation, also where
        an error or Ctrl-C ends it. mode: which way a metric of your own is better. patience: after so many validations
        in a row that are no better, training stops. Raises ValueError for a metric that no report has.
        """
        if best is None:
            if patience is not None:
                raise ConfigError(f"patience={patience}: say in which metric, as best='val/loss'")
            return list(self.fit(train, **options))
        if best.startswith("val/") and options.get("validate") is None:
            raise ConfigError(
                f"best={best!r}: nothing is validated; give validate=, a function of the model -> metrics"
            )
        kept = BestWeights(self, best, mode, patience)
        records: list[Record] = []
        try:
            for record in self.fit(train, **options):
                records.append(record)
                if kept.sees(record):
                    break
        finally:
            kept.put_back()
        if records:
            kept.check_seen()
        return records

    def _fit(
        self,
        train: Loader,
        table: Timetable,
        judges: Judges,
        *,
        progress: Callable[[], object] | None,
        save: Callable[[], object] | None,
        stop: Callable[[], bool],
    ) -> Iterator[Record]:
        meter = self._begin(train, table, others=(train, progress, save, stop))
        epoch, due, opens, source = 0, 0, 0, iter(())
        with suppress(Stopped):
            at_once = self._look(train, table)
            while self.pending or (self.steps < table.total and not stop()):
                if self.pending:
                    if (record := self._report(meter, table, judges)) is not None:
                        yield record
                    elif save is not None:
                        save()
                    at_once, (due, opens) = self._look(train, table), judges.stretch(table, self.steps)
                    continue
                count = table.together(self.steps, at_once) if at_once > 1 else 1
                if not (group := list(islice(source, count * table.accumulate))):  # the next epoch begins
                    (epoch, start), (due, opens) = table.place(self.steps), judges.stretch(table, self.steps)
                    source = read(train, epoch, start, table.batches - start, self.ranks)
                    continue
                self.answers.on = self.steps >= opens
                self._step(group, epoch) if count == 1 else self._steps(group, epoch)
                self.pending = self.steps == due  # worked out once for the stretch, since this is done at each step
                del group  # the next batch is gathered into its memory, which is in the cache
                if progress is not None:
                    for _ in range(count):
                        progress()
                if save is not None and not self.pending:
                    save()
        self._left_at = self.steps

    def _begin(self, train: Loader, table: Timetable, *, others: Sequence[object]) -> Meter:
        weighted = accepted.weighted(train, self.loss)
        self._choice.begin(others, sizes=[train.batch_size] * self.accumulate, weighted=weighted)
        if older := len(self.losses) - len(self.rows):  # a checkpoint that does not know the rows of its losses
            self.rows = [table.rows(n) for n in range(self.steps - older, self.steps)]
        return Meter(self.rows)

    def _look(self, train: Loader, table: Timetable) -> int:
        """Takes in what others have done; returns how many steps are to be one program from here on."""
        self._choice.look(self, closely=True)
        return self._choice.at_once(self, table.row, train.batch_bytes)

    def _report(self, meter: Meter, table: Timetable, judges: Judges) -> Record | None:
        self._choice.let_go(self)
        metrics, record = dict[str, float](), None
        if table.is_evaluated(self.steps):
            metrics = meter.paused(lambda: judges.metrics(self, table))
            self.answers.restart()
        if metrics or table.is_reported(self.steps):  # before the schedule goes on to the next rate
            self._choice.ask()  # first: losses after a step that was held back are of no use
            record = meter.record(self, epoch=self.steps / table.per_epoch, metrics=metrics)
            self.losses, self.rows, self.weights = list[Tensor](), list[int](), list[float]()
            self.mistakes.restart()
        if table.ends_epoch(self.steps) and self.schedule is not None:
            self.schedule.end_epoch(record.metrics if record else {})
        self.pending = False
        return record

    # -- state -------------------------------------------------------------------------------------------------

    def state_dict(self) -> State:
        """Everything but the model's own state that the next step depends on.

        Raises DivergedError where a bad step, held back on the device, has not been reported yet.
        """
        self._choice.ask()
        return state_of(self)

    def load_state_dict(self, state: State) -> None:
        """Restores what `state_dict` gave; the random state last. Raises CheckpointError before anything is changed
        if the state is not one of this trainer's.
        """
        restore(self, state, like=self.state_dict())
        self._choice.gate.norm = torch.tensor(state["gradient_norm"], dtype=torch.float64)
