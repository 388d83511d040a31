"""What is typed to choose and set: read by Hydra's grammar, checked, and multiplied into the jobs of a sweep."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from dltrain.config import hydra, hydra_words
from dltrain.config.choices import CONFIGS, GROUPS, Groups, groups
from dltrain.config.command_line import NAMES
from dltrain.errors import ConfigError, did_you_mean
from dltrain.errors.output import cut, encodable

_MOST_VALUES = 100_000  # of an axis: each is looked at before the first job
_MOST = 1_000  # overrides
_MOST_LETTERS = 1 << 18  # of all overrides; a command line of Linux may have 1 << 17 in a word
_MOST_LISTED = 5_000  # values in lists: Hydra's parser takes the square of them, for these some seconds
_UNREAD = re.compile(
    r"((?<=[=,\[(])(?=~|[^,'\"\[\](){}\x80-\U0010ffff]*+[^\x00-\x7f])[^,'\"\[\](){}]+)"
    r"|'(?:[^'\\]|\\.)*+'|\"(?:[^\"\\]|\\.)*+\"|\\."  # what stands in quotes is read as it is
)
_LONGEST_NUMBER = 1_000  # digits; Python reads up to 4,300
_DEEPEST = 20  # nested brackets, as nodes of a file
_FUNCTIONS = (
    "its functions are choice(a,b), range(1,9), interval(0.1,0.9), tag(log,interval(0.001,1)), glob(*), sort(), "
    "shuffle(), int(), float(), bool() and str()"
)


def check_overrides(
    overrides: Sequence[str], config_dir: Groups = None, *, sweep: bool = False
) -> tuple[list[str], list[str]]:
    """The overrides that Hydra can read and whose groups and choices exist, and what is wrong with the others."""
    listed = sum(text.count(",") for text in overrides if "[" in text)
    for count, most, what in (
        (len(overrides), _MOST, "overrides"),
        (sum(map(len, overrides)), _MOST_LETTERS, "letters of overrides"),
        (listed, _MOST_LISTED, "values in lists"),
        (max(map(_depth, overrides), default=0), _DEEPEST, "nested brackets"),
    ):
        if count > most:
            return [], [f"{count:,} {what}: {most:,} are the most; a file in --config-dir DIR holds more"]
    known = groups(config_dir)
    parse = hydra.parser(known)
    good: list[str] = []
    mistakes: list[str] = []
    for typed in overrides:
        text = quoted(typed)
        if ("=" not in text and not text.startswith("~")) or not text.split("=")[0].strip("+~ \t"):
            mistakes.append(f"`{text}`: write key=value or group=name{_guess(text, known)}")
            continue
        if re.search(rf"\d{{{_LONGEST_NUMBER + 1},}}", text):
            mistakes.append(f"`{cut(text)}` has a number of more than {_LONGEST_NUMBER:,} digits")
            continue
        if not text.isascii() and text != encodable(text):
            mistakes.append(f"`{text}` is not UTF-8, so that no file can hold it; rename what it names, or link to it")
            continue
        try:
            override = parse(text)
        except hydra.RefusedError:
            hint = f"put a value with special signs in two pairs of quotes: '{text.split('=')[0]}=\"...\"'"
            if re.search(r"=\w+\(.*\)$", text):
                mistakes.append(f"`{typed}` can't be read: {_FUNCTIONS}; {hint}")
            else:
                mistakes.append(f"`{typed}` can't be read: close every bracket and quote, and {hint}")
            continue
        if bad := _hydra_mistake(text, override):
            mistakes.append(bad)
        elif override.several and not sweep:
            mistakes.append(
                f"`{text}` gives several values: add -m to train one run for each, or write one value "
                "([1,2] is a list, 0.1 a number, \"'a,b'\" a text)"
            )
        elif fault := override.fault(_MOST_VALUES):
            mistakes.append(f"`{text}`: {fault}")
        elif bad := _group_mistake(text, override, known):
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


def _group_mistake(text: str, override: hydra.Override, known: dict[str, list[str]]) -> str | None:
    """What is wrong with `group=name`, or None."""
    group = override.name
    if group not in known or override.deletes:
        return None
    if override.adds and (CONFIGS / group).is_dir():
        return f"`{text}`: write {text.lstrip('+')}, without the +"
    names = _selected(override)
    if not names:
        return f"`{text}`: choose one of {', '.join(known[group])}"
    if len(names) > 1 and group in GROUPS and group not in ("regularisation", "experiment") and not override.several:
        return f"`{text}`: choose one; only regularisation takes several, and -m {group}={','.join(names)} tries each"
    unknown = next((n for n in names if n not in known[group]), None)
    if unknown is None:
        return None
    hint = did_you_mean(unknown, known[group]) or f"; there are {', '.join(known[group])}"
    return f"`{text}`: {group} has no `{unknown}`{hint}"


def _selected(override: hydra.Override) -> list[str]:
    """The names that a group override picks, flattened; `null` picks nothing."""
    flat = [v for item in override.values() for v in (item if isinstance(item, list) else [item])]
    return [str(v).strip("\"'") for v in flat if v is not None]


def by_key(overrides: Sequence[str]) -> dict[str, str]:
    """What was typed, by the key or group that it sets, however it is spelled; the last of those that set the same.

    Raises ConfigError for what Hydra can't read.
    """
    found, parse = dict[str, str](), hydra.parser(groups())
    for text in map(quoted, overrides):
        try:
            found[parse(text).name] = text
        except hydra.RefusedError as error:
            raise ConfigError("\n".join(check_overrides([text])[1])) from error
    return found


def first_of_each(overrides: Sequence[str], config_dir: Groups = None) -> list[str]:
    """The overrides of a sweep with the first value in place of each list of values."""
    parse, single = hydra.parser(groups(config_dir)), list[str]()
    for text in overrides:
        override = parse(text)
        if override.several:
            text = f"{text.split('=', 1)[0]}={next(override.texts())}"
        single.append(text)
    return single


def frozen(overrides: Sequence[str], config_dir: Groups = None) -> list[str]:
    """The same overrides, where what is drawn or looked up (`shuffle`, `glob`) stands as the values that it gave."""
    parse, settled = hydra.parser(groups(config_dir)), list[str]()
    for text in map(quoted, overrides):
        if re.search(r"\b(shuffle|glob)\b", text):
            override = parse(text)
            text = f"{override.key}={','.join(override.texts())}"
        settled.append(text)
    return settled


def alternatives(text: str, config_dir: Groups = None) -> list[str]:
    """The overrides that one of several values stands for, as often as they are given."""
    override = hydra.parser(groups(config_dir))(text)
    return [f"{override.key}={value}" for value in override.texts()]


def repeats(text: str, config_dir: Groups = None) -> bool:
    """Whether a value stands twice among several that an override gives to a sweep."""
    found = alternatives(text, config_dir)
    return len(set(found)) < len(found)


# -- Hydra's own -------------------------------------------------------------------------------------------------

_PARAMETERS = re.compile(r"(?:hydra\.sweeper|sweep)\.params(?:\.|(?=[^\w]|$))")  # Hydra's, and ours


def _hydra_mistake(text: str, override: hydra.Override) -> str | None:
    """What is wrong with an override of Hydra's own keys, or None where it is none."""
    key = override.name
    if _PARAMETERS.match(key) and not override.deletes:
        return f"`{text}`: it makes a sweep: add -m to train one run for each value"
    own = next((k for k in (key, override.package) if re.match(r"hydra(?:[./:]|$)", k)), None)
    return f"`{text}`: {hydra_words.instead(re.sub('^hydra[./:]?', '', own))}" if own is not None else None


