"""What is found out about a set: scale, repeated rows, and what neighbours say of labels."""

import torch
from sklearn.datasets import load_iris

from dltrain.data import Tensors, digits, quality


def test_rows_that_stand_in_two_parts_are_found():
    train = Tensors(torch.arange(10.0).reshape(5, 2), torch.zeros(5))
    part = Tensors(torch.tensor([[9.0, 9.0], [2.0, 3.0], [8.0, 9.0]]), torch.zeros(3))
    assert quality.repeated(part, train).tolist() == [1, 2]
    assert quality.repeated(train, train).tolist() == []  # a part that stands in for another is told elsewhere


def test_rows_of_few_rounded_numbers_meet_and_others_are_copies():
    x = torch.tensor(load_iris().data, dtype=torch.float32)[torch.randperm(150)]
    y = torch.zeros(150, dtype=torch.int64)

    def parts(rows, at=120):
        return Tensors(rows[at:], y[: len(rows) - at]), Tensors(rows[:at], y[:at])

    for columns in ([0, 1], [0, 2], [2, 3]):
        part, train = parts(x[:, columns])
        assert len(quality.repeated(part, train)) >= 3
        assert quality.by_chance(part, train)
    part, train = parts(torch.cat([x[:120], x[:30]]))  # all four lengths, and a fifth of the rows twice
    assert not quality.by_chance(part, train)
    images = torch.rand(30, 1, 8, 8)
    assert not quality.by_chance(*parts(torch.cat([images, images[:9]]), at=30))


def test_sizes_are_by_feature_and_by_channel():
    x = torch.tensor([[3.0, 0.1], [4.0, 0.1]])
    torch.testing.assert_close(quality.sizes(x), torch.tensor([12.5**0.5, 0.1]).double())
    images = torch.stack([torch.full((2, 4, 4), 2.0), torch.full((2, 4, 4), -2.0)])
    assert quality.sizes(images).tolist() == [2.0, 2.0]


def test_codes_are_as_far_apart_as_they_differ():
    x = torch.tensor([[0.5, 700.0], [1.5, 3.0], [2.5, 700.0]])
    assert quality.spread_out(x, [1]).tolist() == [[0.5, 0, 1], [1.5, 1, 0], [2.5, 0, 1]]
    assert quality.spread_out(x, []) is x


def test_neighbours_agree_on_digits_and_find_the_labels_that_were_changed():
    split = digits().train
    x, y, index = quality.sample(split, 1200)
    good = quality.neighbours(x, y, index, classes=10)
    assert good.score > 0.95
    assert good.z > 50
    wrong = y.clone()
    changed = torch.arange(0, 1200, 40)
    wrong[changed] = (wrong[changed] + 1) % 10
    found = set(quality.neighbours(x, wrong, index, classes=10).suspects)
    assert len(found & set(index[changed].tolist())) > 20
    assert len(found) < 40


def test_neighbours_answer_for_each_of_several_labels():
    x, y, index = quality.sample(digits().train, 600)
    labels = torch.stack([y > 4, y % 2 == 1], dim=1).float()
    good = quality.neighbours(x, labels, index, classes=2)
    assert 0.9 < good.score < 1
    assert good.z > 20
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    assert quality.neighbours(x, labels[order], index, classes=2).z < 3


def test_labels_without_a_meaning_are_at_chance():
    x, y, index = quality.sample(digits().train, 1200)
    for seed in range(5):
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
        assert quality.neighbours(x, y[order], index, classes=10).z < 3
    target = torch.randn(len(y), 1, generator=torch.Generator().manual_seed(0))
    assert quality.neighbours(x, target, index, classes=0).z < 3
    assert quality.neighbours(x, x.reshape(len(x), -1)[:, 20:21], index, classes=0).z > 10


def test_a_sample_is_read_from_any_dataset():
    class Own(torch.utils.data.Dataset):
        def __len__(self):
            return 7

        def __getitem__(self, i):
            return torch.tensor([float(i), 1.0]), i % 2

    x, y, index = quality.sample(Own(), 4)
    assert x.shape == (4, 2)
    assert (x[:, 0] == index).all()
    assert (y == index % 2).all()
    assert quality.repeated(Own(), Own()).tolist() == []
