"""Blocks: what a network says of a row is the same to the last bit, alone, in any company, and at any place."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from dltrain.parts.models import MLP
from dltrain.trained import blocks

DENSE = {  # widths of every alignment, and each activation that is more than a comparison
    nn.ReLU: (64, 128, 64, 10),
    nn.Tanh: (4, 33, 17, 3),
    nn.Sigmoid: (13, 100, 1),
    nn.GELU: (7, 7, 5, 2),
    nn.SiLU: (784, 300, 10),
    nn.ELU: (30, 31, 9),
    nn.Softplus: (11, 255, 4),
    nn.Mish: (5, 50, 7),
}


def dense(widths, activation):
    layers = []
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


def convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 7, 3, padding=1),
        nn.BatchNorm2d(7),
        nn.SiLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(7, 9, 3),
        nn.Sigmoid(),
        nn.Flatten(),
        nn.Linear(225, 5),
    )


def attention():
    return nn.Sequential(nn.TransformerEncoderLayer(12, 2, 16, batch_first=True), nn.Flatten(), nn.Linear(60, 3))


class ByName(nn.Linear):
    """A net that gives its layer the rows by name."""

    def __init__(self, wide, high):
        super().__init__(wide, high)
        self.layer = nn.Linear(high, high)

    def forward(self, input):
        return self.layer(input=super().forward(input))


NETS = {
    **{a.__name__: ((widths[0],), lambda a=a, widths=widths: dense(widths, a)) for a, widths in DENSE.items()},
    "norms": ((20,), lambda: MLP(20, 5, widths=[33, 17], activation="tanh", norm="batch")),
    "layer norms": ((21,), lambda: MLP(21, 3, widths=[35], activation="gelu", norm="layer")),
    "by name": ((6,), lambda: ByName(6, 3)),
    "convolutions": ((3, 15, 15), convolutions),
    "attention": ((5, 12), attention),
}


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", NETS)
def test_a_row_is_answered_alike_alone_and_at_every_place(name, threads):
    shape, make = NETS[name]
    net = make().eval()
    row, others = torch.randn(1, *shape), 10 * torch.randn(300, *shape)

    def answers(rows):
        with torch.inference_mode(), blocks.aligned(net):
            return blocks.apply(lambda block: blocks.apply(lambda z: z.softmax(1), net(block)), rows)

    alone = answers(row)
    everywhere = answers(row.expand(300, *shape))
    assert torch.equal(everywhere, alone.expand_as(everywhere))
    for place in (0, 77, 128, 299):
        mixed = others.clone()
        mixed[place] = row
        assert torch.equal(answers(mixed)[place], alone[0])
        assert torch.equal(answers(mixed[: place + 1])[place], alone[0])
    unaligned = torch.empty(1 + row.numel())[1:].view_as(row).copy_(row)  # as numpy may place it
    assert torch.equal(answers(unaligned), alone)
    torch.testing.assert_close(alone, net(row).softmax(1).detach())


def test_the_network_is_left_as_it_was():
    net = dense((7, 5, 2), nn.ReLU)
    with blocks.aligned(net):
        assert [len(m._forward_pre_hooks) for m in net] == [1, 0, 1]
    assert not any(m._forward_pre_hooks for m in net)


def test_a_block_has_the_rows_that_its_memory_allows():
    cpu = torch.device("cpu")
    assert [blocks.rows_of(n, cpu) for n in (1, 784, 3 * 64 * 64, 3 * 100 * 100, 3 * 224 * 224)] == [
        128,
        128,
        64,
        32,
        1,
    ]
    seen = []
    blocks.apply(lambda block: seen.append(block.shape) or block, torch.zeros(5, 3), 4)
    assert seen == [(4, 3), (4, 3)]
