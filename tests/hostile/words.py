"""What an attacker writes: names, numbers, signs, fragments of YAML and JSON, targets found by walking packages."""

import functools
import inspect
import random
import sys
from importlib import import_module
from pathlib import Path

from dltrain import located

SECRET = "token-of-the-user"
HEARD = "content-of-a-file-outside"
SIGNS = ["\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\u202egnp.exe", "\u2066a\u2069", "\u200b", "\x08\x08", "\r", "\x7f"]
SIGNS += ["\ufeff", "\u2028", "\U000e0041", "\u061c", "\x0b", "\x00", "\ud800", "=cmd|' /C calc'!A0", "@SUM(1)", "\tx"]
MARKUP = ["<script>x()</script>", '" onerror=x() y="', "</td><img src=x onerror=x()>", "javascript:x()"]
MARKUP += ["[a](javascript:x())", "' onload='x()", "<svg/onload=x()>", "</title><script>x()</script>", "]]>-->"]
DEVICES = ["/dev/zero", "/dev/stdin", "/dev/full", "/dev/tty", "/proc/self/environ", "/proc/self/mem", "/dev/fd/0"]
NAMES = [
    "CON",
    "nul.txt",
    "a:b",
    "-rf",
    "--help",
    "~",
    "~root",
    "$HOME",
    "a b",
    "a\nb",
    "...",
    "*",
    "é" * 80,
    "%s%n",
    "a" * 200,
]
NUMBERS = [-1, 0, 1, 2, 2**31, 2**63, 2**64, -(2**70), 10**9, 10**12, 1e-300, 1e300, -1e308, 0.5, 20_000, 70_000]
ODD = [None, True, False, "", [], {}, [[]], {"": 0}, [None], {"a": {"b": []}}, "nan", "inf", "???", "1e5", "0x10"]
INTERPOLATIONS = ["${oc.env:TOKEN}", "${seed}", "${.}", "${oc.decode:'1'}", "${oc.env:TOKEN,x}", "\\${oc.env:TOKEN}"]
INTERPOLATIONS += ["${oc.create:{a:1}}", "${${oc.env:TOKEN}}", "${hydra:runtime.cwd}", "${oc.dict.keys:trainer}", "${"]
ROOTS = ["torch", "torchvision", "dltrain"]
LIVING = ["torch.nn", "torch.optim", "torch.optim.lr_scheduler", "torchvision.models", "torchvision.datasets"]
LIVING += ["torchvision.transforms", "torchvision.transforms.v2", "dltrain.data.sklearn_sets", "dltrain.models"]
LIVING += ["dltrain.losses", "dltrain.schedules", "dltrain.optim", "dltrain.data.datasets", "dltrain.data.toy"]
LIVING += ["dltrain.data.images", "dltrain.data.tables", "dltrain.data.folders"]


@functools.cache
def modules() -> tuple[list[str], list[str]]:
    """Names of the modules of torch, torchvision and dltrain that are loaded, and of the standard library."""
    loaded = [name for name in sys.modules if name.split(".")[0] in ROOTS]
    standard = {name for name in sys.modules if name.split(".")[0] in sys.stdlib_module_names} | sys.stdlib_module_names
    return sorted(loaded), sorted(standard)


def target(rng: random.Random) -> str:
    """A dotted name: half the time of a place from which some slot takes classes."""
    ours, standard = modules()
    draw = rng.random()
    home = rng.choice(LIVING if draw < 0.6 else ours if draw < 0.85 else standard)
    if rng.random() < 0.05:
        home = "evil_pkg"
    found, name = sys.modules.get(home), home
    if home in LIVING:
        found = loaded(home)
    for _ in range(rng.choice([1, 1, 1, 1, 2, 3])):
        inside = sorted(n for n in dir(found) if isinstance(n, str)) if found is not None else ["Net", "system", "run"]
        if not inside:
            break
        part = rng.choice(inside)
        name += f".{part}"
        try:
            found = inspect.getattr_static(found, part, None)
        except Exception:  # of a module that is no plain one
            found = None
    if rng.random() < 0.05:
        name = rng.choice(
            [f" {name}", name.upper(), name.replace(".", ".."), f"{name}()", f"{name}\x1b[2J", f"{name}."]
        )
    return name


@functools.cache
def loaded(home: str) -> object:
    try:
        return import_module(located(home))
    except ImportError:
        return None


def arguments(rng: random.Random, name: str, places: list[Path]) -> dict:
    """Arguments for what a target names: its own parameters with what an attacker would give them."""
    found = _object(name)
    try:
        parameters = list(inspect.signature(found).parameters.values()) if callable(found) else []
    except (TypeError, ValueError):
        parameters = []
    given = {}
    for parameter in parameters:
        needed = parameter.default is parameter.empty
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or parameter.name == "self":
            continue
        if (needed and rng.random() < 0.9) or rng.random() < 0.2:
            given[parameter.name] = argument(rng, parameter.name, places)
    if rng.random() < 0.1:
        given[rng.choice(["_partial_", "_args_", "_recursive_", "_convert_", "self", "command"])] = scalar(rng, places)
    return given


def argument(rng: random.Random, name: str, places: list[Path]) -> object:
    """A value for a parameter of this name."""
    if any(word in name for word in ("root", "path", "folder", "file", "dir")):
        return str(rng.choice(places))
    if "download" in name:
        return True
    if "weights" in name:
        return rng.choice(["DEFAULT", "IMAGENET1K_V1", None, str(rng.choice(places))])
    if any(word in name for word in ("transform", "layer", "activation", "module", "lambd", "dataset")):
        inner = target(rng)
        return node(inner, arguments(rng, inner, places)) if rng.random() < 0.7 else [node(inner, {})] * 3
    if any(word in name for word in ("size", "num", "n_", "dim", "features", "channels", "width", "depth", "layers")):
        value = rng.choice([1, 2, 4, 8, 100, 20_000, 70_000, 10**6, 10**9, 2**40, -1, 0])
        return rng.choice([value, value, [value] * 2, [3, value, value]])
    return scalar(rng, places)


