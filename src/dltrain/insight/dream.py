"""`dltrain dream RUN --class 3`: an input made to please the net, and a real one changed until it fools it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dltrain.data import Split, quality
from dltrain.data.preprocessing import Facts, decode
from dltrain.data.tables.cells import code_columns
from dltrain.data.units import column
from dltrain.engine import evaluation
from dltrain.errors import ConfigError, did_you_mean, tables
from dltrain.errors.output import cut
from dltrain.insight import captions
from dltrain.parts import losses, schedules
from dltrain.trained.inference import Trained

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure

STEPS = 400
RATE = 0.1  # peak of the cycle, or of all steps, in units of the inputs as the net gets them
_SHRINK, _SMOOTH = 0.02, 0.3  # weight of the squared input (Simonyan et al. 2014), and of differences between pixels
_ROUNDS, _OVERSHOOT = 50, 0.02  # of DeepFool
_CANDIDATES = 256  # real rows looked at
_STARTS = 16  # of a table: with few inputs a climb may end on the lower of two hills

Score = Callable[[Tensor], Tensor]  # outputs [N, K] -> how much of the wanted answer is in each, [N]


@dataclass(frozen=True)
class Fooled:
    """A real row, the same row changed, and where it stands in its part; `was` is what the net said of it."""

    index: int
    before: Tensor
    after: Tensor
    was: int


@dataclass(frozen=True)
class Descent:
    """Inputs made by descent: `made` [N, ...], the loss of each before each step, float [steps, N], the rates [steps].

    watched: the inputs after those numbers of steps that were asked for, [moments, N, ...].
    """

    made: Tensor
    losses: Tensor
    rates: list[float]
    watched: Tensor

    def of(self, row: int) -> Descent:
        """That of one of the inputs alone, without N."""
        return Descent(self.made[row], self.losses[:, row], self.rates, self.watched[:, row])


@dataclass(frozen=True)
class Dream:
    """What the net looks for: from `start` to `made`, by `descent`; `real` is the real row with the highest score."""

    start: Tensor
    made: Tensor
    real: Tensor
    scores: tuple[float, float, float]
    descent: Descent
    fooled: Fooled | None
    mean: Tensor  # of the real rows, and their deviation: one for each feature, one for all pixels
    spread: Tensor


# -- the two descents ------------------------------------------------------------------------------------------


def dream(
    model: nn.Module,
    start: Tensor,
    score: Score,
    *,
    low: Tensor,
    high: Tensor,
    steps: int = STEPS,
    rate: float = RATE,
    cycle: bool = True,
    fixed: Sequence[int] = (),
    moments: Sequence[int] = (),
) -> Descent:
    """The inputs [N, ...] near `start` that raise the score most: AdamW on the input, under one cycle up to `rate`, or
    at that rate throughout.

    Between `low` and `high` (numbers or shapes that broadcast); a penalty on its size, and on differences between
    neighbouring pixels of images, keeps what no class needs at zero (Simonyan et al. 2014; Mahendran & Vedaldi 2015).
    `fixed` features stay as they start: codes of categories, between which there is no way. `moments`: after which
    numbers of steps the inputs are kept.
    """
    x = start.clone().requires_grad_()
    optimizer = torch.optim.AdamW([x], lr=rate)
    curve = schedules.onecycle(steps, max_lr=rate) if cycle else schedules.constant(rate)
    schedule = schedules.PureSchedule(optimizer, curve, total_steps=steps)
    losses, watched = start.new_empty(steps, len(start)), [start] * (0 in moments)
    rates: list[float] = []
    for step in range(steps):
        schedule.set(step)
        rates.append(float(optimizer.param_groups[0]["lr"]))
        loss = -score(model(x)) + _SHRINK * x.square().flatten(1).sum(1)
        if x.dim() == 4:
            loss = loss + _SMOOTH * sum(x.diff(dim=d).square().flatten(1).sum(1) for d in (2, 3)) / 2
        (x.grad,) = torch.autograd.grad(loss.sum(), x)
        losses[step] = loss.detach()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(low, high)
            x[:, fixed] = start[:, fixed]
            if step + 1 in moments:
                watched.append(x.clone())
    return Descent(x.detach(), losses, rates, torch.stack(watched) if watched else start.new_empty(0, *start.shape))


def fool(model: nn.Module, x: Tensor, margin: Score, *, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [N, ...] moved as little as it takes until `margin` is above zero, and whether it is, bool [N].

    DeepFool (Moosavi-Dezfooli et al. 2016) towards one class: each round goes straight to where the linearised margin
    is zero, and a little further.
    """
    now = x.clone()
    for _ in range(_ROUNDS):
        now.requires_grad_()
        value = margin(model(now))
        (gradient,) = torch.autograd.grad(value.sum(), now, materialize_grads=True)  # codes have none
        now = now.detach()
        todo = value.detach() <= 0
        if not todo.any():
            break
        flat = gradient.flatten(1)
        length = (-value.detach()).clamp_min(0) * (1 + _OVERSHOOT) + 1e-4
        step = (length / flat.square().sum(1).clamp_min(1e-12))[:, None] * flat
        now = torch.where(todo.view(-1, *[1] * (x.dim() - 1)), now + step.view_as(x), now).clamp(low, high)
    with torch.no_grad():
        return now, margin(model(now)) > 0


