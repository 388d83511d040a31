"""When garbage is collected: not while modules are imported, which leave none; looking for it takes a tenth of that."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

# Whether what was imported stays out by us; False: by others before us. To ask gc each time would count all that stays
# out, 50 ms for a million objects.
_ours: bool | None = None


@contextmanager
def left_alone(*, goes_on: bool = False) -> Iterator[None]:
    """Inside, nothing is collected before `collect_again`; afterwards it is, as before where the process goes on."""
    global _ours
    on, before = gc.isenabled(), _ours
    gc.disable()
    try:
        yield
    finally:
        if goes_on and _ours and before is None:
            gc.unfreeze()
            _ours = None
        if on or not goes_on:
            gc.enable()
        else:
            gc.disable()


def collect_again() -> None:
    """Garbage is collected from here on; what was imported stays out of it."""
    global _ours
    if _ours is None:  # once: a later call would also keep what is garbage by then
        _ours = not gc.get_freeze_count()
        if _ours:
            gc.freeze()
    gc.enable()
