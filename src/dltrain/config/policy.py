"""What a `_target_` may name: default deny, checked before anything is imported. What it names is a Part.

A slot (model, optimizer, ...) accepts objects of its own kind that live in torch, torchvision or dltrain, or in
a package that the user allowed outside any YAML file (`--allow my_pkg`, or `[tool.dltrain] allow` in
pyproject.toml). An object counts as living where it was defined, so an alias such as
`torch.nn.functional.torch.load` or `my_pkg.os.system` leads nowhere. A stored configuration may name less, of
torchvision only what `allowlist` has, and what it names downloads nothing.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from math import prod
from operator import or_
from pathlib import Path
from typing import Any, TypeAlias

from dltrain import located
from dltrain.config import torchvision_allowlist
from dltrain.errors import ConfigError, did_you_mean
from dltrain.errors.paths import local
from dltrain.runs import foreign

Arguments: TypeAlias = dict[str, Any]  # of a node: plain values, and Parts of nodes that have a `_target_`, too
_MODULES = {  # slot -> modules whose own classes and functions it may name
    "data": ("dltrain.data",),
    "dataset": ("torchvision.datasets",),
    "transform": ("torchvision.transforms",),
    "model": ("dltrain.models", "dltrain.ensembles", "dltrain.codes", "torch.nn.modules", "torchvision.models"),
    "loss": ("dltrain.losses", "torch.nn.modules"),
    "optimizer": ("dltrain.optim", "torch.optim"),
    "scheduler": ("dltrain.schedules", "torch.optim.lr_scheduler"),
}
_KINDS = {  # slot -> its class, as a dotted name so that checking a name imports nothing
    "data": "dltrain.data.Data",
    "dataset": "torch.utils.data.Dataset",
    "transform": "builtins.object",
    "model": "torch.nn.Module",
    "loss": "torch.nn.Module",
    "optimizer": "torch.optim.Optimizer",
    "scheduler": "torch.optim.lr_scheduler.LRScheduler",
}
_NESTED = {
    "data": ("dataset", "transform"),
    "model": ("model",),
    "loss": ("loss",),
}  # slot -> what its arguments may be
_PUBLIC = {"torch.nn": "torch.nn.modules"}  # where classes are documented -> where they live
_DENIED = (
    "torchvision.datasets.lsun",  # unpickles a file beside the data
    "torchvision.datasets.utils",  # downloads from anywhere to anywhere
    "torchvision.datasets.folder.default_loader",
    "torchvision.models.detection",  # fetch weights of their own accord
    "torchvision.models.segmentation",
)
_LARGEST = 1 << 24  # numbers in an image
_LARGEST_PROJECT, _DEEPEST = 1 << 18, 1_000  # bytes of a pyproject.toml, and dots of a key in it


# -- names -----------------------------------------------------------------------------------------------------


def check_name(
    target: object, slot: str, allow: Sequence[str] = (), *, nested: bool = False, stored: bool = False
) -> str:
    """The name; raises ConfigError for one that this slot may not use whatever it stands for. Nothing is imported.

    `nested` is for a `_target_` among the arguments of a slot's own, `stored` for a configuration out of a file.
    """
    if not isinstance(target, str) or target == "???":
        raise ConfigError("say which class to use, by its dotted name: my_package.my_module.MyClass")
    modules = _modules(_slots(slot, nested))
    public = [p for p, m in _PUBLIC.items() if m in modules]
    parts = target.split(".")
    plain = len(parts) > 1 and all(p.isidentifier() and not p.startswith("__") for p in parts)
    if not (plain and _within(located(target), [*allow, *map(located, modules), *public])):
        raise ConfigError(f"`{target}` is not allowed here: {_remedy(target, slot, modules, stored=stored)}")
    if stored and target not in allow:
        _check_stored(target, *target.rpartition(".")[::2])
    return target


def _check_stored(target: str, home: str, name: str) -> None:
    """A stranger's file may name what computes and reads, nothing that downloads, unpacks or calls another function."""
    if not torchvision_allowlist.permits(home, name):
        raise ConfigError(
            f"`{target}` is not allowed here: a stored configuration may name fewer of torchvision's classes than you "
            "(docs: SECURITY.md); if you trust it, allow this one yourself, by --allow and its full name"
        )


def _modules(slots: Sequence[str]) -> list[str]:
    return [m for s in slots for m in _MODULES[s]]


