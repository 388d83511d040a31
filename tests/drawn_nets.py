"""A grammar of what is trained: nets, losses, optimizers, seams and batches, each drawn by the numbers it is given.

Drawn twice from equal numbers, two are equal, to the bit of their weights.
"""

import copy
from collections import OrderedDict
from itertools import pairwise

import torch
from torch import nn, optim

from dltrain.parts import losses, models, optimizers
from dltrain.parts.regularisers import EMA, InputNoise, MaxNorm, Mixup, Penalty
from dltrain.parts.schedules import PureSchedule, TorchSchedule

FEATURES, CLASSES = 6, 3


class Residual(nn.Module):
    """A forward of its own."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x):
        return x + self.second(torch.relu(self.first(x)))


class OwnLinear(nn.Linear):
    """A known layer by another name."""

    def forward(self, x):
        return super().forward(x) * 0.5


class OwnSequential(nn.Sequential):
    def forward(self, x):
        return super().forward(x) + 1


class Counting(nn.Module):
    """Keeps what it has seen in a buffer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x):
        self.seen += len(x)
        return x


class Low(nn.Module):
    """A loss of the user's."""

    def forward(self, logits, y):
        return (torch.logsumexp(logits, 1) - logits[:, 0] * 0.5).mean()


ACTIVATIONS = [
    *(nn.ReLU, nn.Tanh, nn.GELU, nn.Sigmoid, nn.SiLU, nn.LeakyReLU, models.Sign, nn.Identity),
    *(lambda: nn.LeakyReLU(0.3), lambda: nn.GELU(approximate="tanh")),
]
STRANGE_ACTIVATIONS = [nn.ELU, nn.Softplus, nn.Hardtanh, lambda: nn.ReLU(inplace=True), lambda: nn.Softmax(1), Counting]
NORMS = [
    lambda n: nn.BatchNorm1d(n),
    lambda n: nn.BatchNorm1d(n, momentum=0.4, eps=1e-3),
    lambda n: nn.LayerNorm(n),
    lambda n: nn.LayerNorm(n, eps=1e-2),
]
STRANGE_NORMS = [
    lambda n: nn.BatchNorm1d(n, affine=False),
    lambda n: nn.BatchNorm1d(n, track_running_stats=False),
    lambda n: nn.BatchNorm1d(n, momentum=None),
    lambda n: nn.LayerNorm(n, elementwise_affine=False),
    lambda n: nn.LayerNorm(n, bias=False),
    lambda n: nn.RMSNorm(n),
    lambda n: nn.GroupNorm(1, n),
]
DROPOUTS = [lambda: nn.Dropout(0.2), lambda: nn.Dropout(0.7), lambda: nn.Dropout(0.0)]
STRANGE_DROPOUTS = [lambda: nn.Dropout(1.0), lambda: nn.AlphaDropout(0.1), lambda: nn.Dropout(0.3, inplace=True)]


def net(numbers, *, strange, out):
    """strange: the share of parts that the direct step does not know."""

    def one(usual, odd):
        return numbers.choice(odd if numbers.random() < strange else usual)

    if numbers.random() < 0.15:
        whole = numbers.choice([
            lambda: models.Perceptron(FEATURES, out),
            lambda: models.Linear(FEATURES, out),
            lambda: models.MLP(FEATURES, out, widths=[8, 5], norm="batch", dropout=0.2),
            lambda: models.MLP(FEATURES, out, widths=[7], activation="gelu", norm="layer"),
        ])  # fmt: skip
        return whole()
    widths, parts = [FEATURES, *numbers.choices([1, 3, 8, 16, 17, 33], k=numbers.randint(0, 4))], []
    for wide, high in pairwise(widths):
        block = [one([nn.Linear], [OwnLinear])(wide, high, bias=numbers.random() < 0.8)]
        if numbers.random() < 0.4:
            block.append(one(NORMS, STRANGE_NORMS)(high))
        block.append(one(ACTIVATIONS, STRANGE_ACTIVATIONS)())
        if numbers.random() < 0.3:
            block.append(one(DROPOUTS, STRANGE_DROPOUTS)())
        if numbers.random() < strange / 2:
            block.append(Residual(high))
        nested = one([nn.Sequential], [OwnSequential])
        parts += [nested(*block)] if numbers.random() < 0.3 else block
    if numbers.random() < strange / 2:  # one layer twice
        shared = nn.Linear(widths[-1], widths[-1])
        parts += [shared, nn.Tanh(), shared]
    parts.append(nn.Linear(widths[-1], out, bias=numbers.random() < 0.9))
    if numbers.random() < 0.1:
        parts.append(one(ACTIVATIONS, STRANGE_ACTIVATIONS)())
    if numbers.random() < 0.2:  # not a Linear first
        parts.insert(0, numbers.choice([one(NORMS, STRANGE_NORMS)(FEATURES), numbers.choice(DROPOUTS)(), nn.Tanh()]))
    if numbers.random() < 0.6:
        parts.insert(0, nn.Flatten())
    named = OrderedDict((f"part{i}", part) for i, part in enumerate(parts))
    model = nn.Sequential(named) if numbers.random() < 0.3 else nn.Sequential(*parts)
    linears = [m for m in model.modules() if type(m) is nn.Linear]
    if len(linears) > 1 and numbers.random() < strange / 3 and linears[0].weight.shape == linears[1].weight.shape:
        linears[1].weight = linears[0].weight
    if numbers.random() < strange / 2:
        numbers.choice(linears).requires_grad_(False)
    return model


