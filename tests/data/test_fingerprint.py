"""The hash of a part changes with anything that training would see."""

from dataclasses import replace

import numpy as np
import torch
from PIL import Image

from dltrain import data
from dltrain.data.fingerprint import fingerprint
from dltrain.data.units import Standard


def test_equal_data_have_equal_prints_and_one_changed_number_shows():
    first, again = data.iris(), data.iris()
    assert fingerprint(first) == fingerprint(again)
    again.val.x[3, 1] += 1e-6
    assert {k for k, v in fingerprint(first).items() if v != fingerprint(again)[k]} == {"val"}
    again.train.y[0] = 1 - again.train.y[0]
    assert fingerprint(first)["train"] != fingerprint(again)["train"]


def test_another_scale_of_the_targets_shows_though_they_are_standardised():
    first = data.diabetes()
    dearer = replace(first, units=Standard(first.units.mean * 2, first.units.std * 2))
    assert not set(fingerprint(first).values()) & set(fingerprint(dearer).values())


def test_order_and_normalisation_count():
    digits = data.digits()
    flipped = replace(digits, train=replace(digits.train, x=digits.train.x.flip(0), y=digits.train.y.flip(0)))
    assert fingerprint(digits)["train"] != fingerprint(flipped)["train"]


def test_streamed_parts_are_sampled_and_files_measured(tmp_path):
    class Rows(torch.utils.data.Dataset):
        shift = 0.0

        def __len__(self):
            return 200

        def __getitem__(self, i):
            return torch.tensor([i + self.shift, torch.rand(()).item()]), i % 2

    rows = Rows()
    first = fingerprint(data.dataset(rows, classes=2))
    assert fingerprint(data.dataset(rows, classes=2)) == first  # though it draws random numbers
    rows.shift = 1.0
    assert fingerprint(data.dataset(rows, classes=2)) != first
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(20):
            Image.fromarray(np.full((4, 4, 3), i, np.uint8)).save(tmp_path / name / f"{i}.png")
    files = fingerprint(data.image_folder(str(tmp_path), in_memory=False))
    assert fingerprint(data.image_folder(str(tmp_path), in_memory=False)) == files
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)).save(tmp_path / "a" / "1.png")
    assert fingerprint(data.image_folder(str(tmp_path), in_memory=False)) != files
