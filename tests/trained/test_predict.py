"""`dltrain predict` as a user types it: every kind of input, whole files or none, and what is wrong in a sentence."""

import ctypes
import errno
import gzip
import io
import json
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

import dltrain
from dltrain.data import streaming
from dltrain.data.sources import image_sets
from dltrain.runs import run_folder, storage
from dltrain.trained import predict

SHORT = ("trainer.max_steps=3", "trainer.tensorboard=false", "trainer.threads=1")
TABLE = ("data=table", "data.path=houses.csv", "data.target=price", "data.drop=[id]", "data.task=regression")


@pytest.fixture
def command(dltrain, monkeypatch):
    """The command, with something on standard input."""

    def run(*arguments, stdin=None):
        if stdin is not None:
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        return dltrain(*arguments)

    return run


@pytest.fixture
def houses(command):
    """A run on a table; returns its folder."""
    lines = [f"{i},{50 + i % 40},{'north' if i % 3 else 'south'},{1000 + 13 * (i % 40)}" for i in range(120)]
    Path("houses.csv").write_text("id,area,side,price\n" + "\n".join(lines) + "\n")
    code, _, err = command(*TABLE, *SHORT)
    assert code == 0, err
    return run_folder.find("last", Path("runs"))


def test_every_form_of_a_table_gives_the_same(command, houses):
    table = pl.read_csv("houses.csv")
    table.write_csv("t.tsv", separator="\t")
    table.write_csv("t.txt", separator="\t")
    table.select("side", "area").write_parquet("t.parquet")
    code, expected, err = command("predict", "last", "houses.csv")
    assert (code, err) == (0, "")
    assert expected.splitlines()[0] == "price"
    assert len(expected.splitlines()) == 121
    for source in ("t.tsv", "t.txt", "t.parquet"):
        assert command("predict", "last", source) == (0, expected, "")
    assert command("predict", "last", "-", stdin=Path("houses.csv").read_text()) == (0, expected, "")
    for name, read in (("out.csv", pl.read_csv), ("out.parquet", pl.read_parquet)):
        code, out, _ = command("predict", "last", "houses.csv", "-o", name)
        assert out == f"120 rows predicted by {dltrain.load('last').checkpoint.name}, in {name}\n"
        assert read(name)["price"].to_list() == pytest.approx([float(v) for v in expected.split()[1:]])
    assert not [p for p in os.listdir() if p.startswith(".tmp")]


def test_pieces_add_up_to_the_whole(command, houses, monkeypatch):
    whole = command("predict", "last", "houses.csv")[1]
    monkeypatch.setattr(streaming, "_CHARACTERS", 100)
    monkeypatch.setattr(predict, "_ANSWERS", 3)
    monkeypatch.setattr(predict.streaming.text_table, "__kwdefaults__", {"characters": 100})
    for name in ("out.csv", "out.parquet"):
        assert command("predict", "last", "houses.csv", "-o", name)[0] == 0
    values = [float(v) for v in whole.split()[1:]]
    assert pl.read_csv("out.csv")["price"].to_list() == pytest.approx(values)
    assert pl.read_parquet("out.parquet")["price"].to_list() == pytest.approx(values)
    code, _, err = command("predict", "last", "-", stdin="side,area\n" + "north,\n" * 50 + "south,7\n")
    assert code == 0
    first, second = err.splitlines()
    assert first == "note: column 'area': 50 values missing, replaced by the train rows' median 70"
    assert second.endswith("1 value far from all others, held to 30.5 and 108.5: 7 at standard input, line 52")


