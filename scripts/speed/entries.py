"""All contenders by name, and what each needs."""

from __future__ import annotations

from collections.abc import Sequence

from speed import floor
from speed.contender import Entry

ALL_CPU, ALL_GPU = ("W1", "W2", "W3"), ("G128", "G8192")
_BOTH, _LARGE = (*ALL_CPU, *ALL_GPU), ("W1024", "W8192")


def _hand(name: str, function: str, module: str = "handwritten", **more) -> Entry:
    return Entry(name, module, function, kind="hand-written", **more)


HAND_WRITTEN = (
    _hand("tutorial loop", "tutorial", workloads=(*_BOTH, *_LARGE)),
    _hand("tutorial loop, batched sampler", "batched_sampler"),
    _hand("in memory, fused Adam", "in_memory", workloads=(*_BOTH, *_LARGE)),
    _hand("flat buffers, one Adam call", "flat_buffers"),
    _hand("forward and backward by hand", "manual", "manual"),
    _hand("by hand, bf16 products", "manual", "manual", options={"bf16": True}, workloads=("W1",), slack=2),
    _hand("by hand, one CUDA graph a step", "cuda_graph", "cuda_graph", workloads=ALL_GPU),
    _hand("JAX, jitted step", "step", "jax_loops", needs=("jax", "optax"), pin=True),
    _hand(
        "JAX, scan over the epoch", "scan", "jax_loops", needs=("jax", "optax"), pin=True, workloads=(*ALL_CPU, *_LARGE)
    ),
)
FLOOR = (
    Entry(floor.PRODUCTS, "floor", "products", kind="floor", workloads=(*_BOTH, *_LARGE)),
    Entry(floor.ONEDNN, "floor", "products", kind="floor", options={"onednn": True}, workloads=("W1", *_LARGE)),
    Entry(floor.BYTES, "floor", "moves", kind="floor", workloads=(*_BOTH, *_LARGE)),
)


_WHERE = {"direct": ALL_CPU, "compiled": ALL_CPU, "graph": ALL_GPU}


def dltrain(steps: list[str]) -> tuple[Entry, ...]:
    """The loop alone with each step that is asked for, and whole runs. `steps` is empty where dltrain has only one."""
    made = []
    for step in steps or ["auto"]:
        every = (*_BOTH, *_LARGE, "L1")
        name, where = ("dltrain", every) if step == "auto" else (f"dltrain {step}", _WHERE.get(step, _BOTH))
        options = {"step": step} if steps else {}
        made.append(Entry(name, "dltrain_runs", "loop", options=options, kind="dltrain", workloads=where))
    whole = Entry("dltrain, whole run", "dltrain_runs", "everything", kind="dltrain", workloads=(*_BOTH, "L1"))
    once = Entry("dltrain, whole run, validated once", "dltrain_runs", "everything", kind="dltrain",
                 options={"validate": False}, workloads=("L1",))  # fmt: skip
    least = Entry("dltrain, and validation's products", "dltrain_runs", "loop", kind="dltrain",
                  options={"products": True}, workloads=("L1",))  # fmt: skip
    low = {"options": {"bf16": True}, "workloads": ("W1", *ALL_GPU), "slack": 1.5}
    bf16 = Entry("dltrain bf16", "dltrain_runs", "loop", kind="dltrain", **low)
    judge = Entry("dltrain", "dltrain_runs", "judge", kind="dltrain", workloads=("E60000",))
    return *made, whole, once, least, bf16, judge


def kernels(names: Sequence[str]) -> tuple[Entry, ...]:
    """dltrain with each choice of kernels for its products; `names` is empty where it has none."""
    return tuple(
        Entry(f"dltrain {name}", "dltrain_runs", function, options={"matmul": name}, kind="dltrain", workloads=where)
        for name in names
        for function, where in (("loop", ("W1", *_LARGE)), ("judge", ("E60000",)))
    )


def _both(name: str, module: str, function: str, *needs: str, **more) -> tuple[Entry, Entry]:
    """A framework as its tutorial has it, and with all that is optional off."""
    idiomatic = Entry(name, module, function, needs=needs, options={"quiet": False}, **more)
    return idiomatic, Entry(f"{name}, quiet", module, function, needs=needs, options={"quiet": True}, **more)


_ON_TORCH = {"KERAS_BACKEND": "torch"}
_ON_JAX = {"KERAS_BACKEND": "jax"}

PEERS = (
    *_both("Lightning", "peer_lightning", "fit", "lightning", workloads=_BOTH),
    *_both("Keras on torch", "peer_keras", "fit", "keras", environment=_ON_TORCH, workloads=_BOTH),
    *_both("Keras on JAX", "peer_keras", "fit", "keras", "jax", environment=_ON_JAX, pin=True),
    *_both("fastai", "peer_fastai", "fit", "fastai"),
    *_both("skorch", "peers_torch", "skorch", "skorch"),
    *_both("Ignite", "peers_torch", "ignite", "ignite", workloads=_BOTH),
    *_both("Accelerate", "peers_torch", "accelerate", "accelerate", workloads=_BOTH),
    *_both("scikit-learn MLP", "peer_sklearn", "mlp", "sklearn"),
    Entry("scikit-learn Perceptron", "peer_sklearn", "perceptron", needs=("sklearn",), workloads=("W3",)),
)
