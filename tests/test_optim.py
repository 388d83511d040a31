"""Parameter groups and Muon."""

import pytest
import torch
from torch import nn

from dltrain import optim


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
