"""Folders of pictures, in memory and streamed: the same pixels, seeded splits, and damage that is named."""

import io
import json
import os
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from dltrain import data as samples
from dltrain.data import decoding, take
from dltrain.data.loaders import make_loader
from dltrain.data.preprocessing import again, facts, normalise
from dltrain.data.sources import image_folders
from dltrain.data.sources.image_folders import ImageFiles, image_folder, read_image
from dltrain.data.streaming import pictures
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


def test_folds_of_images_have_each_once_where_no_folder_has_the_test_part(tmp_path):
    write_images(tmp_path / "all", n=7)
    made = [image_folder(str(tmp_path / "all"), image_size=8, test=f"{k}/3", in_memory=k > 1) for k in (1, 2, 3)]
    files = [samples.place(data.test, i) for data in made for i in range(len(data.test))]
    assert len({*files}) == len(files) == 21
    assert all(sorted(data.test.y.bincount().tolist())[0] >= 2 for data in made)
    write_images(tmp_path / "parted" / "train")
    write_images(tmp_path / "parted" / "test")
    with pytest.raises(DataError, match=r"3 folds: .*test holds the test images; folds are made of rows"):
        image_folder(str(tmp_path / "parted"), test="1/3")


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


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("Training", "Validation", "Testing"),
        ("TRAIN", "VAL", "TEST"),
        ("train_set", "dev_set", "test_set"),
        ("Train", "valid", "Test"),
        ("trainset", "DEV", "testset"),
        ("training-data", "development", "TESTING"),
    ],
)
def test_parts_are_known_by_any_usual_name_in_any_case(tmp_path, train, val, test):
    for i, part in enumerate((train, val, test)):
        write_images(tmp_path / part, classes=("cat", "dog"), n=3 - i, seed=i)
    data = image_folder(str(tmp_path), image_size=8, val=0, test=0)
    assert data.classes == ("cat", "dog")
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 4, 2]


def test_folders_that_only_look_like_parts(tmp_path):
    write_images(tmp_path / "vehicles", classes=("train", "plane", "test"), n=4)
    assert image_folder(str(tmp_path / "vehicles"), image_size=8).classes == ("plane", "test", "train")
    write_images(tmp_path / "two" / "train", n=2)
    write_images(tmp_path / "two" / "Training", n=2)
    with pytest.raises(DataError, match="Training and train can each be the train part"):
        image_folder(str(tmp_path / "two"))
    write_images(tmp_path / "none" / "Test", n=2)
    write_images(tmp_path / "none" / "Val", n=2)
    with pytest.raises(DataError, match=r"holds parts \(Test, Val\) and no train part"):
        image_folder(str(tmp_path / "none"))
    write_images(tmp_path / "more" / "train", n=2)
    write_images(tmp_path / "more" / "extra", n=2)
    notes = image_folder(str(tmp_path / "more"), image_size=8).notes
    assert any("1 folders beside the parts (extra)" in note for note in notes)


