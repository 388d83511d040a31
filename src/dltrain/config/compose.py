"""How a command line, a job of a sweep or a run folder becomes one configuration, and where each value was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from dltrain.config import hydra, hydra_words, own_groups
from dltrain.config.choices import CONFIGS, GROUPS, Groups, folders, groups, readable
from dltrain.config.hydra import MISSING, Composition, Resolved
from dltrain.config.overrides import alternatives, check_overrides, first_of_each, in_text
from dltrain.errors import ConfigError, did_you_mean, key_of
from dltrain.runs import foreign, reading
from dltrain.runs.foreign import Values

_OPTIONS = ("nproc", "allow", "config_dir")  # of the command, which take a value


@dataclass(frozen=True)
class Composed:
    """A configuration with where it came from: what was chosen in each group, and what was typed."""

    resolved: Resolved
    chosen: Mapping[str, str | list[str] | None]
    overrides: tuple[str, ...]
    mistakes: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()  # of config groups
    parameters: tuple[str, ...] = ()  # of a sweep, which the chosen files set, as overrides: sweep.params, and Hydra's
    asked: tuple[str, ...] = ()  # the same of Hydra's launchers and sweepers
    sweep: Values = field(default_factory=dict)  # the node `sweep`, which is no part of a run
    file: Path | None = None  # that holds the whole configuration
    stored: bool = False  # in a run folder or a sweep's record, which may be a stranger's
    started: Path | None = None  # a stored one: the folder in which its relative paths were typed
    contents: dict[Path, tuple[str, object]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def values(self) -> Values:
        """The configuration itself; what an interpolation could not give is missing."""
        return self.resolved.values

    def origin(self, key: str) -> str:
        """Where the value of a dotted key was written: an override, or a YAML file."""
        for override in reversed(self.overrides):
            name = key_of(override)
            if name == key or (name not in GROUPS and key.startswith((f"{name}.", f"{name}["))):
                return f"override {override}"
        if self.file:
            return str(self.file)
        group = key.split(".")[0]
        files = list(self._files(group))
        own = next((file for owner, file in files if owner == group), None)
        file = next((file for owner, file in files if _sets(*self._content(file), owner, key)), own)
        below = next((o for o in self.overrides if key_of(o).startswith(f"{key}.")), None)
        return readable(file) if file else f"override {below}" if below else "configs/train.yaml"

    def _content(self, file: Path) -> tuple[str, object]:
        """The text of a YAML file and what it holds, read once; None where it is more than a file of choices is."""
        if file not in self.contents:
            text, values = file.read_text(encoding="utf-8"), None
            with suppress(ValueError):
                values = foreign.parse_yaml(text, typed=True)
            self.contents[file] = text, values
        return self.contents[file]

    def switched_beside(self) -> list[str]:
        """What keys switch on beside the choice that was typed, in words: `regularisation=none regularisation.l2=1`."""
        choice = next((o for o in reversed(self.overrides) if key_of(o) == "regularisation"), None)
        files = [file for owner, file in self._files("regularisation") if owner != "experiment" and file.stem != "off"]
        found = {}
        for override in self.overrides if choice else ():
            group, *path = key_of(override).split(".")
            knob = ".".join(path[: 1 + (path[:1] == ["augmentation"])])
            own = group == "regularisation" and knob and _at(self.values, f"{group}.{knob}")
            if own and own != MISSING and not any(_sets(*self._content(f), group, f"{group}.{knob}") for f in files):
                found[knob] = f"{choice} and {override.lstrip('+')}: {knob} is on, too"
        return list(found.values())

    def set_by_the_schedule(self) -> list[str]:
        """What was typed of the optimizer and is another number at each step, in words."""
        moves = _at(self.values, "scheduler.cycle_momentum") is True
        typed = [o for o in self.overrides if key_of(o) in ("optimizer.momentum", "optimizer.betas")]
        return [
            f"`{text}`: the scheduler sets momentum (the first of betas) at each step; scheduler.cycle_momentum=false "
            "keeps what is given"
            for text in typed
            if moves and _at(self.values, key_of(text)) != 0
        ]

    def _files(self, group: str) -> Iterator[tuple[str, Path]]:
        """The chosen files that may set a key of `group`, the one that has the last word first."""
        for owner in dict.fromkeys(("experiment", "regularisation", group, f"{group}/off")):
            names = self.chosen.get(owner, "off" if owner == "regularisation/off" else self._listed(owner))
            for name in reversed(names if isinstance(names, list) else [names]):
                owner = owner.removesuffix("/off")
                yield from ((owner, path) for path in self._paths(owner, name))

    def _paths(self, group: str, name: object) -> list[Path]:
        return [path for folder in self.folders if (path := folder / group / f"{name}.yaml").is_file()]

    def _listed(self, group: str) -> list[str]:
        """The choices of a group that was given a list, which Hydra does not report."""
        texts = [o.partition("=")[2] for o in self.overrides if key_of(o) == group and "=[" in o]
        if not texts and group != "experiment":
            for file in self._paths("experiment", self.chosen.get("experiment")):
                defaults = _defaults(self._content(file)[1])
                texts += [str(d[k]) for d in defaults for k in d if f"{k}".endswith(f"/{group}")]
        return re.findall(r"[\w.-]+", " ".join(texts))


def _defaults(content: object) -> list[Values]:
    """The mappings in the `defaults` of a YAML file, whatever else it holds."""
    defaults = foreign.node(content).get("defaults")
    return [part for part in defaults if isinstance(part, dict)] if isinstance(defaults, list) else []


def _sets(text: str, node: object, owner: str, key: str) -> bool:
    """Whether a YAML file of the group `owner`, which holds `node`, sets a dotted key, or chooses for a group."""
    if any(str(k).split("/")[-1] == key for default in _defaults(node) for k in default):
        return True
    path = key.split(".")
    if "@package _global_" not in text:
        if path.pop(0) != owner:
            return False
        if not path:
            return True
    for part in path:
        if not isinstance(node, dict) or part not in node:
            return False
        node = node[part]
    return True


def name_mistake(name: str) -> str | None:
    """Why a run can't have this name, which is a folder's, or None."""
    if re.fullmatch(r"[^\W_][\w.+@,= -]{0,99}", name):
        return None
    return f"{name!r} can't name a folder; use up to 100 letters, digits, and - _ . + = @ after the first"


# -- composing -------------------------------------------------------------------------------------------------


def compose(overrides: Sequence[str], config_dir: Groups = None, *, sweep: bool = False) -> Composed:
    """Compose a configuration from `key=value` and `group=name`; unknown ones are collected, not raised.

    sweep: it is one job of several, and the chosen files may set parameters of a sweep.
    """
    good, mistakes = check_overrides(overrides, config_dir)
    with hydra.composer(config_dir) as attempt:
        try:
            try:
                made = attempt(good)
            except hydra.RefusedError:
                good, made = _drop_bad(good, attempt, mistakes, groups(config_dir))
            before = attempt([]).hydras() if config_dir else None
        except hydra.RefusedError as error:
            files = " ".join(o for o in good if key_of(o) == "experiment")
            line = hydra_words.in_words(str(error), groups(config_dir)) + (f" ({files})" if files else "")
            raise ConfigError("\n".join([*mistakes, line])) from error
    own = {} if before is None else {k: v for k, v in made.hydras().items() if v != before.get(k)}
    try:
        resolved = made.resolved(own=bool(config_dir))
    except ValueError as error:
        raise ConfigError(f"--config-dir {config_dir}: the chosen files have {error}") from error
    node = foreign.node(resolved.values.pop("sweep", None))
    given = own_groups.release(own.pop("sweeper.params", None) or {}), node.get("params") or {}
    parameters = tuple(text for parameters in given for text in in_text(parameters))
    if not sweep:
        mistakes += [f"`{o}`: it is about a sweep: add -m" for o in good if key_of(o).split(".")[0] == "sweep"]
    asked = tuple(_asked(own))
    own = _left(own, asked)
    composed = Composed(
        resolved, made.chosen, tuple(good), tuple(mistakes), tuple(folders(config_dir)), parameters, asked, node
    )
    if wrong := [*_hidden(composed), *_not_used(composed, own, sweep=sweep)]:
        raise ConfigError("\n".join([*mistakes, *wrong]))
    return composed


def _hidden(composed: Composed) -> Iterator[str]:
    """What is wrong with files of the user's own that have the name of a packaged choice, which would be taken."""
    for group in GROUPS:
        names = composed.chosen.get(group, composed._listed(group))
        for name in names if isinstance(names, list) else [names]:
            if len(files := composed._paths(group, name)) > 1:
                yield f"{readable(files[1])}: dltrain has a {group}={name} already; rename your file"


