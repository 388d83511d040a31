"""How many jobs run at once, and which GPU each has."""

import pytest

from dltrain.sweeps.slots import Slots, slots, visible_gpus

UUID = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"
MIG = "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/2"


@pytest.mark.parametrize(
    ("given", "found"),
    [("0,1", ["0", "1"]), (f"{UUID}, {MIG}", [UUID, MIG]), ("", []), ("-1", []), ("abc", []), ("3", ["3"])],
)
def test_gpus_have_the_names_that_the_variable_takes(monkeypatch, given, found):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)
    assert visible_gpus() == found
    if found:
        assert slots("auto", device="cuda").most == len(found)
    assert slots("auto", device="cpu").gpus == []


def test_each_job_has_a_gpu_of_its_own_as_long_as_there_are_some():
    room = Slots(3, ["0", "1"], by_memory=False)
    assert [room.take(job) for job in range(3)] == ["0", "1", "0"]
    room.give_back(1, memory=0)
    assert room.take(3) == "1"
    assert (room.free(2), room.free(3)) == (True, False)
