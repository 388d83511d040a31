"""The best loop by hand on a GPU: gather, forward, backward and Adam of one step captured as one CUDA graph."""

from __future__ import annotations

import torch
from torch import Tensor

from speed.contender import Contender
from speed.handwritten import tensors
from speed.manual import Buffers
from speed.workloads import Task


def cuda_graph(task: Task) -> Contender:
    """One graph for full batches and one for the ragged last one; the host only copies row numbers."""
    buffers, (x, y) = Buffers(task), tensors(task)
    total = torch.zeros((), device=task.device)
    captured: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}

    def body(rows: Tensor) -> None:
        h, deltas = buffers.of_batch(len(rows))
        torch.index_select(x, 0, rows, out=h[0])
        total.add_(buffers.train_step(h, y.index_select(0, rows), deltas))

    def graph_of(size: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        if size not in captured:
            rows = torch.zeros(size, dtype=torch.int64, device=task.device)
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):  # libraries allocate at their first call, which can't be captured
                for _ in range(3):
                    body(rows)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                body(rows)
            captured[size] = graph, rows
        return captured[size]

    with torch.no_grad():
        for size in {task.workload.batch, len(x) % task.workload.batch} - {0}:
            graph_of(size)

    @torch.no_grad()
    def train() -> None:
        for _ in range(task.workload.epochs):
            total.zero_()
            for part in torch.randperm(len(x), device=task.device).split(task.workload.batch):
                graph, rows = captured[len(part)]
                rows.copy_(part)
                graph.replay()
            total.item()

    def weights() -> list:
        return [w.cpu().numpy() for pair in buffers.layers for w in pair]

    return Contender(buffers.reset, train, weights)
