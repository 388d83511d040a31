"""What a person reads before and after a run, as plain text."""

import pytest
from rich import box
from rich.table import Table

from dltrain.training import overview


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE", "COLORTERM"])
def test_a_table_holds_no_styles_whatever_the_environment_asks(variable, monkeypatch):
    monkeypatch.setenv(variable, "1")
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("overrides")
    table.add_row("regularisation=[dropout,l2]")
    text = overview._text(table)
    assert "\x1b" not in text
    assert "regularisation=[dropout,l2]" in text
