"""Files of tensors: safetensors reads what we write, we read what it writes, and nothing is held twice."""

import json
import struct

import pytest
import safetensors.torch
import torch
from memory import peak_of

from dltrain.runs import checkpoint, storage, tensor_file, tensorboard, tracker


def tensors():
    torch.manual_seed(0)
    every = torch.arange(24.0).view(4, 6)
    return {
        "view": every[1:3, :],
        "same": every,
        "across": every.T,
        "ö": torch.tensor(3),
        "empty": torch.empty(0, 5),
        "odd": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "low": torch.randn(3).bfloat16(),
        "half": torch.randn(5).half(),
        "yes": torch.tensor([True, False]),
        "complex": torch.randn(2, dtype=torch.complex64),
        "long": torch.arange(3),
        "large": torch.randn(1 << 19),
    }


def same(found, wanted):
    return found.keys() == wanted.keys() and all(
        found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in wanted.items()
    )


def read(path):
    with path.open("rb") as file:
        return tensor_file.read_tensors(file, tensor_file.read_head(file))[0]


def test_safetensors_reads_what_we_write_and_the_other_way_round(tmp_path):
    content = b"".join(tensor_file.parts(tensors(), metadata={"format": "pt"}))
    assert same(safetensors.torch.load(content), tensors())
    (tmp_path / "ours").write_bytes(content)
    assert same(read(tmp_path / "ours"), tensors())
    plain = {name: tensor.clone().contiguous() for name, tensor in tensors().items()}
    safetensors.torch.save_file(plain, tmp_path / "theirs", metadata={"format": "pt"})
    assert same(read(tmp_path / "theirs"), tensors())


def test_what_is_small_is_written_together_and_what_is_large_in_blocks(tmp_path, monkeypatch):
    sizes = []
    monkeypatch.setattr(storage, "_write", lambda handle, content: sizes.append(len(content)))
    storage.write({tmp_path / "small": tensor_file.parts({str(n): torch.zeros(100) for n in range(1000)})})
    assert len(sizes) == 1
    sizes.clear()
    storage.write({tmp_path / "large": tensor_file.parts({"a": torch.zeros(1 << 20), "b": torch.zeros(9)})})
    assert max(sizes) == 1 << 20
    assert len(sizes) == 6  # head, four blocks, the rest


def test_a_long_log_and_a_long_event_file_are_cut_without_being_held(tmp_path):
    line = json.dumps({"step": 1, "text": "x" * 8000}).encode() + b"\n"
    (tmp_path / "metrics.jsonl").write_bytes(line * 1_250 + line.replace(b'"step": 1', b'"step": 9'))
    assert peak_of(lambda: tracker._rewind(tmp_path / "metrics.jsonl", 5)) < 8 << 20
    assert (tmp_path / "metrics.jsonl").read_bytes() == line * 1_250
    early, late = (tensorboard.scalar(step, "x" * 8000, 1.0) for step in (1, 9))
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "events.out.tfevents.1.host.1").write_bytes(tensorboard._framed([early]))
    tensorboard.rewind(tmp_path / "small", 5, 5)  # loads what it needs
    events = tmp_path / "events.out.tfevents.1.host.1"
    events.write_bytes(tensorboard._framed([early]) * 1_250 + tensorboard._framed([late]))
    assert peak_of(lambda: tensorboard.rewind(tmp_path, 5, 5)) < 8 << 20
    assert events.read_bytes() == tensorboard._framed([early]) * 1_250


def test_a_type_without_a_name_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match=r"no torch\.complex128: weight"):
        checkpoint.save(tmp_path, step=1, model={"weight": torch.zeros(2, dtype=torch.complex128)}, state={})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}, 7),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, 12),
        ({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, 4),
        (
            {
                "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
                "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]},
            },
            12,
        ),
        ({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 8]}}, 8),
    ],
    ids=["short", "gap", "narrow", "overlap", "huge"],
)
def test_a_header_that_is_not_true_is_refused(tmp_path, header, size):
    text = json.dumps(header).encode()
    (tmp_path / "file").write_bytes(struct.pack("<Q", len(text)) + text + bytes(size))
    with pytest.raises(ValueError, match=r"lies at|bytes of tensors"):
        read(tmp_path / "file")


def test_saving_takes_no_memory_and_loading_that_of_the_tensors(tmp_path):
    model = {"weight": torch.ones(1 << 23), "other": torch.ones(1 << 21)}
    state = {"moments": [torch.ones(1 << 23)]}
    size = sum(t.nbytes for t in (*model.values(), *state["moments"]))
    assert peak_of(lambda: checkpoint.save(tmp_path, step=1, model=model, state=state)) < size / 8
    kept = []
    assert peak_of(lambda: kept.append(checkpoint.load(tmp_path / "step-00000001"))) < 1.15 * size
