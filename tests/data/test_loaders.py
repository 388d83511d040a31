"""Batches depend on (seed, epoch, position) alone: not on workers, global generators, or where an epoch starts."""

import gc
import os
import random
import subprocess
import sys
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset

from dltrain.data import Tensors, loaders
from dltrain.data.loaders import StreamLoader, TensorLoader, make_loader, mix, order
from dltrain.errors import DataError, system


def rows(n=23):
    return Tensors(torch.randn(n, 3), torch.arange(n))


def images(n=23):
    x = torch.randint(0, 256, (n, 3, 4, 5), dtype=torch.uint8)
    return Tensors(x, torch.arange(n), torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3]))


def jitter(x):
    """A transform that draws from all three global generators."""
    shift = torch.randint(0, 9, ()) + random.randint(0, 9) + np.random.randint(0, 9)
    return (x + shift).to(torch.uint8)


@dataclass(frozen=True)
class Fragile(Dataset):
    """A dataset whose seventh sample cannot be read."""

    def __len__(self):
        return 10

    def __getitem__(self, i):
        if i == 7:
            raise DataError("picture-7.png: cannot be read as an image")
        return torch.zeros(2), 0.5


def states():
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())


def batches(loader, epoch=0, start=0):
    return list(loader.epoch(epoch, start))


def assert_same(one, two):
    assert len(one) == len(two)
    for a, b in zip(one, two, strict=True):
        assert all(torch.equal(p, q) and p.dtype == q.dtype for p, q in zip(a, b, strict=True))


def test_order_is_a_permutation_and_a_pure_function_of_seed_and_epoch():
    first = order(1000, seed=3, epoch=5)
    torch.manual_seed(99)
    assert torch.equal(first, order(1000, seed=3, epoch=5))
    assert torch.equal(first.sort().values, torch.arange(1000))
    others = [order(1000, seed=s, epoch=e) for s, e in ((3, 6), (4, 5), (5, 3), (3, 0))]
    assert not any(torch.equal(first, other) for other in others)


def test_mix_keeps_its_values_for_ever():  # a resumed run of an older version must see the same batches
    assert mix(0, 0) == 6_017_775_124_710_473_527
    assert mix(3, 1, 4) == 7_799_295_253_636_503_343
    assert len({mix(a, b) for a in range(100) for b in range(100)}) == 10_000


@pytest.mark.parametrize("split", [rows(), images()], ids=["rows", "images"])
@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 4, 23])
def test_tensor_and_stream_loaders_give_the_same_bits(split, shuffle, batch_size):
    one = TensorLoader(split, batch_size=batch_size, shuffle=shuffle, seed=7)
    two = StreamLoader(split, batch_size=batch_size, shuffle=shuffle, seed=7)
    assert len(one) == len(two) == len(batches(one))
    for epoch in range(2):
        assert_same(batches(one, epoch), batches(two, epoch))


def test_workers_change_nothing_not_even_random_transforms():
    split = images()
    here = make_loader(split, batch_size=4, shuffle=True, seed=1, transform=jitter)
    apart = make_loader(split, batch_size=4, shuffle=True, seed=1, transform=jitter, workers=2)
    assert isinstance(here, StreamLoader)
    for epoch in range(3):
        torch.manual_seed(epoch)
        assert_same(batches(here, epoch), batches(apart, epoch))
    assert_same(batches(here, 2, start=3), batches(apart, 2)[3:])
    assert_same(batches(apart, 2, start=6), [])
    iterator = apart.epoch(0)
    next(iterator)  # abandoned, as early stopping would
    assert_same(batches(apart, 1), batches(here, 1))


def test_every_sample_draws_for_itself_and_anew_in_each_epoch():
    split = Tensors(torch.zeros(50, 1, 1, 1, dtype=torch.uint8), torch.arange(50))
    shuffled = make_loader(split, batch_size=7, shuffle=True, seed=1, transform=jitter)
    straight = make_loader(split, batch_size=50, seed=1, transform=jitter)
    drawn = [batches(straight, epoch)[0].x.flatten() for epoch in range(2)]
    assert len(drawn[0].unique()) > 5
    assert not torch.equal(drawn[0], drawn[1])
    for batch in shuffled.epoch(1):  # the draw belongs to the sample, not to its place in the epoch
        assert torch.equal(batch.x.flatten(), drawn[1][batch.index])


@pytest.mark.parametrize("make", [TensorLoader, StreamLoader])
def test_an_epoch_can_start_anywhere(make):
    loader = make(rows(), batch_size=4, shuffle=True, seed=2)
    whole = batches(loader, 3)
    for start in range(len(loader) + 1):
        assert_same(batches(loader, 3, start), whole[start:])


@pytest.mark.parametrize("make", [TensorLoader, StreamLoader])
def test_the_last_batch_may_be_short_and_no_row_is_lost(make):
    split = rows(10)
    loader = make(split, batch_size=4, shuffle=True)
    assert [len(batch.y) for batch in loader.epoch()] == [4, 4, 2]
    index = torch.cat([batch.index for batch in loader.epoch(8)])
    assert index.sort().values.tolist() == list(range(10))
    for batch in loader.epoch(8):
        assert torch.equal(batch.x, split.x[batch.index])
        assert torch.equal(batch.y, batch.index)


