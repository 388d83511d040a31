"""The same net without and with dropout: its losses, and the nets that are left when units are dropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import dropout
from dltrain.insight import plots

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.insight.plots import Figure
    from dltrain.trained.whole_run import TrainedRun

_NETS = 100  # thinned nets that are averaged
_FRAMES = 12


def study(done: Sequence[Done]) -> Seen:
    plain, dropped = looks.runs(done[0])
    train, thin_train = map(_late, (plain, dropped))
    test, thin_test = (run.metrics["test/loss"] for run in (plain, dropped))
    share, accuracy, agree = _thinned(dropped)
    together = dropped.metrics["test/accuracy"]
    answer = 2 if thin_train > train and thin_test < test else 1 if thin_train > train else 3
    return Seen(
        [
            Number("share of the hidden units that is dropped", share, 0.48, 0.52, ".2f"),
            Number("loss on its 100 points, no dropout", train, 0.09, 0.16, ".2f"),
            Number("the same with dropout", thin_train, 0.17, 0.27, ".2f"),
            Number("the same, all units together", _whole(dropped), 0.14, 0.22, ".2f"),
            Number("test loss, no dropout", test, 0.8, 1.25, ".2f"),
            Number("test loss, dropout", thin_test, 0.45, 0.75, ".2f"),
            Number("test accuracy, no dropout", plain.metrics["test/accuracy"], 0.77, 0.83, ".1%"),
            Number("test accuracy, dropout, all units together", together, 0.79, 0.85, ".1%"),
            Number("test accuracy of its thinned nets, on average", accuracy, 0.78, 0.84, ".1%"),
            Number(f"test points where all units say what {_NETS} nets say on average", agree, 0.97, 1.0, ".1%"),
        ],
        answer,
        f"On the points that it trains on the loss is {train:.2f} without and {thin_train:.2f} with dropout (the last "
        f"20 epochs); on test points {test:.2f} and {thin_test:.2f}.",
        [
            looks.picture("film.gif", "The nets of one step", _FILM, _film(dropped)),
            looks.picture("losses.png", "What dropout costs, and what it gains", _LOSSES, _losses(plain, dropped)),
        ],
    )


def _late(run: TrainedRun) -> float:
    """The train loss of the last epochs, on average: with dropout it is restless."""
    losses = run.history["train/loss"].to_list()[-20:]
    return sum(losses) / len(losses)


_FILM = (
    "Above the units of both hidden layers (blue: they work, pale: dropped), drawn anew on the trained net as each "
    "step draws them for an example. Below the answers of the net that is left, and of the average of all nets so far: "
    "its border comes to lie on that of all units together, which is dashed. Crosses are train points on the wrong "
    "side."
)
_LOSSES = (
    "On the points that it trains on the loss stays higher and restless, as each step trains another net; on points "
    "that it has never seen it rises far less. It rises all the same: stopped early, as in the chapter on overfitting, "
    "the net without dropout does better."
)


def _losses(plain: TrainedRun, dropped: TrainedRun) -> Figure:
    curves = {
        name: [run.history[column].to_list() for column in ("epoch", "train/loss", "val/loss")]
        for name, run in (("no dropout", plain), ("dropout", dropped))
    }
    return dropout.losses(curves)


# -- nets of fewer units -------------------------------------------------------------------------------------------


class Kept(nn.Module):
    """In the place of a Dropout: the same units for all rows; `mask` [D] is 0 where dropped, else 1 / (1 - p)."""

    def __init__(self, drop: nn.Dropout) -> None:
        super().__init__()
        self.p, self.mask = drop.p, torch.ones(1)

    def draw(self, generator: torch.Generator) -> None:
        self.mask = (torch.rand(self.mask.shape, generator=generator) >= self.p).float() / (1 - self.p)

    def forward(self, x: Tensor) -> Tensor:
        if self.mask.shape != x.shape[1:]:
            self.mask = torch.ones(x.shape[1:])
        return x * self.mask


def thin(net: nn.Module, x: Tensor) -> tuple[nn.Module, list[Kept]]:
    """A copy of a net in which units can be dropped for all rows at once, and where; x [1, ...] is an input of it."""
    net = deepcopy(net).eval()
    kept: list[Kept] = []
    for parent in [*net.modules()]:
        for name, child in parent.named_children():
            if isinstance(child, nn.Dropout):
                kept.append(Kept(child))
                setattr(parent, name, kept[-1])
    net(x)
    return net, kept


class Average(nn.Module):
    """The logit of the mean answer of thinned nets: `masks` has one list for each, of a mask for each of `kept`."""

    def __init__(self, net: nn.Module, kept: Sequence[Kept]) -> None:
        super().__init__()
        self.net, self.kept = net, [*kept]
        self.masks: list[list[Tensor]] = []

    def add(self) -> None:
        """The net that is drawn now."""
        self.masks.append([each.mask for each in self.kept])

    def forward(self, x: Tensor) -> Tensor:
        now = [each.mask for each in self.kept]
        said: list[Tensor] = []
        for masks in self.masks:
            self._set(masks)
            said.append(self.net(x).sigmoid())
        self._set(now)
        return torch.stack(said).mean(0).logit(eps=1e-6)

    def _set(self, masks: Sequence[Tensor]) -> None:
        for each, mask in zip(self.kept, masks, strict=True):
            each.mask = mask


@torch.no_grad()
def _thinned(run: TrainedRun) -> tuple[float, float, float]:
    """Of many thinned nets the mean share of dropped units, the mean test accuracy, and on how many test points the
    net of all units says what they say on average.
    """
    x, y = looks.rows(run, "test")
    net, kept = thin(run.model, x[:1])
    average, generator = Average(net, kept), torch.Generator().manual_seed(0)
    together = net(x).view(-1) > 0
    shares: list[float] = []
    accuracies: list[float] = []
    for _ in range(_NETS):
        for each in kept:
            each.draw(generator)
        average.add()
        shares += [float((each.mask == 0).float().mean()) for each in kept]
        accuracies.append(float(((net(x).view(-1) > 0) == y).float().mean()))
    agree = float(((average(x).view(-1) > 0) == together).float().mean())
    return sum(shares) / max(len(shares), 1), sum(accuracies) / len(accuracies), agree


@torch.no_grad()
def _whole(run: TrainedRun) -> float:
    """The loss of all units together on the train points."""
    x, y = looks.rows(run)
    return float(looks.plan(run).loss(run.model.eval()(x), y))


def _film(run: TrainedRun) -> bytes:
    scene = looks.scene(run)
    net, kept = thin(run.model, scene.x[:1])
    whole, average, generator = deepcopy(net), Average(net, kept), torch.Generator().manual_seed(0)

    def moments() -> Iterator[Figure]:
        for number in range(1, _FRAMES + 1):
            for each in kept:
                each.draw(generator)
            average.add()
            masks = [(each.mask > 0).numpy() for each in kept]
            nets = {"this net": net, f"average of {number} net{'s' * (number > 1)}": average}
            yield dropout.moment(masks, nets, whole, scene, title=f"example {number}")
        everything = [np.ones(len(each.mask), dtype=bool) for each in kept]
        nets = {"all units": whole, f"average of {_FRAMES} nets": average}
        yield dropout.moment(everything, nets, whole, scene, title="afterwards: all units")

    return plots.gif(moments(), wait=600, dpi=80, shades=96)
