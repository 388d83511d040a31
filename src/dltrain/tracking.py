"""Readers of a `Record`: a progress bar, metrics.jsonl and TensorBoard. None of them stops a run when it fails."""

from __future__ import annotations

import json
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from dltrain.trainer import Record

_POINTS = 20  # at most this many points of the step-wise loss per report: their writing costs 30 microseconds each


class Tracker:
    """Writes each record everywhere. `start` is the step that the run goes on from: later lines are dropped."""

    def __init__(self, folder: Path, *, total_steps: int, start: int, bar: bool, tensorboard: bool) -> None:
        self._path = folder / "metrics.jsonl"
        if self._path.exists():
            self._rewind(start)
        self._writer = _writer(folder, start) if tensorboard else None
        self._bar = _bar(total_steps, start) if bar and sys.stderr.isatty() else None
        self._warned = False

    def _rewind(self, start: int) -> None:
        """Keeps the lines up to `start`; the run writes the later ones again."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if (step := _step(line)) is not None and step <= start]
        self._path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    @property
    def progress(self) -> Any:
        """What the loop calls after each step, or None."""
        return self._bar.update if self._bar else None

    def write(self, record: Record) -> None:
        """Adds one report."""
        numbers = {name: value if math.isfinite(value) else None for name, value in record.metrics.items()}
        line = json.dumps({"step": record.step, "epoch": round(record.epoch, 4), **numbers})
        try:
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(line + "\n")
            if self._writer:
                self._curves(record)
        except OSError as error:
            self._warn(f"logging to {self._path.parent} failed ({error.strerror}); training goes on without")
        if self._bar:
            self._bar.set_postfix_str(_short(record.metrics), refresh=False)

    def _curves(self, record: Record) -> None:
        for name, value in record.metrics.items():
            self._writer.add_scalar(name, value, record.step, new_style=True)
        first = record.step - len(record.losses)
        for part in range(0, len(record.losses), width := math.ceil(len(record.losses) / _POINTS)):
            losses = record.losses[part : part + width]
            step = first + part + len(losses)
            self._writer.add_scalar("train/loss_by_step", losses.mean().item(), step, new_style=True)

    def hparams(self, config: dict[str, Any], summary: dict[str, Any]) -> None:
        """Fills TensorBoard's HParams tab from this run's own event file: every key, the status, the final metrics.

        `SummaryWriter.add_hparams` would open a second run in a sub-folder for it.
        """
        if not self._writer:
            return
        from torch.utils.tensorboard.summary import hparams

        results = {f"test/{name}": value for name, value in summary.get("test", {}).items()}
        results |= {f"val/best_{n}": v for n, v in summary["best"].items() if n not in ("train_loss", "step")}
        finite = {name: float(value) for name, value in results.items() if math.isfinite(value)}
        for proto in hparams({**config, "status": summary["status"]}, finite):
            self._writer.file_writer.add_summary(proto)
        for name, value in finite.items():
            self._writer.add_scalar(name, value, summary["steps"], new_style=True)

    def close(self) -> None:
        """Ends the bar and the event file."""
        if self._bar:
            self._bar.close()
        if self._writer:
            self._writer.close()

    def _warn(self, text: str) -> None:
        if not self._warned:
            print(f"warning: {text}", file=sys.stderr)
        self._warned = True


def _writer(folder: Path, start: int) -> Any:
    """A new event file; of those of earlier sessions it takes over what lies at or before `start`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensorboard's own dependencies
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from torch.utils.tensorboard import SummaryWriter
    # TensorBoard's own way, a purge mark, leaves the doubled points in place (seen with 2.21).
    old = sorted(folder.glob("events.out.tfevents.*"))
    events = [e for file in old for e in EventFileLoader(str(file)).Load() if e.step <= start]
    writer = SummaryWriter(str(folder), filename_suffix=f".{len(old)}")
    for event in events:
        if event.HasField("summary") and not any(v.tag.startswith("_hparams_") for v in event.summary.value):
            writer.file_writer.event_writer.add_event(event)
    writer.flush()
    for file in old:
        file.unlink()
    return writer


def _bar(total: int, start: int) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1)


def _step(line: str) -> int | None:
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):  # the last line of a run that was killed while writing
        return None


def _short(metrics: dict[str, float]) -> str:
    """Loss, validation metric, learning rate and throughput, for the bar."""
    parts = [f"loss {metrics['train/loss']:.4g}"]
    parts += [f"{n.removeprefix('val/')} {metrics[n]:.4g}" for n in ("val/accuracy", "val/rmse") if n in metrics]
    return ", ".join([*parts, f"lr {metrics['train/lr']:.2g}", f"{metrics['train/samples_per_s']:,.0f} samples/s"])
