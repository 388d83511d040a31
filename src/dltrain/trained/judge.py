"""`dltrain eval RUN`: how good the best weights of a run are on a split, in all detail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from dltrain.config import trials
from dltrain.config.build import evaluation_size
from dltrain.config.construct import make_data, reduced
from dltrain.config.mistakes import reason
from dltrain.config.settings import rows_of_a_step
from dltrain.data import Data, Split, place
from dltrain.data.fingerprint import fingerprint
from dltrain.data.loaders import Batch, Batches, Loader, make_loader
from dltrain.data.preprocessing import again, decode, labelled
from dltrain.data.sources.table import table
from dltrain.data.tables.headers import Format
from dltrain.data.tables.kinds import Told
from dltrain.engine import assessment, evaluation, tally
from dltrain.engine.trainer import seed_everything
from dltrain.errors import ConfigError, DataError, DltrainError, key_of
from dltrain.errors.paths import permitted
from dltrain.parts import losses
from dltrain.runs import key_roles, reading, run_folder
from dltrain.runs.key_roles import Role
from dltrain.trained import ranks
from dltrain.trained.inference import Trained

SPLITS = ("train", "val", "test")
_WORST = 16
_BY_WEIGHT = (
    "each row counts by its weight in metrics, curves, thresholds and targets; classes and confusions count rows"
)
_MATRIX = 100  # classes whose confusions are also written as a whole matrix

Result = dict[str, Any]  # what eval-<split>.json holds, or a node of it


@dataclass(frozen=True)
class Rows:
    """What is judged: a part of some data, and how its rows are called."""

    part: Split
    split: str  # train, val, test, or all
    same: bool | None  # as the run had them; None where that is not known
    notes: tuple[str, ...] = ()
    val: Split | None = None  # the run's validation part, where it is at hand


@dataclass(frozen=True)
class Judged:
    """The rows with their targets, what the model answered, and the metrics of the run's summary."""

    trained: Trained
    rows: Rows
    y: Tensor
    answers: Answers
    metrics: dict[str, float]

    @property
    def weight(self) -> Tensor | None:
        """How much each of the rows counts, where they do not count the same."""
        return getattr(self.rows.part, "weight", None)

    @cached_property
    def result(self) -> Result:
        """What eval-<split>.json holds: the metrics, then by class, by confidence, and the worst examples."""
        return {
            "run": str(self.trained.folder),
            "checkpoint": self.trained.checkpoint.name,
            "split": self.rows.split,
            "rows": len(self.y),
            "same_data_as_trained_on": self.rows.same,
            "notes": [*self.rows.notes, *([_BY_WEIGHT] if self.weight is not None else [])],
            "metrics": self.metrics,
            **_details(self),
            "worst": _worst(self),
        }


@dataclass(frozen=True)
class Answers:
    """What is kept of the answers to some rows; of classes no more than a few numbers a row, however many they are.

    guess: the decisions [N] or [N, K], of a regression the outputs; bad: see `assessment.badness`. sure, true: the
    probabilities of the decision and of the true class [N], of labels those of all [N, K]; None without probabilities.
    scores: what ranks rows, float32 [N, C], of two classes [N, 1]; None for a regression and for many classes.
    """

    guess: Tensor
    bad: Tensor
    sure: Tensor | None = None
    true: Tensor | None = None
    scores: Tensor | None = None


def _answers(trained: Trained, outputs: Tensor, y: Tensor) -> Answers:
    task, logits, y = trained.facts.task, outputs.float().cpu(), y.cpu()
    if task == "regression":
        units = trained.facts.units
        size = 1 if units is None else torch.from_numpy(units.size()[1])
        told, truth = evaluation.answers(logits, units) / size, evaluation.original(y, units) / size
        return Answers(logits, assessment.badness(told, truth, None, task=task))
    guess, p = evaluation.decide(logits, task), losses.probabilities(trained.loss, logits, task)
    scores = tally.scores(trained.loss, task, logits).float() if logits.shape[1] <= _MATRIX else None
    if task == "multilabel":
        return Answers(guess, assessment.badness(logits, y, p, task=task), p, scores=scores)
    y = y.clamp(0, max(logits.shape[1], 2) - 1)  # a class that there is not is refused by `evaluate`
    bad = assessment.badness(logits, y, p, task=task)
    if p is None:
        return Answers(guess, bad, scores=scores)
    sure, true = (p.gather(1, index[:, None])[:, 0] for index in (guess, y))
    return Answers(guess, bad, sure, true, scores)


