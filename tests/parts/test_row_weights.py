"""Losses of rows with weights: whole numbers count as so many rows, and what has no loss by row is refused."""

import functools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltrain.engine.accepted import loss as accepted_loss
from dltrain.errors import ConfigError
from dltrain.parts import losses
from dltrain.parts.regularisers import Compose, CutMix, InputNoise, Mixup, changed_with_weights
from dltrain.parts.row_weights import weighted_mean, why_not

_generator = torch.Generator().manual_seed(1)
OUTPUTS, ONE = torch.randn(40, 4, generator=_generator), torch.randn(40, 1, generator=_generator)
CLASS, BINARY = (torch.randint(0, k, (40,), generator=_generator) for k in (4, 2))
NUMBERS, LABELS = torch.randn(40, 4, generator=_generator), torch.randint(0, 2, (40, 4), generator=_generator).float()
TIMES = torch.randint(0, 4, (40,), generator=_generator)  # a row as often as this
SOME = torch.tensor([0.5, 2.0, 0.0, 3.0])

LOSSES = {
    "mse": (losses.MSE(), OUTPUTS, NUMBERS),
    "mae": (losses.MAE(), OUTPUTS, NUMBERS),
    "huber": (losses.Huber(delta=0.4), OUTPUTS, NUMBERS),
    "cross entropy": (losses.CrossEntropy(), OUTPUTS, CLASS),
    "by class": (losses.CrossEntropy(class_weights=SOME.tolist(), label_smoothing=0.1), OUTPUTS, CLASS),
    "soft": (losses.CrossEntropy(), OUTPUTS, OUTPUTS.softmax(1)),
    "bce": (losses.BCE(pos_weight=2.0, label_smoothing=0.1), ONE, BINARY),
    "labels": (losses.BCE(task="multilabel", pos_weight=[1.0, 2.0, 3.0, 4.0]), OUTPUTS, LABELS),
    "perceptron": (losses.Perceptron(), ONE, BINARY),
    "perceptrons": (losses.Perceptron(), OUTPUTS, CLASS),
    "hinges": (losses.Hinge(squared=True), OUTPUTS, CLASS),
    "one-hot mse": (losses.OneHotMSE(), OUTPUTS, CLASS),
    "torch's by class": (nn.CrossEntropyLoss(weight=SOME), OUTPUTS, CLASS),
    "torch's but one class": (nn.CrossEntropyLoss(ignore_index=2, label_smoothing=0.2), OUTPUTS, CLASS),
    "torch's likelihood": (nn.NLLLoss(weight=SOME), OUTPUTS, CLASS),
    "torch's margin": (nn.MultiMarginLoss(weight=SOME), OUTPUTS, CLASS),
    "torch's mse": (nn.MSELoss(), OUTPUTS, NUMBERS),
    "a function": (accepted_loss(F.soft_margin_loss), OUTPUTS, LABELS * 2 - 1),
    "a part": (accepted_loss(functools.partial(F.cross_entropy, label_smoothing=0.1)), OUTPUTS, CLASS),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_a_row_of_weight_three_counts_as_three_rows(name, training):
    loss, outputs, target = LOSSES[name]
    loss.train(training)
    repeated = loss(outputs.repeat_interleave(TIMES, 0), target.repeat_interleave(TIMES, 0))
    outputs = outputs.clone().requires_grad_()
    found = weighted_mean(loss, outputs, target, 0.37 * TIMES)  # the unit does not count
    assert found.item() == pytest.approx(repeated.item(), rel=2e-6)
    found.backward()
    assert not outputs.grad[TIMES == 0].any()
    assert torch.equal(loss(outputs, target), loss(outputs, target).mean())  # it is as it was
    assert weighted_mean(loss, outputs, target, torch.zeros(40)).item() == 0


class Own(nn.Module):
    """A loss that knows no rows."""

    def forward(self, outputs, target):
        return (outputs - target).square().mean()


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (Own(), "Own gives one number for a batch, and rows with weights need one for each: give it an argument"),
        (accepted_loss(lambda outputs, target: (outputs - target).square().mean()), "<lambda> gives one number"),
        (nn.MSELoss(reduction="sum"), "MSELoss has reduction='sum', and rows with weights need reduction='mean'"),
    ],
)
def test_losses_without_one_for_each_row_are_refused(loss, said):
    assert said in why_not(loss)
    with pytest.raises(ConfigError, match="loss: "):
        weighted_mean(loss, OUTPUTS, NUMBERS, torch.ones(40))


def test_a_loss_that_passes_reduction_over_is_refused():
    loss = Own()
    loss.reduction = "mean"
    with pytest.raises(ConfigError, match=r"reduction='none' Own gives shape \[\] for 40 rows"):
        weighted_mean(loss, OUTPUTS, NUMBERS, torch.ones(40))
    assert loss.reduction == "mean"


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_a_mixture_counts_by_the_weights_of_both(kind):
    """The loss on mixtures is that of both targets, each by its share and its weight."""
    x, weight = torch.randn(40, 1, 6, 6, generator=_generator), TIMES.float()
    mix = (Mixup if kind == "mixup" else CutMix)(1.0, task="multiclass", outputs=4)
    torch.manual_seed(5)
    both = Compose([InputNoise(0.1), mix])
    made, soft, new = changed_with_weights(both, x, CLASS, torch.arange(40), 0, weight)
    torch.manual_seed(5)
    plain, mixed = both(x, CLASS, torch.arange(40), 0)  # where all rows count the same
    assert torch.equal(made, plain)
    torch.manual_seed(5)
    torch.randn_like(x)
    mix.beta.sample()
    partner = torch.randperm(40)
    hot = F.one_hot(CLASS, 4).float()
    differ = CLASS[partner] != CLASS
    lam = mixed[differ, CLASS[differ]][0]
    assert torch.allclose(new, lam * weight + (1 - lam) * weight[partner])
    wanted = lam * weight[:, None] * hot + (1 - lam) * weight[partner, None] * hot[partner]
    assert torch.allclose(soft * new[:, None], wanted, atol=1e-6)
    ones = changed_with_weights(InputNoise(0.1), x, CLASS, torch.arange(40), 0, weight)
    assert torch.equal(ones[2], weight)
