"""Files of tensors in the format of safetensors, written and read one tensor after the other: nothing is held whole.

A file is the length of its header (8 bytes, little endian), the header as JSON, which says of each tensor its type,
its shape and where it lies, and the tensors' bytes. Source: https://github.com/huggingface/safetensors#format.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import BufferedReader

import torch
from torch import Tensor

_DTYPES = {
    **{"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "BOOL": torch.bool},
    **{"I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8},
    **{"C64": torch.complex64},
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_BLOCK = 1 << 20  # bytes that are hashed and written at a time, so that they come from the cache
_LARGEST_HEADER = 1 << 24  # bytes


def parts(tensors: Mapping[str, Tensor], *, metadata: Mapping[str, str] | None = None) -> Iterator[memoryview]:
    """The bytes of a file of these tensors, in parts, as they are when each part is asked for.

    A tensor may be a view of any kind, on any device; at most one at a time is copied. Raises TypeError, before the
    first part, for a type that such a file can't hold.
    """
    # The largest elements first, so that each tensor begins at a multiple of its element.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        tensor = tensors[name]
        if tensor.dtype not in _NAMES:
            raise TypeError(f"a file of tensors holds no {tensor.dtype}: {name}")
        begin, end = end, end + tensor.nbytes
        header[name] = {"dtype": _NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    head = memoryview(len(text).to_bytes(8, "little") + text)
    return _cut(head, (tensors[name] for name in order))


def _cut(head: memoryview, tensors: Iterable[Tensor]) -> Iterator[memoryview]:
    yield head
    for tensor in tensors:
        content = _bytes(tensor.detach().to("cpu").contiguous())
        yield from (content[i : i + _BLOCK] for i in range(0, len(content), _BLOCK))


def _bytes(tensor: Tensor) -> memoryview:
    """The memory of a contiguous tensor of the CPU."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


@dataclass(frozen=True)
class Head:
    """What a file begins with: its bytes, and the tensors that it says follow, without memory, in their order."""

    content: bytes
    tensors: dict[str, Tensor]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors.values())


def read_head(file: BufferedReader) -> Head:
    """Reads up to the first tensor; raises ValueError unless the rest of the file is the tensors that it speaks of."""
    length = file.read(8)
    if (size := int.from_bytes(length, "little")) > _LARGEST_HEADER:
        raise ValueError(f"a header of {size:,} bytes")
    text = file.read(size)
    left = os.fstat(file.fileno()).st_size - 8 - size
    header = json.loads(text)
    header.pop("__metadata__", None)
    found: dict[str, Tensor] = {}
    end = 0
    for name, facts in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        tensor = found[name] = torch.empty(facts["shape"], dtype=_DTYPES[facts["dtype"]], device="meta")
        begin, end = end, end + tensor.nbytes
        if facts["data_offsets"] != [begin, end]:
            raise ValueError(f"{name} lies at {facts['data_offsets']}, and should at {[begin, end]}")
    if end != left:
        raise ValueError(f"{end:,} bytes of tensors, and {left:,} in the file")
    return Head(length + text, found)


def read_tensors(file: BufferedReader, head: Head) -> tuple[dict[str, Tensor], str]:
    """The tensors that come after a head, and the SHA-256 of the whole file, in one pass."""
    digest = hashlib.sha256(head.content)
    tensors: dict[str, Tensor] = {}
    for name, like in head.tensors.items():
        tensors[name] = tensor = torch.empty(like.shape, dtype=like.dtype)
        content = _bytes(tensor)
        for i in range(0, len(content), _BLOCK):
            block = content[i : i + _BLOCK]
            if file.readinto(block) != len(block):
                raise ValueError("it ends early")
            digest.update(block)
    return tensors, digest.hexdigest()
