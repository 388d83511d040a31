"""What is typed to choose and set: read by Hydra's grammar, checked, and multiplied into the jobs of a sweep."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dltrain.config.choices import CONFIGS, GROUPS, groups
from dltrain.config.command_line import NAMES
from dltrain.config.policy import did_you_mean
from dltrain.errors import ConfigError

_MOST_JOBS = 100_000
_MOST = 1_000  # overrides
_MOST_LETTERS = 1 << 18  # of all overrides; a command line of Linux may have 1 << 17 in a word
_MOST_LISTED = 5_000  # values in lists: Hydra's parser takes the square of them, for these some seconds
_UNREAD = re.compile(r"(?<=[=,\[(])(?=~|[^,'\"\[\](){}\x80-\U0010ffff]*+[^\x00-\x7f])[^,'\"\[\](){}]+")
_DEEPEST = 20  # nested brackets, as nodes of a file
_FUNCTIONS = "its functions are choice(a,b), range(1,9), glob(*), sort(), shuffle(), int(), float(), bool() and str()"


def check_overrides(
    overrides: Sequence[str], config_dir: str | Path | None = None, *, sweep: bool = False
) -> tuple[list[str], list[str]]:
    """The overrides that Hydra can read and whose groups and choices exist, and what is wrong with the others."""
    from hydra.errors import HydraException

    listed = sum(text.count(",") for text in overrides if "[" in text)
    for count, most, what in (
        (len(overrides), _MOST, "overrides"),
        (sum(map(len, overrides)), _MOST_LETTERS, "letters of overrides"),
        (listed, _MOST_LISTED, "values in lists"),
        (max(map(_depth, overrides), default=0), _DEEPEST, "nested brackets"),
    ):
        if count > most:
            return [], [f"{count:,} {what}: {most:,} are the most; a file in --config-dir DIR holds more"]
    known, parse = groups(config_dir), _parser(config_dir)
    good, mistakes = [], []
    for text in map(quoted, overrides):
        if ("=" not in text and not text.startswith("~")) or not text.split("=")[0].strip("+~ \t"):
            mistakes.append(f"`{text}`: write key=value or group=name{_guess(text, known)}")
            continue
        try:
            override = parse(text)
        except HydraException:
            hint = f"put a value with special signs in two pairs of quotes: '{text.split('=')[0]}=\"...\"'"
            if re.search(r"=\w+\(.*\)$", text):
                mistakes.append(f"`{text}` can't be read: {_FUNCTIONS}; {hint}")
            else:
                mistakes.append(f"`{text}` can't be read: close every bracket and quote, and {hint}")
            continue
        if bad := _hydra_mistake(text, override):
            mistakes.append(bad)
        elif override.is_sweep_override() and not sweep:
            mistakes.append(
                f"`{text}` gives several values: add -m to train one run for each, or write one value "
                "([1,2] is a list, 0.1 a number, \"'a,b'\" a text)"
            )
        elif bad := _values_mistake(text, override) or _group_mistake(text, override, known):
            mistakes.append(bad)
        else:
            good.append(text)
    return good, mistakes


def _depth(text: str) -> int:
    """How deep brackets stand in brackets."""
    return max(itertools.accumulate((sign in "([{") - (sign in ")]}") for sign in text), default=0)


def _guess(word: str, known: dict[str, list[str]]) -> str:
    choices = [f"{group}={word}" for group, names in known.items() if word in names]
    if choices:
        return f"; did you mean {' or '.join(f'`{c}`' for c in choices)}?"
    if word in ("train", "run", "fit"):
        return "; leave it out: dltrain trains unless told otherwise"
    commands = did_you_mean(word, [*NAMES, *(f"{group}=" for group in known)])
    return commands or "; `dltrain --help` shows the choices"


def _group_mistake(text: str, override: Any, known: dict[str, list[str]]) -> str | None:
    """What is wrong with `group=name`, or None."""
    group = override.key_or_group
    if group not in known or override.is_delete():
        return None
    if override.is_add() and (CONFIGS / group).is_dir():
        return f"`{text}`: write {text.lstrip('+')}, without the +"
    names = _selected(override)
    if not names:
        return f"`{text}`: choose one of {', '.join(known[group])}"
    if (
        len(names) > 1
        and group in GROUPS
        and group not in ("regularisation", "experiment")
        and not override.is_sweep_override()
    ):
        return f"`{text}`: choose one; only regularisation takes several, and -m {group}={','.join(names)} tries each"
    unknown = next((n for n in names if n not in known[group]), None)
    if unknown is None:
        return None
    hint = did_you_mean(unknown, known[group]) or f"; there are {', '.join(known[group])}"
    return f"`{text}`: {group} has no `{unknown}`{hint}"


def _selected(override: Any) -> list[str]:
    """The names that a group override picks, flattened; `null` picks nothing."""
    value = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    flat = [v for item in value for v in (item if isinstance(item, list) else [item])]
    return [str(v).strip("\"'") for v in flat if v is not None]


def first_of_each(overrides: Sequence[str], config_dir: str | Path | None = None) -> list[str]:
    """The overrides of a sweep with the first value in place of each list of values."""
    parse, single = _parser(config_dir), []
    for text in overrides:
        override = parse(text)
        if override.is_sweep_override():
            text = f"{text.split('=', 1)[0]}={next(override.sweep_string_iterator())}"
        single.append(text)
    return single


def frozen(overrides: Sequence[str], config_dir: str | Path | None = None) -> list[str]:
    """The same overrides, where what is drawn or looked up (`shuffle`, `glob`) stands as the values that it gave."""
    parse, settled = _parser(config_dir), []
    for text in map(quoted, overrides):
        if re.search(r"\b(shuffle|glob)\b", text):
            override = parse(text)
            several = override.is_sweep_override()
            values = override.sweep_string_iterator() if several else [override.get_value_element_as_str()]
            text = f"{override.get_key_element()}={','.join(values)}"
        settled.append(text)
    return settled


def jobs(overrides: Sequence[str], config_dir: str | Path | None = None) -> list[tuple[str, ...]]:
    """The overrides of each job of a sweep: every combination once, in the order of Hydra's own sweeper."""
    parse, axes = _parser(config_dir), {}
    for text in overrides:
        override = parse(text)
        key = override.get_key_element()
        if override.is_sweep_override():
            axes[key] = list(dict.fromkeys(f"{key}={value}" for value in override.sweep_string_iterator()))
        else:
            axes[key] = [f"{key}={override.get_value_element_as_str()}"]
    if (count := math.prod(map(len, axes.values()))) > _MOST_JOBS:
        raise ConfigError(f"{count:,} jobs: a sweep may have {_MOST_JOBS:,}; give fewer values")
    return list(itertools.product(*axes.values()))


