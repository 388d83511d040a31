"""What a `_target_` may name, and how arguments are held against a signature."""

import importlib
import inspect
import pkgutil
import sys
import warnings

import pytest
import torch
from outside import OUTSIDE
from torch import nn

from dltrain.config import torchvision_allowlist
from dltrain.config.policy import Part, limited, resolve, user_allowed
from dltrain.errors import ConfigError, did_you_mean


@pytest.mark.parametrize(
    ("target", "slot"),
    [
        ("dltrain.models.MLP", "model"),
        ("dltrain.models.torchvision", "model"),
        ("torch.nn.Linear", "model"),
        ("torchvision.models.resnet18", "model"),
        ("dltrain.losses.auto", "loss"),
        ("torch.nn.CrossEntropyLoss", "loss"),
        ("torch.optim.AdamW", "optimizer"),
        ("dltrain.optim.Muon", "optimizer"),
        ("dltrain.schedules.onecycle", "scheduler"),
        ("torch.optim.lr_scheduler.CosineAnnealingLR", "scheduler"),
        ("dltrain.data.toy.moons", "data"),
    ],
)
def test_slots_take_their_own_kind(target, slot):
    assert callable(resolve(target, slot))


@pytest.mark.parametrize("target", ["torchvision.datasets.FakeData", "torchvision.transforms.v2.Compose"])
def test_datasets_and_transforms_stand_below_data(target):
    assert resolve(target, "data", nested=True).__name__ == target.split(".")[-1]


@pytest.mark.parametrize("target", OUTSIDE)
@pytest.mark.parametrize("nested", [False, True])
def test_everything_else_is_refused(target, nested):
    for slot in ("data", "model", "loss", "optimizer", "scheduler"):
        with pytest.raises(ConfigError):
            resolve(target, slot, nested=nested)


def test_objects_of_another_slot_are_refused():
    with pytest.raises(ConfigError, match=r"must come from dltrain.optim, torch.optim"):
        resolve("torch.nn.Linear", "optimizer")
    with pytest.raises(ConfigError, match=r"is not a model: it is no Module"):
        resolve("torchvision.models.ResNet18_Weights", "model")
    with pytest.raises(ConfigError, match=r"data=dataset data.dataset._target_=torchvision.datasets.MNIST"):
        resolve("torchvision.datasets.MNIST", "data")


def test_a_dataset_class_that_unpickles_is_refused():
    with pytest.raises(ConfigError, match=r"not allowed"):
        resolve("torchvision.datasets.LSUN", "data", nested=True)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package whose import leaves a file behind; `os` and a class of torch's are reachable through it."""
    marker = tmp_path / "imported"
    (tmp_path / "marked_pkg").mkdir()
    (tmp_path / "marked_pkg" / "__init__.py").write_text(
        f"import os, pathlib\nfrom torch.nn import Linear\npathlib.Path({str(marker)!r}).touch()\n"
        "class Net(Linear): pass\nclass Other: pass\ndef build(): return Linear(1, 1)\nconstant = 3\n"
        "from torch.utils.data import Dataset\nclass Rows(Dataset): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield marker
    sys.modules.pop("marked_pkg", None)


@pytest.mark.parametrize("target", ["marked_pkg.Net", "marked_pkg.os.system", "torch.nn.marked_pkg.Net"])
def test_nothing_outside_the_list_is_ever_imported(package, target):
    with pytest.raises(ConfigError, match=r"not allowed here|has no `marked_pkg`"):
        resolve(target, "model", ["another_pkg"])
    assert not package.exists()
    assert "marked_pkg" not in sys.modules


def test_the_refusal_says_how_to_allow(package):
    with pytest.raises(ConfigError, match=r"if marked_pkg is yours and you trust it, add --allow marked_pkg"):
        resolve("marked_pkg.Net", "model")
    with pytest.raises(ConfigError) as caught:  # but nobody is led to allow these
        resolve("os.system", "model")
    assert "--allow os" not in str(caught.value)


def test_an_allowed_package_gives_its_own_classes_and_functions(package):
    assert issubclass(resolve("marked_pkg.Net", "model", ["marked_pkg"]), nn.Linear)
    assert resolve("marked_pkg.build", "model", ["marked_pkg"])().in_features == 1
    assert resolve("marked_pkg.Other", "model", ["marked_pkg"], nested=True)
    assert package.exists()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("marked_pkg.os.system", r"name a class or a function"),
        ("marked_pkg.os.path.join", r"it is `posixpath.join`"),
        ("marked_pkg.constant", r"is a int; name a class or a function"),
        ("marked_pkg.Other", r"is not a model: it is no Module"),
        ("marked_pkg.Nett", r"`marked_pkg` has no `Nett`; did you mean `Net`\?"),
        ("missing_pkg.Net", r"there is no module `missing_pkg`"),
    ],
)
def test_allowed_packages_lead_no_further(package, target, message):
    with pytest.raises(ConfigError, match=message):
        resolve(target, "model", ["marked_pkg", "missing_pkg"])


