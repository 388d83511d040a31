"""Parameter groups, Muon, and steps without torch's compiler."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from dltrain.parts import optimizers as optim


def test_weights_decay_and_biases_and_norms_do_not():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    decayed, plain = optim.parameter_groups(model, weight_decay=0.1)
    assert [tuple(p.shape) for p in decayed["params"]] == [(4, 3), (2, 4)]
    assert decayed["weight_decay"] == 0.1
    assert all(p.ndim == 1 for p in plain["params"])
    assert plain["weight_decay"] == 0
    assert len(decayed["params"]) + len(plain["params"]) == len(list(model.parameters()))


def muon_and_loss():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    x = torch.randn(64, 4)
    y = (x[:, :1] * x[:, 1:2]).sign()
    return model, lambda: ((model(x) - y) ** 2).mean()


def test_muon_learns_and_its_learning_rate_can_be_set_from_outside():
    model, loss = muon_and_loss()
    optimizer = optim.Muon(optim.parameter_groups(model, weight_decay=0.0), lr=0.02)
    first = loss().item()
    for _ in range(200):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    assert loss().item() < 0.3 * first
    before = [p.clone() for p in model.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    loss().backward()
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_muon_state_goes_on_where_it_was():
    runs = []
    for interrupted in (False, True):
        model, loss = muon_and_loss()
        optimizer = optim.Muon(model.parameters(), lr=0.02)
        for step in range(6):
            if interrupted and step == 3:
                state = optimizer.state_dict()
                optimizer = optim.Muon(model.parameters(), lr=0.5)
                optimizer.load_state_dict(state)
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
        runs.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*runs, strict=True))


def test_muon_without_matrices_says_what_to_use():
    with pytest.raises(ValueError, match="use optimizer=adamw"):
        optim.Muon([nn.Parameter(torch.zeros(3))])


_EVERY = """
import hashlib, json, sys
import torch
from dltrain.parts import optimizers as optim
if sys.argv[1] == "spared":
    optim.spare_compiler()
    optim.spare_compiler()
names = "Adadelta Adagrad Adam AdamW Adamax ASGD LBFGS NAdam RAdam RMSprop Rprop SGD Muon".split()
found = {}
for name in names:
    torch.manual_seed(0)
    weights = [torch.nn.Parameter(torch.randn(6, 5)), torch.nn.Parameter(torch.randn(5, 3))]
    optimizer = getattr(torch.optim, name)(weights, lr=0.01)
    hooked = []
    optimizer.register_step_post_hook(lambda *_: hooked.append(1))
    x = torch.randn(16, 6)
    def loss():
        optimizer.zero_grad()
        value = (x @ weights[0]).tanh().matmul(weights[1]).square().mean()
        value.backward()
        return value
    for step in range(6):
        if step == 3:
            optimizer.load_state_dict(optimizer.state_dict())
        optimizer.step(loss)
    assert len(hooked) == 6
    found[name] = hashlib.sha256(b"".join(w.detach().numpy().tobytes() for w in weights)).hexdigest()
print(json.dumps([found, "torch._dynamo" in sys.modules]))
"""


def test_steps_without_the_compiler_are_torchs_own_bit_for_bit():
    results = []
    for how in ("spared", "plain"):
        command = [sys.executable, "-c", _EVERY, how]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        results.append(json.loads(done.stdout))
    assert results[0][0] == results[1][0]
    assert len(set(results[0][0].values())) > 10
    assert not results[0][1]


def test_a_differentiable_step_stays_one():
    optim.spare_compiler()
    gradient = torch.ones(2, requires_grad=True)
    weight = torch.ones(2, requires_grad=True).clone()
    weight.retain_grad()
    optimizer = torch.optim.SGD([weight], lr=0.5, differentiable=True)
    weight.grad = 3 * gradient
    optimizer.step()
    weight.sum().backward()
    assert torch.equal(gradient.grad, torch.full((2,), -1.5))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch 2.10's compiler, of torch itself
def test_the_compiler_still_traces_a_step():
    optim.spare_compiler()
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    optimizers = [torch.optim.Adam([weight], lr=0.1) for weight in weights]
    compiled = torch.compile(optimizers[1].step, backend="eager")
    for _ in range(3):
        for weight in weights:
            weight.grad = weight.detach() * 2
        optimizers[0].step()
        compiled()
    torch.testing.assert_close(*weights)
