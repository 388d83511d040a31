"""The engine that `sweep.engine` names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dltrain.sweeps.engines import Engine
from dltrain.sweeps.settings import Settings


@contextmanager
def chosen(knobs: Settings, here: Engine, *, device: str) -> Iterator[Engine]:
    """The engine while it is needed, beside the one of this machine; raises ConfigError where it can't be as asked."""
    if knobs.engine == "local":
        yield here
        return
    given = knobs.cluster or {}
    if knobs.engine == "ray":
        from dltrain.sweeps.engines.ray_cluster import connected

        engine = connected(given, here, device=device, fits=knobs.workers == "auto")
    else:
        from dltrain.sweeps.engines.cluster import submitted

        engine = submitted(given, here, device=device)
    try:
        yield engine
    finally:
        engine.close()
