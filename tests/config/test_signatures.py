"""Signatures read from sources: what they say is what the imported thing says."""

import inspect

import pytest
import torch
import yaml

from dltrain.config import signatures
from dltrain.config.arguments import check_arguments, matches, wanted
from dltrain.config.choices import CONFIGS
from dltrain.config.policy import _import, type_hints
from dltrain.errors import ConfigError

SHIPPED = sorted(
    {
        node["_target_"]
        for file in CONFIGS.glob("*/*.yaml")
        if isinstance(node := yaml.safe_load(file.read_text()), dict) and "." in str(node.get("_target_"))
    }
)
OPTIMIZERS = [f"torch.optim.{n}" for n, c in vars(torch.optim).items() if isinstance(c, type)]
SCHEDULERS = [
    f"torch.optim.lr_scheduler.{n}"
    for n, c in vars(torch.optim.lr_scheduler).items()
    if isinstance(c, type) and issubclass(c, torch.optim.lr_scheduler.LRScheduler)
]
NUMBERS, TEXTS = [None, True, 0, 1, -1, 0.5, 1e30], ["", "a", "unit", "auto", "relu"]
VALUES = [*NUMBERS, *TEXTS, [], [1], [0.5, 1], ["a"], [1, "a"], {}, {"a": 1}]


def compare(target):
    """How many parameters were compared; None where nothing was read."""
    made, real = signatures.stand_in(target), _import(target)
    if made is None:
        return None
    assert made.__name__ == real.__name__
    assert isinstance(made, type) == isinstance(real, type)
    mine, theirs = inspect.signature(made).parameters, inspect.signature(real).parameters
    assert [(p.name, p.kind) for p in mine.values()] == [(p.name, p.kind) for p in theirs.values()]
    empty = inspect.Parameter.empty
    assert [p.default is empty for p in mine.values()] == [p.default is empty for p in theirs.values()]
    hints = type_hints(real)
    for name, hint in type_hints(made).items():
        if name in hints:
            assert [matches(v, hint) for v in VALUES] == [matches(v, hints[name]) for v in VALUES], name
            if not (isinstance(hint, type) and hint.__name__ in signatures._FOREIGN):
                assert wanted(hint) == wanted(hints[name])
    return len(mine)


@pytest.mark.parametrize("target", SHIPPED)
def test_shipped_targets_are_read_whole(target):
    real = _import(target)
    if isinstance(real, type) and "__init__" not in vars(real):
        assert signatures.stand_in(target) is None  # its constructor is torch's
        return
    assert compare(target) == len(inspect.signature(real).parameters)
    assert set(type_hints(signatures.stand_in(target))) >= set(type_hints(_import(target))) - {"return", "params"}


def test_torchs_own_optimizers_and_schedulers_are_read():
    read = [target for target in [*OPTIMIZERS, *SCHEDULERS] if compare(target) is not None]
    assert {"torch.optim.AdamW", "torch.optim.SGD", "torch.optim.lr_scheduler.StepLR"} <= set(read)
    assert len(read) > 20


@pytest.mark.parametrize(
    "target",
    [
        "dltrain.models.Nothing",
        "dltrain.nothing.Thing",
        "dltrain.models",
        "torch.nn.functional.relu",
        "my_package.Net",
        "os.system",
        "torch.optim.lr_scheduler.torch",
        "dltrain.data.Data",
    ],
)
def test_what_the_source_does_not_tell_is_left_open(target):
    made = signatures.stand_in(target)
    assert made is None or compare(target) is not None


def test_arguments_get_the_same_words():
    given = {"lr": "fast", "betas": [0.9], "amsgrad": 3, "weight_decoy": 1}
    real, made = torch.optim.AdamW, signatures.stand_in("torch.optim.AdamW")
    words = [check_arguments(f, given, node="optimizer", passed=["params"]) for f in (real, made)]
    assert words[0] == words[1]
    assert len(words[0]) == 4


def test_names_are_checked_before_anything_is_read():
    with pytest.raises(ConfigError, match=r"`os\.system` is not allowed here"):
        signatures.find("os.system", "model")
