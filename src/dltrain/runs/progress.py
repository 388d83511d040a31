"""The progress bar of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(total: int, start: int) -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1)


def short(metrics: dict[str, float]) -> str:
    """Loss, validation metric, learning rate and throughput, for the bar."""
    parts = [f"loss {metrics['train/loss']:.4g}"]
    parts += [f"{n.removeprefix('val/')} {metrics[n]:.4g}" for n in ("val/accuracy", "val/rmse") if n in metrics]
    return ", ".join([*parts, f"lr {metrics['train/lr']:.2g}", f"{metrics['train/samples_per_s']:,.0f} samples/s"])
