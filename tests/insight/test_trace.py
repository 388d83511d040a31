"""`dltrain trace`: every printed equation holds for the printed numbers, and these are those of a hand computation and
of the trainer."""

import math
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from arithmetic import computed

import dltrain
from dltrain.commands import cli
from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.engine.trainer import seed_everything
from dltrain.insight import trace
from dltrain.insight.formulas import every, put_in


def plan(*overrides, allow=()):
    composed = compose.compose(overrides)
    assert composed.mistakes == ()
    return make_plan(composed, allow)


def numbers(*overrides):
    """Section and name -> nested lists."""
    return {(line.section, line.name): line.values.tolist() for line in trace.trace(plan(*overrides)).lines}


def near(wanted):
    return pytest.approx(wanted, abs=2e-7)


# -- what is printed, read again -------------------------------------------------------------------------------

_NUMBER = r"-?\d+(?:\.\d+)?(?:e[+-]\d+)?"


def read(text):
    """The notes, and name, formula and numbers of each printed quantity, in their order."""
    notes, *sections = text.split("\n\n")
    found, head, shape = [], "", None
    for line in "\n".join(section.partition("\n")[2] for section in sections).splitlines():
        if whole := re.fullmatch(rf"  (\S.*?)?(?: {{2,}}(\[[\d, ]+\]))? {{2,}}((?:{_NUMBER} *)+)", line):
            if whole[1] or head:
                found.append([whole[1] or head, whole[2], []])
            head = ""
            found[-1][2] += [float(v) for v in whole[3].split()]
        else:
            head = line.strip()
            assert "deviation" not in head, "summarised: take a smaller net"
    lines = []
    for head, shape, values in found:
        name, _, formula = head.partition(" = ")
        name = name if formula else name.partition("  (")[0]
        sizes = [int(n) for n in shape.strip("[]").split(",")] if shape else []
        lines.append((name, formula, torch.tensor(values, dtype=torch.float64).view(sizes)))
    return notes.splitlines(), lines


def both(choose):
    return lambda *values: choose(*[torch.as_tensor(v, dtype=torch.float64) for v in values])


FUNCTIONS = {
    **{name: getattr(torch, name) for name in ("relu", "tanh", "sigmoid", "sign", "abs", "log", "sum", "mean")},
    **{"gelu": F.gelu, "silu": F.silu, "leaky_relu": F.leaky_relu, "softmax": lambda a: a.softmax(1)},
    "sqrt": both(torch.sqrt),
    **{"max": both(torch.maximum), "min": both(torch.minimum), "clip": torch.clamp},
    "batch_sum": lambda v: v.sum(0),
    "batch_mean": lambda v: v.mean(0, keepdim=True),
    "row_sum": lambda v: v.sum(1, keepdim=True),
    "row_mean": lambda v: v.mean(1, keepdim=True),
    "Phi": torch.special.ndtr,
    "phi": lambda a: (-a.square() / 2).exp() / math.sqrt(2 * math.pi),
    "rows_at_most": lambda w, most: torch.renorm(w, 2, 0, most),
    "Conv2d": F.conv2d,
    "MaxPool2d": lambda z: F.max_pool2d(z, 2),
    "Flatten": lambda z: z.flatten(1),
    "Scaled": lambda x, w, scale: F.linear(x, w) * scale,
}


def value(formula, known, wanted):
    """What a formula gives, computed in float64 from the numbers of the lines above it; and how large they were."""
    used = {}

    def symbol(match):
        used[key := f"v{len(used)}"] = known[match[0]]
        return key

    names = "|".join(re.escape(name) for name in sorted(known, key=len, reverse=True))
    text = re.sub(rf"(?<![\w.])(?:{names})(?![\w'(])", symbol, formula)
    text = re.sub(r"1\[(.*?)\]", r"(\1)", text).replace("^T", ".T").replace("^2", "**2")
    own = {**FUNCTIONS}
    own["onehot"] = lambda classes: F.one_hot(classes.long(), wanted.shape[1]).double()
    result = torch.as_tensor(eval(text, {"__builtins__": {}}, {**own, **used}), dtype=torch.float64)
    result = result.expand_as(wanted) if formula == "0" else result
    size = max([1e-30, *(float(v.abs().max()) for v in used.values())])
    return result, size


