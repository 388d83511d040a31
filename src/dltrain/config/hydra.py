"""Hydra and OmegaConf: its grammar of overrides, its composition, its interpolations. No other file imports them.

What comes out is plain values. This is written for Hydra 1.3; what another release does or says differs here alone.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, cast

import hydra
import yaml
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser import types
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigLoadError, ConfigResult
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf._utils import OmegaConfDumper
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from dltrain.config import own_groups
from dltrain.config.choices import CONFIGS, Groups, Snapshot, folders
from dltrain.config.hydra_words import CHOICES
from dltrain.config.intervals import Interval
from dltrain.errors import in_quotes
from dltrain.errors.output import cut
from dltrain.runs.foreign import Values

MISSING = "???"  # stands where a value has to be given
_REFUSALS = (  # what Hydra raises where an override or a YAML file is wrong; OSError: a name too long for a file
    *(HydraException, OmegaConfBaseException, ValueError, OverflowError, RecursionError, OSError),
)


class RefusedError(ValueError):
    """What Hydra refuses, in its words, on one line."""


def _refuse(error: Exception) -> NoReturn:
    if isinstance(error, RecursionError):
        raise RefusedError("files whose defaults lead to one another without an end") from error
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    raise RefusedError(" ".join(lines[:2]) if lines[0].endswith(":") else lines[0].rstrip(".")) from error


# -- what is typed ---------------------------------------------------------------------------------------------


class Override:
    """One `key=value` or `group=name`, read."""

    def __init__(self, read: types.Override, groups: Mapping[str, list[str]]) -> None:
        self._read, self._groups = read, groups
        self.name = read.key_or_group  # the dotted key, or the group
        self.key = read.get_key_element()  # with a + or ~ before it, and the package after it
        self.package = read.package or ""
        self.adds, self.deletes = read.is_add(), read.is_delete()
        self.several = read.is_sweep_override()  # values, as a sweep has

    @property
    def value(self) -> object:
        """The value, plain; of several that of Hydra's own type."""
        return self._read.value()

    def values(self) -> Iterable[object]:
        """The value, or each of several."""
        return self._read.sweep_iterator() if self.several else [self.value]

    @property
    def interval(self) -> Interval | None:
        """What a search may draw from, where it gives one."""
        given = self.value
        if not isinstance(given, types.IntervalSweep) or given.start is None or given.end is None:
            return None
        return Interval(given.start, given.end, log="log" in given.tags)

    def texts(self) -> Iterator[str]:
        """The same as they would be typed, of an interval its ends; what is shuffled comes in another order at each
        call.
        """
        if ends := self.interval:
            return iter([str(ends.first), str(ends.last)])
        return self._read.sweep_string_iterator() if self.several else iter([self._read.get_value_element_as_str()])

    def fault(self, most: int) -> str | None:
        """Why no sweep over these values can be made, as of a range of more than `most`, or None."""
        if _holds_several(self.value.list if isinstance(self.value, types.ChoiceSweep) else self.value):
            return "several values can't stand in a list or a mapping; give each whole, as choice([16],[32,32])"
        if not self.several:
            return None
        if ends := self.interval:
            return ends.fault()
        if self._read.value_type == types.ValueType.GLOB_CHOICE_SWEEP and self.name not in self._groups:
            return f"glob() picks among the files of a group; {self.name} is none"
        given = self.value
        try:
            if isinstance(given, types.RangeSweep) and not _steps(given) <= most:
                return f"{most:,} values are the most; give fewer, or have some drawn, as from int(interval(1,9))"
            first = next(self.texts(), None)
        except (ArithmeticError, ValueError, HydraException) as error:
            return f"{error}; write range(FIRST,END,STEP), as range(1,10,2)"
        return "it gives no value" if first is None else None


def _holds_several(value: object) -> bool:
    """Whether a list or a mapping holds what gives several values."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(isinstance(part, (types.Sweep, types.Glob)) or _holds_several(part) for part in inner)


def _steps(given: types.RangeSweep) -> float:
    if given.start is None or given.stop is None:
        raise ValueError("a range without an end")
    return abs((given.stop - given.start) / given.step)


def parser(groups: Mapping[str, list[str]]) -> Callable[[str], Override]:
    """Reads one override, or raises RefusedError; its `glob` picks among the names of the groups."""
    grammar = OverridesParser.create(cast(ConfigLoader, _Names(groups)))

    def read(text: str) -> Override:
        try:
            return Override(grammar.parse_overrides([text])[0], groups)
        except (HydraException, ValueError) as error:  # the latter of a number of more digits than Python reads
            _refuse(error)

    return read


@dataclass(frozen=True)
class _Names:
    """All that a parser asks of a ConfigLoader."""

    groups: Mapping[str, list[str]]

    def get_group_options(self, group: str, results_filter: object = None) -> list[str]:
        return self.groups.get(group, [])


# -- what is composed ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Resolved:
    """A configuration whose `${...}` are computed; where one can't be, the value counts as missing."""

    values: Values
    copies: Mapping[str, str] = field(default_factory=dict)  # key -> the key whose value it takes
    unresolved: Mapping[str, str | None] = field(default_factory=dict)  # key -> why it has none; None: see another
    computed: bool = False  # whether other interpolations than copies had a part in it


