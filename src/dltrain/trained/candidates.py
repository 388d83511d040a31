"""Runs that may be averaged: opened, and asked about the rows of validation and test, which all of them must share."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from dltrain.config import build
from dltrain.config.construct import Sizes, sizes, takes_codes, without_codes
from dltrain.config.policy import Part
from dltrain.data import Data, Split, Task, units
from dltrain.data.fingerprint import fingerprint
from dltrain.data.loaders import Batch, Batches, make_loader
from dltrain.data.preprocessing import Facts, again
from dltrain.engine import evaluation
from dltrain.errors import ConfigError, DataError, DltrainError
from dltrain.parts import ensembles, losses, metrics
from dltrain.runs import ensemble_members, key_roles, reading, seeds
from dltrain.runs.foreign import Values
from dltrain.runs.reading import Run
from dltrain.trained import inference, judge
from dltrain.trained.inference import Trained
from dltrain.trained.selection import Rank

SPLITS = ("val", "test")
_MOST = 100  # runs that are asked, the best by their own account
_LARGEST = 1 << 32  # bytes of what they answer
_IN_TRAINING = ("label_smoothing", "class_weights", "pos_weight")  # knobs of our losses that act there alone


@dataclass(frozen=True, eq=False)
class Candidate:
    """A run that may become a member, without its weights."""

    run: Run
    facts: Facts
    data: Values  # the node of it in a configuration
    node: Values  # of its model, with the sizes that its data decided
    loss: Values  # the node of it
    judging: Values  # the same without what acts in training alone
    outputs: ensembles.Outputs
    checkpoint: Path
    answers: dict[str, Tensor]  # by split; see `ensembles.log_shares`


@dataclass(eq=False)
class Library:
    """Candidates, the best by their own account first, and what they share.

    base: the first of them; data: its; metric: what chose the best epochs, and chooses here; targets, and weights where
    rows have such: by split; left: what is left out, and why; overrides, allow: with which runs were opened.
    """

    base: Trained
    data: Data
    metric: str
    targets: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)
    candidates: list[Candidate] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    overrides: Sequence[str] = ()
    allow: Sequence[str] = ()

    @property
    def most(self) -> int:
        """So many candidates at most."""
        numbers = (len(self.data.val) + len(self.data.test)) * len(self.base.facts.names) * (1 + self.labels)
        return max(2, min(_MOST, _LARGEST // (4 * numbers)))

    @property
    def values(self) -> bool:
        return self.base.facts.task == "regression"

    @property
    def labels(self) -> bool:
        return self.base.facts.task == "multilabel"

    @cached_property
    def loss(self) -> tuple[Values, nn.Module]:
        """The loss by which all are judged, its node and itself: their own, where that is one; else the task's."""
        task, part, first = self.base.facts.task, self.base.outline.parts["loss"], self.candidates[0]
        if first.outputs == "shares" or any(each.judging != first.judging for each in self.candidates):
            return {"_target_": "dltrain.losses.auto"}, losses.auto(task).eval()
        kept = {key: value for key, value in part.arguments.items() if key in first.judging}
        same = all(each.loss == first.loss for each in self.candidates)
        return first.loss if same else first.judging, Part(part.function, kept)(task=task).eval()

    def answers(self, split: str) -> list[Tensor]:
        return [each.answers[split] for each in self.candidates]

    def average(self, weights: Counter[int], split: str) -> Tensor:
        """What the average answers in which candidates count so often, by their numbers."""
        chosen = [self.candidates[number].answers[split] for number in weights]
        return (ensembles.mean if self.values else ensembles.mean_of_logs)(chosen, [*weights.values()])

    def outputs(self, answers: Tensor) -> Tensor:
        """The same as a net under `loss` would say it, [N, K]."""
        if self.values:
            return answers
        count = losses.outputs(self.loss[1], self.base.facts.task, len(self.base.facts.names))
        return ensembles.logits(answers, count, self.labels)

    def metrics(self, answers: Tensor, split: str) -> dict[str, float]:
        """How good answers to the rows of a split are."""
        facts = self.base.facts
        batches = Once(self.outputs(answers), self.targets[split], self.weights.get(split))
        loss, more = self.loss[1], {self.metric} & {*evaluation.available(facts.task, self.loss[1])}
        return evaluation.evaluate(nn.Identity(), batches, loss, task=facts.task, units=facts.units, metrics=more)

    def score(self, answers: Tensor) -> Rank:
        """By the metric on val, equals by the loss there."""
        found = self.metrics(answers, "val")
        return reading.rank(found[self.metric], found["loss"], larger=metrics.larger_is_better(self.metric))


