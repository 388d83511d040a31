"""Models: structure, first weights, torchvision's classifiers, and what is refused."""

import inspect
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from dltrain.parts import models
from dltrain.parts.models import MLP, Linear, Perceptron, TwoLayers
from dltrain.parts.models import torchvision as classifier

CONFIGS = sorted((Path(__file__).parents[2] / "configs" / "model").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_yaml_lists_every_knob_with_its_default(path):
    first, *_ = path.read_text().splitlines()
    assert first.startswith("# ")
    assert first.endswith(".")
    node = OmegaConf.load(path)
    if path.stem == "module":
        assert OmegaConf.is_missing(node, "_target_")
        return
    knobs = inspect.signature(getattr(models, node.pop("_target_").rpartition(".")[2])).parameters
    sizes = {"in_features", "out_features", "in_shape", "codes"}
    assert set(node) == set(knobs) - sizes
    for name, value in node.items():
        if knobs[name].default is not inspect.Parameter.empty:
            assert value == knobs[name].default


# -- perceptron and linear model -------------------------------------------------------------------------------------


def test_perceptron_starts_at_zero_and_takes_images():
    model = Perceptron(12, 2)
    assert all(p.count_nonzero() == 0 for p in model.parameters())
    assert model(torch.randn(5, 3, 2, 2)).shape == (5, 2)


def test_linear_is_one_affine_map():
    model = Linear(4, 3).double()
    x = torch.randn(6, 4, dtype=torch.float64)
    assert torch.equal(model(x), nn.functional.linear(x, model.layers.linear.weight, model.layers.linear.bias))
    assert Linear(4, 3, init="zeros").layers.linear.weight.count_nonzero() == 0


# -- MLP -------------------------------------------------------------------------------------------------------------


def test_mlp_layers_stand_in_the_documented_order():
    model = MLP(4, 2, widths=[8, 6], activation="tanh", norm="batch", dropout=0.5, input_dropout=0.1)
    assert [name for name, _ in model.layers.named_children()] == (
        ["flatten", "input_dropout"]
        + ["linear1", "norm1", "activation1", "dropout1"]
        + ["linear2", "norm2", "activation2", "dropout2", "linear3"]
    )
    assert model.layers.input_dropout.p == 0.1
    assert (model.layers.linear2.in_features, model.layers.linear2.out_features) == (8, 6)


def test_mlp_leaves_out_what_does_nothing():
    names = [name for name, _ in MLP(4, 2, widths=[8], activation="identity").layers.named_children()]
    assert names == ["flatten", "linear1", "linear2"]


def test_mlp_without_hidden_layers_is_a_linear_model():
    assert [type(layer) for layer in MLP(4, 2, widths=[]).layers] == [nn.Flatten, nn.Linear]


def test_mlp_computes_what_its_layers_say():
    model = MLP(4, 2, widths=[8], norm="layer").double().eval()
    x, layers = torch.randn(5, 4, dtype=torch.float64), model.layers
    hidden = torch.relu(layers.norm1(layers.linear1(x)))
    assert torch.equal(model(x), layers.linear2(hidden))


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("relu", torch.relu),
        ("tanh", torch.tanh),
        ("sigmoid", torch.sigmoid),
        ("gelu", nn.functional.gelu),
        ("silu", nn.functional.silu),
        ("leaky_relu", nn.functional.leaky_relu),
        ("identity", lambda x: x),
        ("sign", torch.sign),
    ],
)
def test_mlp_activations(name, function):
    model, x = MLP(4, 2, widths=[3], activation=name), torch.randn(7, 4)
    assert torch.equal(model(x), model.layers.linear2(function(model.layers.linear1(x))))


def test_sign_passes_no_gradient_down():
    model = MLP(4, 2, widths=[3], activation="sign")
    model(torch.randn(7, 4)).square().sum().backward()
    assert model.layers.linear1.weight.grad.count_nonzero() == 0
    assert model.layers.linear2.weight.grad.count_nonzero() > 0


def test_initialisers_have_the_documented_spread():
    def weights(init):
        return MLP(400, 10, widths=[600], init=init).layers.linear1.weight

    assert weights("kaiming").std().item() == pytest.approx((2 / 400) ** 0.5, rel=0.02)
    assert weights("xavier").abs().max().item() == pytest.approx((6 / 1000) ** 0.5, rel=0.01)
    assert weights("normal").std().item() == pytest.approx(0.01, rel=0.02)
    assert weights("torch").abs().max().item() == pytest.approx(400**-0.5, rel=0.01)
    assert weights("zeros").count_nonzero() == 0