def node(name: str, given: dict) -> dict:
    return {"_target_": name, **given}


def _object(name: str) -> object:
    """What a dotted name means among the modules that are loaded; None where nothing."""
    parts = located(name).split(".")
    for cut in range(len(parts), 0, -1):
        if (found := sys.modules.get(".".join(parts[:cut]))) is not None:
            for part in parts[cut:]:
                found = inspect.getattr_static(found, part, None)
            return found
    return None


def scalar(rng: random.Random, places: list[Path]) -> object:
    """A value of YAML or JSON: a number, an odd one, a sign, a name, a path, an interpolation, something large."""
    match rng.randrange(8):
        case 0 | 1:
            return rng.choice(NUMBERS)
        case 2:
            return rng.choice(ODD)
        case 3:
            return rng.choice(["", "a", "val/"]) + rng.choice([*SIGNS, *MARKUP])
        case 4:
            return rng.choice(NAMES)
        case 5:
            return path(rng, places)
        case 6:
            return rng.choice(INTERPOLATIONS)
        case _:
            return large(rng)


def path(rng: random.Random, places: list[Path]) -> str:
    place = str(rng.choice(places))
    forms = ["../" * 9 + place.lstrip("/"), f"file://{place}", "http://localhost:9/none", "s3://b/x", f"{place}/../x"]
    return rng.choice([place, place, place, rng.choice(forms), rng.choice(DEVICES), "\\\\host\\share\\x", "a\x00b"])


def large(rng: random.Random) -> object:
    """What takes much room, or much time, where nobody counts."""
    match rng.randrange(7):
        case 0:
            return "a" * rng.choice([300, 20_000, 2_000_000])
        case 1:
            return nested(rng.choice([15, 30, 300]), rng.choice(["list", "dict"]))
        case 2:
            return list(range(rng.choice([100, 20_000, 60_000])))
        case 3:
            return {f"k{i}": i for i in range(rng.choice([100, 9_000, 20_000]))}
        case 4:
            return 10 ** rng.choice([30, 99, 400, 4_000])
        case 5:
            return [[0] * 200] * 200
        case _:
            return rng.choice(SIGNS) * 5_000


def nested(depth: int, kind: str) -> object:
    value: object = 1
    for _ in range(depth):
        value = [value] if kind == "list" else {"a": value}
    return value


def yaml_text(rng: random.Random, marker: Path) -> str:
    """A fragment of YAML that is more than plain values."""
    return rng.choice(
        [
            f"!!python/object/apply:os.system ['touch {marker}']",
            f"!!python/object/apply:pathlib.Path.touch [{marker}]",
            "!!python/name:os.system",
            "!!python/object/new:type {}",
            f"!!python/object/apply:pathlib.PosixPath [{marker}]",
            "!!binary aGVsbG8=",
            "!!set {a}",
            "!!timestamp 2001-99-99",
            "!<tag:yaml.org,2002:str> a",
            "!!str a",
            "!evil {a: 1}",
            "&a [*a]",
            "*nothing",
            "{<<: {a: 1}}",
            "{<<: [{a: 1}, {b: 2}], a: 3}",
            "{<<: 3}",
            "&a {<<: *a}",
            r'"\x24{oc.env:TOKEN}"',
            r'"\u0024\x7boc.env:TOKEN}"',
            r'"\x1b[2J"',
            r'"\ud800"',
            r'"\e]0;owned\a"',
            '"\\\n  ${oc.env:TOKEN}"',
            "|\n    ${oc.env:TOKEN}",
            ">-\n    a\u202eb",
            "[" * 2_000,
            "{a: " * 300,
            "[" + "1," * 60_000 + "]",
            "{" + ",".join(f"k{i}: 0" for i in range(15_000)) + "}",
            "9" * 5_000,
            "1:" * 3_000 + "1",
            "0x" + "f" * 4_000,
            "1e400",
            ".inf",
            ".nan",
            "2001-01-01",
            "12:30:45",
            "? [a, b]\n: c",
            "{? {a: b} : c}",
            "{null: 1}",
            "{1: 2, true: 3}",
            "---\nb: 1",
            "%TAG ! tag:x,2000:\n",
            "'unclosed",
            "\tx",
            "a: b: c",
            _bomb(rng.choice([4, 9])),
        ]
    )


def _bomb(levels: int) -> str:
    lines = ["\n  a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"  a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines)


def json_text(rng: random.Random) -> str:
    """A fragment of JSON that is more than plain values."""
    return rng.choice(
        [
            *("NaN", "Infinity", "-Infinity", "1e999", "-0", "1" * 5_000, "0." + "1" * 5_000, "[" * 50_000),
            *(
                '{"a":' * 50_000,
                '"\\ud800"',
                '"\\u001b[2J"',
                '"\\u202e"',
                '{"a": 1, "a": 2}',
                "[" + "[]," * 300_000 + "[]]",
            ),
            *(
                '{"tensor": "0"}',
                '{"tensor": "../x"}',
                '{"tuple": [1]}',
                '{"dict": [[1, 2]]}',
                '{"object": "os.system"}',
            ),
            *(
                '{"dict": [[{"tensor": "0"}, 1]]}',
                '{"float": "nan"}',
                '{"float": "x"}',
                "'a'",
                "{}",
                "",
                "\x00",
                "// a",
            ),
        ]
    )
