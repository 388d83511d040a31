"""Which step is taken: what users have done to its parts is looked at, and a step chosen that serves them all."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from dltrain.engine.guard import Guard
from dltrain.engine.ranks import NOTE, Ranks
from dltrain.engine.steps import compiled, cuda_graph, direct, hands, lbfgs
from dltrain.engine.steps.flat import Flat
from dltrain.engine.steps.gate import Gate
from dltrain.engine.steps.plain import Plain
from dltrain.engine.steps.step import Batch, Kind, Parts, Step
from dltrain.parts import private
from dltrain.parts.modules import every


class Choice:
    """The `step` that is taken, and `rest`, which makes what a program leaves over; else they are the same. `program`:
    the step, where it can make several at once.

    `why` it is not the step that was wanted, in a few words, or None. `sizes` of the batches that a program or a graph
    is for: of the first step's, if nobody says. `watchful`: somebody else's code runs between steps, or within them
    before the gradients, so that one has to look before each.
    """

    step: Step
    rest: Step
    program: compiled.Compiled | None
    guard: Guard
    gate: Gate

    def __init__(self, parts: Parts, wanted: str, *, late: bool = False) -> None:
        """Raises ValueError where the step that is wanted can't be; late: in the middle of training, where the plain
        one takes over.
        """
        self.why: str | None = None
        self.sizes: list[int] = []
        self.watchful = self._handed = self._weighted = False
        self.wanted = wanted
        self._flat: Flat | None = None
        self._seen: list[object] = []  # what a quick step rests on
        self._guarded: tuple[object, ...] = ()  # what the guard is for; it counts steps, and so outlives most choices
        self._said = set(_strangers(parts))  # or known to whoever makes this trainer
        gradients = [p.grad for p in parts.parameters]
        self._choose(parts, before="plain")
        if not all(m.training for m in (*every(parts.model), *every(parts.loss))):
            self._seen = []  # the first look is to switch them on
        for p, gradient in zip(parts.parameters, gradients, strict=True):
            p.grad = gradient  # until the first step there may be none, which is not the same as zeros
        if self.why and not late and wanted in ("direct", "compiled", "graph"):
            raise ValueError(f"step={wanted}: {self.why}; use auto or plain")

    def begin(self, others: Iterable[object], sizes: list[int], *, weighted: bool = False) -> None:
        """To be called where other batches come, of these sizes; others: what runs between steps; weighted: whether
        rows have weights.
        """
        self.sizes, self._handed = sizes, not all(map(hands.ours, others))
        if weighted != self._weighted:
            self._weighted, self._seen = weighted, list[object]()
        if self._flat is not None and self.step.kind == "plain":  # some batch was not for the direct step; these may be
            self._seen = []
        self._forget()

    def look(self, parts: Parts, *, closely: bool = False) -> None:
        """Sees model, loss, optimizer and seams as they are now, and lets model and loss train.

        It costs 20 to 30 microseconds, up to half of a small net's step: where only our code runs, the loop looks at
        its reports alone. closely: what can't be seen for less than 15 more, too.
        """
        seams = (parts.transform, parts.constraint, parts.schedule, parts.penalty, parts.ema)
        self.watchful = self._handed or not (all(map(hands.ours, seams)) and hands.keeps_memory(parts.optimizer))
        flat = self._flat
        if closely and flat is not None and hands.hooked_nodes(parts.parameters):
            self._seen = []
        if flat is None or self._is_news(parts):  # `train` goes through all modules, and mostly none is to be switched
            parts.model.train()
            parts.loss.train()
            if flat is None or self._is_news(parts):  # it is more than the mode
                self._choose(parts, before=self.step.kind)
                self._say_strangers(parts)
                return
        if not flat.intact():
            if hands.scattered(parts.parameters) or not flat.is_for(parts.optimizer, exact=flat.exact):
                self._choose(parts, before=self.step.kind)
            else:
                with torch.inference_mode(False):
                    flat.attach()
                self._forget()  # a graph has captured where the optimizer's state was

    def at_once(self, parts: Parts, steps: int, batch_bytes: int | None) -> int:
        """How many of so many steps in a row, on batches of so many bytes, are to be one program."""
        # What acts between two steps has no place in a program of several.
        alone = parts.constraint is None and parts.ema is None and hands.ours(parts.transform)
        if self.program is None or not alone or not batch_bytes:
            return 1
        return self.program.program.steps_at_once(steps, sizes=self.sizes, batch_bytes=batch_bytes)

    def ask(self) -> None:
        """Raises DivergedError where an update has been held back on the device."""
        self.guard.ask(self.gate.gradients)

    def let_go(self, parts: Parts) -> None:
        """To be called where others come next: what the steps themselves have changed in a module is no news."""
        if self.step.kind in ("compiled", "graph"):  # the others run no module, or keep nothing of it
            self._seen = _footprint(parts)

    def _forget(self) -> None:
        if isinstance(self.step, cuda_graph.Graph):
            self.step.forget()

    def _fits(self, batches: Sequence[Batch]) -> bool:
        sizes = [len(batch[0]) for batch in batches]
        self.sizes = self.sizes or sizes
        return sizes == self.sizes and len(batches[0]) == 3

    def _is_news(self, parts: Parts) -> bool:
        """Whether a quick step rests on what is no longer so. Without one the next look may find one."""
        return not hands.same(self._seen, _footprint(parts))

    @torch.inference_mode(False)  # rows that were made in it could not be trained by autograd later
    def _choose(self, parts: Parts, *, before: Kind) -> None:
        """Takes the step that was wanted, or the quickest, where it serves all that there is; else the plain one."""
        _refuse_idle(parts)
        reasons = self._reasons(parts)
        kinds = {kind for kind, reason in reasons.items() if not reason}
        self.why = "step=plain" if self.wanted == "plain" else reasons.get(self.wanted, reasons.get("direct"))
        self._lay_out(parts.optimizer, kinds, parts.ranks)
        self._set_guard(parts, late="graph" in kinds)
        self._make(parts, kinds)
        self._seen = _footprint(parts) if kinds else []
        if before not in ("plain", self.step.kind) and self.step.kind != self.wanted:
            self._say_change(before, self.step.kind)

    def _reasons(self, parts: Parts) -> dict[str, str | None]:
        """The quick steps, and why not. Beside a program the direct one makes what is left over."""
        if self.wanted == "plain":
            return {}
        if parts.ranks is not None and self.wanted in ("compiled", "graph"):
            return {self.wanted: "several processes can't share it yet"}
        if (missing := private.missing()) is not None:
            return {self.wanted if self.wanted != "auto" else "direct": missing}
        facts = {"precision": parts.precision, "device": parts.device}
        if self.wanted == "graph":
            why = {"graph": cuda_graph.why_not(parts.model, parts.optimizer, **facts)}
        else:
            why = {"direct": direct.why_not(parts.model, parts.loss, parts.optimizer, **facts)}
        if self.wanted == "compiled":
            why["compiled"] = compiled.why_not(parts.model, parts.optimizer, **facts)
        common = None
        if {*map(id, parts.parameters)} != {*map(id, parts.model.parameters())}:
            common = "the optimizer has other parameters than the model"
        elif len(parts.parameters) > len({*map(id, parts.parameters)}):
            common = "the optimizer has a parameter twice"
        elif not all(group["params"] for group in parts.optimizer.param_groups):
            common = "a group of the optimizer has no parameters"
        elif parts.penalty is not None and not hands.is_on_all(parts.penalty, parts.model):
            common = "the penalty is not on all weights, or not of dltrain"
        elif any(map(hands.hooked, every(parts.loss))):
            common = "the loss has hooks"
        programs = "rows have weights" if self._weighted else None
        return {kind: reason or common or (None if kind == "direct" else programs) for kind, reason in why.items()}

    def _lay_out(self, optimizer: Optimizer, kinds: set[str], ranks: Ranks | None) -> None:
        """The memory of the quick steps; only the direct step alone owes the bits of the optimizer's own update."""
        exact = kinds == {"direct"}
        if not kinds:
            self._flat = None
        elif self._flat is not None and self._flat.is_for(optimizer, exact=exact):
            self._flat.attach()
        else:
            self._flat = Flat(optimizer, exact=exact, note=NOTE if ranks else 0)

    def _set_guard(self, parts: Parts, *, late: bool) -> None:
        norm = self.gate.norm if self._guarded else None
        if self._guarded != (guarded := (parts.optimizer, late)):
            if self._guarded:
                self.ask()  # its count of steps goes with it
            self.guard, self._guarded = Guard(parts, late=late), guarded
        self.gate = Gate(parts, self.guard, self._flat, norm=norm)

    def _make(self, parts: Parts, kinds: set[str]) -> None:
        flat, gate = self._flat, self.gate
        self._plain = self.step = self.rest = Plain(parts, gate, flat)
        self.program = None
        if isinstance(parts.optimizer, LBFGS):
            self.step = self.rest = lbfgs.Search(self._plain, parts.parameters, parts.device)
        if flat is None:
            return
        if "direct" in kinds:
            self.step = self.rest = direct.Direct(parts, gate, flat, self._give_way)
        if "compiled" in kinds:
            self.step = self.program = compiled.Compiled(parts, gate, flat, rest=self._leave, fits=self._fits)
        if "graph" in kinds:
            self.step = cuda_graph.Graph(parts, gate, flat, moving=_moving(parts), fits=self._fits)

    def _leave(self, batches: Iterable[Batch], given: Sequence[Batch], epoch: int) -> Tensor:
        """What a program has left over; asked for anew each time, since the step that makes it may give way."""
        return self.rest(batches, given, epoch)

    def _give_way(self, why: str) -> Plain:
        """The plain step in the place of the direct one from here on, in the middle of a step."""
        before, self.why = self.rest, why
        self.rest = self._plain
        if self.step is before:
            self.step = self.rest
        self._say_change(before.kind, self.rest.kind)
        return self._plain

    def _say_change(self, before: Kind, now: Kind) -> None:
        warnings.warn(f"the {before} step gives way to the {now} one: {self.why}", stacklevel=4)

    def _say_strangers(self, parts: Parts) -> None:
        for words in _strangers(parts):
            if words not in self._said:
                self._said.add(words)
                warnings.warn(words, stacklevel=4)


def _strangers(parts: Parts) -> list[str]:
    return hands.strangers(parts.model, parts.optimizer, parts.ema, parts.schedule)


def _moving(parts: Parts) -> bool | None:
    """Whether the schedule moves momentum; None where there is none."""
    return getattr(parts.schedule, "moves_momentum", None)


def _footprint(parts: Parts) -> list[object]:
    penalty = parts.penalty
    factors = (getattr(penalty, "l1", None), getattr(penalty, "l2", None))
    clipping = (parts.clip_norm, parts.clip_value)
    return hands.footprint(parts.model, parts.loss, parts.optimizer, penalty, *factors, *clipping, _moving(parts))


def _refuse_idle(parts: Parts) -> None:
    held = {*map(id, parts.parameters)}
    if idle := [name for name, p in parts.loss.named_parameters() if p.requires_grad and id(p) not in held]:
        names = ", ".join(idle[:3])
        raise ValueError(
            f"the loss has parameters that the optimizer does not ({names}): give it both, "
            "[*model.parameters(), *loss.parameters()], or freeze them"
        )
