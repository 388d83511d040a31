"""A user's own Dataset: what is inferred from it, how it is split, and what is refused."""

import io
import os
import pickle
import random
import tarfile
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image
from torch.utils.data import Dataset, IterableDataset, TensorDataset
from torchvision.datasets import FGVCAircraft, ImageFolder

from dltrain.config import construct
from dltrain.config.policy import Part
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.data.sources import image_sets
from dltrain.data.sources.own import Samples, dataset
from dltrain.errors import ConfigError, DataError


@dataclass
class Pairs(Dataset):
    """Any list of samples; counts how often each is read."""

    samples: list[Any]
    reads: list[int] = field(default_factory=list)

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, i):
        self.reads.append(i)
        return self.samples[i]


class Labelled(Pairs):
    """With the two attributes that torchvision's sets have."""

    classes = ("ant", "bee", "cow")

    @property
    def targets(self):
        return [y for _, y in self.samples]


class Noisy(Pairs):
    """With random transforms of its own, drawn from all three global generators."""

    def __getitem__(self, i):
        x, y = self.samples[i]
        return x + torch.rand(()) + random.random() + np.random.rand(), y


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(2), 0


def pairs(n=30, classes=3, kind=Pairs):
    x = torch.randn(n, 4)
    return kind([(x[i], i % classes) for i in range(n)])


def whole(part):
    """The x and y of a split, in its own order."""
    (batch,) = make_loader(part, batch_size=None).epoch()
    return batch.x, batch.y


def test_class_indices_are_inferred_from_the_samples():
    source = pairs()
    data = dataset(source, val=6, test=6)
    assert (data.task, data.classes, data.in_shape) == ("multiclass", ("0", "1", "2"), (4,))
    assert isinstance(data.train, Samples)
    assert [len(part) for part in (data.train, data.val, data.test)] == [18, 6, 6]
    for part, share in ((data.train, 6), (data.val, 2), (data.test, 2)):  # stratified: the labels were read
        x, y = whole(part)
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert y.bincount().tolist() == [share] * 3
        for row, label in zip(x, y, strict=True):
            original = [torch.equal(row, each) for each, _ in source.samples].index(True)
            assert source.samples[original][1] == label
    rows = np.concatenate([data.train.rows, data.val.rows, data.test.rows])
    assert sorted(rows) == list(range(30))
    assert np.array_equal(dataset(source, val=6, test=6).val.rows, data.val.rows)
    assert not np.array_equal(dataset(source, val=6, test=6, split_seed=1).val.rows, data.val.rows)


@pytest.mark.parametrize("in_memory", [False, True])
def test_a_class_of_one_sample_leaves_the_others_their_shares(in_memory):
    source = Pairs([(torch.randn(4), i % 2 if i else 2) for i in range(41)])
    data = dataset(source, val=8, test=8, in_memory=in_memory)
    assert [whole(part)[1].bincount(minlength=3).tolist() for part in (data.val, data.test)] == [[4, 4, 0]] * 2
    assert "with one row, which is left to train on, so not judged: class 2" in data.notes


def test_known_labels_and_class_names_spare_the_reading():
    source = pairs(kind=Labelled)
    data = dataset(source, val=6, test=6)
    assert data.classes == ("ant", "bee", "cow")
    assert set(source.reads) == {0}
    assert whole(data.val)[1].bincount().tolist() == [2, 2, 2]
    plain = pairs()
    named = dataset(plain, val=6, test=6, classes=["a", "b", "c"])
    assert named.classes == ("a", "b", "c")
    assert set(plain.reads) == {0}
    assert dataset(pairs(), classes=5).classes == ("0", "1", "2", "3", "4")
    assert dataset(pairs(classes=2)).task == "binary"
    assert dataset(pairs(classes=2), task="multiclass").task == "multiclass"


class Renumbered(Labelled):
    """A dataset whose samples do not carry the labels that it lists, as with a target_transform."""

    def __getitem__(self, i):
        x, y = super().__getitem__(i)
        return x, 2 - y


def test_targets_that_disagree_with_the_samples_are_not_believed():
    source = pairs(kind=Renumbered)
    data = dataset(source, val=6, test=6)
    assert whole(data.train)[1].tolist() == [2 - int(row) % 3 for row in data.train.rows]


