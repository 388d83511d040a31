"""Files read in pieces say what the same files say when they are read as a whole, and as clearly what is wrong."""

import contextlib
import gzip
import io
import random
import re
import struct
import time

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from dltrain.data import streaming
from dltrain.data.sources.image_folders import read_image
from dltrain.data.sources.image_sets import read_idx
from dltrain.data.tables.headers import Format, Known
from dltrain.data.tables.reading import read_table
from dltrain.errors import DataError

QUOTED = 'a,b\n1,"x, y"\n2,"two\nlines"\n\n3,  z \n4,"a ""word"""\n5,\n'


def pieces(source, columns, separator=None, **knobs):
    """All of a text table, piece by piece: the frame, and where each row stands."""
    made = list(streaming.text_table(source, Known(columns), Format(separator), **knobs))
    return pl.concat([p.frame for p in made]), [p.place(row) for p in made for row in range(len(p.frame))]


@pytest.mark.parametrize("characters", [1, 5, 17, 1 << 20])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_pieces_of_a_text_table_are_the_whole(tmp_path, characters, ending):
    path = tmp_path / "t.csv"
    for text in (QUOTED, "a,b\n" + "".join(f"{i},{'north' if i % 3 else ''}\n" for i in range(60))):
        path.write_bytes(text.replace("\n", ending).encode())
        whole = read_table(path)
        frame, places = pieces(path, ["b", "a"], characters=characters)
        assert frame.equals(whole.frame.select("b", "a"))
        assert places == [whole.place(row) for row in range(len(frame))]
        assert pieces(io.BytesIO(path.read_bytes()), ["a"], characters=characters)[0].equals(whole.frame.select("a"))


def test_damaged_files_say_the_same_in_pieces_as_in_one(tmp_path):
    rng, path, same = random.Random(0), tmp_path / "t.csv", 0
    cells = ["x", '"a, b"', '"two\nlines"', "", "5", '"q""q"', " z "]
    for _ in range(300):
        rows = [f"{i},{rng.choice(cells)},{rng.choice('ns')}" for i in range(rng.randint(1, 30))]
        text = bytearray(rng.choice(["\n", "\r\n"]).join(["a,b,c", *rows, ""]).encode())
        for _ in range(rng.randint(0, 2)):
            at = rng.randrange(len(text))
            text[at : at + rng.randint(0, 3)] = bytes(rng.choice(b'\n",;a \r\xc3') for _ in range(rng.randint(0, 2)))
        path.write_bytes(text)
        whole, found, said = None, None, ""
        with contextlib.suppress(DataError):
            whole = read_table(path)
        columns = whole.frame.columns if whole else ["a", "b", "c"]
        try:
            found, places = pieces(path, columns, characters=rng.choice([3, 20, 100]))
        except DataError as error:
            said = str(error)
        # A lone quotation mark may make a piece end inside of a cell, and the file is refused.
        assert whole is None or not said or "is a quotation mark left open?" in said
        if found is not None:
            assert found.equals(whole.frame)
            assert places == [whole.place(row) for row in range(len(found))]
            same += 1
    assert same > 150


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_every_encoding_that_a_table_may_have(tmp_path, encoding):
    path = tmp_path / "t.csv"
    path.write_bytes("a;b\nä;1\nü;2\n".encode(encoding))
    frame, _ = pieces(path, ["a", "b"], separator=";", characters=4)
    assert frame.rows() == [("ä", "1"), ("ü", "2")]
    if encoding == "latin-1":
        with pytest.raises(DataError, match="standard input: not UTF-8"):
            pieces(io.BytesIO(path.read_bytes()), ["a"], separator=";")


