"""Rows through a network in blocks of one shape, so that what it says of a row does not depend on the row's company.

Which digits a product of matrices ends in depends on the kernel, and libraries choose that by the shape of the whole
block; within a block also on where a row begins in memory, and whether its elements are the last ones, which no vector
instruction takes. So the shape is always the same, its last block filled up, and rows begin where cache lines do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS = 128  # as fast on a CPU as 8,192, whose activations leave the cache; and one row alone costs no more than these
_VALUES = {"cpu": 1 << 20, "cuda": 1 << 24}  # input numbers of a block
_LINE = 16  # float32 numbers of a cache line
_LEAST = 32  # rows whose elements fill whole vectors, whatever their number; fewer are taken one by one


def rows_of(in_features: int, device: torch.device) -> int:
    """Rows of a block for a network of so many inputs: a power of two, or 1."""
    values = _VALUES.get(device.type, _VALUES["cuda"])
    most = ROWS if device.type == "cpu" else values
    fitting = min(most, values // in_features)
    return 1 << (fitting.bit_length() - 1) if fitting >= _LEAST else 1


def apply(function: Callable[[Tensor], Tensor], rows: Tensor, size: int = ROWS) -> Tensor:
    """`function` of rows [N, ...], N > 0, in blocks [size, ...]; what fills up the last one is cut off again."""
    found: list[Tensor] = []
    for part in rows.split(size):
        block = part.new_empty(size, *part.shape[1:])  # a row of the caller's may begin anywhere
        block[: len(part)], block[len(part) :] = part, part[-1]
        found.append(function(block)[: len(part)])
    return torch.cat(found)


@contextmanager
def aligned(model: nn.Module) -> Iterator[None]:
    """Inside, the rows of what reaches a linear layer begin where cache lines do: MKL adds up others in another order
    where the outputs are few. A copy of the activations, where their width is none of whole lines.
    """
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m.in_features % _LINE]
    hooks = [layer.register_forward_pre_hook(_align, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _align(
    _layer: nn.Module, inputs: tuple[Tensor, ...], named: dict[str, Tensor]
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    if inputs:
        return (_from_a_line(inputs[0]), *inputs[1:]), named
    return inputs, {name: _from_a_line(x) if name == "input" else x for name, x in named.items()}


def _from_a_line(x: Tensor) -> Tensor:
    width = x.shape[-1]
    return F.pad(x, (0, -width % _LINE))[..., :width]
