"""What happens inside a net in one pass: the output of every layer and the gradient of the loss with respect to it.

The pass is made for looking, on a net of its own: the hooks exist only while it lasts, and no training net has any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn


@dataclass
class Seen:
    """One module's part in a pass: what it took and made, and the gradient of the loss by what it made."""

    name: str
    module: nn.Module
    input: Tensor | None  # the very tensor, so that one can tell whose output it was
    output: Tensor
    values: Tensor  # a copy of the output: a later module may work in place
    gradient: Tensor | None = None

    def _keep(self, gradient: Tensor) -> None:
        self.gradient = gradient.detach().clone()


def observe(model: nn.Module, x: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[list[Seen], Tensor]:
    """One forward and backward pass of `objective(model(x))`, in the mode that the model is in.

    Returns the modules without children, and those with parameters of their own, in the order in which they were
    first called, and the loss; the parameters' gradients stay in `.grad`. Modules that return no tensor are left out.
    """
    seen: dict[str, Seen] = {}

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any, *, name: str) -> None:
        if name in seen or not isinstance(output, Tensor):
            return
        given = next((value for value in inputs if isinstance(value, Tensor)), None)
        seen[name] = Seen(name, module, given, output, output.detach().clone())
        if output.requires_grad:  # a hook on the tensor sees its gradient, also where a later module works in place
            output.register_hook(seen[name]._keep)

    hooks = [
        module.register_forward_hook(partial(record, name=name or "model"))
        for name, module in model.named_modules()
        if not list(module.children()) or list(module.parameters(recurse=False))
    ]
    model.zero_grad()
    try:
        loss = objective(model(x))
    finally:
        for hook in hooks:
            hook.remove()
    loss.backward()
    return list(seen.values()), loss.detach()
