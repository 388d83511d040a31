"""Checkpoints: a directory of safetensors and JSON with a manifest of hashes, written atomically, read strictly.

    step-00000120/          where a run can go on; best-00000120/ holds the weights that validated best
        model.safetensors   the model's state_dict
        state.safetensors   the tensors of everything else
        state.json          everything else, as a tagged tree that points into state.safetensors
        MANIFEST.json       format version, step, size and SHA-256 of each file; written last

There is no pickle anywhere. The hashes guard against accidents, not against an attacker.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from dltrain.errors import CheckpointError, StorageError

FORMAT = 1
_FILES = ("model.safetensors", "state.safetensors", "state.json")
_NAME = re.compile(r"(step|best)-(\d{8,})")


def save(
    folder: Path, *, step: int, model: dict[str, Tensor], state: dict[str, Any], kind: Literal["step", "best"] = "step"
) -> Path:
    """Writes `folder`/step-XXXXXXXX (or best-XXXXXXXX) so that a crash at any moment leaves it whole or absent.

    Raises StorageError when the file system refuses a write; what was there before stays.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_encode(state, tensors)).encode()
    contents = {
        "model.safetensors": safetensors.torch.save(_plain(model)),
        "state.safetensors": safetensors.torch.save(_plain(tensors)),
        "state.json": tree,
    }
    files = {n: {"size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in contents.items()}
    contents["MANIFEST.json"] = json.dumps({"format": FORMAT, "step": step, "files": files}, indent=1).encode()
    final, draft = folder / f"{kind}-{step:08d}", folder / f".tmp-{kind}-{step:08d}-{os.getpid()}"
    try:
        folder.mkdir(exist_ok=True)
        draft.mkdir()
        for name, content in contents.items():
            _write(draft / name, content)
        _sync(draft)
        if final.exists():  # the same step again, after a resume
            _remove(final)
        draft.rename(final)
        _sync(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise StorageError(f"saving the checkpoint of step {step} in {folder} failed: {error.strerror}") from error
    return final


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The model's state_dict and the rest of the state, after every size and hash has been checked."""
    try:
        manifest = json.loads((path / "MANIFEST.json").read_bytes())
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {manifest['format']}, and this dltrain reads format {FORMAT}")
        content = {name: _read(path / name, manifest["files"][name]) for name in _FILES}
        model = dict(sorted(safetensors.torch.load(content["model.safetensors"]).items()))  # in no order of its own
        tensors = safetensors.torch.load(content["state.safetensors"])
        return model, _decode(json.loads(content["state.json"]), tensors)
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def find(folder: Path, kind: Literal["step", "best"] = "step") -> list[Path]:
    """The checkpoints of a folder, lowest step first; drafts and other files are passed over."""
    names = [m for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))] if folder.is_dir() else []
    return [folder / m[0] for m in sorted(names, key=lambda m: int(m[2])) if m[1] == kind]


def latest(folder: Path) -> tuple[Path, dict[str, Tensor], dict[str, Any]] | None:
    """The checkpoint of the highest step that is whole, read; None when the folder holds none.

    Raises CheckpointError when there are some, and none is whole.
    """
    faults = []
    for path in reversed(find(folder)):
        try:
            return path, *load(path)
        except CheckpointError as error:
            faults.append(str(error))
    if faults:
        raise CheckpointError("\n".join(["no checkpoint is whole:", *faults]))
    return None


def prune(folder: Path, *, keep: Iterable[Path]) -> None:
    """Removes all checkpoints but `keep`, and what an interrupted save or prune left."""
    kept = {path.name for path in keep}
    for path in folder.iterdir():
        if path.name.startswith((".tmp-", ".del-")):
            shutil.rmtree(path, ignore_errors=True)
        elif _NAME.fullmatch(path.name) and path.name not in kept:
            _remove(path)


def _remove(path: Path) -> None:
    """Out of sight by one rename, then gone: a half-deleted folder never looks like a checkpoint."""
    doomed = path.with_name(f".del-{path.name}-{os.getpid()}")
    path.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    with open(path, "xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _read(path: Path, facts: dict[str, Any]) -> bytes:
    """The bytes of a regular file, checked; the same bytes are then parsed, with no second look at the disk."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(handle, "rb") as file:
        content = file.read(facts["size"] + 1)
    if len(content) != facts["size"]:
        raise CheckpointError(f"{path} is damaged: expected {facts['size']:,} bytes")
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in the manifest")
    return content


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Contiguous CPU tensors, each with memory of its own, as safetensors wants them."""
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        value = tensor.detach().to("cpu").contiguous()
        if value.untyped_storage().nbytes() != value.nbytes or value.data_ptr() in seen:
            value = value.clone()
        seen.add(value.data_ptr())
        plain[name] = value
    return plain


def _encode(value: Any, tensors: dict[str, Tensor]) -> Any:
    """A tree of dicts, lists, tuples, tensors and plain values as JSON, tensors moved to `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[_encode(k, tensors), _encode(v, tensors)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(v, tensors) for v in value]}
    if isinstance(value, list):
        return [_encode(v, tensors) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"a checkpoint holds tensors and plain values, not {type(value).__name__}: {value!r}")


def _decode(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_decode(v, tensors) for v in value]
    if not isinstance(value, dict):
        return value
    ((tag, content),) = value.items()
    if tag == "tensor":
        return tensors[content]
    if tag == "dict":
        return {_decode(k, tensors): _decode(v, tensors) for k, v in content}
    if tag == "tuple":
        return tuple(_decode(v, tensors) for v in content)
    if tag == "float":
        return float(content)
    raise CheckpointError(f"state.json has an unknown tag {tag!r}")


def copy_to_cpu(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state_dict that later steps do not change."""
    return {name: torch.empty_like(t, device="cpu").copy_(t) for name, t in state.items()}
