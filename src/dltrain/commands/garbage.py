"""When garbage is collected: not while modules are imported, which leave none; looking for it takes a tenth of that."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def left_alone(*, goes_on: bool = False) -> Iterator[None]:
    """Inside, nothing is collected before `collect_again`; afterwards it is, as before where the process goes on."""
    on, kept = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    try:
        yield
    finally:
        if goes_on and not kept:
            gc.unfreeze()
        if on or not goes_on:
            gc.enable()
        else:
            gc.disable()


def collect_again() -> None:
    """Garbage is collected from here on; what was imported stays out of it."""
    if not gc.get_freeze_count():  # once: a later call would also keep what is garbage by then
        gc.freeze()
    gc.enable()