def holds(text):
    """Checks every equation of a printed trace; returns the notes, the formulas by name, and the values by name."""
    notes, lines = read(text)
    return notes, *agree(lines)


def agree(lines):
    """Checks the equations of lines (name, formula, values); returns the formulas and the values by name."""
    known, formulas = {}, {}
    for name, formula, values in lines:
        if formula:
            found, size = value(formula, known, values)
            assert found.shape == values.shape, f"{name} = {formula}"
            near = 1e-4 * found.abs() + 1e-5 * found.abs().max() + 5e-6 * min(size, 1)  # six digits are printed
            if name.startswith("step of "):
                near = near + 1.2e-7 * known[name[8:]].abs()  # a float32 weight moves by whole steps of its own
            assert ((values - found).abs() <= near).all(), f"{name} = {formula}: {values} for {found}"
        assert name not in known, f"{name} stands twice"
        known[name], formulas[name] = values, formula
    return formulas, known


def written_out(lines):
    """Checks the arithmetic that a page has of each equation, number by number."""
    values = {line.name: line.values for line in lines}
    for line in lines:
        places = list(every(tuple(line.values.shape)))[:12] if line.formula else []
        used = [v for name, v in values.items() if name in line.formula]
        size = max([1e-4, *(float(v.abs().max()) for v in used)])
        for place in places:
            text = put_in(line.formula, values, place)
            if text is None:
                assert re.search("sqrt|sum|mean|rows_at_most", line.formula), line.formula  # a long one
                continue
            near = pytest.approx(float(line.values[place]), rel=2e-4, abs=2e-5 * min(size, 10))
            assert computed(text) == near, f"{line.name}{place} = {text}"


def shown(*overrides, allow=()):
    return trace.show(trace.trace(plan(*overrides, allow=allow)))


SMALL = ["data.batch_size=4", "model.widths=[3]"]
CLASSES, PAIR = ["data=blobs", *SMALL], ["data=moons", *SMALL]
NETS = [
    *([*CLASSES, f"model.activation={name}"] for name in ("relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu")),
    [*CLASSES, "model.activation=sign"],
    [*CLASSES, "model.norm=batch", "model.activation=tanh"],
    [*CLASSES, "model.norm=layer", "model.widths=[3,4]"],
    [*CLASSES, "model.dropout=0.5", "model.input_dropout=0.2", "model.bias=false"],
    ["data=iris", "data.batch_size=5", "model=linear"],
    ["experiment=worked_example"],
    ["experiment=perceptron_xor"],
]
LOSSES = [
    [*CLASSES, "loss=cross_entropy", "loss.label_smoothing=0.1", "loss.class_weights=balanced"],
    [*CLASSES, "loss=one_hot_mse"],
    [*CLASSES, "loss=perceptron"],
    [*CLASSES, "loss=hinge", "loss.squared=true", "loss.margin=0.5"],
    [*CLASSES, "loss=module", "loss._target_=torch.nn.CrossEntropyLoss"],
    [*PAIR, "loss=bce", "loss.pos_weight=2", "loss.label_smoothing=0.2"],
    [*PAIR, "loss=perceptron"],
    [*PAIR, "loss=hinge"],
    [*PAIR, "loss=cross_entropy", "regularisation=mixup"],
    ["data=multilabel", *SMALL],
    *(["data=linear", *SMALL, f"loss={name}"] for name in ("mse", "mae", "huber")),
]
HELD = [
    ["regularisation=l2"],
    ["regularisation=[l1,dropout]", "regularisation.l1=0.1"],
    ["regularisation=[l1,l2,clip_norm]", "regularisation.l2=0.1", "regularisation.clip_norm=0.3"],
    ["regularisation=[clip_value,clip_norm]", "regularisation.clip_value=0.05", "regularisation.clip_norm=0.1"],
    ["regularisation=[max_norm,input_noise]", "regularisation.max_norm=0.5"],
    ["regularisation=[weight_decay,ema]"],
]
HELD = [[*CLASSES, *overrides] for overrides in HELD]
OPTIMIZERS = sorted(path.stem for path in (Path(dltrain.__file__).parents[2] / "configs" / "optimizer").glob("*.yaml"))
STEPS = [[*CLASSES, f"optimizer={name}", "scheduler=constant", "regularisation=l2"] for name in OPTIMIZERS]
STEPS += [[*CLASSES, f"optimizer={name}", "optimizer.weight_decay=0.1"] for name in ("sgd", "nesterov", "rmsprop")]