LOSSES = {
    "classes": [
        losses.CrossEntropy,
        nn.CrossEntropyLoss,
        lambda: losses.Hinge(margin=0.5),
        lambda: losses.Hinge(squared=True),
        losses.Perceptron,
        losses.OneHotMSE,
        lambda: losses.CrossEntropy(label_smoothing=0.1),
        lambda: nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5])),
        lambda: nn.CrossEntropyLoss(ignore_index=1),
        lambda: nn.CrossEntropyLoss(reduction="sum"),
        nn.MultiMarginLoss,
        Low,
    ],
    "one": [losses.BCE, losses.Hinge, losses.Perceptron, lambda: losses.BCE(label_smoothing=0.1)],
    "numbers": [losses.MSE, losses.MAE, losses.Huber, nn.MSELoss, nn.SmoothL1Loss, lambda: losses.Huber(delta=0.2)],
}


def _of(made, **drawn):
    def one(numbers):
        chosen = {name: numbers.choice(values) for name, values in drawn.items()}
        return made, copy.deepcopy(chosen)  # a rate that is a tensor, a schedule changes in place

    return one


_RATES, _DECAYS = [0.1, 0.01, 0.001], [0.0, 0.0, 0.1]
_ADAM = {"lr": _RATES, "weight_decay": _DECAYS, "betas": [(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)], "eps": [1e-8, 1e-3]}
OPTIMIZERS = [
    _of(optim.SGD, lr=_RATES, momentum=[0.0, 0.9], weight_decay=_DECAYS, fused=[True, None]),
    _of(optim.SGD, lr=_RATES, momentum=[0.9], nesterov=[True], fused=[True, None]),
    _of(optim.SGD, lr=_RATES, momentum=[0.8], dampening=[0.3], fused=[True]),
    _of(optim.Adam, **_ADAM, fused=[True, True, None], amsgrad=[False, False, True]),
    _of(optim.AdamW, **_ADAM, fused=[True, True, None], amsgrad=[False, False, True]),
    _of(optim.AdamW, lr=_RATES, foreach=[True]),
    _of(optim.RMSprop, lr=[0.01], momentum=[0.0, 0.5], centered=[False, False, True], weight_decay=_DECAYS),
    _of(optim.Adagrad, lr=[0.01], lr_decay=[0.0, 0.1], initial_accumulator_value=[0.0, 0.1], weight_decay=_DECAYS),
]
STRANGE_OPTIMIZERS = [
    *(_of(made, lr=[0.01]) for made in (optim.NAdam, optim.RAdam, optim.Adamax, optim.Adadelta, optim.ASGD)),
    *(_of(made, lr=[0.01]) for made in (optim.Rprop, optimizers.Muon)),
    _of(optim.SGD, lr=[0.01], maximize=[True]),
    _of(optim.Adam, lr=[torch.tensor(0.01)]),
    _of(optim.Adam, lr=[0.01], differentiable=[False], capturable=[False], maximize=[True]),
]


