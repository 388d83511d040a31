"""Each choice has its entry; a formula is right where what it gives is what the code gives."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltrain.config import choices
from dltrain.course import lexicon
from dltrain.course.chapter import NAMES
from dltrain.parts import losses, models, optimizers, regularisers, schedules
from dltrain.runs import foreign

DOCS = Path(__file__).parents[2] / "docs"
OF_THE_USER = {"auto", "module", "torch", "torchvision", "none", "off"}  # these make, name or leave out something else
CHOICES = {
    group: {choice.name: choice for choice in choices.choices(group)}
    for group in choices.groups()
    if group != "experiment"
}


@pytest.mark.parametrize("group", CHOICES)
def test_each_choice_has_its_entry(group):
    for name, choice in CHOICES[group].items():
        assert {"when", "default", "see"} <= choice.entry.keys(), choice.path
        assert all(" ".join(choice.entry[label]).endswith((".", "...")) for label in ("when", "default")), choice.path
        assert set(lexicon.shown_in(choice)) <= {*NAMES}, choice.path
        if group in ("model", "loss", "optimizer", "scheduler", "regularisation") and name not in OF_THE_USER:
            assert {"formula", "source"} <= choice.entry.keys(), choice.path


def test_an_experiment_names_chapters_that_there_are():
    for choice in choices.choices("experiment"):
        assert set(lexicon.shown_in(choice)) <= {*NAMES}, choice.path


def test_each_value_of_a_mlps_parts_is_explained():
    entry = CHOICES["model"]["mlp"].entry
    for knob, values in (("activation", models.Activation), ("norm", models.Norm), ("init", models.Init)):
        known = {f"{knob}={value}" for value in values.__args__ if value != "none"}
        assert known == {label for label in entry if label.startswith(f"{knob}=")}


@pytest.mark.parametrize("group", choices.groups())
def test_a_listing_fits_a_screen_of_100_columns(group, dltrain):
    for words in ([group], [group, *choices.groups()[group]]):
        code, out, _ = dltrain("list", *words)
        assert code == 0
        typed = [line for line in out.splitlines() if not line.strip().startswith("dltrain ")]  # a command has no fold
        assert max(map(len, typed)) <= (100 if group != "experiment" else 124), group


def test_the_command_of_a_chapter_stands_on_one_line(monkeypatch):
    monkeypatch.setattr(lexicon, "room", lambda: 60)
    lines = [line.strip() for line in lexicon.whole(CHOICES["optimizer"]["adam"]).splitlines()]
    assert "dltrain course training_loop" in lines


def test_files_without_an_entry_or_with_odd_lines_are_listed_as_ever(dltrain, tmp_path):
    own = tmp_path / "own" / "model"
    own.mkdir(parents=True)
    (own / "plain.yaml").write_text(
        "# when: not an entry, as the first line is what it is.\n_target_: torch.nn.Linear\n"
    )
    (own / "odd.yaml").write_text("# Odd.\n#\n#   see: a picture\n# see: xor\n#   modules\n# Its end.\n_target_: x.y\n")
    plain, odd = ({c.name: c for c in choices.choices("model", own.parent)}[name] for name in ("plain", "odd"))
    assert plain.entry == {}
    assert plain.explanation == "when: not an entry, as the first line is what it is."
    assert odd.header == ("Odd.", "", "  see: a picture", "Its end.")
    assert lexicon.shown_in(odd) == ["xor", "modules"]
    for words in (["model"], ["model", "plain", "odd"]):
        assert "model=odd\n    Odd." in dltrain("--config-dir", "own", "list", *words)[1]


def test_the_page_is_what_the_program_writes():  # python scripts/docs.py
    assert (DOCS / "lexicon.md").read_text(encoding="utf-8") == lexicon.page()


# -- formulas ----------------------------------------------------------------------------------------------------------


def lines(choice: choices.Choice) -> list[tuple[str, str, str]]:
    """The equations of a choice as Python: what is made, of what, and where."""
    made = []
    for line in choice.entry["formula"]:
        text = re.sub("dL/d[wz]", "slope", line.partition("#")[0].replace("^", "**"))
        text, _, where = text.partition("  where ")
        if text.strip():
            left, _, right = re.split(r"( <- | = )", text, maxsplit=1)
            made.append((left.strip(), right.strip(), where.strip()))
    return made


def knobs(choice: choices.Choice) -> dict[str, object]:
    """The values of a file, without those that refer to other groups."""
    return {key: foreign.parse_yaml(f"x: {value}")["x"] for key, value, _ in choice.knobs if "$" not in value}


def follow(equations, names):
    """Evaluates equations one after the other; names that are not there yet are 0."""

    class Names(dict):
        def __missing__(self, name):
            return torch.zeros(3, 4, dtype=torch.float64)

    names = Names(names)
    for left, right, where in equations:
        if not where or eval(where, {"__builtins__": {}}, names):
            names[left] = eval(right, {"__builtins__": {}}, names)
    return names


def orthogonal(update: torch.Tensor) -> torch.Tensor:
    """Five Newton-Schulz iterations in bfloat16 with Jordan's coefficients, for no more rows than columns."""
    x = update.bfloat16()
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.775, alpha=2.0315), x, beta=3.4445)
    return x


