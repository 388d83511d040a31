"""A torch profile of some training steps: where the time of a step goes, operation by operation."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from dltrain.errors import tables
from dltrain.errors.output import say
from dltrain.runs import storage

_WARM_UP = 10  # steps before the first one of a profile: memory, caches and threads have settled
_ROWS = 12  # operations of the table


class StepProfile:
    """Profiles `steps` training steps after the first ten of this process; call it after each step, and `close` it.

    Writes folder/profile: `steps-A-to-B.pt.trace.json`, a Chrome trace, which Perfetto and Chrome itself
    open, and `operations.txt`, the operations that took longest by themselves. A disk that refuses them is only said.
    """

    def __init__(self, folder: Path, steps: int, *, device: torch.device | str = "cpu") -> None:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else its library reports every start, and each missing GPU
        self._folder, self._steps, self._done = folder / "profile", steps, 0
        kind = torch.device(device).type.upper()
        self._device = [ProfilerActivity[kind]] if kind in ("CUDA", "XPU") else []
        self._profile: profile | None = None

    def __call__(self) -> None:
        """A step has been made."""
        self._done += 1
        if self._done == _WARM_UP:
            self._profile = profile(activities=[ProfilerActivity.CPU, *self._device], acc_events=True)
            self._profile.start()
        elif self._profile is not None and self._done == _WARM_UP + self._steps:
            self.close()

    def close(self) -> None:
        """Ends the profile and writes it, if it has begun; a run that ends within it leaves a shorter one."""
        if self._profile is None:
            return
        self._profile.stop()
        made, self._profile = self._profile, None
        if self._done == _WARM_UP:
            return
        name = f"steps-{_WARM_UP + 1}-to-{self._done}.pt.trace.json"
        with tempfile.TemporaryDirectory() as draft:
            made.export_chrome_trace(str(Path(draft, name)))
            trace = Path(draft, name).read_bytes()
        try:
            storage.write_folder(self._folder, {name: trace, "operations.txt": self._table(made).encode()})
        except OSError as error:
            say(f"warning: {self._folder} can't be written: {error.strerror}", error=True)

    def _table(self, made: profile) -> str:
        """The operations that took longest, without the time of those that they called."""
        key = "self_device_time_total" if self._device else "self_cpu_time_total"  # microseconds
        rows = sorted(made.key_averages(), key=lambda row: getattr(row, key), reverse=True)
        steps, total = self._done - _WARM_UP, sum(getattr(row, key) for row in rows) or 1.0
        table = [["operation", "calls/step", "us/step", "share"]]
        for row in rows[:_ROWS]:
            time = getattr(row, key)
            name = row.key if len(row.key) < 43 else f"{row.key[:40]}..."
            table.append([name, f"{row.count / steps:.1f}", f"{time / steps:.1f}", f"{time / total:.1%}"])
        table.append(["all", "", f"{total / steps:.1f}", f"{1:.1%}"])
        return "\n".join([*tables.table(table), ""])