def test_one_column_is_enough_where_it_is_the_wanted_one(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x1\n0.5\n-1\n\n2\n")
    assert pieces(path, ["x1"])[0].rows() == [("0.5",), ("-1",), ("2",)]
    with pytest.raises(DataError, match="only one column, 'x1'"):
        pieces(path, ["x2"])


def test_a_lone_quotation_mark_costs_no_time(tmp_path):
    """Its row ends outside of a pair of marks nowhere: to look for an end at each line took minutes."""
    path = tmp_path / "t.csv"
    path.write_text('a,b\n1,2\n5" wide,3\n' + "north,4\n" * 100_000)
    whole, begin = read_table(path), time.process_time()
    frame, places = pieces(path, ["a", "b"], characters=1 << 18)
    assert time.process_time() - begin < 10
    assert frame.equals(whole.frame)
    assert places[-1] == f"{path}, line 100003"


def test_streams_know_tabs_from_commas():
    assert pieces(io.BytesIO(b"a\tb\n1\t2\n"), ["b"])[0].rows() == [("2",)]


WRONG = {
    "": "standard input: the file is empty",
    "a,b\n": "has a header \\(a, b\\) and no rows",
    "a,b\n1\n": "line 2: 1 cells where the header has 2",
    "a,c\n1,2\n": "no column 'b' .* Its columns: a, c",
    "a,b\n1,2\n3,\0\n": "holds NUL bytes",
    'a,b\n1,"2\n3,4\n': "is a quotation mark left open",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_with_a_stream_is_said(text):
    with pytest.raises(DataError) as error:
        pieces(io.BytesIO(text.encode()), ["a", "b"])
    assert re.search(WRONG[text], str(error.value).replace("\n", " "))


def test_a_header_alone_gives_no_piece():
    made = streaming.text_table(io.BytesIO(b"a,b\n"), Known(["a"]))
    with pytest.raises(DataError, match="no rows"):
        next(made)


def test_the_line_of_a_ragged_row_in_a_late_piece(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("a,b\n" + "1,2\n" * 100 + "1,2,3\n" + "1,2\n" * 10)
    with pytest.raises(DataError, match="line 102: 3 cells"):
        pieces(path, ["a"], characters=64)


def test_pieces_of_a_parquet_file_are_the_whole(tmp_path):
    path = tmp_path / "t.parquet"
    frame = pl.DataFrame({"a": range(10), "b": [" x ", ""] * 5, "c": [1.5, None] * 5})
    frame.with_columns(pl.col("b").cast(pl.Categorical)).write_parquet(path)
    made = list(streaming.parquet(path, Known(["c", "b"]), rows=4))
    assert [len(p.frame) for p in made] == [4, 4, 2]
    assert pl.concat([p.frame for p in made]).equals(read_table(path).frame.select("c", "b"))
    assert made[1].place(1) == f"{path}, row 6"
    with pytest.raises(DataError, match="no column 'd'"):
        list(streaming.parquet(path, Known(["d"])))
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match="not a whole Parquet file"):
        list(streaming.parquet(path, ["a"]))


def idx_file(path, pixels, pack=bytes):
    body = struct.pack(f">4B{pixels.ndim}I", 0, 0, 8, pixels.ndim, *pixels.shape) + pixels.tobytes()
    path.write_bytes(pack(body))
    return path


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_pieces_of_an_idx_file_are_the_whole(tmp_path, pack, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 3, 4), dtype=np.uint8)
    path = idx_file(tmp_path / "x", pixels, pack)
    monkeypatch.setattr(streaming, "_BYTES", 30)
    made = list(streaming.idx(path, (1, 3, 4)))
    assert [len(p) for p in made] == [2, 2, 2, 1]
    assert torch.equal(torch.cat(made)[:, 0], read_idx(path))
    with pytest.raises(DataError, match=r"its images are \[1, 3, 4\], and the run was trained on \[1, 28, 28\]"):
        list(streaming.idx(path, (1, 28, 28)))
    path.write_bytes(pack(gzip.decompress(path.read_bytes())[:-5] if pack is gzip.compress else path.read_bytes()[:-5]))
    with pytest.raises(DataError, match="expected"):
        list(streaming.idx(path, (1, 3, 4)))


def test_a_folder_of_pictures_comes_by_name(tmp_path, monkeypatch):
    (tmp_path / "deep").mkdir()
    for i, name in enumerate(["b.png", "a.png", "deep/c.jpg"]):
        Image.new("RGB", (6, 4), (40 * i, 10, 20)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a picture")
    monkeypatch.setattr(streaming, "_BYTES", 2 * 3 * 2 * 3)
    made = list(streaming.pictures(tmp_path, size=(2, 3), channels="rgb"))
    assert [names for names, _ in made] == [["a.png", "b.png"], ["deep/c.jpg"]]
    assert torch.equal(made[0][1][0], read_image(tmp_path / "a.png", size=(2, 3)))
    (tmp_path / "z.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"z\.png: cannot be read as an image"):
        list(streaming.pictures(tmp_path, size=(2, 3), channels="rgb"))
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="holds no image files"):
        list(streaming.pictures(tmp_path / "none", size=(2, 3), channels="rgb"))


def test_the_kind_of_a_file_shows_in_its_first_bytes(tmp_path):
    idx_file(tmp_path / "x.bin", np.zeros((1, 2, 2), dtype=np.uint8))
    pl.DataFrame({"a": [1]}).write_parquet(tmp_path / "y.bin")
    (tmp_path / "z.txt").write_text("a,b\n")
    (tmp_path / "w.PNG").write_bytes(b"\x89PNG")
    kinds = {name: streaming.kind_of(tmp_path / name) for name in ("x.bin", "y.bin", "z.txt", "w.PNG", ".")}
    assert list(kinds.values()) == ["idx", "table", "table", "pictures", "pictures"]
    with pytest.raises(DataError, match="no such file"):
        streaming.kind_of(tmp_path / "none")
