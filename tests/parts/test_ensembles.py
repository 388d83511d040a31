"""The average of nets as a net: against numpy's average of what they say."""

import numpy as np
import pytest
import torch
from torch import nn

from dltrain.data.tables.scales import LARGEST
from dltrain.errors import ConfigError
from dltrain.parts import losses
from dltrain.parts.ensembles import Ensemble, Member, Rescaled

X = torch.randn(40, 5, generator=torch.Generator().manual_seed(1)) * 3
WEIGHTS = (3, 1, 2)


def nets(outputs: int, size: float = 1.0) -> list[nn.Module]:
    made = []
    for seed in range(3):
        torch.manual_seed(seed)
        net = nn.Linear(5, outputs)
        with torch.no_grad():
            net.weight.mul_(size)
        made.append(net)
    return made


def averaged(members: list[nn.Module], kinds: list[str], outputs: int, *, labels: bool = False) -> torch.Tensor:
    made = [Member(net, weight=w, outputs=kind) for net, w, kind in zip(members, WEIGHTS, kinds, strict=True)]
    with torch.no_grad():
        return Ensemble(made, outputs, labels=labels)(X)


def shares(members: list[nn.Module], loss: nn.Module, task: str) -> np.ndarray:
    with torch.no_grad():
        each = [losses.probabilities(loss, net(X).double(), task).numpy() for net in members]
    return np.average(each, axis=0, weights=WEIGHTS)


@pytest.mark.parametrize(
    ("loss", "task", "outputs"),
    [
        (losses.CrossEntropy(), "multiclass", 4),
        (losses.CrossEntropy(), "binary", 2),
        (losses.BCE(), "binary", 1),
        (losses.BCE(), "multilabel", 3),
    ],
)
@pytest.mark.parametrize("size", [1.0, 300.0])  # of which the logits are so large that float32 has them as 0 and 1
def test_the_mean_of_probabilities_is_what_a_loss_makes_of_the_outputs(loss, task, outputs, size):
    members = nets(outputs, size)
    kinds = [losses.meaning(loss, task)] * 3
    found = averaged(members, kinds, outputs, labels=task == "multilabel")
    assert found.shape == (40, outputs)
    assert found.isfinite().all()
    made = losses.probabilities(loss, found.double(), task).numpy()
    np.testing.assert_allclose(made, shares(members, loss, task), atol=2e-6)


def test_one_output_and_two_for_two_classes_are_averaged_together():
    one, two, other = nn.Linear(5, 1), nn.Linear(5, 2), nn.Linear(5, 2)
    with torch.no_grad():
        p = one(X).sigmoid()
        each = [
            torch.cat([1 - p, p], 1),
            two(X).softmax(1),
            losses.probabilities(losses.OneHotMSE(), other(X), "binary"),
        ]
    wanted = np.average([share.numpy() for share in each], axis=0, weights=WEIGHTS)
    kinds = ["sigmoid", "softmax", "shares"]
    np.testing.assert_allclose(averaged([one, two, other], kinds, 2).exp().numpy(), wanted, atol=1e-6)
    single = averaged([one, two, other], kinds, 1)
    np.testing.assert_allclose(single.sigmoid().numpy()[:, 0], wanted[:, 1], atol=1e-6)


def test_values_are_averaged_as_they_are():
    members = nets(2)
    with torch.no_grad():
        wanted = np.average([net(X).numpy() for net in members], axis=0, weights=WEIGHTS)
    np.testing.assert_allclose(averaged(members, ["values"] * 3, 2).numpy(), wanted, rtol=1e-5, atol=1e-6)


def test_a_net_takes_plain_inputs_on_the_scale_that_it_was_trained_on():
    net = Rescaled(nn.Identity(), shape=[2], fenced=True, ranked=[1], knots=[4])
    state = {"low": [-1.0, -torch.inf], "high": [2.0, torch.inf], "mean": [0.5, 0.0], "std": [2.0, 1.0]}
    net.load_state_dict({k: torch.tensor(v) for k, v in state.items()} | {"knots1": torch.tensor([0.0, 1.0, 1.0, 4.0])})
    with torch.no_grad():
        found = net(torch.tensor([[5.0, 1.0], [-9.0, -3.0], [1.0, 2.5], [0.0, 9.0]]))
    torch.testing.assert_close(found[:, 0], torch.tensor([0.75, -0.75, 0.25, -0.25]))
    ranks = torch.tensor([0.5, 1 - LARGEST, 5 / 6, LARGEST], dtype=torch.float64)  # of equal knots the middle
    torch.testing.assert_close(found[:, 1], torch.special.ndtri(ranks).float())


def test_what_can_not_be_averaged_is_refused():
    net = nn.Linear(5, 2)
    member = Member(net, weight=1, outputs="softmax")
    with pytest.raises(ValueError, match="weight=0"):
        Member(net, weight=0, outputs="softmax")
    with pytest.raises(ValueError, match="outputs=hinge is none of values, softmax"):
        Member(net, weight=1, outputs="hinge")
    with pytest.raises(ValueError, match="a Linear is none of its members"):
        Ensemble([member, net], 2)
    for members in ([], [member, Member(net, weight=1, outputs="values")]):
        with pytest.raises(ValueError, match="with values, or all of them with probabilities"):
            Ensemble(members, 2)
    with pytest.raises(ValueError, match="labels have a sigmoid each"):
        Ensemble([member], 2, labels=True)
    for outputs, kind in ((3, "softmax"), (1, "values"), (2, "sigmoid")):
        with pytest.raises(ConfigError, match="member 0 answers with"):
            Ensemble([Member(net, weight=1, outputs=kind)], outputs)(X)
    for ranked, knots in (([5], [4]), ([1], []), ([1], [1])):
        with pytest.raises(ValueError, match="want columns below 5"):
            Rescaled(net, shape=[5], fenced=False, ranked=ranked, knots=knots)
