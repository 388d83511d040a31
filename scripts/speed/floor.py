"""What no loop in torch can go below: the matrix products of a step, and the bytes that must move, timed as calls."""

from __future__ import annotations

import torch
from torch import Tensor

from speed.contender import Contender
from speed.handwritten import tensors
from speed.workloads import Task, Workload

PRODUCTS, BYTES = "floor: matrix products", "floor: bytes moved"
ONEDNN = "floor: matrix products by oneDNN's kernels"


def operations(workload: Workload) -> int:
    """Multiplications and additions of a step's products: forward, by the weights, and by each layer's input but the
    first's.
    """
    sizes = [i * o for i, o in zip(workload.widths, workload.widths[1:], strict=False)]
    return 2 * workload.batch * (3 * sum(sizes) - sizes[0])


def traffic(workload: Workload) -> int:
    """Bytes: Adam reads weight, gradient and two moments, and writes all but the gradient; the batch is gathered."""
    parameters = sum((i + 1) * o for i, o in zip(workload.widths, workload.widths[1:], strict=False))
    return 28 * parameters + 8 * workload.batch * workload.widths[0]


def products(task: Task, *, onednn: bool = False) -> Contender:
    """Every product of a step into buffers that are there, and nothing else; each batch counts as a whole one.

    `onednn`: by torch's private operator, which has no buffers to write into.
    """
    w = task.workload
    h = [torch.randn(w.batch, width, device=task.device) for width in w.widths]
    shapes = list(zip(w.widths, w.widths[1:], strict=False))
    weights = [torch.randn(o, i, device=task.device) for i, o in shapes]
    gradients = [torch.empty_like(weight) for weight in weights]

    def multiply(a: Tensor, b: Tensor, out: Tensor) -> None:
        if onednn:
            torch.ops.mkldnn._linear_pointwise(a, b.t(), None, "none", [], "")
        else:
            torch.mm(a, b, out=out)

    @torch.inference_mode()
    def train() -> None:
        for _ in range(w.steps):
            for k, weight in enumerate(weights):
                multiply(h[k], weight.t(), h[k + 1])
            for k in range(len(weights) - 1, -1, -1):
                multiply(h[k + 1].t(), h[k], gradients[k])
                if k:
                    multiply(h[k + 1], weights[k], h[k])
            for values, (i, _) in zip(h[1:], shapes, strict=True):
                values.fill_(1.0 / i)  # or they would grow without bound; as cheap as anything can be
        _wait(task)

    return Contender(lambda: None, train, lambda: None)


def moves(task: Task) -> Contender:
    """As many bytes as Adam must move, over as much memory as it uses (16 bytes a parameter), and a batch's gather."""
    w = task.workload
    parameters = (traffic(w) - 8 * w.batch * w.widths[0]) // 28
    n = -(-16 * parameters // 12)  # three buffers
    a, b, c = (torch.ones(n, device=task.device) for _ in range(3))
    part = 3 * n // 4  # 28 bytes are one and three quarter passes of 16
    x, _ = tensors(task)
    batch = torch.empty(w.batch, w.widths[0], device=task.device)
    order = torch.randperm(len(x)).to(task.device)
    full = order[: len(x) // w.batch * w.batch].view(-1, w.batch)

    @torch.inference_mode()
    def train() -> None:
        for step in range(w.steps):
            torch.index_select(x, 0, full[step % len(full)], out=batch)
            torch.add(a, b, out=c)
            torch.add(a[:part], b[:part], out=c[:part])
        _wait(task)

    return Contender(lambda: None, train, lambda: None)


def _wait(task: Task) -> None:
    if task.device == "cuda":
        torch.cuda.synchronize()
