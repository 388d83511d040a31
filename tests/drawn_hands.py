"""What a user may do to a model between two steps, each drawn by the numbers it is given, on whatever net there is.

What acts beyond the trainer, on torch itself, is in `undo`, to be called when the case is over.
"""

import copy
import functools
import types

import torch
from torch import nn, optim
from torch.nn.modules import module as torch_module
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim import optimizer as torch_optimizer

undo = []
kept = []  # what must live on to act, such as the nodes of a graph


def clean():
    while undo:
        undo.pop()()
    kept.clear()


def named(module):
    """The hands of a module, by their names."""
    return {
        name: hand
        for name, hand in vars(module).items()
        if name[0] != "_" and getattr(hand, "__module__", None) == module.__name__ and hand not in (clean, named)
    }


def _global(handle):
    undo.append(handle.remove)


def _wrapped(n, function, inner):
    """A function to stand in the place of `inner`, bare or in a wrapper, such as says that it is torch's own."""
    return n.choice([
        lambda: function,
        lambda: torch.no_grad()(function),
        lambda: torch.enable_grad()(function),
        lambda: functools.wraps(inner)(function),
        lambda: functools.wraps(inner)(torch.enable_grad()(function)),
    ])()  # fmt: skip


def _layer(t, n):
    """Some module with a weight."""
    return n.choice([m for m in t.model.modules() if isinstance(getattr(m, "weight", None), torch.Tensor)])


def _module(t, n):
    return n.choice(list(t.model.modules()))


def _weight(t, n):
    return n.choice(list(t.model.parameters()))


def _place(t, n):
    """A container and the name of a module in it."""
    return n.choice([(m, name) for m in t.model.modules() for name in m._modules])


def _tensor_like(p, n):
    return torch.randn(p.shape, dtype=p.dtype, generator=torch.Generator().manual_seed(n.randrange(10**6))) * 0.3


def _node(p):
    return p.view_as(p).grad_fn.next_functions[0][0]


# -- weights -------------------------------------------------------------------------------------------------------


def noise(t, n):
    with torch.no_grad():
        for p in t.model.parameters():
            p.add_(_tensor_like(p, n) * 0.1)


def fill_in_place(t, n):
    nn.init.constant_(_weight(t, n), 0.1)


def new_data(t, n):
    p = _weight(t, n)
    p.data = _tensor_like(p, n)


def data_of_another(t, n):
    p = _weight(t, n)
    for q in t.model.parameters():
        if q is not p and q.shape == p.shape:
            p.data = q.data


def strided_data(t, n):
    for p in t.model.parameters():
        if p.ndim == 2:
            p.data = p.data.t().contiguous().t()


def view_of_data(t, n):
    p = _weight(t, n)
    # 64 bytes on: where operands do not begin at a multiple of 16, a product has other last bits on some processors.
    p.data = torch.zeros(p.numel() + 16, dtype=p.dtype)[16:].view(p.shape).copy_(p.data)


def by_vector(t, n):
    if any(p.numel() * p.itemsize % 16 for p in t.model.parameters()):
        return  # as below
    vector_to_parameters(parameters_to_vector(t.model.parameters()) * 0.9, t.model.parameters())


def load(t, n):
    state = {k: v.clone() * (0.9 if v.is_floating_point() else 1) for k, v in t.model.state_dict().items()}
    strict, assign = n.random() < 0.5, n.random() < 0.5
    if not strict and state:
        state.pop(n.choice(list(state)))
    t.model.load_state_dict(state, strict=strict, assign=assign)


def load_into_a_part(t, n):
    m = _module(t, n)
    m.load_state_dict({k: v.clone() for k, v in m.state_dict().items()}, assign=n.random() < 0.5)


def replace_parameter(t, n):
    m = _layer(t, n)
    m.weight = nn.Parameter(m.weight.detach() * 0.5)
    if n.random() < 0.7:
        t.optimizer.add_param_group({"params": [m.weight]})


def drop_bias(t, n):
    m = _layer(t, n)
    if getattr(m, "bias", None) is not None:
        m.bias = None


def share_weight(t, n):
    first, second = _layer(t, n), _layer(t, n)
    if first.weight.shape == second.weight.shape:
        second.weight = first.weight


def another_type(t, n):
    t.model.to(n.choice([torch.float64, torch.bfloat16, torch.float32]))


def shared_with_processes(t, n):
    t.model.share_memory()


def set_gradient(t, n):
    p = _weight(t, n)
    p.grad = torch.ones_like(p)


def grad_data(t, n):
    p = _weight(t, n)
    if p.grad is not None:
        p.grad.data = torch.ones_like(p)


def parameter_of_a_type_of_its_own(t, n):
    m = _layer(t, n)

    class Own(nn.Parameter):
        pass

    m.weight = Own(m.weight.detach().clone())
    t.optimizer.add_param_group({"params": [m.weight]})


# -- frozen or not -------------------------------------------------------------------------------------------------


def freeze(t, n):
    n.choice([_module(t, n), _layer(t, n), _weight(t, n)]).requires_grad_(False)


def freeze_but_the_last(t, n):
    for p in list(t.model.parameters())[:-2]:
        p.requires_grad = False


def unfreeze(t, n):
    t.model.requires_grad_(True)


# -- modules -------------------------------------------------------------------------------------------------------


def swap(t, n):
    owner, name = _place(t, n)
    new = n.choice([nn.Tanh, nn.ReLU, nn.ELU, nn.Identity, lambda: nn.Dropout(0.5), nn.Sigmoid, lambda: nn.Flatten()])
    if not any(True for _ in getattr(owner, name).parameters()):
        setattr(owner, name, new())


