"""All contenders by name, in the order of the table."""

from __future__ import annotations

from speed.contender import Entry

REFERENCE = "tutorial loop"  # ratios are to this one


def _hand(name: str, function: str, **more) -> Entry:
    module = more.pop("module", "handwritten")
    return Entry(name, module, function, kind="hand-written", **more)


HAND_WRITTEN = (
    _hand(REFERENCE, "tutorial"),
    _hand("tutorial loop, batched sampler", "batched_sampler"),
    _hand("in memory, fused Adam", "in_memory"),
    _hand("flat buffers, one Adam call", "flat_buffers"),
    _hand("forward and backward by hand", "manual", module="manual"),
    _hand("by hand, bf16 products", "manual", module="manual", options={"bf16": True}, workloads=("W1",), slack=1.5),
    _hand("JAX, jitted step", "step", module="jax_loops", needs=("jax", "optax"), pin=True),
    _hand("JAX, scan over the epoch", "scan", module="jax_loops", needs=("jax", "optax"), pin=True),
)


def dltrain(steps: list[str]) -> tuple[Entry, ...]:
    """The loop alone with each of the steps, then whole runs; without steps, those of a dltrain that has only one."""
    made = []
    for step in steps or [None]:
        options, name = {"step": step}, f" {step}" if step else ""
        made.append(Entry(f"dltrain{name}", "dltrain_runs", "loop", options=options, kind="dltrain"))
    options = {"step": "auto"} if steps else {}
    made.append(Entry("dltrain, whole run", "dltrain_runs", "everything", options=options, kind="dltrain"))
    bf16 = options | {"bf16": True}
    made.append(
        Entry("dltrain bf16", "dltrain_runs", "loop", options=bf16, kind="dltrain", workloads=("W1",), slack=1.5)
    )
    return tuple(made)


PEERS: tuple[Entry, ...] = ()
