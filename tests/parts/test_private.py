"""What is called of torch that is not public: each one hidden in turn."""

import ast
from pathlib import Path

import pytest
import torch
from torch import nn

from dltrain.engine.steps import direct
from dltrain.engine.trainer import Trainer
from dltrain.parts import private, regularisers

SRC = Path(private.__file__).parents[1]
HIDDEN = [(place, name) for place, names in private._IN_PLACES for name in names]


@pytest.fixture(autouse=True)
def _fresh():
    private.missing.cache_clear()
    yield
    private.missing.cache_clear()


def trained(**knobs):
    """Weights after three steps."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))
    trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.AdamW(net.parameters(), fused=True), **knobs)
    x, y = torch.randn(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    for _ in range(3):
        trainer.step([(x, y, torch.arange(6))])
    return trainer, [p.detach().clone() for p in net.parameters()]


def check_plain(name):
    assert name in private.missing()
    trainer, weights = trained()
    assert trainer.step_kind == "plain"
    assert name in trainer.why_plain
    with pytest.raises(ValueError, match="has no"):
        trained(step="direct")
    return weights


def test_nothing_is_missing_here():
    assert private.missing() is None
    assert trained()[0].step_kind == "direct"


@pytest.mark.parametrize(("place", "name"), HIDDEN, ids=[name for _, name in HIDDEN])
def test_without_a_name_the_plain_step_serves(monkeypatch, place, name):
    right = trained(step="plain")[1]
    if name.startswith(("_foreach", "_compiled")):  # the others torch's own modules call
        monkeypatch.delattr(place, name)
    else:
        monkeypatch.setattr(private, "_IN_PLACES", ((place, (f"{name}_of_old",)),))
    assert all(map(torch.equal, check_plain(name), right))


@pytest.mark.parametrize("name", private._KERNELS)
@pytest.mark.parametrize("change", ["gone", "argument", "order", "results"])
def test_a_kernel_of_another_signature_is_not_called(monkeypatch, name, change):
    results, arguments = private._KERNELS[name]
    others = {
        "gone": (f"gone_{name}", results, arguments),
        "argument": (name, results, f"{arguments} another"),
        "order": (name, results, f"another {arguments}"),
        "results": (name, results + 1, arguments),
    }
    key, *facts = others[change]
    monkeypatch.setattr(private, "_KERNELS", {key: tuple(facts)})
    assert name in private.missing()
    assert "has no" in direct.why_not(nn.Linear(1, 1), nn.MSELoss(), None, precision="fp32", device=torch.device("cpu"))


def test_an_average_needs_no_private_name(monkeypatch):
    def average():
        torch.manual_seed(0)
        net = nn.Linear(3, 2)
        ema = regularisers.EMA(net, decay=0.9)
        with torch.no_grad():
            net.weight.add_(1)
        ema.update()
        return [average for average, _ in ema._floats]

    right = average()
    monkeypatch.delattr(torch, "_foreach_lerp_")
    assert all(map(torch.equal, average(), right))


def test_what_is_private_to_torch_is_looked_for():
    """A name with an underscore that is new in the source must be in one of the tables, or be guarded where it is."""
    known = {name for _, names in private._IN_PLACES for name in names} | {"_foreach_lerp_", "_C", "_autograd"}
    known |= {name.partition(".")[0] for name in private._KERNELS} | {
        "_device",
        "_higher_order_ops",
        "_pytorch_graph",
        "_linear_pointwise",
        "_schema",
    }  # guarded
    known |= {"_pytree"}  # of which torch.func itself is made; the compiled step and L-BFGS alone need it
    found = set()
    for path in SRC.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute):
                home = ast.unparse(node.value).partition(".")[0]
                words = [node.attr] if home in ("torch", "F", "torch_module", "torch_optimizer") else []
            elif isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "torch":
                words = [*node.module.split("."), *(name.name for name in node.names)]
            else:
                continue
            found |= {word for word in words if word.startswith("_") and not word.startswith("__")}
    assert found <= known, found - known


@pytest.mark.parametrize("name", private._OF_MODULES + private._OF_OPTIMIZERS + private._OF_WEIGHTS)
def test_what_objects_must_have_is_looked_for(monkeypatch, name):
    table = next(t for t in ("_OF_MODULES", "_OF_OPTIMIZERS", "_OF_WEIGHTS") if name in getattr(private, t))
    monkeypatch.setattr(private, table, (f"{name}_of_old",))
    check_plain(f"{name}_of_old")
