"""What lies in a folder of images: its parts, its classes, the files of each, and what is passed over."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from dltrain.data.decoding import SUFFIXES
from dltrain.errors import DataError

_PARTS = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "validate", "dev", "devel", "development"},
    "test": {"test", "testing", "tst"},
}
_MORE = {"set", "data", "dataset", "images", "imgs", "split"}  # words that may stand beside a part's name
_SYSTEM = (".", "__MACOSX", "__pycache__", "@eaDir", "$")  # how folders begin that programs leave behind


class Passed(Counter[str]):
    """How many folders and files were passed over, by what they are; `linked files` are read all the same."""

    def notes(self, root: Path) -> list[str]:
        """What the user should know of them."""
        found = []
        if linked := self.pop("linked files", 0):
            found.append(f"{linked:,} files below {root} are links, read as what they lead to")
        if self:
            words = ", ".join(f"{count:,} {what}" for what, count in sorted(self.items()))
            found.append(f"not read below {root}: {words}")
        return found


def find_parts(root: Path, passed: Passed) -> dict[str, Path]:
    """The folders of the parts: root itself for train unless it holds one such as train, Training or TRAIN_SET.

    One that holds no folders is a class. Raises DataError where two folders can be the same part, or none is train.
    """
    if not root.is_dir():
        raise DataError(f"data.root={root}: {'is a file, not a folder' if root.is_file() else 'no such folder'}")
    names = _folders(root)
    named = {part: [name for name in names if _part(name) == part] for part in _PARTS}
    named["train"] = [name for name in named["train"] if _folders(root / name)]
    if not named["train"]:
        if names and all(_part(name) for name in names):
            raise DataError(
                f"{root} holds parts ({', '.join(names)}) and no train part with a folder for each class\n"
                "Expected are root/<class>/*.png, or root/train/<class>/*.png with optional root/val and root/test"
            )
        return {"train": root}
    for part, found in named.items():
        if len(found) > 1:
            raise DataError(f"{root}: {' and '.join(found)} can each be the {part} part; leave or rename one")
    if others := [name for name in names if not any(name in found for found in named.values())]:
        passed[f"folders beside the parts ({', '.join(others[:5])}{', ...' * (len(others) > 5)})"] = len(others)
    return {part: root / found[0] for part, found in named.items() if found}


def _part(name: str) -> str | None:
    """Which part a folder's name says, in any case, with or without a word such as set or data."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word and word not in _MORE]
    word = re.sub(r"(set|data)$", "", words[0]) if len(words) == 1 else ""
    return next((part for part, names in _PARTS.items() if word in names), None)


def _folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order, but for those that a system hides or leaves behind."""
    return sorted(entry.name for entry in os.scandir(folder) if _is_folder(entry) and _shown(entry.name))


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _shown(name: str) -> bool:
    return not name.startswith(_SYSTEM)


def class_folders(folder: Path) -> list[str]:
    """The names of the classes; raises DataError for fewer than two."""
    classes = _folders(folder)
    if len(classes) < 2:
        found = f"only '{classes[0]}'" if classes else "none"
        raise DataError(
            f"{folder} needs at least two folders, one for each class, and holds {found}\n"
            "Expected are root/<class>/*.png, or root/train/<class>/*.png with optional root/val and root/test"
        )
    return classes


def scan(folder: Path, classes: list[str], passed: Passed) -> tuple[list[str], list[int]]:
    """The image files below folder/<class>, in the order of their names, and their labels."""
    if strangers := sorted(set(_folders(folder)) - set(classes)):
        raise DataError(f"{folder / strangers[0]}: there is no such class among the train images")
    beside = [e for e in os.scandir(folder) if e.name.lower().endswith(SUFFIXES) and _shown(e.name)]
    if count := sum(os.path.isfile(entry.path) for entry in beside):
        passed["images beside the class folders"] += count
    paths: list[str] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        if (folder / name).is_dir():
            found = sorted(image_files(folder / name, passed))
            paths += found
            labels += [label] * len(found)
    return paths, labels


def require_all(labels: list[int], classes: list[str], folder: Path) -> None:
    """Raises DataError for a class without a train image."""
    seen = set(labels)
    for label, name in enumerate(classes):
        if label not in seen:
            raise DataError(f"{folder / name} holds no image files that can be read ({' '.join(SUFFIXES)})")


def image_files(folder: Path | str, passed: Passed | None = None) -> Iterator[str]:
    """The image files in a folder and below it, in no order; what is left out is counted in `passed`.

    Linked files are read, linked folders are not entered, and hidden ones don't count.
    """
    passed = Passed() if passed is None else passed
    with os.scandir(folder) as entries:
        for entry in entries:
            if not _shown(entry.name):
                continue
            if _is_folder(entry):
                if entry.is_symlink():
                    passed["linked folders"] += 1
                else:
                    yield from image_files(entry.path, passed)
            elif entry.name.lower().endswith(SUFFIXES):
                passed.update(["linked files"] if entry.is_symlink() else [])
                yield entry.path
            else:
                passed[f"files {Path(entry.name).suffix.lower() or 'without an ending'}"] += 1