@pytest.mark.parametrize("batch_size", [None, 10, 1000])
@pytest.mark.parametrize("transform", [None, torch.nn.Identity()], ids=["tensors", "stream"])
def test_a_full_batch_is_the_split_itself(batch_size, transform):
    split = rows(10)
    (batch,) = batches(make_loader(split, batch_size=batch_size, shuffle=True, transform=transform))
    assert torch.equal(batch.x, split.x)
    assert batch.index.tolist() == list(range(10))


def test_iterating_leaves_the_global_generators_alone():
    made = [
        make_loader(images(), batch_size=4, shuffle=True),
        make_loader(images(), batch_size=4, shuffle=True, transform=jitter),
        make_loader(images(), batch_size=4, shuffle=True, transform=jitter, workers=2),
    ]
    for loader in made:
        before = states()
        iterator = loader.epoch(1)
        next(iterator)
        assert states() == before
        list(iterator)
        assert states() == before


def test_large_image_sets_are_normalised_late_with_the_same_bits(monkeypatch):
    split = images()
    early = TensorLoader(split, batch_size=4, shuffle=True)
    monkeypatch.setattr(loaders, "_FLOAT_BUDGET", 4 * split.x.numel() - 1)
    late = TensorLoader(split, batch_size=4, shuffle=True)
    assert (early.x.dtype, late.x.dtype) == (torch.float32, torch.uint8)
    assert_same(batches(early), batches(late))
    expected = (split.x[0].double() / 255 - split.mean.view(3, 1, 1)) / split.std.view(3, 1, 1)
    torch.testing.assert_close(late._normalise(split.x[0]), expected.float(), rtol=1e-6, atol=1e-6)
    assert torch.equal(late.x, split.x)  # the stored bytes stay as they were


@pytest.mark.parametrize("workers", [0, 2])
def test_an_unreadable_sample_is_one_clear_line(workers):
    before = states()
    loader = make_loader(Fragile(), batch_size=3, workers=workers)
    with pytest.raises(DataError) as caught:
        batches(loader)
    assert str(caught.value) == "picture-7.png: cannot be read as an image"
    assert states() == before


def test_python_numbers_become_float32_targets():
    batch = next(StreamLoader(Fragile(), batch_size=7).epoch())
    assert batch.y.dtype == torch.float32


def test_workers_end_with_their_loader_even_if_that_dies_in_a_reference_cycle():
    gc.disable()  # else it may run on another thread, which leaves the workers for the end of the process
    loader = make_loader(images(), batch_size=4, workers=2, transform=jitter)
    cycle = [loader, loader.epoch()]
    cycle.append(cycle)
    next(cycle[1])
    workers = list(loader._loader._iterator._workers)
    del loader, cycle
    gc.collect()
    gc.enable()
    assert [worker.exitcode for worker in workers] == [0, 0]  # of themselves; where torch loses patience it kills


PROGRAM = """
import os, signal, sys, torch
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader

def identity(x):
    return x

if __name__ == "__main__":
    split = Tensors(torch.zeros(64, 2), torch.zeros(64))
    kept = make_loader(split, batch_size=2, workers=2, transform=identity)
    iterator = kept.epoch()
    next(iterator), next(iterator)  # one from each worker; others are under way
    print(*[worker.pid for worker in kept._loader._iterator._workers], flush=True)
    if sys.argv[1] == "interrupt":
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        os.killpg(0, signal.SIGTERM)  # the group, as a batch system or Ctrl-C would
        signal.pause()
    if sys.argv[1] == "raise":
        raise SystemExit(5)
"""


@pytest.mark.parametrize(("way", "code"), [("end", 0), ("raise", 5), ("interrupt", 143)])
def test_the_process_ends_promptly_and_takes_its_workers_along(way, code, tmp_path):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    done = subprocess.run(
        [sys.executable, script, way], capture_output=True, text=True, timeout=60, start_new_session=True
    )
    assert (done.returncode, done.stderr) == (code, "")
    for pid in map(int, done.stdout.split()):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)  # asks only whether it lives


class Slow(Dataset):
    """Samples that take their time to be read."""

    def __len__(self) -> int:
        return 24

    def __getitem__(self, i: int):
        time.sleep(0.004)
        return jitter(torch.full((1, 2, 2), i, dtype=torch.uint8)), i


def test_workers_are_as_many_as_reading_needs_and_change_nothing(monkeypatch):
    monkeypatch.setattr(loaders, "_TRIAL", 0.1)
    monkeypatch.setattr(system, "processors", lambda: 3)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2})  # torch's loader asks this
    here, measured = (make_loader(Slow(), batch_size=4, shuffle=True, workers=workers) for workers in (0, None))
    for epoch in range(4):
        assert_same(batches(here, epoch), batches(measured, epoch))
    assert measured.workers == len(measured._loader._iterator._workers) == 3
    assert_same(batches(here, 1, start=3), batches(measured, 1, start=3))


def test_reading_that_is_quick_needs_no_workers(monkeypatch):
    monkeypatch.setattr(loaders, "_TRIAL", 0.5)
    loader = make_loader(images(), batch_size=4, transform=jitter, workers=None)
    for _ in loader.epoch():
        if loader.workers is None:
            time.sleep(0.3)
    assert loader.workers == 0


@pytest.mark.parametrize(
    ("reading", "using", "workers"),
    [(0.2, 0.3, None), (0.1, 2.0, 0), (0.5, 1.0, 1), (3.0, 0.0, 4), (3, 1, 3), (9, 1, 4)],
)
def test_useful_workers(monkeypatch, reading, using, workers):
    monkeypatch.setattr(system, "processors", lambda: 4)
    assert loaders._useful_workers(reading, using) == workers