def _not_used(composed: Composed, own: Values, *, sweep: bool) -> Iterator[str]:
    """What is wrong with the settings of Hydra's own, beside a sweep's parameters, in the chosen files."""
    if not (own or composed.parameters):
        return
    mine = [path for group in composed.chosen for _, path in composed._files(group) if path.parents[1] != CONFIGS]
    mine.sort(key=lambda path: "hydra" not in path.read_text(encoding="utf-8"))
    file = readable(mine[0]) if mine else "a chosen file"
    many = str(own.get("mode")).endswith("MULTIRUN")
    if (composed.parameters or many) and not sweep:
        yield f"{file} sets a sweep ({', '.join(composed.parameters)}): add -m to train one run for each"
    for key in (key for key in own if not (many and key == "mode")):
        yield f"{file} sets {key if key.startswith('hydra/') else f'hydra.{key}'}: {hydra_words.instead(key)}"


_PLUGINS = re.compile(r"(?:hydra/)?(?:launcher|sweeper)\b")


def _asked(own: Values) -> Iterator[str]:
    """What files set of Hydra's launchers and sweepers, as it would be typed."""
    for key, value in own.items():
        if key.startswith("hydra/") and _PLUGINS.match(key):
            yield f"{key}={value}"
        elif _PLUGINS.match(key):
            texts = in_text(own_groups.release(value), f"hydra.{key}.")
            yield from (text for text in texts if "._target_=hydra._internal." not in text)