@pytest.mark.parametrize("overrides", [*NETS, *LOSSES, *HELD, *STEPS], ids=" ".join)
def test_every_printed_equation_holds_for_the_printed_numbers(overrides):
    made = plan(*overrides)
    traced = trace.trace(made)
    _, formulas, values = holds(trace.show(traced))
    written_out(traced.lines)
    assert formulas["L"]
    assert all(formulas[name] for name in formulas if name.startswith(("dL/d", "delta", "new W")) or "'" in name)
    regular = made.regularisation
    assert ("J" in values) == bool(regular.l1 or regular.l2)


KINDS = ["regularisation=[l2,dropout]", "regularisation.l2=0.05", "model.norm=batch", "regularisation=[l2,input_noise]"]


@pytest.mark.parametrize("override", [*KINDS, "loss.label_smoothing=0.2", "loss=hinge"])
def test_the_loss_before_and_after_is_one_function_of_the_weights(override):
    """So a step that moves next to nothing leaves it where it was, and a small one takes it down."""
    still = [*CLASSES, "optimizer=sgd", "scheduler=constant", *([override] if "l2=" not in override else KINDS[:2])]
    _, _, values = holds(shown(*still, "optimizer.lr=1e-9"))
    goal = "J" if "J" in values else "L"
    torch.testing.assert_close(values[f"new {goal}"], values[goal], rtol=1e-5, atol=0)
    _, _, values = holds(shown(*still, "optimizer.lr=0.01"))
    assert values[f"new {goal}"] < values[goal]


def test_the_penalty_stands_in_the_gradient_and_in_its_formula():
    _, formulas, values = holds(shown("experiment=worked_example", "regularisation=[l1,l2]", "regularisation.l2=0.5"))
    w1, w2 = values["W1"], values["W2"]
    torch.testing.assert_close(values["dL/dW2"], values["delta2"].T @ values["z1"], rtol=1e-4, atol=1e-6)
    l1 = 1e-5
    pulled = values["dL/dW2"] + w2 + l1 * w2.sign()
    torch.testing.assert_close(values["dJ/dW2"], pulled, rtol=1e-4, atol=1e-6)
    assert formulas["dJ/dW2"] == "dL/dW2 + 1 * W2 + 1e-05 * sign(W2)"
    penalty = 0.5 * (w1.square().sum() + w2.square().sum()) + l1 * (w1.abs().sum() + w2.abs().sum())
    torch.testing.assert_close(values["R"], penalty, rtol=1e-4, atol=0)
    assert formulas["step of W2"] == "-0.5 * dJ/dW2"
    assert formulas["step of b2"] == "-0.5 * dL/db2"  # the penalty is on weights alone


def test_the_factor_that_clips_is_printed():
    clipped = ["experiment=worked_example", "regularisation=clip_norm"]
    _, formulas, values = holds(shown(*clipped, "regularisation.clip_norm=0.1"))
    names = [f"dL/d{name}" for name in ("W1", "b1", "W2", "b2")]
    norm = torch.cat([values[name].flatten() for name in names]).norm()
    torch.testing.assert_close(values["norm"], norm, rtol=1e-5, atol=0)
    torch.testing.assert_close(values["c"], 0.1 / norm, rtol=1e-4, atol=0)
    assert formulas["step of W1"] == "-0.5 * g_W1"
    torch.testing.assert_close(values["g_W1"], values["c"] * values["dL/dW1"], rtol=1e-4, atol=0)
    _, _, values = holds(shown(*clipped, "regularisation.clip_norm=10"))
    assert values["c"] == 1


