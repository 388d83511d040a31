"""The nodes of the configuration, read one after another: knobs, and what each `_target_` names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dltrain.config.checks import Known
from dltrain.config.compose import Composed
from dltrain.config.mistakes import Mistakes
from dltrain.config.nodes import Nodes
from dltrain.config.settings import Regularisation, Settings, pick_device
from dltrain.runs import foreign
from dltrain.runs.foreign import Values


def read_top(nodes: Nodes, writes: bool) -> Mapping[str, object]:
    return vars(nodes.top(writes=writes)) | {"config": nodes.config()}


def read_trainer(nodes: Nodes) -> Known:
    settings = nodes.knobs("trainer", Settings)
    return {"settings": settings, "device": pick_device(settings.device)} if settings else {}


def choose_products(
    settings: Settings, config: Values, composed: Composed, mistakes: Mistakes, notes: list[str]
) -> Known:
    """The kernels that a run has from its beginning on, whatever machine it goes on with; its configuration says so."""
    from dltrain.engine import products

    chosen, why = settings.matmul, products.why_not()
    if chosen == "auto":
        chosen = products.chosen()[0]
    elif chosen == "onednn" and why and not composed.stored:
        mistakes.say("trainer.matmul", f"{why}; use auto or mkl")
    elif chosen == "onednn" and why:
        notes.append(f"the run's products were oneDNN's, and here they are torch's own: {why}")
        chosen = "mkl"
    config["trainer"] = foreign.node(config["trainer"]) | {"matmul": chosen}
    return {"settings": replace(settings, matmul=chosen)}


def read_regularisation(nodes: Nodes) -> Known:
    knobs = nodes.knobs("regularisation", Regularisation)
    return {"regularisation": knobs} if knobs else {}


def read_parts(nodes: Nodes, slots: Sequence[str]) -> Mapping[str, object]:
    """Each part is a fact of its own, such as `model_part`."""
    parts = {slot: part for slot in slots if (part := nodes.part(slot))}
    return {"parts": parts, **{f"{slot}_part": part for slot, part in parts.items()}}


def read_loader(nodes: Nodes) -> Known:
    batch_size, workers = nodes.loader()
    return {"batch_size": batch_size, "workers": workers}
