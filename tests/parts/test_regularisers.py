"""Penalties, max-norm, input noise, mixup, cutmix, weight averaging and early stopping against their formulas."""

import json
from copy import deepcopy
from math import inf, nan
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from dltrain.errors import ConfigError
from dltrain.parts.regularisers import (
    EMA,
    Best,
    Compose,
    CutMix,
    EarlyStopping,
    InputNoise,
    MaxNorm,
    Mixup,
    Penalty,
    penalty,
)

CONFIGS = Path(__file__).parents[2] / "configs" / "regularisation"


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3)).double()


def batch(n=32, *shape):
    return torch.randn(n, *shape), torch.randint(10, (n,)), torch.arange(n)


# -- penalties -----------------------------------------------------------------------------------------------------


def test_penalty_is_the_formula_over_weights_and_not_over_biases_or_norms():
    model = net()
    first, last = model[0].weight.detach().numpy(), model[3].weight.detach().numpy()
    expected = 0.3 * (abs(first).sum() + abs(last).sum()) + 0.7 * ((first**2).sum() + (last**2).sum())
    assert penalty(model.parameters(), l1=0.3, l2=0.7).item() == pytest.approx(expected, rel=1e-14)
    assert Penalty(model, l1=0.3, l2=0.7)().item() == pytest.approx(expected, rel=1e-14)


def test_penalty_gradient_is_l1_sign_plus_twice_l2_w():
    model = net()
    Penalty(model, l1=0.3, l2=0.7)().backward()
    for weight in (model[0].weight, model[3].weight):
        torch.testing.assert_close(weight.grad, 0.3 * weight.sign() + 1.4 * weight, rtol=1e-14, atol=0)
    assert model[0].bias.grad is None
    assert model[1].weight.grad is None


def test_penalty_gradient_at_zero_weights_is_zero():
    weight = torch.zeros(3, 2, requires_grad=True)
    penalty([weight], l1=1.0, l2=1.0).backward()
    assert torch.equal(weight.grad, torch.zeros(3, 2))


def test_penalty_passes_gradcheck():
    weights = [torch.randn(3, 4, dtype=torch.float64, requires_grad=True), torch.randn(2, 3, dtype=torch.float64)]
    weights[1].requires_grad_()

    def value(*w):
        return penalty(w, l1=0.3, l2=0.7)

    assert torch.autograd.gradcheck(value, weights)
    assert torch.autograd.gradgradcheck(value, weights)


def test_penalty_of_nothing_is_zero():
    assert penalty(net().parameters(), l1=0.0, l2=0.0).item() == 0.0
    assert penalty([torch.ones(3)], l1=1.0, l2=1.0).item() == 0.0


def test_penalty_and_max_norm_leave_frozen_weights_alone():
    model = net()
    model[0].weight.requires_grad_(False).mul_(100)
    frozen = model[0].weight.clone()
    assert Penalty(model, l2=1.0)().item() == pytest.approx(model[3].weight.square().sum().item())
    MaxNorm(model, 0.1)()
    assert torch.equal(model[0].weight, frozen)


def test_l2_with_sgd_equals_weight_decay_of_twice_l2():
    one = net()
    two = deepcopy(one)
    x, weights = torch.randn(8, 5, dtype=torch.float64), [p for p in two.parameters() if p.ndim >= 2]
    others = [p for p in two.parameters() if p.ndim < 2]
    sgd = torch.optim.SGD(one.parameters(), lr=0.1)
    decayed = torch.optim.SGD([{"params": weights, "weight_decay": 0.02}, {"params": others}], lr=0.1)
    for _ in range(10):
        for model, optimizer, extra in ((one, sgd, Penalty(one, l2=0.01)), (two, decayed, None)):
            optimizer.zero_grad()
            loss = model(x).square().mean()
            (loss + extra() if extra else loss).backward()
            optimizer.step()
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bad", [-1.0, nan, inf])
def test_penalty_refuses_bad_factors(bad):
    with pytest.raises(ConfigError, match=rf"l2={bad}: write a number >= 0"):
        Penalty(net(), l2=bad)


def test_penalties_and_max_norm_refuse_a_model_without_weight_matrices():
    with pytest.raises(ConfigError, match="max_norm would do nothing: BatchNorm1d has no trainable weight matrix"):
        MaxNorm(nn.BatchNorm1d(3), 2.0)
    with pytest.raises(ConfigError, match="would do nothing"):
        Penalty(nn.Identity(), l1=1.0)


