"""Losses: equal to torch bit for bit, their formulas, their gradients, and what is refused."""

import inspect
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from omegaconf import OmegaConf
from torch import nn

from dltrain.parts import losses
from dltrain.parts.losses import (
    BCE,
    MAE,
    MSE,
    CrossEntropy,
    Hinge,
    Huber,
    OneHotMSE,
    Perceptron,
    auto,
    check_task,
    outputs,
)

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "loss").glob("*.yaml"))
TASKS = ("binary", "multiclass", "multilabel", "regression")


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_yaml_lists_every_knob_with_its_default(path):
    first, *_ = path.read_text().splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    node = OmegaConf.load(path)
    if path.stem == "module":
        assert OmegaConf.is_missing(node, "_target_")
        return
    knobs = inspect.signature(getattr(losses, node.pop("_target_").rpartition(".")[2])).parameters
    from_data = {"task", "class_counts", "samples"}
    assert dict(node) == {name: p.default for name, p in knobs.items() if name not in from_data}


def classes(n=50, k=5):
    return torch.randn(n, k), torch.randint(k, (n,))


# -- equal to torch --------------------------------------------------------------------------------------------------


def test_regression_losses_equal_torch():
    x, y = torch.randn(50, 3), torch.randn(50, 3)
    assert torch.equal(MSE()(x, y), F.mse_loss(x, y))
    assert torch.equal(MAE()(x, y), F.l1_loss(x, y))
    assert torch.equal(Huber(delta=0.3)(x, y), F.huber_loss(x, y, delta=0.3))


def test_cross_entropy_equals_torch():
    x, y = classes()
    weights = [0.5, 1.0, 2.0, 0.0, 3.0]
    ours = CrossEntropy(label_smoothing=0.1, class_weights=weights)
    assert torch.equal(CrossEntropy()(x, y), F.cross_entropy(x, y))
    assert torch.equal(ours(x, y), F.cross_entropy(x, y, weight=torch.tensor(weights), label_smoothing=0.1))


def test_bce_equals_torch():
    x, y = torch.randn(50, 1), torch.randint(2, (50,))
    assert torch.equal(BCE()(x, y), F.binary_cross_entropy_with_logits(x[:, 0], y.float()))
    x, y, weight = torch.randn(50, 3), torch.randint(2, (50, 3)).float(), [1.0, 2.0, 3.0]
    expected = F.binary_cross_entropy_with_logits(x, y * 0.8 + 0.1, pos_weight=torch.tensor(weight))
    assert torch.equal(BCE(pos_weight=weight, label_smoothing=0.2, task="multilabel")(x, y), expected)


def test_one_hot_mse_is_the_squared_error_of_the_sigmoids():
    x, y = classes()
    assert torch.equal(OneHotMSE()(x, y), F.mse_loss(x.sigmoid(), F.one_hot(y, 5).float()))


# -- what happens in training only -----------------------------------------------------------------------------------


def test_smoothing_and_weights_are_off_in_eval_mode():
    x, y = classes()
    ours = CrossEntropy(label_smoothing=0.1, class_weights="balanced", class_counts=[1, 2, 3, 4, 5])
    assert torch.equal(ours.eval()(x, y), F.cross_entropy(x, y))
    x, y = torch.randn(50, 1), torch.randint(2, (50,))
    ours = BCE(label_smoothing=0.1, pos_weight=3.0)
    assert torch.equal(ours.eval()(x, y), F.binary_cross_entropy_with_logits(x[:, 0], y.float()))


def test_balanced_weights():
    assert CrossEntropy(class_weights="balanced", class_counts=[1, 2, 5]).weight.tolist() == pytest.approx(
        [8 / 3, 8 / 6, 8 / 15]
    )
    assert BCE(pos_weight="balanced", class_counts=[6, 2]).pos_weight.tolist() == [3.0]
    labels = BCE(pos_weight="balanced", task="multilabel", class_counts=[2, 4], samples=8)
    assert labels.pos_weight.tolist() == [3.0, 1.0]


def test_weights_follow_the_module_but_are_no_state():
    loss = CrossEntropy(class_weights=[1.0, 2.0]).double()
    assert loss.weight.dtype == torch.float64
    assert not loss.state_dict()


# -- formulas --------------------------------------------------------------------------------------------------------


def test_perceptron_and_hinge_of_two_classes():
    f = torch.tensor([[2.0], [-1.0], [0.5], [-3.0]], dtype=torch.float64)
    y = torch.tensor([1, 1, 0, 0])  # margins y f: 2, -1, -0.5, 3
    assert Perceptron()(f, y).item() == (0 + 1 + 0.5 + 0) / 4
    assert Hinge()(f, y).item() == (0 + 2 + 1.5 + 0) / 4
    assert Hinge(squared=True)(f, y).item() == (4 + 2.25) / 4
    assert Hinge(margin=2.5)(f, y).item() == (0.5 + 3.5 + 3 + 0) / 4


def test_perceptron_and_hinge_of_many_classes_are_one_against_the_rest():
    f = torch.tensor([[2.0, -1.0, 0.5]], dtype=torch.float64)
    y = torch.tensor([0])  # signs +1, -1, -1: margins 2, 1, -0.5
    assert Perceptron()(f, y).item() == 0.5 / 3
    assert Hinge(margin=1.5)(f, y).item() == (0 + 0.5 + 2) / 3


@pytest.mark.parametrize("loss", [Perceptron(), Hinge(), OneHotMSE()])
def test_half_precision_outputs(loss):
    x, y = classes()
    assert loss(x.bfloat16(), y).item() == pytest.approx(loss(x, y).item(), rel=0.02)