def swap_linear(t, n):
    m = _layer(t, n)
    if type(m) is not nn.Linear:
        return
    for owner in t.model.modules():
        for name, child in owner._modules.items():
            if child is m:
                new = nn.Linear(m.in_features, m.out_features, bias=n.random() < 0.8, dtype=m.weight.dtype)
                setattr(owner, name, new)
                t.optimizer.add_param_group({"params": list(new.parameters())})
                return


def remove(t, n):
    owner, name = _place(t, n)
    if not any(True for _ in getattr(owner, name).parameters()) and isinstance(owner, nn.Sequential):
        delattr(owner, name)


def more(t, n):
    if type(t.model) is nn.Sequential:
        t.model.append(n.choice([nn.Tanh, nn.Identity, nn.Softplus])())


def evaluating(t, n):
    n.choice([_module(t, n), t.model]).eval()


def attribute(t, n):
    m = _module(t, n)
    for name, value in (("p", 0.4), ("eps", 0.2), ("momentum", 0.6), ("negative_slope", 0.6), ("inplace", True)):
        if hasattr(m, name):
            setattr(m, name, value)


def attributes_of_all(t, n):
    for m in t.model.modules():
        for name, value in (("p", 0.4), ("eps", 0.2), ("negative_slope", 0.6)):
            if hasattr(m, name):
                setattr(m, name, value)


def statistics(t, n):
    for m in t.model.modules():
        if getattr(m, "running_mean", None) is not None:
            n.choice([
                lambda m=m: m.running_mean.fill_(0.5),
                lambda m=m: setattr(m, "running_mean", torch.ones_like(m.running_mean)),
                lambda m=m: m.reset_running_stats(),
                lambda m=m: setattr(m.running_var, "data", torch.ones_like(m.running_var)),
                lambda m=m: setattr(m, "num_batches_tracked", m.num_batches_tracked * 1),
            ])()  # fmt: skip


def buffer_more(t, n):
    _module(t, n).register_buffer("more", torch.ones(2))


def own_forward(t, n):
    m = _module(t, n)
    inner = type(m).forward
    m.forward = n.choice([
        lambda: _wrapped(n, lambda *a: inner(m, *a) * 0.5, m.forward),
        lambda: types.MethodType(_wrapped(n, lambda m, *a: inner(m, *a) * 0.5, inner), m),
    ])()  # fmt: skip


def another_class(t, n):
    m = _layer(t, n)
    if type(m) is nn.Linear:

        class Mine(nn.Linear):
            def forward(self, x):
                return super().forward(x) * 2

        m.__class__ = Mine


def copy_of_the_model(t, n):
    other = copy.deepcopy(t.model)
    with torch.no_grad():
        for p in other.parameters():
            p.zero_()
    kept.append(other)


def takes_a_copy(t, n):
    t.model = copy.deepcopy(t.model)
    t.optimizer = optim.SGD([p for p in t.model.parameters() if p.requires_grad], lr=0.05, momentum=0.9, fused=True)


# -- hooks ---------------------------------------------------------------------------------------------------------


def forward_hook(t, n):
    m = _module(t, n)
    n.choice([
        lambda: m.register_forward_hook(lambda m, i, o: o * 0.5),
        lambda: m.register_forward_pre_hook(lambda m, i: (i[0] * 2,)),
        lambda: m.register_forward_hook(lambda m, i, k, o: o * 0.5, with_kwargs=True, always_call=True),
        lambda: m.register_forward_pre_hook(lambda m, i: m.__dict__.update(called=True)),
    ])()  # fmt: skip


def backward_hook(t, n):
    m = _module(t, n)
    n.choice([
        lambda: m.register_full_backward_hook(lambda m, i, o: tuple(None if g is None else g * 0.5 for g in i)),
        lambda: m.register_full_backward_pre_hook(lambda m, o: tuple(None if g is None else g * 0.5 for g in o)),
    ])()  # fmt: skip


def hook_for_a_while(t, n):
    m = _module(t, n)
    handle = m.register_forward_hook(lambda m, i, o: handle.remove() or o * 0.5)


def parameter_hook(t, n):
    p = _weight(t, n)
    if p.requires_grad:
        n.choice([
            lambda: p.register_hook(lambda g: g * 0.5),
            lambda: p.register_post_accumulate_grad_hook(lambda p: p.grad.mul_(0.5)),
        ])()  # fmt: skip


def node_hook(t, n):
    p = _weight(t, n)
    if p.requires_grad:
        node = _node(p)
        kept.append(node)
        n.choice([
            lambda: node.register_prehook(lambda g: (g[0] * 0.5,)),
            lambda: node.register_hook(lambda i, o: p.grad.mul_(0.5) and None),
        ])()  # fmt: skip


def multi_grad_hook(t, n):
    ps = [p for p in t.model.parameters() if p.requires_grad]
    if ps:
        kept.append(torch.autograd.graph.register_multi_grad_hook(ps, lambda g: None, mode=n.choice(["all", "any"])))


def global_hook(t, n):
    n.choice([
        lambda: _global(torch_module.register_module_forward_hook(lambda m, i, o: o * 0.9)),
        lambda: _global(torch_module.register_module_forward_pre_hook(lambda m, i: (i[0] * 0.9,))),
        lambda: _global(torch_module.register_module_full_backward_hook(lambda m, i, o: None)),
    ])()  # fmt: skip


def global_step_hook(t, n):
    def halve(o, a, k):
        for group in o.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad.mul_(0.5)

    n.choice([
        lambda: _global(torch_optimizer.register_optimizer_step_pre_hook(halve)),
        lambda: t.optimizer.register_step_pre_hook(halve),
        lambda: t.optimizer.register_step_post_hook(lambda o, a, k: o.state.clear()),
    ])()  # fmt: skip


def loss_hook(t, n):
    t.loss.register_forward_hook(lambda m, i, o: o * 2)
