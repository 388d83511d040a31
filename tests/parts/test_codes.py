"""Columns of codes: vectors that are learned, zeros and ones, and what codes can't be."""

import pytest
import torch
from torch import nn

from dltrain.parts import codes
from dltrain.parts.models import MLP

X = torch.tensor([[0.5, 3.0, -1.0, 1.0], [0.25, 0.0, 2.0, 2.0]])  # the second and the fourth are codes
CODES = [[1, 4], [3, 3]]


def test_embeddings_are_the_numbers_then_the_vector_of_each_code():
    layer = codes.Embeddings(4, CODES, size=2)
    first, second = layer.tables
    made = layer(X)
    assert made.shape == (2, layer.width) == (2, 6)
    assert torch.equal(made[0], torch.cat([X[0, [0, 2]], first[3], second[1]]))
    assert torch.equal(made[1], torch.cat([X[1, [0, 2]], first[0], second[2]]))
    assert not made[1, 2:4].any()  # the vector of no category begins as zeros


def test_zeros_and_ones_stand_where_the_code_stood():
    layer = codes.Expand(4, CODES)
    assert layer.width == codes.expanded(4, CODES) == 7
    assert layer(X).tolist() == [[0.5, 0, 0, 1, -1, 1, 0], [0.25, 0, 0, 0, 2, 0, 1]]
    assert codes.Expand(1, [[0, 3]])(torch.tensor([[2.0], [0.0]])).tolist() == [[0, 1], [0, 0]]


def test_first_vectors_have_the_mean_squared_length_of_a_row_of_zeros_and_ones():
    torch.manual_seed(0)
    table = codes.Embeddings(1, [[0, 5001]], size=8).tables[0]
    assert table.shape == (5001, 8)
    assert table[1:].square().sum(1).mean().item() == pytest.approx(1, rel=0.01)


def test_a_category_that_no_row_has_changes_nothing_and_keeps_to_that():
    torch.manual_seed(0)
    net = MLP(4, 1, widths=[8], codes=CODES, embedding=3)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        net(X[:1]).square().sum().backward()
        optimizer.step()
    assert all(not table[0].any() for table in net.layers.embedding.tables)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([[1, 4], [1, 3]], "different, and below 4"),
        ([[4, 4]], "different, and below 4"),
        ([[0, 1]], "1 codes of a column; there may be 2 to 16,777,216"),
        ([[0, 1 << 25]], "33,554,432 codes of a column"),
        ([[0]], "give pairs of a position and the number of codes"),
    ],
)
def test_codes_that_can_not_be_are_refused(given, message):
    for make in (lambda: codes.Embeddings(4, given, size=2), lambda: codes.Expand(4, given)):
        with pytest.raises(ValueError, match=message):
            make()


def test_a_net_of_codes_is_an_embedding_or_zeros_and_ones_in_front_of_the_same_layers():
    names = [name for name, _ in MLP(4, 2, widths=[5], codes=CODES).named_parameters()]
    assert names[:2] == ["layers.embedding.weight0", "layers.embedding.weight1"]
    assert names[2:] == [name for name, _ in MLP(4, 2, widths=[5]).named_parameters()]
    hot = MLP(4, 2, widths=[5], codes=CODES, embedding=0)
    assert torch.equal(hot(X), hot.layers[1:](codes.Expand(4, CODES)(X)))
    assert MLP(4, 2, widths=[5], codes=[]).layers.linear1.in_features == 4
    for wrong in (-1, 1 << 17):
        with pytest.raises(ValueError, match=f"model.embedding={wrong}: a whole number from 1 to 65,536"):
            MLP(4, 2, widths=[5], codes=CODES, embedding=wrong)


def test_what_a_row_takes_where_a_net_begins():
    assert codes.widest(nn.Linear(4, 1), 4) == 4
    assert codes.widest(MLP(4, 1, widths=[2], codes=CODES), 4) == 4
    assert codes.widest(codes.OneHot(nn.Linear(7, 1), 4, CODES), 4) == 7


@pytest.mark.parametrize(("value", "said"), [(4.0, "4"), (-1.0, "-1"), (1.5, "1.5"), (float("nan"), "nan")])
def test_inputs_that_hold_no_code_are_told(value, said):
    assert codes.mistake(X, CODES) is None
    wrong = X.clone()
    wrong[1, 1] = value
    told = f"row 1 has {said} in column 1, which is to be a code, a whole number below 4"
    assert codes.mistake(wrong, CODES) == told
