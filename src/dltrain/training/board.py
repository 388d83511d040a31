"""What TensorBoard is told of a run beside its curves: what the HParams tab compares, and what the Text tab says."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.config import choices
from dltrain.config.overrides import alternatives, by_key, check_overrides, first_of_each
from dltrain.errors.output import cut
from dltrain.runs import key_roles, layout, reading
from dltrain.runs.reading import flat

if TYPE_CHECKING:
    from dltrain.config.plan import Plan
    from dltrain.training.summary import Summary

_WIDEST = 40  # letters of a value: TensorBoard lists all of them, also 100 names of targets
_LONGEST = 100  # bytes of a name: a folder's may have 255, and a path of Windows 260


def texts(plan: Plan, folder: Path, summary: Summary) -> dict[str, str]:
    """How to make the run again, what came of it as a person reads it, and its configuration."""
    from dltrain.training import overview  # and torch, which the driver of a sweep does without

    reason = summary.get("reason") or summary.get("error") or ""
    ended = overview.result(plan, folder, summary) if "test" in summary else f"{summary['status']}: {reason}"
    return {"command": reading.read(folder).command, "result": ended, "settings": plan.text}  # in their order there


def name(folder: Path) -> str:
    """What TensorBoard calls a job below its folder: what its sweep varies, as it was typed, with the last words of
    keys where these tell them apart; nothing of other runs. It is a folder's name: other signs are `_`, and a long one
    is cut. Blanks part it, at which alone TensorBoard breaks its lines.
    """
    if not (sweep := reading.sweep_of(folder)):
        return ""
    own = {key: value for key, value in reading.read(folder).typed.items() if key in _varied(sweep)}
    times = Counter(key.rpartition(".")[2] for key in own)
    short = [last if times[last := key.rpartition(".")[2]] == 1 else key for key in own]
    keys = [re.sub(r"[^\w.]", "_", key) for key in short]
    words = [re.sub(r"[^\w.,+()\[\]-]", "_", re.sub(r"[\s'\"]", "", value)) for value in own.values()]
    words = [word.lower() if word in ("True", "False") else word for word in words]  # which Hydra makes of true, false
    told = " ".join(f"{key}={word}" for key, word in zip(keys, words, strict=True))
    told = told.encode()[:_LONGEST].decode(errors="ignore").rstrip(" .")
    return told if re.fullmatch(layout.EVENTS, told) else ""


def values(config: dict[str, object], folder: Path, chosen: Mapping[str, object]) -> dict[str, float | str]:
    """Dotted keys with values that TensorBoard can show: `model: mlp`, `model.widths: [64]`, ...; of a job those, too,
    that other choices of its sweep have, since a cell without a value leaves a run out of the parallel coordinates.

    chosen: the name of the choice of each group; where it is not known, as of a run that goes on, the folder has it.
    """
    chosen = chosen or reading.node(reading.read(folder).environment.get("chosen"))
    shown: dict[str, float | str] = {}
    for name, value in flat(config).items():
        if name.endswith("._target_"):
            key = name.removesuffix("._target_")
            shown[key] = str(chosen.get(key) or str(value).rsplit(".", 1)[-1])
        elif value not in (None, {}, []) and name not in key_roles.UNSEEN:
            shown[name] = _shown(value)
    sweep = reading.sweep_of(folder)
    return {**dict.fromkeys(_of_other_choices(sweep) if sweep else (), "n/a"), **shown}


def _shown(value: object) -> float | str:
    if isinstance(value, bool):
        return str(value).lower()  # as it is typed, where TensorBoard would say 1.0000
    return value if isinstance(value, (int, float)) else cut(str(value), _WIDEST)


@cache
def _of_other_choices(sweep: Path) -> tuple[str, ...]:
    """The keys of those groups that a sweep varies: what the sweep varies itself, and what its choices have otherwise.
    The others would be columns that tell nothing, in the place of some that do.
    """
    varied, told = _varied(sweep), dict[str, set[str]]()
    for group in choices.GROUPS:
        names = alternatives(varied[group], _groups(sweep)) if group in varied else []
        for choice in choices.choices(group, _groups(sweep)) if names else ():
            for knob, value, _ in choice.knobs if f"{group}={choice.name}" in names else ():
                told.setdefault(f"{group}.{knob}", set()).add(value)
    return tuple(key for key, each in told.items() if len(each) > 1 or key in varied)


@cache
def _varied(sweep: Path) -> dict[str, str]:
    """The overrides by which a sweep gives a key or a group several values. What can't be read, since its record is a
    stranger's, is left out.
    """
    typed = reading.node(reading.read_json(sweep / "sweep.json")[0]).get("overrides")
    texts = [text for text in typed if isinstance(text, str)] if isinstance(typed, list) else []
    good, _ = check_overrides(texts, _groups(sweep), sweep=True)
    found = by_key(good)
    firsts = first_of_each([*found.values()], _groups(sweep))
    return {key: text for (key, text), first in zip(found.items(), firsts, strict=True) if text != first}


def _groups(sweep: Path) -> choices.Groups:
    """The choices of a sweep, which keeps them as they were."""
    packaged, own = sweep / "configs" / "packaged", sweep / "configs" / "own"
    return choices.Snapshot(packaged, own if own.is_dir() else None) if (packaged / "train.yaml").is_file() else None
