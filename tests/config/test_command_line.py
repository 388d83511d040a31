"""What a program gives is typed so that it is read to the letter."""

import pytest

from dltrain.config import hydra
from dltrain.config.command_line import typed
from dltrain.config.overrides import quoted
from dltrain.errors import ConfigError

TEXTS = [
    "runs/é",
    "runs/🙂",
    "a\\b",
    "a\\",
    'a"b',
    'a\\"b',
    "a'b",
    "a,b",
    "a b",
    "[x]",
    "{x}",
    "${x}",
    "~x",
    "C:\\tmp\\",
    "price [€]",
    "a'é[é] (~x,\"é",
]


def read(override):
    return hydra.parser({})(quoted(override)).value


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_is_read_to_the_letter_alone_and_in_a_list(text):
    assert read(typed("key", text)) == text
    assert read(typed("key", [text, text])) == [text, text]
    assert read(typed("key", (text, None, 1, 0.5, True, "1"))) == [text, None, 1, 0.5, True, "1"]


def test_what_can_not_be_typed_is_refused():
    for value in (object(), [object()], {1, 2}, b"x"):
        with pytest.raises(ConfigError, match="give a text, a number, None, or a list of them"):
            typed("key", value)
