"""What stands in the files of a run folder, changed: configuration, records, tensors, logs, the record of a sweep."""

import hashlib
import json
import pickle
import random
import struct
from pathlib import Path

import yaml
from sweep_records import NODE, write_record

from hostile import words
from hostile.case import Bomb, Case


def spots(tree: object) -> list[tuple]:
    """(container, key) of every value of a tree."""
    found, left = [], [tree]
    while left:
        part = left.pop()
        pairs = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, value in pairs:
            found.append((part, key))
            left.append(value)
    return found


def configuration(rng: random.Random, case: Case, run: Path) -> str:
    """A value, a node or a key of the stored configuration."""
    file = run / "config.yaml"
    if file.is_symlink() or not file.is_file() or file.stat().st_size > 1 << 22 or case.fragments:
        return "nothing"
    try:
        text = file.read_text()
        tree = yaml.load(text if text.count("[") < 10_000 else "", Loader=yaml.CSafeLoader)  # it recurses in C
    except ValueError:
        return "nothing"
    if not isinstance(tree, dict) or not (places := spots(tree)):
        return "nothing"
    container, key = rng.choice(places)
    where, raw = key, None
    match rng.randrange(6):
        case 0 | 1:
            container[key] = words.scalar(rng, case.places)
        case 2 | 3:
            where = rng.choice(
                ["model", "data", "loss", "optimizer", "scheduler", "data.dataset", "data.transform", key]
            )
            name = words.target(rng)
            node = words.node(name, words.arguments(rng, name, case.places))
            node = rng.choice([node, node, node, [node], {"a": {"b": [node]}}, {"_target_": name}])
            if where == "data.dataset" or (where == "data" and rng.random() < 0.5):
                tree["data"] = {
                    "_target_": "dltrain.data.datasets.dataset",
                    "dataset": node,
                    "batch_size": 4,
                    "workers": 0,
                }
            elif where == "data.transform":
                fake = {
                    "_target_": "torchvision.datasets.FakeData",
                    "size": 40,
                    "image_size": [1, 8, 8],
                    "transform": node,
                }
                tree["data"] = {
                    "_target_": "dltrain.data.datasets.dataset",
                    "dataset": fake,
                    "batch_size": 4,
                    "workers": 0,
                }
            elif where == key:
                container[key] = node
            else:
                tree[where] = {**node} if isinstance(node, dict) else node
            where = f"{where}: {name}"
        case 4:
            raw, case.fragments = words.yaml_text(rng, case.marker), True
            container[key] = "PLACE-OF-A-FRAGMENT"
        case _:
            odd = rng.choice(
                [
                    "hydra",
                    "defaults",
                    "_target_",
                    "_args_",
                    "${seed}",
                    "",
                    "a.b",
                    "__class__",
                    *words.SIGNS,
                    "x" * 5_000,
                ]
            )
            if isinstance(container, dict):
                container[odd] = words.scalar(rng, case.places)
            else:
                container.append(odd)
            where = odd
    try:
        text = yaml.dump(tree, Dumper=yaml.CSafeDumper, width=10**9)
    except (yaml.YAMLError, ValueError):  # half a sign
        return "nothing"
    if raw is not None:
        text = text.replace("PLACE-OF-A-FRAGMENT", raw, 1)
        where = f"{key}: {raw[:60]!r}"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    return f"config.yaml, {str(where)[:80]!r}"


JSONS = ["data.json", "data.json", "summary.json", "environment.json", "metrics.jsonl", "checkpoints/*/MANIFEST.json"]
JSONS += ["checkpoints/*/state.json", "checkpoints/*/state.json", "sweep.json", "*/summary.json"]