def test_a_dataset_in_the_place_of_data_gets_the_right_spelling(package):
    with pytest.raises(ConfigError, match=r"write data=dataset data.dataset._target_=marked_pkg.Rows"):
        resolve("marked_pkg.Rows", "data", ["marked_pkg"])


def test_a_package_that_fails_to_import_says_why(tmp_path, monkeypatch):
    (tmp_path / "broken_pkg.py").write_text("import nothing_of_this_name\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match=r"importing broken_pkg failed: No module named 'nothing_of_this_name'"):
        resolve("broken_pkg.Net", "model", ["broken_pkg"])


@pytest.mark.parametrize(
    ("word", "options", "hint"),
    [
        ("adma", ["adamw", "adamax", "adam"], "; did you mean `adam`?"),
        ("epoch", ["epochs", "eval_every"], "; did you mean `epochs`?"),
        ("lr", ["optimizer.lr", "seed"], "; did you mean `optimizer.lr`?"),
        ("xyz", ["epochs"], ""),
        ("", ["epochs"], ""),
    ],
)
def test_did_you_mean(word, options, hint):
    assert did_you_mean(word, options) == hint


def test_a_part_passes_only_sizes_that_are_named_and_not_set():
    def make(in_features: int, hidden: int = 3) -> tuple[int, int]:
        return in_features, hidden

    assert Part(make, {})(in_features=5, out_features=2) == (5, 3)
    assert Part(make, {"in_features": 7, "hidden": 1})(in_features=5) == (7, 1)


# -- what the user allowed -------------------------------------------------------------------------------------


def test_allowed_packages_come_from_the_nearest_pyproject(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.dltrain]\nallow = ["my_pkg"]\n')
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert user_allowed(tmp_path / "a" / "b") == ["my_pkg"]
    (tmp_path / "a" / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert user_allowed(tmp_path / "a" / "b") == []


@pytest.mark.parametrize(
    "text",
    [
        '[tool.dltrain]\nallow = "my_pkg"\n',
        "[tool.dltrain\n",
        "tool = 1\n",
        "[tool]\ndltrain = [1]\n",
        f"a = {'[' * 100_000}\n",
        "a." * 100_000 + "a = 1\n",
        "a" * (4 << 20),
    ],
)
def test_a_wrong_pyproject_is_told(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"pyproject.toml.*(list of package names|can't be read)"):
        user_allowed(tmp_path)


# -- what a stored configuration may name ------------------------------------------------------------------------


def everything(*packages):
    """The dotted names of all that the modules of some packages hold, their own and what they imported."""
    for package in packages:
        for info in pkgutil.walk_packages(importlib.import_module(package).__path__, f"{package}."):
            with warnings.catch_warnings(action="ignore"):  # of modules that are old
                importlib.import_module(info.name)
    for module in [m for m in sys.modules if m.split(".")[0] in ("torch", "torchvision")]:
        yield from (f"{module}.{name}" for name in dir(sys.modules[module]))


def test_a_stored_file_may_name_what_computes_and_reads_and_nothing_else():
    """All that can be reached by name in torch and torchvision, in every slot."""
    passed = {}
    names = everything(
        "torchvision.datasets", "torchvision.transforms", "torchvision.models", "torch.nn", "torch.optim"
    )
    for name in dict.fromkeys(names):
        for slot in ("data", "model", "loss", "optimizer", "scheduler"):
            for nested in (False, True):
                try:
                    passed[resolve(name, slot, nested=nested, stored=True)] = name
                except ConfigError:
                    continue
    kinds = (nn.Module, torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler)
    for found, name in passed.items():
        package = ".".join(found.__module__.split(".")[:2])
        if package.startswith("torchvision"):
            assert found.__name__ in torchvision_allowlist.NAMES[package], name
        else:
            assert isinstance(found, type), name
            assert issubclass(found, kinds), name
    reached = {found.__name__ for found in passed}
    missing = [name for names in torchvision_allowlist.NAMES.values() for name in names if name not in reached]
    assert not missing, "names that this torchvision does not have"
    assert len(passed) > 300


@pytest.mark.parametrize("name", sorted(torchvision_allowlist.DATASETS))
def test_no_data_set_of_the_list_fetches_unpacks_or_unpickles_unasked(name, tmp_path, monkeypatch):
    """Beside an archive of every data set that torchvision would look for."""

    def trap(*_, **__):
        raise AssertionError("a trap")

    for place in ("urllib.request.urlopen", "tarfile.open", "zipfile.ZipFile.extractall", "os.makedirs", "os.mkdir"):
        monkeypatch.setattr(place, trap)
    monkeypatch.setattr("pickle.load", trap)
    found = resolve(f"torchvision.datasets.{name}", "data", nested=True, stored=True)
    arguments = limited(found, {"root": str(tmp_path), "download": True}, stored=True)
    needed = [
        p.name for p in inspect.signature(found).parameters.values() if p.default is p.empty and p.kind != p.VAR_KEYWORD
    ]
    given = {
        k: v for k, v in arguments.items() if k in inspect.signature(found).parameters or name in ("EMNIST", "QMNIST")
    }
    given |= {"split": "digits"} if "split" in needed else {}
    if name == "FakeData":
        assert len(found()) == 1000
        return
    assert given.get("download", False) is False
    with pytest.raises((RuntimeError, OSError), match=r"(?i)found|no such|corrupt|h5py|couldn't"):
        found(**given)
    assert not list(tmp_path.iterdir())


def test_what_is_stored_downloads_nothing_and_what_is_typed_may():
    found = resolve("torchvision.datasets.SEMEION", "data", nested=True, stored=True)
    assert limited(found, {"root": "x"}, stored=True) == {"root": "x", "download": False}  # its own default is True
    assert limited(found, {"root": "x", "download": True}, stored=False) == {"root": "x", "download": True}


def test_what_is_stored_makes_up_no_images_that_fill_the_memory():
    found = resolve("torchvision.datasets.FakeData", "data", nested=True, stored=True)
    large = {"image_size": [3, 20_000, 20_000]}
    with pytest.raises(ConfigError, match=r"a stored configuration may make up images of 16,777,216 numbers at most"):
        limited(found, large, stored=True)
    assert limited(found, large, stored=False) == large
    assert limited(found, {"image_size": [3, 224, 224]}, stored=True)


@pytest.mark.parametrize("stored", [False, True])
def test_pretrained_weights_come_by_one_way(stored):
    found = resolve("torchvision.models.resnet18", "model", stored=stored)
    assert limited(found, {"weights": None}, stored=stored) == {"weights": None}
    with pytest.raises(ConfigError, match=r"model=torchvision model.name=... model.weights="):
        limited(found, {"weights": "DEFAULT"}, stored=stored)


def test_nobody_is_led_to_type_what_stands_in_a_strangers_file():
    for name in (
        "evil_pkg.Net",
        "evil_pkg;rm -rf ~",
        "torchvision.datasets.ImageNet",
        "torchvision.datasets.MNIST",
        "Net",
    ):
        for slot in ("data", "model"):
            with pytest.raises(ConfigError) as caught:
                resolve(name, slot, stored=True)
            advice = str(caught.value).partition("` is not allowed here: ")[2]
            assert name not in advice
            assert "evil" not in advice
    with pytest.raises(ConfigError, match=r"is not allowed here"):
        resolve("torchvision.datasets.ImageNet", "data", nested=True, stored=True)
    assert resolve("torchvision.datasets.ImageNet", "data", ["torchvision.datasets.ImageNet"], nested=True, stored=True)