def _slots(slot: str, nested: bool) -> Sequence[str]:
    return _NESTED.get(slot, ()) if nested else (slot,)


def resolve(
    target: object, slot: str, allow: Sequence[str] = (), *, nested: bool = False, stored: bool = False
) -> Callable[..., Any]:
    """The class or function that `target` names, if this slot may use it; else ConfigError."""
    target = check_name(target, slot, allow, nested=nested, stored=stored)
    slots = _slots(slot, nested)
    modules = [located(m) for m in _modules(slots)]
    found = _import(target)
    home, name = getattr(found, "__module__", None) or "?", getattr(found, "__qualname__", "?")
    if not (inspect.isclass(found) or inspect.isfunction(found)):
        raise ConfigError(f"`{target}` is a {type(found).__name__}; name a class or a function")
    own = _within(home, allow)
    if not own and (not _within(home, modules) or _within(f"{home}.{name}", _DENIED) or name.startswith("_")):
        raise ConfigError(f"`{target}` is not allowed here: it is `{home}.{name}`")
    if stored and not own and target not in allow:
        _check_stored(target, home, name)
    if not (own and (nested or inspect.isfunction(found))):
        _check_kind(target, found, slots)
    return found


def _check_kind(target: str, found: Callable[..., object], slots: Sequence[str]) -> None:
    """Whether it is, or is annotated to return, what the slot holds."""
    made = found if inspect.isclass(found) else type_hints(found).get("return")
    if slots == ("scheduler",) and not inspect.isclass(found) and is_of_kind(found, "scheduler"):
        return  # returns a function of the step
    kinds = tuple(_import(_KINDS[s]) for s in slots)
    if inspect.isclass(made) and issubclass(made, kinds):
        return
    if slots == ("data",) and inspect.isclass(made) and issubclass(made, _import(_KINDS["dataset"])):
        raise ConfigError(f"`{target}` is a Dataset: write data=dataset data.dataset._target_={target}")
    article = "an" if slots[0][0] in "aeiou" else "a"
    raise ConfigError(f"`{target}` is not {article} {slots[0]}: it is no {' or '.join(k.__name__ for k in kinds)}")


def is_of_kind(function: object, slot: str) -> bool:
    """Whether it is a class of what a slot holds, or a schedule of dltrain."""
    if inspect.isfunction(function):
        return slot == "scheduler" and function.__module__ == located("dltrain.schedules")
    return inspect.isclass(function) and issubclass(function, _import(_KINDS[slot]))


@lru_cache(maxsize=512)
def parameters(function: Callable[..., object]) -> Mapping[str, inspect.Parameter]:
    """Those of a signature, which is looked at once; raises TypeError or ValueError where there is none."""
    return inspect.signature(function).parameters


@lru_cache(maxsize=512)
def type_hints(function: Callable[..., object]) -> Mapping[str, object]:
    """Those of a signature, worked out once; none where they name what can't be imported."""
    try:
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:
        return {}
    return {name: _bare(hint) for name, hint in hints.items()}


