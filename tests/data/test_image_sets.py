"""Image sets: real MNIST, and small IDX and CIFAR files with every kind of damage."""

import gzip
import hashlib
import http.server
import io
import os
import struct
import tarfile
import threading
import tracemalloc
from functools import partial

import numpy as np
import pytest
import torch

from dltrain.data.sources import image_sets
from dltrain.data.sources.download import Remote, fetch
from dltrain.data.sources.image_sets import (
    cifar10,
    cifar100,
    fashion_mnist,
    kmnist,
    mnist,
    pixel_statistics,
    read_cifar,
    read_idx,
)
from dltrain.errors import ConfigError, DataError, system

IDX_NAMES = image_sets._IDX_FILES


def idx(array):
    """An array of bytes as the content of an IDX file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx_set(folder, *, n_train=40, n_test=10, packed=True, seed=0):
    """A small set in MNIST's format: random 6 x 5 images, labels 0 1 2 ... 9 0 1 ..."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = []
    for n in (n_train, n_test):
        arrays += [rng.integers(0, 256, (n, 6, 5), dtype=np.uint8), (np.arange(n) % 10).astype(np.uint8)]
    for name, array in zip(IDX_NAMES, arrays, strict=True):
        content = idx(array)
        (folder / (f"{name}.gz" if packed else name)).write_bytes(gzip.compress(content) if packed else content)
    return [torch.from_numpy(array) for array in arrays]


# -- MNIST itself ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole_mnist(shared_data):
    return mnist(str(shared_data / "mnist"), val=0)


