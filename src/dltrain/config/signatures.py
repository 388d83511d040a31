"""Signatures of classes and functions, read from their sources: neither they nor torch are imported.

A stand-in has the parameters and type hints of the real thing, so that `check_arguments` says the same about
it. Where the source alone does not tell (a decorator, an inherited constructor, a name from elsewhere) nothing is said.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterable, Sequence
from functools import cache, reduce
from importlib.util import find_spec
from operator import or_
from pathlib import Path
from types import GenericAlias
from typing import Any, Literal

from dltrain import located
from dltrain.config.policy import check_name

_PACKAGES = ("dltrain", "torch", "torchvision")
_PLAIN: dict[str, object] = {t.__name__: t for t in (int, float, bool, str, list, tuple, dict)} | {"Any": Any}
_GENERIC = {"list": list, "tuple": tuple, "Sequence": Sequence, "Iterable": Iterable}
_FOREIGN = ("Tensor", "Module", "Dataset", "Optimizer")  # classes of torch's that no plain value is one of
_HOPS = 5  # imports to follow from where a name is public to where it is defined
_Function = ast.FunctionDef | ast.ClassDef


def find(
    target: object, slot: str, allow: Sequence[str] = (), *, nested: bool = False, stored: bool = False
) -> Callable[..., object] | None:
    """A stand-in for what `target` names, None where the source does not tell; ConfigError as `policy.resolve`."""
    return stand_in(check_name(target, slot, allow, nested=nested, stored=stored))


def stand_in(target: str) -> Callable[..., object] | None:
    """A class or function with the signature of the one at a dotted name of ours or torch's, or None."""
    module, _, name = located(target).rpartition(".")
    found = _definition(module, name)
    if found is None:
        return None
    node, module = found
    if node.decorator_list and not module.startswith("dltrain."):  # ours keep the signature
        return None
    if isinstance(node, ast.FunctionDef):
        return _function(node, module)
    own = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if own is None or own.decorator_list:
        return None
    return type(node.name, (), {"__init__": _function(own, module)})


def _definition(module: str, name: str) -> tuple[_Function, str] | None:
    """Where a public name is defined, and in which module."""
    for _ in range(_HOPS):
        node = _statement(module, name)
        if isinstance(node, _Function):
            return node, module
        if not isinstance(node, ast.ImportFrom):
            return None
        module, name = _source(node, module, name)
    return None


def _statement(module: str, name: str) -> ast.stmt | None:
    """The statement at the top of a module that gives a name its meaning."""
    for node in _tree(module).body:
        if isinstance(node, _Function) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
            return node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return node
    return None


def _source(node: ast.ImportFrom, module: str, name: str) -> tuple[str, str]:
    """The module and the name there that `from ... import name` speaks of."""
    original = next(a.name for a in node.names if (a.asname or a.name) == name)
    if not node.level:
        return node.module or "", original
    file, package = _file(module), module.split(".")
    if file is None or file.name != "__init__.py":
        package.pop()
    base = package[: len(package) - node.level + 1]
    return ".".join([*base, node.module] if node.module else base), original


@cache
def _tree(module: str) -> ast.Module:
    file = _file(module)
    return ast.parse(file.read_text(encoding="utf-8")) if file and file.is_file() else ast.Module([], [])


def _file(module: str) -> Path | None:
    package, *parts = module.split(".")
    spec = find_spec(package) if package in _PACKAGES else None  # of a top package, which imports nothing
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0], *parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _function(node: ast.FunctionDef, module: str) -> Callable[..., object]:
    def stands_in() -> None:
        """Is only looked at."""

    kinds, a = inspect.Parameter, node.args
    ordered = [*a.posonlyargs, *a.args]
    optional = {arg.arg for arg in ordered[len(ordered) - len(a.defaults) :]} if a.defaults else set()
    optional |= {arg.arg for arg, default in zip(a.kwonlyargs, a.kw_defaults, strict=True) if default is not None}
    parameters = [
        *((arg, kinds.POSITIONAL_ONLY) for arg in a.posonlyargs),
        *((arg, kinds.POSITIONAL_OR_KEYWORD) for arg in a.args),
        *((arg, kinds.VAR_POSITIONAL) for arg in (a.vararg,) if arg),
        *((arg, kinds.KEYWORD_ONLY) for arg in a.kwonlyargs),
        *((arg, kinds.VAR_KEYWORD) for arg in (a.kwarg,) if arg),
    ]
    stands_in.__name__ = node.name
    vars(stands_in)["__signature__"] = inspect.Signature(
        [kinds(arg.arg, kind, default=... if arg.arg in optional else kinds.empty) for arg, kind in parameters]
    )
    stands_in.__annotations__ = {}
    for arg, _ in parameters:
        try:
            stands_in.__annotations__[arg.arg] = _hint(arg.annotation, module)
        except _UnknownError:
            continue
    return stands_in


# -- type hints ------------------------------------------------------------------------------------------------


class _UnknownError(Exception):
    """A type hint that the source alone does not explain."""


class _Foreign(type):
    """The class of classes that were not imported: any other may stand below one."""

    def __subclasscheck__(cls, other: type) -> bool:
        return True


def _hint(node: ast.expr | None, module: str) -> object:
    """A type hint as the object that it means."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str):  # a quoted one
            return _hint(ast.parse(node.value, mode="eval").body, module)
        if node.value is None or node.value is ...:
            return node.value
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return or_(_hint(node.left, module), _hint(node.right, module))
    if isinstance(node, ast.Attribute) and node.attr in _FOREIGN:
        return _Foreign(node.attr, (), {})
    if isinstance(node, ast.Name):
        return _named(node.id, module)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
        return _subscripted(node.value.id, node.slice, module)
    raise _UnknownError


def _named(name: str, module: str) -> object:
    if name in _PLAIN:
        return _PLAIN[name]
    if name in _FOREIGN:
        return _Foreign(name, (), {})
    node = _statement(module, name)
    if isinstance(node, ast.Assign):
        return _hint(node.value, module)
    if isinstance(node, ast.ImportFrom):
        other, original = _source(node, module, name)
        if other != module:
            return _named(original, other)
    raise _UnknownError


def _subscripted(name: str, node: ast.expr, module: str) -> object:
    inner = node.elts if isinstance(node, ast.Tuple) else [node]
    if name == "Literal":
        values = [each.value for each in inner if isinstance(each, ast.Constant)]
        if len(values) < len(inner):
            raise _UnknownError
        return Literal[tuple(values)]  # pyrefly: ignore - made at run time
    if name == "dict":
        return dict
    if name in _FOREIGN:  # a Dataset[object]: what it holds shows when it is read
        return _named(name, module)
    if name == "Callable":
        return Callable[..., object]
    hints = [_hint(each, module) for each in inner]
    if name == "Union":
        return reduce(or_, hints)
    if name == "Optional":
        return or_(hints[0], None)
    if name in _GENERIC:
        return GenericAlias(_GENERIC[name], tuple(hints))
    raise _UnknownError
