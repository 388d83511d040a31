"""The layers of the direct step: each module it knows, its forward and its backward side by side.

`forward(x)` gives the output; `backward(delta, add)` takes dL/d output, leaves or adds the gradients of its
parameters, and gives dL/d input.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dltrain.engine import products
from dltrain.parts import codes, models, private

_aten = private.aten
_F, _Back = Callable[[Tensor], Tensor], Callable[[Tensor, Tensor], Tensor]


class Layer(Protocol):
    """One module, forward and backward. It may keep what the way back needs: the two are called in turns."""

    def forward(self, x: Tensor, /) -> Tensor: ...

    def backward(self, delta: Tensor, add: bool, /) -> Tensor: ...


class Linear:
    """z = a W^T + b."""

    lowest = False

    def __init__(self, module: nn.Linear) -> None:
        self.weight, self.bias = module.weight, module.bias
        self.transposed = module.weight.detach().t()  # a view: parameters do not move while this step is taken
        wide, high = self.transposed.shape
        self.narrow = wide == 1
        self.z = self.transposed.new_empty(0, high)  # kept, since a new one costs as much as a product
        self.below = self.transposed.new_empty(0, wide)
        self.a: Tensor | None = None

    def forward(self, a: Tensor) -> Tensor:
        self.a = a
        if self.z.shape[0] != a.shape[0]:
            self.z, self.below = (t.new_empty(a.shape[0], t.shape[1]) for t in (self.z, self.below))
        if self.bias is None:
            return torch.mm(a, self.transposed, out=self.z)
        return torch.addmm(self.bias, a, self.transposed, out=self.z)

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        a = self.a
        assert a is not None  # it goes forward first
        one = delta.shape[0] == 1
        outer = torch.mul if one else torch.mm  # of one sample each product stands alone
        _leave(self.weight, add, outer, delta.t(), a)
        self.a = None  # of the lowest layer it is the batch, and the next one takes its memory
        if self.bias is not None:
            _leave(self.bias, add, torch.sum, delta, 0)
        if self.lowest:
            return delta
        if one and self.narrow:  # a single number is a column, too, and then autograd swaps the factors
            return torch.mm(self.transposed, delta.t(), out=self.below)
        return torch.mm(delta, self.weight, out=self.below)


class OneDnnLinear(Linear):
    """The same with products of oneDNN's where there are rows enough. It takes no memory for what it makes."""

    def __init__(self, module: nn.Linear, kernels: products.Kernels) -> None:
        super().__init__(module)
        self.least, self.outer = products.least_rows(module.weight, kernels), kernels == "onednn"

    def forward(self, a: Tensor) -> Tensor:
        if len(a) < self.least:
            return super().forward(a)
        self.a = a
        return products.product(a, self.weight, self.bias)

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        if len(delta) < self.least:
            return super().backward(delta, add)
        a = self.a
        assert a is not None  # it goes forward first
        if self.outer:
            _put(self.weight, add, products.product(delta.t(), a.t()))
        else:
            _leave(self.weight, add, torch.mm, delta.t(), a)
        self.a = None
        if self.bias is not None:
            _leave(self.bias, add, torch.sum, delta, 0)
        return delta if self.lowest else products.product(delta, self.transposed)


class LowLinear:
    """The same with products in bf16, as autocast makes them: of copies of the weights, which stay fp32."""

    lowest = False

    def __init__(self, module: nn.Linear) -> None:
        self.weight, self.bias = module.weight, module.bias
        self.low, self.gradient = (torch.empty_like(self.weight, dtype=torch.bfloat16).detach() for _ in range(2))
        self.transposed = self.low.t()
        wide, high = self.transposed.shape
        self.z, self.below = self.low.new_empty(0, high), self.low.new_empty(0, wide)
        self.a: Tensor | None = None

    def forward(self, a: Tensor) -> Tensor:
        self.a = low = a.to(torch.bfloat16)
        self.given = a.dtype
        if self.z.shape[0] != a.shape[0]:
            self.z, self.below = (t.new_empty(a.shape[0], t.shape[1]) for t in (self.z, self.below))
        self.low.copy_(self.weight)  # which the update has moved
        if self.bias is None:
            return torch.mm(low, self.transposed, out=self.z)
        return torch.addmm(self.bias.to(torch.bfloat16), low, self.transposed, out=self.z)

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        a = self.a
        assert a is not None  # it goes forward first
        _put(self.weight, add, torch.mm(delta.t(), a, out=self.gradient))
        self.a = None
        if self.bias is not None:
            _put(self.bias, add, torch.sum(delta, 0))
        return delta if self.lowest else torch.mm(delta, self.low, out=self.below).to(self.given)


class Flatten:
    """One row for each sample."""

    def __init__(self, module: nn.Flatten) -> None:
        pass

    def forward(self, a: Tensor) -> Tensor:
        self.shape = a.shape
        return a if a.ndim == 2 else a.flatten(1)

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        return delta.view(self.shape)


