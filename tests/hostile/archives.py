"""Roots of published data sets, as a stranger would pack them: of the image sets that dltrain reads itself, and of what
torchvision's datasets read, in whose place lie pickles, archives that lead out, and little that unpacks to much.
"""

import bz2
import functools
import gzip
import io
import json
import os
import pickle
import random
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from hostile import words
from hostile.case import Bomb, Case, no_plain_file

SETS = ["mnist", "cifar10", "fashion_mnist", "cifar100", "kmnist", "mnist"]
IDX = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]
ROWS = 40
Maker = Callable[[random.Random, Case], bytes]


def head(*shape: int, kind: int = 8) -> bytes:
    return bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)


@functools.cache
def much(giga: float, pack: Callable[[bytes], bytes]) -> bytes:
    """So many GiB of zeros, packed in members of 64 MiB that follow each other."""
    return pack(bytes(64 << 20)) * int(giga * 16)


def sound_idx(rng: random.Random, *, images: bool) -> bytes:
    if images:
        return head(ROWS, 8, 8) + rng.randbytes(ROWS * 64)
    return head(ROWS) + bytes(i % 10 for i in range(ROWS))


def hostile_idx(rng: random.Random, case: Case, *, images: bool) -> bytes:
    """An IDX file, packed or not, that says what it is not, or is what nobody can hold."""
    sound = sound_idx(rng, images=images)
    giga = rng.choice([1, 3])
    shape = (giga << 20, 32, 32) if images else (giga << 30,)
    choices: list[Callable[[], bytes]] = [
        lambda: gzip.compress(head(*shape)) + much(giga, gzip.compress),  # it holds what it says
        lambda: gzip.compress(sound) + much(3, gzip.compress),  # it holds more
        lambda: gzip.compress(gzip.compress(sound)),
        lambda: gzip.compress(sound)[: rng.choice([5, 12, 60])],
        lambda: b"\x1f\x8b\x08\x08" + bytes(6) + b"../../outside/marker\x00" + gzip.compress(sound)[10:],
        lambda: sound[:2] + bytes([rng.choice([9, 11, 13, 14, 0])]) + sound[3:],
        lambda: sound[:3] + bytes([rng.choice([0, 4, 255])]) + sound[4:],
        lambda: head(ROWS, 0, 8) if images else head(0),
        lambda: head(2**31, 2**31, 4) + bytes(99),
        lambda: head(ROWS, *rng.choice([(1, 1), (1, 3_000), (16, 16)])) + rng.randbytes(ROWS * 3_000),
        lambda: sound[: len(sound) - rng.choice([1, 30])] + b"\xff" * rng.choice([0, 1, 30]),
        lambda: pickle.dumps(Bomb(case.marker)),
        lambda: b"<html>\x1b[2J</html>",
        lambda: sound + b"\x00",
        lambda: b"",
        lambda: packed_tar(rng, case),
    ]
    return rng.choice(choices)()


