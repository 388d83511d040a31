"""Where the time of a command goes, from the start of its process to its end, phase by phase.

    OMP_NUM_THREADS=1 python scripts/profile_startup.py [--again N] trainer.epochs=1

Real timers around imports and a few functions, each phase without those inside it, so that they add up to the total.
They are set as the modules are imported. `--again N`: then so many times more in the same process, as the jobs of a
sweep are run, and a second table of the median of each phase.
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

_LIBRARIES = {  # whose import is a phase; what others import in passing counts for those
    *("dltrain", "hydra", "matplotlib", "numpy", "omegaconf", "polars", "safetensors", "scipy", "sklearn"),
    *("sympy", "tensorboard", "torch", "torch._dynamo", "torch._inductor", "torch.utils.tensorboard", "torchvision"),
}
_FUNCTIONS = {  # module -> function -> phase
    "dltrain.config.compose": {"compose": "compose"},
    "dltrain.config.nodes": {"first_look": "check"},
    "dltrain.config.hydra": {"as_yaml": "yaml"},
    "dltrain.config.plan": {"make_plan": "check"},
    "dltrain.config.checks.data": {"read": "data"},
    "dltrain.config.checks.net": {"try_model": "try the model"},
    "dltrain.config.build": {"make_trainer": "model", "make_loaders": "data"},
    "dltrain.data.fingerprint": {"fingerprint": "data"},
    "dltrain.engine.judges": {"Judges.metrics": "validation"},
    "dltrain.training.experiment": {"prepare": "run folder", "_loop": "training", "_judge": "test"},
    "dltrain.runs.run_folder": {"create": "run folder", "write_json": "run folder", "Lock.__init__": "run folder"},
    "dltrain.engine.records": {"Meter.record": "report"},
    "dltrain.runs.tracker": {"Tracker.__init__": "logging", "Tracker.write": "logging", "Tracker.hparams": "logging"},
    "dltrain.training.keeper": {"Keeper.save": "saving"},
    "dltrain.training.overview": {"describe": "words", "result": "words"},
}
_SEEN = 5e-5  # seconds of a phase that has a line of its own
_FIRST_CALL = {"dltrain.engine.trainer": {"Trainer._step": "first step"}}


class Profile(MetaPathFinder):
    """Seconds of each phase, in the order in which they end first; made before anything of dltrain is imported."""

    def __init__(self) -> None:
        self.seconds = {"interpreter": _age()}
        self._phases = ["other"]
        self._since = time.perf_counter()
        sys.meta_path.insert(0, self)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """What happens inside counts for `name`, and for no phase around it."""
        self._note()
        self._phases.append(name)
        try:
            yield
        finally:
            self._note()
            self._phases.pop()

    def _note(self) -> None:
        now = time.perf_counter()
        self.seconds[self._phases[-1]] = self.seconds.get(self._phases[-1], 0.0) + now - self._since
        self._since = now

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Finds a module as the other finders do, to time how it is executed."""
        library = name if name in _LIBRARIES else name.partition(".")[0]
        if name not in _LIBRARIES and library != "dltrain":
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((s for f in others if (s := f.find_spec(name, path, target)) is not None), None)
        if spec is not None and spec.loader is not None and hasattr(spec.loader, "exec_module"):
            execute = spec.loader.exec_module

            def timed(module: ModuleType) -> None:
                with self.phase(f"import {library}"):
                    execute(module)
                self._set_timers(module)

            spec.loader.exec_module = timed  # type: ignore[method-assign]
        return spec

    def _set_timers(self, module: ModuleType) -> None:
        for names, once in ((_FUNCTIONS, False), (_FIRST_CALL, True)):
            for dotted, phase in names.get(module.__name__, {}).items():
                *owner, name = dotted.split(".")
                place = functools.reduce(getattr, owner, module)
                setattr(place, name, self._timed(getattr(place, name), phase, place if once else None))

    def _timed(self, function: Callable[..., Any], phase: str, place: Any) -> Callable[..., Any]:
        """The function with a timer; with `place`, where it stands, only its first call has one."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if place is not None:
                setattr(place, function.__name__, function)
            with self.phase(phase):
                return function(*args, **kwargs)

        return timed

    def taken(self) -> dict[str, float]:
        """Seconds of each phase since this was last asked."""
        self._note()
        seconds, self.seconds = self.seconds, {}
        return seconds


def table(seconds: dict[str, float]) -> str:
    """Seconds and share of each phase that took 50 microseconds or more; the rest is in `other`."""
    total = sum(seconds.values())
    rest = seconds.get("other", 0.0) + sum(s for n, s in seconds.items() if s < _SEEN and n != "other")
    rows = [(n, s) for n, s in seconds.items() if s >= _SEEN and n != "other"]
    lines = [f"{n:<31}{s:9.4f} s {s / total:6.1%}" for n, s in [*rows, ("other", rest), ("total", total)]]
    return "\n".join(lines)


def _age() -> float:
    """Seconds since this process began, to the hundredth; 0 where the system does not tell."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks = int(fields[19])  # field 22: when it began, in clock ticks after the boot
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def main() -> None:
    arguments = sys.argv[1:]
    again = 0
    if arguments[:1] == ["--again"]:
        again, arguments = int(arguments[1]), arguments[2:]
    profile = Profile()
    if not again:  # so that its end is in it, too
        atexit.register(lambda: print(f"\n{table(profile.taken())}", file=sys.stderr))
    from dltrain.commands import cli

    if not again:
        cli.main(arguments)
    _run(cli.main, arguments)
    print(f"\n{table(profile.taken())}", file=sys.stderr)
    rounds = []
    for _ in range(again):
        with redirect_stdout(io.StringIO()):
            _run(cli.main, arguments)
        rounds.append(profile.taken())
    names = dict.fromkeys(name for seconds in rounds for name in seconds)
    medians = {name: median(seconds.get(name, 0.0) for seconds in rounds) for name in names}
    print(f"\nagain, the median of {again}\n{table(medians)}", file=sys.stderr)


def _run(command: Callable[[list[str]], None], arguments: list[str]) -> None:
    """A command up to its end; one that fails ends this."""
    try:
        command(arguments)
    except SystemExit as end:
        if end.code:
            raise


if __name__ == "__main__":
    main()
