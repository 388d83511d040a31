"""What torchvision's datasets open below a folder that somebody else has filled."""

import bz2
import os

import pytest
from PIL import Image

from dltrain.errors import system

TYPED = ["data=dataset", "+data.dataset.transform._target_=torchvision.transforms.ToTensor", "trainer.max_steps=1"]


def typed(name, root):
    return [*TYPED, f"data.dataset._target_=torchvision.datasets.{name}", f"+data.dataset.root={root}"]


def test_a_pipe_in_place_of_a_data_file_is_not_waited_for(dltrain, tmp_path):
    os.mkfifo(tmp_path / "usps.bz2")
    code, _, err = dltrain(*typed("USPS", tmp_path))
    assert (code, "usps.bz2" in err, "it is not a plain file" in err) == (2, True, True), err


def test_a_pipe_among_images_is_not_waited_for(dltrain, tmp_path):
    for label in "ab":
        (tmp_path / "root" / label).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "root" / label / "1.png")
    os.mkfifo(tmp_path / "root" / "b" / "2.png")
    code, _, err = dltrain(*typed("ImageFolder", tmp_path / "root"), "data.in_memory=true")
    assert (code, "it is not a plain file" in err) == (3, True), err


@pytest.mark.skipif(not hasattr(system.os, "SEEK_DATA"), reason="this system tells nothing of holes")
def test_a_hole_in_place_of_a_data_file_is_not_read(dltrain, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (raw / f"{name}-ubyte").touch()
        os.truncate(raw / f"{name}-ubyte", 1 << 30)
    code, _, err = dltrain(*typed("MNIST", tmp_path))
    assert (code, "it is a hole" in err) == (2, True), err


def test_what_is_not_the_publishers_usps_is_not_unpacked(dltrain, tmp_path):
    (tmp_path / "usps.bz2").write_bytes(bz2.compress(bytes(1 << 20)))
    code, _, err = dltrain(*typed("USPS", tmp_path))
    assert (code, "another file: its MD5 is" in err) == (3, True), err
