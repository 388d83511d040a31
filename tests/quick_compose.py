"""Configurations as `compose` makes them, whose choices Hydra composes once: where a test is not about composing.

Hydra takes 80 ms for each, and these tests need thousands. tests/config shows that both make the same, and has Hydra's;
what Hydra does alike in each composition it does once there, too (`PARTS`).
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from itertools import takewhile

import omegaconf.base
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository, IConfigRepository
from hydra.core.default_element import InputDefault, ResultDefault
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult
from omegaconf import DictConfig, OmegaConf, flag_override

from dltrain.config import compose, hydra
from dltrain.config.choices import CONFIGS, Groups, Snapshot, folders
from dltrain.config.composer import Composer
from dltrain.errors import key_of

HYDRAS, HYDRAS_COMPOSER = compose.compose, hydra.composer
_composer = Composer()
_made: dict[tuple[object, ...], hydra.Composition] = {}
_read: dict[tuple[str, str], ConfigResult] = {}


def quick(overrides: Sequence[str], config_dir: Groups = None, *, sweep: bool = False) -> compose.Composed:
    """What `compose` gives."""
    if config_dir or any(key_of(text).split(".")[0] in ("sweep", "hydra") for text in overrides):
        return HYDRAS(overrides, config_dir, sweep=sweep)
    made = _composer(overrides)
    return made if sweep or not (made.parameters or made.asked) else HYDRAS(overrides, config_dir)


@contextmanager
def remembered(config_dir: Groups = None) -> Iterator[Callable[[Sequence[str]], hydra.Composition]]:
    """What `hydra.composer` gives, which is asked once for the same words of the same files; a user's own files may
    change, and are read each time.
    """
    if config_dir and not isinstance(config_dir, Snapshot):
        with HYDRAS_COMPOSER(config_dir) as composed:
            yield composed
        return
    files = config_dir and (config_dir.foreign, *(_digest(folder) for folder in folders(config_dir)))

    def composed(overrides: Sequence[str]) -> hydra.Composition:
        key = (files, *overrides)
        if key not in _made:
            with HYDRAS_COMPOSER(config_dir) as compose_them:
                _made[key] = compose_them(overrides)
        return hydra.Composition(_made[key]._cfg)

    yield composed


_OURS = {("file", str(CONFIGS)), ("pkg", "hydra.conf"), ("structured", "")}


def _digest(folder) -> str:
    told = sha256()
    for file in sorted(folder.rglob("*")):
        told.update(repr((str(file.relative_to(folder)), file.is_file() and file.read_bytes())).encode())
    return told.hexdigest()


# -- what Hydra does in each composition, once ---------------------------------------------------------------------

_load_config = ConfigRepository.load_config
_compose = ConfigLoaderImpl._compose_config_from_defaults_list
_map = defaults_list._create_interpolation_map
_embedded: dict[str, DictConfig] = {}
_NOTHING = OmegaConf.create()


def _read_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    """What Hydra reads of dltrain's groups and of its own, whose files stay as they are."""
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or (source.scheme(), source.path) not in _OURS:
        return _load_config(self, config_path)
    key = (source.path, config_path)
    if key not in _read:
        _read[key] = _load_config(self, config_path)
    found = copy.copy(_read[key])
    if "/" not in config_path or found.header.get("package") == "_global_":  # into those Hydra merges others
        found.config = copy.deepcopy(found.config)
    return found


def _compose_own_once(self: ConfigLoaderImpl, defaults: list[ResultDefault], repo: IConfigRepository) -> DictConfig:
    """What Hydra composes: of its own files, which come first and take half of the time, once."""
    if not {(source.scheme(), source.path) for source in repo.get_sources()} <= _OURS:
        return _compose(self, defaults, repo)
    own = list(takewhile(lambda default: default.config_path.startswith("hydra/"), defaults))
    if (key := str(own)) not in _embedded:
        _embedded[key] = _compose(self, own, repo)
    made, others = copy.deepcopy(_embedded[key]), _compose(self, defaults[len(own) :], repo)
    with flag_override(made, "no_deepcopy_set_nodes", True):
        made.merge_with(others)
    return made


def _map_where_asked(overrides: object, defaults: list[InputDefault], self_added: bool) -> DictConfig:
    """What Hydra makes for each file, a fifth of its time, and looks into where one choice is named after another."""
    return _map(overrides, defaults, self_added) if any("${" in str(vars(d)) for d in defaults) else _NOTHING


PARTS = {  # of Hydra and OmegaConf -> what does the same
    (ConfigRepository, "load_config"): _read_once,
    (ConfigLoaderImpl, "_compose_config_from_defaults_list"): _compose_own_once,
    (defaults_list, "_create_interpolation_map"): _map_where_asked,
    (omegaconf.base, "parse"): lru_cache(1_000)(omegaconf.base.parse),
}
WHOLE = {(owner, name): getattr(owner, name) for owner, name in PARTS}


def put_in_place(put: Callable[[object, str, object], None] = setattr) -> None:
    """From here on dltrain composes quickly."""
    for (owner, name), part in {(compose, "compose"): quick, (hydra, "composer"): remembered, **PARTS}.items():
        put(owner, name, part)
