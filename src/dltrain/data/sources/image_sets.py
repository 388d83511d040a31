"""The usual image sets, read from their official files: IDX (MNIST and its kin) and the binary CIFAR batches.

Files that stand in `root` are read as they are; otherwise they are downloaded there. No pickle is read.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from dltrain.data import Data, Split, Tensors, fallback, single, split
from dltrain.data.idx import LARGEST, check_stored, read_idx
from dltrain.data.sources.download import Remote, fetch
from dltrain.errors import ConfigError, DataError
from dltrain.errors.paths import local

_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_FASHION_CLASSES = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_CIFAR10_CLASSES = "airplane,automobile,bird,cat,deer,dog,frog,horse,ship,truck"
_CIFAR10 = Remote(
    "cifar-10-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
    "c32a1d4ab5d03f1284b67883e8d87530",
)
_CIFAR100 = Remote(
    "cifar-100-binary.tar.gz",
    ("https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",),
    "03b5dce01913d631647c71ecec9e9cb8",
)


def mnist(root: str = "data", *, val: float | int = 10_000, split_seed: int = 0, limit: int | None = None) -> Data:
    """Handwritten digits, grey, 28 x 28: 60,000 train and 10,000 test images (LeCun, Cortes, Burges 1998).

    Files are looked for in root/MNIST/raw, root/mnist, root and root/raw, compressed or not. Validation is cut
    from the train files by class (a count or a fraction); `limit` keeps that many of the remaining train images.
    """
    classes = tuple("0123456789")
    parts = _idx_parts("MNIST", "mnist", root, len(classes))
    return _official(*parts, classes, val=val, split_seed=split_seed, limit=limit)


def fashion_mnist(
    root: str = "data", *, val: float | int = 10_000, split_seed: int = 0, limit: int | None = None
) -> Data:
    """Photographs of clothes in MNIST's format (Xiao, Rasul, Vollgraf 2017); see `mnist` for the arguments."""
    classes = _FASHION_CLASSES.split(",")
    parts = _idx_parts("FashionMNIST", "fashion_mnist", root, len(classes))
    return _official(*parts, classes, val=val, split_seed=split_seed, limit=limit)


def kmnist(root: str = "data", *, val: float | int = 10_000, split_seed: int = 0, limit: int | None = None) -> Data:
    """Cursive Japanese characters in MNIST's format (Clanuwat et al. 2018); see `mnist` for the arguments."""
    classes = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
    parts = _idx_parts("KMNIST", "kmnist", root, len(classes))
    return _official(*parts, classes, val=val, split_seed=split_seed, limit=limit)


def cifar10(root: str = "data", *, val: float | int = 5_000, split_seed: int = 0, limit: int | None = None) -> Data:
    """Colour photographs, 32 x 32, of 10 kinds of things: 50,000 train, 10,000 test (Krizhevsky 2009).

    The binary version's files are looked for in root/cifar-10-batches-bin, root/cifar10 and root. Validation is
    cut from the train files by class; `limit` keeps that many of the remaining train images.
    """
    train = [f"data_batch_{i}.bin" for i in range(1, 6)]
    names = "batches.meta.txt"
    folder = _locate(root, "cifar-10-batches-bin", "cifar10", _CIFAR10, [*train, "test_batch.bin"], names)
    classes = _class_names(folder / names, 10) or _CIFAR10_CLASSES.split(",")
    parts = _cifar_parts(folder, train, "test_batch.bin", len(classes), label_bytes=1)
    return _official(*parts, classes, val=val, split_seed=split_seed, limit=limit, notes=_unusual(folder, *parts))


def cifar100(root: str = "data", *, val: float | int = 5_000, split_seed: int = 0, limit: int | None = None) -> Data:
    """CIFAR's set of 100 finer classes (Krizhevsky 2009); see `cifar10` for the arguments.

    The binary version's files are looked for in root/cifar-100-binary, root/cifar100 and root.
    """
    names = "fine_label_names.txt"
    folder = _locate(root, "cifar-100-binary", "cifar100", _CIFAR100, ["train.bin", "test.bin"], names)
    classes = _class_names(folder / names, 100) or [str(i) for i in range(100)]
    parts = _cifar_parts(folder, ["train.bin"], "test.bin", len(classes), label_bytes=2)
    return _official(*parts, classes, val=val, split_seed=split_seed, limit=limit, notes=_unusual(folder, *parts))