def test_wanted_columns_and_row_numbers_stand_before_the_answers(command, houses, monkeypatch):
    text = "id,area,label_a,side,label_b,price\n007,50,x,north,p,1\n008,60,y,south,,2\n009,70,z,north,q,3\n"
    Path("new.csv").write_text(text)
    pl.read_csv("new.csv", schema_overrides={"id": pl.String}).write_parquet("new.parquet")
    answers = command("predict", "last", "new.csv")[1].splitlines()[1:]
    for characters in (1 << 20, 20):  # whole, and a row at a time
        monkeypatch.setattr(predict.streaming.text_table, "__kwdefaults__", {"characters": characters})
        code, out, err = command("predict", "last", "new.csv", "--keep", "row, id,label_*", "--keep", "area")
        assert (code, err) == (0, "")
        head, *rows = out.splitlines()
        assert head == "row,id,label_a,label_b,area,price"
        assert rows == [
            f"{n},{kept},{answer}"
            for n, kept, answer in zip((1, 2, 3), ("007,x,p,50", "008,y,,60", "009,z,q,70"), answers, strict=True)
        ]
    for source in (["new.parquet"], ["-"]):
        assert command("predict", "last", *source, "--keep", "id,label_b", stdin=text)[1].splitlines()[1:] == [
            f"{kept},{answer}" for kept, answer in zip(("007,p", "008,", "009,q"), answers, strict=True)
        ]
    assert command("predict", "last", "new.csv", "--keep", "price", "-o", "out.csv")[0] == 0
    assert pl.read_csv("out.csv").columns == ["input_price", "price"]  # what was true, and what is said
    assert pl.read_csv("out.csv")["input_price"].to_list() == [1, 2, 3]
    code, out, err = command("predict", "last", "new.csv", "--keep", "sides")
    assert (code, out) == (3, "")
    assert "new.csv: no column 'sides' (--keep); did you mean 'side'?" in err
    Path("new.jsonl").write_text(
        '{"id": "a", "area": 50, "side": "north", "more": 1}\n{"id": "b", "area": 60, "side": "south"}\n'
    )
    code, out, err = command("predict", "last", "new.jsonl", "--keep", "more,row")
    assert (code, err, [line.rpartition(",")[0] for line in out.splitlines()]) == (0, "", ["more,row", "1,1", ",2"])


def test_what_does_not_fit_is_said_with_its_line(command, houses):
    for text, sentence in (
        (
            "area,side\n50,north\n60,west\n",
            "line 3: 'west' in column 'side' is unknown: the train rows had north, south",
        ),
        ("area,sides\n50,north\n", "no column 'side' (the run was trained on it); did you mean 'sides'?"),
        ("area,side\nlarge,north\n", "line 2: 'large' in column 'area' is not a number"),
        ("area,side\n", "has a header (area, side) and no rows under it"),
        ("50,north\n60,south\n", "its first line is a row (50, north), and must name the columns, as in the run's own"),
        ("", "the file is empty"),
    ):
        Path("new.csv").write_text(text)
        for arguments in (["new.csv"], ["-"], ["new.csv", "-o", "out.csv"], ["new.csv", "-o", "out.parquet"]):
            code, out, err = command("predict", "last", *arguments, stdin=text)
            assert (code, out) == (3, "")
            assert sentence in err
            assert len(err.splitlines()) <= 4
    assert not Path("out.csv").exists()
    assert not Path("out.parquet").exists()
    assert not [p for p in os.listdir() if p.startswith(".tmp")]
    code, out, err = command("predict", "last", "-", "--allow-unknown", stdin="area,side\n50,west\n50,\n")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "1 value not among the train rows' ('west'), encoded as no category" in err
    assert out.splitlines()[1] == out.splitlines()[2]