class Composition:
    """One configuration as Hydra composes it."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg

    @cached_property
    def chosen(self) -> Values:
        """Each group with the name, or the names, that were chosen in it."""
        return _plain(self._cfg.hydra.runtime.choices)

    @cached_property
    def values(self) -> Values:
        """Everything but Hydra's own, with its interpolations as texts."""
        return {key: value for key, value in _plain(self._cfg).items() if key != "hydra"}

    def hydras(self) -> Values:
        """Hydra's own keys and what they are set to."""
        node = _plain(self._cfg.hydra)
        choices = {k: v for k, v in node["runtime"]["choices"].items() if k.startswith("hydra/")}
        jobs = {f"job.{k}": v for k, v in node["job"].items() if k not in ("name", "override_dirname")}
        sweepers = {f"sweeper.{k}": v for k, v in (node["sweeper"] or {}).items()}
        others = {k: v for k, v in node.items() if k not in ("runtime", "overrides", "searchpath", "job", "sweeper")}
        return {**choices, **others, **jobs, **sweepers}

    def resolved(self, *, own: bool) -> Resolved:
        """own: files of the user's had a part in it; raises ValueError where their interpolations make too much."""
        if own and (values := own_groups.released(self.values)) != self.values:
            return resolved(values)
        cfg = OmegaConf.masked_copy(self._cfg, [key for key in self._cfg if key != "hydra"])
        OmegaConf.set_struct(cfg, False)
        return _resolve(cfg)


@contextmanager
def composer(config_dir: Groups = None) -> Iterator[Callable[[Sequence[str]], Composition]]:
    """Gives what composes overrides from the packaged config groups and the user's own, or from a sweep's snapshot of
    both; raises RefusedError.
    """
    main, *others = folders(config_dir)
    stored = isinstance(config_dir, Snapshot)
    source = (_Foreign if config_dir.foreign else _Stored) if stored else _OwnGroups
    search = [f"hydra.searchpath=[{in_quotes(f'{source.scheme()}://{own}')}]" for own in others]

    def composed(overrides: Sequence[str]) -> Composition:
        try:
            return Composition(hydra.compose("train", overrides=[*search, *overrides], return_hydra_config=True))
        except _REFUSALS as error:
            _refuse(error)

    _plugins().register(source)
    _know_plugins()
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(config_dir=str(main), version_base="1.3"):
        if stored:
            GlobalHydra.instance().clear()
            Hydra.create_main_hydra2("train", create_config_search_path(f"{source.scheme()}://{main}"))
        yield composed


def _know_plugins() -> None:
    """Has files choose launchers and sweepers that others have as plugins; which mean what, `hydra_words` knows."""
    for group, names in CHOICES.items():
        for name in names if "/" in group else ():
            node: Values = {"defaults": [{"sampler": "tpe"}]} if name == "optuna" else {}
            if name != "basic":
                ConfigStore.instance().store(name=name, node=node, group=group, provider="dltrain")


def _plugins() -> Plugins:
    """Hydra's own. Others, in packages below `hydra_plugins`, are of no use here, and such a folder may lie where one
    works: Hydra would run what is in it.
    """
    before, none = sys.modules.get("hydra_plugins"), ModuleType("hydra_plugins")
    none.__path__ = []
    sys.modules["hydra_plugins"] = none
    try:
        return Plugins.instance()
    finally:
        del sys.modules["hydra_plugins"]
        if before is not None:
            sys.modules["hydra_plugins"] = before


class _OwnGroups(FileConfigSource):
    """Files as Hydra reads them, after a look at each."""

    @staticmethod
    def scheme() -> str:
        """What stands before the folder's path in Hydra's search path."""
        return "limited"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path)).resolve()
        try:
            text, content = own_groups.read(path)
        except ValueError as error:
            raise ConfigLoadError(str(error)) from error
        made, place = (
            OmegaConf.create({} if content is None else cast(Values, content)),
            f"{self.scheme()}://{self.path}",
        )
        return ConfigResult(self.provider, place, made, self._get_header_dict(text[:512]))


class _Stored(_OwnGroups):
    """The same of a sweep's snapshot, whoever made it: its files name one another, and tell Hydra of no other place,
    from which it would import, too.
    """

    @staticmethod
    def scheme() -> str:
        return "stored"

    def load_config(self, config_path: str) -> ConfigResult:
        path = Path(self.path, self._normalize_file_name(config_path)).resolve()
        if not path.is_relative_to(Path(self.path).resolve()):
            raise ConfigLoadError(f"a stored file names {cut(str(path))}, which is not stored with it")
        found = super().load_config(config_path)
        if not isinstance(found.config, DictConfig):
            raise ConfigLoadError(f"the stored {config_path} is a list; a file of choices has keys")
        own = _plain(found.config).get("hydra", {})
        if not (isinstance(own, dict) and {*map(str, own)} <= _OF_HYDRA):
            raise ConfigLoadError(f"the stored {config_path} sets what is Hydra's own")
        return found


