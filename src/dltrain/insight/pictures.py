"""The pictures of a run: what can be drawn from its folder, each with a caption in plain words.

What a picture needs and the folder lacks (its data, a checkpoint) becomes a note; the other pictures are made.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.plan import Plan, make_plan
from dltrain.data import Data
from dltrain.errors import DltrainError
from dltrain.insight import (
    captions,
    history,
    layers_by_step,
    lr_range,
    on_the_way,
    outcome,
    perceptron_pictures,
    training_pictures,
    weight_pictures,
    weights_by_step,
)
from dltrain.insight.doctor import doctor
from dltrain.insight.doctor.examine import examine
from dltrain.insight.gallery import Gallery
from dltrain.insight.plots import evaluation, gradients, landscape, regions, training
from dltrain.parts import losses
from dltrain.parts.metrics import MAIN
from dltrain.parts.schedules import PureSchedule
from dltrain.runs import tensorboard
from dltrain.runs.reading import Report, Run
from dltrain.trained import explain, inference, judge, wrong
from dltrain.trained.inference import Trained
from dltrain.training import overview, perceptron, replay, resuming

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure
    from dltrain.training.summary import Summary

_FEW = 1000  # train samples that stand for all in the loss landscape
_FINE, _COARSE = 25, 9  # places along each of its sides, at most and at least
_PATIENCE = 12.0  # seconds that one of them may take
_WORST = 50  # answers that are told one by one
_MOST_AREAS = 20  # of classes in one picture, of labels below one another


def of_run(run: Run, *, allow: Sequence[str], seconds: float) -> Gallery:
    """All pictures of a run. Those of its way are made by training again in memory for at most `seconds`."""
    gallery, reports = Gallery(), history.logged(run)
    try:
        plan = make_plan(resuming.stored(run.folder), allow, writes=False)
    except DltrainError as error:
        plan = None
        gallery.notes.append(f"the net could not be built again, so only what was logged is shown: {error}")
    _curves(gallery, reports, run, plan)
    _schedule(gallery, reports, plan, run)
    training_pictures.layers(gallery, run)
    if plan is None:
        return gallery
    if counted := perceptron_pictures.by_epoch(plan, reports):
        gallery.add("mistakes_by_epoch.png", "Mistakes of the perceptron", *counted)
    _clipping(gallery, plan, reports)
    training_pictures.augmented(gallery, plan)
    gallery.about = overview.describe(plan)
    ended = cast("Summary", run.summary)
    if "no_better" in ended:
        gallery.outcome = gallery.tried("what came of it", lambda: outcome.sentences(plan, reports, ended)) or []
    if going := run.status == "running":
        gallery.notes.append("the way of its weights and the loss around them are shown when it has ended")
        if run.steps is None:
            gallery.notes.append("what the net answers is shown from its first checkpoint on")
            return gallery
    try:
        trained = inference.open_run(run.folder, allow=allow, data=True)
    except DltrainError as error:
        gallery.notes.append(f"pictures of the net are left out: {error}")
        return gallery
    build.set_threads_and_determinism(plan)
    model, sample = trained.model, _sample(plan)
    gallery.graph = tensorboard.graph(model, sample[0][:2])
    way, note = (None, "") if going else on_the_way.weights(plan, run, seconds)
    gallery.notes += [note] * bool(note)
    if way:
        layers_by_step.on_the_way(gallery, plan, way)
    _regions(gallery, plan, model, run, way)
    judged(gallery, trained)
    _weights(gallery, plan, model, run, way)
    if not going:
        _landscape(gallery, plan, model, sample, run, way)
    _examine(gallery, plan, run)
    return gallery


def _examine(gallery: Gallery, plan: Plan, run: Run) -> None:
    """What `dltrain doctor` says, and the gradient of each layer that it has seen."""
    try:
        exam = examine(plan, run.folder)
        gallery.verdict, gallery.findings = doctor.judgement(exam), "\n".join(doctor.findings(exam))
        moments = {"first weights": exam.at_first, "last weights": exam.at_last}
        gallery.add("gradients.png", *captions.GRADIENTS, lambda: gradients.of_looks(moments))
    except DltrainError as error:
        gallery.notes.append(f"the doctor could not examine it: {error}")


# -- what was logged -------------------------------------------------------------------------------------------


def _curves(gallery: Gallery, reports: list[Report], run: Run, plan: Plan | None) -> None:
    if not reports:
        file = run.folder / "metrics.jsonl"
        written = os.path.lexists(file) and file.lstat().st_size
        why = f"{file} has no report that can be read" if written else "nothing was logged"
        gallery.notes.append(f"{why}: there are no learning curves")
        return
    metric = next((m for m in MAIN if f"val/{m}" in reports[-1]), "loss")
    if run.monitor.startswith("val/"):
        metric = run.monitor.removeprefix("val/")
    step = run.numbers.get("best/step")
    same = plan is not None and plan.data.val is plan.data.train
    units = None if plan is None else plan.data.units
    caption = " ".join(captions.curves(reports, same=same, units=units, kept=step is not None))
    gallery.add(
        "curves.png",
        "Learning curves",
        caption,
        lambda: training.curves(reports, metric=metric, best_step=step, same=same, units=units),
    )


def _schedule(gallery: Gallery, reports: list[Report], plan: Plan | None, run: Run) -> None:
    caption = "How large a step along the gradient was allowed to be at each moment of the training."

    def draw() -> Figure | None:
        if plan and (found := planned(plan, run.steps or plan.total_steps)):
            steps, rates, momenta, momentum = found
            return training.schedule(steps, rates, momenta, momentum=momentum)
        points = history.points(reports, "train/lr", over="step")
        return training.schedule(*zip(*points, strict=True)) if len(points) > 1 else None

    gallery.add("schedule.png", "Learning rate", caption, draw)


def _clipping(gallery: Gallery, plan: Plan, reports: list[Report]) -> None:
    most, points = plan.regularisation.clip_norm, history.points(reports, "train/grad_norm", over="step")
    if most is not None and points:
        steps, norms = np.array(points).T
        gallery.add("clipping.png", *captions.clipped(norms, most), lambda: gradients.clipped(steps, norms, most))


def planned(plan: Plan, end: int) -> tuple[list[int], list[float], list[float], str] | None:
    """Steps up to an end, learning rates, momenta and what these are called; None where the schedule has a memory."""
    schedule, group = lr_range.scheduled(plan)
    if not isinstance(schedule, PureSchedule):
        return None
    steps = sorted({*np.linspace(0, end - 1, 400).astype(int).tolist()})
    rates: list[float] = []
    momenta: list[float] = []
    for step in steps:
        schedule.set(step)
        rates.append(float(group["lr"]))
        momenta.append(float(group["betas"][0] if "betas" in group else group.get("momentum", 0.0)))
    return steps, rates, momenta, "beta1" if "betas" in group else "momentum"


# -- the net ---------------------------------------------------------------------------------------------------


def _with(model: nn.Module, state: dict[str, Tensor], where: str) -> nn.Module:
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise DltrainError(f"{where} does not fit this configuration: {str(error).splitlines()[-1].strip()}") from error
    return model.eval().requires_grad_(False)


def _regions(gallery: Gallery, plan: Plan, model: nn.Module, run: Run, way: replay.Way | None) -> None:
    scene = _scene(plan)
    if scene is None:
        return
    if len(plan.data.names) > _MOST_AREAS:
        gallery.notes.append(f"decision regions are not drawn of more than {_MOST_AREAS} classes or labels")
        return
    flat = len(scene.names) == 1
    title = "The learned function" if flat or plan.data.task == "regression" else "Decision regions"
    if flat:
        caption = "The net's answer for every input, through the train data: a straight line cannot follow a bend."
    elif plan.data.task == "regression":
        caption = "The net's answer everywhere (colour) and the train data: a dot that can't be seen is fitted well."
    else:
        unsure = "pale areas are where it is unsure, " if scene.sure else ""
        caption = (
            f"What the net would answer at every place: the black line is the boundary, {unsure}"
            "crosses are train samples that it has wrong."
        )
        if sum(1 for module in model.modules() if isinstance(module, nn.Linear)) == 1:
            caption += " Without a hidden layer the boundary is straight."
    kept, ended = captions.moments(run)
    also = perceptron_pictures.arrow(model, scene) if scene.equal else None
    caption += f" {captions.ARROW}" * scene.equal
    gallery.add("regions.png", title, f"{caption} {kept}", lambda: regions.regions(model, scene, also=also))
    if way and scene.equal:
        gallery.add("film.gif", "Mistake by mistake", *perceptron_pictures.film(plan, scene, way))
    elif way:
        moving = build.make_model(plan)
        frames = ((f"step {s:,}", _with(moving, w, "the way")) for s, w in zip(way.steps, way.weights, strict=True))
        caption = f"The same from {captions.start(way)} to {ended}; early moments are close together."
        gallery.add("film.gif", f"{title}, while it learned", caption, lambda: regions.film(frames, scene))


def _scene(plan: Plan) -> regions.Scene | None:
    """The train data as a scene, where it has one input, or two, and an answer that can be drawn."""
    data = plan.data
    if math.prod(data.in_shape) > 2 or len(data.in_shape) != 1 or plan.sizes["codes"]:
        return None
    if (data.in_features == 1 and data.task != "regression") or (data.task == "regression" and len(data.targets) != 1):
        return None
    batches = list(build.make_loaders(plan)[1]["train"].epoch())
    names, units = _axes(data)
    sure = isinstance(plan.loss, (losses.CrossEntropy, losses.BCE, nn.CrossEntropyLoss, nn.BCEWithLogitsLoss))
    return regions.Scene(
        torch.cat([b[0] for b in batches]).cpu(),
        torch.cat([b[1] for b in batches]).cpu(),
        data.task,
        names,
        units,
        classes=data.classes,
        answer=(data.targets or ("y",))[0],
        learned=data.units,
        sure=sure,
        equal=perceptron.as_stated(plan) and plan.out_features == 1,
    )


def _axes(data: Data) -> tuple[tuple[str, ...], tuple[tuple[float, float], ...]]:
    """Names of the inputs and, where they were only shifted and scaled, what turns them back."""
    names = tuple(captions.inputs(data.preprocessing, data.in_features))
    columns = data.preprocessing.get("columns", [])
    if len(columns) != data.in_features:
        return names, ((0.0, 1.0),) * data.in_features
    scaled = [f"{n} (as quantile)" if "quantiles" in c else n for n, c in zip(names, columns, strict=True)]
    return tuple(scaled), tuple((c.get("mean", 0.0), c.get("std", 1.0)) for c in columns)


def judged(gallery: Gallery, trained: Trained) -> None:
    """What `dltrain eval` finds on the test part."""
    try:
        part = judge.choose_rows(trained, split="test")
        begin = time.perf_counter()
        found = judge.judge(trained, part)
        took = time.perf_counter() - begin
        columns = len(trained.facts.columns) if trained.facts.kind == "table" else 0
        if columns > 2 and took * explain.REPEATS * columns < _PATIENCE:  # a plane is shown whole
            found.result["importance"] = explain.explain(trained, part)
        figures = evaluation.parts(found.result, **judge.drawn(found))
        if "importance" in found.result:
            figures["importance"] = evaluation.importance(found.result)
        titles, rows = wrong.table(found, _WORST)
        gallery.worst = titles, [[cell if isinstance(cell, str) else f"{cell:.6g}" for cell in row] for row in rows]
    except DltrainError as error:
        gallery.notes.append(f"the answers to the test part are left out: {error}")
        return
    for name, fig in figures.items():
        title, caption = captions.QUESTIONS[name]
        gallery.add(f"{name}.png", title, caption, lambda fig=fig: fig)


def _weights(gallery: Gallery, plan: Plan, model: nn.Module, run: Run, way: replay.Way | None) -> None:
    if found := weight_pictures.first_layer(plan, model):
        gallery.add("weights.png", "First-layer weights", found[0], found[1])
    if sizes := gallery.tried("The weights, by size", lambda: weight_pictures.by_size(plan, model, way)):
        gallery.add("weights_by_size.png", "The weights, by size", *sizes)
    kept = captions.kept(run)
    gallery.numbers = gallery.tried(
        "The weights, in numbers", lambda: weight_pictures.in_numbers(plan, model, way, kept)
    )
    if way and gallery.numbers is None:
        name, title = "weights_by_step", "The weights, while it learned"
        caption = weights_by_step.CAPTION.format(start=captions.start(way), end=captions.moments(run)[1])
        gallery.add_moments(name, title, caption, lambda: weights_by_step.of_layers(plan, model, way))


# -- the loss around the end -----------------------------------------------------------------------------------


def _landscape(
    gallery: Gallery,
    plan: Plan,
    model: nn.Module,
    sample: tuple[Tensor, Tensor],
    run: Run,
    way: replay.Way | None,
) -> None:
    (x, y), criterion = sample, plan.loss.to(plan.device).eval()

    def loss() -> float:
        with torch.inference_mode():
            return float(criterion(model(x), y))

    fine = _fineness(loss)
    if fine < _COARSE:
        gallery.notes.append("the loss around the end is not shown: this net is too slow for hundreds of trials")
        return
    places = np.linspace(-1, 1, fine)
    which = captions.weights(run)
    caption = (
        f"The loss of {len(x):,} train sample{'s' * (len(x) > 1)} when the weights are moved away from the {which} "
        "(star) along two random directions, each as long as the net's own weights (Li et al. 2018). A wide, flat "
        "valley forgives small changes; a narrow one often belongs to a net that generalises less well."
    )

    def around() -> Figure:
        values = landscape.surface(model, loss, landscape.random_directions(model), places, places)
        return landscape.landscape(values, places, places, star=which)

    gallery.add("landscape.png", f"The loss around the {which}", caption, around)
    if way:
        _walk(gallery, model, run, way, loss, fine)


def _fineness(loss: Callable[[], float]) -> int:
    """How many places along each side there is time for; an odd number, so that the end is one of them."""
    loss()  # the first call allocates
    begin = time.perf_counter()
    loss()
    affordable = math.isqrt(int(_PATIENCE / max(time.perf_counter() - begin, 1e-6)))
    return min(_FINE, affordable - 1 + affordable % 2)


def _walk(gallery: Gallery, model: nn.Module, run: Run, way: replay.Way, loss: Callable[[], float], fine: int) -> None:
    """The loss in the plane in which training moved most, with its way."""
    names = [name for name, _ in model.named_parameters()]
    path = torch.stack([torch.cat([w[n].float().flatten() for n in names]) for w in way.weights])
    if (found := landscape.main_directions(path)) is None:
        return
    first, second, share = found
    trail = torch.stack([(path - path[-1]) @ first, (path - path[-1]) @ second], dim=1).numpy()
    low, high = trail.min(0), trail.max(0)
    edge = 0.15 * max((high - low).max(), 1e-6)
    sides = [np.linspace(a - edge, b + edge, fine) for a, b in zip(low, high, strict=True)]
    caption = (
        f"The way of the weights from {captions.start(way)} to {captions.moments(run)[1]}, in the plane that holds "
        f"{share:.0%} of it (its two principal components), over the loss in that plane. Dots are moments of the "
        "training."
    )

    def draw() -> Figure:
        _with(model, way.weights[-1], "the way")
        values = landscape.surface(model, loss, (first, second), *sides)
        labels = ("first principal direction", "second principal direction")
        return landscape.landscape(values, *sides, way=trail, labels=labels, star="last weights")

    gallery.add("walk.png", "The way of the training", caption, draw)


def _sample(plan: Plan) -> tuple[Tensor, Tensor]:
    """Up to `_FEW` train samples, evenly taken from the first batches, on the device."""
    have = 0
    batches: list[tuple[Tensor, Tensor]] = []
    for x, y, _ in build.make_loaders(plan)[1]["train"].epoch():
        batches.append((x, y))
        have += len(x)
        if have >= 8 * _FEW:
            break
    x, y = (torch.cat(parts) for parts in zip(*batches, strict=True))
    every = -(-len(x) // _FEW)
    return x[::every], y[::every]
