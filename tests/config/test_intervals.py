"""Intervals: which numbers are drawn, how their ends are typed, and who gets whole numbers."""

from collections import Counter

import pytest

from dltrain.config import hydra
from dltrain.config.intervals import Interval
from dltrain.errors import ConfigError
from dltrain.sweeps import request
from dltrain.sweeps.request import Options


@pytest.mark.parametrize("interval", [Interval(-3, 3, log=False), Interval(0, 6, log=False), Interval(2, 8, log=False)])
def test_each_whole_number_is_drawn_as_often_as_another(interval):
    drawn = Counter(int(interval.at((i + 0.5) / 700)) for i in range(700))
    assert drawn == dict.fromkeys(range(interval.first, interval.last + 1), 100)


def test_the_ends_of_a_logarithmic_interval_are_its_least_and_its_largest_number():
    for first in range(1, 50):  # exp(log(8)) is below 8
        interval = Interval(first, 100, log=True)
        assert (interval.at(0.0), interval.at(1.0)) == (f"{first}", "100")


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        ("interval(8,64)", ["8.0", "64.0"]),
        ("int(interval(1000,2000000))", ["1000", "2000000"]),
        ("tag(log,interval(1e-5,1e-1))", ["1e-05", "0.1"]),
        ("interval(1.0000001,1.0000002)", ["1.0000001", "1.0000002"]),
    ],
)
def test_the_ends_are_typed_as_numbers_of_the_kind_that_is_drawn(text, ends):
    assert [*hydra.parser({})(f"key={text}").texts()] == ends


@pytest.mark.parametrize("key", ["data.batch_size", "seed"])
def test_an_interval_of_any_numbers_is_refused_where_whole_ones_are_wanted(key):
    words = ["data=iris", "sweep=random", "sweep.trials=3"]
    with pytest.raises(ConfigError) as error:
        request.read([*words, f"{key}=interval(8,64)"], Options())
    assert f"`{key}=interval(8.0,64.0)` draws any number, {key}=int(interval(8.0,64.0)) whole ones" in str(error.value)
    assert request.read([*words, f"{key}=int(interval(8,2000000))"], Options()).trials.total == 3
