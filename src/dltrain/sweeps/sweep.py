"""A sweep: what was typed becomes a space of jobs, frozen in a folder, and each is trained there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dltrain import __version__
from dltrain.config import compose, hydra
from dltrain.config.choices import Groups
from dltrain.config.compose import Composed
from dltrain.config.composer import Composer
from dltrain.config.nodes import first_look
from dltrain.config.overrides import check_overrides, first_of_each, frozen, lifted, repeats
from dltrain.errors import ConfigError, key_of
from dltrain.errors.output import plain, say
from dltrain.errors.paths import local
from dltrain.runs import layout, progress, run_folder, seeds, storage
from dltrain.runs.foreign import Values, has_interpolation, node
from dltrain.sweeps import driver, ledger, snapshot
from dltrain.sweeps.driver import Driver
from dltrain.sweeps.engines import Engine
from dltrain.sweeps.engines.local import local as local_engine
from dltrain.sweeps.job import Orders
from dltrain.sweeps.ledger import Ledger
from dltrain.sweeps.search import Trials, search
from dltrain.sweeps.settings import Settings, settings
from dltrain.sweeps.slots import slots
from dltrain.sweeps.space import Space
from dltrain.sweeps.told import Told
from dltrain.training.stop import stop_on_signal

_LOOKED_AT = 200  # jobs whose plans are made before the first is trained
_MAY_CHANGE = ("sweep.trials", "sweep.workers", "sweep.verbose")  # of a sweep that goes on


@dataclass(frozen=True)
class Ended:
    """A sweep that came to its end, or was stopped: its folder, how many jobs ended how, and why it was stopped."""

    folder: Path
    counts: Counter[str]
    reason: str | None


@dataclass(frozen=True)
class Wanted:
    """What was typed for a sweep, read and checked."""

    overrides: list[str]  # as it is frozen
    space: Space
    trials: Trials
    composer: Composer
    first: Composed  # the first job
    settings: Settings
    node: Values  # `sweep`, from which the settings are


@dataclass(frozen=True)
class Options:
    """What was typed beside the overrides."""

    config_dir: str | None = None
    allow: tuple[str, ...] = ()
    allow_changed_data: bool = False
    retry_failed: bool = False
    many: bool = True  # whether keys other than `seeds` may give several values, as after -m

    @property
    def words(self) -> tuple[str, ...]:
        """The same, for a command that trains one job."""
        folder = (f"--config-dir={self.config_dir}",) if self.config_dir else ()
        return (*(f"--allow={package}" for package in self.allow), *folder)


def begin(overrides: Sequence[str], options: Options) -> Ended:
    """A new sweep; raises ConfigError for all that is wrong, before anything is written."""
    wanted = want(overrides, options)
    with _engine() as engine:
        notes = wanted.space.check(options.allow)
        total = wanted.trials.total
        for note in [*_repeated(wanted, options.config_dir), *notes]:
            say(f"note: {note}", error=True)
        folder = run_folder.create(local(wanted.first.values["runs_dir"]), _name(wanted))
        room = slots(wanted.settings.workers, device=_device(wanted.first))
        threads = 1 if room.most > 1 else None
        with run_folder.Lock(folder):
            snapshot.take(folder, options.config_dir)
            record: Values = {"format": ledger.FORMAT, "dltrain": __version__, "overrides": wanted.overrides}
            record |= {"command": [*options.words], "folder": str(Path.cwd()), "sweep": wanted.node, "jobs": total}
            record |= {"own_groups": bool(options.config_dir), "threads": threads}
            run_folder.write_json(folder / "sweep.json", record)
            orders = Orders(str(folder.absolute()), bool(options.config_dir), threads, options.allow, options.words)
            wanted.composer.read_from(orders.snapshot)
            engine.brief(orders)
            _look(engine, wanted.space, folder)
            return _drive(Ledger(folder), engine, wanted, total=total)


def go_on(folder: Path, typed: Sequence[str], options: Options) -> Ended:
    """The rest of the sweep of a folder."""
    layout.check(folder)
    record = ledger.record(folder)
    changes = _changes(typed)
    with run_folder.Lock(folder), _engine() as engine:
        own = record.get("own_groups") is True
        threads = record.get("threads")
        orders = Orders(
            str(folder.absolute()),
            own,
            threads if type(threads) is int and 0 < threads <= 1024 else None,
            options.allow,
            options.words,
            resumed=True,
            trusted=options.config_dir is not None,
            allow_changed_data=options.allow_changed_data,
        )
        for file in snapshot.changed(folder, options.config_dir):
            say(f"note: {file} has changed since this sweep began; its jobs keep what it was", error=True)
        wanted = _stored(record, orders, changes)
        kept = Ledger(folder)
        kept.reopen(*(("failed", "diverged") if options.retry_failed else ()))
        total = wanted.trials.total
        done = sum(kept.counts.values()) - len(kept.open)
        say(f"{done:,} of {total:,} job{'s' * (total != 1)} had ended")
        engine.brief(orders)
        return _drive(kept, engine, wanted, total=total)


def _look(engine: Engine, space: Space, folder: Path) -> None:
    """Raises ConfigError where a value can't be trained with, as far as a plan of one job tells; the folder goes."""
    jobs = space.samples(_LOOKED_AT)
    if wrong := engine.check(jobs):
        storage.remove(folder)
        raise ConfigError("\n".join(dict.fromkeys(line for _, line in wrong)))


