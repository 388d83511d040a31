"""The best loop written by hand here: forward and backward spelled out, no autograd, one fused Adam call."""

from __future__ import annotations

import torch
from torch import Tensor

from speed.contender import Contender
from speed.handwritten import tensors
from speed.workloads import Task


class Buffers:
    """Weights, gradients and Adam's moments as flat buffers with a view for each layer; activations for each batch
    size.
    """

    def __init__(self, task: Task, *, products: torch.dtype = torch.float32) -> None:
        self.task, self.products = task, products
        first = [torch.from_numpy(w).to(task.device) for w in task.weights]
        self.flat = torch.cat([w.flatten() for w in first])
        self.first = self.flat.clone()
        self.gradient, self.mean, self.square = (torch.zeros_like(self.flat) for _ in range(3))
        self.step = torch.zeros((), device=task.device)
        shapes = [w.shape for w in first]
        self.layers, self.gradients = (_layers(flat, shapes) for flat in (self.flat, self.gradient))
        self.low = self.flat.to(products) if products != torch.float32 else self.flat
        self.low_layers = _layers(self.low, shapes)
        self.activations: dict[int, tuple[list[Tensor], list[Tensor]]] = {}

    def reset(self) -> None:
        self.flat.copy_(self.first)
        for moment in (self.mean, self.square, self.step):
            moment.zero_()
        if self.low is not self.flat:
            self.low.copy_(self.flat)

    def of_batch(self, size: int) -> tuple[list[Tensor], list[Tensor]]:
        """Outputs h_k of the layers (h_0 is the batch), and the gradients delta_k of their inputs."""
        if size not in self.activations:
            make = [
                torch.empty(size, w, device=self.task.device, dtype=self.products) for w in self.task.workload.widths
            ]
            self.activations[size] = make, [torch.empty_like(t) for t in make]
        return self.activations[size]

    def train_step(self, h: list[Tensor], y: Tensor, deltas: list[Tensor]) -> Tensor:
        """One step from the batch in h[0]; returns its mean loss."""
        layers, last = self.low_layers, len(self.layers)
        for k, (weight, bias) in enumerate(layers, start=1):
            torch.addmm(bias, h[k - 1], weight.t(), out=h[k])
            if k < last:
                h[k].clamp_min_(0)
        loss = self._output(h[last], y, deltas[last])
        for k in range(last, 0, -1):
            self._layer_gradient(k, h[k - 1], deltas[k])
            if k > 1:
                torch.mm(deltas[k], layers[k - 1][0], out=deltas[k - 1])
                torch.ops.aten.threshold_backward.grad_input(deltas[k - 1], h[k - 1], 0, grad_input=deltas[k - 1])
        self.adam()
        return loss

    def _output(self, logits: Tensor, y: Tensor, delta: Tensor) -> Tensor:
        """The mean loss; leaves its gradient by the logits in `delta`."""
        logits = logits.float()
        if self.task.workload.loss == "bce":
            loss = torch.ops.aten.binary_cross_entropy_with_logits(logits.squeeze(1), y)
            delta.copy_(logits.sigmoid_().sub_(y.unsqueeze(1)).div_(len(y)))
            return loss
        log_p = torch.log_softmax(logits, 1)
        index = y.unsqueeze(1)
        loss = log_p.gather(1, index).mean().neg()
        p = log_p.exp_()
        p.scatter_add_(1, index, self._minus_one(len(y)))
        torch.div(p, len(y), out=p)
        delta.copy_(p)
        return loss

    def _minus_one(self, size: int) -> Tensor:
        return torch.full((size, 1), -1.0, device=self.task.device)

    def _layer_gradient(self, k: int, h: Tensor, delta: Tensor) -> None:
        weight, bias = self.gradients[k - 1]
        if self.products == torch.float32:
            torch.mm(delta.t(), h, out=weight)
            torch.sum(delta, 0, out=bias)
        else:
            weight.copy_(torch.mm(delta.t(), h))
            torch.sum(delta, 0, dtype=torch.float32, out=bias)

    def adam(self) -> None:
        """torch's own fused kernel, on the flat buffers."""
        self.step += 1
        torch._fused_adam_(
            [self.flat], [self.gradient], [self.mean], [self.square], [], [self.step],
            lr=self.task.workload.lr, beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip
        if self.low is not self.flat:
            self.low.copy_(self.flat)


def _layers(flat: Tensor, shapes: list[torch.Size]) -> list[tuple[Tensor, Tensor]]:
    views, start = [], 0
    for shape in shapes:
        views.append(flat[start : start + shape.numel()].view(shape))
        start += shape.numel()
    return list(zip(views[::2], views[1::2], strict=True))


def manual(task: Task, *, bf16: bool = False) -> Contender:
    """`bf16`: products in bfloat16, master weights and Adam in float32."""
    torch.set_flush_denormal(True)  # before the first work for several threads; JAX has it so by itself
    buffers = Buffers(task, products=torch.bfloat16 if bf16 else torch.float32)
    x, y = tensors(task)
    if bf16:
        x = x.bfloat16()

    @torch.inference_mode()
    def train() -> None:
        for _ in range(task.workload.epochs):
            losses = []
            for rows in torch.randperm(len(x)).split(task.workload.batch):
                h, deltas = buffers.of_batch(len(rows))
                torch.index_select(x, 0, rows, out=h[0])
                losses.append(buffers.train_step(h, y.index_select(0, rows), deltas))
            torch.stack(losses).mean().item()

    def weights() -> list:
        return [w.numpy().copy() for pair in buffers.layers for w in pair]

    return Contender(buffers.reset, train, weights)
