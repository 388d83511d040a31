"""`dltrain eval RUN`: how good the best weights of a run are on a split, in all detail."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dltrain import assessment, commands, evaluation, inference, losses, report, runs, trials
from dltrain.build import evaluation_size, make_data
from dltrain.data import Data
from dltrain.data.fingerprint import fingerprint
from dltrain.data.loaders import make_loader
from dltrain.data.stored import again, decode, labelled
from dltrain.data.tables import table
from dltrain.errors import ConfigError, DataError, DltrainError, StorageError
from dltrain.inference import Trained
from dltrain.mistakes import reason
from dltrain.output import say
from dltrain.plan import reduced
from dltrain.trainer import seed_everything

SPLITS = ("train", "val", "test")
_WORST = 16


@dataclass(frozen=True)
class Rows:
    """What is judged: a part of some data, and how its rows are called."""

    part: Any
    split: str  # train, val, test, or all
    same: bool | None  # as the run had them; None where that is not known
    notes: tuple[str, ...] = ()
    source: Any = None  # the table that holds the rows


@dataclass(frozen=True)
class Judged:
    """The rows, what the model answered, and `result`, which eval-<split>.json holds."""

    trained: Trained
    rows: Rows
    logits: Tensor
    y: Tensor
    probabilities: Tensor | None
    result: dict[str, Any]


def judge(trained: Trained, rows: Rows) -> Judged:
    """The metrics of a run's summary on these rows; then by class, by confidence, and the worst examples."""
    facts, stored = trained.facts, trained.outline
    if stored.settings.compile:
        trained.model.compile()  # as the run did: the bits may differ
    loader = make_loader(
        rows.part,
        batch_size=evaluation_size(rows.part, batch_size=stored.batch_size, in_features=facts.in_features),
        device=trained.device,
        workers=stored.workers,
        seed=stored.seed,
    )
    watched, targets = _Watched(trained.model), _Targets(loader)
    metrics = evaluation.evaluate(
        watched,
        targets,
        trained.loss,
        task=facts.task,
        target_mean=facts.target_mean,
        target_std=facts.target_std,
    )
    logits, y = torch.cat(watched.outputs).float().cpu(), torch.cat(targets.seen).cpu()
    probabilities = losses.probabilities(trained.loss, logits, facts.task)
    judged = Judged(trained, rows, logits, y, probabilities, {})
    result = {
        "run": str(trained.folder),
        "checkpoint": trained.checkpoint.name,
        "split": rows.split,
        "rows": len(y),
        "same_data_as_trained_on": rows.same,
        "notes": list(rows.notes),
        "metrics": metrics,
        **_details(judged),
        "worst": _worst(judged),
    }
    return replace(judged, result=result)


