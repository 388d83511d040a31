"""`--dry-run`: what a sweep would train, and about how long that takes; nothing is kept."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

from dltrain.errors import ConfigError, key_of
from dltrain.errors.output import cut
from dltrain.runs.pulse import duration
from dltrain.sweeps import request, snapshot
from dltrain.sweeps.engines import Looked
from dltrain.sweeps.engines.chosen import chosen
from dltrain.sweeps.engines.local import Processes, look
from dltrain.sweeps.orders import Orders
from dltrain.sweeps.request import Options, Request
from dltrain.sweeps.space import Axis

_SHOWN = 20  # jobs
_LOOKED_AT = 200  # jobs whose plans are made, as before a sweep


def preview(wanted: Request, options: Options) -> str:
    """Raises ConfigError for what the sweep itself would refuse; a Ray cluster is not asked."""
    knobs, device = wanted.settings, wanted.device
    notes = [*request.notes(wanted, options.config_dir), *wanted.space.check(options.allow)]
    room = wanted.room()
    jobs = [*itertools.islice(wanted.trials.jobs(0), _SHOWN)]
    total = wanted.trials.total if len(jobs) == _SHOWN else len(jobs)  # fewer where the space is drawn out
    if knobs.engine == "submitit":
        with chosen(knobs, Processes(), device=device):
            pass
    looked, seconds = Looked([], []), None
    if knobs.engine == "local" or device in ("auto", "cpu"):  # else this machine may lack what jobs want
        with tempfile.TemporaryDirectory(prefix="dltrain-") as name:
            snapshot.take(Path(name), options.config_dir)
            orders = Orders(name, own_groups=bool(options.config_dir), threads=wanted.threads, allow=options.allow)
            looked, seconds = look(orders, wanted.space.samples(_LOOKED_AT), timed=True)
    if looked.wrong:
        raise ConfigError("\n".join(dict.fromkeys(line for _, line in looked.wrong)))
    known = knobs.engine != "ray" or knobs.workers != "auto"
    took = f", about {duration(seconds * total / room.most)}" if known and seconds is not None else ""
    took += f" without sweep.prune={knobs.prune}" if took and knobs.prune else ""
    at_once = f"{room.most} at once" if known else "as many at once as the cluster has room for"
    lines = [f"{total:,} job{'s' * (total != 1)}, {at_once}{took}; nothing is trained (--dry-run)"]
    lines += [f"  {axis.name}: {_values(axis)}" for axis in wanted.space.varied]
    for texts in {*zip(*wanted.trials.repeats, strict=True)}:
        lines.append(f"  {key_of(texts[0])}: {len({*texts})} for each trial")
    lines += [f"note: {note}" for note in [*notes, *looked.notes]]
    lines += [f"[{number}] {cut(' '.join(typed), 300)}" for number, typed in enumerate(jobs)]
    return "\n".join([*lines, *([f"... and {total - len(jobs):,} more"] if total > len(jobs) else [])])


def _values(axis: Axis) -> str:
    if ends := axis.interval:
        return f"from {ends.first} to {ends.last}{', by its logarithm' * ends.log}"
    return cut(", ".join(axis.values), 200)
