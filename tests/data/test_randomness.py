"""Numbers that old runs go on from; what they are good for is tested with the loaders and with augmentation."""

import torch

from dltrain.data.randomness import mix, uniform


def test_numbers_stay_what_they_were():
    assert mix(0, 0) == 6_017_775_124_710_473_527
    found = (uniform(7, 2, torch.tensor([0, 59_999]), (3,), 1) * 2**24).long().tolist()
    assert found == [[4199705, 7304953, 16577998], [13988000, 6759568, 834459]]


def test_a_seed_may_be_negative_or_beyond_64_bits():
    assert mix(-1) == mix(2**64 - 1)
    assert mix(2**64 + 5, 3) == mix(5, 3)
