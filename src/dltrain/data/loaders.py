"""Two loaders with one face: `epoch(n, start)` yields batches of (x, y, index), in an order that is a pure
function of (seed, epoch). A position in a run is therefore two integers, whatever the number of workers.

`weight` is how much each row of the split counts, float32 [N] on the CPU, of which a batch's index takes its own; None
where all count the same. `y` are all targets, on the device; None where they are read with their inputs.
"""

from __future__ import annotations

import atexit
import random
import signal
import threading
import time
import traceback
import weakref
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from math import ceil
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from dltrain.data import RawImages, Split, Tensors, Transform, weights
from dltrain.data.randomness import mix
from dltrain.data.units import Units
from dltrain.errors import DataError, DltrainError, streams, system

_GATHERED = 1 << 19  # bytes of shuffled input that are gathered at once: they stay in the cache until they are used
_FLOAT_BUDGET = 2 << 30  # bytes; larger uint8 image sets stay uint8 and are normalised batch by batch

_SHARE = 0.8  # of the free memory of a GPU that inputs may take

_TRIAL = 1.0  # seconds of reading and training after which a loader chooses its number of workers

_HERE = str(Path(__file__).parents[1])

_Read = tuple[Tensor, Tensor, int]  # x, y and the position of a sample
_with_workers: list[DataLoader[_Read]] = []  # those whose workers are still to be stopped


class Batch(NamedTuple):
    """x [B, ...], y [B] or [B, K], and index int64 [B]: the samples' positions in their split (on the CPU)."""

    x: Tensor
    y: Tensor
    index: Tensor


class Batches(Protocol):
    """What evaluation reads: the loaders here, and whatever yields their batches."""

    def epoch(self) -> Iterator[Batch]: ...


def order(n: int, *, seed: int, epoch: int) -> Tensor:
    """The permutation int64 [n] of one epoch: a pure function of (seed, epoch)."""
    generator = torch.Generator().manual_seed(mix(seed, epoch))
    return torch.randperm(n, generator=generator)


@contextmanager
def generators_kept() -> Iterator[None]:
    """Whatever is drawn inside, the global generators of torch (CPU), Python and NumPy are left as they were."""
    states = torch.default_generator.get_state(), random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        torch.default_generator.set_state(states[0])
        random.setstate(states[1])
        np.random.set_state(states[2])


def make_loader(
    dataset: Split,
    *,
    batch_size: int | None,
    shuffle: bool = False,
    seed: int = 0,
    device: torch.device | str = "cpu",
    workers: int | None = 0,
    transform: Transform | None = None,
) -> Loader:
    """The loader that suits the split: tensors live on the device, anything else streams through workers.

    `batch_size=None` is the whole split at once. `transform` is a per-sample function of an image (uint8
    [C, H, W]) that may draw from torch's, NumPy's and Python's global generators; it makes even tensors stream.
    `workers=None` measures how many the training keeps busy.
    """
    size = max(1, min(batch_size or len(dataset), len(dataset)))
    if isinstance(dataset, Tensors) and transform is None:
        return TensorLoader(dataset, batch_size=size, shuffle=shuffle, seed=seed, device=device)
    return StreamLoader(
        dataset,
        batch_size=size,
        shuffle=shuffle,
        seed=seed,
        device=device,
        workers=workers,
        transform=transform,
    )


def _shown(loader: TensorLoader | StreamLoader) -> str:
    order = f"shuffled by seed {loader.seed}" if loader.shuffle else "in order"
    name = type(loader).__name__
    return f"<{name}: {loader.samples:,} rows in {len(loader):,} batches of {loader.batch_size:,}, {order}>"


def _fits(x: Tensor, device: torch.device) -> bool:
    """Whether a device has room for all inputs, and for a net beside them."""
    return device.type != "cuda" or x.nbytes < _SHARE * torch.cuda.mem_get_info(device)[0]


