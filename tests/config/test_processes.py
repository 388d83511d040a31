"""How one of several processes is known: by variables, of which each may be wrong."""

import pytest

from dltrain.config import processes
from dltrain.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("MASTER_PORT", "99999", "MASTER_PORT=99999: 65535 is the highest port"),
        ("MASTER_PORT", "x", "MASTER_PORT=x: want a whole number"),
        ("RANK", "2", "RANK=2 and WORLD_SIZE=2"),
        ("RANK", "", "there is no RANK"),
        ("MASTER_ADDR", "", "there is no MASTER_ADDR"),
    ],
)
def test_what_cannot_be_a_process_is_refused_by_its_name(name, text, words):
    good = {"WORLD_SIZE": "2", "RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "29400"}
    found = processes.found(good)
    assert found is not None
    assert (found.rank, found.world_size, found.host, found.port) == (1, 2, "first", 29400)
    with pytest.raises(ConfigError, match=words):
        processes.found({**good, name: text})
