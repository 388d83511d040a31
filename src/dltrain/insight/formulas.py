"""The formulas of a trace on a page: typeset, and with the numbers of one unit put in.

A formula is text such as `dL/dz1 * (1 - z1^2)`; its names stand for tensors.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

from torch import Tensor

from dltrain.insight.equations import number

_MINUS, _PRIME, _DOT = "\N{MINUS SIGN}", "\N{PRIME}", "\N{THIN SPACE}·\N{THIN SPACE}"
_GREEK = {"delta": "δ", "gamma": "\N{GREEK SMALL LETTER GAMMA}", "beta": "β", "mu": "μ", "var": "σ²", "Phi": "Φ"}
_GREEK |= {"phi": "φ"}
_TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?(?:e[+-]?\d+)?)|(?P<step>step of )|(?P<new>new )|(?P<partial>d(?P<what>[LJ])/d)"
    r"|(?P<transposed>\^T)|(?P<power>\^2)"
    r"|(?P<letters>[A-Za-z_]+(?:\d+[A-Za-z_]+)*)(?P<primes>'*)(?:(?P<low>\d+)|\^(?P<high>\d+|\([^)]*\)))?(?P<after>'*)"
    r"|(?P<sign><=|>=| @ | \* |[-<>&])"
)
_SIGNS = {"<=": "≤", ">=": "≥", " @ ": "\N{THIN SPACE}", " * ": _DOT, "-": _MINUS}
_SIGNS |= {"<": "&lt;", ">": "&gt;", "&": "&amp;"}


def typeset(formula: str) -> str:
    """A formula as HTML: symbols in italics with their indices, delta as δ, dL/d as ∂L/∂, ^T as a transposition."""
    return _TOKEN.sub(_set, formula)


def figure(value: float) -> str:
    """A number as HTML, six digits of it."""
    return _ten(number(value + 0.0))


def _ten(text: str) -> str:
    digits, e, power = text.partition("e")
    return (f"{digits}·10<sup>{int(power)}</sup>" if e else digits).replace("-", _MINUS)


def _set(found: re.Match[str]) -> str:
    if found["number"]:
        return _ten(found["number"])
    if found["step"]:
        return "Δ"
    if found["new"]:
        return '<span class="new">new</span> '
    if found["partial"]:
        return f"∂<i>{found['what']}</i>/∂"
    if found["transposed"] or found["power"]:
        return "<sup>T</sup>" if found["transposed"] else "<sup>2</sup>"
    if found["sign"]:
        return _SIGNS[found["sign"]]
    return _symbol(found)


def _symbol(found: re.Match[str]) -> str:
    name, primes, low = found["letters"], _PRIME * len(found["primes"] + found["after"]), found["low"] or ""
    base, _, index = name.partition("_")
    if base in ("batch", "row") and index:  # batch_sum: a sum over the batch
        return f"{index}<sub>{base}</sub>"
    if index and len(base) == 1:  # v_W1, g_b2: the clipped gradient of a parameter; t_mean
        return f"<i>{base}</i><sub>{_GREEK.get(index, index)}{low}</sub>{primes}"
    letter = _GREEK.get(name, name)
    shown = f"<i>{letter}</i>" if len(letter) == 1 else letter
    high = f"<sup>{found['high'].strip('()').replace('-', _MINUS)}</sup>" if found["high"] else ""
    return f"{shown}{high}{f'<sub>{low}</sub>' if low else ''}{primes}"


# -- the numbers put in ------------------------------------------------------------------------------------------

_MOST_TERMS = 6  # of a sum that is written out
_OPERATORS: dict[type[ast.operator], tuple[str, int]] = {
    ast.Add: (" + ", 1),
    ast.Sub: (f" {_MINUS} ", 1),
    ast.Mult: (_DOT, 2),
    ast.Div: (" / ", 2),
}
_COMPARISONS: dict[type[ast.cmpop], str] = {ast.Gt: " &gt; ", ast.Lt: " &lt; ", ast.LtE: " ≤ ", ast.GtE: " ≥ "}
_EACH = {"tanh", "sigmoid", "relu", "gelu", "silu", "leaky_relu", "sign", "log", "abs", "sqrt", "max", "min", "clip"}
_EACH |= {"Phi", "phi"}
Index = tuple[int, ...]


def put_in(formula: str, known: Mapping[str, Tensor], index: Index) -> str | None:
    """The formula for one number of what it gives, with numbers in the place of names, as HTML.

    None for a formula with a function that is none of single numbers, or with a sum of many.
    """
    names = sorted((name for name in known if name), key=len, reverse=True)
    used: list[Tensor] = []

    def take(found: re.Match[str]) -> str:
        used.append(known[found[0]])
        return f"v{len(used) - 1}"

    pattern = "|".join(re.escape(name) for name in names)
    text = re.sub(rf"(?<![\w.'])(?:{pattern})(?![\w'(])", take, formula) if names else formula
    text = re.sub(r"1\[(.*?)\]", r"indicator(\1)", text).replace("^T", ".T").replace("^2", "**2")
    try:
        return _Numbers(used).text(ast.parse(text, mode="eval").body, index)[0]
    except (_UnwrittenError, SyntaxError):
        return None


class _UnwrittenError(Exception):
    """What is not written out."""


class _Numbers:
    """A formula's tree with tensors v0, v1, ... in it, written for one element of what it gives."""

    def __init__(self, values: list[Tensor]) -> None:
        self.values = values

    def text(self, node: ast.expr, index: Index) -> tuple[str, int]:
        """The text of an element, and how tightly it holds together: 1 a sum, 2 a product, 3 a number or function."""
        match node:
            case ast.Constant(value=int() | float() as value):
                return _plain(value)
            case ast.Name() | ast.Attribute():
                return _plain(self._element(node, index))
            case ast.UnaryOp(op=ast.USub()):
                return f"{_MINUS}{self._inner(node.operand, index, 2)}", 2
            case ast.BinOp(op=ast.MatMult()):
                return self._product(node, index)
            case ast.BinOp(op=ast.Pow()):
                return f"{self._inner(node.left, index, 3)}<sup>2</sup>", 3
            case ast.BinOp():
                return self._pair(node, index)
            case ast.Compare():
                sign = _COMPARISONS[type(node.ops[0])]
                return f"{self.text(node.left, index)[0]}{sign}{self.text(node.comparators[0], index)[0]}", 0
            case ast.Call(func=ast.Name(id=name)):
                return self._call(name, node.args, index)
        raise _UnwrittenError

    def _pair(self, node: ast.BinOp, index: Index) -> tuple[str, int]:
        sign, level = _OPERATORS[type(node.op)]
        left, tight = self.text(node.left, index)
        left = left if tight >= level else f"({left})"
        if type(node.op) is ast.Add:
            return _joined([left, self.text(node.right, index)[0]]), 1
        return f"{left}{sign}{self._inner(node.right, index, level + (type(node.op) in (ast.Sub, ast.Div)))}", level

    def _inner(self, node: ast.expr, index: Index, level: int) -> str:
        """The text of what stands behind a sign."""
        text, tight = self.text(node, index)
        return f"({text})" if tight < level or text.startswith(_MINUS) else text

    def _call(self, name: str, given: list[ast.expr], index: Index) -> tuple[str, int]:
        if name == "indicator":
            return f"1[{self.text(given[0], index)[0]}]", 3
        if name in _EACH:
            return f"{name}({', '.join(self.text(part, index)[0] for part in given)})", 3
        shape = self._shape(given[0])
        if name == "onehot":
            return f"1[{self.text(given[0], index[:1])[0]} = {index[1]}]", 3
        if name == "softmax" and shape[-1] <= _MOST_TERMS:
            powers = [f"e<sup>{self.text(given[0], (*index[:-1], j))[0]}</sup>" for j in range(shape[-1])]
            return f"{powers[index[-1]]} / ({_joined(powers)})", 2
        over, _, kind = name.rpartition("_")
        places: list[Index]
        if over == "batch":
            places = [(i, *index[len(index) + 1 - len(shape) :]) for i in range(shape[0])]
        elif over == "row":
            places = [(*index[:-1], j) for j in range(shape[-1])]
        else:
            places = list(every(shape))
        if kind not in ("sum", "mean"):
            raise _UnwrittenError
        return self._sum(given[0], places, mean=kind == "mean")

    def _sum(self, node: ast.expr, places: list[Index], *, mean: bool) -> tuple[str, int]:
        if len(places) > _MOST_TERMS:
            raise _UnwrittenError
        if len(places) == 1:
            return self.text(node, places[0])
        text = _joined([self.text(node, place)[0] for place in places])
        return (f"({text}) / {len(places)}", 2) if mean else (text, 1)

    def _product(self, node: ast.BinOp, index: Index) -> tuple[str, int]:
        """An element of a product of matrices: a sum of products."""
        inner = self._shape(node.left)[-1]
        if inner > _MOST_TERMS or len(index) != 2:
            raise _UnwrittenError
        places = [((index[0], k), (k, index[1])) for k in range(inner)]
        terms = [f"{self._factor(node.left, i)}{_DOT}{self._inner(node.right, j, 2)}" for i, j in places]
        return _joined(terms), 2 if inner == 1 else 1

    def _factor(self, node: ast.expr, index: Index) -> str:
        text, tight = self.text(node, index)
        return text if tight >= 2 else f"({text})"

    def _element(self, node: ast.expr, index: Index) -> float:
        value = self._tensor(node)
        place = index[len(index) - value.dim() :] if value.dim() else ()
        if len(place) != value.dim():
            raise _UnwrittenError
        return float(value[tuple(min(i, n - 1) for i, n in zip(place, value.shape, strict=True))])

    def _tensor(self, node: ast.expr) -> Tensor:
        if isinstance(node, ast.Attribute):
            return self._tensor(node.value).T
        if isinstance(node, ast.Name) and node.id[1:].isdigit():
            return self.values[int(node.id[1:])]
        raise _UnwrittenError

    def _shape(self, node: ast.expr) -> Index:
        """The shape of what a part of a formula gives."""
        if isinstance(node, (ast.Name, ast.Attribute)):
            return tuple(self._tensor(node).shape)
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
            return self._shape(node.left)[0], self._shape(node.right)[1]
        parts = [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        shapes = [self._shape(part) for part in parts if not isinstance(part, ast.Constant) and not _is_function(part)]
        return max(shapes, key=lambda shape: (len(shape), shape), default=())


def _is_function(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and not node.id[1:].isdigit()


def _plain(value: float) -> tuple[str, int]:
    return figure(value), 3


def _joined(terms: list[str]) -> str:
    """A sum, whose negative terms are taken away."""
    rest = (f" {_MINUS} {term[1:]}" if term.startswith(_MINUS) else f" + {term}" for term in terms[1:])
    return terms[0] + "".join(rest)


def every(shape: Index) -> Iterator[Index]:
    """The places of the numbers of a tensor."""
    if not shape:
        yield ()
        return
    for i in range(shape[0]):
        for rest in every(shape[1:]):
            yield (i, *rest)
