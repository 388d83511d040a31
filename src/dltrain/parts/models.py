"""The models of a first course, any torchvision classifier, and a summary of any `nn.Module`.

Every model takes a batch [B, ...] and returns one row of outputs for each sample, [B, out_features].
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from math import ceil
from types import ModuleType
from typing import TYPE_CHECKING, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.errors import DataError, nearest
from dltrain.parts import pretrained
from dltrain.parts.codes import Embeddings, Expand
from dltrain.parts.modules import evaluating

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

Activation = Literal["relu", "tanh", "sigmoid", "gelu", "silu", "leaky_relu", "identity", "sign"]
Norm = Literal["none", "batch", "layer"]
Init = Literal["torch", "kaiming", "xavier", "normal", "zeros"]


class Sign(nn.Module):
    """The step function of the first perceptrons, -1, 0 or +1. Its gradient is zero: nothing below it learns."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sign(x)


_ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
    "sign": Sign,
}
_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}
_INITS = {
    "kaiming": partial(nn.init.kaiming_normal_, nonlinearity="relu"),
    "xavier": nn.init.xavier_uniform_,
    "normal": partial(nn.init.normal_, std=0.01),
    "zeros": nn.init.zeros_,
}


class Perceptron(nn.Module):
    """One linear unit for each output, all weights zero at first; the decision is the output's sign."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        linear = _linear(in_features, out_features, bias=True, init="zeros")
        self.layers = _sequence(flatten=nn.Flatten(), linear=linear)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Linear(nn.Module):
    """Linear or logistic regression, as the loss has it. `init`: see `MLP`."""

    def __init__(self, in_features: int, out_features: int, *, init: Init = "torch") -> None:
        super().__init__()
        _check_name("model.init", init, get_args(Init))
        linear = _linear(in_features, out_features, bias=True, init=init)
        self.layers = _sequence(flatten=nn.Flatten(), linear=linear)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class TwoLayers(nn.Module):
    """Linear, tanh, linear, written as a course writes its first class: to be copied, and made into a net of one's own.

    With `width` units it is `MLP` with these `widths` and tanh, and has its first weights.
    """

    def __init__(self, in_features: int, out_features: int, width: int = 5) -> None:
        super().__init__()
        self.first = nn.Linear(in_features, width)
        self.act = nn.Tanh()
        self.second = nn.Linear(width, out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.act(self.first(x)))


class MLP(nn.Module):
    """Multi-layer perceptron: for each width Linear, norm, activation and dropout, then a last Linear.

    `layers` is a `Sequential` of torch modules named by kind and number: linear1, norm1, activation1, dropout1,
    linear2 ... What would do nothing (norm none, dropout 0, activation identity) is left out.

    `init` draws the weights and sets the biases to zero: kaiming N(0, 2 / fan_in) (He et al. 2015), xavier
    U(-a, a) with a^2 = 6 / (fan_in + fan_out) (Glorot & Bengio 2010), normal N(0, 0.01^2), or zeros; "torch"
    leaves torch's own, U(-b, b) with b^2 = 1 / fan_in for weights and biases. `weights` gives those of any layer
    instead, as lists of numbers: {"linear1": {"weight": [[0.1, 0.2]], "bias": [0.0]}}.

    `output` is an activation after the last Linear. The losses of `dltrain.losses` have their own where they need
    one, so that it is for a squared error on outputs that are bounded.

    `codes`: pairs [position, count] of the inputs that are codes of categories, see `dltrain.codes`; for these
    `layers` begins with `Embeddings`, vectors of `embedding` numbers each, or with zeros and ones where that is 0.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        widths: list[int],
        activation: Activation = "relu",
        norm: Norm = "none",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        init: Init = "torch",
        bias: bool = True,
        output: Activation = "identity",
        weights: dict[str, object] | None = None,
        embedding: int = 8,
        codes: list[list[int]] | None = None,
    ) -> None:
        super().__init__()
        _check_widths(widths)
        _check_name("model.activation", activation, get_args(Activation))
        _check_name("model.output", output, get_args(Activation))
        _check_name("model.norm", norm, get_args(Norm))
        _check_name("model.init", init, get_args(Init))
        _check_dropout("dropout", dropout)
        _check_dropout("input_dropout", input_dropout)

        layers: dict[str, nn.Module] = {}
        if codes:
            front = Embeddings(in_features, codes, size=embedding) if embedding != 0 else Expand(in_features, codes)
            layers["embedding"], in_features = front, front.width
        layers["flatten"] = nn.Flatten()
        if input_dropout:
            layers["input_dropout"] = nn.Dropout(input_dropout)
        for i, (fan_in, width) in enumerate(zip([in_features, *widths], widths, strict=False), start=1):
            layers[f"linear{i}"] = _linear(fan_in, width, bias=bias, init=init)
            if norm != "none":
                layers[f"norm{i}"] = _NORMS[norm](width)
            if activation != "identity":
                layers[f"activation{i}"] = _ACTIVATIONS[activation]()
            if dropout:
                layers[f"dropout{i}"] = nn.Dropout(dropout)
        fan_in, last = widths[-1] if widths else in_features, len(widths) + 1
        layers[f"linear{last}"] = _linear(fan_in, out_features, bias=bias, init=init)
        if output != "identity":
            layers[f"activation{last}"] = _ACTIVATIONS[output]()
        self.layers = _sequence(**layers)
        for name, given in (weights or {}).items():
            _set_weights(layers, name, given)

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Resize(nn.Module):
    """Bilinear, antialiased resize of images [B, C, H, W] to `size` x `size` pixels."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, size=(self.size, self.size), mode="bilinear", antialias=True)


def torchvision(
    name: str,
    in_shape: tuple[int, ...],
    out_features: int,
    *,
    weights: str | None = None,
    image_size: int | None = None,
) -> nn.Module:
    """Any torchvision classifier by name, fitted to the data's channels and classes.

    `weights` names a pretrained set ("DEFAULT" is the best one; it is downloaded once): the head is replaced by a
    new one, and the first convolution is summed to one channel or repeated over several. Under
    `torch.device("meta")` nothing is read. `image_size` resizes every batch to that many pixels a side.
    Raises ValueError for a name, weights or image size that cannot work; DataError for a failed download.
    """
    from torchvision import models as zoo  # 1.5 s to import

    if len(in_shape) != 3:
        raise ValueError(
            f"model=torchvision needs images [channels, height, width], but this data has shape {list(in_shape)};"
            " use model=mlp"
        )
    if image_size is not None and image_size < 1:
        raise ValueError(f"model.image_size={image_size} must be at least 1 pixel, or null")
    _check_name("model.name", name, zoo.list_models(module=zoo))
    chosen = None if weights is None else _find_weights(zoo.get_model_weights(name), weights)
    channels, *size = in_shape
    height, width = (image_size, image_size) if image_size else size

    device = torch.get_default_device()
    with (
        _explain_size(name, height, width, chosen),
        torch.device("cpu" if name.startswith("regnet") else device),  # regnets read their widths off a tensor
    ):
        if chosen is None:
            network = zoo.get_model(name, num_classes=out_features, **_options(name, height, width))
        else:
            network = _as_pretrained(zoo, name, chosen)
            if device.type != "meta":  # where shapes alone are asked for
                pretrained.fill(network, chosen.url, chosen.name)
            _replace_head(network, out_features)
        if channels != 3:
            _replace_stem(network, channels, keep_weights=chosen is not None)
        _try(network.to(device), (channels, height, width))
    if image_size is None:
        return network
    return _sequence(resize=Resize(image_size), network=network)


def _options(name: str, height: int, width: int) -> dict[str, object]:
    """What a network built without weights is told beside its number of classes."""
    if name in ("googlenet", "inception_v3"):
        return {"aux_logits": False, "init_weights": True}  # the auxiliary heads would return a tuple
    if name.startswith("vit_"):
        return {"image_size": height}
    if name.startswith("maxvit_"):
        return {"input_size": (height, width)}
    return {}


def _find_weights(family: type[WeightsEnum], name: str) -> WeightsEnum:
    _check_name("model.weights", name, list(family.__members__))
    return family[name]


def _as_pretrained(zoo: ModuleType, name: str, chosen: WeightsEnum) -> nn.Module:
    """A network as torchvision builds it for these weights."""
    options = _options(name, *chosen.meta["min_size"])
    if name in ("googlenet", "inception_v3"):
        options |= {"transform_input": True, "init_weights": False}
    return zoo.get_model(name, num_classes=len(chosen.meta["categories"]), **options)


def _replace_head(network: nn.Module, out_features: int) -> None:
    """A new last layer (a 1x1 convolution in squeezenets) for `out_features` classes."""
    name, old = [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))][-1]
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, out_features, bias=old.bias is not None)
    else:
        new = _like(old, old.in_channels, out_features)
    network.set_submodule(name, new)


@torch.no_grad()
def _replace_stem(network: nn.Module, channels: int, *, keep_weights: bool) -> None:
    """A first convolution for `channels` channels; kept RGB weights give grey images their old response."""
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    new = _like(old, channels, old.out_channels)
    if keep_weights:
        repeated = old.weight.repeat(1, ceil(channels / 3), 1, 1)[:, :channels] * (3 / channels)
        new.weight.copy_(old.weight.sum(1, keepdim=True) if channels == 1 else repeated)
        if new.bias is not None and old.bias is not None:
            new.bias.copy_(old.bias)
        if hasattr(network, "transform_input"):
            vars(network)["transform_input"] = False  # it renormalises red, green and blue
    network.set_submodule(name, new)


def _like(old: nn.Conv2d, in_channels: int, out_channels: int) -> nn.Conv2d:
    """A new convolution between other numbers of channels."""
    sizes = {"kernel_size": old.kernel_size, "stride": old.stride, "padding": old.padding}
    # torch's hints leave open how many numbers each of them has.
    return nn.Conv2d(in_channels, out_channels, **sizes, bias=old.bias is not None)  # pyrefly: ignore[bad-argument-type]


def _try(network: nn.Module, shape: tuple[int, ...]) -> None:
    """Run one image through the network's shapes, on the meta device: no memory, no arithmetic."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    with torch.device("meta"), torch.no_grad(), evaluating(network):
        torch.func.functional_call(network, meta, torch.empty(1, *shape))


