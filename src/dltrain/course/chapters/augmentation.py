"""Digits as they are and changed in three ways: accuracies, the changed images, and a sheet of sub-policies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import sheets
from dltrain.parts import augmentation

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun

_NAMES = ("as they are", "mirrored", "turned, shifted and zoomed", "by sub-policies")
_EXPECTED = ((0.875, 0.905), (0.815, 0.855), (0.895, 0.92), (0.855, 0.892))
_POLICIES = (  # as a search for house numbers found such, in the manner of configs/regularisation/sub_policies.yaml
    (("ShearX", 0.9, 4), ("Invert", 0.2)),
    (("ShearY", 0.7, 6), ("Solarize", 0.4, 8)),
    (("ShearX", 0.9, 4), ("AutoContrast", 0.8)),
    (("Invert", 0.9), ("Equalize", 0.6)),
    (("ShearY", 0.8, 5), ("AutoContrast", 0.7)),
)


def study(done: Sequence[Done]) -> Seen:
    runs = [looks.run(one) for one in done]
    accuracies = [run.metrics["test/accuracy"] for run in runs]
    best = max(range(len(runs)), key=accuracies.__getitem__)
    plain, mirrored = _by_class(runs[0]), _by_class(runs[1])
    lost = max(plain, key=lambda digit: plain[digit] - mirrored[digit])
    epochs = _EPOCHS.format(digit=lost, plain=plain[lost], mirrored=mirrored[lost])
    return Seen(
        [
            Number(f"test accuracy, {name}", accuracy, *expected, ".1%")
            for name, accuracy, expected in zip(_NAMES, accuracies, _EXPECTED, strict=True)
        ],
        best + 1,
        "Of the test digits are right: "
        + ", ".join(f"{accuracy:.1%} {name}" for name, accuracy in zip(_NAMES, accuracies, strict=True))
        + ".",
        [
            looks.picture("sheet.png", "Five sub-policies", _SHEET, _sheet(runs[0])),
            looks.picture("epochs.png", "What the four nets were shown", epochs, _epochs(runs, lost)),
        ],
    )


_SHEET = (
    "Each row is a sub-policy, each image draws for itself which of its operations are done, and in which direction. A "
    "temple stays a temple, whichever way it is sheared; an inverted digit is dark on light, as house numbers may be, "
    "and these digits never are."
)
_EPOCHS = (
    "A {digit} in one epoch after another. Mirrored, a 0 or an 8 stays one; of most other digits it makes a sign that "
    "nobody writes, or nearly another digit. The {digit} loses most by it: {plain:.0%} of its test images are right "
    "where the net learned from digits as they are, {mirrored:.0%} where it learned from mirrored ones."
)


@torch.no_grad()
def _by_class(run: TrainedRun) -> dict[int, float]:
    """Of each class the share of its test images that are right."""
    x, y = looks.rows(run, "test")
    right = run.model.eval()(x).argmax(1) == y
    return {int(found): float(right[y == found].float().mean()) for found in y.unique()}


# -- the sheet -----------------------------------------------------------------------------------------------------


def _sheet(run: TrainedRun) -> Figure:
    originals = [_photograph(), *_some(run)]
    rows = {"original": originals}
    for number, policy in enumerate(_POLICIES):
        change = augmentation.policy("sub_policies", policies=[[[*operation] for operation in policy]])
        words = "\n".join(" ".join(map(str, operation)) for operation in policy)
        with torch.random.fork_rng():
            torch.manual_seed(number)
            rows[words] = [change(image) for image in originals]
    return sheets.sheet({name: [image.numpy() for image in images] for name, images in rows.items()})


def _photograph() -> Tensor:
    """A square [3, 128, 128] of bytes, of one that scikit-learn ships."""
    from sklearn.datasets import load_sample_image

    whole = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1).float()
    square = whole[None, :, :400, 100:500]
    return torch.nn.functional.interpolate(square, size=(128, 128), mode="area")[0].to(torch.uint8)


def _some(run: TrainedRun) -> list[Tensor]:
    """Train images of four classes, bytes [C, H, W]."""
    x, y = looks.rows(run)
    classes = y.unique()
    chosen = classes[[3, 4, 7, 8]] if len(classes) > 8 else classes[:4]
    rows = [int((y == found).nonzero()[0]) for found in chosen]
    return [(x[row].clamp(0, 1) * 255).to(torch.uint8) for row in rows]


# -- what was shown ------------------------------------------------------------------------------------------------


def _epochs(runs: Sequence[TrainedRun], digit: int) -> Figure:
    row = int((looks.rows(runs[0])[1] == digit).nonzero()[0])
    rows = {name: [image.numpy() for image in _shown(run, row)] for name, run in zip(_NAMES, runs, strict=True)}
    return sheets.sheet(rows, titles=[f"epoch {n}" for n in range(1, 7)])


def _shown(run: TrainedRun, row: int) -> list[Tensor]:
    """A train image as six epochs show it, [1, H, W] from 0 to 1."""
    plan = looks.plan(run)
    loader, _ = build.make_loaders(plan)
    transform = build.make_trainer(plan).transform
    found = []
    for epoch in range(6):
        for x, y, index in loader.epoch(epoch):
            if (at := (index == row).nonzero().flatten()).numel():
                changed = transform(x, y, index, epoch)[0] if transform else x
                found.append(changed[at[0]].clamp(0, 1))
    return found
