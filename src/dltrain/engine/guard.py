"""NaN and infinity in a step: found before the update, and traced to the layer where they first appear."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from dltrain.data import quality
from dltrain.engine import devices
from dltrain.engine.steps.step import Batch, Parts
from dltrain.errors import DivergedError


def finite(tensors: Sequence[Tensor]) -> bool:
    """Whether all values are finite. One pass that reads: 25 microseconds for half a million numbers on a CPU."""
    # A sum that is finite has finite terms; one that is not may only have overflowed.
    for tensor in tensors:  # noqa: SIM110 - `all` costs more than a small tensor's sum
        if not (math.isfinite(tensor.sum()) or tensor.isfinite().all()):
            return False
    return True


def norm(tensors: Sequence[Tensor]) -> float:
    """The Euclidean norm of all values together."""
    return float(nn.utils.get_total_norm(list(tensors))) if tensors else 0.0


class Guard:
    """Looks at the loss and the gradients of each step before its update.

    On a CPU it raises at once. On a GPU that would wait for the device at each step: there a fused optimizer is
    told on the device to leave out this update and all later ones, and `ask` raises at the next report or save.
    Under fp16 an overflowing gradient is the scaler's to skip; fifty in a row are an error.
    """

    def __init__(self, parts: Parts, *, late: bool = False) -> None:
        """late: also where the device could be asked."""
        self.parts, self._scaled = parts, parts.scaler.is_enabled()
        fused = all(group.get("fused") for group in parts.optimizer.param_groups)
        # On the device only a fused kernel, or the scaler, can leave an update out: with others each step is asked.
        self._late = late or (parts.device.type == "cuda" and (fused or self._scaled))
        if self._late:
            self.hold()

    def hold(self) -> None:
        """Switches to asking late; a fused optimizer skips its update while `found_inf`, here `bad`, is 1."""
        self._late, self._asked_at = True, self.parts.steps
        self.bad, self._good_steps = (torch.zeros((), device=self.parts.device) for _ in range(2))
        if not self._scaled:
            vars(self.parts.optimizer).update(grad_scale=None, found_inf=self.bad)  # where torch's own scaler has them

    def check(self, loss: Tensor, gradients: Sequence[Tensor], batches: Sequence[Batch], epoch: int) -> None:
        """Raises DivergedError, or holds the update back, if the loss or a gradient is not finite."""
        if self._late:
            self.remember(batches, epoch)
            self.look(loss, gradients)
        elif not (math.isfinite(loss) and (self._scaled or finite(gradients))):
            raise diverged(self.parts, loss, gradients, batches, step=self.parts.steps + 1, epoch=epoch)

    def remember(self, batches: Sequence[Batch], epoch: int) -> None:
        """What an error is to speak of. Only late: memory that is held on to is not there for the next batch."""
        self._batches, self._epoch = batches, epoch

    def look(self, loss: Tensor, gradients: Sequence[Tensor]) -> None:
        """Leaves in `bad` whether this step or one before it was bad, without waiting for the device."""
        # The norm by infinity is the largest magnitude, and NaN where one is: one number for all, on the device.
        largest = nn.utils.get_total_norm([loss, *([] if self._scaled else gradients)], norm_type=math.inf)
        self.bad.copy_(torch.maximum(self.bad, 1 - largest.isfinite().float()))
        self._good_steps += 1 - self.bad  # an error then says which step was the first

    def ask(self, gradients: Sequence[Tensor]) -> None:
        """Raises DivergedError if a step since the last question was bad; gradients: for what the error says."""
        parts = self.parts
        if self._scaled and parts.scaler.get_scale() < 2.0**-34:  # from 2^16, halved at each overflow
            raise DivergedError(
                f"step {parts.steps}: the gradients overflowed in fp16 fifty times in a row; "
                "use trainer.precision=bf16 or fp32"
            )
        if not self._late:
            return
        # The host waits here for all that the device has been given: once a report or a save, for both numbers.
        good, bad = (int(n) for n in torch.stack([self._good_steps, self.bad]).tolist())
        if bad:
            step = self._asked_at + good + 1
            raise diverged(parts, None, gradients, self._batches, step=step, epoch=self._epoch)
        self._good_steps.zero_()
        self._asked_at = parts.steps


def diverged(
    parts: Parts, loss: Tensor | None, gradients: Sequence[Tensor], batches: Sequence[Batch], *, step: int, epoch: int
) -> DivergedError:
    """The error of a bad step: what was not finite, where that came from, and what to try. loss: if it is known."""
    lr, model = parts.optimizer.param_groups[0]["lr"], parts.model
    size, where = norm([] if parts.scaler.is_enabled() else gradients), origin(model, batches[0][0])
    if loss is None:
        what = "the loss or a gradient is not finite"
    elif math.isfinite(loss):
        what = "a gradient is not finite"
    else:
        what = f"the loss is {loss.item()}"
    clip = "" if parts.clip_norm is not None else ", regularisation.clip_norm=1.0"
    lower, scale = f"a smaller {parts.rate_key}{clip}", _scaling(parts, batches[0][0])
    tries = f"{scale}, or {lower}" if scale else f"{lower}, or look for extreme values in the data"
    error = DivergedError(
        f"step {step}: {what}, first in {where} (lr {lr:.3g}, gradient norm {size:.3g}); the update was not made. "
        f"Try {tries}"
    )
    error.state = {  # for `diverged-<step>`: what one needs to study it
        "step": step,
        "epoch": epoch,
        "lr": float(lr),
        "loss": None if loss is None else loss.item(),
        "gradient_norm": size,
        "first": where,
        "samples": [batch[2].clone() for batch in batches],
        "gradients": {n: p.grad for n, p in model.named_parameters() if p.grad is not None},
    }
    return error


def _scaling(parts: Parts, x: Tensor) -> str:
    """What to do about inputs that are far larger than first weights are drawn for; nothing where they are not."""
    if parts.scale_key is None or not x.is_floating_point() or x.ndim < 2 or not x.isfinite().all():
        return ""
    largest = quality.sizes(x).max().item()
    if largest <= quality.LARGE:
        return ""
    return f"{parts.scale_key}, since some inputs are of size {largest:.3g}"


def origin(model: nn.Module, x: Tensor) -> str:
    """Where non-finite values come from, in words: the batch, a weight, the first layer with a bad output, or the
    layer nearest to the loss with a bad gradient. Runs the model forward once; draws no lasting random numbers.
    """
    if x.is_floating_point() and not x.isfinite().all():
        rows = (~x.reshape(len(x), -1).isfinite()).any(1).nonzero().flatten().tolist()
        return f"the batch itself, sample {rows[0]} of it"
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            return f"the weights {name}"
    bad: list[str] = []

    def look(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(_module: nn.Module, _inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and not output.isfinite().all():
                bad.append(name)

        return hook

    leaves = [(name, part) for name, part in model.named_modules() if not any(part.children())]
    handles = [part.register_forward_hook(look(name)) for name, part in leaves]
    kept = devices.random_state(x.device)
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model(x)
    finally:
        if kept is not None:
            devices.set_random_state(kept, x.device)
        for handle in handles:
            handle.remove()
        for name, value in model.named_buffers():  # running statistics, which this pass has moved
            value.copy_(buffers[name])
    if bad:
        return f"the output of layer {bad[0]}"
    late = [n for n, p in model.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    return f"the gradient of {late[-1]}" if late else "the loss"