def repeats(text: str, config_dir: str | Path | None = None) -> bool:
    """Whether a value stands twice among several that an override gives to a sweep."""
    override = _parser(config_dir)(text)
    values = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
    return len(set(values)) < len(values)


# -- Hydra's own -------------------------------------------------------------------------------------------------

_PARAMETERS = "hydra.sweeper.params"
_INSTEAD = {  # of a key of Hydra's
    "run": "a run makes a folder of its own below runs_dir and name: set those",
    "sweep": "a sweep makes a folder of its own below runs_dir and name: set those",
    "output_subdir": "the run folder holds its configuration",
    "job.chdir": "a run stays in the folder in which it was typed",
    "job": "a run has its name by name=...",
    "launcher": "a sweep trains its jobs one after another; leave the launcher out",
    "sweeper": f"a sweep trains every combination: -m KEY=V1,V2, or {_PARAMETERS}.KEY=V1,V2",
    "mode": "-m makes a sweep, and without it there is one run",
    "searchpath": "--config-dir DIR names a folder with config groups of your own",
    "verbose": "--debug shows tracebacks",
    "job_logging": "trainer.progress=false is quiet; a run logs to metrics.jsonl and TensorBoard",
    "hydra_logging": "trainer.progress=false is quiet; a run logs to metrics.jsonl and TensorBoard",
    "help": "`dltrain --help` and `dltrain list` are the help",
}


