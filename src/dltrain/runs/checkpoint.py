"""Checkpoints: a directory of safetensors and JSON with a manifest of hashes, written atomically, read strictly.

    step-00000120/          where a run can go on; best-00000120/ holds the weights that validated best
        model.safetensors   the model's state_dict
        state.safetensors   the tensors of everything else
        state.json          everything else, as a tagged tree that points into state.safetensors
        MANIFEST.json       format version, step, size and SHA-256 of each file; written last

There is no pickle anywhere. The hashes guard against accidents, not against an attacker. Tensors go to the disk and
come from it one after the other, hashed on the way: a checkpoint takes no memory of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from io import BufferedReader
from pathlib import Path
from typing import Literal, TypedDict

import torch
from torch import Tensor

from dltrain.engine.state import check
from dltrain.errors import CheckpointError, StorageError, system
from dltrain.parts import State
from dltrain.runs import foreign, storage, tensor_file

FORMAT = 1
Kind = Literal["step", "best", "diverged"]
_NAME = re.compile(r"(step|best|diverged)-(\d{8,})")
_MOST_COPIES = 256  # of the weights in a state: L-BFGS keeps 2 vectors for each of 100 steps
_LARGEST_TREE = 1 << 26  # bytes of state.json
_SMALL = 1 << 20  # bytes; no manifest is larger


class _Facts(TypedDict):
    """What a manifest says of a file."""

    size: int
    sha256: str


def save(
    folder: Path,
    *,
    step: int,
    model: dict[str, Tensor],
    state: State,
    kind: Kind = "step",
    more_follows: bool = False,
) -> Path:
    """Writes `folder`/step-XXXXXXXX (or best-, diverged-) so that a crash at any moment leaves it whole or absent.

    more_follows: it is sure to be there after a power failure once another has been saved without it.
    Raises StorageError when the file system refuses a write; what was there before stays.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_encode(state, tensors)).encode()
    files: dict[str, _Facts] = {}

    def noted(name: str, parts: Iterable[memoryview]) -> Iterator[memoryview]:
        size, digest = 0, hashlib.sha256()
        for part in parts:
            size += len(part)
            digest.update(part)
            yield part
        files[name] = {"size": size, "sha256": digest.hexdigest()}

    def manifest() -> Iterator[memoryview]:  # asked for when the others are written
        yield memoryview(json.dumps({"format": FORMAT, "step": step, "files": files}, indent=1).encode())

    contents = {
        "model.safetensors": noted("model.safetensors", tensor_file.parts(model)),
        "state.safetensors": noted("state.safetensors", tensor_file.parts(tensors)),
        "state.json": noted("state.json", [memoryview(tree)]),
        "MANIFEST.json": manifest(),
    }
    path = folder / name(kind, step)
    try:
        if not folder.is_dir():
            storage.disk.mkdir(folder)
            try:
                storage.sync(folder.parent)
            except OSError:
                storage.disk.rmdir(folder)  # so that the next save makes it again, and lasting
                raise
        storage.write_folder(path, contents, more_follows=more_follows)
    except OSError as error:
        raise StorageError(f"saving the checkpoint of step {step} in {folder} failed: {error.strerror}") from error
    return path


def name(kind: Kind, step: int) -> str:
    """What a checkpoint's folder is called."""
    return f"{kind}-{step:08d}"


def load(path: Path) -> tuple[dict[str, Tensor], State]:
    """The model's state_dict and the rest of the state, after every size and hash has been checked."""
    try:
        manifest = json.loads(_read(path / "MANIFEST.json"))
        if manifest["format"] != FORMAT:
            raise CheckpointError(f"{path} has format {manifest['format']}, and this dltrain reads format {FORMAT}")
        if path.name.split("-")[-1] != f"{manifest['step']:08d}":
            raise CheckpointError(f"{path} is damaged: its manifest speaks of step {manifest['step']}")
        files = manifest["files"]
        paths = path / "model.safetensors", path / "state.safetensors"
        with system.plain_file(paths[0]) as weights, system.plain_file(paths[1]) as others:
            heads = tensor_file.read_head(weights), tensor_file.read_head(others)
            if heads[1].nbytes > _MOST_COPIES * heads[0].nbytes + _LARGEST_TREE:
                sizes = f"{heads[1].nbytes:,} bytes of state beside {heads[0].nbytes:,} of weights"
                raise CheckpointError(f"{path} is damaged: {sizes}")
            if (size := (path / "state.json").lstat().st_size) > _LARGEST_TREE:
                raise CheckpointError(f"{path} is damaged: its state.json has {size:,} bytes")
            tree = _read(path / "state.json", files["state.json"])
            model = _tensors(paths[0], weights, heads[0], files["model.safetensors"])
            tensors = _tensors(paths[1], others, heads[1], files["state.safetensors"])
        model = dict(sorted(model.items()))  # in no order of its own
        state = _decode(foreign.parse_json(tree), tensors)
        if not isinstance(state, dict):
            raise CheckpointError(f"{path} is damaged: its state is no mapping")
        return model, state
    except CheckpointError:
        raise
    except OSError as error:
        raise CheckpointError(f"{path} can't be read: {error.strerror or error}") from error
    except Exception as error:  # of the parsers: SafetensorError, ValueError, KeyError, RecursionError, ...
        raise CheckpointError(f"{path} is damaged: {type(error).__name__}: {error}") from error