MATH = {
    "sqrt": lambda x: torch.as_tensor(x, dtype=torch.float64).sqrt(),
    "abs": torch.abs,
    "max": lambda a, b: torch.maximum(*(torch.as_tensor(each, dtype=torch.float64) for each in (a, b))),
    "exp": torch.exp,
    "log": torch.log,
    "sign": torch.sign,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softmax": lambda z: z.softmax(1),
    "mean": torch.mean,
    "row_sum": lambda x: x.sum(1),
    "clip": torch.clamp,
    "sum": torch.sum,
    "norm": torch.linalg.vector_norm,
    "min": lambda a, b: torch.minimum(*(torch.as_tensor(each, dtype=torch.float64) for each in (a, b))),
    "batch_mean": lambda a: a.mean(0),
    "batch_var": lambda a: a.var(0, correction=0),
    "row_mean": lambda a: a.mean(1, keepdim=True),
    "row_var": lambda a: a.var(1, correction=0, keepdim=True),
    "where": torch.where,
    "orthogonal": orthogonal,
}


@pytest.mark.parametrize("name", [name for name in CHOICES["optimizer"] if name != "lbfgs"])
def test_the_formula_of_an_optimizer_gives_its_steps(name):
    optimizers.spare_compiler()
    choice = CHOICES["optimizer"][name]
    given = knobs(choice) | {"weight_decay": 0.1} | ({"momentum": 0.8} if name == "rmsprop" else {})
    (target,) = re.findall(r"^_target_: \S*\.(\w+)$", choice.path.read_text(encoding="utf-8"), re.MULTILINE)
    w = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    parameter = nn.Parameter(w.clone())
    optimizer = getattr(optimizers if name == "muon" else torch.optim, target)([parameter], **given)
    beta1, beta2 = given.get("betas", (0, 0))
    names = MATH | given | {"w": w, "p": 1.0, "beta1": beta1, "beta2": beta2, "rows": 3, "columns": 4}
    for t in range(1, 10):
        parameter.grad = torch.randn(3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(t)) * 3**-t
        names = follow(lines(choice), names | {"g": parameter.grad.clone(), "t": t})
        optimizer.step()
        assert torch.allclose(parameter, names["w"], rtol=1e-9, atol=1e-4 if name == "muon" else 1e-12), t


