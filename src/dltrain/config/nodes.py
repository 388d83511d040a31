"""The nodes of a configuration, read and checked: plain knobs, and `_target_` with its arguments.

None of this needs torch. `first_look` checks them all without it, by the signatures that stand in the sources, so that
most mistakes are told before the seconds that torch takes to import.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence, Set
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TypeVar

from dltrain.config import signatures
from dltrain.config.arguments import check_arguments
from dltrain.config.choices import GROUPS
from dltrain.config.compose import Composed, name_mistake
from dltrain.config.mistakes import Mistakes
from dltrain.config.policy import Arguments, Part, limited, parameters, resolve
from dltrain.config.settings import BatchSize, Regularisation, Settings, loader_knobs
from dltrain.errors import ConfigError, did_you_mean
from dltrain.errors.paths import is_there, is_url, joined, local
from dltrain.runs import run_folder
from dltrain.runs.foreign import Values

SLOTS = ("data", "model", "loss", "optimizer", "scheduler")
_NODES = tuple(group for group in GROUPS if group != "experiment")  # an experiment is a choice of the others
_LOADER_KEYS = ("batch_size", "workers")  # of a data node, for the loader rather than the source
_PATH = re.compile(r"(.*[._])?(path|root|file|dir|folder|directory|filename)s?")  # keys that hold one
_PASSED = {  # names that the border fills in
    "data": (),
    "model": ("in_features", "in_shape", "in_channels", "out_features", "num_classes", "codes"),
    "loss": ("task", "class_counts", "samples"),
    "optimizer": ("params",),
    "scheduler": ("base_lr", "total_steps", "steps_per_epoch", "optimizer"),
}

Knobs = TypeVar("Knobs", Settings, Regularisation)


def first_look(composed: Composed, allow: Sequence[str] = (), *, only: Set[str] | None = None) -> None:
    """Raises ConfigError with every mistake that shows without importing torch or what a `_target_` names.

    only: the groups, or keys outside of them, that are looked at; all where None.
    """
    nodes = Nodes(composed, allow, torch=False)

    def wanted(*names: str) -> bool:
        return only is None or not only.isdisjoint(names)

    if only is None or not only <= {*_NODES}:
        nodes.top()
    if wanted("trainer"):
        nodes.knobs("trainer", Settings)
    if wanted("regularisation"):
        nodes.knobs("regularisation", Regularisation)
    for slot in filter(wanted, SLOTS):
        nodes.part(slot)
    if wanted("data"):
        nodes.loader()
    nodes.mistakes.stop()


@dataclass(frozen=True)
class Top:
    """The keys outside the groups."""

    seed: int
    name: str
    runs_dir: Path
    resume: str | None
    diagnose: bool


class Nodes:
    """Reads nodes and collects what is wrong with them; one that can't be used is None.

    `torch`: whether it and what a `_target_` names may be imported; else what can't be told without is passed over.
    """

    def __init__(self, composed: Composed, allow: Sequence[str], *, torch: bool = True) -> None:
        self.composed, self.allow, self.torch = composed, allow, torch
        self.mistakes = Mistakes(composed)
        self.say = self.mistakes.say
        self.cfg = copy.deepcopy(composed.values)

    # -- plain knobs -------------------------------------------------------------------------------------------

    def config(self) -> Values:
        """The configuration without `resume`, which is no part of it."""
        return {key: value for key, value in self.cfg.items() if key != "resume"}

    def top(self, *, writes: bool = True) -> Top:
        """The keys outside the groups, each replaced where it is wrong. `writes`: a run folder is to be made there."""
        given = {key: value for key, value in self.cfg.items() if key not in _NODES}
        if isinstance(given.get("experiment"), dict):
            del given["experiment"]
            self.say("experiment", "the file's first line must be `# @package _global_`, or its keys reach nothing")
        known = (*parameters(_top), *_NODES)
        for key, message in check_arguments(_top, given, node="").items():
            hint = did_you_mean(f"{key}", known) or f"; there are {', '.join(known)}"
            self.say(key, message if key in known else f"there is no such key{hint}")
        return Top(
            seed=self._seed(given.get("seed")),
            name=(name := self._name(given.get("name"))),
            runs_dir=self._root(given.get("runs_dir"), name, writes),
            resume=resume if isinstance(resume := given.get("resume"), str) else None,
            diagnose=given.get("diagnose") is True,
        )

    def _seed(self, seed: object) -> int:
        if isinstance(seed, int) and not 0 <= seed < 2**32:
            self.say("seed", f"{seed} must be from 0 to 4294967295 (2^32 - 1)")
            return 0
        return seed if isinstance(seed, int) else 0

    def _name(self, name: object) -> str:
        if isinstance(name, str):
            if not (bad := name_mistake(name)):
                return name
            self.say("name", bad)
        chosen = self.composed.chosen
        return f"{chosen.get('experiment') or '{}-{}'.format(chosen.get('data'), chosen.get('model'))}"

    def _root(self, runs_dir: object, name: str, writes: bool) -> Path:
        root = Path("runs")
        if runs_dir == "":
            self.say("runs_dir", "name a folder, such as runs")
        elif isinstance(runs_dir, str):
            try:
                root = local(runs_dir)
            except ConfigError as error:
                self.say("runs_dir", str(error))
            else:
                if writes and (bad := run_folder.check_writable(root / name)):
                    self.say("runs_dir", bad)
        return root

    def knobs(self, group: str, cls: type[Knobs]) -> Knobs | None:
        """A node that a dataclass describes."""
        given = self.cfg.get(group)
        if not isinstance(given, dict):
            self.say(group, f"want keys and values, got {given!r}; `dltrain list {group}` shows them")
            return None
        made = cls(**{f.name: given.get(f.name) for f in fields(cls)})
        wrong = made.mistakes() | check_arguments(cls, given, node=group, called=group)
        if not wrong and self.torch:
            wrong = made.trial()
        for key, message in wrong.items():
            self.say(f"{group}.{key}", message)
        return None if wrong else made

    def loader(self) -> tuple[BatchSize, int | None]:
        """Batch size (None is the whole train part, auto depends on its size) and number of workers (None is auto)."""
        node = self.cfg.get("data")
        batch_size, workers, wrong = loader_knobs(node if isinstance(node, dict) else {"batch_size": 1})
        for key, message in wrong.items():
            self.say(f"data.{key}", message)
        return batch_size, workers

    # -- nodes with a `_target_` -------------------------------------------------------------------------------

    def part(self, slot: str) -> Part | None:
        """What a slot's `_target_` names, with its arguments."""
        node = self.cfg.get(slot)
        if not isinstance(node, dict) or "_target_" not in node:
            self.say(slot, f"choose one: {slot}=NAME (`dltrain list {slot}` explains them)")
            return None
        ignored, before = _LOADER_KEYS if slot == "data" else (), len(self.mistakes.lines)
        node = {k: v if slot != "data" else self._located(f"data.{k}", v) for k, v in node.items() if k not in ignored}
        part = self._resolve(slot, slot, node)
        if part is None:
            return None
        special: Sequence[str] = ()
        if slot == "scheduler" and isinstance(part.function, type):
            special = ("interval", "monitor")
            if (interval := part.arguments.get("interval", "epoch")) not in ("step", "epoch"):
                self.say("scheduler.interval", f"want step or epoch, got {interval!r}")
            if part.arguments.get("mode") == "auto" and _is_plateau(part.function):
                special += ("mode",)
        given = {k: v for k, v in part.arguments.items() if k not in special}
        wrong = check_arguments(part.function, given, node=slot, passed=_PASSED[slot])
        for key, message in wrong.items():
            self.say(f"{slot}.{key}", message)
        return None if wrong or len(self.mistakes.lines) > before else part

    def _resolve(self, key: str, slot: str, node: Arguments) -> Part | None:
        """The node as a Part, its nested nodes too."""
        arguments = {k: self._nested(f"{key}.{k}", slot, v) for k, v in node.items() if k != "_target_"}
        try:
            find = resolve if self.torch else signatures.find
            function = find(node["_target_"], slot, self.allow, nested=key != slot, stored=self.composed.stored)
            arguments = limited(function, arguments, stored=self.composed.stored) if function else arguments
        except ConfigError as error:
            self.say(f"{key}._target_", str(error))
            return None
        return Part(function, arguments) if function else None

    def _located(self, key: str, value: object) -> object:
        """The same, where a relative path of a stored configuration names what it named where the run was started."""
        home = self.composed.started
        if home is None or home == Path.cwd():
            return value
        if isinstance(value, dict):
            return {k: self._located(f"{key}.{k}", v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._located(key, v) for v in value]
        if not (isinstance(value, str) and is_relative_path(key, value)):
            return value
        there = is_there(home / value)  # also of a pattern; not where only the folder's owner may enter it
        return joined(home, value) if there else value

    def _nested(self, key: str, slot: str, value: object) -> object:
        if isinstance(value, list):
            return [self._nested(f"{key}[{i}]", slot, v) for i, v in enumerate(value)]
        if not isinstance(value, dict):
            return value
        if "_target_" not in value:
            return {k: self._nested(f"{key}.{k}", slot, v) for k, v in value.items()}
        part = self._resolve(key, slot, value)
        if part is None:
            return Part(lambda: None, {})  # what holds it can still be checked
        for name, message in check_arguments(part.function, part.arguments, node=key).items():
            self.say(f"{key}.{name}", message)
        return part


def is_relative_path(key: str, value: object) -> bool:
    """Whether a key holds a path, and this one begins in the current folder."""
    if not (isinstance(value, str) and _PATH.fullmatch(key)):
        return False
    return not (value.startswith("~") or is_url(value) or Path(value).is_absolute())


def _is_plateau(cls: type) -> bool:
    """Told by its name: torch may not be imported yet, and `cls` a stand-in."""
    return any(c.__name__ == "ReduceLROnPlateau" for c in cls.__mro__)


def _top(seed: int, name: str | None, runs_dir: str, resume: str | None = None, diagnose: bool = False) -> None:
    """The keys outside the groups, as a signature to check against."""