def test_real_mnist(whole_mnist):
    train, test = whole_mnist.train, whole_mnist.test
    assert (train.x.shape, train.x.dtype, train.y.dtype) == ((60_000, 1, 28, 28), torch.uint8, torch.int64)
    assert train.y[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert train.y.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert train.mean.item() == pytest.approx(0.13066, abs=5e-6)
    assert train.std.item() == pytest.approx(0.30811, abs=5e-6)
    assert hashlib.md5(idx(train.x.squeeze(1).numpy())).hexdigest() == "6bbc9ace898e44ae57da46a324031adb"
    assert whole_mnist.fill == pytest.approx((-0.13066 / 0.30811,), abs=1e-4)
    assert whole_mnist.task == "multiclass"
    assert whole_mnist.classes == tuple("0123456789")
    assert (whole_mnist.in_shape, whole_mnist.in_features) == ((1, 28, 28), 784)


def test_without_validation_rows_the_train_part_stands_in_and_a_note_says_so(whole_mnist):
    assert whole_mnist.val is whole_mnist.train
    assert "validation is the train set itself" in whole_mnist.notes[0]


def test_real_mnist_split(shared_data, whole_mnist):
    data = mnist(str(shared_data), split_seed=3)  # found in the subfolder mnist
    assert [len(part) for part in (data.train, data.val, data.test)] == [50_000, 10_000, 10_000]
    share = data.val.y.bincount() / whole_mnist.train.y.bincount()
    assert share.sub(1 / 6).abs().max() < 2e-4
    pixels = data.train.x.double() / 255
    assert data.train.mean.item() == pytest.approx(pixels.mean().item(), abs=1e-7)
    assert data.train.std.item() == pytest.approx(pixels.std(correction=0).item(), abs=1e-7)
    assert data.val.mean is data.test.mean is data.train.mean
    assert data.preprocessing == {
        "kind": "images",
        "channels": "gray",
        "image_size": [28, 28],
        "mean": data.train.mean.tolist(),
        "std": data.train.std.tolist(),
    }
    assert data.notes == ()


# -- small IDX files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["MNIST/raw", "mnist", ".", "raw"])
@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_found_where_people_keep_them(tmp_path, place, packed):
    x, y, test_x, test_y = write_idx_set(tmp_path / place, packed=packed)
    data = mnist(str(tmp_path), val=0)
    assert torch.equal(data.train.x.squeeze(1), x)
    assert torch.equal(data.train.y, y.long())
    assert torch.equal(data.test.x.squeeze(1), test_x)
    assert torch.equal(data.test.y, test_y.long())


def test_each_set_prefers_its_own_folder(tmp_path):
    own = {
        name: write_idx_set(tmp_path / name, seed=i)[0] for i, name in enumerate(("mnist", "fashion_mnist", "kmnist"))
    }
    write_idx_set(tmp_path, seed=9)
    for make in (mnist, fashion_mnist, kmnist):
        data = make(str(tmp_path), val=0)
        assert torch.equal(data.train.x.squeeze(1), own[make.__name__])
    assert data.classes[:3] == ("o", "ki", "su")
    assert fashion_mnist(str(tmp_path) + "/", val=0).classes[-1] == "Ankle boot"


def test_unpacked_files_and_dotted_names_are_read_by_content(tmp_path):
    x, *_ = write_idx_set(tmp_path, packed=False)
    (tmp_path / IDX_NAMES[0]).rename(tmp_path / f"{IDX_NAMES[0]}.gz")  # a browser unpacked it and kept the name
    (tmp_path / IDX_NAMES[1]).rename(tmp_path / "train-labels.idx1-ubyte")
    assert torch.equal(mnist(str(tmp_path), val=0).train.x.squeeze(1), x)


def test_splits_are_seeded_stratified_and_disjoint(tmp_path):
    x, *_ = write_idx_set(tmp_path)
    one, same, other = (mnist(str(tmp_path), val=0.25, split_seed=seed) for seed in (0, 0, 1))
    assert torch.equal(one.val.x, same.val.x)
    assert not torch.equal(one.val.x, other.val.x)
    assert one.val.y.bincount().tolist() == [1] * 10
    together = torch.cat([one.train.x, one.val.x]).flatten(1).tolist()
    assert sorted(together) == sorted(x.flatten(1).tolist())


def test_limit_keeps_some_of_each_class_and_fits_mean_and_std_on_them(tmp_path):
    write_idx_set(tmp_path)
    full, data = mnist(str(tmp_path), val=10), mnist(str(tmp_path), val=10, limit=20)
    assert torch.equal(full.val.x, data.val.x)
    assert data.train.y.bincount().tolist() == [2] * 10
    assert data.train.mean.item() == pytest.approx(data.train.x.double().mean().item() / 255)
    assert len(mnist(str(tmp_path), val=10, limit=1000).train) == 30
    with pytest.raises(ConfigError, match=r"data\.limit=0: a number of train images from 1"):
        mnist(str(tmp_path), limit=0)
    with pytest.raises(DataError, match=r"data\.val=40 leaves no training rows of the 40"):
        mnist(str(tmp_path), val=40)


def test_pixel_statistics_are_exact_per_channel():
    x = torch.zeros(3, 2, 4, 4, dtype=torch.uint8)
    x[0, 0], x[:, 1] = 255, 51
    mean, std = pixel_statistics(x)
    assert mean.tolist() == pytest.approx([1 / 3, 0.2])
    assert std.tolist() == pytest.approx([2**0.5 / 3, 1.0])  # a constant channel is only shifted


# -- damaged IDX files ----------------------------------------------------------------------------------------


GOOD = idx(np.arange(60, dtype=np.uint8).reshape(3, 4, 5))  # 76 bytes
DAMAGE = [
    ("short", GOOD[:-7], "expected 76 bytes, got 69$"),
    ("long", GOOD + b"x", "expected 76 bytes, got 77$"),
    ("short_gz", gzip.compress(GOOD[:-7]), "expected 76 bytes, got 69$"),
    ("long_gz", gzip.compress(GOOD + b"x" * 99), "expected 76 bytes, got more$"),
    ("no_checksum", gzip.compress(GOOD)[:-8], "expected 76 bytes, got 76 before the compressed data broke off"),
    ("half_gz", gzip.compress(bytes(GOOD), 0)[:40], r"expected 76 bytes, got \d+ before the compressed data broke off"),
    ("stub_gz", gzip.compress(GOOD, 0)[:18], "truncated: the compressed data breaks off inside the header"),
    ("checksum", gzip.compress(GOOD)[:-8] + b"\0" * 8, "cannot be read: CRC check failed"),
    ("not_deflate", gzip.compress(GOOD)[:10] + b"\xff" * 60, "cannot be read: Error -3"),
    ("empty", b"", "it begins with nothing instead of 00 00 08"),
    ("header", GOOD[:9], "truncated: the file ends inside its header"),
    ("magic", b"\x89PNG" + GOOD, "it begins with 89 50 4e 47 instead of 00 00 08"),
    ("float", b"\0\0\x0d\x03" + GOOD[4:], "it begins with 00 00 0d 03 instead"),
    ("little", GOOD[3::-1] + GOOD[4:], "it begins with 03 08 00 00 instead"),
    ("no_dims", b"\0\0\x08\x00" + GOOD[4:], "it begins with 00 00 08 00 instead"),
    ("web_page", b"\n<!DOCTYPE html><html>", "this is a web page, not an IDX file; download it again"),
    ("web_page_gz", gzip.compress(b"<html>Not found</html>"), "this is a web page"),
    ("zero", idx(np.zeros((0, 4, 5), np.uint8)), r"the header gives the shape \[0, 4, 5\], 0 bytes"),
    ("huge", GOOD[:4] + b"\xff" * 12, r"the header gives the shape \[4294967295, 4294967295, 4294967295\]"),
]


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in DAMAGE], ids=[case[0] for case in DAMAGE])
def test_a_damaged_idx_file_says_what_is_wrong(tmp_path, content, message):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(caught.value).startswith(str(path))
    assert len(str(caught.value).splitlines()) == 1


