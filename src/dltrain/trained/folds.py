"""The runs of a sweep over folds (`folds=N`): what each answers to the rows that it has not seen, as one file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from dltrain.config.construct import data_kept
from dltrain.data import Data, Split, Task, place, weights
from dltrain.data.fingerprint import fingerprint
from dltrain.data.tables.table import listed
from dltrain.engine import evaluation
from dltrain.errors import ConfigError, DataError, tables
from dltrain.parts import metrics
from dltrain.runs import key_roles, reading, seeds
from dltrain.runs.reading import ENDED, Run
from dltrain.trained import inference, judge, predict
from dltrain.trained.candidates import Once
from dltrain.trained.inference import Trained
from dltrain.trained.mean import Mean

if TYPE_CHECKING:
    import polars as pl

FILE = seeds.OUT_OF_FOLD
_BESIDE = ("log_loss", "r2")  # shown beside the main metric


def best(sweep: Path) -> list[Run]:
    """The runs of the best choice of a sweep over folds, fold by fold; none where it is over no folds.

    Raises ConfigError where a fold has no run that has ended.
    """
    ranked = seeds.ranked([reading.read(job, of) for job, of in reading.walk(sweep)])
    runs = next((group for group in ranked if seeds.FOLD in seeds.keys(group)), list[Run]())
    if not runs and seeds.over_folds(sweep):
        raise ConfigError(f"{sweep}: none of its folds has a run yet; dltrain resume {sweep} goes on")
    if not runs:
        return []
    count = key_roles.folds(runs[0].config[seeds.FOLD])
    ended = sorted((run for run in runs if run.status in ENDED), key=_number)
    if lacking := {*range(1, count + 1)} - {*map(_number, ended)}:
        raise ConfigError(
            f"{sweep}: fold {min(lacking)} of {count} has no run that has ended; dltrain resume {sweep} goes on, "
            "with --retry-failed where it failed"
        )
    if others := seeds.with_other_data(sorted(ended, key=lambda run: int(run.folder.name))):
        raise ConfigError(
            f"{sweep}: {others[0].folder} had other data than a run before it of the same fold; remove the folders of "
            f"those whose data are gone, and dltrain resume {sweep} trains them again"
        )
    return ended


def left_out(runs: Sequence[Run]) -> list[str]:
    """A note on runs of the best choice, one for each seed and fold, that have not ended or are gone."""
    present = set(map(seeds.repeat, runs))
    every = sorted(itertools.product(*({*each} for each in zip(*present, strict=True))))
    if not (lacking := [f"seed={seed} {seeds.FOLD}={fold}" for seed, fold in every if (seed, fold) not in present]):
        return []
    sweep = runs[0].folder.parent
    which = f"the run of {lacking[0]}" if len(lacking) == 1 else f"{len(lacking)} runs ({listed(lacking, 4)})"
    return [f"without {which}; dltrain resume {sweep} trains what is missing, with --retry-failed what failed"]


def _number(run: Run) -> int:
    return int(str(run.config[seeds.FOLD]).partition("/")[0])


# -- out of fold ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OutOfFold:
    """What the runs of the best choice answer to their test rows. frame: a row for each, in the order of the data.
    together: the metrics over all of these rows at once; each: those of each run; notes: what a user should know.
    """

    frame: pl.DataFrame
    together: Mapping[str, float]
    each: Sequence[Run]
    path: Path
    notes: Sequence[str] = ()

    def told(self) -> list[str]:
        """The metrics of all rows beside the mean and the deviation of the runs', and where the answers stand."""
        judge = seeds.criterion(self.each).removeprefix("best/")
        wanted = dict.fromkeys([judge, *metrics.MAIN, *_BESIDE])
        names = [name for name in wanted if name in self.together and name != "loss"]
        rows = {
            f"mean of {len(self.each)} runs": [_spread(self.each, name) for name in names],
            "all rows together": [metrics.text(name, self.together[name]) for name in names],
        }
        head = ["out of fold", *(f"test {name}" for name in names)]
        said = tables.turned([head, *([title, *cells] for title, cells in rows.items())])
        where = f"{len(self.frame):,} rows, each answered by a run that has not seen it: {self.path}"
        return [*said, "", where, *(f"note: {note}" for note in self.notes)]


def _spread(runs: Sequence[Run], name: str) -> str:
    from dltrain.runs.sweep_table import mean_and_deviation

    return mean_and_deviation(name, seeds.values(runs, f"test/{name}"))


def out_of_fold(sweep: Path, *, allow: Sequence[str] = ()) -> OutOfFold | None:
    """Writes `FILE` in the folder of a sweep over folds, by its best choice; None where it is over no folds.

    Of several seeds the answers are averaged. It sets threads and seeds of the process. Raises DltrainError, as where
    the data are not those of a run, which may then have been trained on its test rows.
    """
    import polars as pl

    if not (runs := best(sweep)):
        return None
    with data_kept():
        parts = [_of_fold([run.folder for run in own], k, allow) for k, own in itertools.groupby(runs, key=_number)]
    frame = pl.concat([part.frame for part in parts], how="vertical_relaxed")
    frame = frame.sort(frame.columns[0], maintain_order=True)
    together = _judged(parts)
    path = sweep / FILE
    notes = [*left_out(runs), *_early(parts), *(_rare(frame) if parts[0].classes else ())]
    predict.write(iter([frame]), path)
    return OutOfFold(frame, together, runs, path, notes)


def refused(sweep: Path, error: Exception) -> str:
    """Why `out_of_fold` wrote nothing, and that a file which is there is none of now."""
    older = (sweep / FILE).exists()
    return f"no {'new ' * older}{FILE}{f' ({sweep / FILE} was written before)' * older}: {error}"