@pytest.mark.parametrize("in_memory", [False, True])
@pytest.mark.parametrize("y", [1, np.int64(1), np.uint8(1), torch.tensor(1), torch.tensor([1]), True])
def test_every_way_to_write_a_class_index(y, in_memory):
    source = Pairs([(np.zeros(3), y), ([0, 1, 2], 0)] * 5)
    data = dataset(source, val=2, test=2, in_memory=in_memory)
    assert (data.task, data.in_shape) == ("binary", (3,))
    x, labels = whole(data.train)
    assert (x.dtype, labels.dtype, labels.shape) == (torch.float32, torch.int64, (6,))


def test_float_class_indices_need_the_task_said():
    source = Pairs([(torch.zeros(2), float(i % 2)) for i in range(20)])
    assert dataset(source).task == "regression"
    data = dataset(source, task="binary")
    assert (data.task, whole(data.train)[1].dtype) == ("binary", torch.int64)


def test_streamed_regression_keeps_its_units():
    source = Pairs([(torch.tensor([i / 10]), 100.0 + i) for i in range(30)])
    data = dataset(source, val=5, test=5)
    assert (data.task, data.targets, data.classes) == ("regression", ("target",), ())
    assert data.units is None
    assert "streamed targets keep their own units" in data.notes[0]
    x, y = whole(data.val)
    assert (y.shape, y.dtype) == ((5, 1), torch.float32)
    torch.testing.assert_close(y, 100 + 10 * x)


def test_regression_in_memory_is_standardised_on_the_train_rows():
    source = Pairs([(torch.tensor([float(i)]), np.array([100.0 + i, -i])) for i in range(30)])
    data = dataset(source, val=5, test=5, in_memory=True)
    assert (data.targets, isinstance(data.train, Tensors)) == (("target_0", "target_1"), True)
    rows = data.train.x.double()
    assert data.units.mean.tolist() == pytest.approx([100 + rows.mean().item(), -rows.mean().item()])
    assert data.units.std.tolist() == pytest.approx([rows.std(correction=0).item()] * 2)
    original = data.test.y * data.units.std + data.units.mean
    torch.testing.assert_close(original, torch.cat([100 + data.test.x, -data.test.x], 1))


def test_targets_far_from_zero_keep_their_differences_in_memory_and_are_refused_streamed():
    source = Pairs([(torch.tensor([float(i)]), 1.7e12 + 1e4 * i) for i in range(30)])
    data = dataset(source, val=5, test=5, in_memory=True)
    original = data.test.y.double() * data.units.std + data.units.mean
    assert ((original - 1.7e12) / 1e4).flatten().tolist() == pytest.approx(data.test.x.flatten().tolist(), abs=1e-3)
    with pytest.raises(DataError, match=r"targets .* 1\.7e\+12 .*\n?.*data\.in_memory=true"):
        dataset(source, val=5, test=5)


@pytest.mark.parametrize("in_memory", [False, True])
def test_multilabel(in_memory):
    source = Pairs([(torch.zeros(2, 3), torch.tensor([i % 2, 1, 0])) for i in range(20)])
    with pytest.raises(ConfigError, match=r"dataset\[0\]: y is a vector of 3 integers: .*data\.task=multilabel"):
        dataset(source)
    data = dataset(source, task="multilabel", in_memory=in_memory)
    assert (data.task, data.classes, data.in_shape) == ("multilabel", ("label_0", "label_1", "label_2"), (2, 3))
    assert whole(data.train)[1].dtype == torch.float32
    assert dataset(source, task="multilabel", classes=["a", "b", "c"], in_memory=in_memory).classes == ("a", "b", "c")
    with pytest.raises(ConfigError, match=r"data\.classes names 2 labels, but y has 3 values"):
        dataset(source, task="multilabel", classes=["a", "b"])
    source.samples[7] = (torch.zeros(2, 3), torch.tensor([0, 2, 0]))
    with pytest.raises(DataError, match=r"dataset\[7\]: y = \[0.0, 2.0, 0.0\], but multilabel targets are 0 or 1"):
        whole(dataset(source, task="multilabel", val=0, in_memory=in_memory, test=0).train)


