"""What a person reads before and after a run: the plan in a few lines, the result as a short table."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from math import isfinite, nan
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from dltrain.config import build, trials
from dltrain.engine import products
from dltrain.engine.assessment import no_better, trivial
from dltrain.engine.evaluation import original
from dltrain.errors import tables
from dltrain.errors.output import cut
from dltrain.parts import losses, metrics
from dltrain.runs import pulse, reading
from dltrain.training import perceptron

if TYPE_CHECKING:
    from torch import Tensor

    from dltrain.config.plan import Plan
    from dltrain.config.policy import Part
    from dltrain.data import Split
    from dltrain.training.summary import Summary

_OPTIMIZER = ("lr", "momentum", "nesterov", "weight_decay")  # knobs that the plan shows
_SCHEDULE = ("max_lr", "warmup", "step_size", "milestones", "gamma", "T_max", "factor", "patience")


def describe(plan: Plan) -> str:
    """Data, model with output shapes and parameters, loss, optimizer, steps, and what the user should know."""
    data, parts = plan.data, plan.parts
    rows = [len(split) for split in (data.train, data.val, data.test)]
    what = f"{len(data.names)} {'classes' if data.classes else 'target' + 's' * (len(data.names) > 1)}"
    lines = [
        f"data       {parts['data'].function.__name__}: {rows[0]:,} train, {rows[1]:,} val, {rows[2]:,} test; "
        f"inputs {list(data.in_shape)}, {data.task}, {what}",
    ]
    if plan.rows:
        lines += [f"model      {_name(parts['model'])}, {plan.rows[-1].parameters:,} parameters", *_layers(plan)]
    else:
        lines.append(f"model      {_name(parts['model'])}")
    size = min(plan.batch_size or len(data.train), len(data.train))
    switched = _switched_on(plan)
    learned = f" of {data.units.words}" if data.units else ""
    weighted = ", each row by its weight" if trials.weighted(data) else ""
    decayed = " (of weights, not of biases and norms)" if parts["optimizer"].arguments.get("weight_decay") else ""
    lines += [
        f"loss       {', '.join([type(plan.loss).__name__, *_set(parts['loss'])])}{learned}{weighted}",
        f"optimizer  {_knobs(parts['optimizer'], _OPTIMIZER)}{decayed}",
        f"scheduler  {_knobs(parts['scheduler'], _SCHEDULE)}",
        *([f"also       {switched}"] if switched else []),
        *_baseline(plan),
        f"training   {plan.total_steps:,} steps of {size:,} sample{'s' * (size > 1)} "
        f"({plan.steps_per_epoch:,} an epoch) on {plan.device}, {plan.settings.precision}, seed {plan.seed}",
        f"step       {_STEPS[plan.step]}{f': {plan.why_plain}' if plan.why_plain else ''}",
        *_products(plan),
        *(f"note       {note}" for note in plan.notes),
    ]
    return "\n".join(lines)


def _baseline(plan: Plan) -> list[str]:
    """What one answer to every row of the validation part would reach, where its targets are in memory."""
    data, y = plan.data, _held(plan.data.val)
    if y is None:
        return []
    values = original(y, data.units) if data.task == "regression" else y
    weight = getattr(data.val, "weight", None)
    found = trivial(values, task=data.task, weight=weight)
    monitor = plan.monitor.removeprefix("val/")
    names = [name for name in dict.fromkeys([*metrics.MAIN, monitor]) if name in found]
    reached = ", ".join(f"{name} {metrics.text(name, found[name])}" for name in names)
    answer = _ANSWERS.get(data.task) or f"`{cut(data.classes[int(torch.bincount(y.long(), weight).argmax())])}`"
    return [f"baseline   {answer} for every row: {reached} on val"]


_ANSWERS = {"regression": "the mean of the targets", "multilabel": "what most rows have of each label"}


def _products(plan: Plan) -> list[str]:
    """One line where products are made otherwise than torch would."""
    if products.used() == "mkl" or not build.has_large_products(plan) or plan.step in ("compiled", "graph"):
        return []
    chosen, why = products.chosen()
    used = products.used()
    which = "oneDNN's" if used == "onednn" else "oneDNN's, but for gradients of weights,"
    why = why if chosen == used else f"trainer.matmul={used}"
    return [f"products   {which} where rows x weights reach {products.MULTIPLICATIONS[used]:,}: {why}"]


_STEPS = {
    "plain": "plain",
    "direct": "direct, without autograd",
    "compiled": "compiled: the first takes 10 to 30 seconds",
    "graph": "a CUDA graph, replayed",
}


def _layers(plan: Plan) -> list[str]:
    """One line per layer; of a deep net the first and the last few."""
    rows = [row for row in plan.rows[:-1] if row.parameters or row.type not in ("Flatten", "Identity")]
    cells = [[row.type, "x".join(map(str, row.output_shape or ())), f"{row.parameters:,}"] for row in rows]
    texts = [f"             {line}" for line in tables.columns(cells, right=(1, 2))]
    return texts if len(texts) <= 16 else [*texts[:8], f"             ... {len(texts) - 12} more", *texts[-4:]]


def _name(part: Part) -> str:
    name = part.function.__name__
    return str(part.arguments.get("name", name)) if name == "torchvision" else name


def _knobs(part: Part, names: Sequence[str]) -> str:
    """These knobs, and each other one that is not at the constructor's own default."""
    return ", ".join([part.function.__name__, *_set(part, names), *_moved(part, names)])