def optimizer(numbers, model, *, strange):
    made, options = numbers.choice(STRANGE_OPTIMIZERS if numbers.random() < strange else OPTIMIZERS)(numbers)
    parameters = [p for p in model.parameters()]
    how = numbers.random()
    if how < 0.15:
        groups = optimizers.parameter_groups(model, weight_decay=0.1)
    elif how < 0.25 and len(parameters) > 1:
        groups = [{"params": parameters[:1], "lr": 0.02}, {"params": parameters[1:]}]
    elif how < 0.3 and made is not optimizers.Muon:
        groups = [{"params": [p]} for p in parameters]
    elif how < 0.3 + 0.1 * strange and len(parameters) > 1 and made is not optimizers.Muon:
        groups = parameters[1:]
    else:
        groups = parameters
    return made(groups or parameters, **options)


def seams(numbers, model, optimizer, *, kind):
    """What acts inside the step, by the names of the trainer's arguments."""
    drawn = {}
    if numbers.random() < 0.2:
        drawn["clip_norm"] = numbers.choice([0.1, 10.0])
    if numbers.random() < 0.1:
        drawn["clip_value"] = 0.01
    if numbers.random() < 0.15 and any(p.ndim >= 2 and p.requires_grad for p in model.parameters()):
        drawn["penalty"] = Penalty(model, **numbers.choice([{"l2": 0.05}, {"l1": 0.01}, {"l1": 0.01, "l2": 0.02}]))
    if numbers.random() < 0.1 and any(p.ndim >= 2 and p.requires_grad for p in model.parameters()):
        drawn["constraint"] = MaxNorm(model, 0.5)
    if numbers.random() < 0.1:
        drawn["ema"] = EMA(model, 0.8)
    if numbers.random() < 0.1:
        drawn["transform"] = InputNoise(0.1)
    elif numbers.random() < 0.1 and kind == "classes":
        drawn["transform"] = Mixup(0.4, task="multiclass", outputs=CLASSES)
    if numbers.random() < 0.2:
        drawn["schedule"] = PureSchedule(optimizer, lambda k: (0.02 / (1 + k), None))
    elif numbers.random() < 0.1:
        drawn["schedule"] = TorchSchedule(optim.lr_scheduler.StepLR(optimizer, 3), interval="step")
    return drawn


def batch(numbers, rows, *, kind, dtype):
    random = torch.Generator().manual_seed(numbers.randrange(10**6))
    x = torch.randn(rows, FEATURES, generator=random, dtype=dtype)
    if kind == "numbers":
        y = torch.randn(rows, CLASSES, generator=random, dtype=dtype)
    else:
        y = torch.randint(0, 2 if kind == "one" else CLASSES, (rows,), generator=random)
    return x, y, torch.arange(rows)


def batches(numbers, *, kind, dtype, strange, empty=True):
    """Of one step: usually one batch, of its usual size or a ragged last one; sometimes several.

    empty: whether one may have no rows.
    """
    made = []
    for _ in range(numbers.choice([1, 1, 1, 1, 2, 3])):
        rows = numbers.choice([16, 16, 16, 5, 2, 1])
        x, y, index = batch(numbers, rows, kind=kind, dtype=dtype)
        if numbers.random() < 0.1:
            x = x.t().contiguous().t()
        elif numbers.random() < strange / 5:
            x = x[:1].expand(rows, FEATURES)
        elif numbers.random() < strange / 5:
            x = x.view(rows, 2, 3)
        elif numbers.random() < strange / 5:
            x.requires_grad_()
        if numbers.random() < strange / 5:
            x, y, index = odd(numbers, x, y, index)
        if not empty and not x.numel():
            continue
        made.append((x, y, index))
    return made


def odd(numbers, x, y, index):
    """A batch that does not fit its net, or hardly."""
    return numbers.choice([
        lambda: (x, y[:1], index),
        lambda: (x, y.repeat(2, *[1] * (y.ndim - 1)), index),
        lambda: (x, y.double(), index),
        lambda: (x, y.int(), index),
        lambda: (x, y.bool(), index),
        lambda: (x, y.to(torch.uint8), index),
        lambda: (x, y[:, None], index),
        lambda: (x, y.reshape(-1), index),
        lambda: (x, y.new_zeros(()), index),
        lambda: (x, y + 7, index),
        lambda: (x, y - 5, index),
        lambda: (x[:0], y[:0], index[:0]),
        lambda: (x[:0], y, index),
        lambda: (x.double(), y, index),
        lambda: (x.long(), y, index),
        lambda: (x[:, :4], y, index),
        lambda: (x[0], y[0], index[:1]),
        lambda: (x * 1e30, y, index),
    ])()  # fmt: skip