def test_a_gzip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(64 << 20)))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected 76 bytes, got more"):
            read_idx(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_gzip_bomb_that_holds_what_it_says_is_not_unpacked(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 20, 16, 16)) + BOMB * 4)
    with pytest.raises(DataError, match=r"268,435,456 bytes, which no file of 26\d,\d{3} holds"):
        read_idx(path)


BOMB = gzip.compress(bytes(64 << 20))


@pytest.mark.skipif(not hasattr(system.os, "SEEK_DATA"), reason="this system tells nothing of holes")
def test_a_hole_is_no_set_of_images(tmp_path):
    path = tmp_path / "images"
    path.write_bytes(bytes([0, 0, 8, 3]) + struct.pack(">3I", 1 << 20, 16, 16))
    os.truncate(path, 16 + (256 << 20))
    with pytest.raises(DataError, match="it is a hole, of whose 268,435,472 bytes few are stored"):
        read_idx(path)
    os.truncate(path, 3073 * 80_000)
    with pytest.raises(DataError, match="it is a hole"):
        read_cifar(path)


def test_of_a_file_of_names_no_more_is_read_than_names_take(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "batches.meta.txt").write_bytes(b"a" * (64 << 20))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match="expected 10 different class names, got 1"):
            cifar10(str(tmp_path))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_the_lock_of_a_download_makes_no_file_elsewhere(tmp_path):
    away = tmp_path / "away"
    folder = tmp_path / "raw"
    folder.mkdir()
    (folder / ".download.lock").symlink_to(away)
    with pytest.raises(DataError, match="cannot download mnist: "):
        fetch("mnist", [Remote("x", ("http://localhost:9/x",), "0" * 32)], folder, wanted=["x"])
    assert not away.exists()


def test_a_truncated_mnist_file_is_named_with_its_sizes(tmp_path, shared_data):
    for path in (shared_data / "mnist").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(DataError, match=r"expected 47,040,016 bytes, got 47,0\d\d,\d{3} before the compressed data"):
        mnist(str(tmp_path))


def test_missing_and_unreadable_idx_files(tmp_path):
    with pytest.raises(DataError, match=r"cannot be read: .*No such file"):
        read_idx(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"cannot be read: .*directory"):
        read_idx(tmp_path)


@pytest.mark.parametrize(
    ("which", "array", "message"),
    [
        (1, np.zeros(39, np.uint8), "40 images in .*train-images.*, but 39 labels in .*train-labels"),
        (3, np.zeros((2, 5), np.uint8), r"t10k-labels.*: labels need the shape \[count\], this file has \[2, 5\]"),
        (0, np.zeros(40, np.uint8), r"train-images.*: images need the shape \[count, height, width\].* has \[40\]"),
        (
            1,
            np.r_[np.zeros(39), 11].astype(np.uint8),
            "train-labels.*: label 11 of image 39 is not one of the 10 classes",
        ),
        (2, np.zeros((10, 7, 5), np.uint8), r"train images are \[6, 5\] pixels, test images \[7, 5\]"),
    ],
)
def test_idx_files_that_do_not_fit_together(tmp_path, which, array, message):
    write_idx_set(tmp_path)
    (tmp_path / f"{IDX_NAMES[which]}.gz").write_bytes(idx(array))
    with pytest.raises(DataError, match=message):
        mnist(str(tmp_path))