class Embeddings:
    """Numbers, and of each code the row of its table: e = W[code]. Of a table's gradient the k-th row is the sum of
    delta over the samples with code k.
    """

    def __init__(self, module: codes.Embeddings) -> None:
        self.module, self.tables = module, module.tables
        self.sizes = [w.shape[1] for w in self.tables]

    def forward(self, x: Tensor) -> Tensor:
        self.codes = [x[:, at].long() for at in self.module.positions]
        found = map(torch.embedding, self.tables, self.codes)
        return torch.cat([*(x[:, begin:end] for begin, end in self.module.spans), *found], 1)

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        begin = delta.shape[1] - sum(self.sizes)
        for w, size, rows in zip(self.tables, self.sizes, self.codes, strict=True):
            part, begin = delta[:, begin : begin + size], begin + size
            _put(w, add, _aten.embedding_dense_backward.default(part, rows, len(w), -1, False))
        return delta


class Expand:
    """Zeros and ones in the place of codes, below all that learns."""

    def __init__(self, module: codes.Expand) -> None:
        self.forward = module.forward

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        return delta


class Activation:
    """a = f(z), and delta = dL/da f'(z). `by` is what the derivative is computed from: z, or f's own output a.

    `in_place`: the two again, over z and dL/da.
    """

    def __init__(self, f: _F, back: _Back, *, by: str, in_place: tuple[_F, _Back] | None = None) -> None:
        self.f, self.back, self.by_output, self.in_place = f, back, by == "a", in_place

    def work_in_place(self) -> None:
        """Where nobody else reads z and dL/da: memory that is in the cache already."""
        self.f, self.back = self.in_place or (self.f, self.back)

    def forward(self, z: Tensor) -> Tensor:
        a = self.f(z)
        self.kept = a if self.by_output else z
        return a

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        return self.back(delta, self.kept)


def _relu(module: nn.ReLU) -> Activation:
    back, over = _aten.threshold_backward.default, _aten.threshold_backward.grad_input
    in_place: tuple[_F, _Back] = torch.relu_, lambda delta, a: over(delta, a, 0, grad_input=delta)
    return Activation(torch.relu, lambda delta, a: back(delta, a, 0), by="a", in_place=in_place)


def _leaky_relu(module: nn.LeakyReLU) -> Activation:
    slope, back = module.negative_slope, _aten.leaky_relu_backward.default
    return Activation(lambda z: F.leaky_relu(z, slope), lambda delta, z: back(delta, z, slope, False), by="z")


def _gelu(module: nn.GELU) -> Activation:
    kind, back = module.approximate, _aten.gelu_backward.default
    return Activation(module.forward, lambda delta, z: back(delta, z, approximate=kind), by="z")


def _of(f: _F, back: _Back, *, by: str) -> Callable[[nn.Module], Activation]:
    def made(module: nn.Module) -> Activation:
        return Activation(f, back, by=by)

    return made


class Dropout:
    """a = z times noise, which is 0 with probability p and else 1 / (1 - p)."""

    def __init__(self, module: nn.Dropout) -> None:
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        p, self.noise = self.module.p, None
        if not p or not self.module.training:
            return z
        self.noise = torch.empty_like(z).bernoulli_(1 - p).div_(1 - p)  # torch's own draws, in its order
        return z * self.noise

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        return delta if self.noise is None else delta * self.noise


class BatchNorm:
    """Each feature normalised over the batch, then scaled and shifted."""

    def __init__(self, module: nn.BatchNorm1d) -> None:
        assert module.momentum is not None  # as `why_not` has seen
        assert module.num_batches_tracked is not None
        assert module.running_mean is not None
        assert module.running_var is not None
        self.mean, self.var = module.running_mean, module.running_var
        self.module, self.features = module, len(module.weight)
        self.momentum, self.tracked = module.momentum, module.num_batches_tracked

    def forward(self, z: Tensor) -> Tensor:
        m, self.z = self.module, z
        if not z.shape[1] == len(self.mean) == len(self.var) == self.features:  # `.data =` may have changed them
            m(z)  # says what does not fit, which the kernel would not notice
        if m.training:
            self.tracked.add_(1)
            # One sample has no variance. torch's hints do not have what its own module calls.
            F._verify_batch_size(z.shape)  # pyrefly: ignore[missing-attribute]
        self.fixed = m.weight, m.running_mean, m.running_var
        out, *self.found = torch.native_batch_norm(
            z, m.weight, m.bias, m.running_mean, m.running_var, m.training, self.momentum, m.eps
        )
        return out

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        m = self.module
        below, weight, bias = _aten.native_batch_norm_backward.default(
            delta, self.z, *self.fixed, *self.found, m.training, m.eps, [True] * 3
        )
        _put(m.weight, add, weight)
        _put(m.bias, add, bias)
        return below


class LayerNorm:
    """Each sample normalised over its features, then scaled and shifted."""

    def __init__(self, module: nn.LayerNorm) -> None:
        self.module = module

    def forward(self, z: Tensor) -> Tensor:
        m, self.z = self.module, z
        out, *self.found = torch.native_layer_norm(z, m.normalized_shape, m.weight, m.bias, m.eps)
        return out

    def backward(self, delta: Tensor, add: bool) -> Tensor:
        m = self.module
        below, weight, bias = _aten.native_layer_norm_backward.default(
            delta, self.z, m.normalized_shape, *self.found, m.weight, m.bias, [True] * 3
        )
        _put(m.weight, add, weight)
        _put(m.bias, add, bias)
        return below


