"""What training saw: its layers over time, where a run was diagnosed, and its images as they were changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from dltrain.config import construct
from dltrain.config.plan import Plan
from dltrain.insight import history, layers_by_step
from dltrain.insight.gallery import Gallery
from dltrain.insight.plots import gradients, images
from dltrain.runs.reading import Run

if TYPE_CHECKING:
    from dltrain.insight.plots import Figure

_SAMPLES, _EPOCHS = 6, 3  # images that are shown, and as how many epochs had them
_LAYERS = (
    "As diagnose=true looked at each report: above the spread of each layer's outputs, below the root mean square of "
    "the loss's gradient by its weights. Outputs that shrink from layer to layer, or gradients many times smaller in "
    "the first layers than in the last, say that the first ones hardly learn."
)
_CHANGED = (
    "Train images as they are (above), and as {epochs} epochs had them: what the augmentation does must leave a person "
    "able to name them."
)


def layers(gallery: Gallery, run: Run) -> None:
    """The outputs and the gradients of each layer over the training."""
    looks = history.looks(run.folder)
    if len(looks) > 1:
        gallery.add("layers.png", "Layer by layer", _LAYERS, lambda: gradients.over_time(looks))
        layers_by_step.logged(gallery, looks)


def augmented(gallery: Gallery, plan: Plan) -> None:
    """Images of the train part before and after what the run does to each."""
    regular, data = plan.regularisation, plan.data
    if not any(regular.augmentation.values()) or len(data.in_shape) != 3 or data.in_shape[0] not in (1, 3):
        return

    def draw() -> Figure:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(plan.seed)
            return images.changed(*_changed(plan))

    gallery.add("augmented.png", "What augmentation makes", _CHANGED.format(epochs=_EPOCHS), draw)


def _changed(plan: Plan) -> tuple[Tensor, list[Tensor]]:
    """Images [n, C, H, W] as they are, and as each of some epochs would have them."""
    data, regular = plan.data, plan.regularisation
    index = torch.arange(min(_SAMPLES, len(data.train)))
    rows = [data.train[i] for i in index.tolist()]
    x, y = torch.stack([row[0] for row in rows]).float(), torch.stack([torch.as_tensor(row[1]) for row in rows])
    policy = construct.make_policy(regular, data)
    change = construct.make_transform(regular, data, seed=plan.seed, outputs=plan.out_features)
    made = []
    for epoch in range(_EPOCHS):
        own = x if policy is None else torch.stack([policy(image) for image in x])
        made.append(own if change is None else change(own, y, index, epoch)[0])
    return x, made
