"""What an error advises can be typed as it stands."""

import shlex

import pytest

from dltrain import errors
from dltrain.config.compose import compose

ODD = [
    "price (USD)",
    "a,b",
    "x=1",
    "größe",
    "it's",
    '"',
    "\\",
    '\\"',
    "a\\\\",
    "$HOME",
    "?",
    ";",
    "|",
    "2020",
    "null",
    "1e3",
    " a ",
    "~",
    "",
]


@pytest.mark.parametrize("name", ["id", "width.cm", *ODD])
def test_an_advised_override_means_in_a_shell_and_for_hydra_what_it_says(name):
    text = errors.override("data.drop", [name, "x"])
    (word,) = shlex.split(text)
    assert compose(["data=table", word]).values["data"]["drop"] == [name, "x"]
    (word,) = shlex.split(errors.override("data.target", name))
    assert compose(["data=table", word]).values["data"]["target"] == name


def test_plain_names_need_no_quotes():
    assert errors.override("data.drop", ["id", "zip_code"]) == "data.drop=[id,zip_code]"
    assert errors.override("data.target", "price") == "data.target=price"