def _drive(kept: Ledger, engine: Engine, wanted: Wanted, *, total: int | None) -> Ended:
    """Trains what is left."""
    knobs = wanted.settings
    room = slots(knobs.workers, device=_device(wanted.first))
    moving = progress.is_seen() and not knobs.verbose
    told = Told(total, kept.counts, moving=moving, lines=not moving)
    for number, overrides, line in kept.ended():
        driver.tell(wanted.trials, number, overrides, line)
    with stop_on_signal() as stop:
        try:
            Driver(kept, engine, wanted.composer, room, wanted.trials, told, stop).run()
        except KeyboardInterrupt:
            stop.reason = stop.reason or "SIGINT"
        finally:
            told.close(kept.counts)
    return Ended(kept.folder, kept.counts, stop.reason)


@contextmanager
def _engine() -> Iterator[Engine]:
    engine = local_engine()
    try:
        yield engine
    finally:
        engine.close()


def _device(first: Composed) -> str:
    return str(node(first.values.get("trainer")).get("device"))


# -- what was typed ----------------------------------------------------------------------------------------------


def want(overrides: Sequence[str], options: Options) -> Wanted:
    """What was typed, with all that is wrong in every job raised as ConfigError, as far as it shows without torch."""
    config_dir = options.config_dir
    typed = _with_parameters(overrides, config_dir) if options.many else [*overrides]
    others, count, mistakes = seeds.split([o for o in typed if not _is_search(o)])
    own = [o for o in others if count and key_of(o) == "seed"]
    good, wrong = check_overrides([o for o in others if o not in own], config_dir, sweep=options.many)
    own, wrong_seed = check_overrides(own, config_dir, sweep=True)
    how, wrong_search = check_overrides([o for o in typed if _is_search(o)], config_dir)
    mistakes += [*wrong, *wrong_seed, *wrong_search]
    mistakes += [f"`{o}`: a sweep goes on with dltrain resume FOLDER" for o in good if key_of(o) == "resume"]
    if mistakes and not (good or own):
        raise ConfigError("\n".join(mistakes))
    composer = Composer(config_dir)
    first = _first([*good, *own], config_dir, composer)
    mistakes += first.mistakes
    seed = first.values.get("seed")
    if count and first_of_each(own) != own:
        mistakes.append(f"`{own[-1]}` and `seeds={count}`: give the seeds one by one, or their number")
    elif count and type(seed) is not int:
        mistakes.append(f"seed: {seed!r} is not a whole number, from which seeds={count} could count")
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    if count and isinstance(seed, int):
        good = [*good, seeds.axis(seed, count)]
    settled = frozen(good, config_dir)
    found = compose.compose([*_choices(first), *how], config_dir, sweep=True).sweep if how else first.sweep
    wanted = _wanted(settled, config_dir, composer, found)
    first_look(wanted.first, options.allow)
    return wanted


