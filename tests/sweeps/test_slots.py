"""How many jobs run at once, and which GPU each has."""

import math

import pytest

from dltrain.errors import system
from dltrain.sweeps import slots as module
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


@pytest.mark.parametrize("device", ["cuda:0", "cuda:1", "cuda", "mps", "xpu", "xpu:1"])
def test_jobs_of_one_device_run_one_after_the_other_unless_more_are_asked_for(monkeypatch, device):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "" if device == "cuda" else "0,1")
    assert (slots("auto", device=device).most, slots("auto", device=device).gpus) == (1, [])
    assert (slots(3, device=device).most, slots(3, device=device).take(0)) == (3, None)


def test_gpus_do_not_count_where_torch_is_built_without_cuda(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(system, "processors", lambda: 7)
    monkeypatch.setattr(system, "control_groups", lambda controller: [])
    monkeypatch.setattr(module, "find_spec", lambda name: type("Spec", (), {"origin": str(tmp_path / "__init__.py")}))
    version = tmp_path / "version.py"
    for text, most in [("cuda: Optional[str] = '13.0'", 1), ("cuda: Optional[str] = None\nhip = None", 7), ("", 1)]:
        version.write_text(text)
        assert slots("auto", device="auto").most == most
    version.unlink()
    assert slots("auto", device="auto").most == 1


def test_so_many_jobs_are_started_at_once_as_there_is_memory_for(monkeypatch):
    """Of 8 GB: what those take that have just been started does not show yet."""
    time, free = [0.0], [8.5 * 2**30]
    monkeypatch.setattr(module, "monotonic", lambda: time[0])
    monkeypatch.setattr(module, "free_memory", lambda: free[0])

    def fill(running):
        while room.free(running):
            room.take(running)
            running += 1
        return running

    room = Slots(32)
    assert fill(0) == 8
    time[0], free[0] = 20.0, 4.6 * 2**30  # each has come to half a GB
    assert fill(8) == 12
    time[0], free[0] = 40.0, 0.8 * 2**30
    assert fill(12) == 12
    room.give_back(0, memory=int(0.5 * 2**30))  # the first that shows what a job takes
    assert fill(11) == 13
    time[0], free[0] = 60.0, 1000.0
    assert room.free(0)  # one always runs
    assert fill(1) == 1
    assert Slots(32, by_memory=False).free(31)


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, math.inf),
        ({"cpu.max": "1000 100000\n"}, 1.0),
        ({"cpu.cfs_quota_us": "400000\n", "cpu.cfs_period_us": "100000\n"}, 4.0),
        ({"cpu.cfs_quota_us": "-1\n", "cpu.cfs_period_us": "100000\n"}, math.inf),
        ({"cpu.max": "nonsense"}, math.inf),
        ({}, math.inf),
    ],
)
def test_processors_are_those_that_a_container_may_use(monkeypatch, tmp_path, texts, found):
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(system, "control_groups", lambda controller: [tmp_path / "none", tmp_path])
    monkeypatch.setattr(system, "processors", lambda: 3)
    assert module._quota() == found
    assert slots("auto", device="cpu").most == int(min(3, found))