def _left(own: Values, asked: Sequence[str]) -> Values:
    """What of Hydra's own is not read as ours."""
    others = {key_of(text).removeprefix("hydra."): None for text in hydra_words.read(asked).others}
    return {key: value for key, value in own.items() if not _PLUGINS.match(key)} | others


def sweep_parameters(overrides: Sequence[str], config_dir: Groups) -> tuple[list[str], list[str]]:
    """What the chosen files of the user's own ask of a sweep, as overrides: its axes, and Hydra's words."""
    if not config_dir:
        return [], []
    good, _ = check_overrides(overrides, config_dir, sweep=True)
    first = first_of_each(good, config_dir)
    several = [o for o in good if key_of(o) == "experiment" and o not in first][-1:]
    chosen = [[text] for text in alternatives(several[0], config_dir)] if several else [[]]
    made = [compose([*first, *own], config_dir, sweep=True) for own in chosen]
    found = [(*one.parameters, *one.asked) for one in made]
    if several and any(found):
        raise ConfigError(f"`{several[0]}`: one of them sets a sweep ({', '.join(max(found))}); give it alone")
    return [*made[0].parameters], [*made[0].asked]


def _drop_bad(
    typed: Sequence[str], attempt: Callable[[Sequence[str]], Composition], mistakes: list[str], known: Iterable[str]
) -> tuple[list[str], Composition]:
    """The overrides that compose, found one by one, with the config that they make; says what the others lack."""
    good = [o for o in typed if not o.startswith(("+", "~")) and key_of(o) in known]
    values = attempt(good).values
    for override in (o for o in typed if o not in good):
        try:
            attempt([*good, override])
            good.append(override)
        except hydra.RefusedError as error:
            mistakes.append(_explain(override, values, str(error)))
    return good, attempt(good)


def _explain(override: str, values: Values, refused: str) -> str:
    """One line on why Hydra refused a `key=value`."""
    key, known = key_of(override), list(_keys(values))
    if key in known and override.partition("=")[2].startswith("{"):
        return f"`{override}`: it brings new keys: write +{override}"
    if key in known or override.startswith("+"):
        return f"`{override}`: {refused}"
    parent, _, name = key.rpartition(".")
    if name in _OPTIONS and parent in ("", "trainer"):
        option = f"--{name.replace('_', '-')} {override.partition('=')[2]}"
        return f"`{override}`: this is an option, and no key: write {option}"
    own = [k[len(parent) + 1 :] for k in known if parent and k.startswith(f"{parent}.")]
    if own and (hint := did_you_mean(name, own)):
        return f"`{override}`: unknown key{hint.replace('`', f'`{parent}.', 1)}"
    if "_target_" in own and _at(values, f"{parent}._target_") == MISSING:
        return f"`{override}`: unknown key; to give your class this argument write +{override}"
    if own:
        return f"`{override}`: unknown key; `{parent}` has {', '.join(k for k in own if k != '_target_')}"
    hint = did_you_mean(key, [k for k in [*known, *groups()] if not parent or "." in k])
    return f"`{override}`: unknown key{hint or '; `dltrain list` shows what there is'}"


def _keys(values: Values, prefix: str = "") -> Iterator[str]:
    """All dotted keys."""
    for key, value in values.items():
        yield f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _keys(value, f"{prefix}{key}.")


def _at(values: Values, key: str) -> object:
    """The value at a dotted key, None where there is none."""
    found: object = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return found


def has_key(values: Values, key: str) -> bool:
    """Whether there is a dotted key, whatever its value is."""
    return key in _keys(values)


def stored(folder: Path) -> Composed:
    """The configuration of a run folder. It is data: nothing in it is resolved, and it passes the same checks."""
    path = folder / "config.yaml"
    try:
        values = foreign.parse_yaml(foreign.read(path, foreign.LARGEST_CONFIG).decode())
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not the configuration of a run: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not the configuration of a run, which is plain values: it has {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} is not the configuration of a run")
    if isinstance(trainer := values.get("trainer"), dict):  # knobs that came after the run do what was done before
        defaults = foreign.parse_yaml((CONFIGS / "trainer" / "default.yaml").read_text(encoding="utf-8"))
        values["trainer"] = {**defaults, "flush_denormal": False, **trainer}
    return Composed(Resolved(values), {}, (), file=path, stored=True, started=started(folder / "environment.json"))


def started(file: Path) -> Path | None:
    """The folder in which a run or a sweep was started, as its record says; None where it says nothing."""
    folder = reading.node(reading.read_json(file)[0]).get("folder")
    return Path(folder) if isinstance(folder, str) and Path(folder).is_absolute() else None
