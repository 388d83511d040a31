"""Products of large layers by oneDNN: who gets them, and that they are products."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from dltrain.commands import cli
from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.engine import products
from dltrain.engine.steps import direct
from dltrain.engine.steps.direct_layers import OneDnnLinear
from dltrain.engine.trainer import Trainer
from dltrain.errors import system
from dltrain.parts import private

needs = pytest.mark.skipif(products.why_not() is not None, reason="oneDNN's products need AVX-512")


@pytest.fixture(params=["onednn", "mixed"])
def onednn(monkeypatch, request):
    monkeypatch.setattr(products, "LARGE", 100)
    monkeypatch.setattr(products, "NARROW", 0)
    monkeypatch.setattr(products, "MULTIPLICATIONS", {"onednn": 0, "mixed": 0})
    monkeypatch.setattr(products, "_used", request.param)
    return request.param


@pytest.mark.parametrize(
    ("processor", "kernels"),
    [(("AuthenticAMD", 26), "onednn"), (("AuthenticAMD", 25), "mixed"), (("GenuineIntel", 6), "mkl"), (("", 0), "mkl")],
    ids=["Zen 5", "Zen 4", "Intel", "unknown"],
)
def test_the_processor_decides(monkeypatch, processor, kernels):
    monkeypatch.setattr(products, "why_not", lambda: None)
    monkeypatch.setattr(system, "processor", lambda: processor)
    chosen, why = products.chosen()
    assert (chosen, bool(why)) == (kernels, True)
    monkeypatch.setattr(products, "_used", "mkl")
    products.use("auto")
    assert products._used == kernels


def test_without_the_operator_or_avx512_they_are_torchs_own(monkeypatch):
    monkeypatch.setattr(products, "_used", "mkl")
    monkeypatch.setattr(private, "has_linear", lambda: False)
    products.use("onednn")
    assert (products._used, products.chosen()[0]) == ("mkl", "mkl")
    monkeypatch.undo()
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    assert "AVX-512" in products.why_not()


def test_this_processor_has_a_maker_and_a_family(monkeypatch):
    system.processor.cache_clear()
    maker, family = system.processor()
    assert maker in ("AuthenticAMD", "GenuineIntel", "")
    assert bool(maker) == bool(family)
    system.processor.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(system.Path, "read_text", _missing)
    monkeypatch.setattr("platform.processor", lambda: "AMD64 Family 26 Model 68 Stepping 0, AuthenticAMD")
    assert system.processor() == ("AuthenticAMD", 26)
    system.processor.cache_clear()


def _missing(*_, **__):
    raise FileNotFoundError


@needs
def test_a_linear_by_it_has_the_values_and_the_gradients_of_torchs(onednn):
    net = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 10, bias=False))
    x = torch.randn(16, 30, requires_grad=True)
    found = []
    for context in (direct.applied(net, onednn), nullcontext()):
        with context:
            out = net(x)
        first = torch.autograd.grad(out.square().sum(), [x, *net.parameters()], create_graph=True)
        second = torch.autograd.grad(sum(g.square().sum() for g in first), [x, *net.parameters()])
        found.append((out, *first, *second))
    assert "_Linear" in type(found[0][0].grad_fn).__name__
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-4)


@needs
def test_what_is_small_or_of_another_kind_stays_torchs(onednn):
    small, double = nn.Linear(5, 5), nn.Linear(30, 20).double()
    assert isinstance(direct.applied(nn.Sequential(small, double), onednn), nullcontext)
    with direct.applied(large := nn.Linear(30, 20), onednn):
        for x, layer in ((torch.randn(2, 30).double(), double), (torch.randn(2, 5), small), (torch.randn(30), large)):
            assert torch.equal(layer(x), x @ layer.weight.t() + layer.bias) or layer is large
            assert "_Linear" not in type(layer(x).grad_fn).__name__
        with torch.autocast("cpu", torch.bfloat16):
            assert large(torch.randn(2, 30)).dtype == torch.bfloat16
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            large(torch.randn(2, 29))
        assert torch.allclose(F.linear(torch.ones(2, 30), large.weight), large.weight.sum(1).expand(2, -1), atol=1e-5)


@needs
def test_the_direct_step_has_them_in_its_large_layers(onednn):
    net = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3))
    trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1))
    kinds = [type(layer) is OneDnnLinear for layer in trainer._choice.step.net.layers]
    assert kinds == [True, False, False]


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(30, 20)

    def forward(self, x):
        return F.linear(x, self.inner.weight, self.inner.bias[:1].expand(20))


@needs
@pytest.mark.parametrize(
    "net",
    [Own(), nn.TransformerEncoderLayer(30, 2), torch.nn.utils.parametrizations.weight_norm(nn.Linear(30, 20))],
    ids=["own", "transformer", "parametrized"],
)
def test_a_net_that_the_direct_step_does_not_know_keeps_torchs(onednn, net):
    assert isinstance(direct.applied(net, onednn), nullcontext)


@needs
def test_a_mode_of_the_users_sees_the_linear(onednn):
    class Halves(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            args = (args[0], args[1] / 2, *args[2:]) if func is F.linear else args
            return func(*args, **(kwargs or {}))

    net, x = nn.Linear(30, 20, bias=False), torch.randn(4, 30)
    with Halves(), direct.applied(net, onednn):
        assert torch.allclose(net(x), x @ net.weight.t() / 2, atol=1e-5)


@needs
def test_a_default_device_changes_no_bits(onednn):
    net = nn.Sequential(nn.Flatten(), nn.Linear(300, 200))
    x = torch.randn(64, 300)
    with direct.applied(net, onednn):
        wanted = net(x)
        with torch.device("cpu"):
            assert torch.equal(net(x), wanted)
            assert "_Linear" in type(net(x).grad_fn).__name__


@needs
def test_rows_that_are_none_or_do_not_fit_are_torchs_matter(onednn):
    net = nn.Linear(30, 20)
    with direct.applied(net, onednn):
        net(torch.empty(0, 30)).sum().backward()
        assert not net.weight.grad.any()
        with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
            net(torch.randn(2, 29))
    trainer = Trainer(net, nn.MSELoss(), torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        trainer.step([(torch.randn(2, 29), torch.randn(2, 20), torch.arange(2))])


@needs
def test_a_trainer_keeps_what_was_set_when_it_was_made(onednn):
    def trained(step):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(30, 20), nn.Tanh(), nn.Linear(20, 3))
        products.use("onednn")
        trainer = Trainer(net, nn.CrossEntropyLoss(), torch.optim.SGD(net.parameters(), lr=0.1), step=step)
        products.use("mkl")
        for _ in range(20):
            trainer.step([(X, Y, torch.arange(16))])
        return trainer.model.state_dict()

    torch.testing.assert_close(trained("direct"), trained("plain"), rtol=0, atol=0)


X, Y = torch.randn(16, 30), torch.randint(0, 3, (16,))


@needs
@pytest.mark.parametrize("step", ["direct", "plain"])
def test_a_run_keeps_the_products_that_it_began_with(dltrain, step, monkeypatch):
    """Also on another processor, whatever it would choose itself; and so do `eval` and `resume=auto`."""
    words = ["data=digits", "model.widths=[400]", "data.batch_size=256", "trainer.threads=1", f"trainer.step={step}"]
    words += ["name=a"]
    monkeypatch.setattr(products, "_used", "mkl")
    monkeypatch.setattr(cli, "_process_left", lambda _: nullcontext())  # to see what was used
    monkeypatch.setattr(system, "processor", lambda: ("AuthenticAMD", 26))
    code, out, err = dltrain(*words, "trainer.epochs=1")
    assert (code, "products   oneDNN's where rows x weights" in out + err) == (0, True)
    monkeypatch.setattr(system, "processor", lambda: ("GenuineIntel", 6))
    for command in (
        *(["resume", "a/last", "trainer.epochs=2"], ["eval", "a/last"]),
        *([*words, "trainer.epochs=3", "resume=auto"], ["eval", "a/last"]),
    ):
        more = [] if command[0] == "eval" else ["trainer.schedule_steps=5"]
        code, out, err = dltrain(*command, *more)
        assert (code, "bits may differ" in err, products.used()) == (0, False, "onednn"), err
        assert ("products   oneDNN's" in out) == (command[0] == "resume")
    code, _, err = dltrain("resume", "a/last", "trainer.epochs=4", "trainer.matmul=mkl", "trainer.schedule_steps=5")
    assert (code, "matmul onednn then, mkl now" in err) == (0, True), err


def test_a_run_of_before_goes_on_with_torchs(dltrain, monkeypatch):
    code, _, err = dltrain("data=digits", "model.widths=[400]", "trainer.epochs=1", "trainer.matmul=mkl", "name=a")
    assert code == 0, err
    (file,) = Path("runs").glob("a/*/environment.json")
    file.write_text(file.read_text().replace("matmul", "matmul-of-old"))
    monkeypatch.setattr(system, "processor", lambda: ("AuthenticAMD", 26))
    monkeypatch.setattr(cli, "_process_left", lambda _: nullcontext())
    again = ("trainer.epochs=2", "trainer.schedule_steps=39", "trainer.matmul=auto")
    code, _, err = dltrain("resume", "a/last", *again)
    assert (code, "bits may differ" in err, products.used()) == (0, False, "mkl"), err


def test_what_this_machine_has_not_is_told_in_one_line(dltrain, monkeypatch):
    monkeypatch.setattr(products, "why_not", lambda: "the processor has no AVX-512, or may not use it")
    code, _, err = dltrain("data=iris", "trainer.matmul=onednn")
    assert code == 2
    assert "trainer.matmul: the processor has no AVX-512, or may not use it; use auto or mkl" in err


@pytest.mark.parametrize(
    ("data", "width", "large"), [("digits", 400, True), ("digits", 100, False), ("iris", 8000, False)]
)
def test_a_plan_knows_whether_it_has_large_products(data, width, large):
    """Of iris one layer has 8000 x 4 weights, which is too narrow to win."""
    plan = make_plan(compose.compose([f"data={data}", f"model.widths=[{width}]", "trainer.device=cpu"]))
    assert build.has_large_products(plan) == large
