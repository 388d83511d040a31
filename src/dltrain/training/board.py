"""What TensorBoard is told of a run beside its curves: what the HParams tab compares, and what the Text tab says."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.config import choices
from dltrain.runs import key_roles, reading
from dltrain.runs.reading import flat
from dltrain.training import overview

if TYPE_CHECKING:
    from dltrain.config.plan import Plan
    from dltrain.training.summary import Summary


def texts(plan: Plan, folder: Path, summary: Summary) -> dict[str, str]:
    """How to make the run again, its configuration, and what came of it as a person reads it."""
    reason = summary.get("reason") or summary.get("error") or ""
    ended = overview.result(plan, folder, summary) if "test" in summary else f"{summary['status']}: {reason}"
    return {"command": reading.read(folder).command, "config": plan.text, "result": ended}


def values(config: dict[str, object], folder: Path, chosen: Mapping[str, object]) -> dict[str, float | str]:
    """Dotted keys with values that TensorBoard can show: `model: mlp`, `model.widths: [64]`, ...; of a job those, too,
    that other choices of its sweep have, since a cell without a value leaves a run out of the parallel coordinates.

    chosen: the name of the choice of each group, where that is known.
    """
    shown: dict[str, float | str] = {}
    for name, value in flat(config).items():
        if name.endswith("._target_"):
            key = name.removesuffix("._target_")
            shown[key] = str(chosen.get(key) or str(value).rsplit(".", 1)[-1])
        elif value not in (None, {}) and name not in key_roles.UNSEEN:
            shown[name] = value if isinstance(value, (bool, int, float, str)) else str(value)
    others = _of_other_choices(folder.parent) if folder.name.isdecimal() else ()
    return {**dict.fromkeys(others, "n/a"), **shown}


@cache
def _of_other_choices(sweep: Path) -> tuple[str, ...]:
    """The keys of those groups that a sweep varies: what the sweep varies itself, and what its choices have otherwise.
    The others would be columns that tell nothing, in the place of some that do.
    """
    typed = reading.node(reading.read_json(sweep / "sweep.json")[0]).get("overrides")
    axes = [o.partition("=") for o in typed if isinstance(o, str) and "," in o] if isinstance(typed, list) else []
    varied = {key: {*words.split(",")} for key, _, words in axes if key in choices.GROUPS}
    found = [(choice, names) for group, names in varied.items() for choice in choices.choices(group)]
    told: dict[str, set[str]] = {key: {""} for key, _, _ in axes}
    for choice, names in found:
        for knob, value, _ in choice.knobs if choice.name in names else ():
            told.setdefault(f"{choice.group}.{knob}", set()).add(value)
    return tuple(key for key, each in told.items() if len(each) > 1)
