"""How a command line, a job of a sweep or a run folder becomes one configuration, and where each value was written."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain import foreign
from dltrain.catalogue import CONFIGS, GROUPS, folders, groups
from dltrain.commands import NAMES
from dltrain.errors import ConfigError
from dltrain.reading import LARGEST_CONFIG
from dltrain.targets import did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig


@dataclass(frozen=True)
class Composed:
    """A configuration with where it came from: what was chosen in each group, and what was typed."""

    cfg: DictConfig
    chosen: dict[str, Any]
    overrides: tuple[str, ...]
    mistakes: tuple[str, ...] = ()
    folders: tuple[Path, ...] = ()  # of config groups
    file: Path | None = None  # that holds the whole configuration
    stored: bool = False  # in a run folder or a sweep's record, which may be a stranger's

    def origin(self, key: str) -> str:
        """Where the value of a dotted key was written: an override, or a YAML file."""
        for override in reversed(self.overrides):
            name = _key(override)
            if name == key or (name not in GROUPS and key.startswith((f"{name}.", f"{name}["))):
                return f"override {override}"
        if self.file:
            return str(self.file)
        group = key.split(".")[0]
        files = list(self._files(group))
        own = next((file for owner, file in files if owner == group), None)
        file = next((file for owner, file in files if _sets(file, owner, key)), own)
        below = next((o for o in self.overrides if _key(o).startswith(f"{key}.")), None)
        return _readable(file) if file else f"override {below}" if below else "configs/train.yaml"

    def _files(self, group: str) -> Iterator[tuple[str, Path]]:
        """The chosen files that may set a key of `group`, the one that has the last word first."""
        for owner in dict.fromkeys(("experiment", "regularisation", group, f"{group}/off")):
            names = self.chosen.get(owner, "off" if owner == "regularisation/off" else self._listed(owner))
            for name in reversed(names if isinstance(names, list) else [names]):
                owner = owner.removesuffix("/off")
                yield from ((owner, path) for path in self._paths(owner, name))

    def _paths(self, group: str, name: Any) -> list[Path]:
        return [path for folder in self.folders if (path := folder / group / f"{name}.yaml").is_file()]

    def _listed(self, group: str) -> list[str]:
        """The choices of a group that was given a list, which Hydra does not report."""
        texts = [o.partition("=")[2] for o in self.overrides if o.startswith(f"{group}=[")]
        if not texts and group != "experiment":
            for file in self._paths("experiment", self.chosen.get("experiment")):
                defaults = (_plain(file.read_text(encoding="utf-8")) or {}).get("defaults", [])
                texts += [str(d[k]) for d in defaults if isinstance(d, dict) for k in d if k.endswith(f"/{group}")]
        return re.findall(r"[\w.-]+", " ".join(texts))


def _key(override: str) -> str:
    """What an override sets: its dotted key, or its group."""
    return override.split("=")[0].lstrip("+~").split("@")[0]


def _plain(text: str) -> Any:
    """What a YAML text holds; None where Hydra's own parser takes what this one refuses, such as 2026-13-01."""
    import yaml

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError):
        return None


def _sets(file: Path, owner: str, key: str) -> bool:
    """Whether a YAML file of the group `owner` sets a dotted key, or chooses for a group."""
    text = file.read_text(encoding="utf-8")
    node = _plain(text)
    for default in (node.get("defaults") or []) if isinstance(node, dict) else []:
        if isinstance(default, dict) and any(str(k).split("/")[-1] == key for k in default):
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


def _readable(file: Path) -> str:
    if file.is_relative_to(CONFIGS):
        return f"configs/{file.relative_to(CONFIGS)}"
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def name_mistake(name: str) -> str | None:
    """Why a run can't have this name, which is a folder's, or None."""
    if re.fullmatch(r"[^\W_][\w.+@,= -]{0,99}", name):
        return None
    return f"{name!r} can't name a folder; use up to 100 letters, digits, and - _ . + = @ after the first"


# -- composing -------------------------------------------------------------------------------------------------