# -- max-norm ------------------------------------------------------------------------------------------------------


def test_max_norm_bounds_long_rows_and_leaves_short_ones_bit_for_bit():
    model = nn.Sequential(nn.Conv2d(2, 6, 3), nn.Flatten(), nn.Linear(20, 50))
    with torch.no_grad():
        for layer in (model[0], model[2]):
            layer.weight.mul_(torch.linspace(0.1, 20, len(layer.weight)).view(-1, *[1] * (layer.weight.ndim - 1)))
    before = deepcopy(model)
    MaxNorm(model, 2.0)()
    for i in (0, 2):
        old, new = before[i].weight.flatten(1), model[i].weight.flatten(1)
        long = old.norm(dim=1) > 2.0
        assert long.any()
        assert not long.all()
        assert torch.equal(new[~long], old[~long])
        torch.testing.assert_close(new[long].norm(dim=1), torch.full((int(long.sum()),), 2.0), rtol=1e-6, atol=0)
        cosine = torch.nn.functional.cosine_similarity(new, old)
        torch.testing.assert_close(cosine, torch.ones_like(cosine), rtol=1e-6, atol=0)
        assert torch.equal(model[i].bias, before[i].bias)


@pytest.mark.parametrize("bad", [0, -1.0, nan])
def test_max_norm_refuses_a_bound_that_is_not_positive(bad):
    with pytest.raises(ConfigError, match=r"regularisation\.max_norm="):
        MaxNorm(net(), bad)


# -- batch transforms ----------------------------------------------------------------------------------------------


def test_input_noise_has_the_given_deviation_and_spares_the_data_set():
    x, y, index = torch.full((400, 50), 3.0), torch.arange(400), torch.arange(400)
    noisy, same = InputNoise(0.25)(x, y, index, 0)
    assert same is y
    assert torch.equal(x, torch.full((400, 50), 3.0))
    noise = noisy - x
    assert abs(float(noise.mean())) < 4 * 0.25 / 20_000**0.5
    assert float(noise.std()) == pytest.approx(0.25, rel=0.02)
    assert not torch.equal(InputNoise(0.25)(x, y, index, 0)[0], noisy)


def test_mixup_mixes_inputs_and_targets_with_the_same_weights():
    x = torch.eye(32)  # each mixed row then shows who was mixed, and how much
    y = torch.randint(10, (32,))
    mixed, soft = Mixup(0.4, task="multiclass", outputs=10)(x, y, torch.arange(32), 0)
    assert soft.shape == (32, 10)
    assert soft.dtype == torch.float32
    torch.testing.assert_close(mixed.sum(1), torch.ones(32))
    torch.testing.assert_close(soft, mixed @ torch.nn.functional.one_hot(y, 10).float())
    shares = mixed.diagonal()
    own = shares[shares < 1]  # a permutation may pair a sample with itself
    assert len(own) > 20
    torch.testing.assert_close(own, own[:1].expand_as(own))  # one lambda per batch


def test_mixup_lambda_follows_the_beta_distribution():
    x, y, mix = torch.eye(2), torch.tensor([0, 1]), Mixup(0.5, task="binary", outputs=1)
    drawn = [float(mix(x, y, y, 0)[0][0, 0]) for _ in range(4000)]
    mixed = torch.tensor([share for share in drawn if share < 1])  # half of the permutations of 2 change nothing
    assert float(mixed.mean()) == pytest.approx(0.5, abs=0.03)
    assert float(mixed.var()) == pytest.approx(1 / 8, abs=0.01)  # of Beta(a, a): 1 / (4 (2a + 1))


@pytest.mark.parametrize(
    ("task", "y", "shape"),
    [
        ("binary", torch.tensor([0, 1, 1, 0, 1, 0]), (6,)),
        ("multilabel", torch.tensor([[0.0, 1], [1, 1], [0, 0], [1, 0], [0, 1], [1, 1]]), (6, 2)),
        ("regression", torch.tensor([[1.0], [-3], [2], [0.5], [7], [-1]]), (6, 1)),
    ],
)
def test_mixup_targets_of_the_other_tasks_are_mixed_linearly(task, y, shape):
    x = torch.eye(6)
    mixed, soft = Mixup(1.0, task=task, outputs=shape[-1])(x, y, torch.arange(6), 0)
    assert soft.shape == shape
    torch.testing.assert_close(soft, mixed @ y.float())


