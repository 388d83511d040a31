"""A gallery goes on where something can't be made."""

import pytest

from dltrain.insight.gallery import Gallery


@pytest.mark.usefixtures("unpainted")
def test_what_cannot_be_made_is_a_note_and_the_rest_is_made(monkeypatch):
    monkeypatch.delenv("DLTRAIN_DEBUG", raising=False)
    gallery = Gallery()
    assert gallery.tried("The weights", lambda: 1 / 0) is None
    gallery.add("a.png", "A", "", lambda: b"GIF89a")
    gallery.add("b.png", "B", "", lambda: None)
    gallery.add("c.png", "C", "", lambda: [][1])
    assert [picture.name for picture in gallery.pictures] == ["a.png"]
    assert gallery.notes == [
        "The weights: not drawn (ZeroDivisionError: division by zero)",
        "C: not drawn (IndexError: list index out of range)",
    ]
    monkeypatch.setenv("DLTRAIN_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        gallery.tried("The weights", lambda: 1 / 0)