def compose(overrides: Sequence[str], config_dir: str | Path | None = None) -> Composed:
    """Compose a configuration from `key=value` and `group=name`; unknown ones are collected, not raised."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    good, mistakes = check_overrides(overrides, config_dir)
    search = [f"hydra.searchpath=[file://{folders(config_dir)[1]}]"] if config_dir else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):

        def attempt(typed: Sequence[str]) -> DictConfig:
            return hydra_compose("train", overrides=[*search, *typed], return_hydra_config=True)

        try:
            try:
                cfg = attempt(good)
            except _refusals():
                good, cfg = _drop_bad(good, attempt, mistakes, groups(config_dir))
            chosen = OmegaConf.to_container(cfg.hydra.runtime.choices)
        except _refusals() as error:
            files = " ".join(o for o in good if o.startswith("experiment="))
            line = _in_words(error, config_dir) + (f" ({files})" if files else "")
            raise ConfigError("\n".join([*mistakes, line])) from error
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return Composed(cfg, chosen, tuple(good), tuple(mistakes), tuple(folders(config_dir)))


def _refusals() -> tuple[type[Exception], ...]:
    """What Hydra raises where an override or a YAML file is wrong; OSError: a name too long for a file."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    return HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError, OSError


def _in_words(error: Exception, config_dir: str | Path | None) -> str:
    """What is wrong with the chosen files themselves."""
    mark = getattr(error, "problem_mark", None)
    if mark is not None:
        name = _readable(Path(mark.name)) if Path(mark.name).is_file() else mark.name
        return f"{name}, line {mark.line + 1}: this is not YAML: {error.problem}"
    line, known = _first_line(error), groups(config_dir)
    if missing := re.search(r"Could not (?:find|load) '([\w.-]+)/([\w.-]+)'", line):
        names = known.get(missing[1], [])
        return f"{line}{did_you_mean(missing[2], names) or '; there are ' + ', '.join(names or known)}"
    if unmatched := re.search(r"Could not override '([\w.-]+)'", line):
        return f"{line}{did_you_mean(unmatched[1], known)}"
    if twice := re.search(r"Multiple values for ([\w.-]+)\..*'override [\w.-]+: ([\w.-]+)'", line):
        return (
            f"{twice[1]} is chosen twice; in the defaults of an experiment write `- override /{twice[1]}: {twice[2]}`"
        )
    return line


def _drop_bad(
    typed: Sequence[str], attempt: Callable[[Sequence[str]], DictConfig], mistakes: list[str], known: Iterable[str]
) -> tuple[list[str], DictConfig]:
    """The overrides that compose, found one by one, with the config that they make; says what the others lack."""
    good = [o for o in typed if not o.startswith(("+", "~")) and _key(o) in known]
    cfg = attempt(good)
    for override in (o for o in typed if o not in good):
        try:
            attempt([*good, override])
            good.append(override)
        except _refusals() as error:
            mistakes.append(_explain(override, cfg, error))
    return good, attempt(good)


