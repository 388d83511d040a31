"""What a CPU can try of a CUDA graph: what a graph keeps, a recorder keeps, too."""

from contextlib import nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dltrain.engine.steps import cuda_graph


class Recorder(TorchDispatchMode):
    """Every operation with the very tensors that it had. Played again it reads and writes the same memory, with the
    same numbers for whatever was no tensor; Python in between does not run.
    """

    def __init__(self):
        super().__init__()
        self.calls, self.fresh = [], True

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function is not torch.ops.aten._local_scalar_dense.default, "the step asks the device for a value"
        out = function(*args, **(kwargs or {}))
        self.calls.append((function, args, kwargs or {}, out))
        return out

    def play(self):
        if self.fresh:  # recording has run it, which capturing has not
            self.fresh = False
            return
        with torch.inference_mode():
            for function, args, kwargs, out in self.calls:
                again = function(*args, **kwargs)
                for old, new in zip(tree_leaves(out), tree_leaves(again), strict=True):
                    if isinstance(old, torch.Tensor) and old.data_ptr() != new.data_ptr():
                        old.copy_(new)


def put_in_place(monkeypatch):
    """Recorders in the place of graphs, and the CPU in that of a GPU; a list of what will have been captured."""
    made = []

    def capture(run):
        made.append(Recorder())
        with made[-1]:
            run()
        return made[-1].play

    monkeypatch.setattr(cuda_graph, "capture", capture)
    monkeypatch.setattr(cuda_graph, "aside", lambda device: nullcontext())
    inner = cuda_graph.why_not
    monkeypatch.setattr(cuda_graph, "why_not", lambda *a, **more: inner(*a, **more | {"device": torch.device("cuda")}))
    return made