_LARGEST_NAMES = 1 << 16  # bytes of the names of classes
_Part = tuple[Tensor, Tensor]  # images uint8 [N, C, H, W] and labels int64 [N] of the train files, or of the test files


def _idx_parts(title: str, name: str, root: str, n_classes: int) -> tuple[_Part, _Part]:
    folder = local(root)
    paths = _find([folder / title / "raw", folder / name, folder, folder / "raw"])
    if not paths:
        from torchvision import datasets  # 1.5 s; its table of addresses and MD5 sums

        source, raw = getattr(datasets, title), folder / title / "raw"
        remotes = [Remote(f, tuple(m + f for m in source.mirrors), md5) for f, md5 in source.resources]
        fetch(title, remotes, raw, wanted=[remote.name for remote in remotes])
        paths = _find([raw])
    x, y, test_x, test_y = (read_idx(path) for path in paths)
    train = _checked(x, y, n_classes, paths[0], paths[1])
    test = _checked(test_x, test_y, n_classes, paths[2], paths[3])
    if x.shape[1:] != test_x.shape[1:]:
        raise DataError(
            f"train images are {list(x.shape[1:])} pixels, test images {list(test_x.shape[1:])}: "
            f"{paths[0]} and {paths[2]} belong to different sets"
        )
    return train, test


def _find(folders: list[Path]) -> list[Path]:
    """The four IDX files of the first folder that holds them all, uncompressed ones first; none where none does."""
    for folder in folders:
        paths: list[Path] = []
        for name in _IDX_FILES:
            dotted = name.replace("-idx", ".idx")  # as some mirrors call them
            candidates = (folder / f for f in (name, dotted, f"{name}.gz", f"{dotted}.gz"))
            paths += [path for path in candidates if path.is_file()][:1]
        if len(paths) == len(_IDX_FILES):
            return paths
    return []


def _checked(x: Tensor, y: Tensor, n_classes: int, x_path: Path, y_path: Path) -> _Part:
    """Images [N, 1, H, W] and labels int64 [N], which fit together."""
    if x.ndim != 3:
        raise DataError(f"{x_path}: images need the shape [count, height, width], this file has {list(x.shape)}")
    if y.ndim != 1:
        raise DataError(f"{y_path}: labels need the shape [count], this file has {list(y.shape)}")
    if len(x) != len(y):
        raise DataError(f"{len(x):,} images in {x_path}, but {len(y):,} labels in {y_path}")
    return x.unsqueeze(1), _checked_labels(y, n_classes, y_path)


def _checked_labels(y: Tensor, n_classes: int, path: Path) -> Tensor:
    if y.max() >= n_classes:
        row = int((y >= n_classes).nonzero()[0])
        raise DataError(f"{path}: label {int(y[row])} of image {row} is not one of the {n_classes} classes")
    return y.to(torch.int64)


def read_cifar(path: str | Path, *, label_bytes: int = 1) -> tuple[Tensor, Tensor]:
    """Images uint8 [N, 3, 32, 32] and labels uint8 [N] of a binary CIFAR file.

    A record is `label_bytes` labels (the last one counts: CIFAR-100 puts the coarse class first) and 3,072 bytes:
    the red, green and blue planes, row by row.
    """
    record, path = label_bytes + 3072, Path(path)
    try:
        size = path.stat().st_size
        if size == 0 or size % record or size > LARGEST:
            full = f"{size // record:,} records and {size % record:,} bytes"
            raise DataError(f"{path}: expected records of {record:,} bytes, got {size:,} bytes: {full}")
        with path.open("rb") as file:
            check_stored(file, path)
            rows = torch.frombuffer(bytearray(file.read()), dtype=torch.uint8).view(-1, record)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error}") from error
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1].clone()


def _locate(root: str, unpacked: str, name: str, archive: Remote, needed: list[str], names: str) -> Path:
    """The folder that holds the files `needed`; downloaded if there is none."""
    folder = local(root)
    for candidate in (folder / unpacked, folder / name, folder / name / unpacked, folder):
        if all((candidate / file).is_file() for file in needed):
            return candidate
    fetch(name, [archive], folder / unpacked, wanted=[*needed, names])
    return folder / unpacked