def check_overrides(
    overrides: Sequence[str], config_dir: str | Path | None = None, *, sweep: bool = False
) -> tuple[list[str], list[str]]:
    """The overrides that Hydra can read and whose groups and choices exist, and what is wrong with the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    known, parser = groups(config_dir), OverridesParser.create()
    good, mistakes = [], []
    for text in overrides:
        if ("=" not in text and not text.startswith("~")) or not text.split("=")[0].strip("+~ \t"):
            mistakes.append(f"`{text}`: write key=value or group=name{_guess(text, known)}")
            continue
        try:
            override = parser.parse_override(text)
        except HydraException:
            mistakes.append(
                f"`{text}` can't be read: close every bracket and quote, and put a value with special signs "
                f"in two pairs of quotes: '{text.split('=')[0]}=\"...\"'"
            )
            continue
        if override.is_sweep_override() and not sweep:
            mistakes.append(
                f"`{text}` gives several values: add -m to train one run for each, or write one value "
                "([1,2] is a list, 0.1 a number, \"'a,b'\" a text)"
            )
        elif bad := _group_mistake(text, override, known):
            mistakes.append(bad)
        else:
            good.append(text)
    return good, mistakes


def _guess(word: str, known: dict[str, list[str]]) -> str:
    choices = [f"{group}={word}" for group, names in known.items() if word in names]
    if choices:
        return f"; did you mean {' or '.join(f'`{c}`' for c in choices)}?"
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


def _explain(override: str, cfg: DictConfig, error: Exception) -> str:
    """One line on why Hydra refused a `key=value`."""
    from omegaconf import OmegaConf

    key, known = _key(override), _keys(cfg)
    if key in known and override.partition("=")[2].startswith("{"):
        return f"`{override}`: it brings new keys: write +{override}"
    if key in known or override.startswith("+"):
        return f"`{override}`: {_first_line(error)}"
    parent = key.rpartition(".")[0]
    own = [k[len(parent) + 1 :] for k in known if parent and k.startswith(f"{parent}.")]
    if own and (hint := did_you_mean(key.rpartition(".")[2], own)):
        return f"`{override}`: unknown key{hint.replace('`', f'`{parent}.', 1)}"
    if "_target_" in own and OmegaConf.is_missing(OmegaConf.select(cfg, parent), "_target_"):
        return f"`{override}`: unknown key; to give your class this argument write +{override}"
    if own:
        return f"`{override}`: unknown key; `{parent}` has {', '.join(k for k in own if k != '_target_')}"
    hint = did_you_mean(key, [k for k in [*known, *groups()] if not parent or "." in k])
    return f"`{override}`: unknown key{hint or '; `dltrain list` shows what there is'}"


def _keys(cfg: Any, prefix: str = "") -> list[str]:
    """All dotted keys of a config, Hydra's own left out."""
    from omegaconf import DictConfig

    found = []
    for key in cfg:
        if not prefix and key == "hydra":
            continue
        path = f"{prefix}{key}"
        found.append(path)
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not (node._is_none() or node._is_missing() or node._is_interpolation()):
            found += _keys(node, f"{path}.")
    return found


def interpolations(node: Any, prefix: str = "") -> Iterator[tuple[Any, Any, str]]:
    """(container, key, dotted key) of every `${...}`, lists included."""
    from omegaconf import OmegaConf

    for key in list(node) if OmegaConf.is_dict(node) else range(len(node)):
        path = f"{prefix}[{key}]" if isinstance(key, int) and prefix else f"{prefix}.{key}".lstrip(".")
        child = node._get_node(key)
        if OmegaConf.is_interpolation(node, key):
            yield node, key, path
        elif OmegaConf.is_config(child) and not (child._is_none() or child._is_missing()):
            yield from interpolations(child, path)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0].rstrip(".")


def from_job(cfg: DictConfig, chosen: dict[str, Any], overrides: Sequence[str], *, stored: bool = False) -> Composed:
    """The configuration that Hydra composed for one job of a sweep; `stored` if its record was read from a file."""
    from omegaconf import OmegaConf

    own = OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"])
    OmegaConf.set_struct(own, False)
    return Composed(own, chosen, tuple(overrides), folders=tuple(folders()), stored=stored)


def stored(folder: Path) -> Composed:
    """The configuration of a run folder. It is data: nothing in it is resolved, and it passes the same checks."""
    from omegaconf import OmegaConf

    path = folder / "config.yaml"
    try:
        cfg = OmegaConf.create(foreign.parse_yaml(foreign.read(path, LARGEST_CONFIG).decode()))
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not the configuration of a run: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not the configuration of a run, which is plain values: it has {error}") from error
    except Exception as error:  # what OmegaConf does not take, such as a key that is a list
        raise ConfigError(f"{path} is not the configuration of a run: {_first_line(error)}") from error
    if not OmegaConf.is_dict(cfg):
        raise ConfigError(f"{path} is not the configuration of a run")
    if OmegaConf.is_dict(cfg.get("trainer")):  # knobs that came after the run do what was done before
        defaults = OmegaConf.load(CONFIGS / "trainer" / "default.yaml")
        cfg.trainer = OmegaConf.merge(defaults, {"flush_denormal": False}, cfg.trainer)
    return Composed(cfg, {}, (), file=path, stored=True)


def first_of_each(overrides: Sequence[str]) -> list[str]:
    """The overrides of a sweep with the first value in place of each list of values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser, single = OverridesParser.create(), []
    for text in overrides:
        override = parser.parse_override(text)
        if override.is_sweep_override():
            text = f"{text.split('=', 1)[0]}={next(iter(override.sweep_string_iterator()))}"
        single.append(text)
    return single