def _leave(parameter: Tensor, add: bool, product: Callable[..., Tensor], *operands: Tensor | int) -> None:
    gradient = parameter.grad
    assert gradient is not None
    if add:
        gradient.add_(product(*operands))
    else:
        product(*operands, out=gradient)


def _put(parameter: Tensor, add: bool, value: Tensor) -> None:
    gradient = parameter.grad
    assert gradient is not None
    (gradient.add_ if add else gradient.copy_)(value)


# -- what is known ---------------------------------------------------------------------------------------------

_Known = dict[type[nn.Module], Callable[..., Layer]]  # a module's class -> what makes its layer
_LAYERS: _Known = {
    codes.Embeddings: Embeddings,
    codes.Expand: Expand,
    nn.Linear: Linear,
    nn.Flatten: Flatten,
    nn.ReLU: _relu,
    nn.LeakyReLU: _leaky_relu,
    nn.GELU: _gelu,
    nn.Tanh: _of(torch.tanh, _aten.tanh_backward.default, by="a"),
    nn.Sigmoid: _of(torch.sigmoid, _aten.sigmoid_backward.default, by="a"),
    nn.SiLU: _of(F.silu, _aten.silu_backward.default, by="z"),
    models.Sign: _of(torch.sign, lambda delta, z: torch.zeros_like(delta), by="z"),
    nn.Dropout: Dropout,
    nn.BatchNorm1d: BatchNorm,
    nn.LayerNorm: LayerNorm,
}
_TENSORS: dict[type[nn.Module], set[str]] = {
    nn.Linear: {"weight", "bias"},
    nn.BatchNorm1d: {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"},
    nn.LayerNorm: {"weight", "bias"},
}
FRESH = (Linear, LowLinear, BatchNorm, LayerNorm)  # what they hand on, up or down, they do not read again
PRECISIONS: dict[str, _Known] = {
    "fp32": {},
    "bf16": {nn.Linear: LowLinear},
}  # in place of those above


def of(module: nn.Module, precision: str, kernels: products.Kernels) -> Layer:
    """The layer that computes what a module computes, once `why_not` has nothing against it."""
    if kernels != "mkl" and precision == "fp32" and type(module) is nn.Linear and products.suits(module.weight):
        return OneDnnLinear(module, kernels)
    return (_LAYERS | PRECISIONS[precision])[type(module)](module)


def why_not(m: nn.Module) -> str | None:
    """Why the direct step can't make what a module computes, in a few words; None where it can."""
    if type(m) not in _LAYERS and type(m) is not nn.Identity:
        return f"the direct step does not know {type(m).__name__}"
    if isinstance(m, nn.Flatten) and (m.start_dim, m.end_dim) != (1, -1):
        return "a Flatten does not flatten whole samples"
    if isinstance(m, (nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.Dropout)) and m.inplace:
        return f"{type(m).__name__} works in place"
    if isinstance(m, nn.Dropout) and m.p == 1:
        return "Dropout drops everything"
    if isinstance(m, nn.BatchNorm1d) and not (m.track_running_stats and m.momentum is not None and _whole(m)):
        return "a BatchNorm1d lacks weights, running statistics or a momentum"
    if isinstance(m, nn.LayerNorm) and not (len(m.normalized_shape) == 1 and _whole(m)):
        return "a LayerNorm lacks weight or bias, or has several axes"
    known = {*m.names} if isinstance(m, codes.Embeddings) else _TENSORS.get(type(m), set())
    if m._modules or not {n for n, t in (m._parameters | m._buffers).items() if t is not None} <= known:
        return f"a {type(m).__name__} has been given parts of its own"
    if isinstance(m, nn.Linear) and not _usual(m):
        return "a Linear has no weight matrix, or a bias that does not fit it"
    return None


def hides(m: nn.Module) -> bool:
    """Whether an attribute, the module's own or its class's, stands before a tensor or a part of its name."""
    names = m._parameters.keys() | m._buffers.keys() | m._modules.keys()
    return not names.isdisjoint(vars(m)) or any(hasattr(type(m), name) for name in names)


def _whole(m: nn.Module) -> bool:
    """Whether a norm has all of its tensors, and they fit one another: the kernel of one does not ask."""
    tensors = {name: t for name, t in (m._parameters | m._buffers).items() if t is not None}
    counted = {(t.shape, t.dtype, t.device) for name, t in tensors.items() if name != "num_batches_tracked"}
    return tensors.keys() == _TENSORS[type(m)] and len(counted) == 1


def _usual(m: nn.Linear) -> bool:
    weight, bias = m._parameters.get("weight"), m._parameters.get("bias")
    return weight is not None and weight.ndim == 2 and (bias is None or bias.shape == weight.shape[:1])