def test_mixup_draws_from_torchs_generator():
    x, y, index = batch(16, 4)
    mix = Mixup(0.4, task="multiclass", outputs=10)
    torch.manual_seed(3)
    one, other = mix(x, y, index, 0), mix(x, y, index, 0)
    torch.manual_seed(3)
    again = mix(x, y, index, 0)
    assert torch.equal(one[0], again[0])
    assert torch.equal(one[1], again[1])
    assert not torch.equal(one[0], other[0])


def test_cutmix_pastes_one_rectangle_and_weighs_targets_by_its_area():
    x = torch.arange(16.0).view(16, 1, 1, 1).expand(16, 3, 12, 10)
    y, changed = torch.arange(16), 0
    cut = CutMix(1.0, task="multiclass", outputs=16)
    for _ in range(20):
        mixed, soft = cut(x, y, y, 0)
        for i in range(16):
            values, counts = mixed[i].unique(return_counts=True)
            shares = torch.zeros(16)
            shares[values.long()] = counts / mixed[i].numel()
            torch.testing.assert_close(soft[i], shares)
            pasted = mixed[i, 0] != i
            rows, cols = pasted.any(1), pasted.any(0)
            assert int(pasted.sum()) == int(rows.sum() * cols.sum())  # a full rectangle
            changed += bool(pasted.any())
    assert changed > 200


def test_cutmix_refuses_what_is_not_an_image():
    x, y, index = batch(8, 5)
    with pytest.raises(ValueError, match=r"cutmix needs images \[B, C, H, W\] and got inputs of shape \[8, 5\]"):
        CutMix(1.0, task="multiclass", outputs=10)(x, y, index, 0)


@pytest.mark.parametrize(("kind", "knob"), [(Mixup, "mixup"), (CutMix, "cutmix")])
def test_mixing_refuses_alpha_zero(kind, knob):
    with pytest.raises(ConfigError, match=f"regularisation.{knob}=0: write alpha > 0"):
        kind(0, task="binary", outputs=1)


def test_compose_applies_in_order_and_mixup_after_cutmix_keeps_probabilities():
    x, y, index = batch(16, 1, 8, 8)
    both = Compose([CutMix(1.0, task="multiclass", outputs=10), Mixup(1.0, task="multiclass", outputs=10)])
    mixed, soft = both(x, y, index, 0)
    assert mixed.shape == x.shape
    torch.testing.assert_close(soft.sum(1), torch.ones(16))

    seen = []

    def note(name):
        return lambda x, y, index, epoch: seen.append((name, epoch)) or (x, y)

    Compose([note("one"), note("two")])(x, y, index, 7)
    assert seen == [("one", 7), ("two", 7)]


# -- weight averaging ----------------------------------------------------------------------------------------------


def test_ema_equals_a_hand_written_loop_with_warm_up():
    model = net()
    ema = EMA(model, 0.95)
    average = [t.clone() for t in (*model.parameters(), model[1].running_mean, model[1].running_var)]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for n in range(300):
        optimizer.zero_grad()
        model(torch.randn(6, 5, dtype=torch.float64)).square().mean().backward()
        optimizer.step()
        ema.update()
        d = min(0.95, (1 + n) / (10 + n))
        now = (*model.parameters(), model[1].running_mean, model[1].running_var)
        average = [d * a + (1 - d) * t.detach() for a, t in zip(average, now, strict=True)]
    copy = ema.model
    for a, t in zip(average, (*copy.parameters(), copy[1].running_mean, copy[1].running_var), strict=True):
        torch.testing.assert_close(t, a, rtol=1e-12, atol=1e-15)
    assert int(copy[1].num_batches_tracked) == 300


def test_ema_model_is_an_independent_copy_for_evaluation():
    model = net().train()
    ema = EMA(model, 0.9)
    assert model.training
    assert not any(module.training for module in ema.model.modules())
    assert not any(p.requires_grad for p in ema.model.parameters())
    before = ema.model[0].weight.clone()
    with torch.no_grad():
        model[0].weight.add_(1)
    assert torch.equal(ema.model[0].weight, before)