def find(folder: Path, kind: Kind = "step") -> list[Path]:
    """The checkpoints of a folder, lowest step first; drafts and other files are passed over."""
    names = [m for p in folder.iterdir() if (m := _NAME.fullmatch(p.name))] if folder.is_dir() else []
    return [folder / m[0] for m in sorted(names, key=lambda m: int(m[2])) if m[1] == kind]


def latest(
    folder: Path, faults: list[str] | None = None, *, accept: Callable[[State], object] = bool
) -> tuple[Path, dict[str, Tensor], State] | None:
    """The checkpoint of the highest step that is whole, read; None when the folder holds none.

    `accept(state)` may refuse one by a CheckpointError. What was wrong with those passed over goes to `faults`.
    Raises CheckpointError when there are some, and none is whole.
    """
    faults = [] if faults is None else faults
    for path in reversed(find(folder)):
        try:
            model, state = load(path)
            accept(state)
            return path, model, state
        except CheckpointError as error:
            faults.append(str(error))
    if faults:
        raise CheckpointError("\n".join(["no checkpoint is whole:", *faults]))
    return None


def check_fits(folder: Path, model: dict[str, Tensor], *, least: int = 0) -> None:
    """Raises CheckpointError where a run's checkpoints hold other weights than this state_dict, by their headers.

    Where both have fewer than `least` numbers nothing is compared.
    """
    for path in [*reversed(find(folder)), *reversed(find(folder, "best"))]:
        try:
            found = _header(path / "model.safetensors")
        except (CheckpointError, OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError):
            continue  # damaged: who reads it says so
        if max(sum(tensor.numel() for tensor in tensors.values()) for tensors in (found, model)) < least:
            continue
        try:
            check(found, model, "model")
        except CheckpointError as error:
            raise CheckpointError(f"{path} does not fit this configuration: {error}") from error


def _header(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, without memory; raises ValueError unless they are as large as the file says."""
    with system.plain_file(path) as file:
        return tensor_file.read_head(file).tensors


def _tensors(path: Path, file: BufferedReader, head: tensor_file.Head, facts: _Facts) -> dict[str, Tensor]:
    """The tensors of an open file, checked."""
    _check_size(path, file, facts["size"])
    tensors, digest = tensor_file.read_tensors(file, head)
    _check_hash(path, digest, facts)
    return tensors


def prune(folder: Path, *, keep: Iterable[Path]) -> None:
    """Removes all steps and bests but `keep`. What the disk does not let go is left for the next time."""
    kept = {path.name for path in keep}
    for path in [*find(folder), *find(folder, "best")]:
        if path.name not in kept:
            with suppress(OSError):
                storage.remove(path)


def _read(path: Path, facts: _Facts | None = None) -> bytes:
    """The bytes of a regular file, checked; the same bytes are then parsed, with no second look at the disk."""
    with system.plain_file(path) as file:
        _check_size(path, file, facts["size"] if facts else None)
        content = file.read()
    if facts:
        _check_hash(path, hashlib.sha256(content).hexdigest(), facts)
    return content


def _check_size(path: Path, file: BufferedReader, wanted: int | None) -> None:
    size = os.fstat(file.fileno()).st_size
    if size != (min(size, _SMALL) if wanted is None else wanted):
        raise CheckpointError(f"{path} is damaged: it has {size:,} bytes")


def _check_hash(path: Path, digest: str, facts: _Facts) -> None:
    if digest != facts["sha256"]:
        raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one in the manifest")


def _encode(value: object, tensors: dict[str, Tensor]) -> object:
    """A tree of dicts, lists, tuples, tensors and plain values as JSON, tensors moved to `tensors`."""
    if type(value) is int:  # a generator's state has 625 of them
        return value
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


def _decode(value: object, tensors: dict[str, Tensor]) -> object:
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