_OF_HYDRA = {"output_subdir", "run", "sweep", "job", "sweeper", "launcher"}  # keys that do nothing here


class _Foreign(_Stored):
    """The same of a snapshot that may be a stranger's: its files ask nothing of this machine."""

    @staticmethod
    def scheme() -> str:
        return "foreign"

    def load_config(self, config_path: str) -> ConfigResult:
        found = super().load_config(config_path)
        if asked := own_groups.asks(_plain(cast(DictConfig, found.config))):
            raise ConfigLoadError(f"the stored {config_path} asks this machine ({cut(asked)}): add --config-dir DIR")
        return found


def _plain(node: DictConfig) -> Values:
    return cast(Values, OmegaConf.to_container(node, resolve=False))


# -- values ----------------------------------------------------------------------------------------------------


def resolved(values: Values, changes: Mapping[str, object] | None = None) -> Resolved:
    """Plain values, with some set by dotted keys, and what their interpolations are; raises RefusedError."""
    cfg = OmegaConf.create(values)
    for key, value in (changes or {}).items():
        try:
            OmegaConf.update(cfg, key, value)
        except _REFUSALS as error:
            _refuse(error)
    return _resolve(cfg)


def _resolve(cfg: DictConfig) -> Resolved:
    copies: dict[str, str] = {}
    unresolved: dict[str, str | None] = {}
    computed = False
    for parent, key, path in _interpolations(cfg):
        raw = str(parent._get_node(key)._value())
        try:
            parent[key]
            if plain := re.fullmatch(r"\$\{([\w.]+)\}", raw):
                copies[path] = plain[1]
            computed = computed or plain is None
        except InterpolationToMissingValueError:
            parent[key], unresolved[path] = MISSING, None
        except OmegaConfBaseException as error:
            line = str(error).splitlines()[0].replace("Recursive interpolation detected", "it leads to itself")
            parent[key], unresolved[path] = MISSING, f"{raw} can't be resolved: {line}"
    return Resolved(cast(Values, OmegaConf.to_container(cfg, resolve=True)), copies, unresolved, computed)


def _interpolations(node: DictConfig | ListConfig, prefix: str = "") -> Iterator[tuple[Any, Any, str]]:
    """(container, key, dotted key) of every `${...}`, lists included."""
    for key in list(node) if OmegaConf.is_dict(node) else range(len(node)):
        path = f"{prefix}[{key}]" if isinstance(key, int) and prefix else f"{prefix}.{key}".lstrip(".")
        child = node._get_node(key)
        if OmegaConf.is_interpolation(node, key):
            yield node, key, path
        elif isinstance(child, (DictConfig, ListConfig)) and not (child._is_none() or child._is_missing()):
            yield from _interpolations(child, path)


def complete(action: str) -> None:
    """Shell completion, which is Hydra's; `action` is one of its own, such as install=bash."""
    before, sys.argv = sys.argv, [sys.argv[0], "-sc", action]
    _plugins()
    try:
        hydra.main(config_path=str(CONFIGS), config_name="train", version_base="1.3")(lambda cfg: None)()
    finally:
        sys.argv = before


def as_yaml(values: Values) -> str:
    """Plain values as the text of config.yaml, which is OmegaConf's; libyaml writes it nine times as fast."""
    if not (_in_c and _is_plain(values)):
        return OmegaConf.to_yaml(OmegaConf.create(values))
    return yaml.dump(values, Dumper=_in_c, default_flow_style=False, allow_unicode=True, sort_keys=False)


_in_c: type[yaml.CDumper] | None = None  # where PyYAML was built without libyaml
if yaml.__with_libyaml__:

    class _InC(yaml.CDumper):
        def ignore_aliases(self, data: object) -> bool:
            return True

    _InC.add_representer(str, OmegaConfDumper.str_representer)  # pyrefly: ignore[bad-argument-type] - in C or not
    _in_c = _InC


def _is_plain(value: object) -> bool:
    """Whether libyaml is sure to write a value as PyYAML does: they differ in empty keys, in how long lines are cut,
    and in what is not ASCII.
    """
    if isinstance(value, dict):
        keys = all(type(key) is str and _KEY.fullmatch(key) for key in value)
        return type(value) is dict and keys and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return type(value) is list and all(map(_is_plain, value))
    return bool(_TEXT.fullmatch(value)) if isinstance(value, str) else type(value) in _SCALARS


_KEY, _TEXT = re.compile(r"[!-~]{1,60}"), re.compile(r"[!-~]{0,120}|[ -~]{0,40}")
_SCALARS = (int, float, bool, type(None))