# -- of a run --------------------------------------------------------------------------------------------------


def of(
    trained: Trained,
    wanted: int,
    rows: Split,
    *,
    seed: int = 0,
    steps: int = STEPS,
    rate: float = RATE,
    cycle: bool = True,
    moments: Sequence[int] = (),
) -> Dream:
    """The dream of one class (or of a high target), with the real rows that belong to it. It starts as noise."""
    codes = code_positions(trained.facts)
    if len(codes) == trained.facts.in_features:
        raise ConfigError(f"all inputs of {trained.folder} are codes of categories, between which there is no way")
    x, y, index = quality.sample(rows, _CANDIDATES, seed=seed)
    x = x.to(trained.device)
    images = x.dim() == 4
    spread = x.std() if images else x.std(0)
    low, high = (x.min(), x.max()) if images else (x.amin(0), x.amax(0))
    generator = torch.Generator().manual_seed(seed)
    if images:
        starts = low + (high - low) * torch.rand(1, *x.shape[1:], generator=generator).to(trained.device)
    else:
        noise = torch.randn(_STARTS, *x.shape[1:], generator=generator).to(trained.device)
        starts = (x.mean(0) + spread * noise).clamp(low, high)
    score = _score(trained.facts, wanted)
    if codes:  # those of the real rows that are most alike
        with torch.no_grad():
            alike = score(trained.model(x)).argsort(descending=True)
        starts[:, codes] = x[alike[torch.arange(_STARTS) % len(x)]][:, codes]
    how = {"steps": steps, "rate": rate, "cycle": cycle, "fixed": codes, "moments": moments}
    descent = dream(trained.model, starts, score, low=low, high=high, **how)
    with torch.no_grad():
        best = int(score(trained.model(descent.made)).argmax())
        descent = descent.of(best)
        start, made = starts[best], descent.made
        outputs = trained.model(x)
        real = x[score(outputs).argmax()]
        first, last, most = score(trained.model(torch.stack([start, made, real]))).tolist()
    classes = trained.facts.task in ("binary", "multiclass")
    fooled = _fooled(trained, x, (y, index), wanted, (low, high)) if classes else None
    told = Descent(made.cpu(), descent.losses.cpu(), descent.rates, descent.watched.cpu())
    scores = first, last, most
    return Dream(start.cpu(), told.made, real.cpu(), scores, told, fooled, x.mean(0).cpu(), spread.cpu())