def _joined(parts: Sequence[Answers]) -> Answers:
    def whole(name: str) -> Tensor | None:
        each = [own for part in parts if (own := getattr(part, name)) is not None]
        return torch.cat(each) if each else None

    guess, bad = torch.cat([part.guess for part in parts]), torch.cat([part.bad for part in parts])
    return Answers(guess, bad, *map(whole, ("sure", "true", "scores")))


def judge(trained: Trained, rows: Rows) -> Judged:
    """What the best weights of a run answer to these rows, and how good that is."""
    facts, stored = trained.facts, trained.outline
    if stored.settings.compile:
        trained.model.compile()  # as the run did: the bits may differ
    targets = _Targets(loader(trained, rows.part))
    watched = _Watched(trained, targets)
    metrics = evaluation.evaluate(
        watched,
        targets,
        trained.loss,
        task=facts.task,
        units=facts.units,
        metrics="all",
    )
    return Judged(trained, rows, torch.cat(targets.seen).cpu(), _joined(watched.answers), metrics)


def loader(trained: Trained, part: Split) -> Loader:
    stored, values = trained.outline, max(trained.widest, trained.outputs)
    size = evaluation_size(part, batch_size=stored.given_size, values=values)
    return make_loader(part, batch_size=size, device=trained.device, workers=stored.workers, seed=stored.seed)


class _Watched(nn.Module):
    """A model of whose outputs is kept what is needed."""

    def __init__(self, trained: Trained, targets: _Targets) -> None:
        super().__init__()
        self.model, self._trained, self._targets = trained.model, trained, targets
        self.answers: list[Answers] = []

    def forward(self, x: Tensor) -> Tensor:
        made = self.model(x)
        if made.dim() == 2:  # else `evaluate` refuses it
            self.answers.append(_answers(self._trained, made, self._targets.seen[-1]))
        return made


class _Targets:
    """A loader whose targets are kept."""

    def __init__(self, loader: Batches) -> None:
        self.loader = loader
        self.weight: Tensor | None = getattr(loader, "weight", None)
        self.seen: list[Tensor] = []

    def epoch(self) -> Iterator[Batch]:
        for batch in self.loader.epoch():
            self.seen.append(batch.y)
            yield batch


def _details(judged: Judged) -> Result:
    """What the metrics are made of, for the task at hand."""
    facts, y, answers = judged.trained.facts, judged.y, judged.answers
    names, guess, sure = list(facts.names), answers.guess, answers.sure
    if facts.task == "regression":
        guess, truth = evaluation.answers(guess, facts.units), evaluation.original(y, facts.units)
        return {"targets": assessment.by_target(guess, truth, names, judged.weight)}
    if facts.task == "multilabel":
        right = guess == (y > 0.5)
        detail: Result = {"labels": assessment.by_label(guess, y, names)}
        sure = None if sure is None else torch.where(guess, sure, 1 - sure).flatten()
    else:
        right, pairs = guess == y, assessment.confusion(guess, y, len(names))
        confusion: Result = {"true_predicted_count": pairs.tolist(), "names": names}
        if len(names) <= _MATRIX:
            confusion["true_in_rows_predicted_in_columns"] = assessment.matrix(pairs, len(names)).tolist()
        detail = {"classes": assessment.by_class(pairs, names), "confusion": confusion}
    if sure is not None:
        detail["calibration"] = assessment.calibration(sure, right.flatten())
    return detail | _ranked(judged, detail["labels" if facts.task == "multilabel" else "classes"])


