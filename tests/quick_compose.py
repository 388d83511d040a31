"""Configurations as `compose` makes them, whose choices Hydra composes once: where a test is not about composing.

Hydra takes 80 ms for each, and these tests need thousands. tests/config shows that both make the same, and has Hydra's.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256

from dltrain.config import compose, hydra
from dltrain.config.choices import Groups, Snapshot, folders
from dltrain.config.composer import Composer
from dltrain.errors import key_of

HYDRAS, HYDRAS_COMPOSER = compose.compose, hydra.composer
_composer = Composer()
_made: dict[tuple[object, ...], hydra.Composition] = {}


def quick(overrides: Sequence[str], config_dir: Groups = None, *, sweep: bool = False) -> compose.Composed:
    """What `compose` gives."""
    if config_dir or any(key_of(text).split(".")[0] in ("sweep", "experiment", "hydra") for text in overrides):
        return HYDRAS(overrides, config_dir, sweep=sweep)
    return _composer(overrides)


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


def _digest(folder) -> str:
    told = sha256()
    for file in sorted(folder.rglob("*")):
        told.update(repr((str(file.relative_to(folder)), file.is_file() and file.read_bytes())).encode())
    return told.hexdigest()