def _fooled(
    trained: Trained, x: Tensor, known: tuple[Tensor, Tensor], wanted: int, bounds: tuple[Tensor, Tensor]
) -> Fooled | None:
    """Of the rows of other classes that the net knows well, the one that the smallest change turns.

    `known` is (y, index). Those that it is not sure of, the less certain half, would say little.
    """
    y, index = known
    with torch.no_grad():
        outputs = trained.model(x)
    guess = evaluation.decide(outputs, trained.facts.task).cpu()
    right = ((guess == y) & (y != wanted)).nonzero()[:, 0]
    if not len(right):
        return None
    lead = torch.stack([_margin(c)(outputs) for c in range(len(trained.facts.names))]).amax(0).cpu()
    sure = right[lead[right] >= lead[right].median()]
    before = x[sure.to(x.device)]
    after, turned = fool(trained.model, before, _margin(wanted), low=bounds[0], high=bounds[1])
    if not turned.any():
        return None
    best = int((after - before).flatten(1).norm(dim=1).where(turned, torch.inf).argmin())
    row = int(sure[best])
    return Fooled(int(index[row]), before[best].cpu(), after[best].cpu(), int(y[row]))


def _score(facts: Facts, wanted: int) -> Score:
    """How much of the wanted answer is in outputs: of two classes one output tells by its sign."""
    if facts.task == "binary":
        sign = 1 if wanted else -1
        return lambda out: sign * out[:, 0] if out.shape[1] == 1 else out[:, wanted]
    return lambda out: out[:, wanted]


def _margin(wanted: int) -> Score:
    """By how much the wanted class is ahead of every other one."""

    def margin(out: Tensor) -> Tensor:
        if out.shape[1] == 1:
            return out[:, 0] if wanted else -out[:, 0]
        others = out.clone()
        others[:, wanted] = -torch.inf
        return out[:, wanted] - others.amax(1)

    return margin


# -- the command -----------------------------------------------------------------------------------------------


def number_of(facts: Facts, name: str | None) -> int:
    """The number of the class, label or target that was typed."""
    names = facts.names
    if name is None and (len(names) == 1 or facts.task == "regression"):
        return 0
    if name in names:
        return names.index(name)
    if name is not None and re.fullmatch(r"[0-9]{1,9}", name) and int(name) < len(names):
        return int(name)
    known = ", ".join(map(cut, names[:12])) + ", ..." * (len(names) > 12)
    asked = "say of which class: --class NAME" if name is None else f"there is no class `{cut(name)}`"
    raise ConfigError(f"{asked}{did_you_mean(name or '', names)}; there are {known}")


def _called(trained: Trained, x: Tensor) -> str:
    """What the net calls an input, and how sure it is, where its loss speaks of probabilities."""
    facts, logits = trained.facts, trained.logits(x.unsqueeze(0))
    if facts.task in ("regression", "multilabel"):
        row = trained.answers(logits).row(0, named=True)
        return ", ".join(f"{cut(name)} {row[name]:.4g}" for name in facts.names)
    guess = int(evaluation.decide(logits, facts.task)[0])
    chances = losses.probabilities(trained.loss, logits, facts.task)
    return cut(facts.names[guess]) + ("" if chances is None else f" ({chances[0, guess]:.1%})")


