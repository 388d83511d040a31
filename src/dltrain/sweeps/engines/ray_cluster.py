"""Jobs on a Ray cluster, or on one that is started on this machine and ends with the sweep.

A process of our own speaks with Ray (`ray_server`): Ray takes over signals and threads of a process, prints to its
terminal, and ends it where it finds no other way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec

from dltrain.config.arguments import check_arguments
from dltrain.errors import ConfigError
from dltrain.errors.output import cut
from dltrain.runs.foreign import Values, is_number, node
from dltrain.sweeps.engines import Ended, Engine, Looked
from dltrain.sweeps.engines.served import Served
from dltrain.sweeps.orders import Orders

_PATIENCE = 30.0  # seconds for jobs to save, and for the processes of Ray to end
_NEEDS = "sweep.engine=ray needs Ray: pip install 'dltrain[ray]'"


@dataclass(frozen=True)
class Wanted:
    """The node `sweep.cluster`: which cluster, and what each job gets of it."""

    address: str | None = None  # HOST:PORT, auto, or local, which starts one; None: RAY_ADDRESS, else local
    num_cpus: float = 1
    num_gpus: float | None = None  # None: one where there are some, and jobs may use them
    memory: int | None = None  # bytes
    resources: dict[str, float] | None = None  # of the cluster's own names
    accelerator_type: str | None = None  # as A100

    def mistakes(self) -> dict[str, str]:
        """Values out of range, by key."""
        found: dict[str, str] = {}
        for key, value in (("num_cpus", self.num_cpus), ("num_gpus", self.num_gpus)):
            if value is not None and (value < 0 or (value > 1 and value != int(value))):
                found[key] = f"{value:g}: want a whole number, or a part of one"
        if self.num_cpus == 0:
            found["num_cpus"] = "0: a job takes a part of a processor at least, as 0.1"
        if self.address and self.address.startswith("ray://"):
            found["address"] = "ray:// leads to another machine's cluster: start dltrain on one of its machines"
        if any(not is_number(value) for value in (self.resources or {}).values()):
            found["resources"] = "want numbers, as {big: 1}"
        return found


def connected(given: Values, near: Engine, *, device: str, fits: bool) -> Engine:
    """The engine of `sweep.engine=ray`; raises ConfigError where it can't be as asked. fits: it is a mistake where a
    job asks for more than any machine of the cluster has now.
    """
    if os.name != "posix" or find_spec("ray") is None:
        raise ConfigError(_NEEDS)
    wrong = check_arguments(Wanted, given, node="sweep.cluster", called="Ray's sweep.cluster")
    wrong = wrong or Wanted(**given).mistakes()
    if wrong:
        raise ConfigError("\n".join(f"sweep.cluster.{key}: {message}" for key, message in wrong.items()))
    wanted = Wanted(**given)
    engine = Ray(wanted, near, device=device)
    try:
        engine.connect(fits=fits)
    except BaseException:
        engine.close()
        raise
    return engine


class Ray:
    """Has the process that speaks with Ray start jobs. near: the engine of this machine, which looks at plans before
    the first job, if this machine has what jobs want.
    """

    def __init__(self, wanted: Wanted, near: Engine, *, device: str) -> None:
        self._near, self._device = near, device
        told = asdict(wanted) | {"may_use_gpus": device in ("auto", "cuda"), "needs_gpus": device == "cuda"}
        self._far = Served("engines.ray_server", json.dumps(told), patience=_PATIENCE)
        self._gpus = True

    def connect(self, *, fits: bool) -> None:
        """Waits for the cluster. Raises ConfigError where there is none, or none for these jobs."""
        answer = node(self._far.answer("cluster"))
        if "room" not in answer:
            raise ConfigError(f"sweep.engine=ray: {cut(str(answer.get('refused') or 'Ray does not start'), 400)}")
        self._far.room, self._gpus = answer["room"], answer["gpus"]
        if fits and not self._far.room:
            raise ConfigError(
                f"sweep.engine=ray: no machine of the cluster has {answer['job']}; there are {answer['machines']}; "
                "ask for less by sweep.cluster.num_cpus=, num_gpus=, or say sweep.workers=N for a cluster that grows"
            )

    @property
    def room(self) -> int:
        """How many jobs the cluster has room for at once; one where it has lost all, as it may get more."""
        return max(1, self._far.room or 0)

    def brief(self, orders: Orders) -> None:
        self._near.brief(orders)
        self._far.brief(orders)

    def check(self, jobs: Sequence[Sequence[str]]) -> Looked:
        return self._near.check(jobs) if self._device in ("auto", "cpu") and not self._gpus else Looked([], [])

    def start(
        self, number: int, overrides: Sequence[str], *, gpu: str | None = None, until: float | None = None
    ) -> None:
        self._near.close()  # it has looked at what there was to look at
        self._far.start(number, overrides, until=until)

    def wait(self, seconds: float) -> list[Ended]:
        return self._far.wait(seconds)

    def signal(self, number: int, job: int | None = None) -> None:
        """Has jobs save and end, whatever the signal."""
        self._far.signal(number, job)

    def close(self) -> None:
        self._near.close()
        self._far.close()