def _moved(part: Part, told: Sequence[str]) -> Iterator[str]:
    defaults = {name: p.default for name, p in inspect.signature(part.function).parameters.items()}
    for name, value in part.arguments.items():
        plain = [list(v) if isinstance(v, (list, tuple)) else v for v in (value, defaults.get(name, value))]
        if name not in told and plain[0] != plain[1]:
            yield f"{name} {value}"


def _set(part: Part, names: Sequence[str] | None = None) -> list[str]:
    """The knobs (all, or these) that are not off."""
    knobs = part.arguments if names is None else {k: part.arguments.get(k) for k in names}
    return [f"{k} {v}" for k, v in knobs.items() if v not in (None, False, 0.0)]


def _switched_on(plan: Plan) -> str:
    """The regularisers that act, in words."""
    regular = plan.regularisation
    plain = ("l1", "l2", "max_norm", "input_noise", "clip_norm", "clip_value", "ema", "mixup", "cutmix")
    shown = [
        f"{name} {value}" for name in ("dropout", "input_dropout") if (value := plan.parts["model"].arguments.get(name))
    ]
    shown += [f"{name} {value}" for name in plain if (value := getattr(regular, name))]
    shown += [name for name, value in regular.augmentation.items() if value and name != "policy"]
    if policy := regular.augmentation.get("policy"):
        shown.append(str(policy.get("name", "policy")))
    if regular.early_stopping:
        shown.append(f"early stopping (patience {regular.early_stopping.get('patience')})")
    return ", ".join(shown)


