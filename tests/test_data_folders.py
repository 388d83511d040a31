"""Folders of pictures, in memory and streamed: the same pixels, seeded splits, and damage that is named."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from dltrain.data import folders
from dltrain.data.folders import ImageFiles, image_folder, read_image
from dltrain.data.loaders import make_loader
from dltrain.errors import ConfigError, DataError


def write_images(folder, *, n=10, classes=("cat", "dog", "eel"), size=(8, 8), seed=0, suffix="png"):
    """n random pictures of each class; returns them as uint8 [N, 3, H, W] in the order of their names."""
    rng = np.random.default_rng(seed)
    made = []
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(n):
            pixels = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i:03d}.{suffix}")
            made.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return torch.stack(made)


def test_one_folder_is_split_by_class_and_png_pixels_come_back_exactly(tmp_path):
    made = write_images(tmp_path)
    (tmp_path / "cat" / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden").mkdir()
    data = image_folder(str(tmp_path), image_size=8, val=3, test=3)
    assert data.classes == ("cat", "dog", "eel")
    assert (data.task, data.in_shape) == ("multiclass", (3, 8, 8))
    parts = (data.train, data.val, data.test)
    assert [part.y.bincount().tolist() for part in parts] == [[8, 8, 8], [1, 1, 1], [1, 1, 1]]
    seen = torch.cat([part.x for part in parts]).flatten(1).tolist()
    assert sorted(seen) == sorted(made.flatten(1).tolist())
    row = made.flatten(1).tolist().index(data.val.x[0].flatten().tolist())
    assert data.val.y[0] == row // 10
    train = data.train.x.double() / 255
    assert data.train.mean.tolist() == pytest.approx(train.mean((0, 2, 3)).tolist())
    assert data.train.std.tolist() == pytest.approx(train.std((0, 2, 3), correction=0).tolist())
    again = image_folder(str(tmp_path), image_size=8, val=3, test=3)
    assert torch.equal(again.train.x, data.train.x)


def test_a_class_of_one_image_leaves_the_others_their_shares(tmp_path):
    write_images(tmp_path, n=20)
    write_images(tmp_path, n=1, classes=("fox",))
    data = image_folder(str(tmp_path), image_size=8, val=6, test=6)
    parts = (data.train, data.val, data.test)
    assert [part.y.bincount(minlength=4).tolist() for part in parts] == [[16, 16, 16, 1], [2, 2, 2, 0], [2, 2, 2, 0]]
    assert "with one row, which is left to train on, so not judged: class fox" in data.notes


def test_given_folders_are_used_as_they_are(tmp_path):
    train = write_images(tmp_path / "train", classes=("cat", "dog"))
    val = write_images(tmp_path / "valid", classes=("cat", "dog"), n=2, seed=1)
    data = image_folder(str(tmp_path), image_size=8, val=0.5, test=0)
    assert data.task == "binary"
    assert torch.equal(data.train.x, train)
    assert torch.equal(data.val.x, val)
    assert data.test is data.val
    assert "data.val=0.5 is not used: " in data.notes[0]
    assert "no test rows were set aside" in data.notes[1]
    write_images(tmp_path / "test", classes=("cat", "eel"), n=1)
    with pytest.raises(DataError, match=r"test/eel: there is no such class among the train images"):
        image_folder(str(tmp_path))


def test_streaming_gives_the_same_bits_as_memory_in_any_number_of_workers(tmp_path):
    write_images(tmp_path, size=(9, 12), suffix="jpg")
    held = image_folder(str(tmp_path), image_size=[6, 7], in_memory=True)
    streamed = image_folder(str(tmp_path), image_size=[6, 7], in_memory=False)
    assert isinstance(streamed.train, ImageFiles)
    assert "30 images (0.0 GiB of pixels) are decoded while training" in streamed.notes[0]
    assert (streamed.fill, streamed.in_shape) == (held.fill, held.in_shape)
    for transform in (None, flip):
        loaders = [make_loader(held.train, batch_size=5, shuffle=True, seed=4, transform=transform)]
        loaders += [
            make_loader(streamed.train, batch_size=5, shuffle=True, seed=4, transform=transform, workers=workers)
            for workers in (0, 2)
        ]
        for one, two, three in zip(*(loader.epoch(2) for loader in loaders), strict=True):
            assert one.x.dtype == torch.float32
            assert all(torch.equal(a, b) and torch.equal(a, c) for a, b, c in zip(one, two, three, strict=True))


def flip(x):
    assert x.dtype == torch.uint8
    return x.flip(-1) if torch.rand(()) < 0.5 else x


def test_memory_decides_when_nobody_says(tmp_path, monkeypatch):
    write_images(tmp_path)
    monkeypatch.setattr(folders, "_IN_MEMORY", 30 * 3 * 64)
    monkeypatch.setattr(folders, "_SAMPLED", 5)
    assert not isinstance(image_folder(str(tmp_path), image_size=8).train, ImageFiles)
    data = image_folder(str(tmp_path), image_size=9)
    assert isinstance(data.train, ImageFiles)
    assert "mean and std come from 5 train images" in data.notes[0]
    assert not isinstance(image_folder(str(tmp_path), image_size=9, channels="gray").train, ImageFiles)


def test_pictures_are_cut_to_the_aspect_around_the_centre(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20, 1] = 200
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    square = read_image(tmp_path / "wide.png", size=(10, 10))
    assert square.amax((1, 2)).tolist() == square.amin((1, 2)).tolist() == [0, 200, 0]
    assert read_image(tmp_path / "wide.png", size=(5, 15)).shape == (3, 5, 15)
    assert read_image(tmp_path / "wide.png", size=(40, 40), channels="gray").shape == (1, 40, 40)


def test_unusual_pictures(tmp_path):
    grey = np.arange(64, dtype=np.uint16).reshape(8, 8) * 1024
    Image.fromarray(grey).save(tmp_path / "16bit.png")
    assert read_image(tmp_path / "16bit.png", size=(8, 8), channels="gray")[0].tolist() == (grey // 257).tolist()
    upright = Image.fromarray(np.tile(np.arange(0, 80, 10, dtype=np.uint8), (8, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    upright.save(tmp_path / "turned.png", exif=exif)
    assert read_image(tmp_path / "turned.png", size=(8, 8), channels="gray")[0, :, 0].tolist() == list(range(0, 80, 10))
    palette = Image.fromarray(np.full((8, 8, 3), 77, np.uint8)).quantize(4)
    palette.info["transparency"] = b"\0\1\2\3"
    palette.save(tmp_path / "palette.png", transparency=b"\0\1\2\3")
    assert read_image(tmp_path / "palette.png", size=(8, 8)).unique().tolist() == [77]
    Image.fromarray(np.full((8, 8, 4), 50, np.uint8)).save(tmp_path / "rgba.png")
    assert read_image(tmp_path / "rgba.png", size=(8, 8)).unique().tolist() == [50]


PNG = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(PNG, format="png")
EPS = io.BytesIO()
Image.new("RGB", (8, 8)).save(EPS, format="eps")


@pytest.mark.parametrize(
    "content",
    [PNG.getvalue()[:100], PNG.getvalue()[:20], b"", b"text", EPS.getvalue()],
    ids=["truncated", "header", "empty", "text", "postscript"],
)
@pytest.mark.parametrize("in_memory", [True, False])
def test_an_unreadable_picture_is_named(tmp_path, monkeypatch, content, in_memory):
    monkeypatch.setattr(folders, "_SAMPLED", 2)  # a streamed set reads the others while training
    write_images(tmp_path)
    path = tmp_path / "dog" / "004.png"
    path.write_bytes(content)

    def train():
        data = image_folder(str(tmp_path), val=0, test=0, in_memory=in_memory)
        list(make_loader(data.train, batch_size=9, workers=2).epoch())

    with pytest.raises(DataError, match=r"dog/004\.png: cannot be read as an image: ") as caught:
        train()
    assert len(str(caught.value).splitlines()) == 1


def test_a_decompression_bomb_is_refused(tmp_path, monkeypatch):
    write_images(tmp_path, n=1, classes=("cat",))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(DataError, match=r"000\.png: cannot be read as an image: Image size \(64 pixels\) exceeds"):
        read_image(tmp_path / "cat" / "000.png", size=(8, 8))


def test_folders_that_are_no_image_set(tmp_path):
    with pytest.raises(DataError, match=r"data\.root=.*/nowhere: no such folder"):
        image_folder(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="needs at least two folders, one for each class, and holds none"):
        image_folder(str(tmp_path))
    write_images(tmp_path, classes=("cat",))
    with pytest.raises(DataError, match="and holds only 'cat'\nExpected are root/<class>"):
        image_folder(str(tmp_path))
    (tmp_path / "dog").mkdir()
    with pytest.raises(DataError, match=r"/dog holds no image files \(\.png \.jpg"):
        image_folder(str(tmp_path))


@pytest.mark.parametrize("size", [0, [8], [8, 8, 3], [8, -1]])
def test_image_size_is_checked(tmp_path, size):
    with pytest.raises(ConfigError, match=r"data\.image_size=.*: one number of pixels from 1, or \[height, width\]"):
        image_folder(str(tmp_path), image_size=size)