def test_bad_words_and_runs_get_one_clear_sentence(command, houses, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.png").touch()
    for arguments, code, sentence in (
        (["last"], 2, "the following arguments are required: INPUT"),
        (["zzzz", "houses.csv"], 2, "no run called `zzzz`"),
        (["last", "none.csv"], 3, "none.csv: no such file"),
        (["last", "folder"], 3, "folder: is an empty folder"),
        (["last", "x.png"], 3, "x.png: the run was trained on a table with the columns area, side"),
        (["last", "houses.csv", "-o", "out.txt"], 2, "-o out.txt: name a .csv or a .parquet file"),
        (["last", "houses.csv", "-o", "none/out.csv"], 2, "there is no folder none"),
        (["last", "houses.csv", "--outptu", "x"], 2, "unrecognized arguments: --outptu"),
    ):
        got, out, err = command("predict", *arguments)
        assert (got, out) == (code, "")
        assert sentence in err
    copy = Path(shutil.copytree(houses, tmp_path / "copy"))
    shutil.rmtree(copy / "checkpoints")
    code, _, err = command("predict", str(copy), "houses.csv")
    assert (code, "has no checkpoint yet; go on with it: dltrain resume" in err) == (4, True)
    (copy / "data.json").unlink()
    code, _, err = command("predict", str(copy), "houses.csv")
    assert (code, "is no whole run: it has no data.json" in err) == (2, True)


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
@pytest.mark.parametrize("call", ["replace", "fsync", "write"])
def test_a_full_disk_leaves_the_old_answers_whole(command, houses, monkeypatch, name, call):
    Path(name).write_text("the old ones")

    class Full:
        def __getattr__(self, other):
            return getattr(os, other)

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    disk = Full()
    setattr(disk, call, refuse)
    monkeypatch.setattr(storage, "disk", disk)
    code, _, err = command("predict", "last", "houses.csv", "-o", name, "--force")
    if name == "out.parquet" and call == "write":  # polars writes that one by itself
        assert code == 0
        return
    assert (code, f"{name} can't be written: No space left on device" in err) == (7, True)
    assert Path(name).read_text() == "the old ones"
    assert not [p for p in os.listdir() if p.startswith(".tmp")]


def test_images_come_from_folders_files_and_idx(command):
    code, _, err = command("data=digits", *SHORT)
    assert code == 0, err
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 8), dtype=np.uint8)
    Path("x.idx").write_bytes(struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes())
    Path("shots/deep").mkdir(parents=True)
    for i, image in enumerate(pixels):
        Image.fromarray(image).save(f"shots/{'deep/' * (i > 3)}{i}.png")
    code, out, err = command("predict", "last", "x.idx")
    assert (code, err) == (0, "")
    rows = out.splitlines()
    assert rows[0] == "prediction," + ",".join(f"p_{i}" for i in range(10))
    code, out, _ = command("predict", "last", "shots")
    assert out.splitlines() == [
        f"file,{rows[0]}",
        *(
            f"{name},{row}"
            for name, row in zip(["0.png", "1.png", "2.png", "3.png", "deep/4.png"], rows[1:], strict=True)
        ),
    ]
    assert command("predict", "last", "shots/2.png")[1].splitlines()[1] == f"shots/2.png,{rows[3]}"
    Path(os.fsdecode(b"shots/a\xff.png")).write_bytes(Path("shots/2.png").read_bytes())  # a name that is no UTF-8
    assert f"a\\udcff.png,{rows[3]}" in command("predict", "last", "shots")[1].splitlines()
    Path("t.csv").write_text("a,b\n1,2\n")
    code, _, err = command("predict", "last", "t.csv")
    assert (code, "the run was trained on images [1, 8, 8]: give a folder of them, or an IDX file" in err) == (3, True)
    Path("shots/9.png").write_bytes(b"no picture")
    code, out, err = command("predict", "last", "shots", "-o", "out.csv")
    assert (code, "shots/9.png: cannot be read as an image" in err) == (3, True)


@pytest.mark.parametrize("data", ["iris", "diabetes", "breast_cancer loss=bce", "multilabel"])
def test_a_row_has_the_same_printed_answer_alone_and_in_any_file(command, data):
    code, _, err = command(*f"data={data}".split(), "model.widths=[33,17]", "model.activation=sigmoid", *SHORT)
    assert code == 0, err
    trained = dltrain.load("last")
    lines = np.random.default_rng(0).normal(size=(300, len(trained.facts.columns))).tolist()
    lines = [",".join(trained.facts.columns), *(",".join(map(str, line)) for line in lines)]

    def answers(some):
        Path("rows.csv").write_text("\n".join([lines[0], *some]) + "\n")
        code, out, err = command("predict", "last", "rows.csv")
        assert code == 0, err
        return out.splitlines()[1:]

    whole = answers(lines[1:])
    assert answers(lines[:0:-1]) == whole[::-1]
    assert answers(lines[131:]) == whole[130:]
    for row in (0, 7, 127, 128, 299):
        assert answers(lines[row + 1 : row + 2]) == whole[row : row + 1]


