"""A sweep: what was typed becomes a space of jobs, frozen in a folder, and each is trained there."""

from __future__ import annotations

import random
import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from dltrain import __version__
from dltrain.errors import ConfigError, StorageError, system
from dltrain.errors.output import cut, say
from dltrain.errors.paths import local
from dltrain.runs import layout, progress, reading, run_folder, storage
from dltrain.runs.foreign import Values, node
from dltrain.sweeps import driver, ledger, request, snapshot
from dltrain.sweeps.driver import Driver
from dltrain.sweeps.engines import Engine
from dltrain.sweeps.engines.chosen import chosen
from dltrain.sweeps.halving import halving
from dltrain.sweeps.ledger import Ledger
from dltrain.sweeps.orders import Orders
from dltrain.sweeps.request import Options, Request
from dltrain.sweeps.reuse import Finished
from dltrain.sweeps.told import Told
from dltrain.training.stop import stop_on_signal

_NAMED = 5  # files that have changed
_LOOKED_AT = 200  # jobs whose plans are made before the first is trained


@dataclass(frozen=True)
class Ended:
    """A sweep that came to its end, or was stopped: its folder, how many jobs ended how, why it was stopped, and of
    what jobs failed, by their numbers.
    """

    folder: Path
    counts: Counter[str]
    reason: str | None
    failed: dict[int, str] = field(default_factory=dict)


def begin(overrides: Sequence[str], options: Options, engine: Engine) -> Ended:
    """A new sweep; raises ConfigError for all that is wrong, before anything is written."""
    wanted = request.read(overrides, options)
    if wanted.auto and (earlier := _earlier(wanted)):
        here = {key: wanted.node[key] for key in ("engine", "cluster") if key in wanted.node}
        return go_on(earlier, wanted.changed, options, engine, here)
    notes = wanted.space.check(options.allow)
    for note in [*request.notes(wanted, options.config_dir), *notes]:
        say(f"note: {note}", error=True)
    with chosen(wanted.settings, engine, device=wanted.device) as engine:
        return _begin(wanted, options, engine)


def _begin(wanted: Request, options: Options, engine: Engine) -> Ended:
    total = wanted.trials.total
    folder = run_folder.create(local(wanted.first.values["runs_dir"]), request.name(wanted))
    threads = wanted.threads
    with run_folder.Lock(folder):
        snapshot.take(folder, options.config_dir)
        record: Values = {"format": ledger.FORMAT, "dltrain": __version__, "overrides": wanted.overrides}
        record |= {"command": [*options.words], "folder": str(Path.cwd()), "sweep": wanted.node, "jobs": total}
        record |= {"own_groups": bool(options.config_dir), "threads": threads, "typed": [*wanted.typed]}
        wanted.composer.read_from(_orders(folder, record, options).snapshot)
        jobs = wanted.space.samples(_LOOKED_AT)
        record["quick"] = _proved(wanted, jobs)
        run_folder.write_json(folder / "sweep.json", record)
        engine.brief(_orders(folder, record, options))
        looked = engine.check(jobs)
        if not looked.wrong:
            for note in looked.notes:
                say(f"note: {note}", error=True)
            return _drive(Ledger(folder), engine, wanted, options, total=total)
    storage.remove(folder)  # a value can't be trained with, as far as a plan of one job tells
    raise ConfigError("\n".join(dict.fromkeys(line for _, line in looked.wrong)))


def _earlier(wanted: Request) -> Path | None:
    """The newest sweep of the same command."""
    place = local(wanted.first.values["runs_dir"]) / request.name(wanted)
    for folder in sorted(place.iterdir(), reverse=True) if place.is_dir() else ():
        if folder.name.startswith(".") or system.leads_elsewhere(folder):  # half removed; of another place
            continue
        record = node(reading.read_json(folder / "sweep.json")[0])
        if record.get("format") == ledger.FORMAT and record.get("typed") == [*wanted.typed]:
            say(f"resume=auto: {folder}")
            return folder
    return None