@dataclass(frozen=True)
class Once:
    """Answers and targets as one batch, whose rows may have weights."""

    outputs: Tensor
    y: Tensor
    weight: Tensor | None

    def epoch(self) -> Iterator[Batch]:
        yield Batch(self.outputs, self.y, torch.arange(len(self.y)))


def gather(
    found: Sequence[Run], *, overrides: Sequence[str] = (), allow: Sequence[str] = (), allow_changed_data: bool = False
) -> Library:
    """The runs that ended, on one problem, with what each answers to the validation and the test part.

    overrides: where the data are now. Raises ConfigError for fewer than two that can be averaged, and for runs on
    several problems; DataError where the data are not what they were.
    """
    ranked, left = _ended(found)
    _check_problem(ranked)
    wrong: dict[str, tuple[DltrainError, list[str]]] = {}  # those of one reason together
    readers: dict[str, _Reader] = {}
    library: Library | None = None
    names = reading.short_ids([run.folder for run in ranked])
    for at, (run, name) in enumerate(_shown([*zip(ranked, names, strict=True)])):
        if library and len(library.candidates) == library.most:
            left.append(f"{len(ranked) - at:,} runs: only the {library.most:,} best are looked at")
            break
        try:
            trained = inference.open_run(run.folder, overrides=overrides, allow=allow, data=True)
            if library is None:
                inference.set_threads(trained)
            key = json.dumps(trained.outline.config["data"], sort_keys=True)
            reader = readers.setdefault(key, _Reader())
            reader.load(trained, allow_changed_data=allow_changed_data)
            metric = _metric(run, trained.facts.task)
            shared = library or Library(trained, reader.data[0], metric, overrides=overrides, allow=allow)
            shared.candidates.append(reader.candidate(trained, run, shared))
            library = shared  # a run that is left out decides nothing
        except DltrainError as error:
            wrong.setdefault(str(error).replace(str(run.folder), ""), (error, []))[1].append(name)
    left += [f"{_few(names)}: {why}" for why, names in wrong.values()]
    asked = any(reader.loaders for reader in readers.values())
    if not asked and len(wrong) == 1 and isinstance(error := next(iter(wrong.values()))[0], DataError):
        raise error  # their data are gone, or others
    if library is None or len(library.candidates) < 2:
        count = len(library.candidates) if library else 0
        why = "".join(f"\nleft out: {line}" for line in left[:2])
        raise ConfigError(f"{count} of {len(found)} runs can be averaged, and two are needed{why}")
    library.left = left
    return library


def _shown(runs: Sequence[tuple[Run, str]]) -> Iterator[tuple[Run, str]]:
    """The same, with a bar on a terminal where they take long."""
    from tqdm import tqdm

    with tqdm(total=len(runs), desc="asked", unit="run", leave=False, delay=1, disable=None) as bar:
        for run in runs:
            yield run
            bar.update()


def _few(names: Sequence[str]) -> str:
    return f"{', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}"


def _ended(found: Sequence[Run]) -> tuple[list[Run], list[str]]:
    """Those that may be members, best first, and how many of the others are what."""
    kinds: Counter[str] = Counter()
    usable: list[Run] = []
    for run in found:
        if ensemble_members.are_in(run.summary):
            kinds["ensemble"] += 1
        elif run.status not in reading.ENDED:
            kinds[run.status] += 1
        elif run.criterion not in run.numbers:
            kinds["without a best epoch"] += 1
        else:
            usable.append(run)

    usable.sort(key=lambda run: seeds.rank([run], run.criterion))
    return usable, [f"{count} run{'s' * (count > 1)}: {kind}" for kind, count in kinds.items()]


def _check_problem(runs: Sequence[Run]) -> None:
    folds = sorted({fold for _, fold in map(seeds.repeat, runs)})
    if len(folds) > 1:
        raise ConfigError(
            f"these runs are tested on different rows, the folds {', '.join(folds[:4])}{', ...' * (len(folds) > 4)}, "
            "so no rows are new to all of them; dltrain predict SWEEP INPUT answers by their mean"
        )
    problems = [reading.problem(run) for run in runs]
    for key in dict.fromkeys(key for problem in problems for key in problem):
        if len(values := sorted({problem.get(key, "-") for problem in problems})) > 1:
            raise ConfigError(
                f"these runs can't be averaged, as {key} differs ({', '.join(values[:4])}); name a folder or sweep of "
                "runs on the same rows, chosen by the same metric"
            )


def _metric(run: Run, task: Task) -> str:
    """What chose its best epoch, as val has it."""
    name = run.monitor.rpartition("/")[2]
    return name if name in metrics.METRICS[task] else metrics.default_monitor(task)