class TensorLoader:
    """A split that lives on the device: an epoch is a permutation and slices. Inputs for which a GPU has no room stay
    where they are, and travel batch by batch.
    """

    def __init__(
        self,
        split: Tensors,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.batch_size, self.shuffle, self.seed, self.samples = batch_size, shuffle, seed, len(split)
        self.device = torch.device(device)
        x = split.x.to(self.device) if _fits(split.x, self.device) else split.x
        self._late = split if split.mean is not None and 4 * x.numel() > _FLOAT_BUDGET else None
        self.x = x if self._late else split.normalise(x)
        self.y = split.y.to(self.device)
        self.units, self.weight = split.units, split.weight
        self.batch_bytes: int | None = 4 * batch_size * max(1, x[:1].numel())
        batches = max(1, min(64, _GATHERED // self.batch_bytes))
        self._gathered = batches * batch_size  # rows at once: of a tiny batch the call costs more than the copy

    def __repr__(self) -> str:
        return _shown(self)

    def __len__(self) -> int:
        return ceil(self.samples / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The first epoch."""
        return self.epoch()

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Batches `start`, `start + 1`, ... of epoch number `epoch`."""
        if start >= len(self):
            return
        index, first = positions(self, epoch), start * self.batch_size
        if is_shuffled(self):
            index = index[first:]
            rows = index.to(self.device)  # once an epoch: a copy is a call that waits for what was called before it
            for part in zip(index.split(self._gathered), rows.split(self._gathered), strict=True):
                yield from self._gather(*part)
        else:
            for low in range(first, self.samples, self.batch_size):
                part = slice(low, low + self.batch_size)
                yield Batch(self._normalise(self.x[part].to(self.device)), self.y[part], index[part])

    def batches(self, rows: Iterable[Tensor], epoch: int) -> Iterator[Batch]:
        """A batch for each of these positions, int64 [B], of an epoch, in which tensors are as ever."""
        for index in rows:
            yield self._gather(index, index.to(self.device))[0]  # without a name: it is no memory for the next

    def _gather(self, index: Tensor, rows: Tensor) -> list[Batch]:
        x = self.x.index_select(0, index if self.x.device.type != self.device.type else rows).to(self.device)
        x, y = self._normalise(x), self.y.index_select(0, rows)
        if len(index) <= self.batch_size:
            return [Batch(x, y, index)]
        return list(map(Batch, *(t.split(self.batch_size) for t in (x, y, index))))

    def _normalise(self, x: Tensor) -> Tensor:
        return self._late.normalise(x) if self._late else x


class StreamLoader:
    """A torch `DataLoader` whose order and per-sample randomness depend on (seed, epoch, index) alone.

    A dataset with a method `normalise` (as `Tensors` has) yields raw uint8 images: they travel as bytes and are
    normalised on the device, after the transform.
    """

    def __init__(
        self,
        dataset: Split,
        *,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        device: torch.device | str = "cpu",
        workers: int | None = 0,
        transform: Transform | None = None,
    ) -> None:
        self.batch_size, self.shuffle, self.seed, self.samples = batch_size, shuffle, seed, len(dataset)
        self.device, self.workers = torch.device(device), workers
        self.batch_bytes: int | None = None
        self._normalise = dataset.normalise if isinstance(dataset, RawImages) else None
        self.units: Units | None = getattr(dataset, "units", None)
        self.weight = weights(dataset)
        self.y = dataset.y.to(self.device) if isinstance(dataset, Tensors) else None
        self._positions: list[list[tuple[int, int]]] = []  # of an epoch's batches; the sampler of the DataLoader
        self._dataset = Seeded(dataset, seed, transform)
        self._reading = self._using = 0.0  # seconds, until the number of workers is known
        self._loader = self._open(workers or 0)

    def __repr__(self) -> str:
        return _shown(self)

    def _open(self, workers: int) -> DataLoader[_Read]:
        loader = DataLoader(
            self._dataset,
            batch_sampler=self._positions,
            num_workers=workers,
            collate_fn=_collate,
            persistent_workers=workers > 0,
            pin_memory=self.device.type in ("cuda", "xpu"),
            worker_init_fn=_start_worker,
            generator=torch.Generator(),  # otherwise each epoch would draw a seed from the global generator
        )
        if workers:
            _with_workers.append(loader)
            # Not left to the garbage collector: in a cycle (a caught exception makes one) it closes the queues first,
            # and the workers never hear that they should end.
            weakref.finalize(self, _abandon, loader).atexit = False
        return loader

    def __len__(self) -> int:
        return ceil(self.samples / self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        """The first epoch."""
        return self.epoch()

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Batches `start`, `start + 1`, ... of epoch number `epoch`."""
        if start < len(self):
            yield from self.batches(positions(self, epoch)[start * self.batch_size :].split(self.batch_size), epoch)

    def batches(self, rows: Iterable[Tensor], epoch: int) -> Iterator[Batch]:
        """A batch for each of these positions, int64 [B], of an epoch."""
        left = [[(epoch, i) for i in index.tolist()] for index in rows]
        if self.workers is None:
            left = left[(yield from self._trial(left)) :]
        yield from self._read(left)

    def _trial(self, positions: list[list[tuple[int, int]]]) -> Iterator[Batch]:
        """Batches read here, until it is known how many workers the others need; returns how many they were."""
        batches, done = self._read(positions), 0
        while self.workers is None and done < len(positions):
            begin = time.perf_counter()
            batch = next(batches)
            end = time.perf_counter()
            yield batch
            done += 1
            if 1 < done < len(positions):  # the first opens files and compiles, and reports follow the last
                self._reading += end - begin
                self._using += time.perf_counter() - end
            self.workers = _useful_workers(self._reading, self._using)
        if self.workers:
            self._loader = self._open(self.workers)
        return done

    def _read(self, positions: list[list[tuple[int, int]]]) -> Iterator[Batch]:
        self._positions[:] = positions
        for batch in self._loader if positions else ():
            if isinstance(batch, DataError):
                raise batch
            x, y, rows = batch
            x, y = x.to(self.device, non_blocking=True), y.to(self.device, non_blocking=True)
            yield Batch(self._normalise(x) if self._normalise else x, y, rows)


Loader = TensorLoader | StreamLoader


def is_shuffled(loader: Loader) -> bool:
    """Whether the epochs of a loader differ in their order; a full batch has none."""
    return loader.shuffle and loader.batch_size < loader.samples


def positions(loader: Loader, epoch: int) -> Tensor:
    """The positions of an epoch's rows in their order, int64 [samples]."""
    if is_shuffled(loader):
        return order(loader.samples, seed=loader.seed, epoch=epoch)
    return torch.arange(loader.samples)


def _useful_workers(reading: float, using: float) -> int | None:
    """So many that reading keeps up with what is done with the batches, as far as there are processors; seconds of
    both so far, and None while they are few.
    """
    if reading + using < _TRIAL:
        return None
    if reading < 0.1 * using:  # a tenth is then all that could be won
        return 0
    return min(ceil(reading / max(using, 1e-9)), system.processors())


class Seeded(Dataset[_Read]):
    """Reads sample (epoch, i) with the global generators seeded by (seed, epoch, i), and leaves them as they were."""

    def __init__(self, dataset: Split, seed: int, transform: Transform | None) -> None:
        self.dataset, self.seed, self.transform = dataset, seed, transform

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, positions: list[tuple[int, int]]) -> list[_Read] | DataError:
        try:  # once a batch: saving the states costs 0.1 ms
            with generators_kept():
                return [self._read(epoch, i) for epoch, i in positions]
        except DataError as error:
            return error  # raised by the loader: a worker would bury the message in its traceback

    def _read(self, epoch: int, i: int) -> _Read:
        number = mix(self.seed, epoch, i)
        torch.default_generator.manual_seed(number)  # torch.manual_seed would seed the GPU's generator too, for good
        random.seed(number)
        np.random.seed(number & 0xFFFFFFFF)
        doing = "reading"
        try:
            x, y = self.dataset[i]
            doing = "changing"
            return (x if self.transform is None else self.transform(x)), y, i
        except DltrainError:
            raise
        except Exception as error:
            raise DataError(_told(error, f"while {doing} sample {i} of {type(self.dataset).__name__}")) from error


def _told(error: Exception, when: str) -> str:
    """What somebody's code raised, when and where: the loader of a worker would hand on its whole traceback."""
    when = [*getattr(error, "__notes__", ()), when][0]
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "site-packages" not in f.filename and not f.filename.startswith(_HERE)]
    text, place = " ".join(str(error).split())[:300], (own or frames)[-1]
    return f"{type(error).__name__} {when}: {text} (at {Path(place.filename).name}:{place.lineno})"


def _collate(samples: list[_Read] | DataError) -> tuple[Tensor, Tensor, Tensor] | DataError:
    if isinstance(samples, DataError):
        return samples
    x, y, index = map(list, zip(*samples, strict=True))
    target = default_collate(y)
    if target.dtype == torch.float64:  # Python floats collate to float64
        target = target.float()
    return default_collate(x), target, torch.tensor(index)


def _start_worker(_worker: int) -> None:
    streams.make_unfailing()
    # The main process decides when to stop: Ctrl-C and SIGTERM reach the whole group, and workers that died
    # first would make it fail before it could save.
    for number in system.STOPS:
        signal.signal(number, signal.SIG_IGN)


def _abandon(loader: DataLoader[_Read]) -> None:
    # The collector may run on any thread, also on one that carries messages to these very workers and would wait for
    # itself: then they are left for the end of the process. It also runs in a worker, over its copy of everything.
    if threading.current_thread() is threading.main_thread() and get_worker_info() is None:
        _stop_workers(loader)


def _stop_workers(loader: DataLoader[_Read]) -> None:
    _with_workers.remove(loader)
    iterator = getattr(loader, "_iterator", None)  # names of torch's own: without them the workers end by themselves
    if (end := getattr(iterator, "_shutdown_workers", None)) is not None:
        end()
        for worker in getattr(iterator, "_workers", ()):
            worker.kill()  # does nothing to one that ended, as it should have


@atexit.register  # runs before multiprocessing's own, which sends SIGTERM and then waits for ever
def _stop_all_workers() -> None:
    for loader in list(_with_workers):
        _stop_workers(loader)