@pytest.mark.parametrize(
    ("name", "task", "given"),
    [
        ("mse", "regression", {}),
        ("mae", "regression", {}),
        ("huber", "regression", {"delta": 0.7}),
        ("bce", "multilabel", {"pos_weight": 2.5, "label_smoothing": 0.1}),
        ("cross_entropy", "multiclass", {"label_smoothing": 0.1}),
        ("one_hot_mse", "multiclass", {}),
        ("perceptron", "signs", {}),
        ("hinge", "signs", {"margin": 1.5}),
    ],
)
def test_the_formula_of_a_loss_gives_its_value_and_gradient(name, task, given):
    choice = CHOICES["loss"][name]
    (target,) = re.findall(r"^_target_: \S*\.(\w+)$", choice.path.read_text(encoding="utf-8"), re.MULTILINE)
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(5, 3, dtype=torch.float64, generator=draw, requires_grad=True)
    classes = torch.tensor([0, 2, 1, 1, 0])
    one_hot = F.one_hot(classes, 3).double()
    y = {
        "regression": torch.randn(5, 3, dtype=torch.float64, generator=draw),
        "multilabel": (torch.rand(5, 3, generator=draw) < 0.5).double(),
        "multiclass": one_hot,
        "signs": 2 * one_hot - 1,
    }[task]
    loss = getattr(losses, target)(**given)(z, classes if task in ("multiclass", "signs") else y)
    loss.backward()
    names = follow(lines(choice), MATH | knobs(choice) | given | {"z": z.detach(), "y": y, "B": 5, "K": 3})
    assert torch.allclose(loss, names["L"], rtol=1e-6, atol=0)
    assert torch.allclose(z.grad, names["slope"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", sorted(CHOICES["scheduler"].keys() - {"plateau", "torch"}))
def test_the_formula_of_a_schedule_gives_its_rates(name):
    choice = CHOICES["scheduler"][name]
    given = knobs(choice)
    given |= {"milestones": [1, 2.5]} if name == "multistep" else {"step_size": 1} if name == "step" else {}
    total, epoch, lr = 90, 20, 0.3
    sizes = {"total_steps": total, "steps_per_epoch": epoch, "base_lr": lr, "max_lr": lr}
    make = getattr(schedules, name)
    schedule = make(**given, **{k: v for k, v in sizes.items() if k in make.__code__.co_varnames})
    equations = lines(choice)
    names = (
        {k: vars(math)[k] for k in ("cos", "pi", "floor")} | given | {"T": total, "E": epoch, "lr": lr, "max_lr": lr}
    )
    names |= {"round": round, "count": np.count_nonzero, "half": lambda x: (1 - math.cos(math.pi * x)) / 2}
    names |= {"milestones": np.array(given["milestones"])} if "milestones" in given else {}
    assert [right for left, right, _ in equations if left == "half(x)"] in ([], ["(1 - cos(pi * x)) / 2"])
    for t in range(total):
        found = follow([e for e in equations if e[0] != "half(x)"], names | {"t": t})
        assert found["lr_t"] == pytest.approx(schedule(t).lr, rel=1e-9), t


@pytest.mark.parametrize("name", [name for name in models.Activation.__args__ if name != "identity"])
def test_the_formula_of_an_activation_gives_its_value_and_slope(name):
    given, slope = CHOICES["model"]["mlp"].entry[f"activation={name}"][0].replace("^", "**").split("; g'(a) = ")
    a = torch.linspace(-3, 3, 60, dtype=torch.float64, requires_grad=True)
    out = models.MLP(1, 60, widths=[60], activation=name).layers.activation1(a)
    normal = torch.distributions.Normal(torch.zeros((), dtype=torch.float64), 1)
    names = MATH | {"a": a.detach(), "Phi": normal.cdf, "phi": lambda x: normal.log_prob(x).exp()}
    value = eval(given.removeprefix("g(a) = "), {"__builtins__": {}}, names)
    out.sum().backward()
    assert torch.allclose(out, value)
    names |= {"g": lambda _: value}
    derivative = torch.as_tensor(eval(slope, {"__builtins__": {}}, names), dtype=torch.float64)
    assert torch.allclose(a.grad, derivative)


@pytest.mark.parametrize(("name", "module"), [("batch", nn.BatchNorm1d(4)), ("layer", nn.LayerNorm(4))])
def test_the_formula_of_a_norm_gives_its_outputs(name, module):
    a = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    formula = CHOICES["model"]["mlp"].entry[f"norm={name}"][0].removeprefix("a <- ")
    value = eval(formula, {"__builtins__": {}}, MATH | {"a": a, "gamma": 1, "beta": 0})
    assert torch.allclose(module.double()(a), value)


@pytest.mark.parametrize("name", [name for name in models.Init.__args__ if name != "zeros"])
def test_the_formula_of_an_init_gives_its_size(name):
    drawn, size, *_ = CHOICES["model"]["mlp"].entry[f"init={name}"][0].split("; ")
    size = float(eval(size.partition(" = ")[2], {"__builtins__": {}}, MATH | {"fan_in": 300, "fan_out": 200}))
    weight = models.MLP(300, 2, widths=[200], init=name).layers.linear1.weight
    if drawn.endswith("N(0, s^2)"):
        assert weight.std().item() == pytest.approx(size, rel=0.03)
    else:
        assert drawn.endswith("~ U(-r, r)")
        assert weight.abs().max().item() == pytest.approx(size, rel=0.01)


@pytest.mark.parametrize("name", ["l1", "l2", "clip_norm", "clip_value", "max_norm", "ema"])
def test_the_formula_of_a_regulariser_gives_what_it_does(name):
    choice = CHOICES["regularisation"][name]
    net = nn.Linear(4, 3, bias=False, dtype=torch.float64)
    w, knob = net.weight.detach().clone(), 0.2
    net.weight.grad = g = torch.randn(3, 4, dtype=torch.float64)
    averaged = regularisers.EMA(net, knob)
    names = MATH | {name: knob, "w": w, "g": g.clone(), "n": 0, "average": w, "L": 0, "slope": 0}
    if name == "max_norm":
        rows = [follow(lines(choice), names | {"w_j": row})["w_j"] for row in w]
        regularisers.MaxNorm(net, knob)()
        assert torch.allclose(net.weight, torch.stack(rows), rtol=1e-5)
    elif name in ("clip_norm", "clip_value"):
        getattr(nn.utils, f"clip_grad_{name.removeprefix('clip_')}_")(net.parameters(), knob)
        assert torch.allclose(net.weight.grad, follow(lines(choice), names)["g"])
    elif name == "ema":
        with torch.no_grad():
            net.weight += 1
        averaged.update()
        assert torch.allclose(averaged.model.weight, follow(lines(choice), names | {"w": w + 1})["average"])
    else:
        found = follow(lines(choice), names)
        penalty = regularisers.Penalty(net, **{name: knob})
        assert torch.allclose(penalty(), found["L"])
        assert torch.allclose(penalty.gradient(net.weight), found["slope"])


def test_weight_decay_spares_biases_where_torchs_own_does_not():
    """What the lexicon says of optimizer and weight_decay, by one step of AdamW from the same weights."""
    mine, same, torchs = (nn.Linear(3, 2) for _ in range(3))
    for net in (same, torchs):
        net.load_state_dict(mine.state_dict())
    groups = optimizers.parameter_groups(mine, weight_decay=0.5), optimizers.parameter_groups(same, weight_decay=0.5)
    before = mine.bias.detach().clone()
    for net, parameters in zip((mine, same, torchs), (*groups, torchs.parameters()), strict=True):
        F.mse_loss(net(torch.ones(4, 3)), torch.zeros(4, 2)).backward()
        torch.optim.AdamW(parameters, lr=0.1, weight_decay=0.5).step()
    assert torch.equal(mine.bias, same.bias)
    assert torch.equal(mine.weight, torchs.weight)
    assert torch.allclose(torchs.bias, mine.bias - 0.1 * 0.5 * before)
