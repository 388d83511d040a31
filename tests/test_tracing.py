"""`dltrain trace`: the numbers are those of a hand computation, and those of the trainer."""

import math

import pytest
import torch

from dltrain import build, cli, config, tracing
from dltrain.plan import make_plan
from dltrain.trainer import seed_everything


def plan(*overrides):
    composed = config.compose(overrides)
    assert composed.mistakes == ()
    return make_plan(composed)


def numbers(*overrides):
    """Section and name -> nested lists."""
    return {(line.section, line.name): line.values.tolist() for line in tracing.trace(plan(*overrides))}


def near(wanted):
    return pytest.approx(wanted, abs=2e-7)


def test_the_worked_example_agrees_with_pencil_and_paper():
    x, y, lr = (1.0, 0.5), 1.0, 0.5
    w1, b1, w2, b2 = ((0.1, 0.2), (-0.3, 0.4)), (0.1, -0.1), (0.5, -0.6), 0.2
    z1 = [w1[j][0] * x[0] + w1[j][1] * x[1] + b1[j] for j in range(2)]
    a1 = [math.tanh(z) for z in z1]
    z2 = w2[0] * a1[0] + w2[1] * a1[1] + b2
    a2 = 1 / (1 + math.exp(-z2))
    loss = (a2 - y) ** 2
    delta2 = 2 * (a2 - y) * a2 * (1 - a2)
    delta1 = [delta2 * w2[j] * (1 - a1[j] ** 2) for j in range(2)]

    seen = numbers("experiment=worked_example")
    assert seen["forward", "z1"] == [near(z1)]
    assert seen["forward", "a1"] == [near(a1)]
    assert seen["forward", "z2"] == [[near(z2)]]
    assert seen["forward", "a2"] == [[near(a2)]]
    assert seen["forward", "L"] == near(loss)
    assert seen["backward", "dL/da2"] == [[near(2 * (a2 - y))]]
    assert seen["backward", "delta2"] == [[near(delta2)]]
    assert seen["backward", "dL/dW2"] == [near([delta2 * a for a in a1])]
    assert seen["backward", "dL/db2"] == [near(delta2)]
    assert seen["backward", "dL/da1"] == [near([delta2 * w for w in w2])]
    assert seen["backward", "delta1"] == [near(delta1)]
    assert seen["backward", "dL/dW1"] == [near([d * value for value in x]) for d in delta1]
    assert seen["backward", "dL/db1"] == near(delta1)
    assert seen["update", "new W1"] == [near([w1[j][i] - lr * delta1[j] * x[i] for i in range(2)]) for j in range(2)]
    assert seen["update", "step of b2"] == [near(-lr * delta2)]
    assert seen["update", "new W2"] == [near([w2[j] - lr * delta2 * a1[j] for j in range(2)])]


def test_sample_weights_and_rate_are_the_users():
    seen = numbers(
        "experiment=worked_example",
        "data.x=[[0,1],[1,1]]",
        "data.y=[[0],[1]]",
        "model.weights.linear1.bias=[0,0]",
        "optimizer.lr=2",
    )
    assert seen["forward", "x"] == [[0, 1], [1, 1]]
    assert seen["forward", "z1"] == [near([0.2, 0.4]), near([0.3, 0.1])]
    assert seen["update", "step of b2"] == [near(-2 * seen["backward", "dL/db2"][0])]


CASES = [
    ["data=digits", "data.batch_size=8"],
    ["data=wine", "model.norm=batch", "model.dropout=0.5", "regularisation=l2", "optimizer=sgd"],
    ["data=moons", "model.norm=layer", "model.activation=gelu", "regularisation=[input_noise,clip_norm]"],
    ["data=diabetes", "model=linear", "optimizer=momentum"],
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_it_shows_what_the_trainer_does(case):
    made = plan(*case)
    lines = {(line.section, line.name): line.values for line in tracing.trace(made)}
    seed_everything(made.seed)
    trainer = build.make_trainer(made)
    trainer.model.train()
    loss = trainer.step([next(build.make_loaders(made)[0].epoch(0))])
    last = [m for m in trainer.model.modules() if isinstance(m, torch.nn.Linear)][-1]
    number = len([n for _, n in lines if n.startswith("new W")])
    torch.testing.assert_close(lines["update", f"new W{number}"], last.weight.detach())
    if not (made.regularisation.l2 or made.regularisation.clip_norm):  # which act on L, and on what the optimizer gets
        torch.testing.assert_close(lines["forward", "L"], loss)
        torch.testing.assert_close(lines["backward", f"dL/dW{number}"], last.weight.grad)
    torch.testing.assert_close(
        lines["backward", f"delta{number}"].sum(0), lines["backward", f"dL/db{number}"], rtol=1e-4, atol=1e-7
    )


def test_any_module_is_traced(shared_data):
    seen = numbers("data=digits", "data.batch_size=8", "model=torchvision", "model.name=resnet18")
    assert len(seen["forward", "z1"]) == 8  # ReLU works in place there, and yet z is what the convolution made
    assert min(v for image in seen["forward", "z1"] for plane in image for row in plane for v in row) < 0
    assert len([name for section, name in seen if section == "update" and name.startswith("new W")]) == 21


def test_the_text_is_aligned_and_large_tensors_are_summarised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["trace", "data=digits", "data.batch_size=3"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "mean" in out
    assert list(tmp_path.iterdir()) == []
    shapes = [line.index("[") for line in out.splitlines() if "[" in line]
    assert len(shapes) > 10
    assert len(set(shapes)) == 1


@pytest.mark.parametrize(
    ("override", "wanted"),
    [
        ("model.weights.linear1.bias=[0.1]", "model.weights: linear1.bias has the shape [1], and this net needs [2]"),
        (
            "+model.weights.linear3.bias=[0.1]",
            "model.weights: linear3 is no layer with weights; there are linear1, lin",
        ),
        ("+model.weights.linear2.gain=[0.1]", "model.weights: linear2 needs lists of numbers for weight and bias"),
        ("model.weights.linear1.bias=[a,b]", "model.weights: linear1.bias must be lists of numbers"),
        ("data.x=[[1,2],[3]]", "data.x: [[1, 2], [3]]: want one list of numbers for each row"),
        ("data.y=[[1],[2]]", "data.y: [[1], [2]]: want 1 of them"),
        ("data.y=[a]", "data.y: ['a']: want classes counted from 0"),
        ("data.y=[-1]", "data.y: [-1]: want classes counted from 0"),
        ("model.output=sigmod", "model.output: want one of"),
    ],
)
def test_mistakes_in_a_worked_example_say_what_to_type(override, wanted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["trace", "experiment=worked_example", override])
    assert stop.value.code == 2
    assert wanted in capsys.readouterr().err