def draw(trained: Trained, wanted: int, seen: Dream) -> Figure:
    """Its picture: tiles of images, or bars for the columns of a table."""
    from dltrain.insight.plots import dreams

    name, fooled = cut(trained.facts.names[wanted]), seen.fooled
    curves = seen.descent.losses.tolist(), seen.descent.rates
    if len(trained.facts.in_shape) == 3:
        tiles = [
            ("noise,\nwhere it starts", _pixels(trained, seen.start)),
            (f"the dream of {name}:\n{_called(trained, seen.made)}", _pixels(trained, seen.made)),
            (f"the real row of the\nhighest output for {name}", _pixels(trained, seen.real)),
        ]
        if fooled is None:
            return dreams.images(tiles, descent=curves)
        before, after = _pixels(trained, fooled.before), _pixels(trained, fooled.after)
        changed = [
            (f"a real {cut(trained.facts.names[fooled.was])}:\n{_called(trained, fooled.before)}", before),
            ("the change", after - before),
            (f"called\n{_called(trained, fooled.after)}", after),
        ]
        return dreams.images(tiles, changed, descent=curves)
    spread, codes = seen.spread.clamp_min(1e-12), code_positions(trained.facts)
    numbers = [at for at in range(trained.facts.in_features) if at not in {*codes}]
    bars = [(f"the dream of {name}", (seen.made - seen.mean) / spread)]
    if fooled is not None:
        change = (fooled.after - fooled.before) / spread
        bars.append((f"what turns a {cut(trained.facts.names[fooled.was])} into {name}", change))
    names = [*map(cut, captions.inputs(trained.facts.preprocessing, trained.facts.in_features))]
    names = [names[at] for at in numbers]
    return dreams.table(names, [(title, values.flatten()[numbers].numpy()) for title, values in bars], descent=curves)


def code_positions(facts: Facts) -> list[int]:
    """Which inputs are codes of categories."""
    return [at for at, _ in code_columns(facts.preprocessing)]


def _pixels(trained: Trained, x: Tensor) -> Tensor:
    """An input [C, H, W] as pixels from 0 to 1."""
    known = trained.facts.preprocessing
    if "mean" not in known:
        return (x - x.min()) / (x.max() - x.min()).clamp_min(1e-12)
    mean, std = (torch.tensor(known[key]).view(-1, 1, 1) for key in ("mean", "std"))
    return (x * std + mean).clamp(0, 1)


def describe(trained: Trained, wanted: int, seen: Dream) -> str:
    """The scores (of a regression in the target's own units), what fools the net, and a table's values in theirs."""
    facts, scores = trained.facts, torch.tensor(seen.scores)
    if facts.units is not None:
        scores = evaluation.answers(scores[:, None], column(facts.units, wanted))[:, 0]
    first, last, real = scores.tolist()
    rise = f"rises from {first:.3g} (noise) to {last:.3g}; real rows reach {real:.3g}"
    losses, peak = seen.descent.losses, max(seen.descent.rates)
    rate = f"at the rate {peak:.3g}" if min(seen.descent.rates) == peak else f"under one cycle up to {peak:.3g}"
    lines = [
        f"dream      the output for {cut(trained.facts.names[wanted])} {rise}",
        f"descent    {len(losses):,} steps of AdamW {rate}: the loss (minus the output, and penalties) "
        f"from {losses[0]:.3g} to {losses[-1]:.3g}",
    ]
    if (found := seen.fooled) is not None:
        delta = found.after - found.before
        size, largest = delta.norm().item(), (delta.abs() / seen.spread.clamp_min(1e-12)).max().item()
        lines += [
            f"fooling    test row {found.index}, {_called(trained, found.before)}, becomes "
            f"{_called(trained, found.after)}",
            f"           by a change of length {size:.2g}, at most {largest:.2g} standard deviations in one input",
        ]
    if trained.facts.kind == "table":
        lines += _values(trained.facts, seen)
    return "\n".join(lines)


def _values(facts: Facts, seen: Dream) -> list[str]:
    """A table of features in their own units: the dream, and the fooling row before and after."""
    parts = {"dream": seen.made, "most alike": seen.real}
    if seen.fooled is not None:
        parts |= {"test row": seen.fooled.before, "fooling": seen.fooled.after}
    frame = decode(torch.stack(list(parts.values())), facts.preprocessing)
    cells = [["", *parts]]
    for name in frame.columns:
        cells.append([cut(name), *(f"{v:.4g}" if isinstance(v, float) else cut(str(v)) for v in frame[name].to_list())])
    return tables.table(cells, cut=True)
