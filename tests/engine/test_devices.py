"""What differs between devices, where none but the CPU is: each one's functions of torch are imitated."""

from types import SimpleNamespace

import pytest
import torch

from dltrain.config import settings
from dltrain.engine import devices, state


def having(monkeypatch, kind, number):
    """A machine with so many devices of one kind."""
    for name in ("cuda", "xpu"):
        there = number if name == kind else 0
        monkeypatch.setattr(getattr(torch, name), "is_available", lambda there=there: there > 0)
        monkeypatch.setattr(getattr(torch, name), "device_count", lambda there=there: there)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: kind == "mps")


@pytest.mark.parametrize("kind", devices.KINDS)
def test_a_device_that_is_there_may_be_named_and_no_other(monkeypatch, kind):
    having(monkeypatch, kind, 1)
    assert devices.mistake(kind) is devices.mistake(f"{kind}:0") is devices.mistake("cpu") is None
    assert "counted from 0" in devices.mistake(f"{kind}:1")
    assert settings.device_or_auto(kind) == kind
    for other in set(devices.KINDS) - {kind}:
        assert "torch finds no" in devices.mistake(other)
        assert settings.device_or_auto(other) == "auto"  # of a run that was trained on another machine
    for name in ("meta", "gpu", "vulkan", "cuda:x", "mps:"):
        assert "there is no device" in devices.mistake(name)
    assert settings.pick_device("auto").type == (
        "cuda" if kind == "cuda" else "cpu"
    )  # what was never tried is not chosen


@pytest.mark.parametrize("kind", devices.KINDS)
def test_each_device_keeps_its_own_random_numbers(monkeypatch, kind):
    """torch's functions for `mps` take no device, and the others want theirs."""
    held = {"state": torch.arange(5, dtype=torch.uint8)}
    own, device = getattr(torch, kind), torch.device(kind, 0)
    if kind == "mps":
        monkeypatch.setattr(own, "get_rng_state", lambda: held["state"])
        monkeypatch.setattr(own, "set_rng_state", lambda new: held.update(state=new))
    else:
        monkeypatch.setattr(own, "get_rng_state", lambda of: {device: held["state"]}[of])
        monkeypatch.setattr(own, "set_rng_state", lambda new, of: held.update({"state": new, "of": of}))
    before = state.random_state(device)
    assert before["device"].tolist() == [0, 1, 2, 3, 4]
    held["state"] = torch.zeros(5, dtype=torch.uint8)
    state.set_random_state(before, device)
    assert held["state"].tolist() == [0, 1, 2, 3, 4]
    assert kind == "mps" or held["of"] == device
    here = state.random_state(torch.device("cpu"))
    assert here["device"] is None
    state.check_random_state(before, here)  # a run may go on where there is no such device
    state.set_random_state(here, device)


def test_apples_device_is_asked_for_no_double_precision():
    class Apples:
        device = SimpleNamespace(type="mps")

        def to(self, device):
            assert device == torch.device("cpu")
            return torch.ones(2)

        def double(self):
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")

    assert devices.float64(Apples()).dtype == devices.float64(torch.ones(2)).dtype == torch.float64
