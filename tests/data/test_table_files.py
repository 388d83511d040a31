"""Tables in several files, packed, without a header, or as JSON lines: read alike whole and in pieces, or refused."""

import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest

from dltrain.data import streaming
from dltrain.data.sources.table import table
from dltrain.data.tables import packed, text
from dltrain.data.tables.headers import Format, Known
from dltrain.data.tables.reading import read_table
from dltrain.errors import DataError

ROWS = "a,b,y\n" + "".join(f"{i},{'north' if i % 3 else 'south'},{i}.5\n" for i in range(60))


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, content):
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    return name


def refused(path, message, **how):
    """Reading whole and in pieces say the same."""
    for read in (read_table, lambda given, how: list(streaming.table(given, Known(["a"]), how))):
        with pytest.raises(DataError, match=message) as error:
            read(path, Format(**how))
        assert "Traceback" not in str(error.value)
        assert len(str(error.value).splitlines()) <= 3


def both(path, columns, **how):
    """The frame of a table and where its rows stand, which are the same whole and in pieces."""
    whole = read_table(path, Format(**how))
    made = list(streaming.table(path, Known(columns), Format(**how)))
    frame = pl.concat([piece.frame for piece in made])
    assert frame.equals(whole.frame.select(columns))
    places = [piece.place(row) for piece in made for row in range(len(piece.frame))]
    assert places == [whole.place(row) for row in range(len(frame))]
    return whole, places


# -- several files -------------------------------------------------------------------------------------------------


def test_a_list_a_folder_and_a_pattern_follow_the_names():
    write("d/2.csv", "y,b,a\n3,n,2\n")
    write("d/1.csv", "a,b,y\n0,n,1\n1,s,2\n")
    write("d/_SUCCESS", "")
    for given in (["d/2.csv", "d/1.csv"], "d", "d/*.csv", "d/[12].csv", ["d/1.csv", "d/2*"]):
        whole, places = both(given, ["a", "b", "y"])
        assert whole.frame["a"].to_list() == ["0", "1", "2"]
        assert places == ["d/1.csv, line 2", "d/1.csv, line 3", "d/2.csv, line 2"]
        assert whole.notes == ()
    write("d/3.csv", "a,b,y\n7,n,1\nx,n,2\n")
    with pytest.raises(DataError, match=r"^d/3.csv, line 3: 'x' in column 'a', whose other cells are numbers"):
        table("d", target="y")
    write("a[1].csv", ROWS)  # a name that is a pattern, too
    assert len(read_table("a[1].csv").frame) == 60


def test_many_files_tell_a_note_once():
    for i in range(30):
        write(f"d/{i:02d}.csv", "a;b\n1;2\n")
    assert read_table("d").notes == ("d/00.csv: its cells are separated by ';' (and so of 29 more files)",)


def test_files_with_other_columns_are_refused_by_name():
    write("d/1.csv", "a,b\n1,2\n")
    write("d/2.csv", "a,c\n1,2\n")
    with pytest.raises(DataError, match=r"^d/2.csv: its columns are not those of d/1.csv: without b, and with c\n"):
        read_table("d")


def test_a_folder_of_parquet_files():
    pl.DataFrame({"a": [1, 2], "y": [0.5, 1.5]}).write_parquet(write("d/1.parquet", ""))
    pl.DataFrame({"y": [2, 3], "a": [1.5, None]}).write_parquet("d/2.parquet")
    whole = read_table("d").frame
    assert whole.rows() == [(1.0, 0.5), (2.0, 1.5), (1.5, 2.0), (None, 3.0)]
    rows = [piece.frame.rows() for piece in streaming.table("d", Known(["a"]))]
    assert rows == [[(1,), (2,)], [(1.5,), (None,)]]
    pl.DataFrame({"a": ["x"], "y": [[1]]}).write_parquet("d/3.parquet")
    with pytest.raises(DataError, match=r"^d/3.parquet: its columns are of other types than those of d/1.parquet"):
        read_table("d")


