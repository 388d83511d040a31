"""A composed configuration becomes a checked plan: every mistake is collected before anything is written.

Each check that can still run does, so that a user sees all that is wrong at once; a check that needs what failed
before it is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import Parameter
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from dltrain.config import construct
from dltrain.config.checks import data, net, nodes, optimization, remarks
from dltrain.config.choices import GROUPS
from dltrain.config.compose import Composed
from dltrain.config.construct import Sizes, sizes
from dltrain.config.hydra import as_yaml
from dltrain.config.nodes import SLOTS, Nodes
from dltrain.config.policy import Part, parameters
from dltrain.config.settings import BatchSize, Regularisation, Settings, device_or_auto, matmul_or_auto
from dltrain.data import Data
from dltrain.data.fingerprint import fingerprint
from dltrain.engine.ranks import Ranks
from dltrain.engine.steps.step import Kind
from dltrain.errors import ConfigError, key_of
from dltrain.errors.output import cut
from dltrain.parts import metrics
from dltrain.parts.modules import Row
from dltrain.parts.pretrained import How
from dltrain.runs import foreign
from dltrain.runs.foreign import LARGEST_CONFIG, Values
from dltrain.runs.reading import flat

T = TypeVar("T")

Check = Callable[..., Mapping[str, object] | None]  # from facts, which its parameters name, to new ones
OUTLINE: tuple[Check, ...] = (
    nodes.read_top,
    nodes.read_trainer,
    nodes.read_parts,
    nodes.read_loader,
)
CHECKS: tuple[Check, ...] = (
    nodes.read_top,
    nodes.read_trainer,
    construct.set_arithmetic,
    nodes.read_regularisation,
    nodes.read_parts,
    nodes.read_loader,
    optimization.try_optimizer,
    optimization.check_precision,
    data.read,
    data.try_transform,
    data.choose_batch_size,
    data.shorten,
    net.try_loss,
    net.try_augmentation,
    data.choose_monitor,
    data.check_stopping_metric,
    data.check_schedule_metric,
    data.check_more_metrics,
    net.try_model,
    net.check_outputs,
    net.check_batch_size,
    net.check_shared,
    net.choose_step,
    data.count_steps,
    data.count_schedule_steps,
    optimization.try_schedule,
    optimization.run_through_schedule,
    optimization.find_rate_key,
)
BLAMED: dict[Check, str] = {  # checks that call what a node names: it is to blame for what they raise
    optimization.try_optimizer: "optimizer",
    net.try_loss: "loss",
    net.try_augmentation: "regularisation",
    optimization.try_schedule: "scheduler",
    optimization.run_through_schedule: "scheduler",
}
REMARKS: tuple[Callable[..., Iterable[str]], ...] = (  # from facts to sentences, where nothing is wrong
    remarks.own_peak,
    remarks.typed_in_vain,
    remarks.no_hidden_layer,
    remarks.lbfgs,
    remarks.without_mistakes,
    remarks.batches,
    remarks.shared,
    remarks.beside_the_choice,
)


@dataclass
class Plan:
    """Everything that a run needs, checked, with nothing written yet."""

    config: Values
    seed: int
    name: str
    runs_dir: Path
    settings: Settings
    regularisation: Regularisation
    parts: dict[str, Part]
    data: Data
    given_size: BatchSize  # as the configuration has it
    batch_size: int | None  # of it the rows of a step; None: the whole train part
    workers: int | None  # None: as many as the loader finds useful
    device: torch.device
    monitor: str
    steps_per_epoch: int
    total_steps: int
    schedule_steps: int
    loss: nn.Module
    out_features: int
    rate_key: str  # the key that decides the highest learning rate
    resume: str | None
    pretrained: How
    diagnose: bool
    overrides: tuple[str, ...]
    chosen: Mapping[str, str]  # of each group the name of its file, where that is known
    rows: list[Row]  # the model's summary
    step: Kind
    why_plain: str | None  # why the step is not the direct one
    notes: list[str]
    ranks: Ranks | None = None  # the processes that share the run, where there are several

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process writes and speaks: of several that share the run the one of rank 0."""
        return self.ranks is None or self.ranks.rank == 0

    @property
    def watched(self) -> tuple[str, ...]:
        """The metrics that decide something: which epoch is best, when to stop, when a plateau is reached."""
        stopping, scheduler = self.regularisation.early_stopping or {}, self.parts["scheduler"].arguments
        found = (self.monitor, stopping.get("monitor"), scheduler.get("monitor"))
        return tuple(name for name in found if isinstance(name, str) and name != "auto")

    @property
    def metrics(self) -> tuple[str, ...]:
        """What each validation is to have beside the usual metrics."""
        watched = (name.removeprefix("val/") for name in self.watched if name.startswith("val/"))
        return tuple(dict.fromkeys([*watched, *self.settings.metrics]))

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which way the monitor is better."""
        return metrics.mode(self.monitor.split("/")[1])

    @property
    def sizes(self) -> Sizes:
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


def make_plan(
    composed: Composed, allow: Sequence[str] = (), *, writes: bool = True, ranks: Ranks | None = None
) -> Plan:
    """Checks everything and loads the data; raises ConfigError with all mistakes, or DataError.

    `writes` says whether a run folder is to be made, so that its place is checked, too. ranks: processes that share it.
    """
    known = _facts(CHECKS, Nodes(composed, allow), slots=SLOTS, writes=writes, ranks=ranks)
    plan = _call(Plan, known)
    plan.notes += [note for remark in REMARKS for note in _call(remark, known)]
    _check_readable(plan)
    return plan


@dataclass(frozen=True)
class Outline:
    """What a stored configuration says, checked, before any data are read."""

    config: Values
    seed: int
    settings: Settings
    parts: dict[str, Part]
    given_size: BatchSize
    workers: int | None
    started: Path | None  # the folder in which its relative paths were typed


def outline(composed: Composed, allow: Sequence[str] = (), *, slots: Sequence[str]) -> Outline:
    """Some parts of a stored configuration, checked as `make_plan` checks them.

    A device that this machine lacks gives way to one that it has, unless an override names it; so do products.
    """
    found = Nodes(composed, allow)
    trainer = found.cfg.get("trainer")
    if isinstance(trainer, dict) and not any(key_of(o) == "trainer.device" for o in composed.overrides):
        trainer["device"] = device_or_auto(trainer.get("device"))
        trainer["matmul"] = matmul_or_auto(trainer.get("matmul"))
    return _call(Outline, _facts(OUTLINE, found, slots=slots, writes=False))


def _facts(checks: Iterable[Check], found: Nodes, **given: object) -> dict[str, object]:
    """The facts that checks find, each called where those are known that it needs; raises ConfigError at the end."""
    composed, mistakes = found.composed, found.mistakes
    known = given | {"nodes": found, "composed": composed, "mistakes": mistakes, "notes": []}
    known |= {"overrides": composed.overrides, "started": composed.started}
    known["chosen"] = {k: name for k, name in composed.chosen.items() if k in GROUPS and isinstance(name, str)}
    known["pretrained"] = "cached" if composed.stored else "fetch"
    for check in checks:
        needs = parameters(check).values()
        if any(need.name not in known and need.default is Parameter.empty for need in needs):
            continue
        try:
            known.update(_call(check, known) or {})
        except Exception as error:
            if check not in BLAMED:
                raise
            node = BLAMED[check]
            part = known.get(f"{node}_part")
            mistakes.blame(node, error, part.arguments if isinstance(part, Part) else ())
    mistakes.stop()
    return known


def _call(function: Callable[..., T], known: Mapping[str, object]) -> T:
    """A function of facts, which its parameters name; one with a default may be missing."""
    return function(**{name: known[name] for name in parameters(function) if name in known})


def _check_readable(plan: Plan) -> None:
    """Raises ConfigError where the run folder's readers would refuse what this run writes."""
    if found := foreign.fault(plan.config):
        key, what = found
        keys = flat(plan.config)
        shown = f"{key}={cut(str(keys[key]))}" if key in keys else key or "the configuration"
        raise ConfigError(f"{shown} has {what}, which a run folder can't hold; write it in another way")
    if (size := len(plan.text.encode())) > LARGEST_CONFIG:
        sizes = {key: len(str(value)) for key, value in flat(plan.config).items()}
        key = max(sizes, key=sizes.__getitem__)
        raise ConfigError(
            f"the configuration takes {size:,} bytes as YAML, and {LARGEST_CONFIG:,} are the most; "
            f"{cut(key)} takes {sizes[key]:,}: shorten it"
        )
