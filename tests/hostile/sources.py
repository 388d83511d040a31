"""Data files and folders of configuration files, as a stranger would make them."""

import gzip
import io
import json
import os
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from dltrain.config import compose
from hostile import words
from hostile.case import Bomb, Case, no_plain_file

SUFFIXES = [
    ".csv",
    ".csv",
    ".csv",
    ".tsv",
    ".parquet",
    ".parquet",
    ".pq",
    "-ubyte",
    "-ubyte.gz",
    ".npz",
    ".npy",
    ".png",
    ".pkl",
    ".txt",
]


def cell(rng: random.Random) -> str:
    """What stands in a cell of a table."""
    match rng.randrange(7):
        case 0:
            return rng.choice([*words.SIGNS, *words.MARKUP])
        case 1:
            return rng.choice(
                ["1e400", "-inf", "nan", "NA", "9" * 400, "0x10", "1_000", "1,5", "--1", "1e-400", "2001-99-99", "\x00"]
            )
        case 2:
            return rng.choice(words.NAMES)
        case 3:
            return '"' * rng.choice([1, 2, 3, 50])
        case 4:
            return "a" * rng.choice([1_000, 300_000])
        case 5:
            return rng.choice(words.INTERPOLATIONS)
        case _:
            return str(rng.choice(words.NUMBERS))


def table(rng: random.Random) -> bytes:
    """A CSV or TSV file of three columns, in which much is wrong."""
    mark = rng.choice([",", ",", ",", "\t", ";"])
    columns = rng.choice([3, 3, 3, 3, 2_000])
    header = [f"c{i}" for i in range(columns - 1)] + ["y"]
    rows = [
        [f"{rng.gauss(0, 1):.3f}"] * (columns - 1) + [rng.choice("ab")]
        for _ in range(rng.choice([30, 30, 30, 1, 0, 500]))
    ]
    for _ in range(rng.choice([1, 2, 8])):
        row = rng.choice([header, *rows])
        match rng.randrange(6):
            case 0:
                row.append(cell(rng))
            case 1:
                row.pop(rng.randrange(len(row)) if row else 0) if row else None
            case 2 if rows:
                column = rng.randrange(columns)
                word = cell(rng)[:1_000]
                for each in rows:
                    if column < len(each):
                        each[column] = word
            case _ if row:
                row[rng.randrange(len(row))] = cell(rng)
    text = rng.choice(["\n", "\n", "\r\n", "\r"]).join(mark.join(row) for row in [header, *rows])
    text += rng.choice(["\n", "\n", "", '"', "\x00"])
    return text.encode(rng.choice(["utf-8"] * 5 + ["utf-8-sig", "utf-16", "utf-32"]), "surrogatepass")


