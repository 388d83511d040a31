"""Configurations as `compose` makes them, whose choices Hydra composes once: where a test is not about composing.

Hydra takes 80 ms for each, and these tests need thousands. tests/config shows that both make the same, and has Hydra's.
"""

from collections.abc import Sequence

from dltrain.config import compose
from dltrain.config.choices import Groups
from dltrain.config.composer import Composer
from dltrain.errors import key_of

HYDRAS = compose.compose
_composer = Composer()


def quick(overrides: Sequence[str], config_dir: Groups = None, *, sweep: bool = False) -> compose.Composed:
    """What `compose` gives."""
    if config_dir or any(key_of(text).split(".")[0] in ("sweep", "experiment", "hydra") for text in overrides):
        return HYDRAS(overrides, config_dir, sweep=sweep)
    return _composer(overrides)