class _Watched(nn.Module):
    """A model whose outputs are kept."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model, self.outputs = model, []

    def forward(self, x: Tensor) -> Tensor:
        self.outputs.append(made := self.model(x))
        return made


class _Targets:
    """A loader whose targets are kept."""

    def __init__(self, loader: Any) -> None:
        self.loader, self.seen = loader, []

    def epoch(self) -> Iterator[Any]:
        for batch in self.loader.epoch():
            self.seen.append(batch.y)
            yield batch


def _details(judged: Judged) -> dict[str, Any]:
    """What the metrics are made of, for the task at hand."""
    facts, y, names = judged.trained.facts, judged.y, list(judged.trained.facts.names)
    if facts.task == "regression":
        guess, truth = (evaluation.original(t, facts.target_mean, facts.target_std) for t in (judged.logits, y))
        return {"targets": assessment.by_target(guess, truth, names)}
    guess = evaluation.decide(judged.logits, facts.task)
    if facts.task == "multilabel":
        right, confidence = guess == (y > 0.5), judged.probabilities
        detail = {"labels": assessment.by_label(guess, y, names)}
        if confidence is not None:
            sure = torch.where(guess, confidence, 1 - confidence)
            detail["calibration"] = assessment.calibration(sure.flatten(), right.flatten())
        return detail
    counts = assessment.confusion(guess, y, len(names))
    detail = {
        "classes": assessment.by_class(counts, names),
        "confusion": {"true_in_rows_predicted_in_columns": counts.tolist(), "names": names},
    }
    if judged.probabilities is not None:
        sure = judged.probabilities.gather(1, guess[:, None])[:, 0]
        detail["calibration"] = assessment.calibration(sure, guess == y)
    return detail


def _worst(judged: Judged) -> list[dict[str, Any]]:
    """The worst answers with the rows that they belong to."""
    facts, rows = judged.trained.facts, judged.rows
    bad = assessment.badness(judged.logits, judged.y, judged.probabilities, task=facts.task)
    found = []
    for index in assessment.worst(bad, _WORST):
        place = {"index": index}
        if rows.source is not None:
            place["place"] = rows.source.place(index)
        if hasattr(rows.part, "paths"):
            place["file"] = str(rows.part.paths[index])
        found.append({**place, **_answer(judged, index), **_input(judged, index)})
    return found


def _answer(judged: Judged, index: int) -> dict[str, Any]:
    facts, names = judged.trained.facts, judged.trained.facts.names
    logits, y = judged.logits[index : index + 1], judged.y[index : index + 1]
    if facts.task == "regression":
        guess, truth = (evaluation.original(t, facts.target_mean, facts.target_std)[0].tolist() for t in (logits, y))
        return {"true": dict(zip(names, truth, strict=True)), "predicted": dict(zip(names, guess, strict=True))}
    guess = evaluation.decide(logits, facts.task)[0]
    p = None if judged.probabilities is None else judged.probabilities[index].tolist()
    if facts.task == "multilabel":
        true, predicted = ([n for n, hit in zip(names, hits, strict=True) if hit] for hits in (y[0] > 0.5, guess))
        chances = {} if p is None else {"probabilities": dict(zip(names, p, strict=True))}
        return {"true": true, "predicted": predicted, **chances}
    chances = {} if p is None else {"p_true": p[int(y)], "p_predicted": p[int(guess)]}
    return {"true": names[int(y)], "predicted": names[int(guess)], **chances}


def _input(judged: Judged, index: int) -> dict[str, Any]:
    """The cells of a table's row; images are shown in the picture."""
    if judged.trained.facts.kind != "table":
        return {}
    row = decode(judged.rows.part.x[index : index + 1], judged.trained.facts.preprocessing)
    return {"input": row.row(0, named=True)}


# -- which rows ----------------------------------------------------------------------------------------------------


def choose_rows(
    trained: Trained, *, split: str | None, overrides: Sequence[str] = (), allow_changed_data: bool = False
) -> Rows:
    """The split (test unless one is named) as the run had it; other rows where overrides name other data.

    Other rows pass the preprocessing that the run fitted. Of another table all of them count. Raises DataError where
    the data changed and nobody said so.
    """
    keys = [o.partition("=")[0].lstrip("+") for o in overrides]
    others = [key for key in keys if key.startswith("data.") and key not in ("data.workers", "data.batch_size")]
    of_table, wanted = trained.outline.parts["data"].function is table, split or "test"
    if of_table and "data.path" in others and "data.test_path" not in others:
        trained = _without_test_file(trained)
    try:
        data = read_data(trained)
    except DltrainError:
        if not (of_table and others):
            raise
        data = None  # too few rows to be shared out, say
    recorded = runs.read_json(trained.folder / "data.json").get("sha256")
    then = recorded.get(wanted) if isinstance(recorded, dict) else None
    if data is not None and (then == fingerprint(data)[wanted] or (then is None and not others)):
        return Rows(getattr(data, wanted), wanted, then and True)
    if of_table and others:
        if split:
            raise ConfigError(f"--split {split}: these are other rows than the run had, and all of them count")
        return _whole_table(trained)
    if not (others or allow_changed_data):
        raise DataError(
            f"the data changed since {trained.folder} was trained: the {wanted} part differs; put the old data back, "
            "or name others (data.KEY=VALUE), or add --allow-changed-data"
        )
    note = f"these are other rows than the {wanted} part that the run had; it may have been trained on some of them"
    return Rows(again(data, getattr(data, wanted), trained.facts), wanted, False, (note,))


