"""The progress bar of a run."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from tqdm import tqdm


def _in_a_notebook() -> bool:
    return type(sys.stderr).__module__.partition(".")[0] == "ipykernel"


def is_seen() -> bool:
    """Whether somebody looks on: at a terminal, or in a notebook."""
    return sys.stderr.isatty() or _in_a_notebook()


def bar(total: int, start: int) -> tqdm[NoReturn]:
    if _in_a_notebook():
        with warnings.catch_warnings(action="ignore"):  # without ipywidgets it is drawn in letters
            from tqdm.auto import tqdm
    else:
        from tqdm import tqdm

    return tqdm(total=total, initial=start, unit="step", dynamic_ncols=True, smoothing=0.1)


def short(metrics: dict[str, float]) -> str:
    """Loss, validation metric, learning rate and throughput, for the bar."""
    parts = [f"loss {metrics['train/loss']:.4g}"]
    parts += [f"{n.removeprefix('val/')} {metrics[n]:.4g}" for n in ("val/accuracy", "val/rmse") if n in metrics]
    return ", ".join([*parts, f"lr {metrics['train/lr']:.2g}", f"{metrics['train/samples_per_s']:,.0f} samples/s"])
