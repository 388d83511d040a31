"""Whether arguments fit the function that gets them, whose annotated signature is the schema of a node.

What does not fit is told with what to write instead, where that can be told.
"""

from __future__ import annotations

import inspect
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, Union

from dltrain.config.policy import Part, parameters, type_hints
from dltrain.errors import did_you_mean, override

_WORDS: dict[object, str] = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


def check_arguments(
    function: Callable[..., object],
    given: Mapping[str, object],
    *,
    node: str,
    called: str | None = None,
    passed: Iterable[str] = (),
) -> dict[str, str]:
    """What is wrong with keyword arguments, by key: unknown, missing, of another type, not finite.

    `node` is the dotted key where they stand, `called` what messages call the function, `passed` are the names that
    the caller fills in.
    """
    try:
        found = parameters(function)
    except (TypeError, ValueError):  # a class in C without a signature
        return {}
    hints, passed, name = type_hints(function), set(passed), called or getattr(function, "__name__", str(function))
    takes_any = any(p.kind is p.VAR_KEYWORD for p in found.values())
    named = [n for n, p in found.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    mistakes: dict[str, str] = {}
    for key, value in given.items():
        if key not in named and not takes_any:
            knobs = [n for n in named if n not in passed]
            has = f"; it has {', '.join(knobs)}" if knobs else "; it has no knobs"
            mistakes[key] = (
                f"{name} has no `{key}`{did_you_mean(f'{key}', knobs) or has}"  # a key of YAML may be a number
            )
        elif isinstance(value, str) and value == "???":
            mistakes[key] = f"give a value: {node}.{key}=..." + (f", {wanted(hints[key])}" if key in hints else "")
        elif bad := _not_finite(value):
            mistakes[key] = f"{bad} is not a finite number"
        elif key in hints and not matches(value, hints[key]):
            instead = _rewrite(value, hints[key], f"{node}.{key}")
            mistakes[key] = f"want {wanted(hints[key])}, got {_show(value)}{instead}"
    for n in named:
        if found[n].default is inspect.Parameter.empty and n not in given and n not in passed:
            what = f" ({wanted(hints[n])})" if n in hints else ""
            mistakes[n] = f"{name} needs it{what}: add +{node}.{n}=..." if node else f"it is needed{what}: set {n}=..."
    return mistakes


def _not_finite(value: object) -> float | None:
    if isinstance(value, (list, tuple)):
        return next((b for v in value if (b := _not_finite(v)) is not None), None)
    return value if isinstance(value, float) and not math.isfinite(value) else None


# -- type hints ------------------------------------------------------------------------------------------------


def matches(value: object, hint: object) -> bool:
    """Whether a plain YAML value fits a type hint; hints that YAML can't express fit everything but text."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint in (Any, inspect.Parameter.empty) or isinstance(hint, typing.TypeVar):
        return True
    if isinstance(value, Part):
        made = value.function
        return not (inspect.isclass(made) and inspect.isclass(hint)) or issubclass(made, hint)
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
    if dict in (origin, hint):
        return isinstance(value, dict)
    if hint in (list, tuple) or (inspect.isclass(origin) and issubclass(origin, Iterable)):
        return isinstance(value, (list, tuple)) and _match_items(value, origin, args)
    return isinstance(value, hint) if inspect.isclass(hint) else not isinstance(value, str)


def _match_items(value: Sequence[object], origin: object, args: Sequence[object]) -> bool:
    if origin is tuple and args and args[-1] is not Ellipsis:
        return len(value) == len(args) and all(matches(v, a) for v, a in zip(value, args, strict=True))
    return all(matches(v, args[0]) for v in value) if args else True


def wanted(hint: object) -> str:
    """A type hint in words."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(str(a) for a in args)
    if origin in (Union, types.UnionType):
        plain = [a for a in args if not inspect.isclass(a) or a in (*_WORDS, list, dict)]
        return " or ".join(dict.fromkeys(wanted(a) for a in plain or args))
    if dict in (origin, hint):
        return "keys and values"
    if origin is Callable:
        return "something to call (a node with _target_)"
    if origin is not None or hint in (list, tuple):
        inner = {"a whole number": "whole numbers", "a number": "numbers", "text": "texts"}
        count = f"{len(args)} " if origin is tuple and args and args[-1] is not Ellipsis else ""
        return f"a list of {count}{inner.get(wanted(args[0]), 'values') if args else 'values'}"
    return _WORDS.get(hint) or f"{getattr(hint, '__name__', hint)} (a node with _target_)"


# -- values ----------------------------------------------------------------------------------------------------


def _show(value: object) -> str:
    if isinstance(value, str):
        return f"the text {value!r}" if value else "an empty text"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, Part):
        return f"a {value.function.__name__}"
    return str(value)


def _rewrite(value: object, hint: object, key: str) -> str:
    """What to write instead, where that can be told."""
    if typing.get_origin(hint) is Literal:
        return did_you_mean(str(value), map(str, typing.get_args(hint)))
    if isinstance(value, bool) and matches("", hint):
        return f"; to mean the word, quote it, twice in the shell: \"'{_show(value)}'\""
    texts = _texts(value, alone=matches("", hint))
    if texts is not None and matches(texts, hint):
        return f"; to mean texts, write {override(key, texts)}"
    if matches([value], hint):
        return f"; write [{value}]"
    number = value if isinstance(value, float) else None
    if isinstance(value, str) and re.fullmatch(r"0+\d+", value):  # YAML reads 08 as text
        number = int(value)
    if number is not None and int(number) == number and matches(int(number), hint):
        return f"; write {int(number)}"
    return ""


def _texts(value: object, *, alone: bool) -> str | list[str] | None:
    """Words and whole numbers as they were typed, which YAML took for something else; `alone`: one needs no list."""
    if isinstance(value, int):
        return _show(value) if alone else [_show(value)]
    if isinstance(value, list) and all(v is None or isinstance(v, (int, str)) for v in value):
        return [v if isinstance(v, str) else _show(v) for v in value]
    return None