def lifted(overrides: Sequence[str]) -> list[str]:
    """What was typed for a sweep, with hydra.sweeper.params.KEY=VALUES or sweep.params.KEY=VALUES as KEY=VALUES, before
    the others.
    """
    found, others, parse = list[str](), list[str](), hydra.parser(groups())
    for text in map(quoted, overrides):
        if not _PARAMETERS.match(text.lstrip("+")):
            others.append(text)
            continue
        try:
            override = parse(text)
        except hydra.RefusedError:
            others.append(text)
            continue
        key = _PARAMETERS.sub("", override.name, count=1)
        if override.several:
            found.append(f"{key}={text.partition('=')[2]}")
        else:
            found += in_text({key: override.value} if key else override.value or {})
    return [*found, *others]


def in_text(parameters: object, prefix: str = "") -> list[str]:
    """The overrides that a node of sweep parameters stands for; a text is read as if it were typed."""
    if not isinstance(parameters, dict):
        return [f"{prefix.rstrip('.')}={'null' if parameters is None else parameters}"]
    return [text for key, value in parameters.items() for text in in_text(value, f"{prefix}{key}.")]


def quoted(text: str) -> str:
    """The same override with quotes around what Hydra reads only so: values with `~` first, or letters beyond ASCII."""
    if text.isascii() and "~" not in text:
        return text
    return _UNREAD.sub(lambda found: f"'{found[1]}'" if found[1] else found[0], text)