def test_the_target_is_printed_as_the_criterion_takes_it():
    notes, formulas, values = holds(shown("experiment=perceptron_xor"))
    assert values["class"].tolist() == [[0]]
    assert values["y"].tolist() == [[-1]]
    assert formulas["L"] == "mean(max(0, -y * a1))"
    assert values["delta1"].tolist() == [[1]]
    assert formulas["dL/da1"] == "-y * mistake"
    assert any(note.startswith("perceptron y is -1 or +1, a1 is f(x); y * a1 <= 0 is a mistake") for note in notes)
    assert any(note.startswith("tie        a1 is 0, on the border") for note in notes)  # why L is 0 and delta is not
    notes, _, values = holds(shown(*PAIR, "loss=perceptron"))
    assert not any(note.startswith("tie") for note in notes)
    assert values["mistake"].any()

    _, formulas, values = holds(shown(*CLASSES, "loss=cross_entropy"))
    assert values["y"].sum(1).tolist() == [1] * 4
    assert values["y"].argmax(1).tolist() == values["class"].tolist()
    torch.testing.assert_close(values["p"], values["a2"].softmax(1), rtol=1e-4, atol=1e-6)
    assert formulas["dL/da2"] == "(p - y) / 4"
    assert formulas["delta2"] == "dL/da2"

    notes, formulas, values = holds(shown("data=linear", "data.batch_size=4", "model.widths=[2]"))
    assert formulas["y"] == "(target - t_mean) / t_std"
    assert any("standard units" in note for note in notes)
    positive = "data=linear", "data.weights=[10,-17]", "data.bias=100", "data.batch_size=4", "model.widths=[2]"
    notes, formulas, values = holds(shown(*positive, "data.target_transform=log"))
    assert formulas["y"] == "(log(target) - t_mean) / t_std"
    assert any("logarithms of the targets" in note for note in notes)
    _, _, ranked = holds(shown(*positive, "data.target_transform=quantile"))
    torch.testing.assert_close(ranked["target"], values["target"])


def test_what_is_laid_side_by_side_later_has_its_own_shape_in_the_backward_pass():
    made = trace.trace(plan("data=digits", "data.batch_size=4", *own("Rows"), allow=["own_nets"]))
    values = {line.name: line.values for line in made.lines if line.section in ("forward", "backward")}
    assert values["delta2"].shape == values["a2"].shape == (4, 1, 8, 2)
    torch.testing.assert_close(values["delta1"], values["delta2"] @ values["W2"])


def test_the_notation_is_the_courses_and_says_so():
    notes, _, values = holds(shown(*CLASSES, "model.norm=batch", "model.dropout=0.5"))
    assert notes[0].startswith("notation   a before the non-linearity, z = g(a) after it, g' the derivative of g by a")
    assert any("train: dropout is on, BatchNorm takes the mean and variance of this batch" in note for note in notes)
    assert [n for n in values if re.fullmatch("[a-z][12]", n) and n[0] in "anzmd"] == [
        "a1",
        "n1",
        "z1",
        "m1",
        "d1",
        "a2",
    ]
    made = trace.trace(plan("data=digits", "data.batch_size=4", *own("SmallCNN"), allow=["own_nets"]))
    assert made.notes[0].startswith("notation   z^k = M^k(z^(k-1), W^k) is what module k makes of what module k-1 made")
    formulas, _ = agree([(line.name, line.formula, line.values.double()) for line in made.lines])
    wanted = {"z^1": "Conv2d(x, W^1, b^1)", "z^2": "relu(z^1)", "z^5": "z^4 @ (W^5)^T + b^5"}
    wanted |= {"dL/dW^5": "(delta^5)^T @ z^4", "delta^4": "delta^5 @ W^5", "delta^1": "delta^2 * relu'(z^1)"}
    wanted |= {"relu'(z^1)": "1[z^1 > 0]", "delta^5": "dL/dz^5"}
    assert {name: formulas[name] for name in wanted} == wanted
    words = {line.name: line.words for line in made.lines}
    assert words["delta^3"] == "delta^4 in the shape of z^3"
    assert words["delta^2"] == "delta^3 back through MaxPool2d, by torch's autograd"