class _Reader:
    """The data of runs that read the same, loaded once."""

    def __init__(self) -> None:
        self.data: list[Data] = []
        self.found: dict[str, str] = {}  # their fingerprint
        self.loaders: dict[str, Batches] = {}

    def load(self, trained: Trained, *, allow_changed_data: bool) -> None:
        """Loads the data of a run; raises DataError where it had other rows."""
        outline = trained.outline
        if not self.data:
            self.data.append(judge.read_data(trained))
            self.found = fingerprint(self.data[0])
        other = judge.changed(trained.folder, self.found)
        if other and not allow_changed_data:
            differ = f"{' and '.join(other)} {'parts differ' if len(other) > 1 else 'part differs'}"
            raise DataError(
                f"the data changed since {trained.folder} was trained: the {differ}; put "
                "the old data back, or say where they are (data.path=, data.root=), or add --allow-changed-data"
            )
        for split in SPLITS if not self.loaders else ():
            part: Split = getattr(self.data[0], split)
            part = again(self.data[0], part, trained.facts) if split in other else part
            values = max(trained.widest, trained.outputs)
            size = build.evaluation_size(part, batch_size=outline.given_size, values=values)
            workers, seed = outline.workers, outline.seed
            self.loaders[split] = make_loader(part, batch_size=size, device=trained.device, workers=workers, seed=seed)

    def candidate(self, trained: Trained, run: Run, library: Library) -> Candidate:
        """What a run answers; raises DltrainError where it can't be averaged with the others of the library."""
        facts, outline, task = trained.facts, trained.outline, trained.facts.task
        outputs = "values" if task == "regression" else losses.meaning(trained.loss, task)
        if outputs is None:
            raise ConfigError(f"{type(trained.loss).__name__} makes no probabilities, which are what is averaged")
        if other := _unlike(trained, library.base):
            raise DataError(other)
        answers: dict[str, Tensor] = {}
        for split in SPLITS:
            given, y = evaluation.predict(trained.model, self.loaders[split], trained.device)
            if not torch.equal(y, library.targets.setdefault(split, y)):
                raise DataError(f"its {split} rows are not those of the best run")
            if (weight := getattr(self.loaders[split], "weight", None)) is not None:
                library.weights[split] = weight
            answers[split] = ensembles.log_shares(given, outputs, library.labels)
            if not answers[split].isfinite().all():
                raise DataError(f"some of its answers to the {split} part are no numbers")
        known, loss = sizes(facts, trained.outputs), outline.config["loss"]
        node = _whole(outline.parts["model"], known, outline.config["model"])
        own = outline.parts["loss"].function.__module__ == losses.__name__
        judging = {key: value for key, value in loss.items() if not (own and key in _IN_TRAINING)}
        data, best = outline.config["data"], trained.checkpoint
        return Candidate(run, facts, data, node, loss, judging, outputs, best, answers)


def _unlike(trained: Trained, best: Trained) -> str | None:
    """How a run differs from the best one in what averaging needs alike: inputs, and answers with their units."""
    own, other = trained.facts, best.facts
    for key in ("task", "classes", "targets"):
        if getattr(own, key) != getattr(other, key):
            return f"its {key} {'differs' if key == 'task' else 'differ'} from the best run's"
    if own.in_shape != other.in_shape:
        one, two = trained.outline.config["data"], best.outline.config["data"]
        names = [key.removeprefix("data.") for key in key_roles.keys(key_roles.Role.PREPARATION)]
        typed = [f"data.{n} is {one.get(n)}, there {two.get(n)}" for n in names if one.get(n) != two.get(n)]
        shapes = f"its inputs are {[*own.in_shape]}, those of the best run {[*other.in_shape]}"
        return f"{shapes}: {'; '.join(typed)}" if typed else shapes
    one, two = (units.stored(facts.units) for facts in (own, other))
    if (learned := one["target_transform"]) != (theirs := two["target_transform"]):
        return f"it learned by data.target_transform={learned}, the best run by {theirs}: these can't be averaged"
    return None if one == two else "its targets were fitted in other units than those of the best run"


def _whole(part: Part, known: Sizes, node: Values) -> Values:
    """The node of a model with the sizes that its data gave it, and in front of it what makes zeros and ones of codes,
    where it has that.
    """
    whole = takes_codes(part, known)
    sizes = known if whole else without_codes(known)
    filled = {n: _plain(size) for n, size in sizes.items() if n in part.names and n not in part.arguments}
    node = {**node, **filled}
    front = {"in_features": known["in_features"], "codes": known["codes"]}
    return node if whole else {"_target_": "dltrain.codes.OneHot", **front, "model": node}


def _plain(size: object) -> object:
    """As YAML holds it."""
    return list(size) if isinstance(size, tuple) else size
