"""The guard before each update: what it says, and that nothing bad reaches the weights."""

import pytest
import torch
from torch import nn
from torch.optim import LBFGS, SGD, AdamW

from dltrain.engine.guard import finite, origin
from dltrain.engine.trainer import Trainer
from dltrain.errors import DivergedError


def batch(bad: float | None = None):
    x, y = torch.randn(8, 5), torch.randint(0, 3, (8,))
    if bad is not None:
        x[4, 1] = bad
    return [(x, y, torch.arange(8))]


def net():
    return nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 3))


def test_large_finite_values_are_finite():
    assert finite([torch.full((4,), 3e38)])  # though their sum is not
    assert not finite([torch.zeros(3), torch.tensor([1.0, float("-inf")])])
    assert not finite([torch.tensor(float("nan"))])
    assert finite([])


def test_the_first_bad_layer_is_named():
    model, x = net(), batch()[0][0]
    assert origin(model, batch(float("nan"))[0][0]) == "the batch itself, sample 4 of it"
    with torch.no_grad():
        model[0].weight.fill_(3e38)
    assert origin(model, x.abs() * 10) == "the output of layer 0"
    with torch.no_grad():
        model[0].weight.fill_(0.1)
        model[2].bias[1] = float("inf")
    assert origin(model, x) == "the weights 2.bias"


def test_looking_for_it_changes_nothing():
    model = nn.Sequential(nn.Linear(5, 6), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    x, state = batch()[0][0], torch.get_rng_state()
    origin(model, x)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("data.scaling=standard", "Try data.scaling=standard, since some inputs are of size 1e+20, or a smaller opt"),
        (None, "Try a smaller optimizer.lr"),
    ],
)
def test_large_inputs_are_to_be_scaled(key, said):
    """None: they are scaled already, and one row is extreme."""
    model = net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=1.0))
    trainer.scale_key = key
    x, y, index = batch()[0]
    with pytest.raises(DivergedError) as error:
        list(map(trainer.step, [[(torch.full_like(x, 1e20), y, index)]] * 3))
    assert said in str(error.value)


@pytest.mark.parametrize("optimizer", [SGD, AdamW, LBFGS])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_the_update_is_not_made(optimizer, bad):
    model = net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), optimizer(model.parameters(), lr=0.1))
    trainer.step(batch())
    before = [p.detach().clone() for p in model.parameters()]
    with pytest.raises(
        DivergedError, match=r"step 2: .* first in the batch itself, sample 4 of it \(lr 0\.1"
    ) as caught:
        trainer.step(batch(bad), epoch=7)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert caught.value.state["epoch"] == 7
    assert caught.value.state["samples"][0].tolist() == list(range(8))


def test_a_bad_gradient_with_a_good_loss_is_met_too():
    model = net()
    model[2].weight.register_hook(lambda grad: grad * float("inf"))
    trainer = Trainer(model, nn.CrossEntropyLoss(), SGD(model.parameters(), lr=0.1), clip_value=1.0)
    with pytest.raises(DivergedError, match=r"step 1: a gradient is not finite, first in the gradient of 2\.weight"):
        trainer.step(batch())


def test_held_back_on_the_device_no_later_update_is_made_either():
    model = net()
    trainer = Trainer(model, nn.CrossEntropyLoss(), AdamW(model.parameters(), lr=0.1, fused=True))
    trainer.guard.hold()  # as on a GPU; the fused optimizers of the CPU know the same flag
    for _ in range(3):
        trainer.step(batch())
    trainer.state_dict()
    before = [p.detach().clone() for p in model.parameters()]
    trainer.step(batch())
    assert not torch.equal(before[0], model[0].weight)
    before = [p.detach().clone() for p in model.parameters()]
    for bad in (float("inf"), None, None):
        trainer.step(batch(bad))
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    with pytest.raises(DivergedError, match="step 5: the loss or a gradient is not finite"):
        trainer.state_dict()


def test_a_bad_value_in_inputs_of_one_number_each_is_named():
    assert origin(nn.Identity(), torch.tensor([0.0, 1.0, float("nan")])) == "the batch itself, sample 2 of it"