# -- download -------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server over tmp_path/site; its `asked` lists the paths that were requested."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    (tmp_path / "site").mkdir()
    http_server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "site"))
    thread = threading.Thread(target=http_server.serve_forever)
    thread.start()
    http_server.asked, http_server.url = asked, f"http://127.0.0.1:{http_server.server_port}/"
    yield http_server
    http_server.shutdown()
    thread.join()
    http_server.server_close()


def offer_mnist(server, site, monkeypatch):
    from torchvision import datasets

    x, *_ = write_idx_set(site)
    sums = [(f"{name}.gz", hashlib.md5((site / f"{name}.gz").read_bytes()).hexdigest()) for name in IDX_NAMES]
    monkeypatch.setattr(datasets.MNIST, "mirrors", [server.url + "gone/", server.url])
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    return x


def test_missing_files_are_downloaded_once_into_torchvisions_layout(tmp_path, server, monkeypatch):
    x = offer_mnist(server, tmp_path / "site", monkeypatch)
    root = tmp_path / "data"
    assert torch.equal(mnist(str(root), val=0).train.x.squeeze(1), x)
    names = sorted(path.name for path in (root / "MNIST" / "raw").iterdir())
    assert names == [".download.lock", *sorted(f"{name}.gz" for name in IDX_NAMES)]
    assert len([path for path in server.asked if "/gone/" not in path]) == 4
    server.asked.clear()
    mnist(str(root), val=0)
    assert server.asked == []


def test_a_wrong_download_leaves_nothing_behind_and_says_what_to_do(tmp_path, server, monkeypatch):
    offer_mnist(server, tmp_path / "site", monkeypatch)
    (tmp_path / "site" / f"{IDX_NAMES[2]}.gz").write_bytes(b"<html>")
    folder = tmp_path / "data" / "MNIST" / "raw"
    with pytest.raises(DataError) as caught:
        mnist(str(tmp_path / "data"))
    what, remedy = str(caught.value).splitlines()
    assert what.startswith("cannot download MNIST: ")
    assert "HTTP Error 404" in what
    assert f"MD5 {hashlib.md5(b'<html>').hexdigest()}, not " in what
    assert remedy == f"put these files by hand into {folder}: " + ", ".join(f"{name}.gz" for name in IDX_NAMES)
    assert [path.name for path in folder.iterdir()] == [".download.lock"]


def test_two_runs_that_start_together_download_once(tmp_path, server):
    (tmp_path / "site" / "file").write_bytes(b"content" * 1000)
    remote = Remote("file", (server.url + "file",), hashlib.md5(b"content" * 1000).hexdigest())
    left_by_a_killed_run = tmp_path / "data" / ".download"
    left_by_a_killed_run.mkdir(parents=True)
    (left_by_a_killed_run / "file").write_bytes(b"cont")
    start = threading.Barrier(4)

    def run():
        start.wait()
        fetch("it", [remote], tmp_path / "data", wanted=["file"])

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "data" / "file").read_bytes() == b"content" * 1000
    assert len(server.asked) == 1
    assert not left_by_a_killed_run.exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot download MNIST: .*Not a directory.*\nput these files by hand into .*"):
        mnist(str(tmp_path / "file"))


# -- CIFAR ----------------------------------------------------------------------------------------------------


def cifar_bytes(n, label_bytes, n_classes, seed=0):
    rng = np.random.default_rng(seed)
    records = rng.integers(0, 256, (n, label_bytes + 3072), dtype=np.uint8)
    records[:, :label_bytes] = (np.arange(n) % n_classes)[:, None]
    return records


def write_cifar10(folder, n=20):
    folder.mkdir(parents=True, exist_ok=True)
    parts = [cifar_bytes(n, 1, 10, seed) for seed in range(6)]
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    for name, part in zip(names, parts, strict=True):
        (folder / name).write_bytes(part.tobytes())
    (folder / "batches.meta.txt").write_text("plane\ncar\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n")
    return parts


@pytest.mark.parametrize("place", [".", "cifar10", "cifar-10-batches-bin"])
def test_cifar10_records(tmp_path, place):
    parts = write_cifar10(tmp_path / place)
    data = cifar10(str(tmp_path), val=0)
    records = np.concatenate(parts[:5])
    assert torch.equal(data.train.x, torch.from_numpy(records[:, 1:].reshape(100, 3, 32, 32)))
    assert data.train.y.tolist() == records[:, 0].tolist()
    assert data.test.x[3, 1, 0, 31] == parts[5][3, 1 + 1024 + 31]  # planes: red, green, blue
    assert data.classes[0] == "plane"
    assert (data.in_shape, len(data.fill), data.preprocessing["channels"]) == ((3, 32, 32), 3, "rgb")
    assert "holds 100 train and 20 test images, not 50,000 and 10,000" in data.notes[0]
    (tmp_path / place / "batches.meta.txt").unlink()
    assert cifar10(str(tmp_path), val=10).classes[0] == "airplane"