@pytest.mark.parametrize("in_memory", [False, True])
def test_given_parts_are_used_as_they_are(in_memory):
    source, val, test = pairs(), pairs(6), pairs(9)
    data = dataset(source, val_dataset=val, test_dataset=test, val=0.5, test=0, in_memory=in_memory)
    assert torch.equal(whole(data.val)[0], torch.stack([x for x, _ in val.samples]))
    assert torch.equal(whole(data.test)[1], torch.arange(9) % 3)
    assert torch.equal(whole(data.train)[0], torch.stack([x for x, _ in source.samples]))
    assert data.notes == ("data.val=0.5 is not used: data.val_dataset is given",)
    with pytest.raises(DataError, match=r"val_dataset\[0\]: x has the shape \[3\], dataset\[0\] has \[4\]"):
        dataset(source, val_dataset=Pairs([(torch.zeros(3), 0)]), in_memory=in_memory)
    odd = Pairs([(torch.zeros(4), 0), (torch.zeros(4), 3)])
    with pytest.raises(DataError, match=r"test_dataset\[1\]: label 3 is out of range: class indices are 0 to 2"):
        whole(dataset(source, test_dataset=odd, in_memory=in_memory).test)


@pytest.mark.parametrize("in_memory", [True, False])
def test_folds_have_each_sample_once_where_the_test_part_is_not_given(in_memory):
    pairs = Labelled([(torch.tensor([float(i)]), i % 3) for i in range(20)])
    made = [dataset(pairs, test=f"{k}/4", in_memory=in_memory) for k in range(1, 5)]
    assert sorted(int(data.test[i][0]) for data in made for i in range(len(data.test))) == list(range(20))
    with pytest.raises(DataError, match=r"4 folds: data\.test_dataset is given"):
        dataset(pairs, test="1/4", test_dataset=pairs)


def test_without_validation_and_test_rows_the_train_rows_stand_in():
    data = dataset(pairs(), val=0, test=0)
    assert data.val is data.train
    assert data.test is data.train
    assert len(data.notes) == 2


def test_in_memory_reads_every_sample_once():
    source = pairs(kind=Noisy)
    one = dataset(source, in_memory=True)
    torch.manual_seed(5)
    two = dataset(source, in_memory=True)
    assert torch.equal(one.train.x, two.train.x)  # frozen, but not by chance
    assert not torch.equal(one.train.x, dataset(source, in_memory=True, split_seed=1).train.x)
    plain = pairs()
    dataset(plain, in_memory=True)
    assert sorted(plain.reads[-30:]) == list(range(30))


@pytest.mark.parametrize("in_memory", [False, True])
def test_opening_a_dataset_leaves_the_global_generators_alone(in_memory):
    source, val = pairs(kind=Noisy), pairs(kind=Noisy)
    before = torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())
    dataset(source, val_dataset=val, in_memory=in_memory)
    assert (torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())) == before


def test_random_transforms_of_a_dataset_do_not_depend_on_workers():
    part = dataset(pairs(kind=Noisy), classes=3).train
    here, apart = (make_loader(part, batch_size=5, shuffle=True, seed=1, workers=workers) for workers in (0, 2))
    for epoch in range(2):
        for one, two in zip(here.epoch(epoch), apart.epoch(epoch), strict=True):
            assert torch.equal(one.x, two.x)
    assert not torch.equal(next(here.epoch(0)).x, next(here.epoch(1)).x)


def test_torchs_own_datasets_work():
    data = dataset(TensorDataset(torch.zeros(20, 1, 5, 5, dtype=torch.uint8), torch.arange(20) % 2))
    assert (data.task, data.in_shape) == ("binary", (1, 5, 5))
    assert "x is uint8, taken as float32 as it stands" in data.notes[0]


# -- what is refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        (Endless(), ConfigError, r"data\.dataset is an IterableDataset \(Endless\): it has no length"),
        ({"x": 1}, ConfigError, r"data\.dataset is a dict, not a dataset with __len__ and __getitem__"),
        (Pairs([]), DataError, r"data\.dataset \(Pairs\) is empty"),
        (Pairs([{"x": 1, "y": 2}]), DataError, r"dataset\[0\] is a dict of 2; expected a pair \(x, y\)"),
        (Pairs([torch.zeros(3)]), DataError, r"dataset\[0\] is a Tensor of 3; expected a pair"),
        (Pairs([(1, 2, 3)]), DataError, r"dataset\[0\] is a tuple of 3; expected a pair"),
        (
            Pairs([(Image.new("L", (2, 2)), 0)]),
            DataError,
            r"dataset\[0\]: x is not .*\(a PIL.Image.Image\)\nMake",
        ),
        (Pairs([(torch.zeros(2), "cat")]), DataError, r"dataset\[0\]: y is not made of numbers \(a builtins.str\)"),
        (Pairs([(["a"], 0)]), DataError, r"dataset\[0\]: x is not made of numbers"),
        (Pairs([(torch.zeros(2), torch.zeros(2, 2))]), DataError, r"dataset\[0\]: y has the shape \[2, 2\]"),
        (Pairs([(torch.zeros(2), None)]), DataError, r"dataset\[0\]: y is not made of numbers \(a builtins.NoneType\)"),
        (Pairs([(torch.zeros(2), 0)] * 5), DataError, "at least two classes are needed, there is only '0'"),
        (Pairs([(torch.zeros(2), -1)] * 5), DataError, r"dataset\[0\]: label -1 is out of range: .* counted from 0"),
    ],
)
def test_datasets_that_cannot_be_used(source, error, message):
    with pytest.raises(error, match=message) as caught:
        dataset(source)
    assert len(str(caught.value).splitlines()) <= 3


