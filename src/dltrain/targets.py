"""What a `_target_` may name, and whether its arguments fit: default deny, checked before anything is imported.

A slot (model, optimizer, ...) accepts objects of its own kind that live in torch, torchvision or dltrain, or in
a package that the user allowed outside any YAML file (`--allow my_pkg`, or `[tool.dltrain] allow` in
pyproject.toml). The name a config gives must be the object's own, so an alias such as
`torch.nn.functional.torch.load` leads nowhere.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Union

from dltrain.errors import ConfigError

_MODULES = {  # slot -> modules whose own classes and functions it may name
    "data": ("dltrain.data",),
    "dataset": ("torchvision.datasets",),
    "transform": ("torchvision.transforms",),
    "model": ("dltrain.models", "torch.nn.modules", "torchvision.models"),
    "loss": ("dltrain.losses", "torch.nn.modules"),
    "optimizer": ("dltrain.optim", "torch.optim"),
    "scheduler": ("dltrain.schedules", "torch.optim.lr_scheduler"),
}
_KINDS = {  # slot -> classes, as dotted names so that checking a name imports nothing
    "data": ("dltrain.data.Data",),
    "dataset": ("torch.utils.data.Dataset",),
    "transform": ("torch.nn.Module", "torchvision.transforms.Compose"),
    "model": ("torch.nn.Module",),
    "loss": ("torch.nn.Module",),
    "optimizer": ("torch.optim.Optimizer",),
    "scheduler": ("torch.optim.lr_scheduler.LRScheduler",),
}
_NESTED = {"data": ("dataset", "transform"), "model": ("model",), "loss": ("loss",)}
_NESTED |= {"dataset": ("transform", "dataset"), "transform": ("transform",)}
_PUBLIC = {  # where classes are documented -> where they live
    "torch.nn": "torch.nn.modules",
    "torchvision.transforms.v2": "torchvision.transforms.v2",
    "torchvision.datasets": "torchvision.datasets",
}


def did_you_mean(word: str, options: Iterable[str]) -> str:
    """`; did you mean `x`?`, or nothing when nothing is close."""
    options = [str(o) for o in options]
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.55)
    if not close:
        close = [o for o in options if word and (o.endswith(f".{word}") or o.split(".")[-1] == word)][:1]
    return f"; did you mean `{close[0]}`?" if close else ""


def resolve(target: str, slot: str, allow: Sequence[str] = ()) -> Callable[..., Any]:
    """The class or function that `target` names, if this slot may use it; else ConfigError."""
    if not isinstance(target, str) or target == "???":
        raise ConfigError("say which class to use: its dotted name, such as my_package.my_module.MyNet")
    slots = (slot, *_NESTED.get(slot, ())) if slot != "nested" else tuple(_MODULES)
    parts = target.split(".")
    modules = [m for s in slots for m in _MODULES[s]]
    own = _within(target, allow)
    if any(not p.isidentifier() or p.startswith("__") for p in parts) or not (
        own or _within(target, [*modules, *(p for p, m in _PUBLIC.items() if m in modules)])
    ):
        raise ConfigError(
            f"`{target}` is not allowed here: it must come from {', '.join(_readable(modules))}, "
            f"or from a package of yours: add --allow {parts[0]} to the command"
        )
    found = _import(target)
    home = getattr(found, "__module__", "") or ""
    if own:
        if not callable(found):
            raise ConfigError(f"`{target}` is a {type(found).__name__}, and a class or function is needed")
        return found
    if not _within(f"{home}.", modules) or getattr(found, "__name__", "").startswith("_"):
        raise ConfigError(f"`{target}` is not allowed here: it is `{home}.{getattr(found, '__qualname__', '?')}`")
    kinds = tuple(_import(k) for s in slots for k in _KINDS[s])
    if inspect.isclass(found):
        made = found
    elif inspect.isfunction(found) and home.startswith(("dltrain.", "torchvision.models.")):
        made = typing.get_type_hints(found).get("return")
        if home == "dltrain.schedules":
            return found
    else:
        made = None
    if not (inspect.isclass(made) and issubclass(made, kinds)):
        raise ConfigError(f"`{target}` is not allowed here: it is not a {slot}")
    return found


def _within(target: str, modules: Iterable[str]) -> bool:
    return any(target == m or target.startswith(f"{m}.") for m in modules)


def _readable(modules: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(m.replace("torch.nn.modules", "torch.nn") for m in modules))


def _import(target: str) -> Any:
    """The object at a dotted name: the longest importable module, then attributes."""
    parts = target.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:cut])
        try:
            found = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(f"{error.name}.")):
                continue
            raise ConfigError(f"importing `{name}` failed: {error}") from error
        except Exception as error:
            raise ConfigError(f"importing `{name}` failed: {type(error).__name__}: {error}") from error
        for i, part in enumerate(parts[cut:], cut):
            if not hasattr(found, part):
                close = did_you_mean(part, [n for n in dir(found) if not n.startswith("_")])
                raise ConfigError(f"`{'.'.join(parts[:i])}` has no `{part}`{close}")
            found = getattr(found, part)
        return found
    raise ConfigError(f"there is no module `{parts[0]}` (looked along {Path.cwd()} and the installed packages)")


def check_arguments(function: Callable[..., Any], given: dict[str, Any], passed: Iterable[str] = ()) -> dict[str, str]:
    """What is wrong with keyword arguments, by key: unknown, missing, of another type, not finite.

    `passed` are the names that the caller fills in; the signature is the schema.
    """
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return {}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = [n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    try:
        hints = typing.get_type_hints(function.__init__ if inspect.isclass(function) else function)
    except Exception:  # annotations that name things which are not importable
        hints = {}
    mistakes = {}
    name = getattr(function, "__name__", str(function))
    for key, value in given.items():
        if key not in named and not takes_any:
            knobs = [n for n in named if n not in set(passed)]
            mistakes[key] = (
                f"{name} has no `{key}`{did_you_mean(key, knobs) or '; it has ' + (', '.join(knobs) or 'none')}"
            )
        elif isinstance(value, str) and value == "???":
            mistakes[key] = f"give a value: {wanted(hints[key]) if key in hints else 'it has no default'}"
        elif bad := _not_finite(value):
            mistakes[key] = f"{bad} is not a finite number"
        elif key in hints and not matches(value, hints[key]):
            mistakes[key] = f"want {wanted(hints[key])}, got {_show(value)}"
    for n in named:
        if parameters[n].default is inspect.Parameter.empty and n not in given and n not in set(passed):
            mistakes[n] = f"{name} needs `{n}`" + (f": {wanted(hints[n])}" if n in hints else "")
    return mistakes


def _show(value: Any) -> str:
    return f"{value!r}" + (f" ({type(value).__name__})" if not isinstance(value, (list, dict)) else "")


def _not_finite(value: Any) -> float | None:
    if isinstance(value, (list, tuple)):
        return next((b for v in value if (b := _not_finite(v)) is not None), None)
    return value if isinstance(value, float) and not math.isfinite(value) else None


def matches(value: Any, hint: Any) -> bool:
    """Whether a plain YAML value fits a type hint; hints that YAML can't express fit everything but text."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, inspect.Parameter.empty) or isinstance(hint, typing.TypeVar):
        return True
    if origin is Literal:
        return value in args and type(value) in {type(a) for a in args}
    if origin in (Union, types.UnionType):
        return any(matches(value, a) for a in args)
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    if origin is dict or hint is dict:
        return isinstance(value, dict)
    if inspect.isclass(origin) and issubclass(origin, Iterable) and origin is not dict:
        if not isinstance(value, (list, tuple)):
            return False
        if origin is tuple and args and args[-1] is not Ellipsis:
            return len(value) == len(args) and all(matches(v, a) for v, a in zip(value, args, strict=True))
        return all(matches(v, args[0]) for v in value) if args else True
    if hint in (list, tuple):
        return isinstance(value, (list, tuple))
    return isinstance(value, hint) if inspect.isclass(hint) else not isinstance(value, str)


def wanted(hint: Any) -> str:
    """A type hint in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        plain = [
            a for a in args if not (inspect.isclass(a) and a not in (int, float, bool, str, type(None), list, dict))
        ]
        return " or ".join(dict.fromkeys(wanted(a) for a in plain or args))
    if origin is not None:
        inner = {int: "whole numbers", float: "numbers", str: "text"}.get(args[0] if args else None, "values")
        count = f"{len(args)} " if origin is tuple and args and args[-1] is not Ellipsis else ""
        return f"a list of {count}{inner}" if origin is not dict else "keys and values"
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "text", type(None): "null"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def user_allowed(start: Path) -> list[str]:
    """Packages that `[tool.dltrain] allow = [...]` names in the pyproject.toml of `start` or a folder above it."""
    import tomllib

    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            try:
                table = tomllib.loads(file.read_text(encoding="utf-8")).get("tool", {}).get("dltrain", {})
            except (OSError, tomllib.TOMLDecodeError) as error:
                raise ConfigError(f"{file}: {error}") from error
            return [str(name) for name in table.get("allow", [])]
    return []
