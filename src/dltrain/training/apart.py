"""Training within somebody else's process, which is left as it was, and what is kept of it in memory."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dltrain.engine import devices, process
from dltrain.parts import State


@contextmanager
def apart(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, generators begin at the seed; afterwards the process is as it was."""
    devices.random_state(device)  # from here on it is in use
    with process.left_as_it_was():
        torch.default_generator.manual_seed(seed)
        if device.type != "cpu":
            devices.set_random_state(torch.Generator(device).manual_seed(seed).get_state(), device)
        yield


def slim() -> None:
    """For a small net, within `apart`: one thread, see `build.threads`, and tiny numbers are 0, see
    `construct.set_arithmetic`. Where there are several threads, those that are started inside would keep that switch.
    """
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def released(model: nn.Module, optimizer: Optimizer) -> State:
    """The optimizer's state by the names of parameters; the model is put on the CPU, to be judged.

    Each tensor gets memory of its own: of a trainer's, a pickle would hold all for each.
    """
    model.cpu().eval()
    kept: State = {}
    for name, p in model.named_parameters():
        state = optimizer.state.get(p, {})
        kept[name] = {k: v.cpu().clone() if isinstance(v, Tensor) else v for k, v in state.items()}
        p.data, p.grad = p.data.clone(), None
    return kept


def restore(model: nn.Module, optimizer: Optimizer, kept: State) -> None:
    """The state of each parameter, in an optimizer with rates of its own."""
    names = {p: name for name, p in model.named_parameters()}
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state = {i: kept[names[p]] for i, p in enumerate(parameters) if kept.get(names[p])}
    optimizer.load_state_dict(optimizer.state_dict() | {"state": copy.deepcopy(state)})
