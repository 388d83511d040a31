"""What a net is made of, whoever wrote it: its working modules, their mode, the shape that each gives out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def every(model: nn.Module) -> list[nn.Module]:
    """The net and all modules in it, each once: `nn.Module.modules` without the names, in a quarter of its time."""
    found, seen = [model], {id(model)}
    for module in found:  # which grows meanwhile
        for part in module._modules.values():
            if part is not None and id(part) not in seen:
                seen.add(id(part))
                found.append(part)
    return found


def working(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that compute something of their own: without children, or with parameters that are not a child's.

    Each has its name; the model itself is called `model`.
    """
    for name, module in model.named_modules():
        if not list(module.children()) or list(module.parameters(recurse=False)):
            yield name or "model", module


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each submodule is in the mode it was in."""
    modes = [(part, part.training) for module in modules for part in every(module)]
    usual = all(map(_has_usual_mode, {type(part) for part, _ in modes}))
    try:
        if usual:
            for part, _ in modes:
                part.__dict__["training"] = False
        else:
            for module in modules:
                module.eval()
        yield
    finally:
        for part, training in modes:
            if usual:
                part.__dict__["training"] = training
            else:
                part.training = training


@lru_cache(maxsize=256)
def _has_usual_mode(kind: type[nn.Module]) -> bool:
    """Whether the mode of such modules is torch's plain attribute, which can be set in a twentieth of the time."""
    methods = ("train", "eval", "__setattr__")
    return not hasattr(kind, "training") and all(getattr(kind, name) is getattr(nn.Module, name) for name in methods)


class Row(NamedTuple):
    """One module of a summary. `output_shape` has no batch axis; it is None where the output is not a tensor."""

    name: str
    type: str
    output_shape: tuple[int, ...] | None
    parameters: int


def summary(model: nn.Module, in_shape: tuple[int, ...]) -> list[Row]:
    """The modules that a batch passes through, in that order, and last the total of all parameters.

    One sample of zeros goes through the model in eval mode, on the model's own device ("meta" costs nothing).
    Parameters that several modules share count once.
    """
    rows: dict[str, Row] = {}
    seen: set[nn.Parameter] = set()

    def record(module: nn.Module, _inputs: object, output: object, *, name: str) -> None:
        if name not in rows:
            own = set(module.parameters(recurse=False)) - seen
            seen.update(own)
            rows[name] = Row(name, type(module).__name__, _sample_shape(output), sum(p.numel() for p in own))

    hooks = [module.register_forward_hook(partial(record, name=name)) for name, module in working(model)]
    like = next(model.parameters(), torch.empty(0))
    try:
        with torch.no_grad(), evaluating(model):
            output = model(torch.zeros(1, *in_shape, device=like.device, dtype=like.dtype))
    finally:
        for hook in hooks:
            hook.remove()
    parameters = sum(p.numel() for p in model.parameters())
    return [*rows.values(), Row("total", type(model).__name__, _sample_shape(output), parameters)]


def _sample_shape(output: object) -> tuple[int, ...] | None:
    return tuple(output.shape[1:]) if isinstance(output, Tensor) else None