def test_what_is_no_set_of_tables_is_said():
    Path("empty").mkdir()
    write("words/a.txt", "a,y\n1,2\n")
    write("mixed/a.csv", ROWS)
    pl.DataFrame({"a": [1]}).write_parquet("mixed/b.parquet")
    write("parts/year=2024/a.csv", ROWS)
    write("deep/er/a.csv", ROWS)
    for given, message in (
        ("empty", "^empty: is an empty folder$"),
        ("no*.csv", r"^no\*.csv: no file has a name that fits this pattern$"),
        ("/*/*/*.csv", r"^/\*/\*/\*.csv: no file has a name that fits this pattern: at most 2 names of it may be pa"),
        ("words", r"^words: is a folder without a table \(.csv, .*\); it holds a.txt\n.*words/\*.txt"),
        ("deep", r"^deep: is a folder without a table .* it holds er\n.*deep/\*/\*.csv"),
        ("d*", r"^d\*: only folders have such names; for the files in them write d\*/\*.csv$"),
        ("mixed", r"^mixed: files of several kinds: 1 of text \(a.csv\), 1 of Parquet \(b.parquet\)\n.*mixed/\*.csv"),
        ("parts", r"^parts: its folders are called like year=2024: a partitioned table, which is not read as one\n"),
        (["mixed/a.csv", "mixed/*.csv"], r"names mixed/a.csv twice"),
        ([], "names no file"),
    ):
        refused(given, message)
    if hasattr(os, "mkfifo"):
        os.mkfifo("pipe.csv")
        refused("pipe.csv", "is not a plain file; predict reads a pipe as -")
        os.mkfifo("mixed/pipe.csv")
    whole = read_table("parts/year=2024")
    assert "parts/year=2024: its name looks like a part of a partitioned table" in whole.notes[0]
    write("mixed/notes.md", "")
    Path("mixed/b.parquet").unlink()
    assert read_table("mixed").notes[0].startswith("mixed: not read: notes.md")


# -- packed --------------------------------------------------------------------------------------------------------


def zipped(*members, name="t.zip", method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(name, "w", method) as archive:
        for member, content in members:
            archive.writestr(member, content)
    return name


def zst(content):
    pytest.importorskip("backports.zstd" if find_spec("backports") else "compression.zstd")
    return packed._zstd(Path("x")).compress(content)


def as_zip(content):
    return Path(zipped(("data/t.csv", content), name="made.zip")).read_bytes()


PACK = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zst, "zip": as_zip}


@pytest.mark.parametrize("kind", PACK)
def test_a_packed_table_is_read_as_the_plain_one(kind, monkeypatch):
    plain, expected = both(write("t.csv", ROWS), ["y", "a"])
    whole, places = both(write(f"t.csv.{kind}", PACK[kind](ROWS.encode())), ["y", "a"])
    assert whole.frame.equals(plain.frame)
    assert [place.replace(f".{kind}", "") for place in places] == expected
    assert whole.notes == ()
    assert sorted(os.listdir()) == sorted({"t.csv", f"t.csv.{kind}", *(["made.zip"] if kind == "zip" else [])})
    if kind != "zip":
        stream = streaming.table(io.BytesIO(Path(f"t.csv.{kind}").read_bytes()), Known(["a"]))
        assert pl.concat([piece.frame for piece in stream]).equals(plain.frame.select("a"))
        twice = PACK[kind](ROWS.encode()) + PACK[kind](b"99,north,1\n")  # as `cat` joins two
        assert len(read_table(write(f"twice.csv.{kind}", twice)).frame) == 61