def result(plan: Plan, folder: Path, summary: Summary, *, more: Sequence[str] = ()) -> str:
    """Metrics of the best epoch's weights on each split, and where to look further; `more`: lines beside them."""
    names = metrics.told(summary["test"], *plan.metrics)
    parts = {part: summary[part] for part in ("train", "val", "test")}
    rows = [[part, *(metrics.text(n, own.get(n)) for n in names)] for part, own in parts.items()]
    best = summary["best"]
    reports = reading.read_log(folder) if isinstance(plan.loss, losses.Perceptron) else []
    early = "after an epoch without a mistake" if perceptron.settled(reports) else "early"
    stopped = f", stopped {early}" if summary["status"] == "early_stopped" else ""
    mistakes = perceptron.told(plan, reports)
    facts = (
        f"the weights of the best epoch, {pulse.epoch(best['epoch'])} by {plan.monitor}"
        if best
        else f"no epoch had a finite {plan.monitor}"
    )
    few, all_of_it = summary["rows_judged"]["train"], len(plan.data.train)
    lines = [
        *tables.turned([["", *names], *rows]),
        *metrics.undefined(parts, names),
        *([f"train is judged on {few:,} of its {all_of_it:,} rows"] if few < all_of_it else []),
        *([f"mistakes     {mistakes}"] if mistakes else []),
        *([f"{found[0]:<12} {found[1]}"] if (found := against_one_answer(plan, summary)) else []),
        *more,
        f"{facts}; {summary['steps']:,} steps in {summary['seconds']:.1f} s{stopped}",
        f"run folder   {folder}",
        f"curves       tensorboard --logdir {plan.runs_dir}",
        *_profile(plan, folder),
    ]
    return "\n".join(lines)


def against_one_answer(plan: Plan, summary: Summary) -> tuple[str, str] | None:
    """Whether it beats one answer for every row, of the test part: a word, and the sentence that it begins. None where
    the targets of that part can't be asked for.
    """
    what = f"one answer for every row, {_ANSWERS.get(plan.data.task, 'the most frequent class')}"
    if summary["no_better"]:
        return "no better", f"on val and test than {what}"
    if (y := _held(plan.data.test)) is None:
        return None
    values = original(y, plan.data.units) if plan.data.task == "regression" else y
    found = trivial(values, task=plan.data.task, weight=getattr(plan.data.test, "weight", None))
    asked = (plan.monitor.removeprefix("val/"), metrics.default_monitor(plan.data.task))
    name = next((n for n in asked if n in found and isfinite(summary["test"].get(n, nan))), None)
    if name is None:
        return None
    own, its = summary["test"][name], found[name]
    better = (own > its) == metrics.larger_is_better(name) and own != its
    unit = " points" * metrics.in_percent(name)
    size = f"{metrics.difference(name, abs(own - its))}{unit} {'better' if better else 'worse'}"
    its, own = metrics.text(name, its), metrics.text(name, own)
    return "baseline", f"test {name} {own}, {size} than {what} ({its})"


_READ = 2000  # samples at most: the share of a class among them has a standard error of 1 %


def nothing_learned(plan: Plan, summary: Summary) -> bool:
    """Whether the best weights are nowhere better than one answer to every row; of a part that streams, by the targets
    of 2,000 rows.
    """
    for split, part in (("val", plan.data.val), ("test", plan.data.test)):
        y = _targets(part)
        weight = getattr(part, "weight", None)
        if y is None or not no_better(summary[split], trivial(y, task=plan.data.task, weight=weight)):
            return False
    return True


def _targets(part: Split) -> Tensor | None:
    """Those of a part's rows, or of some of them; None where they can't be asked for."""
    from torch.utils.data import Dataset

    from dltrain.data import quality

    if (y := _held(part)) is not None:
        return y
    return quality.sample(part, _READ)[1] if isinstance(part, Dataset) else None  # its own `y` may be anything


def _held(part: Split) -> Tensor | None:
    """The targets of a part that holds them in memory."""
    from dltrain.data import Tensors
    from dltrain.data.sources.image_folders import ImageFiles

    return part.y if isinstance(part, (Tensors, ImageFiles)) else None


def _profile(plan: Plan, folder: Path) -> list[str]:
    """The table of `trainer.profile`, and how to open its trace."""
    if not plan.settings.profile:
        return []
    table, traces = folder / "profile" / "operations.txt", sorted((folder / "profile").glob("*.pt.trace.json"))
    if not (table.is_file() and traces):
        return ["profile      none: the run ended within its first ten steps"]
    text = table.read_text(encoding="utf-8").rstrip()
    return [f"profile      {traces[-1]} opens in ui.perfetto.dev or chrome://tracing", "", text, ""]