def test_mnists_own_test_file_gives_the_accuracy_of_the_summary(command, shared_data):
    code, _, err = command(
        "data=mnist", f"data.root={shared_data}", "data.limit=2000", "data.batch_size=100", "trainer.epochs=1",
        "trainer.tensorboard=false", "trainer.threads=1", "model.widths=[32]",
    )  # fmt: skip
    assert code == 0, err
    assert command("predict", "last", str(shared_data / "mnist" / "t10k-images-idx3-ubyte.gz"), "-o", "o.csv")[0] == 0
    labels = image_sets.read_idx(shared_data / "mnist" / "t10k-labels-idx1-ubyte.gz")
    found = pl.read_csv("o.csv")["prediction"].to_numpy()
    summary = run_folder.read_json(run_folder.find("last", Path("runs")) / "summary.json")
    assert (found == labels.numpy()).mean() == summary["test"]["accuracy"]


def test_a_dataset_of_ones_own_predicts_in_python(command, tmp_path, monkeypatch):
    (tmp_path / "predicted_set.py").write_text(
        "import torch\n"
        "class MySet(torch.utils.data.Dataset):\n"
        "    def __len__(self): return 60\n"
        "    def __getitem__(self, i): return torch.tensor([float(i % 7), 1.0]), int(i % 7 > 3)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    code, _, err = command(
        "data=dataset", "data.dataset._target_=predicted_set.MySet", "--allow", "predicted_set", *SHORT
    )
    assert code == 0, err
    Path("t.csv").write_text("a,b\n1,2\n")
    code, _, err = command("predict", "last", "t.csv")  # the data's code is not needed, so not asked for
    assert (code, "dltrain.load(RUN).predict(x) takes inputs [N, 2]" in err) == (3, True)
    assert dltrain.load("last").predict([[1.0, 1.0]]).columns == ["prediction", "p_0", "p_1"]


def test_a_reader_that_leaves_is_no_error(houses, tmp_path):
    Path("large.csv").write_text("area,side\n" + "50,north\n" * 200_000)
    command = f"{sys.executable} -m dltrain.commands.cli predict last large.csv | head -2"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, cwd=tmp_path)
    assert len(done.stdout.splitlines()) == 2
    assert "Error" not in done.stderr


def test_nothing_that_is_there_is_replaced_unless_forced(command, houses):
    """The input never, whatever its name; another file only with --force."""
    before = Path("houses.csv").read_bytes()
    os.link("houses.csv", "same.csv")
    Path("link.csv").symlink_to("houses.csv")
    for output in ("houses.csv", "./houses.csv", "same.csv", "link.csv"):
        for force in ([], ["--force"]):
            code, out, err = command("predict", "last", "houses.csv", "-o", output, *force)
            assert (code, out) == (2, "")
            assert f"-o {Path(output)} is the input itself; name another file" in err
    assert Path("houses.csv").read_bytes() == before
    assert Path("link.csv").is_symlink()
    Path("out.csv").write_text("mine")
    code, _, err = command("predict", "last", "houses.csv", "-o", "out.csv")
    assert (code, "-o out.csv is there already; name another file, or add --force to replace it" in err) == (2, True)
    assert Path("out.csv").read_text() == "mine"
    assert command("predict", "last", "houses.csv", "-o", "out.csv", "--force")[0] == 0
    assert len(Path("out.csv").read_text().splitlines()) == 121


@pytest.mark.parametrize(
    "words", [["export", "last", "--format", "safetensors"], ["report", "last"], ["dream", "last"], ["lr", "data=iris"]]
)
def test_no_command_replaces_a_file_of_the_users_unless_forced(command, houses, words):
    Path("mine.csv").write_text("mine")
    code, _, err = command(*words, "-o", "mine.csv")
    assert (code, "-o mine.csv is there already; name another file, or add --force to replace it" in err) == (2, True)
    assert Path("mine.csv").read_text() == "mine"