def json_file(rng: random.Random, case: Case, run: Path) -> str:
    """A value of one of the JSON files; what the manifest says of it is then true again."""
    found = sorted(p for p in run.glob(rng.choice(JSONS)) if p.is_file() and not p.is_symlink())
    if not found:
        return "nothing"
    file = rng.choice(found)
    lines = (
        file.read_text(errors="replace").splitlines() if file.suffix == ".jsonl" else [file.read_text(errors="replace")]
    )
    number = rng.randrange(len(lines) or 1)
    try:
        tree = json.loads(lines[number])
    except (ValueError, IndexError, RecursionError):
        return "nothing"
    places = spots(tree)
    if not places:
        return "nothing"
    container, key = rng.choice(places)
    match rng.randrange(5):
        case 0:
            del container[key]
            text = json.dumps(tree)
        case 1:
            container[key] = "PLACE"
            text = json.dumps(tree).replace('"PLACE"', words.json_text(rng), 1)
        case 2 if isinstance(container, dict):
            container[rng.choice([*words.SIGNS, *words.NAMES])] = words.scalar(rng, case.places)
            text = json.dumps(tree)
        case _:
            container[key] = words.scalar(rng, case.places)
            text = json.dumps(tree)
    if text.isascii() and rng.random() < 0.3:
        text = text.encode().decode("unicode_escape", "replace") if "\\u" in text else text
    lines[number] = text
    put(file, "\n".join(lines).encode("utf-8", "surrogatepass") + b"\n" * (file.suffix == ".jsonl"))
    return f"{file.relative_to(run)}, {str(key)[:60]!r}"


def put(file: Path, content: bytes) -> None:
    """Writes a file, and where it is one of a checkpoint what its manifest says of it."""
    file.write_bytes(content)
    manifest = file.parent / "MANIFEST.json"
    if file == manifest or file.parent.parent.name != "checkpoints" or not manifest.is_file() or manifest.is_symlink():
        return
    try:
        facts = json.loads(manifest.read_text())
        facts["files"][file.name] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    except (ValueError, KeyError, TypeError):
        return
    manifest.write_text(json.dumps(facts))


