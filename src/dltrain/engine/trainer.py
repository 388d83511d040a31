"""The training step and the loop. The loop is a generator of `Record`s: the caller's `for` body is the callback.

trainer = Trainer(model, nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), lr=1e-3))
for record in trainer.fit(loader, epochs=10):
    print(record.step, record.metrics["train/loss"])
"""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from dltrain.engine import guard
from dltrain.engine.records import Meter, Record
from dltrain.engine.state import check, check_optimizer, check_random_state, random_state, set_random_state
from dltrain.engine.steps import compiled, cuda_graph, direct, hands, lbfgs
from dltrain.engine.steps.flat import Flat
from dltrain.errors import CheckpointError
from dltrain.parts.regularisers import Penalty

Precision = Literal["fp32", "bf16", "fp16"]
Step = Literal["auto", "plain", "direct", "compiled", "graph"]


class Loader(Protocol):
    """What `fit` needs of a loader: batches (x, y, index) of an epoch from a position, and their number."""

    samples: int
    batch_size: int  # of all batches but the last
    batch_bytes: int | None  # of such a batch's input; None where it is not held in memory

    def __len__(self) -> int: ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor]]: ...


class Stopped(Exception):  # noqa: N818 - not an error
    """A validation was left in the middle, because the run is to stop; its report is made when the run goes on."""