@pytest.mark.parametrize("kind", PACK)
def test_a_packed_table_that_is_damaged_is_refused(kind):
    whole = PACK[kind](ROWS.encode() * 50)
    refused(write(f"t.csv.{kind}", whole[: len(whole) // 2]), r"^t.csv.\w+: (cut off|damaged): ")
    spoiled = bytearray(whole)
    spoiled[len(whole) // 2] ^= 0xFF
    spoiled[len(whole) // 2 + 1] ^= 0xFF
    refused(write(f"t.csv.{kind}", bytes(spoiled)), r"^t.csv.\w+")


@pytest.mark.parametrize("kind", PACK)
def test_what_unpacks_to_more_than_a_table_is_refused_as_it_comes(kind, monkeypatch):
    monkeypatch.setattr(packed, "_CHECKED", 1 << 18)
    monkeypatch.setattr(packed, "_TIGHTEST", 20)
    bomb = PACK[kind](b"a,y\n" + b"1,2\n" * (1 << 17))
    refused(write("t.csv." + kind, bomb), r"^t.csv.\w+: unpacks to more than 0 GB, 20 times its size, as no table does")


def test_a_text_that_memory_does_not_hold_is_refused_before_it_is_kept(monkeypatch):
    monkeypatch.setattr(text, "free_memory", lambda: 5_000)
    for name, content in (("t.csv", ROWS.encode() * 2), ("t.csv.gz", gzip.compress(ROWS.encode() * 2))):
        with pytest.raises(DataError, match=r"GB take .* GB of memory, and 0.0 GB are free"):
            read_table(write(name, content))
        assert next(streaming.table(name, Known(["a"]))).frame["a"][0] == "0"


def test_an_archive_is_read_only_where_it_holds_one_plain_table():
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        info = tarfile.TarInfo("t.csv")
        info.size = len(ROWS)
        archive.addfile(info, io.BytesIO(ROWS.encode()))
    locked = bytearray(Path(zipped(("t.csv", ROWS))).read_bytes())
    for at in (6, locked.index(b"PK\1\2") + 8):
        locked[at] |= 1
    wordy = [zipfile.ZipInfo(f"{i}.csv") for i in range(70)]
    for info in wordy:
        info.comment = b"x" * 65_000
    many = zipped(("a.csv", ROWS), ("b.csv", ROWS), name="many.zip")
    for path, message in (
        (many, r"^many.zip: an archive of 2 files \(a.csv, b.csv\); one is read from a zip: unpack it"),
        (zipped(name="none.zip"), "^none.zip: an archive of no file"),
        (
            zipped(("../t.csv", ROWS), name="up.zip"),
            r"^up.zip: its file is called ../t.csv, outside of where",
        ),
        (zipped(("/etc/t.csv", ROWS), name="etc.zip"), "its file is called /etc/t.csv, outside"),
        (zipped((r"..\t.csv", ROWS)), "outside of where"),
        (zipped(("t.csv", ROWS), method=zipfile.ZIP_BZIP2, name="b.zip"), "packed by a method that is not read"),
        (zipped(("[Content_Types].xml", ""), ("xl/workbook.xml", ""), name="t.xlsx"), "t.xlsx: is a workbook or a doc"),
        (write("locked.zip", bytes(locked)), "^locked.zip: is encrypted; unpack it, and name the file that comes out"),
        (
            zipped(*((i, "") for i in wordy), name="w.zip"),
            "^w.zip: damaged: it begins .* but its list of files takes 4,",
        ),
        (write("t.tar", tar.getvalue()), "^t.tar: is a tar archive"),
        (write("t.tar.gz", gzip.compress(tar.getvalue())), "^t.tar.gz: is a tar archive"),
        (write("t.csv.gz", gzip.compress(gzip.compress(ROWS.encode()))), "^t.csv.gz: is packed more than once"),
        (write("t.parquet.gz", gzip.compress(b"PAR1")), "^t.parquet.gz: .*Parquet"),
        (write("p.gz", gzip.compress(b"PAR1....")), "^p.gz: is a Parquet file that was packed; unpack it"),
        (
            write("t.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
            "^t.xls: is an Excel workbook, which is not",
        ),
        (write("t.feather", b"ARROW1"), "^t.feather: is an Arrow .* polars.read_ipc"),
    ):
        refused(path, message)
    with pytest.raises(DataError, match="standard input: a zip archive can't be read from a pipe"):
        list(streaming.table(io.BytesIO(as_zip(ROWS)), Known(["a"])))
    mac = zipped(("data/", ""), ("data/t.tsv", ROWS.replace(",", "\t")), ("__MACOSX/data/._t.tsv", "x"), name="mac.zip")
    assert len(read_table(mac).frame) == 60


def test_zst_says_what_to_install(monkeypatch):
    monkeypatch.setattr(packed.importlib, "import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    refused(write("t.csv.zst", b"\x28\xb5\x2f\xfd...."), r"^t.csv.zst: to read .zst, pip install 'dltrain\[zstd\]'")


# -- a file that changes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
@pytest.mark.parametrize("change", ["appended", "replaced", "removed", "cut"])
def test_a_file_that_changes_while_it_is_read_is_refused(name, change):
    if name == "t.csv":
        write(name, "a,y\n" + "1,2\n" * 100)
        rows = streaming.text_table(Path(name), Known(["a"]), characters=40)
    else:
        pl.DataFrame({"a": range(9)}).write_parquet(name)
        rows = streaming.parquet(Path(name), Known(["a"]), rows=2)
    next(rows)
    content = Path(name).read_bytes()
    if change == "replaced":
        os.replace(write("new", content), name)
    elif change == "removed":
        Path(name).unlink()
    else:
        Path(name).write_bytes(content + b"3,4\n" if change == "appended" else content[:20])
    with pytest.raises(DataError, match=f"^{name}: changed while it was read; wait until it is whole, or read a copy$"):
        list(rows)


# -- separators, header --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("mark", "said"), [(";", "';'"), ("\t", "tab"), ("|", r"'|'")])
def test_separators_are_found_and_said(mark, said):
    content = ROWS.replace(",", mark).replace(".5", ",5")
    for name in ("t.csv", "t.txt", "t"):
        whole, _ = both(write(name, content), ["y", "a"])
        assert whole.frame["y"][1] == "1,5"
        assert whole.notes == (f"{name}: its cells are separated by {said}",)
    assert read_table(write("t.tsv", ROWS.replace(",", "\t"))).notes == ()
    header = f'"price, EUR"{mark}b{mark}y\n' + f"1,5{mark}2{mark}3\n" * 3  # commas that part the rows unevenly
    assert read_table(write("t.csv", header)).frame.columns == ["price, EUR", "b", "y"]


def test_columns_without_names_are_numbered():
    content = ROWS.split("\n", 1)[1]
    whole, places = both(write("t.csv", content), ["3", "1"], header=False)
    assert whole.frame.columns == ["1", "2", "3"]
    assert (whole.frame.row(0), places[0], places[-1]) == (("0", "south", "0.5"), "t.csv, line 1", "t.csv, line 60")
    both(write("quoted.csv", content.replace("north", '"no\nrth"')), ["2"], header=False)
    refused(write("bad.csv", "1,2,3\n4,5\n"), "^bad.csv, line 2: 2 cells where the first row has 3;", header=False)
    data = table("t.csv", target=-1, drop=[2], header=False)
    assert (data.targets, data.preprocessing["numbered"], data.preprocessing["target"]) == (("3",), 3, ["3"])
    assert table("t.csv", target=3, header=False).targets == ("3",)
    assert table(write("named.csv", ROWS), target=-1).targets == ("y",)
    assert table(write("odd.csv", ROWS.replace("a,b", "-1,b")), target=-1).targets == ("-1",)
    with pytest.raises(DataError, match=r"t.csv: data.target=-4, and there are 3 columns"):
        table("t.csv", target=-4, header=False)


def test_a_first_line_that_looks_like_a_row_is_told():
    content = ROWS.split("\n", 1)[1]
    note = read_table(write("t.csv", content)).notes
    assert note == (
        "t.csv: the first line looks like a row, not like names (0, south, 0.5); if it is one: data.header=false",
    )
    with pytest.raises(DataError, match=r"no column 'y' \(data.target\)\n.*\n.*looks like a row.*data.header=false"):
        table("t.csv", target="y")
    for rows, message in (
        ("1,1,x\n2,3,y\n", r"names 1 more than once.*\nIf the first line is a row.*: data.header=false$"),
        ("1.5,2\n3,4\n", r"holds only numbers \(1.5, 2\).*\nIf it is a row.*: data.header=false$"),
    ):
        with pytest.raises(DataError, match=message):
            read_table(write("t.csv", rows))
    assert read_table("t.csv", Format(header=True)).frame.columns == ["1.5", "2"]
    with pytest.raises(DataError, match=r"its first line is a row \(1.5, 2\), and must name the columns, .*: a$"):
        list(streaming.table("t.csv", Known(["a"])))
    for names in ("a,b,y", "1990,country,1991", "0,kind,1"):  # numbers that count are names
        assert read_table(write("t.csv", f"{names}\n{content}")).notes == ()


@pytest.mark.parametrize("name", ["mammography", "german", "glass", "phoneme", "horse-colic"])
def test_real_tables_without_a_header(name, shared_data):
    path = str(shared_data / "tables" / f"{name}.csv.gz")
    said = ""
    try:
        said = " ".join(read_table(path).notes)
    except DataError as error:
        said = str(error)
    assert "data.header=false" in said
    rows, columns = {
        "mammography": (11183, 7),
        "german": (1000, 21),
        "glass": (214, 10),
        "phoneme": (5404, 6),
        "horse-colic": (300, 28),
    }[name]
    whole, _ = both(path, ["1", str(columns)], header=False)
    assert whole.frame.shape == (rows, columns)
    assert whole.notes == ()


@pytest.mark.parametrize("name", ["taxis", "titanic"])
def test_real_tables_with_a_header_say_nothing(name, shared_data):
    assert read_table(shared_data / "tables" / f"{name}.csv.gz").notes == ()


# -- JSON lines ----------------------------------------------------------------------------------------------------


def test_json_lines_are_read_as_the_same_table_of_text():
    lines = [{"a": i, "b": "north" if i % 3 else "south", "y": i + 0.5} for i in range(60)]
    lines[3] = {"y": 3.5, "a": 3}
    lines[4]["b"] = None
    lines[5]["b"] = True
    content = "\n".join(map(json.dumps, lines[:50])) + "\n\n" + "\r\n".join(map(json.dumps, lines[50:]))
    for name in ("t.jsonl", "t.json", "t.ndjson.gz"):
        packer = gzip.compress if name.endswith(".gz") else bytes
        whole, places = both(write(name, packer(content.encode())), ["y", "b"])
        assert whole.frame.columns == ["a", "b", "y"]
        assert whole.frame.rows()[:6][3:] == [("3", None, "3.5"), ("4", None, "4.5"), ("5", "true", "5.5")]
        assert (places[49], places[50]) == (f"{name}, line 50", f"{name}, line 52")
    assert table("t.jsonl", target="y").task == "regression"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "t.jsonl: the file is empty"),
        ('{"a": 1}\n{"a": [1]}\n', "t.jsonl, line 2: 'a' holds a list; a cell is a number or a text"),
        ('{"a": {"b": 1}}', "line 1: 'a' holds a further object"),
        ('{"a": 1}\n{"a": 1,\n"b": 2}', "t.jsonl, line 2: not an object of JSON on a line of its own"),
        ('{"a": 1}\n5\n', "line 2: want one object, such as "),
        ('[{"a": 1}]', "t.jsonl: holds one JSON array; write one object a line: jq -c"),
        (r'{"a": "\ud800"}', "t.jsonl, lines 1 to 1: "),
        ('{"a": ' + "[" * 100_000, "line 1: not an object"),
        (b'{"a": "\xff"}', "not UTF-8|Latin-1|t.jsonl"),
    ],
)
def test_what_is_wrong_with_json_lines_is_said_with_the_line(content, message):
    if isinstance(content, bytes):
        assert "read as Latin-1" in read_table(write("t.jsonl", content)).notes[0]
    else:
        refused(write("t.jsonl", content), message)


def test_unknown_columns_of_a_run_are_named():
    write("t.jsonl", '{"a": 1}\n')
    with pytest.raises(DataError, match=r"t.jsonl: no column 'ab' \(the run was trained on it\); did you mean 'a'"):
        list(streaming.table("t.jsonl", Known(["ab"])))
