"""Softmax and cross-entropy: the loss of a net that knows nothing, one image on its way, all images on the curve."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from math import inf, log
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import surprise
from dltrain.insight.plots import gif

if TYPE_CHECKING:
    from torch import Tensor, nn

    from dltrain.course.chapter import Done
    from dltrain.training.replay import Way

_MOMENTS = 18


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[0])
    x, y = looks.rows(run, "test")
    way, net = looks.way(run, moments=_MOMENTS), deepcopy(run.model)
    net.load_state_dict(way.weights[0])
    before = outputs(net, x)
    net.load_state_dict(way.weights[-1])
    after = outputs(net, x)
    classes = before.shape[1]
    first = F.cross_entropy(before, y).item()
    z = before.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(z, y, reduction="sum"), z)
    apart = float((slope - (before.softmax(1) - F.one_hot(y, classes))).abs().max())
    shown = int(F.cross_entropy(before, y, reduction="none").argmax())  # the most surprising one
    film = gif(surprise.film(moments(way, net, x[shown]), x[shown].numpy(), int(y[shown])), wait=350, last=4000)
    losses = F.cross_entropy(after, y, reduction="none")
    words = (
        f"The test image that surprised the untrained net most, a {int(y[shown])}: what softmax makes of its outputs, "
        "and the gradient that it would send back. Where it is below zero, at the right output, a step "
        "raises z, elsewhere it lowers it, and less and less as p comes near y."
    )
    curve = (
        f"The loss of an image is -log p of its right class. Before learning all images stand near p = 1/{classes}, "
        "the dotted line. "
        f"Afterwards {(losses < 0.1).double().mean():.0%} of them cost less than 0.1, at the right end of both "
        f"pictures, and the dearest, to which the net gives the least p, costs {losses.max():.1f}."
    )
    right = [z.softmax(1)[torch.arange(len(y)), y].numpy() for z in (before, after)]
    drawn = surprise.curve(right[0], right[1], classes)
    guesses = (0.9, log(classes), 10.0)
    return Seen(
        [
            Number("loss before learning", first, 2.25, 2.42, ".2f"),
            Number("log of the number of classes", log(classes), log(10), log(10), ".2f"),
            Number("loss after the last epoch", F.cross_entropy(after, y).item(), 0.08, 0.2, ".2f"),
            Number("test accuracy then", float((after.argmax(1) == y).double().mean()), 0.94, 0.985, ".1%"),
            Number("largest difference of the gradient from p - y", apart, -inf, 1e-6, ".0e"),
        ],
        1 + min(range(3), key=lambda i: abs(guesses[i] - first)),
        f"It is {first:.2f}, and log {classes} is {log(classes):.2f}: each class has about p = 1/{classes}"
        f"{', and p that differ by chance cost a little more than equal ones' * (first > log(classes))}.",
        [
            looks.picture("way.gif", "One image on its way", words, film),
            looks.picture("curve.png", "How surprised the net is", curve, drawn),
        ],
    )


@torch.no_grad()
def outputs(net: nn.Module, x: Tensor) -> Tensor:
    return net(x)


def moments(way: Way, net: nn.Module, x: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The step of each moment, and the outputs [K] of the net then for an image x."""
    for step, weights in zip(way.steps, way.weights, strict=True):
        net.load_state_dict(weights)
        yield step, outputs(net, x[None])[0]
