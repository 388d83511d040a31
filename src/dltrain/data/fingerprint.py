"""What tells whether data are still the same: a hash of each part."""

from __future__ import annotations

import hashlib
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset

from dltrain.data import Data, Split, Tensors
from dltrain.data.loaders import make_loader
from dltrain.data.units import Units

_SAMPLED = 64  # samples of a part that streams


@runtime_checkable
class _Fingerprinted(Protocol):
    def fingerprint(self) -> bytes: ...


def fingerprint(data: Data) -> dict[str, str]:
    """SHA-256 of each part, as hex digits; of targets that are learned on a scale with that scale.

    Of a part in memory every byte counts (1.5 GB/s). Of one that streams: its length, `split.fingerprint()` where
    it has such a method, else 64 evenly spaced samples, so that a change elsewhere goes unseen.
    """
    found: dict[int, str] = {}
    parts = {"train": data.train, "val": data.val, "test": data.test}
    for part in parts.values():
        if id(part) not in found:
            found[id(part)] = _digest(part, data.units)
    return {name: found[id(part)] for name, part in parts.items()}


def _digest(part: Split, units: Units | None) -> str:
    if isinstance(part, Tensors) and part.digest is not None:
        return part.digest
    digest = hashlib.sha256(f"{len(part)}".encode())
    for tensor in units.tensors().values() if units else ():
        _add(digest, tensor)
    if isinstance(part, Tensors):
        for tensor in (part.x, part.y, part.mean, part.std, part.weight):
            _add(digest, tensor)
    elif isinstance(part, _Fingerprinted):
        digest.update(part.fingerprint())
    else:
        rows = np.linspace(0, len(part) - 1, min(len(part), _SAMPLED)).astype(int).tolist()
        some = Subset(part, rows)  # pyrefly: ignore[bad-argument-type] - as in `data.Some`; raw images stay raw
        for x, y, _ in make_loader(some, batch_size=8).epoch():
            _add(digest, x)
            _add(digest, y)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, tensor: Tensor | None) -> None:
    if tensor is not None:
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(f"{tensor.dtype}{list(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().data)
