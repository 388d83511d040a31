"""Arithmetic as a page of a trace has it, read again."""

import math
import re

_PLAIN = {"abs": abs, "max": max, "min": min, "sqrt": math.sqrt, "log": math.log, "tanh": math.tanh}
_PLAIN |= {
    "sigmoid": lambda a: 1 / (1 + math.exp(-a)),
    "relu": lambda a: max(a, 0),
    "silu": lambda a: a / (1 + math.exp(-a)),
    "gelu": lambda a: a * _PLAIN["Phi"](a),
    "leaky_relu": lambda a: a if a > 0 else 0.01 * a,
    "sign": lambda a: (a > 0) - (a < 0),
    "clip": lambda a, low, high: min(max(a, low), high),
    "Phi": lambda a: (1 + math.erf(a / math.sqrt(2))) / 2,
    "phi": lambda a: math.exp(-a * a / 2) / math.sqrt(2 * math.pi),
}


def computed(text):
    """What arithmetic on a page gives."""
    text = re.sub(r"·10<sup>(.*?)</sup>", r"e\1", text)
    text = re.sub(r"\be<sup>(.*?)</sup>", r"exp(\1)", text)
    text = (
        text.replace("<sup>2</sup>", "**2").replace("\N{MINUS SIGN}", "-").replace("\N{THIN SPACE}·\N{THIN SPACE}", "*")
    )
    text = text.replace("≤", "<=").replace("≥", ">=").replace("&lt;", "<").replace("&gt;", ">")
    text = re.sub(r"1\[([^]=]*) = ([^]]*)\]", r"(\1 == \2)", text)
    text = re.sub(r"1\[(.*?)\]", r"(\1)", text)
    return float(eval(text, {"__builtins__": {}}, {**_PLAIN, "exp": math.exp}))