def own(name):
    return ["model=module", f"model._target_=own_nets.{name}"]


def test_any_net_is_told_as_a_chain_of_modules_if_that_is_asked_for():
    made = trace.trace(
        plan("data=xor", "model=mlp", "model.widths=[2]", "model.activation=tanh", "data.batch_size=4"), modules=True
    )
    formulas, _ = agree([(line.name, line.formula, line.values.double()) for line in made.lines])
    assert [name for name in formulas if name.startswith("z^")] == ["z^1", "z^2", "z^3"]  # not what flattens a flat x
    assert (formulas["z^1"], formulas["z^2"]) == ("x @ (W^1)^T + b^1", "tanh(z^1)")
    assert formulas["delta^1"] == "delta^2 * tanh'(z^1)"
    assert formulas["dL/dW^3"] == "(delta^3)^T @ z^2"
    assert made.notes[0].startswith("notation   z^k = M^k(z^(k-1), W^k)")


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["model=mlp", "model.widths=[2]", "model.norm=batch"], "dL by a b before it is 0, but for rounding"),
        (["model=linear", "regularisation=mixup"], "batch      x and y are what mixup made of the rows"),
        (["model=linear", "regularisation=max_norm"], "max_norm   rows_at_most(W, c) shortens a row"),
        (own("Shared"), "shared     again works 2 times: here is the first, and dL by its weights is of all"),
    ],
)
def test_what_is_unusual_is_noted(overrides, told):
    made = trace.trace(plan("data=iris", "data.batch_size=4", "data.val=5", *overrides, allow=["own_nets"]))
    assert told in "\n".join(made.notes)


@pytest.mark.parametrize("name", ["TwoLayers", "Functional", "Shared", "Skipping", "Scaled"])
def test_own_modules_get_the_equations_that_hold_for_them(name):
    overrides = ["data=blobs", "data.batch_size=4", "regularisation=l2", "optimizer=sgd", *own(name)]
    _, formulas, values = holds(shown(*overrides, allow=["own_nets"]))
    missing = {n for n in formulas if not formulas[n] and re.match("[azf]|delta|dL", n)}
    assert (
        missing
        == {
            "TwoLayers": set(),
            "Functional": {"a2", "f", "delta2", "delta1", "dL/dW2"},
            "Shared": {"a3", "delta2", "dL/dW2", "dL/db2", "dL/dW3"},
            "Skipping": {"z2", "delta2", "delta1"},
            "Scaled": {"dL/dW^1", "dL/dscale"},
        }[name]
    ), missing
    assert values["new J"] < values["J"]