def _class_names(path: Path, n: int) -> list[str] | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        names = file.read(_LARGEST_NAMES).decode(errors="replace").split()
    if len(names) != n or len(set(names)) != n:
        raise DataError(f"{path}: expected {n} different class names, got {len(set(names))} in {len(names)} words")
    return names


def _cifar_parts(
    folder: Path, train_files: list[str], test_file: str, n_classes: int, *, label_bytes: int
) -> tuple[_Part, _Part]:
    def read(files: list[str]) -> _Part:
        paths = [folder / file for file in files]
        parts = [read_cifar(path, label_bytes=label_bytes) for path in paths]
        labels = [_checked_labels(y, n_classes, path) for (_, y), path in zip(parts, paths, strict=True)]
        return torch.cat([x for x, _ in parts]), torch.cat(labels)

    return read(train_files), read([test_file])


def _unusual(folder: Path, train: _Part, test: _Part) -> list[str]:
    """A note on CIFAR files of another length: the format has no header that could tell."""
    counts = len(train[1]), len(test[1])
    if counts == (50_000, 10_000):
        return []
    return [f"{folder} holds {counts[0]:,} train and {counts[1]:,} test images, not 50,000 and 10,000"]


def _official(
    train: _Part,
    test: _Part,
    classes: Sequence[str],
    *,
    val: float | int,
    split_seed: int,
    limit: int | None,
    notes: Sequence[str] = (),
) -> Data:
    """Data from the train and test files of a published set; validation is cut from the train files."""
    x, y = train
    if limit is not None and limit < 1:
        raise ConfigError(f"data.limit={limit}: a number of train images from 1, or null for all")
    train_rows, val_rows, _ = split(len(x), val=val, test=0, seed=split_seed, classes=y.numpy())
    notes = [*notes, *(single(y.numpy(), classes) if len(val_rows) else ())]
    if limit is not None and limit < len(train_rows):  # as many of each class as there are in the whole
        labels = y[train_rows].numpy()
        train_rows = train_rows[split(len(labels), val=0, test=limit, seed=split_seed, classes=labels)[2]]
    parts = [(x[rows], y[rows]) for rows in (train_rows, val_rows)] + [test]
    mean, std = pixel_statistics(parts[0][0])
    made = (Tensors(x, y, mean, std) for x, y in parts)
    return image_data(*made, mean=mean, std=std, classes=classes, notes=notes)


def pixel_statistics(images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation, float32 [C], of each channel of uint8 images [N, C, H, W], in units of 255.

    Counted in whole numbers, so the bits do not depend on the machine. A channel that never varies has std 1; images
    that vary in none raise DataError.
    """
    means: list[float] = []
    stds: list[float] = []
    for channel in range(images.shape[1]):
        counts = torch.bincount(images[:, channel].reshape(-1), minlength=256).tolist()
        n, total, squares = (sum(count * level**p for level, count in enumerate(counts)) for p in range(3))
        means.append(total / n / 255)
        stds.append(math.sqrt((n * squares - total * total) / (n * n)) / 255 or 1.0)
    if all(std == 1 for std in stds):  # no real one is larger than a half
        levels = ", ".join(f"{255 * mean:.0f}" for mean in means)
        raise DataError(
            f"the train images have no contrast: every pixel is {levels} of 255, so there is nothing to learn from"
        )
    return torch.tensor(means), torch.tensor(stds)


def image_data(
    train: Split,
    val: Split,
    test: Split,
    *,
    mean: Tensor,
    std: Tensor,
    classes: Sequence[str],
    deep: dict[str, list[float]] | None = None,
    notes: Sequence[str] = (),
) -> Data:
    """`Data` of three image splits that share mean and std float32 [C].

    deep: on which scale files of more than eight bits were read (see `decoding`), where they come from files.
    """
    val, test, more = fallback(train, val, test)
    shape = tuple(train[0][0].shape)
    return Data(
        train=train,
        val=val,
        test=test,
        task="binary" if len(classes) == 2 else "multiclass",
        in_shape=shape,
        classes=tuple(classes),
        fill=tuple((-mean / std).tolist()),
        preprocessing={
            "kind": "images",
            "channels": "gray" if shape[0] == 1 else "rgb",
            "image_size": list(shape[1:]),
            "mean": mean.tolist(),
            "std": std.tolist(),
            **({} if deep is None else {"deep": deep}),
        },
        notes=(*notes, *more),
    )