@pytest.mark.parametrize("separator", [";", "|", "tab"])
def test_a_separator_that_the_run_was_told_is_known(command, houses, separator):
    mark = "\t" if separator == "tab" else separator
    expected = command("predict", "last", "houses.csv")[1]
    Path("told.csv").write_text(Path("houses.csv").read_text().replace(",", mark))
    typed = [o.replace("houses.csv", "told.csv") for o in TABLE]
    code, _, err = command(*typed, f"data.separator='{separator}'", *SHORT)
    assert code == 0, err
    for source in ("told.csv", "houses.csv"):  # the file itself, and one that is written as its ending says
        assert command("predict", "last", source) == (0, expected, "")
    assert command("predict", "last", "-", stdin=Path("told.csv").read_text()) == (0, expected, "")
    code, _, err = command("eval", "last", "data.path=houses.csv")
    assert code == 3
    code, _, err = command("predict", "last", "-", stdin=f"side{mark}ares\nnorth{mark}5\n")
    assert (code, "no column 'area' (the run was trained on it); did you mean 'ares'?" in err) == (3, True)


def test_several_files_and_packed_ones_are_predicted_as_the_one(command, houses):
    expected = command("predict", "last", "houses.csv")[1]
    lines = Path("houses.csv").read_text().splitlines(keepends=True)
    Path("parts").mkdir()
    Path("parts/1.csv").write_text("".join(lines[:50]))
    turned = [";".join(reversed(line.strip().split(","))) + "\n" for line in (lines[0], *lines[50:])]
    Path("parts/2.csv.gz").write_bytes(gzip.compress("".join(turned).encode()))
    for words in (["parts"], ["parts/*"], ["parts/2.csv.gz", "parts/1.csv"]):
        assert command("predict", "last", *words) == (0, expected, "")
    for given in ("parts", "[parts/1.csv,parts/2*]"):
        code, _, err = command("eval", "last", f"data.path={given}")
        assert code == 0, err
        assert run_folder.read_json(houses / "eval-test.json")["same_data_as_trained_on"] is True
    Path("parts/2.csv.gz").write_bytes(b"area\n1\n")
    code, _, err = command("predict", "last", "parts", "-o", "out.csv")
    assert (code, "parts/2.csv.gz: no column 'side' (the run was trained on it)" in err) == (3, True), err
    assert not Path("out.csv").exists()
    code, _, err = command("predict", "last", "parts/1.csv", "-o", "parts/1.csv", "--force")
    assert (code, "is the input itself" in err) == (2, True)


@pytest.mark.parametrize("target", [1, -1])
def test_columns_without_names_are_told_by_their_number(command, target):
    rows = [f"{i % 7},{i % 5},{'north' if i % 3 else 'south'},{i % 7 + i % 5}" for i in range(60)]
    Path("t.csv").write_text("\n".join(rows))
    code, _, err = command("data=table", "data.path=t.csv", f"data.target={target}", "data.header=false", *SHORT)
    assert code == 0, err
    code, expected, err = command("predict", "last", "t.csv")
    assert (code, err) == (0, "")
    cut = slice(1, None) if target == 1 else slice(None, -1)
    Path("new.csv").write_text("\n".join(";".join(row.split(",")[cut]) for row in rows))
    name = "1" if target == 1 else "4"
    code, out, err = command("predict", "last", "new.csv")
    assert (code, out, err) == (
        0,
        expected,
        f"note: new.csv: has 3 columns, those of the run without its target {name}\n",
    )
    code, _, err = command("eval", "last", "data.path=t.csv")
    assert code == 0, err
    code, _, err = command("eval", "last", "data.path=new.csv")
    assert (code, "new.csv: has 3 columns, and the run was trained on 4 without names" in err) == (3, True)
    Path("wide.csv").write_text("\n".join(f"{row},1" for row in rows))
    code, _, err = command("predict", "last", "wide.csv")
    assert (code, "wide.csv: has 5 columns, when split at ','; the run was trained on 4 without names" in err) == (
        3,
        True,
    )


def test_a_run_of_before_is_read(command, houses):
    expected = command("predict", "last", "houses.csv")[1]
    known = json.loads((houses / "data.json").read_text())
    del known["preprocessing"]["target"]
    (houses / "data.json").write_text(json.dumps(known))
    config = (houses / "config.yaml").read_text()
    assert "  header: null\n" in config
    (houses / "config.yaml").write_text(config.replace("  header: null\n", ""))
    assert command("predict", "last", "houses.csv") == (0, expected, "")
    for words in ([], ["data.path=houses.csv"]):
        assert command("eval", "last", *words)[0] == 0


