"""The process that speaks with Ray: it is told jobs over a socket, and says how each has ended.

Of each job Ray runs a task, which trains it in a process of its own (`apart`). When the driver is gone the jobs save,
and what was started of Ray ends.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import signal
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dltrain.errors.output import one_line
from dltrain.runs.foreign import Values
from dltrain.sweeps.engines.apart import Apart, ended
from dltrain.sweeps.engines.served import Lines
from dltrain.sweeps.orders import Orders
from dltrain.sweeps.slots import slots

if TYPE_CHECKING:
    from ray import ObjectRef

_TICK = 0.05  # seconds between two looks at both sides
_LOOKS = 2.0  # seconds between two looks at which machines there are
_REACHED = 5.0  # seconds for a cluster to answer
_PATIENCE = 20.0  # seconds for jobs to save, once nobody waits for them
_STORE = 80 << 20  # bytes for values that tasks leave, of which these leave next to none; Ray's least
_LONGEST = 50  # letters of a folder for Ray's sockets, whose paths may have a hundred


def main(handle: int, text: str) -> None:
    """Serves the driver at the other end of an inherited socket until that closes it."""
    wanted = json.loads(text)
    with socket.socket(fileno=handle) as driver:
        try:
            with _ray(wanted["address"] or os.environ.get("RAY_ADDRESS") or "local"):
                _Server(driver, wanted).serve()
        except Exception as error:  # Ray has many of its own
            _say(driver, cluster={"refused": one_line(str(error) or type(error).__name__)})


@contextmanager
def _ray(address: str) -> Iterator[None]:
    """Connects with a cluster, or starts one for this sweep, which no other can speak with."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    if address != "local":
        import ray

        _reach(address)
        try:
            ray.init(address, log_to_driver=False, configure_logging=False)
        except ConnectionError as error:
            if address == "auto":
                raise ConnectionError("no Ray cluster runs on this machine: start one by ray start --head") from error
            raise
        yield
        return ray.shutdown()
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # before Ray is imported
    os.environ |= {"RAY_kill_child_processes_on_worker_exit": "0"}  # jobs see that theirs has gone, and save
    import ray

    usual = tempfile.gettempdir()
    place = tempfile.TemporaryDirectory(
        prefix="dltrain-", dir=usual if len(usual) < _LONGEST else "/tmp", ignore_cleanup_errors=True
    )
    with place as folder:
        ray.init(
            "local",
            num_cpus=slots("auto", device="cpu").most,
            object_store_memory=_STORE,
            include_dashboard=False,
            log_to_driver=False,
            configure_logging=False,
            _temp_dir=folder,
        )
        try:
            yield
        finally:
            ray.shutdown(wait_for_processes=True)  # they write to the folder to their end
    return None


def _reach(address: str) -> None:
    """Raises ConnectionError where nothing listens at HOST:PORT: Ray would end the process over it, after a minute."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal():
        if address != "auto":
            raise ConnectionError(f"sweep.cluster.address={address}: want auto, local, or HOST:PORT as ray start tells")
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _REACHED).close()
    except (OSError, OverflowError) as error:
        raise ConnectionError(f"no Ray cluster answers at {address}: {error}") from error


def _say(driver: socket.socket, **what: object) -> None:
    with suppress(OSError):  # it is gone, which the next read tells
        driver.sendall(json.dumps(what).encode() + b"\n")


def _train(job: Apart, environment: Mapping[str, str]) -> Values:
    """What a task of Ray's does. A task that is called off gets SIGINT."""
    return job.train(signal.SIGINT, signal.SIGTERM, **environment)