def test_hidden_folders_count_nowhere_and_what_is_passed_over_is_counted(tmp_path):
    write_images(tmp_path / "set")
    for place in ("", "cat", "dog/.ipynb_checkpoints"):
        for name in (".ipynb_checkpoints", "__MACOSX", ".hidden", "__pycache__"):
            write_images(tmp_path / "set" / place / name, classes=("cat",), n=1)
    (tmp_path / "set" / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "set" / "cat" / "._000.png").write_bytes(b"x")
    plain = image_folder(str(tmp_path / "set"), image_size=8)
    assert plain.classes == ("cat", "dog", "eel")
    assert sum(len(part) for part in (plain.train, plain.val, plain.test)) == 30
    assert plain.notes == ()
    write_images(tmp_path / "set" / "cat" / "deeper", classes=("1",), n=2)
    write_images(tmp_path / "elsewhere", classes=("more",), n=5)
    (tmp_path / "set" / "dog" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (tmp_path / "set" / "dog" / "loop").symlink_to(tmp_path / "set")
    (tmp_path / "set" / "eel" / "link.png").symlink_to(tmp_path / "elsewhere" / "more" / "000.png")
    for name in ("cat/a.heic", "cat/b.HEIC", "dog/labels.txt", "eel/noending"):
        (tmp_path / "set" / name).write_text("x")
    (tmp_path / "set" / "stray.png").write_bytes((tmp_path / "set" / "cat" / "000.png").read_bytes())
    data = image_folder(str(tmp_path / "set"), image_size=8)
    assert sum(len(part) for part in (data.train, data.val, data.test)) == 33
    (linked,) = (note for note in data.notes if "links" in note)
    assert linked.startswith("1 files below")
    (passed,) = (note for note in data.notes if note.startswith("not read below"))
    for what in ("2 files .heic", "1 files .txt", "1 files without an ending", "2 linked folders", "1 images beside"):
        assert what in passed


@pytest.mark.parametrize("in_memory", [True, False])
def test_unreadable_files_are_all_named_or_left_out_when_asked(tmp_path, in_memory):
    write_images(tmp_path)
    for name in ("cat/002.png", "dog/004.png", "eel/000.png"):
        (tmp_path / name).write_bytes(PNG.getvalue()[:100])
    (tmp_path / "eel" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    knobs = {"image_size": 8, "val": 0, "test": 0, "in_memory": in_memory}
    with pytest.raises(DataError, match=r"cat/002\.png: cannot be read") as caught:
        image_folder(str(tmp_path), **knobs)
    assert "and 3 more can't be read: " in str(caught.value)
    assert "data.skip_unreadable=true leaves such files out" in str(caught.value)
    data = image_folder(str(tmp_path), **knobs, skip_unreadable=True)
    assert len(data.train) == 27
    assert data.train.y.bincount().tolist() == [9, 9, 9]
    (note,) = (note for note in data.notes if note.startswith("left out"))
    assert "4 files" in note
    assert "dog/004.png" in note
    assert len(list(make_loader(data.train, batch_size=9).epoch())) == 3
    for i in range(10):
        (tmp_path / "cat" / f"{i:03d}.png").write_bytes(b"x")
    with pytest.raises(DataError, match=r"/cat holds no image files that can be read"):
        image_folder(str(tmp_path), **knobs, skip_unreadable=True)


@pytest.mark.parametrize("in_memory", [True, False])
def test_what_is_no_file_is_an_image_that_cannot_be_read(tmp_path, in_memory):
    """A pipe, which would wait for ever, a device, which never ends, and a link that leads to itself."""
    write_images(tmp_path)
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    for place, target in (("dog/device.png", "/dev/zero"), ("eel/loop.png", tmp_path / "eel" / "loop.png")):
        (tmp_path / place).symlink_to(target)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    knobs = {"image_size": 8, "val": 0, "test": 0, "in_memory": in_memory}
    with pytest.raises(DataError, match=r"cat/pipe\.png: cannot be read as an image: it is not a plain file"):
        image_folder(str(tmp_path), **knobs)
    data = image_folder(str(tmp_path), **knobs, skip_unreadable=True)
    assert len(data.train) == 30
    (note,) = (note for note in data.notes if note.startswith("left out"))
    assert "3 files" in note
    files = ImageFiles([str(tmp_path / "eel" / "loop.png")], torch.zeros(1), (8, 8), "rgb")
    with pytest.raises(DataError, match=r"eel/loop\.png: cannot be read as an image: Too many"):
        files.fingerprint()


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
    monkeypatch.setattr(image_folders, "_IN_MEMORY", 30 * 3 * 64)
    monkeypatch.setattr(image_folders, "_SAMPLED", 5)
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


DEEP = {  # what the pixels are -> made from a share of the whole, its file's name, the values of black and white
    "float 0..1": (lambda s: s.astype(np.float32), "tif", (0, 1)),
    "float 0..1000": (lambda s: (1000 * s).astype(np.float32), "tif", (0, 1000)),
    "float around 0": (lambda s: (s - 0.5).astype(np.float32), "tif", (-0.5, 0.5)),
    "16 bit 0..255": (lambda s: (255 * s).astype(np.uint16), "png", (0, 255)),
    "16 bit 0..4095": (lambda s: (4095 * s).astype(np.uint16), "png", (0, 4095)),
    "16 bit, all of it": (lambda s: (65535 * s).astype(np.uint16), "png", (0, 65535)),
    "16 bit pgm": (lambda s: (4095 * s).astype(np.uint16), "pgm", (0, 4095)),
    "int32": (lambda s: (100_000 * s).astype(np.int32), "tif", (0, 131071)),
    "int32 around 0": (lambda s: (3000 * s - 1000).astype(np.int32), "tif", (-1000, 2000)),
}


def write_deep(folder, make, suffix, *, n=6):
    """Ramps from 0 to 1, across in class a, down in class b; returns the shares [2 n, 8, 8]."""
    across = np.tile(np.linspace(0, 1, 8), (8, 1))
    shares = []
    for name, share in (("a", across), ("b", across.T)):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            shares.append(share * (1 - i / 20))
            shares[-1][-1, -1] = i % 2  # both ends occur
            Image.fromarray(make(shares[-1])).save(folder / name / f"{i}.{suffix}")
    return np.stack(shares)


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("kind", DEEP)
def test_pictures_of_any_depth_keep_their_contrast_by_a_rule_that_is_said_and_kept(tmp_path, kind, in_memory):
    make, suffix, (black, white) = DEEP[kind]
    shares = write_deep(tmp_path / "set", make, suffix)
    data = image_folder(str(tmp_path / "set"), image_size=8, channels="gray", val=0, test=0, in_memory=in_memory)
    x = torch.stack([data.train[i][0] for i in range(12)])[:, 0].numpy()
    reach = {"int32": 100_000 / 131071}.get(kind, 1)  # the next full number of bits
    np.testing.assert_allclose(x, 255 * reach * shares, atol=2)
    (note,) = (note for note in data.notes if "train images have" in note)
    assert f"{black:g} is black, {white:g} white" in note
    content = {"task": "binary", "in_shape": list(data.in_shape), "classes": ["a", "b"], "targets": []}
    content |= {"target_mean": None, "target_std": None, "preprocessing": data.preprocessing}
    known = facts(json.loads(json.dumps(content)), "data.json")
    one = tmp_path / "set" / "b" / f"5.{suffix}"
    scale = {key: known.preprocessing.get(key) for key in ("channels", "deep")}
    ((_, pixels),) = pictures(one, size=(8, 8), **scale)
    assert torch.equal(pixels[0, 0], torch.from_numpy(x[11]))
    batch = next(make_loader(data.train, batch_size=12).epoch())
    assert torch.equal(normalise(pixels, known.preprocessing)[0], batch.x[11])


def png16(values, kind):
    """A PNG of 16 bits a channel, big-endian uint16 [H, W, C], by hand: Pillow writes none with colours."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff16(values, order, compression):
    """A TIFF of 16 bits a channel, uint16 [H, W, 3]; compression 1 is none, 8 is Deflate."""
    content = values.astype(f"{order}u2").tobytes()
    content = zlib.compress(content) if compression == 8 else content
    tags = {256: values.shape[1], 257: values.shape[0], 258: 122, 259: compression, 262: 2, 273: 128, 277: 3}
    tags |= {278: values.shape[0], 279: len(content)}
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(f"{order}HIH", 42, 8, len(tags))
    for tag, value in tags.items():
        head += struct.pack(f"{order}HHII", tag, *((3, 3) if tag == 258 else (4, 1)), value)
    return (head + bytes(4)).ljust(122, b"\0") + struct.pack(f"{order}3H", 16, 16, 16) + content


COLOURS = {  # how a picture of 16 bits a channel is stored
    "png": lambda v: png16(v.astype(">u2"), 2),
    "png with transparency": lambda v: png16(np.dstack([v, v[..., :1] * 0 + 65535]).astype(">u2"), 6),
    "png, grey with transparency": lambda v: png16(np.dstack([v[..., 0], v[..., 0] * 0 + 65535]).astype(">u2"), 4),
    **{f"tiff {order}{packed}": lambda v, o=order, p=packed: tiff16(v, o, p) for order in "<>" for packed in (1, 8)},
}


@pytest.mark.parametrize("most", [255, 4095, 65535])
@pytest.mark.parametrize("stored", COLOURS)
def test_colours_of_16_bits_keep_their_contrast_too(tmp_path, stored, most):
    colours = np.random.default_rng(0).integers(0, most + 1, (2, 8, 8, 3)).astype(np.uint16)
    colours[:, 0, 0] = most
    for name, values in zip("ab", colours, strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"0.{stored[:3]}").write_bytes(COLOURS[stored](values))
    data = image_folder(str(tmp_path), image_size=8, val=0, test=0)
    x = torch.stack([data.train[i][0] for i in range(2)]).numpy()
    wanted = colours.transpose(0, 3, 1, 2)
    wanted = wanted[:, :1].repeat(3, axis=1) if "grey" in stored else wanted
    np.testing.assert_array_equal(x, wanted.astype(np.int64) * 255 // most)
    assert any(f"0 is black, {most:g} white" in note for note in data.notes)
    with pytest.raises(DataError, match=rf"whole numbers of more than 8 bits \(\d+ to {most:g}\)"):
        read_image(tmp_path / "a" / f"0.{stored[:3]}", size=(8, 8), deep={})


def test_pictures_whose_scale_is_not_known_are_refused_and_a_runs_own_scale_is_kept(tmp_path):
    make, suffix, _ = DEEP["16 bit 0..4095"]
    write_deep(tmp_path / "deep", make, suffix)
    write_deep(tmp_path / "bytes", lambda s: (255 * s).astype(np.uint8), "png")
    knobs = {"image_size": 8, "channels": "gray", "val": 0, "test": 0}
    plain, deep = (image_folder(str(tmp_path / name), **knobs) for name in ("bytes", "deep"))
    assert plain.preprocessing["deep"] == {}
    with pytest.raises(DataError, match=r"0\.png: its pixels are whole numbers of more than 8 bits \(0 to 4095\)"):
        list(pictures(tmp_path / "deep", size=(8, 8), channels="gray", deep=plain.preprocessing["deep"]))
    (tmp_path / "deep").rename(tmp_path / "bytes" / "deep")
    (tmp_path / "mixed").mkdir()
    (tmp_path / "bytes" / "deep").rename(tmp_path / "mixed" / "val")
    (tmp_path / "bytes").rename(tmp_path / "mixed" / "train")
    with pytest.raises(DataError, match=r"val/a/0\.png: its pixels are whole numbers"):
        image_folder(str(tmp_path / "mixed"), **knobs)
    before = {
        key: value for key, value in plain.preprocessing.items() if key != "deep"
    }  # of a run before there was one
    content = {"task": "binary", "in_shape": [1, 8, 8], "classes": ["a", "b"], "targets": []}
    content |= {"target_mean": None, "target_std": None}
    with pytest.raises(DataError, match=r"data\.in_memory=false"):
        again(deep, deep.train, facts(content | {"preprocessing": before}, "data.json"))
    assert again(plain, plain.train, facts(content | {"preprocessing": before}, "data.json")).mean is not None
    streamed = image_folder(str(tmp_path / "mixed" / "val"), **knobs, in_memory=False)
    scaled = before | {"deep": {"integer": [0, 65535]}}
    part = again(streamed, streamed.train, facts(content | {"preprocessing": scaled}, "data.json"))
    assert part[0][0].max() == 4095 // 257
    some = again(streamed, take(streamed.train, torch.tensor([1, 0])), facts(content | {"preprocessing": scaled}, "x"))
    assert torch.equal(some[1][0], part[0][0])


def test_a_deep_picture_that_a_worker_meets_is_named(tmp_path):
    make, suffix, _ = DEEP["16 bit 0..4095"]
    write_deep(tmp_path, make, suffix, n=1)
    files = ImageFiles([str(tmp_path / c / f"0.{suffix}") for c in "ab"], torch.tensor([0, 1]), (8, 8), "gray", deep={})
    with pytest.raises(DataError, match=r"0\.\w+: its pixels are whole numbers of more than 8 bits"):
        list(make_loader(files, batch_size=2, workers=1).epoch())


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    "value", [np.zeros((8, 8), np.uint8), np.full((8, 8), 7, np.int32), np.full((8, 8), 0.25, "f4")]
)
def test_train_images_without_contrast_are_an_error(tmp_path, value, in_memory):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.fromarray(value).save(tmp_path / name / f"{i}.tif")
    with pytest.raises(DataError, match="nothing to learn from"):
        image_folder(str(tmp_path), in_memory=in_memory)


def test_flat_pictures_and_numbers_that_are_none_are_named(tmp_path):
    write_images(tmp_path)
    Image.new("RGB", (8, 8), (9, 9, 9)).save(tmp_path / "cat" / "005.png")
    data = image_folder(str(tmp_path), image_size=8, val=0, test=0)
    assert data.notes[0].startswith("of one colour throughout: 1 train images (")
    assert data.notes[0].endswith("cat/005.png)")
    Image.fromarray(np.full((8, 8), np.nan, np.float32)).save(tmp_path / "cat" / "006.tif")
    with pytest.raises(DataError, match=r"006\.tif: cannot be read as an image: it holds NaN or infinity"):
        image_folder(str(tmp_path), image_size=8, val=0, test=0)


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
    monkeypatch.setattr(image_folders, "_SAMPLED", 2)  # a streamed set reads the others while training
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
    with pytest.raises(DataError, match=r"/dog holds no image files that can be read \(\.png \.jpg"):
        image_folder(str(tmp_path))


@pytest.mark.parametrize("size", [0, [8], [8, 8, 3], [8, -1]])
def test_image_size_is_checked(tmp_path, size):
    with pytest.raises(ConfigError, match=r"data\.image_size=.*: one number of pixels from 1, or \[height, width\]"):
        image_folder(str(tmp_path), image_size=size)


@pytest.mark.parametrize(("name", "most"), [("_MOST_DEEP", 60), ("_LONGEST_SIDE", 7)])
def test_an_image_that_would_fill_the_memory_is_not_decoded(tmp_path, monkeypatch, name, most):
    Image.new("I;16", (8, 8), 7).save(tmp_path / "deep.png")
    monkeypatch.setattr(decoding, name, most)
    with pytest.raises(DataError, match=r"deep\.png: cannot be read as an image: it is 8 x 8 pixels, more than"):
        read_image(tmp_path / "deep.png", size=(4, 4))
