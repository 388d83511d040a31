"""The devices beside the CPU that torch trains on, and what each of them does in its own way.

CUDA is what was tried; for Apple's `mps` and Intel's `xpu` there is what torch's manual says of them.
"""

from __future__ import annotations

import platform

import torch
from torch import Tensor

KINDS = ("cuda", "mps", "xpu")


def count(kind: str) -> int:
    """How many devices of that kind this machine has for torch."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    module = torch.xpu if kind == "xpu" else torch.cuda
    return module.device_count() if module.is_available() else 0


def in_use() -> list[torch.device]:
    """Those that this process has begun to work with: to ask one that it has not would begin it."""
    begun = [kind for kind, module in (("cuda", torch.cuda), ("xpu", torch.xpu)) if module.is_initialized()]
    found = [torch.device(kind, number) for kind in begun for number in range(count(kind))]
    return [*found, *[torch.device("mps")] * count("mps")]


def mistake(name: str) -> str | None:
    """Why a run can't be on the device of that name, or None."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type == "cpu":
        return None
    if device.type not in KINDS:
        return f"there is no device `{name}`; use auto, cpu, cuda, mps or xpu, or cuda:N"
    own, there = "CUDA" if device.type == "cuda" else device.type, count(device.type)
    if not there:
        return f"torch finds no {own} device on this machine; use trainer.device=cpu or auto"
    if (device.index or 0) >= there:
        return f"there is no `{name}`: this machine has {there} {own} devices, counted from 0"
    return None


def described(device: torch.device) -> str:
    """What bits depend on, of a device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return torch.xpu.get_device_name(device)
    return f"mps on {platform.processor() or platform.machine()}" if device.type == "mps" else device.type


def random_state(device: torch.device) -> Tensor | None:
    """The state of its own generator; None of a CPU, whose is torch's."""
    if device.type == "mps":  # there is one, and torch takes no number for it
        return torch.mps.get_rng_state()
    if device.type in KINDS:
        return (torch.xpu if device.type == "xpu" else torch.cuda).get_rng_state(device)
    return None


def set_random_state(state: Tensor, device: torch.device) -> None:
    """Restores what `random_state` gave; of a state from another kind of device nothing is taken."""
    if device.type == "mps":
        torch.mps.set_rng_state(state)
    elif device.type in KINDS:
        (torch.xpu if device.type == "xpu" else torch.cuda).set_rng_state(state, device)


def float64(values: Tensor) -> Tensor:
    """In double precision; on the CPU where the device, Apple's, has none."""
    return values.to(of_float64(values.device)).double()


def of_float64(device: torch.device) -> torch.device:
    """Where its double precision is."""
    return torch.device("cpu") if device.type == "mps" else device
