"""The wrong answers of an evaluation one by one, worst first: where each row stands, the truth, what was answered."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dltrain.data import place
from dltrain.engine import assessment, evaluation
from dltrain.errors.output import csv_rows
from dltrain.trained.judge import Judged


def as_csv(judged: Judged) -> str:
    """All of them as a CSV file; of a regression every row, by its error."""
    titles, rows = table(judged)
    return csv_rows([titles, *rows])


def count(judged: Judged) -> int:
    """How many there are; of a regression all rows."""
    return int(_wrong(judged).sum())


def table(judged: Judged, most: int | None = None) -> tuple[list[str], list[list[object]]]:
    """Titles and rows, at most so many: file or row, true and predicted, then the probability that the true class got,
    or the error of each target.
    """
    wrong = _wrong(judged)
    order = assessment.worst(torch.where(wrong, judged.answers.bad, -torch.inf), len(wrong))[: int(wrong.sum())]
    chosen = order if most is None else order[:most]
    facts = judged.trained.facts
    titles, rows = _answers(judged, chosen)
    places = [place(judged.rows.part, index) for index in chosen]
    known = all(places) and bool(places)
    first = ("file" if facts.kind == "images" else "row") if known else "number"
    where = places if known else chosen
    return [first, *titles], [[at, *row] for at, row in zip(where, rows, strict=True)]


def _wrong(judged: Judged) -> torch.Tensor:
    """bool [N]."""
    task, guess = judged.trained.facts.task, judged.answers.guess
    if task == "regression":
        return torch.ones(len(guess), dtype=torch.bool)
    return (guess != (judged.y > 0.5)).any(1) if task == "multilabel" else guess != judged.y


def _answers(judged: Judged, chosen: Sequence[int]) -> tuple[list[str], list[list[object]]]:
    facts, answers, at = judged.trained.facts, judged.answers, torch.tensor(chosen, dtype=torch.long)
    guess, y, names = answers.guess[at], judged.y[at], list(facts.names)
    if facts.task == "regression":
        told, truth = evaluation.answers(guess, facts.units), evaluation.original(y, facts.units)
        of = [f" {name}" for name in names] if len(names) > 1 else [""]
        titles = [f"{word}{name}" for name in of for word in ("true", "predicted", "error")]
        columns = torch.stack([truth, told, told - truth], dim=2).flatten(1)
        return titles, [[float(f"{value:.6g}") for value in row] for row in columns.tolist()]
    if facts.task == "multilabel":
        both = zip((y > 0.5).tolist(), guess.tolist(), strict=True)
        found = [[" ".join(n for n, hit in zip(names, hits, strict=True) if hit) for hits in pair] for pair in both]
        return ["true", "predicted"], [[*row] for row in found]
    rows: list[list[object]] = [[names[i], names[j]] for i, j in zip(y.tolist(), guess.tolist(), strict=True)]
    if answers.true is None or answers.sure is None:
        return ["true", "predicted"], rows
    chances = zip(answers.true[at].tolist(), answers.sure[at].tolist(), strict=True)
    full = [[*row, *(float(f"{p:.4g}") for p in pair)] for row, pair in zip(rows, chances, strict=True)]
    return ["true", "predicted", "p of the true", "p of the predicted"], full