def test_ema_resumes_exactly():
    def drift(model):
        with torch.no_grad():
            for p in model.parameters():
                p.add_(torch.ones_like(p) / 7)

    model = net()
    ema = EMA(model, 0.9)
    for _ in range(5):
        drift(model)
        ema.update()
    other = deepcopy(model)
    resumed = EMA(other, 0.9)
    resumed.load_state_dict(deepcopy(ema.state_dict()))
    for m, e in ((model, ema), (other, resumed)):
        for _ in range(5):
            drift(m)
            e.update()
    for a, b in zip(ema.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("bad", [1.0, -0.1, nan])
def test_ema_refuses_a_decay_outside_its_range(bad):
    with pytest.raises(ConfigError, match=r"regularisation\.ema="):
        EMA(net(), bad)


# -- early stopping ------------------------------------------------------------------------------------------------


def test_best_counts_only_improvements_beyond_min_delta():
    best = Best("min", min_delta=0.1)
    assert [best.improved(v) for v in (1.0, 0.95, 0.9, 0.85, 2.0)] == [True, False, False, True, False]
    assert best.value == 0.85
    best = Best("max")
    assert [best.improved(v) for v in (0.5, 0.5, 0.6)] == [True, False, True]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_best_never_takes_a_value_that_is_not_a_number(mode):
    best = Best(mode)
    assert not any(best.improved(v) for v in (None, nan, inf, -inf))
    assert best.value is None
    assert best.improved(3)
    assert not best.improved(nan)


def test_early_stopping_stops_after_patience_evaluations_in_a_row_without_improvement():
    stopping = EarlyStopping("val/loss", "min", patience=3)
    values = [1.0, 0.9, 0.95, nan, 0.8, 0.81, 0.82, 0.8]
    assert [stopping.update(v) for v in values] == [False] * 7 + [True]
    assert stopping.best.value == 0.8


def test_early_stopping_state_is_plain_json_and_resumes():
    stopping = EarlyStopping("val/accuracy", "max", patience=2)
    for value in (0.5, 0.4):
        stopping.update(value)
    resumed = EarlyStopping("val/accuracy", "max", patience=2)
    resumed.load_state_dict(json.loads(json.dumps(stopping.state_dict())))
    assert resumed.update(0.45)
    assert resumed.best.value == 0.5


def test_early_stopping_refuses_bad_knobs():
    with pytest.raises(ConfigError, match=r"early_stopping.patience=0: write a number of evaluations >= 1"):
        EarlyStopping("val/loss", "min", patience=0)
    with pytest.raises(ConfigError, match="mode='low': write min or max"):
        EarlyStopping("val/loss", "low")
    with pytest.raises(ConfigError, match="min_delta=-1"):
        Best("min", min_delta=-1)


# -- the YAML files ------------------------------------------------------------------------------------------------


def test_off_lists_every_knob_and_each_file_sets_only_known_ones():
    off = yaml.safe_load((CONFIGS / "off.yaml").read_text())
    assert not any(v for k, v in off.items() if k != "augmentation")
    assert not any(off["augmentation"].values())
    for path in sorted(CONFIGS.glob("*.yaml")):
        text, knobs = path.read_text(), yaml.safe_load(path.read_text())
        lines = [line for line in text.splitlines() if not line.startswith("# @package")]
        assert lines[0].startswith("# "), path.name
        assert lines[0].endswith("."), path.name
        if "# @package _global_" in text:
            assert text.startswith("# @package _global_\n"), path.name  # Hydra looks for it only on the first line
            continue
        assert set(knobs) <= set(off), path.name
        assert set(knobs.get("augmentation", {})) <= set(off["augmentation"]), path.name


def test_each_yaml_of_a_knob_works_as_it_stands():
    def value(name):
        return yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())[name]

    Penalty(net(), l1=value("l1"), l2=value("l2"))()
    MaxNorm(net(), value("max_norm"))()
    EMA(net(), value("ema")).update()
    x, y, index = batch(8, 1, 6, 6)
    InputNoise(value("input_noise"))(x, y, index, 0)
    Mixup(value("mixup"), task="multiclass", outputs=10)(x, y, index, 0)
    CutMix(value("cutmix"), task="multiclass", outputs=10)(x, y, index, 0)
    knobs = value("early_stopping")
    assert knobs.pop("monitor") == "auto"
    assert not EarlyStopping("val/loss", "min", **knobs).update(1.0)