def read_data(trained: Trained) -> Data:
    """The data of the stored configuration, with its overrides."""
    part, stored = trained.outline.parts["data"], trained.outline
    seed_everything(stored.seed)
    try:
        data = make_data(part, stored=True)
        trials.contents(data)
    except DltrainError:
        raise
    except Exception as error:
        raise DataError(f"data: {reason(error)}") from error
    if stored.settings.overfit_batches > 0:
        data, _ = reduced(data, stored.settings, stored.batch_size)
    return data


def _without_test_file(trained: Trained) -> Trained:
    """The run with the one table that was named, in the place of two."""
    part, stored = trained.outline.parts["data"], trained.outline
    alone = replace(part, arguments={**part.arguments, "test_path": None})
    return replace(trained, outline=replace(stored, parts={**stored.parts, "data": alone}))


def _whole_table(trained: Trained) -> Rows:
    given = trained.outline.parts["data"].arguments
    path = given.get("test_path") or given["path"]
    part, source, notes = labelled(path, trained.facts, target=given["target"], separator=given.get("separator"))
    note = f"all rows of {path} were judged; the run may have been trained on some of them"
    return Rows(part, "all", False, (note, *notes), source)


# -- the command ---------------------------------------------------------------------------------------------------


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain eval RUN`: prints what it finds, and writes eval-<split>.json and a picture into the run folder."""
    parser = commands.parser("eval", "How good the best weights of a run are: each class, calibration, worst examples.")
    parser.add_argument("run", metavar="RUN", help="its folder, its short id, or last")
    parser.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE", help="other data, such as data.path=new.csv")
    parser.add_argument("--split", choices=SPLITS, help="which part (test)")
    given = parser.parse_intermixed_args(words)
    folder = runs.find(given.run)
    allow, changed = commands.allowed(options.allow), options.allow_changed_data
    trained = inference.open_run(folder, overrides=given.overrides, allow=allow, data=True)
    inference.set_threads(trained)
    rows = choose_rows(trained, split=given.split, overrides=given.overrides, allow_changed_data=changed)
    judged = judge(trained, rows)
    file, picture = folder / f"eval-{rows.split}.json", folder / "plots" / f"eval-{rows.split}.png"
    say(report.judged(judged.result))
    if not os.access(folder, os.W_OK):
        say(f"note: {folder} is not writable: {file.name} and its picture were not kept", error=True)
        return 0
    runs.write_json(file, judged.result)
    _draw(judged, picture)
    say(f"all of it    {file}\npicture      {picture}")
    return 0


def _draw(judged: Judged, path: Path) -> None:
    from dltrain import plots
    from dltrain.plots import evaluation as figures

    try:
        plots.save(figures.draw(judged.result, **drawn(judged)), path)
    except OSError as error:
        raise StorageError(f"{path} can't be written: {error.strerror}") from error


def drawn(judged: Judged) -> dict[str, Any]:
    """What the picture shows beside the result: values of a regression, the images of the worst examples."""
    facts = judged.trained.facts
    if facts.task == "regression":
        guess, truth = (evaluation.original(t, facts.target_mean, facts.target_std) for t in (judged.logits, judged.y))
        return {"true": truth.numpy(), "predicted": guess.numpy()}
    if facts.kind == "images":
        return {"images": [judged.rows.part[worst["index"]][0].numpy() for worst in judged.result["worst"]]}
    return {}
