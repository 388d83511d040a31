"""Training processes to be killed: forked by a server in which torch is warm and has no threads.

Not forks of the test process: OpenMP and polars keep threads there, which do not survive a fork. `multiprocessing`'s
fork server imports `nursery_warm` once, and each child then starts within milliseconds.
"""

import functools
import mmap
import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from dltrain.commands import cli, train
from dltrain.config import compose
from dltrain.config.plan import Plan, make_plan
from dltrain.data.loaders import _stop_all_workers
from dltrain.engine.trainer import Trainer
from dltrain.errors import BusyError
from dltrain.runs import run_folder
from dltrain.training import experiment
from dltrain.training.stop import Stop, stop_on_signal

COMMON = "trainer.tensorboard=false trainer.progress=false trainer.threads=1 trainer.save_every=0"
RUNS = {
    "dropout and BatchNorm": "data=digits data.batch_size=128 model.widths=[32] model.dropout=0.2 model.norm=batch "
    "trainer.epochs=4",
    "streamed images, two workers": "data=digits data.batch_size=256 data.workers=2 regularisation=[rand_augment] "
    "trainer.epochs=3",
    "accumulation": "data=digits data.batch_size=32 trainer.accumulate=4 trainer.epochs=4",
    "plateau": "data=wine data.batch_size=16 scheduler=plateau regularisation=[dropout,input_noise] trainer.epochs=5",
    "average": "data=wine data.batch_size=16 regularisation=[ema,mixup] trainer.epochs=5 trainer.report_every=0.5",
    "bf16": "data=digits data.batch_size=128 trainer.precision=bf16 trainer.epochs=4 model.dropout=0.1",
}
# Data made by torch: polars, which tables need, does not survive a fork.
SWEEP = shlex.split(
    f"-m {COMMON} data=moons data.batch_size=64 regularisation=[dropout] trainer.epochs=4 optimizer.lr=0.001,0.01"
)
NOWHERE, SAVING, VALIDATING, STEPPING = range(4)


@functools.cache
def plan_of(name: str, *overrides: str) -> Plan:
    """The plan of one of `RUNS`."""
    return make_plan(compose.compose([*shlex.split(f"{COMMON} {RUNS[name]}"), *overrides]))


def new_folder(plan: Plan, root: Path) -> Path:
    """A run folder below `root`, prepared and not yet trained in."""
    folder = run_folder.create(root, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    return folder


def go_on(name: str, folder: str, place: str) -> None:
    """A child that goes on with the run of `folder`, and ends; one byte of the file `place` shows what it is doing."""
    _be_a_child(lambda stop: train._told(experiment.go_on(plan_of(name), Path(folder), stop=stop), []), place)


def command(words: list[str], root: str, place: str) -> None:
    """A child that does what `dltrain WORDS` does in the folder `root`."""
    os.chdir(root)
    _be_a_child(lambda stop: cli._run(words), place)


def rank(words: list[str], root: str, place: str, environ: dict[str, str], said: str) -> None:
    """A child that does what `dltrain WORDS` does in the folder `root` as one of several processes, whichever `environ`
    says; what it says goes to the file `said`.
    """
    os.chdir(root)
    os.environ.update(environ)
    _be_a_child(lambda stop: cli._exit_code(words), place, said)


def _be_a_child(work: Callable[[Stop], int], place: str, said: str = os.devnull) -> None:
    """In a process group of its own."""
    code = 1
    try:
        assert "nursery_warm" in sys.modules, "the server could not import it"
        os.setsid()
        multiprocessing.set_start_method("fork", force=True)  # a child of the server would start workers by a server
        away = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(away, 1)
        os.dup2(away, 2)
        with open(place, "r+b") as file:
            shown = mmap.mmap(file.fileno(), 1)
        for owner, method, number in (
            (experiment.Session, "save", SAVING),
            (experiment.Session, "judge", VALIDATING),
            (experiment.Session, "validation", VALIDATING),
            (Trainer, "_step", STEPPING),
        ):
            _show(owner, method, number, shown)
        with stop_on_signal() as stop:
            code = work(stop)
    except KeyboardInterrupt:
        code = 130
    except BusyError:
        code = 6
    finally:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)  # the code must tell how the run ended, not how this child did
        sys.stdout.flush()
        _stop_all_workers()
        os._exit(code)


def _show(owner: type, name: str, number: int, shown: mmap.mmap) -> None:
    inner = getattr(owner, name)

    def outer(*args, **kwargs):
        before, shown[0] = shown[0], number
        try:
            return inner(*args, **kwargs)
        finally:
            shown[0] = before

    setattr(owner, name, outer)