def test_the_worked_example_agrees_with_pencil_and_paper():
    x, y, lr = (1.0, 0.5), 1.0, 0.5
    w1, b1, w2, b2 = ((0.1, 0.2), (-0.3, 0.4)), (0.1, -0.1), (0.5, -0.6), 0.2
    a1 = [w1[j][0] * x[0] + w1[j][1] * x[1] + b1[j] for j in range(2)]
    z1 = [math.tanh(a) for a in a1]
    a2 = w2[0] * z1[0] + w2[1] * z1[1] + b2
    z2 = 1 / (1 + math.exp(-a2))
    loss = (z2 - y) ** 2
    delta2 = 2 * (z2 - y) * z2 * (1 - z2)
    delta1 = [delta2 * w2[j] * (1 - z1[j] ** 2) for j in range(2)]

    seen = numbers("experiment=worked_example")
    assert seen["forward", "a1"] == [near(a1)]
    assert seen["forward", "z1"] == [near(z1)]
    assert seen["forward", "a2"] == [[near(a2)]]
    assert seen["forward", "z2"] == [[near(z2)]]
    assert seen["forward", "L"] == near(loss)
    assert seen["backward", "dL/dz2"] == [[near(2 * (z2 - y))]]
    assert seen["backward", "delta2"] == [[near(delta2)]]
    assert seen["backward", "dL/dW2"] == [near([delta2 * z for z in z1])]
    assert seen["backward", "dL/db2"] == [near(delta2)]
    assert seen["backward", "dL/dz1"] == [near([delta2 * w for w in w2])]
    assert seen["backward", "delta1"] == [near(delta1)]
    assert seen["backward", "dL/dW1"] == [near([d * value for value in x]) for d in delta1]
    assert seen["backward", "dL/db1"] == near(delta1)
    assert seen["update", "new W1"] == [near([w1[j][i] - lr * delta1[j] * x[i] for i in range(2)]) for j in range(2)]
    assert seen["update", "step of b2"] == [near(-lr * delta2)]
    assert seen["update", "new W2"] == [near([w2[j] - lr * delta2 * z1[j] for j in range(2)])]


def test_sample_weights_and_rate_are_the_users():
    seen = numbers(
        "experiment=worked_example",
        "data.x=[[0,1],[1,1]]",
        "data.y=[[0],[1]]",
        "model.weights.linear1.bias=[0,0]",
        "optimizer.lr=2",
    )
    assert seen["forward", "x"] == [[0, 1], [1, 1]]
    assert seen["forward", "a1"] == [near([0.2, 0.4]), near([0.3, 0.1])]
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
    lines = {(line.section, line.name): line.values for line in trace.trace(made).lines}
    seed_everything(made.seed)
    trainer = build.make_trainer(made)
    trainer.model.train()
    loss = trainer.step([next(build.make_loaders(made)[0].epoch(0))])
    last = [m for m in trainer.model.modules() if isinstance(m, torch.nn.Linear)][-1]
    number = len([n for _, n in lines if n.startswith("new W")])
    torch.testing.assert_close(lines["update", f"new W{number}"], last.weight.detach())
    torch.testing.assert_close(lines["forward", "L"], loss)
    clipped, pulled = made.regularisation.clip_norm, made.regularisation.l2
    handed = f"g_W{number}" if clipped else f"dJ/dW{number}" if pulled else f"dL/dW{number}"
    torch.testing.assert_close(lines["backward", handed], last.weight.grad)
    torch.testing.assert_close(
        lines["backward", f"delta{number}"].sum(0), lines["backward", f"dL/db{number}"], rtol=1e-4, atol=1e-7
    )


def test_any_module_is_traced():
    made = trace.trace(plan("data=digits", "data.batch_size=8", "model=torchvision", "model.name=shufflenet_v2_x0_5"))
    first = next(line.values for line in made.lines if line.name == "z^1")
    assert len(first) == 8  # ReLU works in place there, and yet z^1 is what the convolution made
    assert first.min() < 0
    assert len([line for line in made.lines if line.name.startswith("new W")]) == 57
    read = {line.name: line.formula or line.words for line in made.lines}
    assert read["z^2"] == "BatchNorm2d(z^1, gamma^2, beta^2)"
    assert read["z^18"] == "Conv2d of a value made between the modules"  # two branches, joined and shuffled


def test_a_step_smaller_than_a_weight_can_show_keeps_its_equation():
    made = plan(*CLASSES, "optimizer=adam", "optimizer.lr=3e-7", "scheduler=constant", "model.init=kaiming")
    formulas = {line.name: line.formula for line in trace.trace(made).lines}
    for name in ("W1", "b1", "W2", "b2"):
        assert formulas[f"step of {name}"].startswith("-3e-07 * dL/d")


def test_the_text_is_aligned_and_large_tensors_are_summarised(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["trace", "data=digits", "data.batch_size=3"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert "mean" in out
    assert list(tmp_path.iterdir()) == []
    shapes = [found.start() for line in out.splitlines() if (found := re.search(r"(?<=  )\[\d", line))]
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
