"""Fixtures of pictures."""

import pytest

from dltrain.training import replay


@pytest.fixture
def few_frames(monkeypatch):
    """A film of five moments, not of thirty."""
    moments = replay.moments
    monkeypatch.setattr(replay, "moments", lambda steps, count: moments(steps, 5))