def seed_everything(seed: int) -> None:
    """Seeds Python, NumPy and torch, every device."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


class _Fixed:
    """An attribute that is set once: a step in the middle of training could not take another."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, trainer: Any, owner: type | None = None) -> Any:
        return self if trainer is None else trainer.__dict__[self.name]

    def __set__(self, trainer: Any, value: Any) -> None:
        if self.name in trainer.__dict__:
            raise AttributeError(f"trainer.{self.name} can't be changed; make a new Trainer with it")
        trainer.__dict__[self.name] = value


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

    device, precision, accumulate = _Fixed(), _Fixed(), _Fixed()

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        optimizer: Optimizer,
        *,
        schedule: Any = None,
        device: torch.device | str | None = None,
        precision: Precision = "fp32",
        accumulate: int = 1,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        transform: Callable[[Tensor, Tensor, Tensor, int], tuple[Tensor, Tensor]] | None = None,
        penalty: Penalty | None = None,
        constraint: Callable[[], None] | None = None,
        ema: Any = None,
        step: Step = "auto",
    ) -> None:
        """`step`: plain is autograd, for any module; direct goes without it, where `direct.why_not` has nothing against
        it, and gives the same bits; auto is direct where it can; compiled is the whole step as one program, for any
        module, equal to rounding; graph is the step as a CUDA graph, equal to rounding, with other random numbers.
        Parameters of the loss are trained where the optimizer has them. Raises ValueError for a step that can't be, and
        for a loss whose parameters would not be trained.
        """
        self.model, self.loss, self.optimizer = model, loss, optimizer
        self.schedule, self.accumulate, self.ema = schedule, accumulate, ema
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.transform, self.penalty, self.constraint = transform, penalty, constraint
        self.device = torch.device(device) if device else self.parameters[0].device
        self.precision = precision
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=precision == "fp16")
        self.rate_key = "optimizer.lr"  # what an error advises to make smaller
        self.steps = 0
        self.pending = False  # a report is due for the last step: `fit` makes it first, also after a resume
        self.losses: list[Tensor] = []  # of the steps since the last record, on the device
        self.rows: list[int] = []  # of each of them
        self._norm: Tensor | float | None = None  # of the last gradient, where `.grad` does not tell
        self._wanted = step
        self._flat: Flat | None = None
        self._net: direct.Net | None = None
        self._program: compiled.Program | None = None
        self._graph: cuda_graph.Graph | None = None
        self._sizes: list[int] = []  # of the batches that program and graph are for; of the first step if nobody says
        self._why: str | None = None  # it is not the step that was wanted
        self._seen: list[Any] = []  # what a quick step rests on
        self._watchful = self._handed = False  # somebody else's code runs between steps, or is handed to `fit`
        self._guarded: tuple[Any, ...] = ()
        self._said = set(hands.strangers(model, optimizer, ema, schedule))  # or known to whoever makes this trainer
        gradients = [p.grad for p in self.parameters]
        self._choose()
        for p, gradient in zip(self.parameters, gradients, strict=True):
            p.grad = gradient  # until the first step there may be none, which is not the same as zeros
        if self._why and step in ("direct", "compiled", "graph"):
            raise ValueError(f"step={step}: {self._why}; use auto or plain")

    @property
    def parameters(self) -> list[Tensor]:
        """The optimizer's, in its order."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @parameters.setter
    def parameters(self, value: object) -> None:
        raise AttributeError("trainer.parameters can't be changed; make a new Trainer, or set trainer.optimizer")

    @property
    def step_kind(self) -> Step:
        """The step that is taken now: plain, direct, compiled or graph."""
        made = {"graph": self._graph, "compiled": self._program, "direct": self._net}
        return next((kind for kind, step in made.items() if step is not None), "plain")

    @property
    def why_plain(self) -> str | None:
        """Why the step is the plain one, in a few words; None where it is not."""
        return self._why if self.step_kind == "plain" else None

    def __repr__(self) -> str:
        parts = ", ".join(type(part).__name__ for part in (self.model, self.loss, self.optimizer))
        return f"Trainer({parts}): {self.step_kind} step{f', since {self._why}' if self._why else ''}"

    # -- the step ----------------------------------------------------------------------------------------------

    def step(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]], epoch: int = 0) -> Tensor:
        """One update from one batch, or from several whose gradients are averaged.

        batches: (x [B, ...], y [B] or [B, K], index [B]) each. Returns the mean loss, a detached scalar.
        Raises DivergedError before the update when the loss or a gradient is not finite; where asking would make
        the device wait, the update is held back there, and `fit` raises at the next report.
        """
        self._look()
        loss = self._step(batches, epoch)
        self._let_go()
        return loss

    def _step(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]], epoch: int) -> Tensor:
        if self._program is not None:
            if self._watchful:
                self._look()
            if self._program is not None and self._fits(batches):
                return self._steps([batches], epoch)[0]
        return self._single(batches, epoch)

    def _fits(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> bool:
        """Whether the program or the graph is for batches of these sizes."""
        sizes = [len(x) for x, _, _ in batches]
        self._sizes = self._sizes or sizes
        return sizes == self._sizes

    def _single(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]], epoch: int) -> Tensor:
        if self.schedule is not None:
            self.schedule.set(self.steps)
        if self._watchful:
            self._look()
        with self._mode:
            if self._graph is not None and self._fits(batches):
                self.guard.remember(batches, epoch)
                loss, self._norm = self._graph([self._transformed(*batch, epoch) for batch in batches])
            else:
                loss = self._update(batches, epoch)
        if self.constraint is not None or self.ema is not None:
            self._after_update()
        self.steps += 1
        self.losses.append(loss)
        self.rows.append(_rows(batches))
        return loss

    def _steps(self, groups: Sequence[Sequence[tuple[Tensor, Tensor, Tensor]]], epoch: int) -> Tensor:
        """As many updates by the compiled program; returns their mean losses [steps]."""
        steps = [[self._transformed(*batch, epoch) for batch in group] for group in groups]
        schedule = self.schedule and (lambda k: self.schedule.set(self.steps + k))
        losses, self._norm, finite = self._program(steps, schedule=schedule)
        good = len(groups) if finite.all() else int(finite.long().argmin())
        self.losses.extend(losses[:good])
        self.rows.extend(map(_rows, groups[:good]))
        self.steps += good
        if good:
            self._after_update()
        if good == len(groups):
            return losses
        # What was left out is made once more without the program: the bad step then says what was wrong with it.
        return torch.stack([*losses[:good], *(self._single(group, epoch) for group in groups[good:])])

    @torch.no_grad()
    def _after_update(self) -> None:
        if self.constraint is not None:
            self.constraint()
        if self.ema is not None:
            self.ema.update()

    def _compile(self) -> compiled.Program:
        clipping = {"clip_value": self.clip_value, "clip_norm": self.clip_norm}
        return compiled.Program(
            self.model, self.loss, self._flat, autocast=self._autocast, penalty=self.penalty, **clipping
        )

    def _update(self, batches: Sequence[tuple[Tensor, Tensor, Tensor]], epoch: int) -> Tensor:
        """The new weights; returns the mean loss of the old ones."""
        if isinstance(self.optimizer, LBFGS):
            ready = [self._transformed(*batch, epoch) for batch in batches]
            loss, self._norm = lbfgs.step(self, lambda: self._gradients(batches, epoch, ready=ready))
            return loss
        loss = self._gradients(batches, epoch)
        if self._graph is not None:
            self._graph.update()
        elif self._flat is not None:
            self._flat.step()
        else:
            with torch.inference_mode(False):  # where a transform has made the plain step of another
                self.scaler.step(self.optimizer)
                self.scaler.update()
        return loss

    def _gradients(
        self, batches: Sequence[tuple[Tensor, Tensor, Tensor]], epoch: int, *, ready: Sequence[Any] | None = None
    ) -> Tensor:
        """Leaves the clipped gradient of the mean loss (plus the penalty) in `.grad`; returns that mean loss.

        ready: the batches after their transform, where that has been done.
        """
        mean = self._backward(batches, self._net, epoch) if ready is None else self._backward(ready, self._net)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        self.guard.check(mean, batches, epoch)
        self._clip()
        return mean

    def _backward(self, batches: Sequence[Any], net: direct.Net | None, epoch: int | None = None) -> Tensor:
        """Leaves the gradient of the mean loss, plus the penalty's; returns that loss.

        batches: (x, y, index) each, or, without an epoch, (x, y) as the transform has left them.
        """
        samples, mean = sum(len(batch[0]) for batch in batches) if len(batches) > 1 else 0, None
        for i, batch in enumerate(batches):
            x, y = batch if epoch is None else self._transformed(*batch, epoch)
            share, first = len(x) / samples if samples else 1.0, i == 0
            if first and self._watchful and epoch is not None:
                self._look()  # the transform may have run the model
                net = net and self._net
            if net is not None and (why := net.why_not(x, y)):
                net = self._give_way(why)
            loss = self._plain(x, y, share, first=first) if net is None else self._direct(net, x, y, share, first=first)
            mean = loss if mean is None else mean + loss
        return mean

    def _zero_gradients(self) -> None:
        if self._flat is None:
            self.optimizer.zero_grad()
        else:
            torch._foreach_zero_(self._flat.gradients)

    def _transformed(self, x: Tensor, y: Tensor, index: Tensor, epoch: int) -> tuple[Tensor, Tensor]:
        if self.transform is None:
            return x, y
        with torch.inference_mode(False):  # what it keeps must be of use outside, too
            return self.transform(x, y, index, epoch)

    @torch.inference_mode(False)
    def _plain(self, x: Tensor, y: Tensor, share: float, *, first: bool) -> Tensor:
        """Adds the gradient of share * loss by autograd, and with the first batch that of the penalty."""
        if first:
            self._zero_gradients()
        with self._autocast():
            loss = self.loss(self.model(x), y)
        if share < 1:
            loss = loss * share
        objective = loss + self.penalty() if self.penalty is not None and first else loss
        self.scaler.scale(objective).backward()
        return loss.detach()

    def _direct(self, net: direct.Net, x: Tensor, y: Tensor, share: float, *, first: bool) -> Tensor:
        """The same without autograd."""
        scale = self._ones if share == 1 else self._ones * share
        loss = net.gradients(x, y, scale, add=not first)
        if self.penalty is not None and first:
            for row in self._flat.rows:
                row.grad[: row.weights] += self.penalty.gradient(row.data[: row.weights])
        return loss if share == 1 else loss * share

    def _clip(self) -> None:
        """Clips by value, then by global norm."""
        if self.clip_value is not None:
            nn.utils.clip_grad_value_(self.parameters, self.clip_value)
        self._norm = None if self.clip_norm is None else nn.utils.clip_grad_norm_(self.parameters, self.clip_norm)

    def _autocast(self) -> Any:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16 if self.precision == "bf16" else torch.float16)

    # -- which step it is ------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Sees model, loss, optimizer and seams as they are now, and lets model and loss train."""
        seams = (self.transform, self.constraint, self.schedule, self.penalty, self.ema)
        self._watchful = self._handed or not (all(map(hands.ours, seams)) and hands.keeps_memory(self.optimizer))
        if self._flat is None or not hands.same(self._seen, self._footprint()):
            self.model.train()
            self.loss.train()
            if self._flat is None or not hands.same(self._seen, self._footprint()):
                self._choose()
                for words in hands.strangers(self.model, self.optimizer, self.ema, self.schedule):
                    if words not in self._said:
                        self._said.add(words)
                        warnings.warn(words, stacklevel=4)
                return
        if not self._flat.intact():
            if hands.scattered(self.parameters) or not self._flat.is_for(self.optimizer, exact=self._flat.exact):
                self._choose()
            else:
                self._attach()

    def _let_go(self) -> None:
        """To be called where others come next: what the steps themselves have changed in a module is no news."""
        if self._program is not None or self._graph is not None:
            self._seen = self._footprint()

    def _footprint(self) -> list[Any]:
        penalty, moving = self.penalty, getattr(self.schedule, "moves_momentum", None)
        factors = (getattr(penalty, "l1", None), getattr(penalty, "l2", None))
        return hands.footprint(
            self.model, self.loss, self.optimizer, penalty, *factors, self.clip_norm, self.clip_value, moving
        )

    @torch.inference_mode(False)
    def _attach(self) -> None:
        self._flat.attach()
        if self._graph is not None:
            self._graph.forget()

    @torch.inference_mode(False)
    def _choose(self) -> None:
        """Takes the step that was wanted, or the quickest, where it serves all that there is; else the plain one."""
        held = {*map(id, self.parameters)}
        if idle := [name for name, p in self.loss.named_parameters() if p.requires_grad and id(p) not in held]:
            names = ", ".join(idle[:3])
            raise ValueError(
                f"the loss has parameters that the optimizer does not ({names}): give it both, "
                "[*model.parameters(), *loss.parameters()], or freeze them"
            )
        before, reasons = self.step_kind, self._reasons()
        kinds = {kind for kind, reason in reasons.items() if not reason}
        self._why = "step=plain" if self._wanted == "plain" else reasons.get(self._wanted, reasons.get("direct"))
        self._net = self._program = self._graph = None
        if not kinds:
            self._flat = None
        elif self._flat is not None and self._flat.is_for(self.optimizer, exact=kinds == {"direct"}):
            self._flat.attach()
        else:
            self._flat = Flat(self.optimizer, exact=kinds == {"direct"})
        if "direct" in kinds:
            self._net = direct.Net(self.model, self.loss, precision=self.precision)
            self._ones = torch.ones((), dtype=self._flat.rows[0].data.dtype)
        if "compiled" in kinds:
            self._program = self._compile()
        if "graph" in kinds:
            self._graph = cuda_graph.Graph(self)
            self._ones = torch.ones((), dtype=self._flat.rows[0].data.dtype, device=self.device)
        self._mode = torch.inference_mode(self._net is not None)
        self._seen = self._footprint() if kinds else []
        if self._guarded != (guarded := (self.optimizer, self._graph is not None)):
            if self._guarded:
                self.guard.ask()
            self.guard, self._guarded = guard.Guard(self), guarded
        if before not in ("plain", self.step_kind) and self.step_kind != self._wanted:
            self._say_change(before)

    def _give_way(self, why: str) -> None:
        """The plain step from here on, in the middle of one: a batch is not for the direct one."""
        before, self._why, self._net, self._mode = self.step_kind, why, None, torch.inference_mode(False)
        self._say_change(before)

    def _say_change(self, before: str) -> None:
        warnings.warn(f"the {before} step gives way to the {self.step_kind} one: {self._why}", stacklevel=4)

    def _reasons(self) -> dict[str, str | None]:
        """The quick steps, and why not. Beside a program or a graph the direct one makes what is left over."""
        if self._wanted == "plain":
            return {}
        facts = {"precision": self.precision, "device": self.device}
        why = {"direct": direct.why_not(self.model, self.loss, self.optimizer, **facts)}
        if self._wanted == "compiled":
            why["compiled"] = compiled.why_not(self.model, self.optimizer, **facts)
        if self._wanted == "graph":
            why = {"graph": cuda_graph.why_not(self.model, self.optimizer, **facts)}
        common = None
        if {*map(id, self.parameters)} != {*map(id, self.model.parameters())}:
            common = "the optimizer has other parameters than the model"
        elif self.penalty is not None and not hands.is_on_all(self.penalty, self.model):
            common = "the penalty is not on all weights, or not of dltrain"
        elif any(map(hands.hooked, self.loss.modules())):
            common = "the loss has hooks"
        return {kind: reason or common for kind, reason in why.items()}

    # -- the loop ----------------------------------------------------------------------------------------------

    def fit(
        self,
        train: Loader,
        *,
        epochs: float | None = None,
        steps: int | None = None,
        report_every: int | None = None,
        eval_every: int | None = None,
        validate: Callable[[nn.Module], dict[str, float]] | None = None,
        limit_batches: int | None = None,
        progress: Callable[[], object] | None = None,
        save: Callable[[], object] | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> Iterator[Record]:
        """Trains until `epochs` (or `steps`) are done, counted from the very first, and yields a Record at each report.

        `report_every` and `eval_every` are in steps, an epoch when not given. `validate(model)` returns metrics,
        which enter the record as val/*; it may raise `Stopped`. `limit_batches` shortens every epoch. `progress()`
        is called after each step, `save()` after each that makes no report: everything about the step is done then.
        `stop()` is asked before each step: if true, the loop ends.
        """
        batches = min(len(train), limit_batches or len(train))
        per_epoch = math.ceil(batches / self.accumulate)
        total = steps if steps is not None else round((epochs or 1) * per_epoch)
        report_every, eval_every = report_every or per_epoch, eval_every or per_epoch
        self._handed = not all(map(hands.ours, (train, progress, save, stop)))
        at_once, whole = 1, min(batches, train.samples // train.batch_size) // self.accumulate
        self._sizes = [train.batch_size] * self.accumulate
        self._recall_rows(min(train.samples, batches * train.batch_size), per_epoch)
        meter = Meter(self)
        if self._flat is not None and self.step_kind == "plain":  # it was some batch that the direct step did not take
            self._seen = []
        if self._graph is not None:
            self._graph.forget()

        def look() -> None:
            """Takes in what others have done, and how many steps are one program from here on."""
            nonlocal at_once
            self._look()
            alone = self.constraint is None and self.ema is None and hands.ours(self.transform)
            if self._program and alone and (size := train.batch_bytes):
                row = min(whole, report_every, eval_every)
                at_once = self._program.steps_at_once(row, sizes=self._sizes, batch_bytes=size)
            else:
                at_once = 1

        def due() -> bool:
            n = self.steps
            return n % per_epoch == 0 or n % report_every == 0 or n % eval_every == 0 or n == total

        def next_steps() -> int:
            """How many come next: a program's, where no report stands among them; alike in a resumed run."""
            n, last = self.steps, self.steps + at_once - 1
            fit_in = n % per_epoch + at_once <= whole and last < total
            return at_once if fit_in and all(n // k == last // k for k in (report_every, eval_every)) else 1

        def report() -> Iterator[Record]:
            self._let_go()
            metrics, last, record = {}, self.steps == total, None
            if self.steps % eval_every == 0 or last:
                metrics = meter.paused(lambda: self._validate(validate))
            if metrics or last or self.steps % report_every == 0:  # before the schedule goes on to the next rate
                record = meter.record(self.steps / per_epoch, metrics)
            if self.steps % per_epoch == 0 and self.schedule is not None:
                self.schedule.end_epoch(record.metrics if record else {})
            self.pending = False
            if record is not None:
                yield record
            elif save is not None:
                save()

        try:
            look()
            if self.pending:
                yield from report()
                look()
            while self.steps < total and not stop():
                epoch, done = divmod(self.steps, per_epoch)
                start = done * self.accumulate
                source = islice(train.epoch(epoch, start), batches - start)
                while self.steps < total and not stop():
                    count = next_steps() if at_once > 1 else 1
                    if not (group := list(islice(source, count * self.accumulate))):
                        break
                    if count > 1:
                        self._steps(
                            [group[i : i + self.accumulate] for i in range(0, len(group), self.accumulate)], epoch
                        )
                    else:
                        self._step(group, epoch)
                    self.pending = due()
                    del group  # the next batch is gathered into its memory, which is in the cache
                    if progress is not None:
                        for _ in range(count):
                            progress()
                    if self.pending:
                        yield from report()
                        look()
                    elif save is not None:
                        save()
        except Stopped:
            return

    def _recall_rows(self, of_epoch: int, per_epoch: int) -> None:
        """The rows of the steps since the last report, where a checkpoint does not know them, as older ones don't."""
        if older := len(self.losses) - len(self.rows):
            of_step, before = sum(self._sizes), range(self.steps - older, self.steps)
            self.rows = [min(of_step, of_epoch - n % per_epoch * of_step) for n in before]

    def _validate(self, validate: Callable[[nn.Module], dict[str, float]] | None) -> dict[str, float]:
        if validate is None:
            return {}
        return {f"val/{name}": value for name, value in validate(self.best_model).items()}

    def gradient_norm(self) -> float:
        """Of the last step, before clipping by norm."""
        if self._norm is not None:
            return float(self._norm)
        return guard.norm([p.grad for p in self.parameters if p.grad is not None])

    @property
    def best_model(self) -> nn.Module:
        """The model to judge: the averaged one where there is one."""
        return self.model if self.ema is None else self.ema.model

    # -- state -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything but the model's own state that the next step depends on.

        Raises DivergedError where a bad step, held back on the device, has not been reported yet.
        """
        self.guard.ask()
        return {
            "steps": self.steps,
            "optimizer": self.optimizer.state_dict(),
            "loss": dict(self.loss.state_dict()),  # of a loss with parameters or statistics of its own
            "schedule": self.schedule.state_dict() if self.schedule is not None else {},
            "scaler": self.scaler.state_dict(),
            "losses": torch.stack(self.losses) if self.losses else torch.empty(0),
            "rows": torch.tensor(self.rows, dtype=torch.int64),
            "pending": self.pending,
            "gradient_norm": self.gradient_norm() if self.pending else 0.0,  # the report to come shows it
            "ema": self.ema.state_dict() if self.ema is not None else {},
            "random": random_state(self.device),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave; the random state last. Raises CheckpointError before anything is changed
        if the state is not one of this trainer's.
        """
        state = {"rows": torch.empty(0, dtype=torch.int64), "loss": {}} | state  # what older checkpoints lack
        self._check(state)
        self.steps, self.pending = state["steps"], state["pending"]
        if state["loss"]:
            self.loss.load_state_dict(state["loss"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.schedule is not None:
            self.schedule.load_state_dict(state["schedule"])
        self.losses = list(state["losses"].to(self.device))
        self.rows = state["rows"].tolist()
        self._norm = torch.tensor(state["gradient_norm"], dtype=torch.float64)
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])
        if self.ema is not None:
            self.ema.load_state_dict(state["ema"])
        set_random_state(state["random"], self.device)

    def _check(self, state: dict[str, Any]) -> None:
        mine = self.state_dict()
        check(list(state), list(mine), "trainer")
        for name in ("steps", "pending", "gradient_norm", "schedule", "scaler", "ema"):
            check(state[name], mine[name], name)
        if state["loss"]:
            check(state["loss"], mine["loss"], "loss")
        check_optimizer(state["optimizer"], mine["optimizer"], self.parameters)
        check_random_state(state["random"], self.device)
        losses = state["losses"]
        if not (isinstance(losses, Tensor) and losses.ndim == 1 and losses.is_floating_point()):
            raise CheckpointError("losses: want a row of numbers")
        rows = state["rows"]
        if not (isinstance(rows, Tensor) and rows.ndim == 1 and rows.dtype == torch.int64):
            raise CheckpointError("rows: want a row of whole numbers")
        if len(rows) not in (0, len(losses)) or (rows < 1).any():
            raise CheckpointError(f"rows: want a number above zero for each of {len(losses)} losses")
        if state["pending"] and not len(losses):
            raise CheckpointError("losses: a report is due, and there are none")
        if state["steps"] < 0:
            raise CheckpointError(f"steps: {state['steps']}")


def _rows(batches: Sequence[tuple[Tensor, Tensor, Tensor]]) -> int:
    """How many rows a step's batches have together."""
    return len(batches[0][0]) if len(batches) == 1 else sum(len(x) for x, _, _ in batches)