def _bare(hint: object) -> object:
    """`Dataset | None` for `Dataset[object] | None`: what an object holds shows when it is used."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return reduce(or_, map(_bare, typing.get_args(hint)))
    return origin if inspect.isclass(origin) and issubclass(origin, typing.Generic) else hint


def _within(name: str, modules: Iterable[str]) -> bool:
    return any(name == m or name.startswith(f"{m}.") for m in modules)


def _remedy(target: str, slot: str, modules: Sequence[str], *, stored: bool) -> str:
    package = target.split(".")[0]
    readable = ", ".join(dict.fromkeys(m.removesuffix(".modules") for m in modules)) or "nowhere, this takes no classes"
    if stored:  # nobody is led to type what stands in a stranger's file
        return f"it must come from {readable}; a package of your own you name yourself, by --allow"
    if slot == "data" and _within(target, _MODULES["dataset"]):
        return f"a dataset goes one level down: data=dataset data.dataset._target_={target}"
    if package in sys.stdlib_module_names or package in ("torch", "torchvision", "dltrain"):
        return f"it must come from {readable}, or from a package of yours that you allow"
    if "." not in target:
        return f"write the module too, such as my_package.{target}"
    return f"it must come from {readable}; if {package} is yours and you trust it, add --allow {package} to the command"


def _import(target: str) -> Any:
    """The object at a dotted name: the longest importable module, then attributes."""
    parts = located(target).split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                continue
            raise ConfigError(f"importing {name} failed: {error}") from error
        except (Exception, SystemExit) as error:
            raise ConfigError(f"importing {name} failed: {type(error).__name__}: {error}") from error
        for i, part in enumerate(parts[cut:], cut):
            if not hasattr(found, part):
                close = did_you_mean(part, [n for n in dir(found) if not n.startswith("_")])
                raise ConfigError(f"`{'.'.join(parts[:i])}` has no `{part}`{close}")
            found = getattr(found, part)
        return found
    raise ConfigError(f"there is no module `{parts[0]}`, neither in {Path.cwd()} nor among the installed packages")


def limited(function: Callable[..., object], given: Arguments, *, stored: bool) -> Arguments:
    """The arguments of one of torchvision's: a root on this machine, and no leave to download where they were stored.

    Raises ConfigError for pretrained weights, which torchvision would unpickle; those of `models.torchvision` are
    checked before they are read.
    """
    home = function.__module__ or ""
    if _within(home, _MODULES["model"][-1:]) and any(k.startswith("weights") and given[k] is not None for k in given):
        raise ConfigError("pretrained weights come with model=torchvision model.name=... model.weights=...")
    if not _within(home, _MODULES["dataset"]):
        return given
    if isinstance(root := given.get("root"), str):
        given = given | {"root": str(local(root))}
    if not stored:
        return given
    if isinstance(sides := given.get("image_size"), list) and prod(n for n in sides if foreign.is_number(n)) > _LARGEST:
        raise ConfigError(
            f"image_size={sides}: a stored configuration may make up images of {_LARGEST:,} numbers at most"
        )
    asked = "download" in given or "download" in parameters(function)
    return given | ({"download": False} if asked else {})


@dataclass(frozen=True)
class Part:
    """A resolved `_target_` and its arguments, which may hold further Parts."""

    function: Callable[..., Any]
    arguments: Arguments

    def __call__(self, *args: object, **sizes: object) -> Any:
        """Builds it; of `sizes` only what the signature names and the configuration does not set is passed."""
        chosen = {n: v for n, v in sizes.items() if n in self.names and n not in self.arguments}
        return self.function(*args, **chosen, **{k: _build(v) for k, v in self.arguments.items()})

    @property
    def functions(self) -> list[Callable[..., object]]:
        """What it calls, and what the Parts among its arguments call."""
        found, left = [self.function], [*self.arguments.values()]
        while left:
            value = left.pop()
            if isinstance(value, Part):
                found += value.functions
            elif isinstance(value, (list, dict)):
                left += value.values() if isinstance(value, dict) else value
        return found

    @property
    def names(self) -> set[str]:
        """The parameters that the signature names."""
        try:
            return set(parameters(self.function))
        except (TypeError, ValueError):  # a class in C without a signature
            return set()


def _build(value: object) -> object:
    if isinstance(value, Part):
        return value()
    if isinstance(value, list):
        return [_build(v) for v in value]
    return {k: _build(v) for k, v in value.items()} if isinstance(value, dict) else value


# -- what the user allowed -------------------------------------------------------------------------------------


def user_allowed(start: Path) -> list[str]:
    """Packages that `[tool.dltrain] allow = [...]` names in the pyproject.toml of `start` or a folder above it."""
    import tomllib

    file = next((f / "pyproject.toml" for f in (start, *start.parents) if (f / "pyproject.toml").is_file()), None)
    if file is None:
        return []
    try:
        with file.open("rb") as opened:
            content = opened.read(_LARGEST_PROJECT + 1)
        if len(content) > _LARGEST_PROJECT:
            raise ValueError(f"it is larger than {_LARGEST_PROJECT:,} bytes")
        if any(line.count(b".") > _DEEPEST for line in content.splitlines()):  # tomllib takes the square of it
            raise ValueError(f"a line of it has more than {_DEEPEST:,} dots")
        found: object = tomllib.loads(content.decode().replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} can't be read: {error}") from error
    levels: tuple[tuple[str, object], ...] = (("tool", {}), ("dltrain", {}), ("allow", []))
    for key, missing in levels:
        found = found.get(key, missing) if isinstance(found, dict) else None
    if not (isinstance(found, list) and all(isinstance(name, str) for name in found)):
        raise ConfigError(f'{file}: [tool.dltrain] allow is a list of package names, such as ["my_pkg"]')
    return found
