"""`dltrain ensemble`: a run folder with the average of runs that were trained, which is enough by itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from dltrain.config import build
from dltrain.config.compose import name_mistake
from dltrain.config.hydra import as_yaml
from dltrain.data import Preprocessing
from dltrain.data.fingerprint import fingerprint
from dltrain.data.preprocessing import again
from dltrain.data.tables.cells import width
from dltrain.engine import products
from dltrain.errors import ConfigError
from dltrain.errors.paths import local
from dltrain.runs import checkpoint, reading, run_folder, storage
from dltrain.runs.foreign import Values
from dltrain.trained import inference, judge, selection
from dltrain.trained.candidates import SPLITS, Candidate, Library

_CLOSE = 1e-3  # by which the loss of the folder may differ from that of the average that was chosen


def place(runs_dir: str, name: str) -> Path:
    """The folder in which that of the ensemble's name is to be; raises ConfigError where none can be made there."""
    root = local(runs_dir)
    if bad := name_mistake(name) or run_folder.check_writable(root / name):
        raise ConfigError(bad)
    return root


def choose(library: Library, *, top: int | None = None) -> Counter[int]:
    """How often each candidate counts, by its number: greedily, or the `top` best once each."""
    answers = library.answers("val")
    if top is None:
        return selection.greedy(answers, library.score, values=library.values)
    if top > len(answers):
        raise ConfigError(f"--top {top}: there are {len(answers)} runs that can be averaged")
    return selection.best(answers, library.score, top)


def write(library: Library, weights: Counter[int], *, root: Path, name: str, command: Sequence[str]) -> Path:
    """A run folder below root/name with the average of some candidates, judged: whole or not at all."""
    clock = run_folder.Stopwatch()
    folder = run_folder.create(root, name)
    try:
        with run_folder.Lock(folder):
            summary: Values = {"status": "running", "members": _members(library, weights)}
            run_folder.write_json(folder / "summary.json", summary)
            shared = _shared_data(library, weights)
            run_folder.write_text(folder / "config.yaml", as_yaml(_config(library, weights, shared, root, name)))
            run_folder.write_overrides(folder, ())
            run_folder.write_json(folder / "data.json", shared.content)
            run_folder.write_json(folder / "environment.json", _environment(library, command))
            net = _weights(library, weights, shared)
            checkpoint.save(folder / "checkpoints", step=0, model=net, state={}, kind="best")
            summary |= _judged(folder, library, weights)
            summary |= {"status": "done", "seconds": round(clock.seconds, 3)}
            run_folder.write_json(folder / "summary.json", summary)
    except BaseException:
        storage.remove(folder)
        raise
    return folder


def _members(library: Library, weights: Counter[int]) -> list[Values]:
    """What summary.json says of them; overrides: those that are not typed for all candidates."""
    common = set.intersection(*(set(each.run.overrides) for each in library.candidates))
    told: list[Values] = []
    for number, weight in weights.items():
        each = library.candidates[number]
        judged = {split: library.metrics(each.answers[split], split) for split in SPLITS}
        typed = [word for word in each.run.overrides if word not in common]
        run = {"run": reading.short_ids([each.run.folder])[0], "folder": str(each.run.folder)}
        told.append({**run, "weight": weight, "overrides": typed, **judged})
    return told


@dataclass(frozen=True)
class _Shared:
    """The data that members share: their node in a configuration, and data.json."""

    node: Values
    content: Values

    def scale(self, each: Candidate) -> dict[str, Tensor]:
        """What a member's inputs were scaled by beside these, see `_scale`; nothing where they were not."""
        own, plain = each.facts.preprocessing, self.content["preprocessing"]
        return {} if own == plain else _scale(own, plain)


def _shared_data(library: Library, weights: Counter[int]) -> _Shared:
    """The data as the members have them; where those differ in its scale without one."""
    chosen = [library.candidates[number] for number in weights]
    if all(each.facts.preprocessing == chosen[0].facts.preprocessing for each in chosen):
        return _Shared(chosen[0].data, _content(chosen[0].run.folder))
    base, overrides = library.base, [*library.overrides, "data.scaling=none"]
    plain = inference.open_run(base.folder, overrides=overrides, allow=library.allow, data=True)
    data = judge.read_data(plain)
    content = {**_content(base.folder), "preprocessing": data.preprocessing, "sha256": fingerprint(data)}
    return _Shared(plain.outline.config["data"], content)


def _content(folder: Path) -> Values:
    return reading.node(run_folder.read_json(folder / "data.json"))


