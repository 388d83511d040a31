"""Whole runs in a program or a notebook: what the command does, with exceptions in the place of exits, and a run as the
answer.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.config import command_line, compose, processes
from dltrain.config.nodes import first_look
from dltrain.config.plan import Plan, make_plan
from dltrain.data import Split
from dltrain.engine.process import left_as_it_was
from dltrain.errors import ConfigError, Quiet, RanksError, did_you_mean, output
from dltrain.errors.output import cut
from dltrain.parts import metrics
from dltrain.runs import reading, run_folder, seeds, storage
from dltrain.runs.foreign import Values
from dltrain.trained import candidates, inference, judge
from dltrain.trained import ensemble as averaging
from dltrain.trained.export import FORMATS, export
from dltrain.trained.inference import Trained
from dltrain.training import experiment, resuming
from dltrain.training.distributed import on_rank_zero
from dltrain.training.experiment import Ended
from dltrain.training.stop import Interrupted, stop_on_signal

if TYPE_CHECKING:
    import polars as pl

    from dltrain.training.rendezvous import Rendezvous


class Metrics(dict[str, float]):
    """Numbers by name; one that there is not is a KeyError which names the nearest."""

    def __missing__(self, key: str) -> float:
        near = did_you_mean(key, self)
        raise KeyError(f"{key}{near}" if near else f"{key}; there are {', '.join(self)}")


class Config(Values):
    """A configuration as nested dicts, in which a dotted key leads to its value: `config["optimizer.lr"]`."""

    def __missing__(self, key: str) -> object:
        found: object = self
        for part in key.split("."):
            if not isinstance(found, dict) or part not in found:
                raise KeyError(f"{key}{did_you_mean(key, reading.flat(self))}")
            found = found.get(part)
        return found


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRun(Trained):
    """A run that has weights: its model, the best weights in it, and all that its folder knows.

    `model` is an nn.Module in eval mode, which a `Trainer` goes on with; `classes`, `facts` and `loss` are the data's.
    """

    allow: tuple[str, ...] = field(default=(), kw_only=True)

    def __repr__(self) -> str:
        run, numbers = self._run, self.metrics
        steps = "" if run.steps is None else f" after {run.steps:,} steps"
        names = metrics.told(metrics.DIRECTION, run.monitor)
        wanted = [f"{split}/{name}" for split in ("test", "best") for name in names]
        found = [f"{n.replace('best/', 'val/')} {metrics.text(n, numbers[n])}" for n in wanted if n in numbers]
        answers = f"{', '.join(map(cut, self.facts.names[:8]))}{', ...' * (len(self.facts.names) > 8)}"
        return (
            f"<run {self.folder}: {run.status}{steps}\n"
            f" {', '.join(found) or 'no metrics yet'}\n"
            f" {type(self.model).__name__}, {self.facts.task}: {answers}>"
        )

    def _repr_html_(self) -> str:
        """The same in a notebook, the metrics as a table."""
        numbers = self.metrics
        there = [name for name in metrics.DIRECTION if any(f"{split}/{name}" in numbers for split in judge.SPLITS)]
        names = metrics.told(there, self._run.monitor)
        values = [[split, *(metrics.text(n, numbers.get(f"{split}/{n}")) for n in names)] for split in judge.SPLITS]
        rows = (f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in [["", *names], *values])
        first, *_, last = repr(self)[1:-1].split("\n")
        return f"{escape(first)}<table>{''.join(rows)}</table>{escape(last)}"

    @property
    def _run(self) -> reading.Run:
        return reading.read(self.folder)

    @property
    def status(self) -> str:
        """done, early_stopped, stopped (a signal, or trainer.max_time), running, diverged or failed."""
        return self._run.status

    @property
    def metrics(self) -> Metrics:
        """Every metric as split/name: train, val and test by the best weights, best and last of the validations."""
        return Metrics(self._run.numbers)

    @property
    def history(self) -> pl.DataFrame:
        """A row for each report, as metrics.jsonl has them: step, epoch, train/loss, val/loss, ..."""
        import polars as pl

        rows = reading.read_log(self.folder)
        return pl.DataFrame(rows, infer_schema_length=None)

    @cached_property
    def config(self) -> Config:
        """The configuration, whole; `config["optimizer.lr"]` is `config["optimizer"]["lr"]`."""
        return Config(self.outline.config)

    def evaluate(self, part: Split | tuple[object, object] | str = "test") -> dict[str, float]:
        """The metrics of the model as it is now, on a part of the run's own data (train, val, test), or on prepared
        rows: a part of `Data`, a Dataset, a pair (x, y).

        Raises DataError where the run's data are gone, or are not what they were.
        """
        if not isinstance(part, str):
            return super().evaluate(part)
        if part not in judge.SPLITS:
            raise ConfigError(f"there is no part `{part}`{did_you_mean(part, judge.SPLITS)}; want train, val or test")
        with left_as_it_was():
            whole = self._opened(data=True)
            inference.set_threads(whole)
            return judge.judge(whole, judge.choose_rows(whole, split=part)).metrics

    def export(self, format: str = "pt2", path: str | Path | None = None, *, samples: str | Path | None = None) -> Path:
        """Writes the model as it is now, with its preprocessing inside, to RUN/model.<format> or `path`; returns where.

        format: pt2 (`torch.export.load`), safetensors or onnx. Before it is kept it answers as the run does for rows of
        the test part, or of the file `samples`. Raises ConfigError for a model that the format can't hold.
        """
        if format not in FORMATS:
            near = did_you_mean(format, FORMATS)
            raise ConfigError(f"there is no format `{format}`{near}; there are {', '.join(FORMATS)}")
        whole = self._opened(data=samples is None, overrides=["trainer.device=cpu"])
        source = None if samples is None else Path(samples)
        with left_as_it_was():
            content, _ = export(whole, format, source=source)
        path = self.folder / f"model.{format}" if path is None else Path(path)
        with command_line.writing(path):
            storage.replace(path, content)
        return path

    def _opened(self, *, data: bool, overrides: Sequence[str] = ()) -> Trained:
        """The run once more, with a copy of the model as it is now."""
        opened = inference.open_run(self.folder, allow=self.allow, data=data, overrides=overrides)
        opened.model.load_state_dict(self.model.state_dict())
        return opened


Reference = str | Path | Trained  # a run's folder, its short id below ./runs, `last`, `best`; or the run itself


def _folder(run: Reference) -> Path:
    return run.folder if isinstance(run, Trained) else run_folder.find(str(run))


def load(run: Reference, *, allow: Sequence[str] = ()) -> TrainedRun:
    """A run with its best weights: its folder, its short id below ./runs, `last` or `best`; ready to `predict`.

    `allow` names packages of yours whose code its configuration may name. Raises ConfigError, DataError or
    CheckpointError in the words of what is missing or wrong.
    """
    opened = inference.open_run(_folder(run), allow=allow)
    return TrainedRun(**vars(opened), allow=tuple(allow))


def train(
    *overrides: str,
    allow: Sequence[str] = (),
    runs_dir: str | Path | None = None,
    config_dir: str | Path | None = None,
    allow_changed_data: bool = False,
    **keys: command_line.Value,
) -> TrainedRun:
    """Trains what `dltrain KEY=VALUE GROUP=NAME ...` trains, into a run folder below `runs_dir`, and returns the run.

    keys: groups, and keys without a dot, as arguments: train("optimizer.lr=0.01", data="iris", seed=3). allow: packages
    of yours that a `_target_` may name; config_dir: a folder of config groups of your own. The progress bar goes to
    standard error, and what the command would note is a warning.

    Raises ConfigError with all mistakes before anything is written, DataError, DivergedError, StorageError. Ctrl-C
    saves and raises KeyboardInterrupt with the words that go on with the run; one that `trainer.max_time` ended has the
    status "stopped". Afterwards the process has the generators, threads and switches that it had; in the meantime
    others of its threads that would train wait.

    In a program that torchrun or srun has started as several processes these share the run, and each returns it. Where
    another one has failed, RanksError says why.
    """
    keys |= {} if runs_dir is None else {"runs_dir": str(runs_dir)}
    words = [*map(command_line.word, overrides), *(command_line.typed(key, value) for key, value in keys.items())]
    if seeds.split(words)[0] != words:
        raise ConfigError("seeds=N and folds=N make several runs, as dltrain.sweep(..., seeds=N, folds=N) does")
    with left_as_it_was(), _shared() as meeting:
        composed = compose.compose(words, None if config_dir is None else str(config_dir))
        allowed = command_line.allowed(allow)
        first_look(composed, allowed)
        ranks = None if meeting is None else meeting.join(composed)
        return _trained(make_plan(composed, allowed, ranks=ranks), None, allowed, allow_changed_data, words)


def resume(run: Reference, *overrides: str, allow: Sequence[str] = (), allow_changed_data: bool = False) -> TrainedRun:
    """Goes on with a run, to the bit as if it had not been stopped; with more epochs, say, where `overrides` say so.

    What `train` says of errors and of the process holds here, too.
    """
    folder, words = _folder(run), [*map(command_line.word, overrides)]
    if not words and run_folder.complete(folder):
        return load(folder, allow=allow)
    with left_as_it_was(), _shared() as meeting:
        composed, allowed = resuming.stored(folder, words), command_line.allowed(allow)
        ranks = None if meeting is None else meeting.join(composed)
        plan = resuming.judged_as_begun(make_plan(composed, allowed, ranks=ranks), folder)
        return _trained(plan, folder, allowed, allow_changed_data, words)


def ensemble(
    *runs: Reference,
    top: int | None = None,
    overrides: Sequence[str] = (),
    allow: Sequence[str] = (),
    runs_dir: str | Path = "runs",
    name: str = "ensemble",
    allow_changed_data: bool = False,
) -> TrainedRun:
    """The average of runs on the same rows, as `dltrain ensemble` makes it, in a run folder of its own: of those that
    validate best together, chosen greedily, or of the `top` best.

    runs: folders of one or of several, such as a sweep's, short ids, or runs as `train` and `load` return them.
    overrides: where their data are now, such as data.root=FOLDER. What is left out is a warning. Raises ConfigError
    where fewer than two can be averaged, and DataError where their data are gone or changed.
    """
    with left_as_it_was():
        allowed = command_line.allowed(allow)
        found = run_folder.collect([str(run.folder if isinstance(run, Trained) else run) for run in runs])
        library = candidates.gather(found, overrides=overrides, allow=allowed, allow_changed_data=allow_changed_data)
        for line in library.left:
            warnings.warn(f"left out: {line}", stacklevel=2)
        root, command = averaging.place(str(runs_dir), name), ["dltrain", "ensemble", *map(str, runs)]
        weights = averaging.choose(library, top=top)
        return load(averaging.write(library, weights, root=root, name=name, command=command), allow=allow)


@contextmanager
def _shared() -> Iterator[Rendezvous | None]:
    """Where the processes meet that have been started with this one; None where it is alone."""
    if (found := processes.found()) is None:
        yield None
        return
    from torch import distributed

    from dltrain.training import rendezvous

    if distributed.is_initialized():
        raise ConfigError(
            "torch.distributed is in use already: dltrain makes a process group of its own; call "
            "torch.distributed.destroy_process_group() before, and init_process_group after it"
        )
    try:
        with output.voice_kept(), rendezvous.met(found) as meeting:
            if found.rank:
                output.silence()
            yield meeting
    except Quiet as told:
        raise RanksError(str(told)) from None


def _trained(
    plan: Plan, folder: Path | None, allow: Sequence[str], allow_changed_data: bool, words: Sequence[str]
) -> TrainedRun:
    for note in plan.notes if plan.is_rank_zero else ():
        warnings.warn(note, stacklevel=3)
    with stop_on_signal() as stop:
        if folder is None:
            command = ["dltrain", *words]
            ended = experiment.run(plan, command=command, stop=stop, allow_changed_data=allow_changed_data)
        else:
            ended = experiment.go_on(plan, folder, stop=stop, allow_changed_data=allow_changed_data)
    _interrupted(ended)
    on_rank_zero(plan.ranks, lambda: None)  # which writes what all load
    return load(ended.folder, allow=allow)


def _interrupted(ended: Ended) -> None:
    """Raises Interrupted for a run that a signal ended: what comes after it in a cell must not go on."""
    summary = ended.summary
    if summary and summary["status"] == "stopped" and summary["reason"] != "max_time":
        where, reason = json.dumps(str(ended.folder)), str(summary["reason"])
        words = f"stopped at step {summary['steps']:,} and saved; go on: dltrain.resume({where})"
        raise Interrupted(words, ended.folder, reason)
