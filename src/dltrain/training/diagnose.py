"""`diagnose=true`: at each report a look into a twin of the net, which leaves the run as it was, bit for bit."""

from __future__ import annotations

import copy
import math
from dataclasses import asdict, replace

import torch
from torch import Tensor

from dltrain.config import build
from dltrain.config.plan import Plan
from dltrain.data import quality
from dltrain.engine.look import layers, observe, relative_updates
from dltrain.engine.state import random_state, set_random_state
from dltrain.engine.trainer import Trainer
from dltrain.errors import DivergedError

_PROBE = 256  # samples of a look: a unit that is zero for all of them is dead for most purposes
_PROBE_VALUES = 1 << 26  # and at most so many numbers in all layers' outputs, of which there are a few copies


def probe(plan: Plan) -> tuple[Tensor, Tensor]:
    """The train rows that looks are made with, on the plan's device."""
    values = sum(math.prod(row.output_shape or ()) for row in plan.rows) + plan.data.in_features
    n = max(2, min(_PROBE, _PROBE_VALUES // values))
    x, y, _ = quality.sample(plan.data.train, n, seed=1)
    return x.to(plan.device), y.to(plan.device)


class Watch:
    """Looks into a trainer's net through a second trainer that takes over its state each time.

    The twin makes the pass, and then the step that the trainer would make next on a fixed batch: the change of its
    weights is what optimizer, clipping, decay and schedule do with them. No hook ever touches the net that trains.
    """

    def __init__(self, plan: Plan, trainer: Trainer) -> None:
        self._trainer = trainer
        own_loss = copy.deepcopy(plan.loss)  # it may keep statistics
        # Others that share the run do not look, and know nothing of the twin's step.
        plain = replace(plan, loss=own_loss, settings=replace(plan.settings, compile=False), ranks=None)
        state = random_state(trainer.device)
        self._twin = build.make_trainer(plain)
        self._x, self._y = probe(plain)
        set_random_state(state, trainer.device)
        self._batch = min(plan.batch_size or len(self._x), len(self._x))

    def look(self) -> tuple[dict[str, object], dict[str, Tensor]]:
        """The loss of the probe and each layer's statistics as plain values, and what histograms are drawn of, by tag.

        What does not apply to a layer is left out; what is no finite number is None.
        """
        twin, state = self._twin, random_state(self._trainer.device)
        twin.model.load_state_dict(self._trainer.model.state_dict())
        twin.load_state_dict(copy.deepcopy(self._trainer.state_dict()))  # an optimizer would share its tensors
        try:
            seen, loss = observe(twin.model.train(), self._x, lambda output: twin.loss(output, self._y))
            gradients = {n: p.grad.detach().clone() for n, p in twin.model.named_parameters() if p.grad is not None}
            values = {f"outputs/{item.name}": item.values for item in seen}
            values |= {f"output_gradients/{i.name}": i.gradient for i in seen if i.gradient is not None}
            values |= {f"weights/{n}": p.detach().clone() for n, p in twin.model.named_parameters()}
            values |= {f"weight_gradients/{name}": gradient for name, gradient in gradients.items()}
            rows = [
                {k: _number(v) for k, v in asdict(r).items() if v is not None} for r in layers(seen, self._updates())
            ]
            return {"loss": _number(loss.item()), "layers": rows}, values
        finally:
            twin.losses.clear()
            twin.rows.clear()
            twin.weights.clear()
            set_random_state(state, self._trainer.device)

    def _updates(self) -> dict[str, float]:
        """The relative change of each parameter in the next step; nothing where that step would break down."""
        before = {name: p.detach().clone() for name, p in self._twin.model.named_parameters()}
        n = self._batch
        try:
            self._twin.step([(self._x[:n], self._y[:n], torch.arange(n))])
        except DivergedError:
            return {}
        return relative_updates(before, self._twin.model)


def _number(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value
