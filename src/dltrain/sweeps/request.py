"""What is typed for a sweep, read and checked: a space, how it is searched, and the first job."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from dltrain.config import compose, hydra, hydra_words
from dltrain.config.choices import Groups
from dltrain.config.compose import Composed, has_key
from dltrain.config.composer import Composer
from dltrain.config.nodes import first_look
from dltrain.config.overrides import check_overrides, first_of_each, frozen, lifted, repeats
from dltrain.config.own_groups import asks
from dltrain.errors import ConfigError, key_of
from dltrain.errors.output import cut, plain
from dltrain.runs import seeds
from dltrain.runs.foreign import Values, is_number, node
from dltrain.runs.key_roles import FOLD, folds
from dltrain.sweeps.orders import Orders
from dltrain.sweeps.search import Trials, search
from dltrain.sweeps.settings import Settings, settings
from dltrain.sweeps.slots import Slots, slots
from dltrain.sweeps.space import Space

_AUTO = "resume=auto"
_MOST_OPTION = 10_000  # a number among a stored sampler's options, or how many values they have
MAY_CHANGE = tuple(
    f"sweep.{key}" for key in ("trials", "workers", "verbose", "engine", "cluster")
)  # as a sweep goes on


@dataclass(frozen=True)
class Request:
    """What was typed for a sweep, read and checked."""

    typed: tuple[str, ...]  # but for `resume` and what may change
    overrides: list[str]  # as they are frozen
    space: Space
    trials: Trials
    composer: Composer
    first: Composed  # the first job
    settings: Settings
    node: Values  # `sweep`, from which the settings are
    auto: bool  # `resume=auto`: goes on with an earlier sweep of the same command
    changed: tuple[str, ...]  # of what may change, what was typed
    notes: tuple[str, ...] = ()  # on how something was read

    @property
    def device(self) -> str:
        """Where its jobs run, as it is configured."""
        return str(node(self.first.values.get("trainer")).get("device"))

    def room(self) -> Slots:
        """How many of its jobs run at once, and where."""
        return slots(self.settings.workers, device=self.device, elsewhere=self.settings.engine != "local")

    @property
    def threads(self) -> int | None:
        """Of each job: one where several share the processors, on a cluster as many as a job has."""
        if self.settings.engine != "local":
            key = "num_cpus" if self.settings.engine == "ray" else "cpus_per_task"
            given = (self.settings.cluster or {}).get(key, 1)
            return int(given) if is_number(given) and given >= 1 else 1
        return 1 if self.room().most > 1 else None


@dataclass(frozen=True)
class Options:
    """What was typed beside the overrides."""

    config_dir: str | None = None
    allow: tuple[str, ...] = ()
    allow_changed_data: bool = False
    retry_failed: bool = False
    reuse: bool = False  # whether finished runs are taken over
    many: bool = True  # whether keys other than `seeds` and `folds` may give several values, as after -m
    lines: bool = True  # whether a line tells of each job where no line moves

    @property
    def words(self) -> tuple[str, ...]:
        """The same, for a command that trains one job."""
        folder = (f"--config-dir={self.config_dir}",) if self.config_dir else ()
        return (*(f"--allow={package}" for package in self.allow), *folder)


def read(overrides: Sequence[str], options: Options) -> Request:
    """What was typed, with all that is wrong in every job raised as ConfigError, as far as it shows without torch."""
    config_dir = options.config_dir
    own_words = hydra_words.read(overrides)
    said = [*own_words.notes]
    typed = [*own_words.words, *own_words.others]
    typed = _with_parameters(typed, config_dir, said) if options.many else typed
    others, count, mistakes = seeds.split([o for o in typed if not _is_search(o)])
    own = [o for o in others if count.seeds and key_of(o) == "seed"]
    good, wrong = check_overrides([o for o in others if o not in own], config_dir, sweep=options.many)
    own, wrong_seed = check_overrides(own, config_dir, sweep=True)
    how, wrong_search = check_overrides([o for o in typed if _is_search(o)], config_dir, sweep=True)
    wrong_search += [f"`{o}`: give one value: a sweep is made in one way" for o in how if first_of_each([o]) != [o]]
    mistakes += [*wrong, *wrong_seed, *wrong_search]
    resumes = [o for o in good if key_of(o) == "resume"]
    mistakes += [f"`{o}`: a sweep goes on by resume=auto, or dltrain resume FOLDER" for o in resumes if o != _AUTO]
    good = [o for o in good if o not in resumes]
    if mistakes and not (good or own):
        raise ConfigError("\n".join(mistakes))
    composer = Composer(config_dir)
    first = _first([*good, *own], config_dir, composer)
    mistakes += first.mistakes
    if count.seeds and first_of_each(own) != own:
        mistakes.append(f"`{own[-1]}` and `seeds={count.seeds}`: give the seeds one by one, or their number")
    if count.folds and not first.mistakes:
        mistakes += _without_folds(good, count.folds, config_dir, composer)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    if count.seeds:
        good = [*good, seeds.axis(first.values.get("seed"), count.seeds)]
    if count.folds:
        good = [*good, seeds.fold_axis(count.folds)]
    elif not count.seeds and first_of_each(good, config_dir) == good:
        raise ConfigError("-m: nothing varies: give a key several values, as optimizer.lr=0.1,0.01, or leave -m out")
    settled = frozen(good, config_dir)
    wanted = _wanted(settled, config_dir, composer, _searched(first, how, config_dir))
    _look(wanted, options.allow)
    for text in said if wanted.settings.engine == "local" else ():
        if " sweep.cluster." in text and not re.search(r" sweep\.engine=(submitit|ray)", text):
            raise ConfigError(f"{text}: say where jobs run, too, as hydra/launcher=submitit_slurm, or sweep.engine=ray")
    if wanted.settings.engine == "local" and wanted.settings.cluster:
        raise ConfigError("sweep.cluster is for sweep.engine=submitit or ray, and these jobs run on this machine")
    changed = tuple(o for o in how if _may_change(o))
    typed_before = (*good, *(o for o in how if o not in changed))
    return replace(wanted, typed=typed_before, auto=_AUTO in resumes, changed=changed, notes=tuple(said))


def _searched(first: Composed, how: Sequence[str], config_dir: Groups) -> Values:
    """The node `sweep`. Raises ConfigError, also where a file says another method than the search that was typed."""
    if not how:
        return first.sweep
    experiment = [text for text in first.overrides if key_of(text) == "experiment"]
    made = compose.compose([*experiment, *map(_with_plus, how)], config_dir, sweep=True)
    if wrong := [line for line in made.mistakes if "`sweep" in line or "`+sweep" in line]:
        raise ConfigError("\n".join(wrong))
    for text in how if experiment else ():
        if key_of(text) == "sweep":
            alone, found = compose.compose([text], config_dir, sweep=True).sweep.get("method"), made.sweep.get("method")
            if alone != found:
                raise ConfigError(
                    f"`{text}`: {experiment[-1]} sets sweep.method={cut(str(found))}, which would win; it chooses a "
                    "search by `override /sweep: NAME` in its defaults, and leaves the method out"
                )
    return made.sweep


def _wanted(overrides: list[str], config_dir: Groups, composer: Composer, found: Values) -> Request:
    """The space and the search in it: but for a grid whose jobs all end seeds and folds are no axes of it, and make one
    trial together.
    """
    knobs = settings(found)
    together = knobs.method != "grid" or knobs.prune is not None
    each = _repeats(overrides) if together else []
    space = Space(seeds.without(overrides, [key_of(o) for texts in each[:1] for o in texts]), config_dir, composer)
    trials = Trials(search(space, knobs), each)
    first = composer([*space.first(), *(o for texts in each[:1] for o in texts)])
    return Request(tuple(overrides), overrides, space, trials, composer, first, knobs, found, auto=False, changed=())


def _look(wanted: Request, allow: Sequence[str]) -> None:
    """Looks at the first job; says what to type where an interval gives any number, and a whole one is wanted."""
    try:
        first_look(wanted.first, allow)
    except ConfigError as error:
        lines = str(error).splitlines()
        whole = [line for line in lines if "whole number" in line]
        for axis in wanted.space.axes:
            if (ends := axis.interval) and not ends.is_whole and any(f"override {axis.key}=" in line for line in whole):
                lines.append(f"`{axis.key}={ends}` draws any number, {axis.key}=int({ends}) whole ones")
        raise ConfigError("\n".join(lines)) from error


def _repeats(overrides: Sequence[str]) -> list[tuple[str, ...]]:
    """Each seed with each fold, as they were typed last; of these none where that is one, or an interval to draw from,
    or something else.
    """
    parse, axes = hydra.parser({}), list[list[str]]()
    for key, good in (("seed", str.isdecimal), (FOLD, folds)):
        for read in [parse(text) for text in overrides if key_of(text) == key][-1:]:
            found = [*dict.fromkeys(read.texts())] if read.several and not read.interval else []
            axes += [[f"{read.key}={value}" for value in found]] * bool(found and all(map(good, found)))
    return [*itertools.product(*axes)] if axes else []


def _without_folds(good: Sequence[str], count: int, config_dir: Groups, composer: Composer) -> list[str]:
    """What is wrong with `folds=N` beside what else was typed."""
    typed = [text for text in good if key_of(text) == FOLD]
    wrong = [f"`{text}` and `folds={count}`: each fold is the test part once; leave data.test out" for text in typed]
    axes = {axis.name: axis for axis in Space(good, config_dir, composer).axes}
    chosen = axes.get("data") or axes.get("experiment")
    for text in chosen.texts() if chosen else ():
        with suppress(ConfigError):  # of a choice that there is not; it is told with all others
            if not (made := composer([text])).mistakes and not has_key(made.values, FOLD):
                wrong.append(
                    f"`folds={count}`: {text} has no data.test: its test part is fixed, or is the train part; folds "
                    "are made where data.test says how many rows are set aside"
                )
    return wrong


def _first(overrides: Sequence[str], config_dir: Groups, composer: Composer) -> Composed:
    return composer(Space(overrides, config_dir, composer).first())


def _is_search(override: str) -> bool:
    return key_of(override).partition(".")[0] == "sweep"


def _with_parameters(overrides: Sequence[str], config_dir: str | None, said: list[str]) -> list[str]:
    """What was typed, after what chosen files ask of a sweep: axes by `sweep.params` or Hydra's own, and Hydra's words
    for where jobs run, which are noted.
    """
    typed = lifted(overrides)
    axes, asked = compose.sweep_parameters(typed, config_dir)
    found = hydra_words.read(asked)
    said += found.notes
    given = {key_of(text) for text in typed}
    return [*axes, *(text for text in found.words if key_of(text) not in given), *typed]


def notes(wanted: Request, config_dir: str | None) -> list[str]:
    """How Hydra's words were read, and what is odd: what stands twice among the values of an axis, axes that change
    nothing, rungs that fall together.
    """
    several = [text for text in wanted.overrides if text not in wanted.first.overrides]
    twice = [f"`{text}`: each value is trained once" for text in several if repeats(text, config_dir)]
    idle = replace(wanted.first, overrides=tuple(several)).set_by_the_schedule()
    data = node(wanted.first.values.get("data"))
    unseen = [
        "data.val=0: no rows are set aside for validation, so the best epoch of each fold, and the best choice, are "
        "those that fit the train rows best"
    ] * bool(data.get("val") == 0 and folds(data.get("test")))
    return [
        *wanted.notes,
        *twice,
        *idle,
        *unseen,
        *_together(wanted.settings, node(wanted.first.values.get("trainer"))),
    ]


def _together(knobs: Settings, trainer: Values) -> list[str]:
    """What is said where jobs have too few validations for the rungs at which they pause."""
    epochs, every = trainer.get("epochs"), trainer.get("eval_every")
    if not knobs.prune or trainer.get("max_steps") or not (is_number(epochs) and is_number(every) and every > 0):
        return []
    validations, wanted = int(epochs / every), knobs.factor**knobs.rungs
    if validations >= wanted:
        return []
    return [f"jobs pause at validations, and have {validations}: {wanted} keep {knobs.rungs} rungs apart"]


def name(wanted: Request) -> str:
    """Of the folder: the name that all jobs have, else that of their experiment, else `sweep`."""
    several = {axis.name for axis in wanted.space.varied}
    given = {"name": wanted.first.values.get("name"), "experiment": wanted.first.chosen.get("experiment")}
    names = [str(name) for key, name in given.items() if name and key not in several]
    return next((name for name in names if not compose.name_mistake(name)), "sweep")


def stored(record: Values, orders: Orders, changed: Values) -> Request:
    """What was typed for an earlier sweep. It is data: it may not speak to Hydra or the environment."""
    overrides = [str(text) for text in record["overrides"]]
    bad = [o for o in overrides if o.startswith("-") or asks(o) or plain(o) != o or _is_search(o)]
    if bad:
        raise ConfigError(f"`{cut(bad[0])}`: the record of this sweep is damaged")
    good, mistakes = check_overrides(overrides, orders.snapshot, sweep=True)
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    kept = node(record.get("sweep"))
    if (before := kept.get("engine", "local")) != "local" and "engine" not in changed:
        raise ConfigError(
            f"this sweep ran by sweep.engine={cut(str(before), 20)}: type that again, and what sweep.cluster is to be; "
            "or sweep.engine=local to go on here"
        )
    if (found := _too_much(node(kept.get("options")))) is not None:
        raise ConfigError(
            f"the record of this sweep has {cut(found)} in sweep.options; it may be a stranger's, and a sampler of "
            f"more than {_MOST_OPTION:,} of anything may fill the memory: begin it again"
        )
    kept |= {"engine": "local", "cluster": {}}  # the record may be a stranger's, and a cluster runs what it is told
    return _wanted(good, orders.snapshot, Composer(orders.snapshot, quick=orders.quick), {**kept, **changed})


def _too_much(options: Values) -> str | None:
    """What among the options of a sampler is above what a stored sweep may have; None where all is well."""
    left, seen = [value for key, value in options.items() if key != "seed"], 0
    while left:
        value, seen = left.pop(), seen + 1
        if seen > _MOST_OPTION:
            return f"more than {seen - 1:,} values"
        if isinstance(value, (int, float)) and not abs(value) <= _MOST_OPTION:
            return str(value) if is_number(value) else "an endless number"
        left += [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    return None


def changes(typed: Sequence[str]) -> Values:
    """What of the node `sweep` is another from here on; raises ConfigError for all else that was typed."""
    parse, found, own_words = hydra.parser({}), Values(), hydra_words.read(typed)
    for text in (*own_words.words, *own_words.others):
        if not _may_change(text) or "=" not in text:
            raise ConfigError(f"`{text}`: a sweep goes on as it began; only {', '.join(MAY_CHANGE)} may change")
        try:
            value = parse(text).value
        except hydra.RefusedError as error:
            raise ConfigError(f"`{text}`: {error}") from error
        _, key, inner = f"{key_of(text)}..".split(".", 2)
        found[key] = {**node(found.get(key)), inner.rstrip("."): value} if inner.rstrip(".") else value
    return found


def _with_plus(override: str) -> str:
    """An override of a node that takes any key, as Hydra wants a new one."""
    return f"+{override}" if re.match(r"sweep\.(cluster|options)[.=]", override) else override


def _may_change(override: str) -> bool:
    key = key_of(override)
    return key in MAY_CHANGE or key.startswith("sweep.cluster.")
