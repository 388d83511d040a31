"""What must not depend on an interruption, taken from a run folder and made comparable with ==."""

import hashlib
import json
import shutil
from pathlib import Path

import torch

from dltrain.runs import checkpoint, run_folder


def outcome(folder: Path):
    """Last weights and state, best weights, metrics."""
    _, weights, state = checkpoint.latest(folder / "checkpoints")
    for name in ("seconds", "config_sha256", "environment"):
        state.pop(name)
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    best = checkpoint.find(folder / "checkpoints", "best")
    return (
        plain(weights),
        plain(state),
        [{k: v for k, v in line.items() if k != "train/samples_per_s"} for line in lines],
        [p.name for p in best],
        [plain(part) for part in checkpoint.load(best[-1])],
    )


def plain(value, *, small=1000):
    """What == compares: tensors as their bits, the few numbers of a small one as such; NaN as text."""
    if isinstance(value, torch.Tensor) and value.is_meta:  # which has no values
        return [str(value.dtype), list(value.shape)]
    if isinstance(value, torch.Tensor) and value.numel() > small:
        bits = value.contiguous().reshape(-1).view(torch.uint8).numpy()
        return [str(value.dtype), list(value.shape), hashlib.sha256(bits).hexdigest()]
    if isinstance(value, torch.Tensor):
        return plain(value.tolist(), small=small)
    if isinstance(value, dict):
        return {k: plain(v, small=small) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, small=small) for v in value]
    return str(value) if value != value else value


def make_failed(job: Path, *typed: str) -> None:
    """Has a job of a sweep look as if no plan could be made of what was typed."""
    shutil.rmtree(job)
    job.mkdir()
    (job / ".lock").touch()
    run_folder.write_overrides(job, typed)
    error = "optimizer.lr: Invalid learning rate: -1 (override optimizer.lr=-1)"
    run_folder.write_json(job / "summary.json", {"status": "failed", "error": error, "seconds": 0.1})
    with (job.parent / "jobs.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"job": int(job.name), "state": "failed", "reason": error}) + "\n")