def test_soft_targets():
    x, y = classes()
    soft = F.one_hot(y, 5).float().lerp(F.one_hot(y.flip(0), 5).float(), 0.3)
    assert torch.equal(CrossEntropy()(x, soft), F.cross_entropy(x, soft))
    assert torch.equal(OneHotMSE()(x, soft), F.mse_loss(x.sigmoid(), soft))
    x, share = torch.randn(50, 1), torch.rand(50)
    assert torch.equal(BCE()(x, share), F.binary_cross_entropy_with_logits(x[:, 0], share))


def test_soft_targets_of_two_classes_are_the_share_of_class_1():
    x, share = torch.randn(50, 2), torch.rand(50)
    both = torch.stack([1 - share, share], 1)
    assert torch.equal(CrossEntropy()(x, share), F.cross_entropy(x, both))
    assert torch.equal(OneHotMSE()(x, share), OneHotMSE()(x, both))


# -- which loss for which task ---------------------------------------------------------------------------------------


def test_auto():
    assert isinstance(auto("binary"), BCE)
    assert isinstance(auto("multilabel"), BCE)
    assert isinstance(auto("regression"), MSE)
    loss = auto("multiclass", label_smoothing=0.1)
    assert isinstance(loss, CrossEntropy)
    assert loss.label_smoothing == 0.1


def test_outputs():
    assert outputs(auto, "binary", 2) == outputs(BCE, "binary", 2) == outputs(Hinge(), "binary", 2) == 1
    assert outputs(auto, "multiclass", 10) == outputs(Perceptron, "multiclass", 10) == 10
    assert outputs(CrossEntropy, "binary", 2) == outputs(OneHotMSE, "binary", 2) == 2
    assert outputs(MSE, "regression", 3) == outputs(nn.L1Loss, "regression", 3) == 3
    assert outputs(nn.CrossEntropyLoss(), "binary", 2) == 2


@pytest.mark.parametrize("loss", [MSE, MAE, Huber, CrossEntropy, BCE, Perceptron, Hinge, OneHotMSE])
@pytest.mark.parametrize("task", TASKS)
def test_each_loss_works_on_the_tasks_it_names(loss, task):
    if task not in loss.tasks:
        with pytest.raises(ValueError, match=f"does not fit the task {task} of this data; use loss="):
            check_task(loss, task)
        return
    check_task(loss, task)
    k = 2 if task == "binary" else 3
    indices, floats = torch.randint(k, (8,)), torch.rand(8, k).round()
    logits = torch.randn(8, outputs(loss, task, k), requires_grad=True)
    value = loss()(logits, indices if task in ("binary", "multiclass") else floats)
    value.backward()
    assert value.shape == ()
    assert logits.grad.isfinite().all()


def test_check_task_names_what_fits():
    fitting = "cross_entropy, perceptron, hinge or one_hot_mse"
    with pytest.raises(
        ValueError, match=f"^loss=mse does not fit the task multiclass of this data; use loss={fitting}$"
    ):
        check_task(MSE(), "multiclass")
    with pytest.raises(ValueError, match=r"loss=hinge does not fit the task multilabel of this data; use loss=bce$"):
        check_task(Hinge, "multilabel")
    for loss in (auto, nn.L1Loss, nn.L1Loss()):
        check_task(loss, "binary")


# -- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossEntropy(label_smoothing=1.0), "loss.label_smoothing=1.0 must be at least 0 and below 1"),
        (lambda: BCE(label_smoothing=-0.1), "loss.label_smoothing=-0.1"),
        (lambda: auto("regression", label_smoothing=0.1), "label_smoothing=0.1 has no meaning for a regression"),
        (lambda: CrossEntropy(class_weights="balanced"), "class_weights=balanced needs class_counts"),
        (lambda: CrossEntropy(class_weights="balanced", class_counts=[3, 0]), "no answer for class 1"),
        (lambda: CrossEntropy(class_weights=[1.0, -1.0]), "must be numbers from 0 up"),
        (
            lambda: CrossEntropy(class_weights=[1.0, 1.0], class_counts=[1, 2, 3]),
            "has 2 numbers, but this data needs 3",
        ),
        (lambda: BCE(pos_weight=0.0), "loss.pos_weight=0.0 must be a positive number"),
        (lambda: BCE(pos_weight=[1.0, 2.0]), "pos_weight has 2 numbers, but this data needs 1"),
        (lambda: BCE(pos_weight="balanced", task="multilabel", class_counts=[1, 2]), "needs samples"),
        (lambda: Huber(delta=0.0), "loss.delta=0.0 must be a positive number"),
        (lambda: Huber(delta=float("nan")), "loss.delta=nan must be a positive number"),
        (lambda: Hinge(margin=-1.0), "loss.margin=-1.0 must be a positive number"),
    ],
)
def test_constructors_refuse(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(("loss", "name"), [(Perceptron(), "perceptron"), (Hinge(), "hinge")])
def test_margins_refuse_soft_targets(loss, name):
    with pytest.raises(ValueError, match=f"loss={name} needs class indices, not the soft targets of mixup"):
        loss(torch.randn(4, 1), torch.rand(4))


@pytest.mark.parametrize("loss", [MSE(), MAE(), Huber()])
def test_shapes_that_torch_would_broadcast_are_refused(loss):
    with pytest.raises(ValueError, match=r"the model returned shape \[4, 1\], but the targets have shape \[4, 2\]"):
        loss(torch.randn(4, 1), torch.randn(4, 2))