def instead(key: str) -> str:
    """What to write in the place of one of Hydra's own keys, given without its `hydra.`."""
    key = key.removeprefix("hydra/").replace("/", ".")
    found = next((text for name, text in _INSTEAD.items() if f"{key}.".startswith(f"{name}.")), None)
    return found or "dltrain takes its configurations from Hydra, and nothing else of it"


def _hydra_mistake(text: str, override: Any) -> str | None:
    """What is wrong with an override of Hydra's own keys, or None where it is none."""
    key = override.key_or_group
    if key.startswith(_PARAMETERS) and not override.is_delete():
        return f"`{text}`: it makes a sweep: add -m to train one run for each value"
    own = next((k for k in (key, override.package or "") if re.match(r"hydra(?:[./:]|$)", k)), None)
    return f"`{text}`: {instead(re.sub('^hydra[./:]?', '', own))}" if own is not None else None


def lifted(overrides: Sequence[str]) -> list[str]:
    """What was typed for a sweep, with hydra.sweeper.params.KEY=VALUES as KEY=VALUES, before the others."""
    from hydra.errors import HydraException

    found, others, parse = [], [], _parser(None)
    for text in map(quoted, overrides):
        if not text.lstrip("+").startswith(_PARAMETERS):
            others.append(text)
            continue
        try:
            override = parse(text)
        except HydraException:
            others.append(text)
            continue
        key = override.key_or_group.removeprefix(_PARAMETERS).lstrip(".")
        if override.is_sweep_override():
            found.append(f"{key}={text.partition('=')[2]}")
        else:
            found += in_text({key: override.value()} if key else override.value() or {})
    return [*found, *others]


def in_text(parameters: Any, prefix: str = "") -> list[str]:
    """The overrides that a node of sweep parameters stands for; a text is read as if it were typed."""
    if not isinstance(parameters, dict):
        return [f"{prefix.rstrip('.')}={'null' if parameters is None else parameters}"]
    return [text for key, value in parameters.items() for text in in_text(value, f"{prefix}{key}.")]


# -- values of a sweep -------------------------------------------------------------------------------------------


def _values_mistake(text: str, override: Any) -> str | None:
    """Why a sweep over these values can't be made, or None."""
    from hydra.core.override_parser.types import RangeSweep, ValueType
    from hydra.errors import HydraException

    if not override.is_sweep_override():
        return None
    if override.value_type == ValueType.INTERVAL_SWEEP:
        return f"`{text}`: interval() has no end of values; give them: choice(0.1,0.3) or range(0,1,0.1)"
    if override.value_type == ValueType.GLOB_CHOICE_SWEEP and override.key_or_group not in override.config_loader.known:
        return f"`{text}`: glob() picks among the files of a group; {override.key_or_group} is none"
    given = override.value()
    try:
        if isinstance(given, RangeSweep) and not abs((given.stop - given.start) / given.step) <= _MOST_JOBS:
            return f"`{text}`: a sweep may have {_MOST_JOBS:,} jobs; give fewer values"
        first = next(override.sweep_string_iterator(), None)
    except (ArithmeticError, ValueError, HydraException) as error:
        return f"`{text}`: {error}; write range(FIRST,END,STEP), as range(1,10,2)"
    return f"`{text}`: it gives no value" if first is None else None


def _parser(config_dir: str | Path | None) -> Callable[[str], Any]:
    """Reads one override; its `glob` knows the names in the groups."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser = OverridesParser.create(_Groups(groups(config_dir)))
    return lambda text: parser.parse_overrides([text])[0]


def quoted(text: str) -> str:
    """The same override with quotes around what Hydra reads only so: values with `~` first, or letters beyond ASCII."""
    if text.isascii() and "~" not in text:
        return text
    return _UNREAD.sub(lambda found: f"'{found[0]}'", text)


@dataclass(frozen=True)
class _Groups:
    """What `glob` asks for the names in a group."""

    known: dict[str, list[str]]

    def get_group_options(self, group: str, results_filter: Any = None) -> list[str]:
        return self.known.get(group, [])