def _ranked(judged: Judged, each: list[assessment.Rates]) -> Result:
    """Curves of classes or labels, whose own areas `each` gets; of two classes the thresholds of validation, too."""
    task, y, scores = judged.trained.facts.task, judged.y, judged.answers.scores
    if scores is None:
        return {}
    scores = torch.cat([-scores, scores], 1) if task == "binary" else scores
    positive = y > 0.5 if task == "multilabel" else y[:, None] == torch.arange(scores.shape[1])
    for rates, (roc, average) in zip(each, ranks.areas(scores, positive, judged.weight), strict=True):
        rates["roc_auc"], rates["average_precision"] = roc, average
    drawn = slice(task == "binary", None)  # of two classes the second
    found: Result = {"curves": ranks.curves(scores[:, drawn], positive[:, drawn], judged.weight, each[drawn])}
    return found | _thresholds(judged, scores[:, 1]) if task == "binary" and judged.rows.val is not None else found


def _thresholds(judged: Judged, scores: Tensor) -> Result:
    """Those of the run's validation part, and what they give here; scores [N]."""
    trained, val = judged.trained, judged.rows.val
    assert val is not None
    outputs, y = evaluation.predict(trained.model, loader(trained, val))
    chances = losses.probabilities(trained.loss, outputs[:1], "binary") is not None
    known = tally.scores(trained.loss, "binary", outputs).float()[:, 0], y == 1, getattr(val, "weight", None)
    at = ranks.thresholds(known, (scores, judged.y == 1, judged.weight), usual=0.5 if chances else 0.0)
    name = trained.facts.names[1]
    return {"thresholds": {"of": name, "column": f"{'p' if chances else 'score'}_{name}", "at": at}}


def _worst(judged: Judged) -> list[Result]:
    """The worst answers with the rows that they belong to."""
    found: list[Result] = []
    for index in assessment.worst(judged.answers.bad, _WORST):
        where = place(judged.rows.part, index)
        key = "file" if judged.trained.facts.kind == "images" else "place"
        found.append(
            {"index": index, **({key: where} if where else {}), **_answer(judged, index), **_input(judged, index)}
        )
    return found


def _answer(judged: Judged, index: int) -> Result:
    facts, names, answers = judged.trained.facts, judged.trained.facts.names, judged.answers
    guess, y = answers.guess[index], judged.y[index]
    if facts.task == "regression":
        told = evaluation.original(y[None], facts.units), evaluation.answers(guess[None], facts.units)
        truth, guess = (values[0].tolist() for values in told)
        return {"true": dict(zip(names, truth, strict=True)), "predicted": dict(zip(names, guess, strict=True))}
    if facts.task == "multilabel":
        true, predicted = ([n for n, hit in zip(names, hits, strict=True) if hit] for hits in (y > 0.5, guess))
        p = None if answers.sure is None else dict(zip(names, answers.sure[index].tolist(), strict=True))
        return {"true": true, "predicted": predicted, **({} if p is None else {"probabilities": p})}
    chances: Result = {}
    if answers.sure is not None and answers.true is not None:
        chances = {"p_true": float(answers.true[index]), "p_predicted": float(answers.sure[index])}
    return {"true": names[int(y)], "predicted": names[int(guess)], **chances}


def _input(judged: Judged, index: int) -> Result:
    """The cells of a table's row; images are shown in the picture."""
    if judged.trained.facts.kind != "table":
        return {}
    x, _ = judged.rows.part[index]
    return {"input": decode(x.unsqueeze(0), judged.trained.facts.preprocessing).row(0, named=True)}


# -- which rows ----------------------------------------------------------------------------------------------------


