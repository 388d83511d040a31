"""Configurations as `compose` makes them, whose choices Hydra composes once: where a test is not about composing.

Hydra takes 80 ms for each, and these tests need thousands. tests/config shows that both make the same, and has Hydra's;
its files are read once there, too.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from hydra._internal.config_repository import ConfigRepository
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult

from dltrain.config import compose, hydra
from dltrain.config.choices import CONFIGS, Groups, Snapshot, folders
from dltrain.config.composer import Composer
from dltrain.errors import key_of

HYDRAS, HYDRAS_COMPOSER, HYDRAS_READER = compose.compose, hydra.composer, ConfigRepository.load_config
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


def read_once(self: ConfigRepository, config_path: str) -> ConfigResult | None:
    """What Hydra's `load_config` gives: of dltrain's groups and of Hydra's own, whose files stay as they are, once."""
    source = self._find_object_source(config_path, ObjectType.CONFIG)
    if source is None or (source.scheme(), source.path) not in _OURS or "/" not in config_path:
        return HYDRAS_READER(self, config_path)
    key = (source.path, config_path)
    found = _read.get(key) or HYDRAS_READER(self, config_path)
    if found.header.get("package") != "_global_":  # Hydra merges others into what it read of those
        _read[key] = found
    return copy.copy(found)


_OURS = {("file", str(CONFIGS)), ("pkg", "hydra.conf"), ("structured", "")}


def _digest(folder) -> str:
    told = sha256()
    for file in sorted(folder.rglob("*")):
        told.update(repr((str(file.relative_to(folder)), file.is_file() and file.read_bytes())).encode())
    return told.hexdigest()