def _wanted(overrides: list[str], config_dir: Groups, composer: Composer, found: Values) -> Wanted:
    """The space and the search in it: but for a grid the seeds are no axis of it, and make one trial together."""
    knobs = settings(found)
    apart = [o for o in overrides if knobs.method != "grid" and re.fullmatch(r"seed=\d+(,\d+)+", o)]
    space = Space([o for o in overrides if o not in apart], config_dir, composer)
    each = [f"seed={seed}" for text in apart[-1:] for seed in text.partition("=")[2].split(",")]
    trials = Trials(search(space, knobs), each)
    return Wanted(overrides, space, trials, composer, composer([*space.first(), *each[:1]]), knobs, found)


def _choices(first: Composed) -> list[str]:
    """What was typed that may decide over the node `sweep`: an experiment."""
    return [text for text in first.overrides if key_of(text) == "experiment"]


def _first(overrides: Sequence[str], config_dir: Groups, composer: Composer) -> Composed:
    return composer(Space(overrides, config_dir, composer).first())


def _is_search(override: str) -> bool:
    return key_of(override).partition(".")[0] == "sweep"


def _with_parameters(overrides: Sequence[str], config_dir: str | None) -> list[str]:
    """What was typed, after the axes that `sweep.params` or Hydra's own give, typed or in a chosen file."""
    typed = lifted(overrides)
    return [*compose.sweep_parameters(typed, config_dir), *typed]


def _repeated(wanted: Wanted, config_dir: str | None) -> list[str]:
    several = [text for text in wanted.overrides if text not in wanted.first.overrides]
    return [f"`{text}`: each value is trained once" for text in several if repeats(text, config_dir)]


def _name(wanted: Wanted) -> str:
    """Of the folder: the name that all jobs have, else that of their experiment, else `sweep`."""
    several = {axis.name for axis in wanted.space.varied}
    given = {"name": wanted.first.values.get("name"), "experiment": wanted.first.chosen.get("experiment")}
    names = [str(name) for key, name in given.items() if name and key not in several]
    return next((name for name in names if not compose.name_mistake(name)), "sweep")


def _stored(record: Values, orders: Orders, changes: Values) -> Wanted:
    """What was typed for an earlier sweep. It is data: it may not speak to Hydra or the environment."""
    overrides = [str(text) for text in record["overrides"]]
    bad = [o for o in overrides if o.startswith("-") or has_interpolation(o) or plain(o) != o or _is_search(o)]
    if bad:
        raise ConfigError(f"`{bad[0]}`: the record of this sweep is damaged")
    good, mistakes = check_overrides(overrides, orders.snapshot, sweep=True)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return _wanted(good, orders.snapshot, Composer(orders.snapshot), {**node(record.get("sweep")), **changes})


def _changes(typed: Sequence[str]) -> Values:
    """What of the node `sweep` is another from here on; raises ConfigError for all else that was typed."""
    parse, found = hydra.parser({}), Values()
    for text in typed:
        if key_of(text) not in _MAY_CHANGE or "=" not in text:
            raise ConfigError(f"`{text}`: a sweep goes on as it began; only {', '.join(_MAY_CHANGE)} may change")
        try:
            found[key_of(text).partition(".")[2]] = parse(text).value
        except hydra.RefusedError as error:
            raise ConfigError(f"`{text}`: {error}") from error
    return found
