"""Several processes train and judge as one does: the catalogue by 2 and 3 of them, in float64, against one."""

import os
import subprocess
import sys

import pytest
import ranks_catalogue
import torch
from ranks_catalogue import CASES, SIZES

CLOSE = 1e-12


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """By number of processes what each of them found."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [sys.executable, ranks_catalogue.__file__, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return {n: [torch.load(folder / f"{n}-{rank}.pt", weights_only=True) for rank in range(n)] for n in SIZES}


@pytest.mark.parametrize("name", CASES)
def test_several_processes_do_what_one_does(found, name):
    (alone,) = found[1]
    for size in (n for n in SIZES if name in found[n][0]):
        for rank, each in enumerate(found[size]):
            assert "error" not in each[name], f"process {rank} of {size}: {each[name]['error']}"
            same(each[name], alone[name], f"process {rank} of {size}")


def same(one, other, where):
    if isinstance(other, dict):
        assert one.keys() == other.keys(), where
        for key, value in other.items():
            same(one[key], value, f"{where}, {key}")
    elif isinstance(other, list):
        assert len(one) == len(other), where
        for i, value in enumerate(other):
            same(one[i], value, f"{where}, {i}")
    elif isinstance(other, str):
        assert one == other, where
    else:
        one, other = torch.as_tensor(one).double(), torch.as_tensor(other).double()
        torch.testing.assert_close(
            one, other, rtol=CLOSE, atol=CLOSE, equal_nan=True, msg=lambda text: f"{where}: {text}"
        )