def test_infinity_and_far_rows_are_said(command, houses):
    code, out, err = command("predict", "last", "-", stdin="area,side\n50,north\ninf,north\n")
    assert (code, out) == (3, "")
    assert "standard input, line 3: 'inf' in column 'area' is infinite; correct it, or empty the cell" in err
    code, out, err = command("predict", "last", "-", stdin="area,side\n" + "50000,north\n" * 20)
    assert (code, len(out.splitlines())) == (0, 21)
    assert "note: the rows lie far from those that the run was fitted on (column 'area': 5e+04 ± 0, where" in err


def test_files_that_can_not_be_read_are_all_named_and_the_others_predicted(command):
    code, _, err = command("data=digits", *SHORT)
    assert code == 0, err
    Path("shots/deep").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(np.full((8, 8), 60 * i, dtype=np.uint8)).save(f"shots/{i}.png")
    whole = command("predict", "last", "shots")[1].splitlines()
    for name in ("1b.png", "deep/x.jpg", "9.png"):
        Path("shots", name).write_bytes(b"no picture")
    code, out, err = command("predict", "last", "shots")
    assert (code, out.splitlines()) == (3, whole)
    for name in ("1b.png", "deep/x.jpg", "9.png"):
        assert f"unreadable: shots/{name}: cannot be read as an image" in err
    assert err.endswith("error: 3 of the files in shots can't be read; all others were predicted\n")
    code, out, err = command("predict", "last", "shots", "-o", "out.csv")
    assert (code, "4 rows predicted" in out, "3 of the files" in err) == (3, True, True)
    assert Path("out.csv").read_text().splitlines() == whole
    code, out, err = command("predict", "last", "shots/deep", "-o", "none.csv")
    assert (code, out, Path("none.csv").exists()) == (3, "", False)
    assert command("predict", "last", "shots/9.png")[0] == 3


_READING = """
import sys
from dltrain.commands import cli
for words in (
    ["predict", sys.argv[1], "iris.csv"], ["eval", sys.argv[1]], ["show", sys.argv[1]], ["doctor", sys.argv[1]],
    ["trace", "data=iris"], ["data=iris"],
):
    try:
        cli.main(words)
    except SystemExit as stop:
        print("exit", words[0], stop.code)
"""


def _without_roots_rights():
    """For root the bits of a folder mean nothing; without these capabilities they mean what they say."""
    for capability in (1, 2, 3) if os.getuid() == 0 else ():  # DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP, which acts at the exec that follows


def test_what_only_reads_works_where_nothing_can_be_written(command, tmp_path):
    code, _, err = command("data=iris", *SHORT)
    assert code == 0, err
    folder, here = run_folder.find("last", Path("runs")).absolute(), tmp_path / "here"
    here.mkdir()
    columns = dltrain.load(folder).facts.columns
    (here / "iris.csv").write_text(f"{','.join(columns)}\n5,3,4,1\n")
    closed = [here, *(path for path in (folder, *folder.rglob("*")) if path.is_dir())]
    before = sorted(folder.rglob("*"))
    for path in closed:
        path.chmod(0o555)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _READING, str(folder)],
            cwd=here,
            preexec_fn=_without_roots_rights,
            capture_output=True,
            text=True,
        )
    finally:
        for path in closed:
            path.chmod(0o755)
    codes = dict(line.split()[1:] for line in done.stdout.splitlines() if line.startswith("exit "))
    reading = ("predict", "eval", "show", "doctor", "trace")
    assert codes == {**dict.fromkeys(reading, "0"), "data=iris": "2"}, done.stderr
    assert "prediction,p_setosa" in done.stdout
    assert "test, 30 rows" in done.stdout
    assert f"note: {folder} is not writable: eval-test.json and its picture were not kept" in done.stderr
    assert f"runs_dir: {here} is not writable; name a folder that is" in done.stderr
    assert sorted(folder.rglob("*")) == before