def _early(parts: Sequence[_Fold]) -> list[str]:
    """A note on rows that are in no test part, as they are before the first fold in the order of time."""
    left = max(part.size for part in parts) - sum(len(part.frame) for part in parts)
    return [f"{left:,} rows are earlier than the first fold, and in no test part (data.time)"] if left > 0 else []


def _rare(frame: pl.DataFrame) -> list[str]:
    """A note on the classes that some folds lack."""
    import polars as pl

    count, of_class = frame["fold"].n_unique(), pl.col("fold").n_unique()
    found = frame.group_by("truth").agg(rows=pl.len(), folds=of_class).filter(pl.col("folds") < count)
    few = [f"{truth} ({rows:,} row{'s' * (rows > 1)})" for truth, rows, _ in found.sort("rows", "truth").rows()]
    return [f"not in each of the {count:,} folds, so not judged in each: class {listed(few, 10)}"] if few else []


@dataclass(frozen=True)
class _Fold:
    """One fold's test rows: in words, and as they are judged, values of a regression in original units. size: of all
    parts, where rows are in the order of time.
    """

    frame: pl.DataFrame
    outputs: Tensor
    y: Tensor
    weight: Tensor | None
    loss: nn.Module
    task: Task
    size: int

    @property
    def classes(self) -> bool:
        """Whether each row has one class."""
        return self.task in ("binary", "multiclass")


def _of_fold(folders: Sequence[Path], number: int, allow: Sequence[str]) -> _Fold:
    """What the runs of one fold, which differ in their seed, answer to its test rows."""
    import polars as pl

    members: list[Trained] = []
    each: list[Tensor] = []
    data: Data | None = None
    y = torch.empty(0)
    for folder in folders:
        members.append(trained := inference.open_run(folder, allow=allow, data=True))
        inference.set_threads(trained)
        if trained.outline.settings.overfit_batches:
            raise ConfigError(f"{folder} was judged on its train rows (trainer.overfit_batches)")
        data = judge.read_data(trained)
        _check_unchanged(trained, data)
        given, y = evaluation.predict(trained.model, judge.loader(trained, data.test), trained.device)
        each.append(given)
    assert data is not None  # a fold has a run
    part, mean, facts = data.test, Mean(tuple(members)), members[0].facts
    weight, in_time = weights(part), members[0].outline.config["data"].get("time") is not None
    size = sum(map(len, {id(each): each for each in (data.train, data.val, part)}.values())) if in_time else 0
    outputs = mean.outputs(each)
    y = evaluation.original(y, facts.units) if facts.task == "regression" else y
    named = {**_named(part, facts.kind), "fold": pl.Series([number] * len(y), dtype=pl.Int64)}
    more = {} if weight is None else {"weight": weight.numpy()}
    answers = mean.answers(each)
    frame = pl.DataFrame({**named, **more, **_truth(y, members[0])}).hstack(_apart(answers, members[0]))
    outputs = outputs if facts.task == "regression" else outputs.float()
    return _Fold(frame, outputs, y, weight, mean.loss, facts.task, size)


def _check_unchanged(trained: Trained, data: Data) -> None:
    """Raises DataError where a run had other rows in any part: those that are its test rows now it may have seen."""
    folder = trained.folder
    if other := judge.changed(folder, fingerprint(data)):
        raise DataError(
            f"the data changed since {folder} was trained ({listed(other)}), so it may have seen the rows that it "
            f"would be judged on; put the old data back, or remove {folder}, and dltrain resume {folder.parent} trains "
            "it again"
        )


def _named(part: Split, kind: str) -> dict[str, pl.Series]:
    """Which rows they are: the number of each from 1, or the file of an image."""
    import polars as pl

    if kind == "images" and place(part, 0) is not None:
        return {"file": pl.Series([place(part, i) for i in range(len(part))], dtype=pl.String)}
    rows = getattr(part, "rows", None)  # of `Tensors` and `Samples`
    if rows is None:
        raise DataError(f"the rows of a {type(part).__name__} have no numbers by which {FILE} could name them")
    return {"row": pl.Series([int(row) + 1 for row in rows], dtype=pl.Int64)}


def _truth(y: Tensor, first: Trained) -> dict[str, pl.Series]:
    """The targets in words: `truth`, or a column for each of several targets or labels."""
    import polars as pl

    facts = first.facts
    if facts.task in ("binary", "multiclass"):
        return {"truth": pl.Series(facts.names, dtype=pl.String)[y.numpy()]}
    found = inference.values(y, facts) if facts.task == "regression" else None
    columns = found.iter_columns() if found is not None else (pl.Series(c, dtype=pl.Int8) for c in y.int().numpy().T)
    several = len(facts.names) > 1 or facts.task == "multilabel"
    return {f"truth_{name}" if several else "truth": c for name, c in zip(facts.names, columns, strict=True)}


def _apart(answers: pl.DataFrame, first: Trained) -> pl.DataFrame:
    """Answers under names that no target has."""
    names = first.facts.names if first.facts.task in ("regression", "multilabel") else ()
    several = len(names) > 1 or first.facts.task == "multilabel"
    return answers.rename({name: f"prediction_{name}" if several else "prediction" for name in names})


def _judged(parts: Sequence[_Fold]) -> dict[str, float]:
    """The metrics of all rows at once."""
    outputs, y = (torch.cat(each) for each in zip(*((part.outputs, part.y) for part in parts), strict=True))
    own = [part.weight for part in parts if part.weight is not None]
    batches = Once(outputs, y, torch.cat(own) if own else None)
    return evaluation.evaluate(nn.Identity(), batches, parts[0].loss, task=parts[0].task, metrics="all")
