"""The run folder: what stands in it, its lock, how it is found, read, checked and written.

Every stored file is read by `foreign` and written by `storage`. It may import `engine` and what stands before it. As
`dltrain.runs(where, *conditions, sort=...)` it is a function as well, the table of runs: `insight.frames.runs`.
"""

import sys
from importlib import import_module
from types import ModuleType


class _Room(ModuleType):
    """A module that can be called: the natural name of the function is the room's."""

    def __call__(self, *arguments: object, **named: object) -> object:
        return import_module("dltrain.insight.frames").runs(*arguments, **named)


sys.modules[__name__].__class__ = _Room
