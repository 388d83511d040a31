"""Arguments against signatures: what does not fit is told, with what to write instead."""

from typing import Any, Literal

import pytest
import torch
from torch import nn

from dltrain.config.arguments import check_arguments, matches, wanted
from dltrain.config.policy import Part


def knobs(
    in_features: int,
    *,
    rate: float,
    widths: list[int] = [],  # noqa: B006 - a signature to check against
    betas: tuple[float, float] = (0.9, 0.999),
    kind: Literal["one", "two"] = "one",
    flag: bool = False,
    name: str | None = None,
    anything: Any = None,
) -> None: ...


def wrong(**given):
    return check_arguments(knobs, {"rate": 0.1, **given}, node="model", passed=["in_features"])


def test_good_arguments_pass():
    assert wrong(rate=1, widths=[1, 2], betas=[0.9, 0.99], kind="two", flag=True, name=None, anything={"a": 1}) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"rate": "0.1"}, "want a number, got the text '0.1'"),
        ({"rate": ""}, "want a number, got an empty text"),
        ({"rate": None}, "want a number, got null"),
        ({"rate": True}, "want a number, got true"),
        ({"rate": float("nan")}, "nan is not a finite number"),
        ({"rate": float("-inf")}, "-inf is not a finite number"),
        ({"rate": "???"}, "give a value: model.rate=..., a number"),
        ({"widths": 64}, "want a list of whole numbers, got 64; write [64]"),
        ({"widths": [1.5]}, "want a list of whole numbers, got [1.5]"),
        ({"betas": [0.9]}, "want a list of 2 numbers, got [0.9]"),
        ({"betas": [0.9, float("nan")]}, "nan is not a finite number"),
        ({"kind": "tow"}, "want one of one, two, got the text 'tow'; did you mean `two`?"),
        ({"flag": 1}, "want true or false, got 1"),
        ({"name": False}, "want text or null, got false; to mean the word, quote it, twice in the shell: \"'false'\""),
        ({"nmae": "x"}, "knobs has no `nmae`; did you mean `name`?"),
        ({"zzz": 1}, "knobs has no `zzz`; it has rate, widths, betas, kind, flag, name, anything"),
    ],
)
def test_wrong_arguments_are_told(given, message):
    assert wrong(**given) == {next(iter(given)): message}


def test_whole_numbers_written_otherwise():
    def count(n: int) -> None: ...

    assert check_arguments(count, {"n": "08"}, node="")["n"].endswith("got the text '08'; write 8")
    assert check_arguments(count, {"n": 1000.0}, node="")["n"].endswith("got 1000.0; write 1000")
    assert check_arguments(count, {"n": 0.5}, node="")["n"].endswith("got 0.5")


def test_a_missing_argument_says_how_to_give_it():
    assert check_arguments(knobs, {}, node="model", passed=["in_features"]) == {
        "rate": "knobs needs it (a number): add +model.rate=..."
    }


def test_signatures_of_torch_are_schemas_too():
    assert check_arguments(torch.optim.AdamW, {"lr": 0.1, "betas": [0.9, 0.99]}, node="", passed=["params"]) == {}
    assert "weight_decay" in check_arguments(torch.optim.SGD, {"weight_deacy": 1}, node="")["weight_deacy"]
    assert wanted(tuple[float, float]) == "a list of 2 numbers"
    assert wanted(nn.Module | None) == "null"


def test_a_part_is_held_against_the_class_that_it_makes():
    assert matches(Part(nn.Linear, {}), nn.Module)
    assert not matches(Part(nn.Linear, {}), torch.utils.data.Dataset)