def test_labels_out_of_range():
    source = pairs(kind=Labelled)
    source.samples[17] = (torch.zeros(4), 3)
    with pytest.raises(DataError, match=r"dataset\[17\]: label 3 is out of range: there are 3 classes from 0"):
        dataset(source)
    source = pairs()
    source.samples[17] = (torch.zeros(4), 3)
    with pytest.raises(DataError, match=r"dataset\[17\]: label 3 is out of range: there are 3 classes from 0"):
        dataset(source, classes=3, in_memory=True)
    with pytest.raises(DataError, match=r"dataset\[17\]: label 3 is out of range: class indices are 0 to 2"):
        whole(dataset(source, classes=3, val=0, test=0).train)
    source.samples[17] = (torch.zeros(4), 1.5)
    with pytest.raises(DataError, match=r"dataset\[17\]: y = 1.5 is not a class index"):
        dataset(source)


@pytest.mark.parametrize("kind", [Pairs, Labelled])
def test_whole_numbers_that_are_no_classes_need_a_word(kind, monkeypatch):
    monkeypatch.setattr(Labelled, "classes", None)
    amounts = [2**40, *range(0, 24_000, 120)]
    for labels in (amounts, [2**62] * 5 + [0] * 5, [7 * i % 1000 for i in range(150)], list(range(30))):
        source = kind([(torch.zeros(2), label) for label in labels])
        for in_memory in (False, True):
            with pytest.raises(DataError, match=r"data\.task=regression") as caught:
                dataset(source, in_memory=in_memory)
            assert f"{max(labels)}" in str(caught.value)
    assert dataset(source, classes=30).classes == tuple(map(str, range(30)))
    assert dataset(source, task="regression").task == "regression"
    with pytest.raises(ConfigError, match=r"data\.classes=1099511627776: at most 1,000,000"):
        dataset(source, classes=2**40)
    ages = kind([(torch.zeros(2), i % 90) for i in range(900)])
    assert any("90 classes" in note and "data.task=regression" in note for note in dataset(ages).notes)
    assert len(dataset(ages, classes=90).notes) == 0


def test_samples_that_differ_from_the_first():
    source = pairs()
    source.samples[20] = (torch.zeros(5), 0)
    with pytest.raises(DataError, match=r"dataset\[20\]: x has the shape \[5\], dataset\[0\] has \[4\]"):
        dataset(source)
    source = Pairs([(torch.zeros(2), torch.zeros(2))] * 9 + [(torch.zeros(2), torch.zeros(3))])
    with pytest.raises(DataError, match=r"dataset\[9\]: y has 3 values, dataset\[0\] has 2"):
        dataset(source, in_memory=True)


def test_absurd_targets_are_named_and_what_becomes_of_them():
    samples = [(torch.zeros(2), float(i)) for i in range(60)]
    samples[17] = (torch.zeros(2), 1e30)
    data = dataset(Pairs(samples), in_memory=True, val=0, test=0)
    (note,) = (note for note in data.notes if "far" in note)
    assert note == (
        "target 'target': 1 value far from all others (1e+30 at row 17), learned as it stands: beside it the others "
        "hardly differ; correct or remove it"
    )