class _Server:
    def __init__(self, driver: socket.socket, wanted: Values) -> None:
        import ray

        self._driver, self._lines = driver, Lines(driver)
        self._running: dict[ObjectRef[Values], int] = {}
        self._asked = False  # to stop
        gpus = wanted["num_gpus"]
        if gpus is None:
            gpus = int(wanted["needs_gpus"] or (wanted["may_use_gpus"] and "GPU" in ray.cluster_resources()))
        own = wanted["resources"] or {}
        self._each = {"CPU": wanted["num_cpus"], "GPU": gpus, "memory": wanted["memory"] or 0, **own}
        if kind := wanted["accelerator_type"]:
            self._each[f"accelerator_type:{kind}"] = 0.001
        self._asks = [name for name, each in self._each.items() if each]
        self._hidden = {} if gpus else {"CUDA_VISIBLE_DEVICES": ""}  # Ray hides none of a job that asked for none
        self._task = ray.remote(
            num_cpus=wanted["num_cpus"],
            num_gpus=gpus,
            memory=wanted["memory"],
            resources=own,
            accelerator_type=kind,
            max_retries=0,
        )(_train)

    def serve(self) -> None:
        room, looked = self._room(), time.monotonic()
        told = {"room": room, "gpus": bool(self._each["GPU"]), "job": _in_words(self._each, self._asks)}
        _say(self._driver, cluster=told | {"machines": self._machines()})
        nobody: list[int] = []
        while True:
            if self._lines.waiting or select.select([self._driver], nobody, nobody, 0 if self._running else _TICK)[0]:
                if not (asked := self._lines.next()):
                    return self._leave()
                self._do(asked)
            self._hear(_TICK)
            if time.monotonic() - looked > _LOOKS:
                looked = time.monotonic()
                if room != (room := self._room()):
                    _say(self._driver, room=room)

    def _do(self, asked: Values) -> None:
        if "folder" in asked:
            self._orders = Orders.of(asked)
        elif "start" in asked:
            job = Apart.of(self._orders, asked["start"], asked["overrides"], asked["until"])
            task = self._task.options(name=f"dltrain job {asked['start']}")
            self._running[task.remote(job, self._hidden)] = asked["start"]
        elif "signal" in asked:
            self._stop(asked["job"])

    def _stop(self, which: int | None = None) -> None:
        import ray

        self._asked = True
        for task, number in self._running.items():
            if which in (None, number):
                ray.cancel(task)

    def _hear(self, seconds: float) -> None:
        """Tells of jobs that have ended, as soon as one has."""
        import ray

        done = ray.wait([*self._running], timeout=seconds)[0] if self._running else []
        for task in done:
            number = self._running.pop(task)
            said, otherwise, code = self._of(task)
            folder = Path(self._orders.folder)
            found = ended(number, said, folder, stopping=self._asked, otherwise=otherwise, code=code)
            _say(self._driver, ended=number, told=found.told, code=found.code, memory=0)

    def _of(self, task: ObjectRef[Values]) -> tuple[Values, str, int | None]:
        """What a task says; else what is wrong with it, and what its exit code would be: None is no fault of the
        job's.
        """
        import ray
        from ray import exceptions

        try:
            return ray.get(task), "", 0
        except (exceptions.OutOfMemoryError, exceptions.WorkerCrashedError) as error:
            return {}, f"Ray says: {_first(error)}", -signal.SIGKILL
        except exceptions.RayTaskError as error:
            return {}, f"on the machine of its own: {_first(error.cause or error)}", 1
        except exceptions.RayError as error:  # its machine has gone, or it was called off
            return {}, f"Ray says: {_first(error)}", None

    def _room(self) -> int:
        """How many jobs the machines have room for at once."""
        return sum(
            int(min(machine.get(name, 0) / self._each[name] for name in self._asks)) for machine in self._alive()
        )

    def _alive(self) -> list[dict[str, float]]:
        import ray

        return [found["Resources"] for found in ray.nodes() if found["Alive"]]

    def _machines(self) -> str:
        return "; ".join(dict.fromkeys(_in_words(machine, self._asks) for machine in self._alive()))

    def _leave(self) -> None:
        """The driver is gone: jobs save, and end."""
        self._stop()
        end = time.monotonic() + _PATIENCE
        while self._running and time.monotonic() < end:
            self._hear(_TICK)


def _in_words(has: Mapping[str, float], names: Iterable[str]) -> str:
    """A machine, or what a job asks for: as much as it has of these."""
    return ", ".join(_amount(name, has.get(name, 0)) for name in names)


def _amount(name: str, value: float) -> str:
    if name == "memory":
        return f"{value / 2**30:.3g} GiB"
    if ":" in name:  # of a kind, which a machine has or has not
        return f"{'a' if value else 'no'} {name.partition(':')[2]}"
    return f"{value:g} {name}{'s' * (name in ('CPU', 'GPU') and value != 1)}"


def _first(error: BaseException) -> str:
    return one_line(str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__)
