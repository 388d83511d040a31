"""What happens inside a net in one pass: the output of every layer and the gradient of the loss with respect to it.

The pass is made for looking, on a net of its own: the hooks exist only while it lasts, and no training net has any.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from dltrain.engine import devices
from dltrain.parts.modules import working


@dataclass
class Seen:
    """One module's part in a pass: what it took and made, and the gradient of the loss by what it made."""

    name: str
    module: nn.Module
    input: Tensor | None  # the very tensor, so that one can tell whose output it was
    output: Tensor
    values: Tensor  # a copy of the output: a later module may work in place
    read: int = 0  # the versions of both tensors, as it found and as it left them; work in place makes a new one
    made: int = 0
    gradient: Tensor | None = None
    calls: int = 1  # the first is what is told here

    def _keep(self, gradient: Tensor) -> None:
        self.gradient = gradient.detach().clone()


def observe(model: nn.Module, x: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[list[Seen], Tensor]:
    """One forward and backward pass of `objective(model(x))`, in the mode that the model is in.

    Returns the modules that compute something, in the order in which they were first called, and the loss; the
    parameters' gradients stay in `.grad`. Modules that return no tensor are left out.
    """
    seen: dict[str, Seen] = {}
    read: dict[str, int] = {}

    def begin(module: nn.Module, inputs: tuple[object, ...], *, name: str) -> None:
        given = _given(inputs)
        read.setdefault(name, 0 if given is None else given._version)

    def record(module: nn.Module, inputs: tuple[object, ...], output: object, *, name: str) -> None:
        if name in seen:
            seen[name].calls += 1
            return
        if not isinstance(output, Tensor):
            return
        versions = {"read": read[name], "made": output._version}
        seen[name] = Seen(name, module, _given(inputs), output, output.detach().clone(), **versions)
        if output.requires_grad:  # a hook on the tensor sees its gradient, also where a later module works in place
            output.register_hook(seen[name]._keep)

    hooks = [
        hook
        for name, module in working(model)
        for hook in (
            module.register_forward_pre_hook(partial(begin, name=name)),
            module.register_forward_hook(partial(record, name=name)),
        )
    ]
    model.zero_grad()
    try:
        loss = objective(model(x))
    finally:
        for hook in hooks:
            hook.remove()
    loss.backward()
    return list(seen.values()), loss.detach()


def _given(inputs: tuple[object, ...]) -> Tensor | None:
    return next((value for value in inputs if isinstance(value, Tensor)), None)


@dataclass(frozen=True)
class Layer:
    """Statistics of one module in one pass; a course's `a` is the output of a layer, `z` that of an activation.

    `gradient` is the root mean square of the loss's gradient by the output (delta). `dead` is the share of ReLU units
    that are zero for every sample, `saturated` the share of sigmoid or tanh outputs in the flat part of the curve.
    `running_mean` and `running_var` are the averages over channels that a BatchNorm keeps. `weight` and
    `weight_gradient` are root mean squares over the module's own weights. What does not apply is None.
    """

    name: str
    kind: str
    mean: float
    std: float
    low: float
    high: float
    gradient: float | None
    dead: float | None = None
    saturated: float | None = None
    running_mean: float | None = None
    running_var: float | None = None
    weight: float | None = None
    weight_gradient: float | None = None
    update: float | None = None  # the next step's change of the weights as a share of their size


_FLAT = 0.97  # |tanh| beyond which its slope is below 0.06, as in Karpathy's lecture on activations; sigmoid likewise


def layers(seen: list[Seen], updates: dict[str, float] | None = None) -> list[Layer]:
    """The statistics of a pass. `updates`: name of a parameter -> the next step's relative change."""
    found: list[Layer] = []
    for item in seen:
        module, values = item.module, devices.float64(item.values)
        weight = getattr(module, "weight", None)
        weight = weight if isinstance(weight, Tensor) else None
        found.append(
            Layer(
                name=item.name,
                kind=type(module).__name__,
                mean=values.mean().item(),
                std=values.std(correction=0).item(),
                low=values.min().item(),
                high=values.max().item(),
                gradient=None if item.gradient is None else _rms(item.gradient),
                dead=_dead(values) if isinstance(module, nn.ReLU) else None,
                saturated=_saturated(module, values),
                running_mean=_kept(module, "running_mean"),
                running_var=_kept(module, "running_var"),
                weight=None if weight is None else _rms(weight.detach()),
                weight_gradient=None if weight is None or weight.grad is None else _rms(weight.grad),
                update=(updates or {}).get(f"{item.name}.weight"),
            )
        )
    return found


def _rms(values: Tensor) -> float:
    return devices.float64(values).square().mean().sqrt().item()


def _kept(module: nn.Module, name: str) -> float | None:
    """The mean over channels of a running statistic, where a module keeps it."""
    value = getattr(module, name, None)
    return devices.float64(value).mean().item() if isinstance(value, Tensor) else None


def _dead(values: Tensor) -> float:
    """Units (channels of images) that are zero for all samples and places."""
    alive = (values > 0).transpose(0, 1).reshape(values.shape[1], -1) if values.dim() > 1 else values > 0
    return 1 - devices.float64(alive.any(-1)).mean().item()


def _saturated(module: nn.Module, values: Tensor) -> float | None:
    if isinstance(module, nn.Tanh):
        return devices.float64(values.abs() > _FLAT).mean().item()
    if isinstance(module, nn.Sigmoid):
        return devices.float64((2 * values - 1).abs() > _FLAT).mean().item()
    return None


def relative_updates(before: dict[str, Tensor], model: nn.Module) -> dict[str, float]:
    """How far each parameter moved from `before`, as a share of its size there; about 1e-3 is usual (Karpathy)."""
    found: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        if size := _rms(before[name]):
            found[name] = _rms(parameter.detach() - before[name]) / size
    return found