class Broken(Pairs):
    """Its sample 17 can't be read, from some reading on."""

    whole = 0  # readings that go well

    def __getitem__(self, i):
        if i == 17 and self.reads.count(17) >= self.whole:
            raise KeyError("no such\npicture")
        return super().__getitem__(i)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_dataset_raises_names_the_sample_and_the_class(workers):
    told = r"KeyError while reading dataset\[17\] of Broken: .*no such.*picture.* \(at test_own_datasets.py:\d+\)"
    source = pairs(kind=Broken)
    with pytest.raises(DataError, match=told):
        dataset(source, in_memory=True)
    source = pairs(kind=Broken)
    source.classes, source.whole = ["a", "b", "c"], 1
    data = dataset(source, val=0, test=0)
    source.whole = 0
    with pytest.raises(DataError, match=told):
        list(make_loader(data.train, batch_size=4, workers=workers, shuffle=True).epoch())
    with pytest.raises(DataError, match=r"KeyError while reading sample 17 of Broken: .*no such"):
        list(make_loader(source, batch_size=4, workers=workers).epoch())
    source.whole = 100
    with pytest.raises(DataError, match=r"ZeroDivisionError while changing sample 0 of Samples: .* \(at test_own_d"):
        list(make_loader(data.train, batch_size=4, workers=workers, transform=lambda _: 1 // 0).epoch())
    source.whole = 0
    with pytest.raises(KeyError, match="no such") as caught:
        data.train[data.train.rows.tolist().index(17)]
    assert caught.value.__notes__ == ["while reading dataset[17] of Broken"]


def test_not_a_number_in_memory():
    source = pairs()
    source.samples[4] = (torch.tensor([0, float("nan"), 0, 0]), 1)
    with pytest.raises(DataError, match=r"dataset\[4\]: x or y holds NaN or infinity"):
        dataset(source, in_memory=True)


def test_knobs_that_do_not_fit():
    values = Pairs([(torch.zeros(2), float(i)) for i in range(9)])
    with pytest.raises(ConfigError, match=r"data\.classes=3: the targets are real numbers \(task regression\)"):
        dataset(values, classes=3)
    with pytest.raises(ConfigError, match=r"data\.task=binary, but there are 3 classes"):
        dataset(pairs(), task="binary")
    with pytest.raises(ConfigError, match=r"data\.classes=1: at least 2"):
        dataset(pairs(), classes=1)
    with pytest.raises(DataError, match=r"data\.val=30 leaves no training rows"):
        dataset(pairs(), val=30, test=0)
    with pytest.raises(DataError, match="target 'target' is 5 in every one of"):
        dataset(Pairs([(torch.zeros(2), 5.0)] * 30), in_memory=True)


@pytest.mark.parametrize("typed", [True, False])
def test_what_torchvision_unpacks_stays_in_its_folder(tmp_path, monkeypatch, typed):
    """FGVCAircraft unpacks with no hash and no filter: the filter is ours, and for a stored file it unpacks nothing."""
    root = tmp_path / "data"
    root.mkdir()
    with tarfile.open(root / "fgvc-aircraft-2013b.tar.gz", "w:gz") as archive:
        for name in ("../outside", "fgvc-aircraft-2013b/data/variants.txt"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    part = Part(FGVCAircraft, {"root": str(root), "download": typed})
    before = tarfile.TarFile.extraction_filter
    with pytest.raises((tarfile.FilterError, RuntimeError), match=r"outside the destination|Dataset not found"):
        construct.make_data(part, stored=not typed)
    assert not (tmp_path / "outside").exists()
    assert (root / "fgvc-aircraft-2013b").exists() <= typed
    assert tarfile.TarFile.extraction_filter is before


def test_nothing_is_fetched_for_a_stored_configuration(tmp_path):
    for source in (image_sets.mnist, image_sets.cifar10):
        with pytest.raises(DataError, match=r"nothing is downloaded for a stored configuration"):
            construct.make_data(Part(source, {"root": str(tmp_path / "new")}), stored=True)
    assert not (tmp_path / "new").exists()


def test_a_picture_that_is_a_program_is_not_run(tmp_path, monkeypatch):
    """Pillow gives PostScript to Ghostscript, also where the file is called a.png."""
    program, ran = tmp_path / "gs", tmp_path / "ran"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    file = tmp_path / "pictures" / "a" / "0.png"
    Image.new("RGB", (2, 2)).save(file, format="EPS")
    found = ImageFolder(str(tmp_path / "pictures"))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with pytest.raises(OSError, match="Ghostscript"):
        dataset(found)
    sent = pickle.dumps(Samples(found, np.arange(1), "x", (3, 2, 2), "class", 1))
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    with pytest.raises(OSError, match="Ghostscript"):
        pickle.loads(sent)[0]
    assert not ran.exists()
