"""The nodes of the configuration, read one after another: knobs, and what each `_target_` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dltrain.config.checks import Known
from dltrain.config.nodes import Nodes
from dltrain.config.settings import Regularisation, Settings, pick_device
from dltrain.engine.ranks import Ranks


def read_top(nodes: Nodes, writes: bool) -> Mapping[str, object]:
    return vars(nodes.top(writes=writes)) | {"config": nodes.config()}


def read_trainer(nodes: Nodes, ranks: Ranks | None = None) -> Known:
    settings = nodes.knobs("trainer", Settings)
    return {"settings": settings, "device": pick_device(settings.device, ranks)} if settings else {}


def read_regularisation(nodes: Nodes) -> Known:
    knobs = nodes.knobs("regularisation", Regularisation)
    return {"regularisation": knobs} if knobs else {}


def read_parts(nodes: Nodes, slots: Sequence[str]) -> Mapping[str, object]:
    """Each part is a fact of its own, such as `model_part`."""
    parts = {slot: part for slot in slots if (part := nodes.part(slot))}
    return {"parts": parts, **{f"{slot}_part": part for slot, part in parts.items()}}


def read_loader(nodes: Nodes) -> Known:
    given, workers = nodes.loader()
    return {"given_size": given, "workers": workers}
