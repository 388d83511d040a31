"""What a first course in deep learning derives by hand, checked in float64.

Rows of a batch are samples; a linear layer is z = x W^T + b, and delta = dL/dz.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dltrain.parts.losses import BCE, MAE, MSE, CrossEntropy, Hinge, Huber, OneHotMSE, Perceptron
from dltrain.parts.models import MLP
from dltrain.parts.models import Perceptron as PerceptronModel


@pytest.fixture(autouse=True)
def _float64():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def gradient(loss, logits, target):
    """dL/dlogits."""
    logits = logits.detach().requires_grad_()
    return torch.autograd.grad(loss(logits, target), logits)[0]


def assert_equal(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


# -- backpropagation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activation", "derivative"),  # of the activation, in terms of its input z
    [
        ("sigmoid", lambda z: z.sigmoid() * (1 - z.sigmoid())),
        ("tanh", lambda z: 1 - z.tanh() ** 2),
        ("relu", lambda z: (z > 0).double()),
        ("identity", torch.ones_like),
    ],
)
def test_two_layer_net_with_mse_has_the_hand_derived_gradients(activation, derivative):
    model = MLP(4, 2, widths=[5], activation=activation)
    first, second = model.layers.linear1, model.layers.linear2
    x, y = torch.randn(6, 4), torch.randn(6, 2)
    MSE()(model(x), y).backward()

    z1 = x @ first.weight.T + first.bias
    a1 = z1 if activation == "identity" else getattr(torch, activation)(z1)
    z2 = a1 @ second.weight.T + second.bias
    delta2 = 2 * (z2 - y) / y.numel()  # the mean is over samples and outputs
    delta1 = (delta2 @ second.weight) * derivative(z1)
    assert_equal(second.weight.grad, delta2.T @ a1)
    assert_equal(second.bias.grad, delta2.sum(0))
    assert_equal(first.weight.grad, delta1.T @ x)
    assert_equal(first.bias.grad, delta1.sum(0))


def test_softmax_with_cross_entropy_has_the_gradient_softmax_minus_one_hot():
    z, y = torch.randn(6, 4), torch.randint(4, (6,))
    assert_equal(gradient(CrossEntropy(), z, y), (z.softmax(1) - F.one_hot(y, 4)) / 6)


def test_bce_formula_and_gradient():
    z, y = torch.randn(6, 1), torch.randint(2, (6,))
    p, t = z[:, 0].sigmoid(), y.double()
    assert_equal(BCE()(z, y), -(t * p.log() + (1 - t) * (1 - p).log()).mean())
    assert_equal(gradient(BCE(), z, y)[:, 0], (p - t) / 6)


def test_multilabel_bce_is_the_mean_of_independent_binary_ones():
    z, y = torch.randn(6, 3), torch.randint(2, (6, 3))
    columns = [BCE()(z[:, [k]], y[:, k]) for k in range(3)]
    assert_equal(BCE(task="multilabel")(z, y.double()), torch.stack(columns).mean())


def test_one_hot_mse_gradient_vanishes_where_cross_entropy_corrects():
    z, y = torch.randn(6, 4), torch.randint(4, (6,))
    s, t = z.sigmoid(), F.one_hot(y, 4)
    assert_equal(gradient(OneHotMSE(), z, y), 2 * (s - t) * s * (1 - s) / z.numel())

    sure_and_wrong, y = torch.tensor([[-12.0, 12.0]]), torch.tensor([0])
    assert gradient(OneHotMSE(), sure_and_wrong, y).abs().max() < 1e-4
    assert gradient(CrossEntropy(), sure_and_wrong, y).abs().max() > 0.99


def test_perceptron_gradient_is_that_of_a_mistake_also_at_zero():
    f, y = torch.tensor([[2.0], [-1.0], [0.0], [0.0]]), torch.tensor([1, 1, 1, 0])
    assert_equal(gradient(Perceptron(), f, y), torch.tensor([[0.0], [-1.0], [-1.0], [1.0]]) / 4)


def test_hinge_gradient():
    f, y = torch.tensor([[2.0], [0.5], [-1.0], [-2.0]]), torch.tensor([1, 1, 0, 1])  # margins 2, 0.5, 1, -2
    assert_equal(gradient(Hinge(margin=1.5), f, y), torch.tensor([[0.0], [-1.0], [1.0], [-1.0]]) / 4)
    slack = torch.tensor([[0.0], [-1.0], [0.5], [-3.5]])
    assert_equal(gradient(Hinge(margin=1.5, squared=True), f, y), 2 * slack / 4)


@pytest.mark.parametrize(
    ("loss", "task"),
    [
        (MSE(), "regression"),
        (MAE(), "regression"),
        (Huber(delta=0.7), "regression"),
        (CrossEntropy(), "multiclass"),
        (CrossEntropy(label_smoothing=0.1, class_weights=[0.5, 1.0, 2.0]), "multiclass"),
        (CrossEntropy(label_smoothing=0.1), "soft"),
        (OneHotMSE(), "multiclass"),
        (OneHotMSE(), "soft"),
        (Perceptron(), "multiclass"),
        (Perceptron(), "binary"),
        (Hinge(), "multiclass"),
        (Hinge(margin=0.5, squared=True), "binary"),
        (BCE(pos_weight=2.0, label_smoothing=0.1), "binary"),
        (BCE(pos_weight=[1.0, 2.0, 3.0], task="multilabel"), "multilabel"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_gradcheck(loss, task):
    target = {
        "binary": torch.randint(2, (7,)),
        "multiclass": torch.randint(3, (7,)),
        "multilabel": torch.rand(7, 3).round(),
        "regression": torch.randn(7, 3),
        "soft": torch.randn(7, 3).softmax(1),
    }[task]
    logits = torch.randn(7, 1 if task == "binary" else 3, requires_grad=True)
    assert torch.autograd.gradcheck(loss.double(), (logits, target))


# -- what layers do --------------------------------------------------------------------------------------------------


def test_two_stacked_linear_layers_equal_one_linear_map():
    model = MLP(4, 3, widths=[7], activation="identity")
    first, second = model.layers.linear1, model.layers.linear2
    one = nn.Linear(4, 3)
    with torch.no_grad():
        one.weight.copy_(second.weight @ first.weight)
        one.bias.copy_(second.weight @ first.bias + second.bias)
    x = torch.randn(20, 4)
    assert_equal(model(x), one(x))


def test_dropout_keeps_the_mean_and_is_off_in_eval():
    dropout = MLP(4, 2, widths=[8], dropout=0.3).layers.dropout1
    x = torch.full((1000, 1000), 2.0)
    dropped = dropout.train()(x)
    assert set(dropped.unique().tolist()) == {0.0, 2.0 / 0.7}
    assert (dropped == 0).double().mean().item() == pytest.approx(0.3, abs=0.003)
    assert dropped.mean().item() == pytest.approx(2.0, abs=0.01)
    assert torch.equal(dropout.eval()(x), x)


def test_input_dropout_drops_features():
    model = MLP(50, 2, widths=[8], input_dropout=0.5)
    seen = model.layers[:2](torch.ones(1000, 50))
    assert (seen == 0).double().mean().item() == pytest.approx(0.5, abs=0.01)


def test_batch_norm_standardises_each_unit_over_the_batch_and_remembers_for_eval():
    norm, x = MLP(4, 2, widths=[3], norm="batch").layers.norm1, 5 + 2 * torch.randn(64, 3)
    z = norm(x)
    torch.testing.assert_close(z.mean(0), torch.zeros(3), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.var(0, correction=0), torch.ones(3), atol=1e-4, rtol=0)
    assert_equal(norm.running_mean, 0.1 * x.mean(0))
    assert_equal(norm.running_var, 0.9 + 0.1 * x.var(0))
    expected = (x - norm.running_mean) / (norm.running_var + norm.eps).sqrt()
    assert_equal(norm.eval()(x), expected)


def test_layer_norm_standardises_each_sample_alike_in_train_and_eval():
    norm, x = MLP(4, 2, widths=[50], norm="layer").layers.norm1, 5 + 2 * torch.randn(6, 50)
    z = norm(x)
    torch.testing.assert_close(z.mean(1), torch.zeros(6), atol=1e-12, rtol=0)
    torch.testing.assert_close(z.var(1, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert torch.equal(norm.eval()(x), z)
    assert_equal(norm(x[:1]), z[:1])


def test_gradients_vanish_through_sigmoids_and_not_through_relu_or_batch_norm():
    def decay(activation, norm="none", init="kaiming"):
        """log10 of the first layer's gradient norm over the last's, in a net of ten hidden layers."""
        torch.manual_seed(0)
        model = MLP(20, 3, widths=[64] * 10, activation=activation, norm=norm, init=init)
        CrossEntropy()(model(torch.randn(128, 20)), torch.randint(3, (128,))).backward()
        return math.log10(model.layers.linear1.weight.grad.norm() / model.layers.linear11.weight.grad.norm())

    assert decay("sigmoid", init="xavier") < -5
    assert decay("relu") > -1
    assert decay("sigmoid", norm="batch", init="xavier") > decay("sigmoid", init="xavier") + 4


# -- the perceptron --------------------------------------------------------------------------------------------------


def mistakes(x, y, epochs):
    """Rosenblatt's rule as SGD on the perceptron criterion, one sample at a time: mistakes in each epoch."""
    model, loss = PerceptronModel(x.shape[1], 1), Perceptron()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    sign, counts = 2 * y - 1, []
    for _ in range(epochs):
        wrong = 0
        for i in range(len(x)):
            f = model(x[i : i + 1])
            wrong += int(sign[i] * f <= 0)
            sgd.zero_grad()
            loss(f, y[i : i + 1]).backward()
            sgd.step()
        counts.append(wrong)
    return counts


def test_perceptron_theorem_on_iris():
    """At most (R / gamma)^2 mistakes (Novikoff 1962): here 221, with gamma of the separating plane found by an SVM."""
    from sklearn.datasets import load_iris

    features, labels = load_iris(return_X_y=True)
    counts = mistakes(torch.tensor(features), torch.tensor(labels == 0).long(), epochs=12)
    assert 0 < sum(counts) <= 221
    assert counts[-1] == 0


def test_perceptron_never_learns_xor():
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    assert all(count > 0 for count in mistakes(x, torch.tensor([0, 1, 1, 0]), epochs=50))