def packed_tar(rng: random.Random, case: Case) -> bytes:
    """A tar archive of what leads out: paths, links, devices, and a file through a link."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=rng.choice(["w", "w:gz", "w:xz"])) as archive:
        for name, kind, link in (
            ("../outside/marker", tarfile.REGTYPE, ""),
            (str(case.marker), tarfile.REGTYPE, ""),
            ("a", tarfile.SYMTYPE, str(case.outside)),
            ("a/marker", tarfile.REGTYPE, ""),
            ("b", tarfile.LNKTYPE, "../outside/precious.txt"),
            ("\x1b[2J", tarfile.FIFOTYPE, ""),
            ("zero", tarfile.CHRTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, link, kind == tarfile.REGTYPE
            archive.addfile(member, io.BytesIO(b"x"))
    return file.getvalue()


def packed_zip(rng: random.Random, case: Case) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../outside/marker", b"x")
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb(case.marker)))
        archive.writestr("archive/version", b"3\n")
        archive.writestr("x.npy", bytes(10 << 20))
    return file.getvalue()


def cifar(rng: random.Random, *, fine: bool) -> bytes:
    record = 3073 + fine
    return b"".join(bytes([i % 5] * (1 + fine)) + rng.randbytes(3072) for i in range(ROWS))[: ROWS * record]


def hostile_cifar(rng: random.Random, case: Case, *, fine: bool) -> bytes:
    sound = cifar(rng, fine=fine)
    return rng.choice([sound[:-1], b"", b"\xff" * len(sound), pickle.dumps(Bomb(case.marker)), sound + b"\x00"])


def class_names(rng: random.Random, case: Case) -> bytes:
    """Names of the ten or hundred classes of CIFAR, each a word."""
    count = rng.choice([10, 10, 100])
    names = [f"n{i}" for i in range(count)]
    names[rng.randrange(count)] = "".join(rng.choice([*words.SIGNS, *words.MARKUP, "a" * 300_000]).split())
    return "\n".join(names).encode("utf-8", "surrogatepass")


def in_its_place(rng: random.Random, case: Case, path: Path, content: Callable[[], bytes]) -> None:
    """Makes `path` a file of hostile content, or something that is no plain file."""
    path.unlink(missing_ok=True)
    match drawn := rng.randrange(12):
        case 0 | 1 | 2:
            no_plain_file(case, path, drawn)
        case 3:
            path.symlink_to(rng.choice(["/dev/zero", path.name, "/nowhere/x"]))
            case.may_read = True
        case 4:
            kept = content()[:16]
            path.write_bytes(rng.choice([kept, head(3 << 20, 32, 32), head(3 << 30), b"a "]))
            os.truncate(path, rng.choice([16 + (3 << 30), 8 + (3 << 30), (3 << 30) // 3073 * 3073, 3 << 30]))
        case 5:
            pass  # it is gone
        case _:
            path.write_bytes(content())
    case.may_fetch |= not path.is_file()  # what is missing is downloaded
    case.done.append(f"{path.name}, {path.stat().st_size if path.is_file() else 'no'} bytes")


def image_set(rng: random.Random, case: Case) -> list[str]:
    """One of the sets that dltrain reads itself, with one to three files of somebody else's; what is typed of it."""
    name = SETS[case.number // 2 % len(SETS)]
    root = case.inside / "sets"
    if "mnist" in name:
        folder = root / rng.choice(["", "raw", name])
        folder.mkdir(parents=True)
        names = [rng.choice([n, n, n.replace("-idx", ".idx")]) + rng.choice(["", ".gz"]) for n in IDX]
        for file in names:
            content = sound_idx(rng, images="images" in file)
            (folder / file).write_bytes(gzip.compress(content) if file.endswith(".gz") else content)
        for file in rng.sample(names, rng.choice([1, 1, 2])):
            in_its_place(rng, case, folder / file, lambda file=file: hostile_idx(rng, case, images="images" in file))
    else:
        fine = name == "cifar100"
        folder = root / rng.choice(["", name, "cifar-100-binary" if fine else "cifar-10-batches-bin"])
        folder.mkdir(parents=True)
        batches = (
            ["train.bin", "test.bin"] if fine else [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
        )
        for file in batches:
            (folder / file).write_bytes(cifar(rng, fine=fine))
        labels = folder / ("fine_label_names.txt" if fine else "batches.meta.txt")
        for path in dict.fromkeys(rng.sample([labels, labels, *(folder / b for b in batches)], rng.choice([1, 1, 2]))):
            made = class_names if path == labels else functools.partial(hostile_cifar, fine=fine)
            in_its_place(rng, case, path, lambda made=made: made(rng, case))
        case.may_fetch &= not all((folder / b).is_file() for b in batches)
        for archive in ("cifar-10-binary.tar.gz", "cifar-10-python.tar.gz"):
            (root / archive).write_bytes(packed_tar(rng, case))
    for place in rng.sample([root, folder], rng.choice([0, 0, 1])):  # what a download would write to
        (place / ".download.lock").symlink_to(case.outside / rng.choice(["precious.txt", "marker"]))
        (place / ".download").symlink_to(case.outside / "folder")
        case.done.append("links for a download")
    return [f"data={name}", f"data.root={root}", f"data.val={rng.choice(['4', '4', '0', '0.2'])}"]


# -- what torchvision's datasets read ---------------------------------------------------------------------------------


def a_pickle(rng: random.Random, case: Case) -> bytes:
    return pickle.dumps(Bomb(case.marker))


def an_array(rng: random.Random, case: Case) -> bytes:
    """An array of NumPy: of objects, of a header that says too much, or a plain one."""
    file = io.BytesIO()
    if rng.random() < 0.5:
        np.save(file, np.array([Bomb(case.marker)], dtype=object), allow_pickle=True)
        return file.getvalue()
    np.save(file, np.zeros((20, 4, 8, 8), np.uint8))
    return file.getvalue().replace(b"(20, 4, 8, 8)", rng.choice([b"(20, 4, 8, 8)", b"(9**9**9, 8) ", b"(99999999999)"]))


def a_matrix(rng: random.Random, case: Case) -> bytes:
    from scipy.io import savemat

    file = io.BytesIO()
    names = np.array(["\x1b[2J", "<script>x</script>"], dtype=object)
    savemat(file, {"class_names": names, "annotations": np.zeros(4), "X": np.zeros((8, 8, 3, 4)), "y": np.arange(4)})
    content = bytearray(file.getvalue())
    for _ in range(rng.choice([0, 1, 6])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def lines(rng: random.Random, case: Case) -> bytes:
    """A list of names, of which some lead out of the folder; they are opened as pictures, and are none."""
    case.may_read = True
    names = ["a/1", "/a/1", "a/1 1", f"../../outside/precious.txt {rng.choice([0, 1])} 1 1", f"{case.outside}/x 1 1"]
    names += [*words.SIGNS, *words.MARKUP, "x" * 100_000, "1 " * 1_000]
    return "\n".join(rng.choices(names, k=rng.choice([1, 5, 40]))).encode("utf-8", "surrogatepass")


def some_json(rng: random.Random, case: Case) -> bytes:
    case.may_read = True
    sound = json.dumps({"a": ["a/1"], "../../outside": ["../../outside/precious"], "scenes": [{"objects": [1]}]})
    return rng.choice([sound, words.json_text(rng), sound]).encode("utf-8", "surrogatepass")


def some_rows(rng: random.Random, case: Case) -> bytes:
    pixels = " ".join(["7"] * rng.choice([2304, 2304, 3, 10**6]))
    return f"emotion,pixels,Usage\n{rng.choice(['3', 'x', '9' * 5_000])},{pixels},Training\n".encode() * 4


def some_usps(rng: random.Random, case: Case) -> bytes:
    row = " ".join([str(rng.randrange(1, 11)), *(f"{i + 1}:{rng.uniform(-1, 1):.3f}" for i in range(256))])
    sound = "\n".join([row] * ROWS).encode()
    return rng.choice([bz2.compress(sound), bz2.compress(sound)[:60], much(3, bz2.compress), sound])


def some_markup(rng: random.Random, case: Case) -> bytes:
    """XML that grows, or asks for a file."""
    case.may_read = True
    grows = '<!ENTITY a0 "' + "x" * 1_000 + '">'
    grows += "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 9))
    asks = f'<!ENTITY a8 SYSTEM "file://{case.outside}/precious.txt">'
    text = f"<!DOCTYPE x [{rng.choice([grows, asks])}]><annotation><object><name>&a8;</name></object></annotation>"
    return text.encode()


def a_picture(rng: random.Random, case: Case) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (rng.randrange(256), 0, 0)).save(file, "PNG")
    return file.getvalue()


def raw_idx(rng: random.Random, case: Case) -> bytes:
    return hostile_idx(rng, case, images=rng.random() < 0.5)


ROOTS: dict[str, list[tuple[str, Maker]]] = {  # class -> what it looks for under its root, and who makes it here
    **{
        name: [*((f"{name}/raw/{f}", raw_idx) for f in IDX), (f"{name}/processed/training.pt", a_pickle)]
        for name in ("MNIST", "FashionMNIST", "KMNIST")
    },
    "EMNIST": [(f"EMNIST/raw/emnist-letters-{f.replace('t10k', 'test')}", raw_idx) for f in IDX],
    "QMNIST": [
        ("QMNIST/raw/qmnist-train-images-idx3-ubyte", raw_idx),
        ("QMNIST/raw/qmnist-train-labels-idx2-int", raw_idx),
    ],
    "CIFAR10": [(f"cifar-10-batches-py/{n}", a_pickle) for n in ("data_batch_1", "test_batch", "batches.meta")],
    "CIFAR100": [(f"cifar-100-python/{n}", a_pickle) for n in ("train", "test", "meta")],
    "LSUN": [("bedroom_train_lmdb/data.mdb", a_pickle), ("_cache_", a_pickle)],
    "USPS": [("usps.bz2", some_usps)],
    "SEMEION": [("semeion.data", lines)],
    "SVHN": [("train_32x32.mat", a_matrix)],
    "STL10": [("stl10_binary/train_X.bin", a_pickle), ("stl10_binary/train_y.bin", a_pickle)],
    "MovingMNIST": [("MovingMNIST/mnist_test_seq.npy", an_array)],
    "PhotoTour": [("liberty.pt", packed_zip), ("liberty.zip", packed_zip)],
    "ImageNet": [
        *(("meta.bin", packed_zip), ("ILSVRC2012_devkit_t12.tar.gz", packed_tar)),
        ("ILSVRC2012_img_train.tar", packed_tar),
    ],
    "FER2013": [("fer2013/train.csv", some_rows), ("fer2013/fer2013.csv", some_rows)],
    "Food101": [("food-101/meta/train.json", some_json), ("food-101/images/a/1.jpg", a_picture)],
    "CLEVRClassification": [
        ("clevr/CLEVR_v1.0/scenes/CLEVR_train_scenes.json", some_json),
        ("clevr/CLEVR_v1.0/images/train/1.png", a_picture),
    ],
    "DTD": [("dtd/dtd/labels/train1.txt", lines), ("dtd/dtd/images/a/1", a_picture)],
    "OxfordIIITPet": [("oxford-iiit-pet/annotations/trainval.txt", lines), ("oxford-iiit-pet/images/a.jpg", a_picture)],
    "SUN397": [("SUN397/ClassName.txt", lines), ("SUN397/a/1/sun_1.jpg", a_picture)],
    "FGVCAircraft": [
        ("fgvc-aircraft-2013b/data/variants.txt", lines),
        ("fgvc-aircraft-2013b/data/images_variant_trainval.txt", lines),
    ],
    "GTSRB": [("gtsrb/GTSRB/Training/a/1.ppm", a_picture), ("gtsrb/GTSRB/Training/b/1.ppm", packed_tar)],
    "EuroSAT": [("eurosat/2750/a/1.jpg", a_picture), ("eurosat/2750/b/1.jpg", a_picture)],
    "RenderedSST2": [(f"rendered-sst2/train/{k}/1.png", a_picture) for k in ("negative", "positive")],
    "Imagenette": [("imagenette2/train/n01440764/1.JPEG", a_picture), ("imagenette2.tgz", packed_tar)],
    "StanfordCars": [(f"stanford_cars/devkit/{n}.mat", a_matrix) for n in ("cars_train_annos", "cars_meta")],
    "Flowers102": [(f"flowers-102/{n}", a_matrix) for n in ("imagelabels.mat", "setid.mat")],
    "LFWPeople": [("lfw-py/peopleDevTrain.txt", lines), ("lfw-py/lfw-names.txt", lines)],
    "CelebA": [("celeba/list_attr_celeba.txt", lines), ("celeba/list_eval_partition.txt", lines)],
    "VOCDetection": [
        *(("VOCdevkit/VOC2012/ImageSets/Main/train.txt", lines), ("VOCdevkit/VOC2012/JPEGImages/a.jpg", a_picture)),
        ("VOCdevkit/VOC2012/Annotations/a.xml", some_markup),
    ],
    "Cityscapes": [("leftImg8bit_trainvaltest.zip", packed_zip), ("gtFine_trainvaltest.zip", packed_zip)],
    "ImageFolder": [("a/1.png", a_picture), ("\x1b[2J/1.png", a_picture), ("<script>x/1.png", a_picture)],
    "Omniglot": [
        ("omniglot-py/images_background/a/b/1.png", a_picture),
        ("omniglot-py/images_background.zip", packed_zip),
    ],
    "SBU": [("SBUCaptionedPhotoDataset.tar.gz", packed_tar), ("dataset/SBU_captioned_photo_dataset_urls.txt", lines)],
    "Caltech101": [
        ("caltech101/101_ObjectCategories/a/image_0001.jpg", a_picture),
        ("caltech101/Annotations/a", lines),
    ],
    "Country211": [("country211/train/a/1.png", a_picture), ("country211/train/b/1.png", a_picture)],
    "Kitti": [("Kitti/raw/training/image_2/0.png", a_picture), ("Kitti/raw/training/label_2/0.txt", lines)],
    "Places365": [("categories_places365.txt", lines), ("places365_train_standard.txt", lines)],
    "SBDataset": [("train.txt", lines), ("img/a.jpg", a_picture)],
    "PCAM": [("pcam/camelyonpatch_level_2_split_train_x.h5", a_pickle)],
    "INaturalist": [("2021_train/a/1.jpg", a_picture)],
    "WIDERFace": [("widerface/wider_face_split/wider_face_train_bbx_gt.txt", lines)],
}
NEEDED = {"EMNIST": ["+data.dataset.split=letters"], "PhotoTour": ["+data.dataset.name=liberty"]}


def torchvision_root(rng: random.Random, case: Case) -> list[str]:
    """The root of one dataset of torchvision's after the other, as the cases are counted; what is typed of it."""
    name = [*ROOTS][case.number // 4 % len(ROOTS)]
    root = case.inside / "sets"
    for place, make in ROOTS[name]:
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        if rng.random() < 0.2:
            in_its_place(rng, case, path, lambda make=make: make(rng, case))
        else:
            path.write_bytes(make(rng, case))
    case.done.append(f"a root of {name}")
    typed = ["data=dataset", f"data.dataset._target_=torchvision.datasets.{name}", f"+data.dataset.root={root}"]
    typed += [*NEEDED.get(name, []), "+data.dataset.transform._target_=torchvision.transforms.ToTensor"]
    if name in ("SEMEION", "SBU"):
        typed.append("+data.dataset.download=false")
    return typed + rng.choice([[], [], ["data.in_memory=true"], ["data.task=multiclass"], ["data.classes=3"]])