def go_on(folder: Path, typed: Sequence[str], options: Options, engine: Engine, here: Values | None = None) -> Ended:
    """The rest of the sweep of a folder. here: more of the node `sweep` that a file of the user's says now."""
    layout.check(folder)
    record = ledger.record(folder)
    changes = {**(here or {}), **request.changes(typed)}
    with run_folder.Lock(folder):
        orders = _orders(folder, record, options, resumed=True, trusted=options.config_dir is not None)
        if files := snapshot.changed(folder, options.config_dir):
            named = [*map(cut, files[:_NAMED]), *[f"{len(files) - _NAMED:,} more"] * (len(files) > _NAMED)]
            say(f"note: changed since this sweep began, whose jobs keep what was: {', '.join(named)}", error=True)
        wanted = request.stored(record, orders, changes)
        with chosen(wanted.settings, engine, device=wanted.device) as engine:
            if "trials" in changes:  # it is as many from here on
                record |= {"sweep": {**node(record.get("sweep")), "trials": changes["trials"]}}
                record["jobs"] = wanted.trials.total
                run_folder.write_json(folder / "sweep.json", record)
            kept = Ledger(folder)
            left = bool(kept.open) or kept.next < wanted.trials.total or options.retry_failed
            _check_allowed(record, options, left=left)
            kept.reopen(*(("failed", "diverged") if options.retry_failed else ()))
            total = wanted.trials.total
            done = sum(kept.counts.values()) - len(kept.open)
            say(f"{done:,} of {total:,} job{'s' * (total != 1)} had ended")
            engine.brief(orders)
            return _drive(kept, engine, wanted, options, total=total)


def _check_allowed(record: Values, options: Options, *, left: bool) -> None:
    """Raises ConfigError where jobs that are left want packages that this command does not allow: they would fail."""
    before = [text.removeprefix("--allow=") for text in record["command"] if text.startswith("--allow=")]
    if left and (lacking := [f"--allow {cut(name)}" for name in before if name not in options.allow]):
        raise ConfigError(f"its jobs had {' '.join(lacking)}: type that again, if you trust what this folder names")


def _orders(folder: Path, record: Values, options: Options, *, resumed: bool = False, trusted: bool = True) -> Orders:
    """What the record of a sweep and its options say of every job."""
    threads, own = record.get("threads"), record.get("own_groups") is True
    return Orders(
        str(folder.absolute()),
        own_groups=own,
        threads=threads if type(threads) is int and 0 < threads <= 1024 else None,
        allow=options.allow,
        words=options.words,
        allow_changed_data=options.allow_changed_data,
        resumed=resumed,
        trusted=trusted,
        quick=record.get("quick") is not False,
    )


def _proved(wanted: Request, jobs: Sequence[tuple[str, ...]]) -> bool:
    """Whether Hydra makes of a job, drawn among these, what is made of it without Hydra."""
    if not (proved := wanted.composer.prove(random.Random().choice(jobs))):
        say("note: Hydra composes each of these jobs anew: what is made from others is not the same", error=True)
    return proved


def _drive(
    kept: Ledger,
    engine: Engine,
    wanted: Request,
    options: Options,
    *,
    total: int | None,
) -> Ended:
    """Trains what is left."""
    knobs = wanted.settings
    finished = Finished(local(wanted.first.values["runs_dir"])) if options.reuse else None
    room = wanted.room()
    if knobs.workers == "auto":
        room.offered = lambda: engine.room
    moving = progress.is_seen() and not knobs.verbose
    told = Told(total, kept.counts, moving=moving, lines=knobs.verbose or (options.lines and not moving))
    driver.recall(wanted.trials, ledger.lines(kept.folder))
    pruning = halving(knobs, len(wanted.trials.repeats))
    if pruning:
        for line in ledger.lines(kept.folder):
            pruning.take(line)
    with stop_on_signal() as stop:
        try:
            Driver(kept, engine, wanted.composer, room, wanted.trials, told, stop, finished, pruning).run()
        except KeyboardInterrupt:
            stop.reason = stop.reason or "SIGINT"
            engine.signal(system.stop_signal(stop.reason))
        except StorageError as error:
            again = shlex.join(["dltrain", "resume", str(kept.folder), *options.words])
            raise StorageError(f"{error}; once that is mended, go on: {again}") from error
        finally:
            told.close(kept.counts)
    return Ended(kept.folder, kept.counts, stop.reason, _failed(kept))


def _failed(kept: Ledger) -> dict[int, str]:
    """Jobs that failed, and of what. Where a process died before it had written anything, its folder says so, too."""
    failed = kept.failed()
    for number, (typed, reason) in failed.items():
        folder = kept.folder / str(number)
        if folder.is_dir() and not (folder / "overrides.txt").exists():
            run_folder.write_overrides(folder, typed)
        summary = node(reading.read_json(folder / "summary.json")[0])
        if folder.is_dir() and summary.get("status") in (None, "running"):
            run_folder.write_json(folder / "summary.json", {**summary, "status": "failed", "error": reason})
    return {number: reason for number, (_, reason) in failed.items()}