def choose_rows(
    trained: Trained, *, split: str | None, overrides: Sequence[str] = (), allow_changed_data: bool = False
) -> Rows:
    """The split (test unless one is named) as the run had it; other rows where overrides name other data.

    Other rows pass the preprocessing that the run fitted. Of another table all of them count. Raises DataError where
    the data changed and nobody said so.
    """
    others = [
        key for key in map(key_of, overrides) if key_roles.of(key) in (Role.PROBLEM, Role.PREPARATION, Role.PLACE)
    ]
    of_table, wanted = trained.outline.parts["data"].function is table, split or "test"
    if of_table and "data.path" in others and "data.test_path" not in others:
        trained = _without_test_file(trained)
    try:
        data = read_data(trained)
    except DltrainError:  # too few rows to be shared out, say
        if not (of_table and others):
            raise
        return _whole_table(trained, split)
    recorded = reading.node(run_folder.read_json(trained.folder / "data.json")).get("sha256")
    then = recorded.get(wanted) if isinstance(recorded, dict) else None
    if then == fingerprint(data)[wanted] or (then is None and not others):
        return Rows(getattr(data, wanted), wanted, then and True, val=data.val)
    if of_table and others:
        return _whole_table(trained, split)
    if not (others or allow_changed_data):
        raise DataError(
            f"the data changed since {trained.folder} was trained: the {wanted} part differs; put the old data back, "
            "or name others (data.KEY=VALUE), or add --allow-changed-data"
        )
    note = f"these are other rows than the {wanted} part that the run had; it may have been trained on some of them"
    return Rows(again(data, getattr(data, wanted), trained.facts), wanted, False, (note,))


def changed(folder: Path, found: Mapping[str, str]) -> list[str]:
    """The parts of which a run had other rows, by its data.json, than those with the fingerprints `found`."""
    then = reading.node(reading.node(run_folder.read_json(folder / "data.json")).get("sha256"))
    return [split for split, now in found.items() if then.get(split, now) != now]


def read_data(trained: Trained) -> Data:
    """The data of the stored configuration, with its overrides."""
    part, stored = trained.outline.parts["data"], trained.outline
    seed_everything(stored.seed)
    try:
        data = make_data(part, stored=True, started=stored.started)
        trials.contents(data)
    except DltrainError:
        raise
    except Exception as error:
        raise DataError(f"data: {reason(error)}") from error
    if stored.settings.overfit_batches > 0:
        data, _ = reduced(data, stored.settings, rows_of_a_step(stored.given_size, len(data.train)))
    return data


def _without_test_file(trained: Trained) -> Trained:
    """The run with the one table that was named, in the place of two."""
    part, stored = trained.outline.parts["data"], trained.outline
    alone = replace(part, arguments={**part.arguments, "test_path": None})
    return replace(trained, outline=replace(stored, parts={**stored.parts, "data": alone}))


def _whole_table(trained: Trained, split: str | None) -> Rows:
    if split:
        raise ConfigError(f"--split {split}: these are other rows than the run had, and all of them count")
    given = trained.outline.parts["data"].arguments
    path = given.get("test_path") or given["path"]
    with permitted():
        how = Format(given.get("separator"), given.get("header"))
        told = Told(**{key: given[key] for key in ("decimal", "thousands", "missing_marks") if given.get(key)})
        more = {key: given[key] for key in ("positive", "target_missing", "weight") if key in given}
        part, notes = labelled(path, trained.facts, target=given["target"], how=how, told=told, **more)
    called = path if isinstance(path, str) else ", ".join(path)
    note = f"all rows of {called} were judged; the run may have been trained on some of them"
    return Rows(part, "all", False, (note, *notes))


# -- what is drawn -------------------------------------------------------------------------------------------------


class Drawn(TypedDict, total=False):
    """What the picture shows beside the result: values [N, K] of a regression, or the images of the worst examples."""

    true: np.ndarray
    predicted: np.ndarray
    images: list[np.ndarray]


def drawn(judged: Judged) -> Drawn:
    """What there is to be drawn, by the kind of the data."""
    facts = judged.trained.facts
    if facts.task == "regression":
        guess, truth = evaluation.answers(judged.answers.guess, facts.units), evaluation.original(judged.y, facts.units)
        return {"true": truth.numpy(), "predicted": guess.numpy()}
    if facts.kind == "images":
        return {"images": [judged.rows.part[worst["index"]][0].numpy() for worst in judged.result["worst"]]}
    return {}