@contextmanager
def _explain_size(name: str, height: int, width: int, weights: WeightsEnum | None) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except (RuntimeError, AssertionError, ValueError) as error:
        size = 224 if weights is None else max(224, *weights.meta["min_size"])
        raise ValueError(
            f"{name} cannot take images of {height}x{width}; model.image_size={size} resizes them (a smaller size"
            f" may do, and trains faster). It says: {str(error).splitlines()[0]}"
        ) from error


def _sequence(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _linear(in_features: int, out_features: int, *, bias: bool, init: Init) -> nn.Linear:
    linear = nn.Linear(in_features, out_features, bias=bias)
    if init != "torch":
        _INITS[init](linear.weight)
        if bias:
            nn.init.zeros_(linear.bias)
    return linear


@torch.no_grad()
def _set_weights(layers: dict[str, nn.Module], name: str, given: object) -> None:
    """Gives a layer the weights that the user typed."""
    layer = layers.get(name)
    own = dict(layer.named_parameters()) if layer is not None else {}
    if not own:
        known = [n for n, module in layers.items() if list(module.parameters())]
        raise ValueError(f"model.weights={name} is no layer with weights; there are {', '.join(known)}")
    if not isinstance(given, dict) or not set(given) <= set(own):
        raise ValueError(f"model.weights={name} needs lists of numbers for {' and '.join(own)}, got {given}")
    for key, values in given.items():
        try:
            tensor = torch.tensor(values, dtype=torch.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"model.weights={name}.{key} must be lists of numbers, all as long, got {values}"
            ) from error
        if tensor.shape != own[key].shape:
            wanted, got = list(own[key].shape), list(tensor.shape)
            raise ValueError(f"model.weights={name}.{key} has the shape {got}, and this net needs {wanted}")
        own[key].copy_(tensor)


def _check_widths(widths: list[int]) -> None:
    if not all(isinstance(width, int) and width > 0 for width in widths):
        raise ValueError(f"model.widths={widths} must be positive whole numbers, one for each hidden layer")


def _check_dropout(knob: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"model.{knob}={value} must be at least 0 and below 1")


def _check_name(key: str, name: str, known: list[str] | tuple[str, ...]) -> None:
    if name in known:
        return
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"choose one of {', '.join(known)}"
    raise ValueError(f"{key}={name} is unknown; {hint}")
