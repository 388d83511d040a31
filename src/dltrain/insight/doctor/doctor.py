"""`dltrain doctor RUN`: what a run looks like inside, and a verdict in plain words with the override to try."""

from __future__ import annotations

import math
from pathlib import Path

from dltrain.config.plan import Plan
from dltrain.data import Tensors
from dltrain.data.tables.table import few
from dltrain.engine.look import Layer
from dltrain.errors import tables
from dltrain.insight.doctor.examine import Examination, examine
from dltrain.insight.doctor.verdicts import verdicts

_LAYERS = 24  # more than these are cut in the middle


def after_training(plan: Plan, folder: Path) -> str:
    """The verdict alone, for the end of a run with diagnose=true."""
    lines = (line.split(maxsplit=1) for line in judgement(examine(plan, folder)))
    return "\n".join(f"{word:<13}{rest}" for word, rest in lines)  # as wide as what stands above it


def judgement(exam: Examination) -> list[str]:
    """The complaints, or that there are none."""
    found = [f"complaint  {verdict}" for verdict in verdicts(exam)]
    early = exam.weights is None and exam.status != "diverged"
    return found or [f"verdict    no complaint{' so far: nothing was saved yet' * early}"]


def findings(exam: Examination) -> list[str]:
    """What was looked at, in a line or a few each."""
    lines = [f"status     {exam.status}" + (f"; {_scores(exam)}" if exam.scores else "")]
    fit = exam.by_heart
    rows = f"{fit.rows} train row{'s' * (fit.rows > 1)}"
    got = f"{fit.value:.0%}" if fit.metric == "accuracy" else f"{fit.value:.2f}"
    heart = f"{rows} {'' if fit.enough else 'not '}learned by heart: {fit.metric} {got} in {fit.steps} steps"
    if not math.isfinite(fit.loss[0]):
        heart = f"the loss of {rows} is no number"
    elif not math.isfinite(fit.value):
        heart = f"{rows} in {fit.steps} steps (no {fit.metric}, as all targets are the same)"
    lines += [
        f"first loss {exam.at_first.loss:.4g}; an answer of zeros has {exam.guess:.4g}",
        f"one batch  {heart}, loss {fit.loss[0]:.3g} to {fit.loss[1]:.2g}",
        *([f"answers    every row gets the same: {exam.constant}"] if exam.constant else []),
        *_data(exam),
        *[f"noted      {note}" for note in few(exam.plan.data.notes)],
        *_layers(exam),
    ]
    return lines


def _scores(exam: Examination) -> str:
    train = exam.scores["train"]  # of targets that are all the same there is no r2
    name = next(n for n in ("accuracy", "r2", "rmse", "loss") if n == "loss" or math.isfinite(train.get(n, math.nan)))
    return ", ".join(f"{name} {scores[name]:.4g} on {split}" for split, scores in exam.scores.items())


def _data(exam: Examination) -> list[str]:
    """Number and balance of the rows, scale, order, repeated rows, and what neighbours say."""
    data, near = exam.plan.data, exam.neighbours
    low, high = (f"{size.item():.2g}" for size in (exam.sizes.min(), exam.sizes.max()))
    parts = [f"{len(data.train):,} train row{'s' * (len(data.train) > 1)}"]
    if exam.counts:
        parts.append(f"{len(exam.counts)} classes of {min(exam.counts):,} to {max(exam.counts):,}")
    whole = exam.plan.batch_size is None
    parts += [
        f"features of size {low}" + f" to {high}" * (low != high),
        "one batch of all rows" if whole else "shuffled anew in each epoch",
    ]
    repeated = [f"{count} of {rows:,} {name} rows" for name, (count, rows) in exam.repeated.items() if count]
    if not isinstance(data.train, Tensors):
        parts.append("rows in two parts not looked for, as they are not in memory")
    else:
        chance = ", by chance: their numbers are few and rounded" if repeated and exam.met else ""
        there = f"{' and '.join(repeated)} stand in train too{chance}"
        parts.append(there if repeated else "no row stands in two parts")
    lines = [f"data       {', '.join(parts)}"]
    if near is not None:
        text = f"ten near rows are right about {near.score:.1%} of the labels"
        if data.task == "regression":
            text = f"the mean of ten near rows has an r2 of {near.score:.2f}"
        if near.suspects:
            rows = ", ".join(map(str, near.suspects[:8])) + ", ..." * (len(near.suspects) > 8)
            text += f"; their labels contradict train rows {rows}"
        lines.append(f"neighbours {text}")
    return lines


def _layers(exam: Examination) -> list[str]:
    """A table of layers: values, gradient, update, dead or saturated units, at first and at the end."""
    titles = ["layer", "", "mean", "deviation", "gradient", "step", "flat", "| mean", "deviation", "gradient", "flat"]
    steps = {layer.name: layer.update for layer in exam.first_update}
    last = {layer.name: layer for layer in (exam.at_last.layers if exam.at_last else [])}
    rows: list[list[str]] = []
    for layer in exam.at_first.layers:
        if layer.kind not in ("Flatten", "Dropout"):
            *first, flat = _cells(layer)
            mean, *end = _cells(last.get(layer.name))
            name = layer.name.removeprefix("layers.")
            rows.append([name, layer.kind, *first, _short(steps.get(layer.name)), flat, f"| {mean}", *end])
    if len(rows) > _LAYERS:
        rows = [*rows[: _LAYERS - 8], [f"... {len(rows) - _LAYERS} more", *[""] * 10], *rows[-8:]]
    note = "before the first step | at the end; flat: dead ReLU units, or saturated values of sigmoid and tanh;"
    more = "step: change of the weights by one step at the peak rate"
    return [f"layers     {note}", f"           {more}", *tables.table([titles, *rows], cut=True)]


def _cells(layer: Layer | None) -> list[str]:
    if layer is None:
        return [""] * 4
    flat = layer.dead if layer.dead is not None else layer.saturated
    return [*map(_short, (layer.mean, layer.std, layer.gradient)), "" if flat is None else f"{flat:.0%}"]


def _short(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