def test_initialisers_zero_the_biases_and_bias_can_be_off():
    assert MLP(4, 2, widths=[3], init="xavier").layers.linear1.bias.count_nonzero() == 0
    assert all(layer.bias is None for layer in MLP(4, 2, widths=[3], init="xavier", bias=False).layers[1::2])


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"widths": [8, 0]}, r"model.widths=\[8, 0\] must be positive whole numbers"),
        ({"widths": [1.5]}, r"model.widths=\[1.5\] must be positive whole numbers"),
        ({"activation": "rleu"}, "model.activation=rleu is unknown; did you mean relu"),
        ({"norm": "group"}, "model.norm=group is unknown; choose one of none, batch, layer"),
        ({"init": "he"}, "model.init=he is unknown; choose one of torch, kaiming"),
        ({"dropout": 1.0}, "model.dropout=1.0 must be at least 0 and below 1"),
        ({"input_dropout": -0.1}, "model.input_dropout=-0.1 must be at least 0"),
        ({"dropout": float("nan")}, "model.dropout=nan"),
    ],
)
def test_mlp_refuses(knobs, message):
    with pytest.raises(ValueError, match=message):
        MLP(4, 2, **{"widths": [8], **knobs})


# -- torchvision -----------------------------------------------------------------------------------------------------

FAMILIES = [  # one of each
    "alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet", "inception_v3", "maxvit_t",
    "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small", "regnet_x_400mf", "resnet18", "shufflenet_v2_x0_5",
    "squeezenet1_1", "swin_t", "swin_v2_t", "vgg11", "vit_b_16",
]  # fmt: skip


BY_THEMSELVES = ("alexnet", "googlenet", "inception_v3", "resnet18", "vit_b_16")  # two are told more without weights


@pytest.mark.parametrize(  # with weights the head and the stem are replaced, each family's in its own way
    ("name", "weights"), [*((name, "DEFAULT") for name in FAMILIES), *((name, None) for name in BY_THEMSELVES)]
)
def test_every_family_fits_grey_images_and_the_classes(name, weights):
    with torch.device("meta"):  # shapes alone: nothing is downloaded
        model = classifier(name, (1, 28, 28), 7, image_size=224, weights=weights).train()
        assert model(torch.empty(2, 1, 28, 28)).shape == (2, 7)


def test_a_small_classifier_learns_from_its_own_image_size():
    model = classifier("squeezenet1_1", (1, 32, 32), 3)
    model(torch.randn(2, 1, 32, 32)).square().sum().backward()
    assert model.features[0].weight.shape[1] == 1
    assert all(p.grad is not None for p in model.parameters())


def test_image_size_resizes_bilinearly():
    x = torch.rand(2, 3, 32, 32)
    resized = models.Resize(16)(x)
    assert resized.shape == (2, 3, 16, 16)
    assert resized.mean().item() == pytest.approx(x.mean().item(), abs=1e-2)
    constant = torch.full((1, 1, 8, 8), 3.0)
    torch.testing.assert_close(models.Resize(20)(constant), torch.full((1, 1, 20, 20), 3.0))


@pytest.mark.parametrize(
    ("arguments", "knobs", "message"),
    [
        (("resnet81", (3, 32, 32), 5), {}, "model.name=resnet81 is unknown; did you mean resnet18"),
        (("resnet18", (64,), 5), {}, r"needs images \[channels, height, width\], but this data has shape \[64\]"),
        (("alexnet", (3, 32, 32), 5), {}, "alexnet cannot take images of 32x32; model.image_size=224 resizes them"),
        (("vit_b_16", (3, 28, 28), 5), {}, "vit_b_16 cannot take images of 28x28"),
        (("vit_h_14", (3, 28, 28), 5), {"weights": "DEFAULT"}, "model.image_size=518 resizes them"),
        (("resnet18", (3, 32, 32), 5), {"weights": "IMAGENET1K_V9"}, "did you mean IMAGENET1K_V1"),
        (("resnet18", (3, 32, 32), 5), {"image_size": 0}, "model.image_size=0 must be at least 1 pixel"),
    ],
)
def test_torchvision_refuses(arguments, knobs, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        classifier(*arguments, **knobs)


def test_the_first_class_of_a_course_is_the_mlp_of_its_width():
    torch.manual_seed(0)
    own = TwoLayers(10, 1, width=5)
    torch.manual_seed(0)
    named = MLP(10, 1, widths=[5], activation="tanh")
    x = torch.linspace(-1, 1, 40).view(4, 10)
    assert torch.equal(own(x), named(x))