def tensors(rng: random.Random, case: Case, run: Path) -> str:
    """The header of a file of tensors, a pickle in its place, or a hole."""
    found = sorted(p for p in run.glob("checkpoints/*/*.safetensors") if p.is_file() and not p.is_symlink())
    if not found:
        return "nothing"
    file = rng.choice(found)
    content = file.read_bytes()
    if len(content) > 1 << 22:
        return "nothing"
    size = struct.unpack("<Q", content[:8])[0] if len(content) > 8 else 0
    try:
        header = json.loads(content[8 : 8 + size])
    except (ValueError, RecursionError):  # it was spoilt before
        return "nothing"
    kind = rng.choice(["pickle", "size", "header", "header", "header", "many", "deep"])
    match kind:
        case "pickle":
            content = pickle.dumps(Bomb(case.marker))
        case "size":
            content = struct.pack("<Q", rng.choice([2**63, 2**40, 10**8, 0, 7])) + content[8:]
        case "header":
            if not (places := spots(header)):
                return "nothing"
            container, key = rng.choice(places)
            container[key] = rng.choice(
                [*words.NUMBERS[:10], [], {}, "F8_E4M3", "U64", "BF16", "x", [2**40, 2**40], [-1], [10**5] * 9, None]
            )
            text = json.dumps(header).encode()
            content = struct.pack("<Q", len(text)) + text + content[8 + size :]
        case "many":
            text = json.dumps(
                {f"k{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100_000)}
            ).encode()
            content = struct.pack("<Q", len(text)) + text
        case _:
            text = b'{"a":' * 100_000
            content = struct.pack("<Q", len(text)) + text
    put(file, content)
    return f"{kind} of {file.relative_to(run)}"


def text_file(rng: random.Random, case: Case, run: Path) -> str:
    """A file that is shown: what was typed, an error, a diagnosis, a log."""
    file = run / rng.choice(
        ["overrides.txt", "error.txt", "diagnosis.jsonl", "metrics.jsonl", ".lock", "multirun.yaml", "report.html"]
    )
    if file.is_symlink() or file.is_dir() or (file.exists() and not file.is_file()):
        return "nothing"
    line = rng.choice(
        [*words.SIGNS, *words.INTERPOLATIONS, "a" * 100_000, "seed=" + "[" * 9_000, "=" * 99, "--debug", "x=\n" * 5_000]
    )
    file.write_bytes(
        line.encode("utf-8", "surrogatepass") * rng.choice([1, 1, 50]) + rng.choice([b"", b"\n", b"\xff\xfe", b"\x00"])
    )
    return f"{file.name}: {line[:30]!r}"


def sweep(rng: random.Random, case: Case, run: Path) -> str:
    """A record of a sweep, with words that Hydra would obey."""
    typed: object = ["data=iris", "trainer.epochs=1", "trainer.tensorboard=false", "seed=1,2"]
    for _ in range(rng.choice([1, 1, 2])):
        name = words.target(rng)
        key = rng.choice(
            ["name", "seed", "model.widths", "data.dataset", "hydra.run.dir", "hydra.searchpath", "hydra/launcher"]
        )
        value = rng.choice(
            [
                str(words.scalar(rng, case.places))[:50_000],
                f"{{_target_:{name}}}",
                f"[{name}]",
                "range(1,10000000)",
                "glob(*)",
            ]
        )
        typed.append(
            rng.choice(
                [
                    f"{rng.choice(['', '+', '++', '~'])}{key}={value}",
                    "data=dataset",
                    f"++data.dataset._target_={name}",
                    f"+hydra.callbacks.x={{_target_:os.mkdir,path:{case.marker}}}",
                    f"model._target_={name}",
                    f"--config-dir={case.inside}",
                    f"+{rng.choice(['a', 'evil'])}@hydra.callbacks.x=name",
                    "model.widths=" + "[" * 3_000,
                    "seed="
                    + ",".join(
                        map(str, range(rng.choice([5, 40])))
                    ),  # each a sound run: of 3,000 the honest work would be taken for a hang
                    "seed=choice(1,2)",
                    "optimizer.lr=interval(0,1)",
                    "seeds=100000000",
                    f"runs_dir={case.inside}/elsewhere",
                    "resume=auto",
                ]
            )
        )
    shown, others = typed[4:], {}
    if rng.random() < 0.3:
        keys = ["command", "folder", "overrides", "sweep", "threads", "own_groups", "format", "jobs"]
        others[rng.choice(keys)] = words.scalar(rng, case.places)
    if rng.random() < 0.3:
        node = {**NODE, rng.choice([*NODE, "other"]): rng.choice([words.scalar(rng, case.places), "random", 10**9, {}])}
        others["sweep"] = node
    write_record(run, others.pop("overrides", typed), **others)
    if rng.random() < 0.3:
        kept = rng.choice(sorted((run / "configs" / "packaged").rglob("*.yaml")))
        lines = kept.read_text().splitlines()
        lines[rng.randrange(len(lines))] = f"{rng.choice(['name', 'lr', '_target_', 'defaults'])}: {words.target(rng)}"
        kept.write_text("\n".join(lines) + "\n")
    return f"sweep.json, {shown}"[:200]


def whole(rng: random.Random, case: Case, run: Path) -> str:
    """A file that is something else from its first byte on."""
    found = sorted(p for p in run.rglob("*") if p.is_file() and not p.is_symlink() and p.stat().st_size < 1 << 22)
    if not found:
        return "nothing"
    file = rng.choice(found)
    content = rng.choice(
        [
            pickle.dumps(Bomb(case.marker)),
            b"[" * 200_000,
            b"\x00" * 100,
            b"\xff\xfea\x00",
            b"<html>",
            b"{}",
            b"[]",
            b"null",
            b"1e999",
        ]
    )
    put(file, content)
    return f"{content[:8]!r} as {file.relative_to(run)}"
