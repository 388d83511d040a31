"""A class of one's own beside the same net by name, and beside one linear layer: their r2, and what they answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import answers
from dltrain.insight import captions

if TYPE_CHECKING:
    from dltrain.course.chapter import Done


def study(done: Sequence[Done]) -> Seen:
    own, named, linear = map(looks.run, done)
    data, (x, _) = looks.plan(own).data, looks.rows(own)
    names = captions.inputs(data.preprocessing, data.in_features)
    weights = zip(own.model.state_dict().values(), named.model.state_dict().values(), strict=True)
    apart = max(float((a - b).abs().max()) for a, b in weights)
    ours, theirs = own.metrics["test/r2"], linear.metrics["test/r2"]
    # the inputs that the linear layer gives the largest weights
    largest = next(p for p in linear.model.parameters() if p.dim() == 2)[0].abs().argsort(descending=True)[:4]
    along = torch.linspace(-2.5, 2.5, 81)
    panels = []
    for column in largest.tolist():
        rows = torch.zeros(len(along), data.in_features)
        rows[:, column] = along
        with torch.no_grad():
            panels.append(
                (names[column], own.model(rows)[:, 0].numpy(), linear.model(rows)[:, 0].numpy(), x[:, column].numpy())
            )
    bend = max(float(abs(bent - straight).max()) for _, bent, straight, _ in panels)
    caption = (
        "What each answers as one measurement goes from low to high and the other nine stay at their mean; all in "
        "deviations. The class "
        f"may bend; here it is nowhere more than {bend:.2f} from the linear layer. The marks below are the patients."
    )
    return Seen(
        [
            Number("test r2, the class", ours, 0.25, 0.40, ".2f"),
            Number("test r2, one linear layer", theirs, 0.28, 0.38, ".2f"),
            Number("train r2, the class", own.metrics["train/r2"], 0.50, 0.58, ".2f"),
            Number("train r2, one linear layer", linear.metrics["train/r2"], 0.50, 0.55, ".2f"),
            Number("numbers to learn, the class", sum(p.numel() for p in own.model.parameters()), 61, 61, ".0f"),
            Number(
                "numbers to learn, the linear layer", sum(p.numel() for p in linear.model.parameters()), 11, 11, ".0f"
            ),
            Number("largest difference of a weight from model=mlp", apart, 0, 0, ".0e"),
        ],
        1 if ours > theirs + 0.1 else 3 if ours < theirs - 0.1 else 2,
        f"On patients that they have not seen the class has r2 {ours:.2f}, the linear layer {theirs:.2f}; each "
        "by its best epoch on the validation part, and with another seed or epoch the order may turn.",
        [looks.picture("answers.png", "What each answers", caption, answers.slices(along.numpy(), panels))],
    )