def test_cifar100_takes_the_fine_label(tmp_path):
    train, test = cifar_bytes(200, 2, 100), cifar_bytes(100, 2, 100, 1)
    train[:, 0], test[:, 0] = 7, 7  # coarse
    (tmp_path / "train.bin").write_bytes(train.tobytes())
    (tmp_path / "test.bin").write_bytes(test.tobytes())
    data = cifar100(str(tmp_path), val=100)
    assert data.val.y.bincount().tolist() == [1] * 100
    assert data.classes == tuple(str(i) for i in range(100))
    assert data.test.x[5, 0, 0, 0] == test[5, 2]


def test_damaged_cifar_files(tmp_path):
    write_cifar10(tmp_path)
    path = tmp_path / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    with pytest.raises(
        DataError, match=r"data_batch_2\.bin: expected records of 3,073 bytes, got 61,455 bytes: 19 records"
    ):
        cifar10(str(tmp_path))
    path.write_bytes(b"")
    with pytest.raises(DataError, match="got 0 bytes"):
        read_cifar(path)
    path.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(DataError, match=r"data_batch_2\.bin: label 10 of image 0 is not one of the 10 classes"):
        cifar10(str(tmp_path))
    path.write_bytes(whole)
    (tmp_path / "batches.meta.txt").write_text("cat dog cat")
    with pytest.raises(DataError, match="expected 10 different class names, got 2 in 3 words"):
        cifar10(str(tmp_path))


def cifar_archive(path, folder):
    with tarfile.open(path, "w:gz") as archive:
        archive.add(folder, arcname="cifar-10-batches-bin")
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_cifar_archive_is_downloaded_verified_and_unpacked(tmp_path, server, monkeypatch):
    write_cifar10(tmp_path / "made")
    md5 = cifar_archive(tmp_path / "site" / "c.tar.gz", tmp_path / "made")
    monkeypatch.setattr(image_sets, "_CIFAR10", Remote("c.tar.gz", (server.url + "c.tar.gz",), md5))
    assert len(cifar10(str(tmp_path / "data"), val=10).train) == 90
    kept = sorted(path.name for path in (tmp_path / "data" / "cifar-10-batches-bin").iterdir())
    assert kept == [".download.lock", *sorted(path.name for path in (tmp_path / "made").iterdir())]


def test_cifar_archive_put_there_by_hand(tmp_path, monkeypatch):
    write_cifar10(tmp_path / "made")
    target = tmp_path / "data" / "cifar-10-batches-bin"
    target.mkdir(parents=True)
    md5 = cifar_archive(target / "c.tar.gz", tmp_path / "made")
    monkeypatch.setattr(image_sets, "_CIFAR10", Remote("c.tar.gz", ("http://127.0.0.1:9/c.tar.gz",), "0" * 32))
    with pytest.raises(DataError, match=f"c.tar.gz has MD5 {md5}, not 0{{32}}; http://127.0.0.1:9/c.tar.gz: "):
        cifar10(str(tmp_path / "data"))
    monkeypatch.setattr(image_sets, "_CIFAR10", Remote("c.tar.gz", ("http://127.0.0.1:9/c.tar.gz",), md5))
    assert len(cifar10(str(tmp_path / "data"), val=10).train) == 90


def test_an_archive_cannot_write_outside_its_folder(tmp_path, monkeypatch):
    target = tmp_path / "data" / "cifar-10-batches-bin"
    target.mkdir(parents=True)
    with tarfile.open(target / "c.tar.gz", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../../../escaped"), io.BytesIO())
    md5 = hashlib.md5((target / "c.tar.gz").read_bytes()).hexdigest()
    monkeypatch.setattr(image_sets, "_CIFAR10", Remote("c.tar.gz", (), md5))
    with pytest.raises(DataError, match=r"cannot download cifar10: .*outside the destination"):
        cifar10(str(tmp_path / "data"))
    assert not (tmp_path / "escaped").exists()