def parquet(rng: random.Random) -> bytes:
    """A Parquet file with types that are no numbers, nested ones, or a claim of more rows than it has."""
    import polars as pl

    n = rng.choice([0, 1, 30, 30])
    columns = {
        "c0": pl.Series("c0", [rng.gauss(0, 1) for _ in range(n)], dtype=pl.Float64),
        "c1": rng.choice(
            [
                pl.Series("c1", [[1.0, 2.0]] * n, dtype=pl.List(pl.Float64)),
                pl.Series("c1", [{"a": 1}] * n, dtype=pl.Struct({"a": pl.Int64})),
                pl.Series("c1", [b"\x80\x04"] * n, dtype=pl.Binary),
                pl.Series("c1", [rng.choice(words.SIGNS[:10])] * n, dtype=pl.String),
                pl.Series("c1", [None] * n, dtype=pl.Null),
                pl.Series("c1", [2**63 - 1] * n, dtype=pl.Int64),
                pl.Series("c1", [1] * n, dtype=pl.Duration),
                pl.Series("c1", [float("inf")] * n, dtype=pl.Float32),
                pl.Series("c1", ["a" * 10_000] * n, dtype=pl.Categorical),
            ]
        ),
        rng.choice(["y", "y", "y", *words.SIGNS[:10]]): pl.Series(
            "y", [rng.choice("ab") for _ in range(n)], dtype=pl.String
        ),
    }
    if rng.random() < 0.15:  # one number, stored once, of which there are many
        many = rng.choice([10_000_000, 300_000_000])
        frame = pl.DataFrame({"c0": pl.zeros(1, eager=True), "c1": pl.zeros(1, eager=True), "y": ["a"]})
        file = io.BytesIO()
        frame.write_parquet(file, compression="zstd")
        return _claim(file.getvalue(), many)
    file = io.BytesIO()
    pl.DataFrame(columns).write_parquet(file, compression=rng.choice(["zstd", "snappy", "uncompressed"]))
    content = bytearray(file.getvalue())
    for _ in range(rng.choice([0, 0, 1, 4])):
        content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _claim(content: bytes, rows: int) -> bytes:
    """The same file with another number of rows wherever its footer (thrift, zigzag numbers) has 1 as such."""

    def varint(value: int) -> bytes:
        out, value = bytearray(), value << 1
        while value > 127:
            out.append(value & 127 | 128)
            value >>= 7
        return bytes([*out, value])

    size = struct.unpack("<I", content[-8:-4])[0]
    footer = content[-8 - size : -8].replace(b"\x16\x02", b"\x16" + varint(rows))
    return content[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def idx(rng: random.Random) -> bytes:
    shape = [rng.choice([0, 1, 4, 28, 2**16, 2**31, 2**32 - 1]) for _ in range(rng.choice([1, 2, 3, 3, 4, 255]))]
    head = bytes([0, 0, rng.choice([8, 8, 8, 9, 13, 14, 0]), len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    return head + rng.randbytes(rng.choice([0, 16, 784, 7840]))


def image(rng: random.Random, case: Case) -> bytes:
    """A picture, a claim of a huge one, or a program for a printer."""
    match rng.randrange(6):
        case 0:
            return f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%touch {case.marker}) (w) file\n".encode()
        case 1:  # a PNG whose head says so many pixels
            size = rng.choice([20_000, 60_000, 2**31 - 1])
            head = b"IHDR" + struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
            import zlib

            return (
                b"\x89PNG\r\n\x1a\n"
                + struct.pack(">I", 13)
                + head
                + struct.pack(">I", zlib.crc32(head))
                + b"\0\0\0\0IEND\xaeB`\x82"
            )
        case 2:
            return f"<svg xmlns='http://www.w3.org/2000/svg'><image href='file://{case.outside}/precious.txt'/></svg>".encode()
        case 3:
            file = io.BytesIO()
            frames = [Image.new("P", (8, 8), i % 3) for i in range(rng.choice([2, 300]))]
            frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
            return file.getvalue()
        case 4:
            file = io.BytesIO()
            Image.new("L", (rng.choice([9_000, 12_000]),) * 2).save(file, "PNG")
            return file.getvalue()
        case _:
            file = io.BytesIO()
            Image.new(rng.choice(["RGB", "L", "CMYK", "I;16", "1"]), (9, 7)).save(file, "TIFF")
            content = bytearray(file.getvalue())
            for _ in range(4):
                content[rng.randrange(len(content))] = rng.randrange(256)
            return bytes(content)


def npz(rng: random.Random, case: Case) -> bytes:
    file = io.BytesIO()
    if rng.random() < 0.5:
        np.savez(file, x=np.array([Bomb(case.marker)], dtype=object))
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../outside/marker", b"x")
            archive.writestr("x.npy", b"\0" * 10_000_000)
    return file.getvalue()


def content(rng: random.Random, case: Case, suffix: str) -> bytes:
    """Of a file of that suffix; sometimes of another one."""
    if rng.random() < 0.1:
        suffix = rng.choice(SUFFIXES)
    if suffix in (".csv", ".tsv", ".txt"):
        return table(rng)
    if suffix in (".parquet", ".pq"):
        return parquet(rng)
    if suffix == "-ubyte":
        return idx(rng)
    if suffix == "-ubyte.gz":
        return gzip.compress(idx(rng) if rng.random() < 0.7 else b"\0" * (300 << 20), 1)
    if suffix in (".npz", ".npy"):
        return npz(rng, case)
    return image(rng, case) if suffix == ".png" else pickle.dumps(Bomb(case.marker))


TABLES = [".parquet", ".csv", ".pq", ".tsv"]


def file(rng: random.Random, case: Case, suffixes: list[str] = SUFFIXES) -> Path:
    """A data file, or something else of that name; of one kind after the other as the cases are counted."""
    suffix = suffixes[case.number // 2 % len(suffixes)]
    name = rng.choice(
        ["mine", "mine", "mine", *[n for n in words.NAMES if len(n) < 100 and "/" not in n], "a\x1b[2J", "\udcff"]
    )
    path = case.inside / f"{name}{suffix}"
    match drawn := rng.randrange(14):
        case 0 | 1 | 2:
            no_plain_file(case, path, drawn)
        case 3:
            path.write_bytes(content(rng, case, suffix)[:50])
            os.truncate(path, rng.choice([3 << 30, 300 << 20]))
        case 4:
            path.symlink_to(path)
        case 5:
            path.symlink_to(rng.choice(words.DEVICES))
            case.may_read = True
        case _:
            path.write_bytes(content(rng, case, suffix))
    case.done.append(f"a data file {path.name!r}")
    return path


def pictures(rng: random.Random, case: Case) -> Path:
    """A folder of images by class, with what is no image, and names that are more than names."""
    root = case.inside / "photos"
    for label in ["cat", "dog", *rng.sample([n for n in words.NAMES if len(n) < 250], 2)]:
        label = label.replace("/", "_")[:200]
        (root / label).mkdir(parents=True, exist_ok=True)
        for i in range(rng.choice([1, 6, 12])):
            Image.new("RGB", (9, 7), (i, 40, 0)).save(root / label / f"{i}.png")
    labels = sorted(p for p in root.iterdir() if p.is_dir())
    for _ in range(rng.choice([1, 2, 4])):
        place = rng.choice(labels)
        name = rng.choice(
            [
                "a.png",
                "b.eps",
                "c.tif",
                "d.gif",
                "\x1b[2J.png",
                "\u202egnp.png",
                "e.ps",
                "\udcff.png",
                "f.svg",
                "x" * 200 + ".png",
            ]
        )
        path = place / name
        if path.exists() or path.is_symlink():
            continue
        match rng.randrange(8):
            case 0:
                path.symlink_to(
                    rng.choice([case.outside / "precious.txt", case.outside / "folder", path, Path("/dev/zero")])
                )
                case.may_read = True
            case 1:
                os.mkfifo(path)
            case 2:
                path.mkdir()
            case 3:
                (place / "loop").symlink_to(root) if not (place / "loop").is_symlink() else None
            case 4:
                path.write_bytes(b"\x89PNG\r\n\x1a\n")
                os.truncate(path, 3 << 30)
            case _:
                path.write_bytes(image(rng, case))
    case.done.append("a folder of images")
    return root


# -- folders of configuration files ----------------------------------------------------------------------------


def groups(rng: random.Random, case: Case) -> list[str]:
    """A folder for `--config-dir` with one file that is chosen and others beside it; what is typed to choose it."""
    folder = case.inside / "mine"
    kind = rng.choice(
        ["data", "model", "loss", "optimizer", "scheduler", "trainer", "regularisation", "experiment", "experiment"]
    )
    like = rng.choice(sorted((compose.CONFIGS / kind).glob("*.yaml")))
    tree = yaml.safe_load(like.read_text(encoding="utf-8")) or {}
    raw = None
    for _ in range(rng.choice([1, 1, 2])):
        key = rng.choice(
            [*tree, "_target_", "hydra", "defaults", "new", *words.SIGNS[:4]] if isinstance(tree, dict) else ["a"]
        )
        if not isinstance(tree, dict):
            tree = {}
        match rng.randrange(5):
            case 0:
                tree[key] = words.scalar(rng, case.places)
            case 1 | 2:
                name = words.target(rng)
                node = words.node(name, words.arguments(rng, name, case.places))
                if rng.random() < 0.5:
                    tree = {**node}
                else:
                    tree[key] = rng.choice([node, [node], {"a": node}])
            case 3:
                tree[key], raw = "PLACE-OF-A-FRAGMENT", words.yaml_text(rng, case.marker)
            case _:
                tree["defaults"] = rng.choice(
                    [
                        ["/../../outside/precious"],
                        [{"override /hydra/launcher": "evil"}],
                        [{"/model@hydra.callbacks": "mine"}],
                        ["mine", "_self_"],
                        [{"/data": f"../../../{case.outside}/folder"}],
                        [{"optional /x": None}] * 3_000,
                        "mine",
                        [["mine"]],
                        {"a": 1},
                        [words.scalar(rng, case.places)],
                    ]
                )
    text = yaml.safe_dump(tree, width=10**9).replace("PLACE-OF-A-FRAGMENT", raw or "1", 1)
    if kind == "experiment" or rng.random() < 0.1:
        text = (
            "# @package "
            + rng.choice(["_global_", "_global_", "hydra", "_here_", "a.b", "hydra.callbacks.x"])
            + "\n"
            + text
        )
    (folder / kind).mkdir(parents=True)
    case.consent(text)
    path = folder / kind / "mine.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    case.done.append(f"{kind}/mine.yaml: {text[:300]!r}")
    match rng.randrange(16):
        case 0:
            path.unlink()
            path.symlink_to(
                rng.choice([case.outside / "precious.txt", path, Path("/dev/zero"), case.inside / "rows.csv"])
            )
            case.may_read = True
            case.done.append("a link in its place")
        case 1:
            path.unlink()
            os.mkfifo(path)
            case.done.append("a pipe in its place")
        case 2:
            other = folder / "data" / "other.yaml"
            other.parent.mkdir(exist_ok=True)
            os.mkfifo(other)
            case.done.append("a pipe beside it")
        case 3:
            for i in range(60):
                (folder / kind / f"f{i}.yaml").write_text("a: [" + "1," * 1_500_000 + "]")
            case.done.append("60 large files beside it")
        case 4:
            for i in range(3_000):
                (folder / kind / f"f{i}.yaml").write_text(f"a: {i}")
            case.done.append("3,000 files beside it")
        case 5:
            deep = folder / "/".join(["data", *["d"] * 200])
            deep.mkdir(parents=True)
            (deep / "a.yaml").write_text("a: 1")
            case.done.append("a deep folder beside it")
        case 6:
            (folder / kind / "loop").symlink_to(folder)
            case.done.append("a loop of links beside it")
        case 7:
            (folder / "hydra").mkdir()
            (folder / "hydra" / "default.yaml").write_text("a: 1")
            (folder / "train.yaml").write_text(
                json.dumps({"hydra": {"callbacks": {"x": {"_target_": "os.mkdir", "path": str(case.marker)}}}})
            )
            case.done.append("Hydra's own names beside it")
        case 8:
            path.write_bytes(path.read_bytes()[:20])
            os.truncate(path, rng.choice([3 << 30, 3 << 20]))
            case.done.append("a hole in its place")
        case 9:
            (folder / kind / f"{rng.choice(words.SIGNS[:8])}.yaml").write_text("a: 1")
            case.done.append("a strange name beside it")
    plus = "+" if kind == "experiment" and rng.random() < 0.1 else ""
    return [f"{plus}{kind}={rng.choice(['mine'] * 9 + ['[mine]', '../data/iris', 'mien'])}"]
