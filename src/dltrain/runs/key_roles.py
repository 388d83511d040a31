"""What each key of a configuration is to a run: the one table that every list of keys comes from.

It is asked by resuming (what may change), by `eval` and `predict` (what may be others), by tables of runs and
TensorBoard (which keys are worth a column), by groups of seeds (what is one configuration), and by `best` and `compare`
(which runs can be compared).
"""

import re
from enum import Enum


class Role(Enum):
    """A key of the first three roles never changes within a run; another value of the others goes on with it."""

    RESULT = "decides what is learned, to the bit"
    PROBLEM = "says which rows are learned and judged: runs on other problems can't be compared; decides the bits, too"
    PREPARATION = "how those rows are presented to the net: decides the bits, and is a choice on the same problem"
    LENGTH = "how long: the bits of a step stay, and a schedule planned for another length is asked for"
    METHOD = "how it is computed: last digits may differ, which is said; whoever sets it compares what it costs"
    PLACE = "where the data lie: that they are the same is seen by their fingerprint"
    REPORTS = "where reports stand: said where a result goes by the loss of one, or a compiled program ends there"
    MACHINE = "where it is computed: last digits may differ, which is said"
    HOUSEKEEPING = "changes no result"
    COMMAND = "what the command is to do: no part of what a run is, and not stored"


KEYS = {  # `model.*` is every key below `model` that no role names itself
    Role.RESULT: (
        *("seed", "model.*", "loss.*", "optimizer.*", "scheduler.*", "regularisation.*", "data.batch_size"),
        *("trainer.precision", "trainer.accumulate", "trainer.compile", "trainer.deterministic", "trainer.eval_every"),
        *("trainer.monitor", "trainer.limit_train_batches", "trainer.fast_dev_run", "trainer.sync_batchnorm"),
    ),
    Role.PROBLEM: ("data.*", "trainer.overfit_batches"),
    Role.PREPARATION: (
        *("data.scaling", "data.target_transform", "data.one_hot", "data.max_categories", "data.min_count"),
    ),
    Role.LENGTH: ("trainer.epochs", "trainer.max_steps", "trainer.schedule_steps", "trainer.stop_without_mistakes"),
    Role.METHOD: ("trainer.step", "trainer.matmul", "trainer.flush_denormal"),
    Role.PLACE: ("data.root", "data.path", "data.test_path", "data.on_disk"),
    Role.REPORTS: ("trainer.report_every",),
    Role.MACHINE: ("trainer.threads", "trainer.device"),
    Role.HOUSEKEEPING: (
        *("trainer.max_time", "trainer.save_every", "trainer.progress", "trainer.tensorboard", "trainer.profile"),
        *("trainer.metrics", "trainer.rank_timeout"),
        *("data.workers", "name", "runs_dir", "diagnose"),
    ),
    Role.COMMAND: ("resume",),
}
_ROLES = {key: role for role, keys in KEYS.items() for key in keys}


def of(key: str) -> Role:
    """The role of a dotted key. One that nobody knows counts for the result: what is free is named."""
    return _ROLES.get(key) or _ROLES.get(f"{key.partition('.')[0]}.*", Role.RESULT)


def keys(*wanted: Role) -> tuple[str, ...]:
    """The keys of these roles."""
    return tuple(key for role in wanted for key in KEYS[role])


# Whose value may be one of several folds, as 2/5: runs on all folds of the same rows have one problem.
FOLD = "data.test"


def folds(value: object) -> int:
    """How many folds there are, where a value of `FOLD` is one of them (see `dltrain.data.split.fold`); else 0."""
    found = re.fullmatch(r"[1-9][0-9]{0,5}/([1-9][0-9]{0,5})", value) if isinstance(value, str) else None
    return int(found[1]) if found else 0


def scales_loss(key: str, value: object) -> bool:
    """Whether losses of runs that differ in it are in other units."""
    return key.split(".")[0] == "loss" or (key == "data.target_transform" and value != "standard")


def shared(key: str, value: object) -> object:
    """What a value says of all folds alike: how many there are, and not which it is."""
    return f"{count} folds" if key == FOLD and (count := folds(value)) else value


# What runs once lacked, and did: a configuration that says so is the same as one without it.
ONCE_LACKED: dict[str, object] = {"trainer.sync_batchnorm": False}

# What a resumed run may change; a run and what is resumed from it are one.
MAY_CHANGE = keys(Role.LENGTH, Role.METHOD, Role.PLACE, Role.REPORTS, Role.MACHINE, Role.HOUSEKEEPING)
# What tells no two results apart: no column of a table, and the same configuration for a group of seeds.
UNSEEN = keys(Role.REPORTS, Role.MACHINE, Role.HOUSEKEEPING, Role.COMMAND)
