"""Pretrained weights of torchvision's classifiers: found in the hub's cache or downloaded, checked, and read as data.

torchvision itself takes a cached file as it is, and unpickles it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from dltrain.errors import DataError, system

How = Literal["fetch", "cached", "present", "skip"]
_HOW: ContextVar[How] = ContextVar("pretrained", default="fetch")
_HEADS = ("aux1.", "aux2.", "AuxLogits.")  # auxiliary ones, which are left out
_OLD_DENSENET = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")  # names that its files still have


@contextmanager
def weights(how: How) -> Iterator[None]:
    """What becomes of pretrained weights within it: `fetch` downloads them where they are missing, `cached` raises an
    error then, `present` and `skip` leave them out, then or always: a checkpoint follows that holds them all.
    """
    token = _HOW.set(how)
    try:
        yield
    finally:
        _HOW.reset(token)


def fill(network: nn.Module, url: str, name: str) -> None:
    """Gives a network of torchvision's the weights that a URL of its table names, if this is the place for it."""
    if _HOW.get() == "skip":
        return
    file = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if _HOW.get() == "present" and not file.is_file():
        return
    if _HOW.get() == "cached" and not file.is_file():
        raise DataError(
            f"model.weights={name} is not in {file.parent}, and nothing is downloaded for a stored configuration; "
            f"put {file.name} there"
        )
    try:
        state = _read(file, url)
    except Exception as error:  # OSError, another hash, or a file that holds more than weights
        raise DataError(
            f"model.weights={name} could not be downloaded or read ({str(error).splitlines()[0]}); use weights=null, "
            f"or put {file.name} into {file.parent}"
        ) from error
    for key in list(state):  # in place: the mapping also has the versions of the modules
        if key.startswith(_HEADS):
            del state[key]
        elif _OLD_DENSENET.fullmatch(key):
            state[_OLD_DENSENET.sub(r"\1\2", key)] = state.pop(key)
    network.load_state_dict(state)


def _read(file: Path, url: str) -> dict[str, Tensor]:
    """The state_dict in a file whose SHA-256 begins as its name says.

    Eight digits keep accidents out, not attackers: the file is read without running code.
    """
    digest = re.search(r"-([0-9a-f]{8,})\.", file.name)
    if digest is None:
        raise ValueError("its name holds no hash")
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(file), hash_prefix=digest[1])
    with file.open("rb") as opened:
        if system.is_hollow(opened.fileno()):  # whose hash takes long
            raise ValueError(f"{file} is a hole, of which few bytes are stored")
        found = hashlib.file_digest(opened, "sha256").hexdigest()[: len(digest[1])]
        if found != digest[1]:
            raise ValueError(f"{file} is another file: its SHA-256 begins with {found}")
        opened.seek(0)
        return torch.load(opened, weights_only=True, map_location="cpu")