def _scale(own: Preprocessing, plain: Preprocessing) -> dict[str, Tensor]:
    """What makes a member's inputs of plain ones, as the buffers of a `Rescaled`.

    Float32, as the inputs are: so a value that stood on a knot does so still.
    """
    if own["kind"] == "images":
        one, other = ([torch.tensor(p[key]).view(-1, 1, 1) for key in ("mean", "std")] for p in (own, plain))
        mean, std = (one[0] - other[0]) / other[1], one[1] / other[1]
        return {"mean": mean, "std": std}
    rows: list[tuple[float, ...]] = []
    found: dict[str, Tensor] = {}
    for column in own["columns"]:
        limits = column.get("low", -torch.inf), column.get("high", torch.inf)
        if "quantiles" in column:
            found[f"knots{len(rows)}"] = torch.tensor(column["quantiles"])
        rows += [(*limits, column.get("mean", 0.0), column.get("std", 1.0))] * width(column)
    low, high, mean, std = torch.tensor(rows).unbind(1)
    limits = {"low": low, "high": high} if (low > -torch.inf).any() else {}
    return {**limits, "mean": mean, "std": std, **found}


def _config(library: Library, weights: Counter[int], shared: _Shared, root: Path, name: str) -> Values:
    """That of the best candidate in what is not learned; no optimizer, for nothing is trained."""
    base = library.base.outline.config
    members: list[Values] = []
    for number, weight in weights.items():
        each = library.candidates[number]
        node, scale = each.node, shared.scale(each)
        if scale:
            knots = {name: len(value) for name, value in scale.items() if name.startswith("knots")}
            ranked = [int(name.removeprefix("knots")) for name in knots]
            rescaled = {"shape": [*scale["mean"].shape], "fenced": "low" in scale}
            rescaled |= {"ranked": ranked, "knots": [*knots.values()]}
            node = {"_target_": "dltrain.ensembles.Rescaled", **rescaled, "model": node}
        member = {"_target_": "dltrain.ensembles.Member", "weight": weight, "outputs": each.outputs}
        members.append({**member, "model": node})
    return {
        **{"seed": base["seed"], "name": name, "runs_dir": str(root), "diagnose": False, "data": shared.node},
        "model": {"_target_": "dltrain.ensembles.Ensemble", "members": members, "labels": library.labels},
        "loss": library.loss[0],
        "trainer": {**base["trainer"], "step": "auto", "compile": False, "profile": None},
    }


def _environment(library: Library, command: Sequence[str]) -> Values:
    base = library.base
    facts = {"device": str(base.device), "threads": torch.get_num_threads(), "matmul": products.used()}
    facts |= {"monitor": library.candidates[0].run.monitor}
    if base.outline.started:
        facts["folder"] = str(base.outline.started)  # in which the relative paths of its configuration were typed
    return run_folder.environment(command, **facts)


def _weights(library: Library, weights: Counter[int], shared: _Shared) -> dict[str, Tensor]:
    """The state_dict of the ensemble."""
    found: dict[str, Tensor] = {}
    for i, number in enumerate(weights):
        each = library.candidates[number]
        scale, prefix = shared.scale(each), f"members.{i}.model."
        found |= {prefix + name: value for name, value in scale.items()}
        inner = prefix + "model." * bool(scale)
        found |= {inner + name: value for name, value in checkpoint.load(each.checkpoint)[0].items()}
    return found


def _judged(folder: Path, library: Library, weights: Counter[int]) -> Values:
    """What summary.json says of the ensemble, which is opened as any run is.

    Raises ConfigError where it answers otherwise than the average that was chosen.
    """
    whole = inference.open_run(folder, allow=library.allow, data=True)
    data = judge.read_data(whole)
    parts = {"train": build.judged_train(data, whole.outline.seed), "val": data.val, "test": data.test}
    if data.preprocessing != whole.facts.preprocessing:  # other data, which were allowed
        parts = {split: again(data, part, whole.facts) for split, part in parts.items()}
    found = {split: whole.evaluate(part) for split, part in parts.items()}
    wanted, got = library.metrics(library.average(weights, "val"), "val")["loss"], found["val"]["loss"]
    if not abs(got - wanted) <= _CLOSE * max(1.0, abs(wanted)):
        raise ConfigError(
            f"the average of these runs can't be kept: its loss on val would be {got:.4g} and not {wanted:.4g}; "
            "name runs with one data.scaling"
        )
    rows = {split: len(part) for split, part in parts.items()}
    return {**found, "rows_judged": rows, "best": found["val"], "last": found["val"]}
