"""Paths as people type them: home folders, URLs, and folders with odd names, wherever a path can be typed."""

import ctypes
import os
import struct
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from choices import OF_THE_USER, make_files

import dltrain
from dltrain.config.compose import compose
from dltrain.errors import ConfigError, paths

QUICK = ("data=iris", "trainer.epochs=1", "trainer.tensorboard=false", "trainer.save_every=0")


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_home_folder_is_meant_wherever_a_path_is_typed(dltrain, home, tmp_path, monkeypatch):
    (home / "mine" / "experiment").mkdir(parents=True)
    (home / "mine" / "experiment" / "small.yaml").write_text("# @package _global_\ntrainer: {epochs: 1}\n")
    rows = "\n".join(f"{i % 7},{i % 5},{'ab'[i % 2]}" for i in range(60))
    (home / "t.csv").write_text(f"x,y,class\n{rows}\n")
    words = ["data=table", "data.path=~/t.csv", "data.test_path=~/t.csv", "data.target=class", "runs_dir=~/runs"]
    words += ["name=t", "trainer.tensorboard=false", "experiment=small", "--config-dir", "~/mine"]
    for more in ([], ["-m", "seeds=1"]):
        code, _, err = dltrain(*words, *more)
        assert code == 0, err
    run = next(p for p in sorted((home / "runs" / "t").iterdir()) if (p / "config.yaml").is_file())
    typed = f"~/runs/t/{run.name}"
    for command in (
        ["eval", typed, "data.path=~/t.csv"],
        ["predict", typed, "~/t.csv", "-o", "~/p.csv"],
        ["show", typed],
        ["runs", "~/runs"],
        ["resume", typed],
    ):
        code, _, err = dltrain(*command)
        assert code == 0, err
    (tmp_path / "home" / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "home" / "elsewhere")
    code, _, err = dltrain("eval", typed, "data.path=s3://b/t.csv")
    assert (code, "error: s3://b/t.csv: dltrain reads" in err) == (2, True)
    assert dltrain("rm", typed, "--yes")[0] == 0
    assert (home / "p.csv").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"home"}
    assert not run.exists()


@pytest.mark.parametrize(
    "words",
    [
        *("runs_dir=@", "-m seed=0,1 runs_dir=@", "-m experiment=digits_mlp,mlp_xor runs_dir=@"),
        *("data=mnist data.root=@", "data=cifar10 data.root=@", "data=image_folder data.root=@"),
        *("data=table data.target=y data.path=@", "data=california_housing data.root=@", "--config-dir @ data=iris"),
        "data=dataset data.dataset._target_=torchvision.datasets.MNIST +data.dataset.root=@",
        *("resume @", "eval @", "show @", "runs @", "rm @", "clean @", "compare @ @", "report @", "doctor @"),
        *("predict @ x.csv", "export last --format pt2 -o @", "lr -o @", "export last --format pt2 --samples @"),
    ],
)
def test_a_url_is_refused_wherever_a_path_is_typed(dltrain, tmp_path, words):
    words = words.replace("@", "s3://bucket/x").split()
    code, out, err = dltrain(*words)
    assert (code, out) == (2, "")
    assert "files of this machine alone" in err
    assert "s3://bucket/x: " in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "words",
    [
        *("runs_dir=@", "data=table data.target=y data.path=@", "data=image_folder data.root=@", "--config-dir @"),
        *("eval @", "resume @", "rm @", "compare @ @", "runs @", "lr -o @", "predict last @"),
    ],
)
def test_a_name_that_no_file_can_have_is_refused_in_a_sentence(dltrain, tmp_path, words):
    code, out, err = dltrain(*words.replace("@", "a" * 300).split())
    assert (code, out) == (2, "")
    assert "longer than a file's may be" in err
    assert not list(tmp_path.iterdir())


def test_what_is_a_path_and_what_is_none():
    for url in ("s3://bucket/x", "gs://b/x", "https://h/x.csv", "file:///tmp/x", "hf+s3://b/x", "S3://b"):
        with pytest.raises(ConfigError, match="files of this machine alone"):
            paths.local(url)
    assert paths.local("./~x") == Path("./~x")
    assert paths.local("~") == Path.home()
    for bad, message in (
        ("", "is not a path"),
        (None, "is not a path"),
        ("a\0b", "is not a path"),
        ("~\ud800", "is not a path"),
        ("~no.one/x", "~no.one"),
        ("a/" * 2500, "longer than"),
    ):
        with pytest.raises(ConfigError, match=message):
            paths.local(bad)
    with pytest.raises(ConfigError, match="files of this machine alone"):
        dltrain.load("s3://bucket/run")


@pytest.mark.parametrize("name", ["two words", "a,b", "it's", 'say "x"', "[x]", "Büro", "a=b", "(1)", "#1", "100%"])
def test_a_config_folder_may_have_any_name(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name / "experiment").mkdir(parents=True)
    (tmp_path / name / "experiment" / "exp.yaml").write_text("# @package _global_\nseed: 7\n")
    assert compose(["experiment=exp"], name).values["seed"] == 7


@pytest.mark.parametrize("text", ["Büro/x", "~/Größe", "数据/x", "~"])
def test_letters_that_hydra_does_not_know_need_no_quotes(text):
    assert compose([f"runs_dir={text}"]).values["runs_dir"] == text
    assert compose([f"model.activation={text}", "name=a"]).values["model"]["activation"] == text
    assert list(compose([f"model.widths=[{text},{text}]"]).values["model"]["widths"]) == [text, text]


# -- what may not be read --------------------------------------------------------------------------------------------


@contextmanager
def locked(*paths):
    """Files and folders that nobody may read or enter; root neither, who may else everything."""
    libc, header = ctypes.CDLL(None, use_errno=True), struct.pack("Ii", 0x20080522, 0)  # of Linux's capget and capset
    before = ctypes.create_string_buffer(24)
    assert libc.capget(header, before) == 0
    effective, *rest = struct.unpack("6I", before.raw)
    modes = [path.stat().st_mode for path in paths]
    for path in paths:
        path.chmod(0)
    assert libc.capset(header, struct.pack("6I", effective & ~0b110, *rest)) == 0  # to override and to search
    try:
        yield
    finally:
        assert libc.capset(header, before) == 0
        for path, mode in zip(paths, modes, strict=True):
            path.chmod(mode)


def test_what_may_not_be_read_is_named_as_the_users_to_mend(dltrain, tmp_path):
    make_files(tmp_path)
    (tmp_path / "shut").mkdir()
    (tmp_path / "shut" / "t.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    (tmp_path / "own.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    quick = ("trainer.epochs=1", "trainer.tensorboard=false", "trainer.save_every=0")
    assert dltrain("data=table", *OF_THE_USER["table"], *quick)[0] == 0
    assert dltrain("data=image_folder", *OF_THE_USER["image_folder"], *quick, "name=pictures")[0] == 0
    shut = [tmp_path / "shut", tmp_path / "own.csv", tmp_path / "pictures" / "cat"]
    table = "data=table data.target=label data.path="
    with locked(*shut):
        for words, name, wanted in (
            (f"{table}shut/t.csv", "shut/t.csv", 3),
            (f"{table}own.csv", "own.csv", 3),
            ("data=image_folder data.root=pictures", "pictures/cat", 3),
            ("data=image_folder data.root=shut/pictures", "shut/pictures", 3),
            ("data=mnist data.root=shut", "shut/", 3),
            ("data=california_housing data.root=shut", "shut/cal_housing.csv", 3),
            ("eval runs/table-mlp/last data.path=own.csv", "own.csv", 3),
            ("eval runs/table-mlp/last data.path=shut/t.csv", "shut/t.csv", 3),
            ("predict runs/table-mlp/last shut/t.csv", "shut/t.csv", 3),
            ("predict runs/table-mlp/last own.csv", "own.csv", 3),
            ("predict runs/pictures/last pictures", "pictures/cat", 3),
            ("predict runs/table-mlp/last t.csv -o shut/out.csv", "shut/out.csv", 2),
            ("--config-dir shut", "shut", 2),
            ("--config-dir shut/deeper", "shut/deeper", 2),
            ("report shut", "shut/sweep.json", 2),
            ("compare shut/a shut/b", "shut/a", 2),
            ("lr data=iris -o shut/a.png", "shut/a.png", 2),
        ):
            code, _, err = dltrain(*words.split())
            assert (code, "permission denied" in err, name in err) == (wanted, True, True), (words, err)
            assert len(err.splitlines()) <= 3, err


# -- several processes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "command"),
    [
        *((name, []) for name in ("WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "SLURM_STEP_NUM_TASKS")),
        *(("WORLD_SIZE", words.split()) for words in ("-m seed=0,1", "seeds=2", "resume last", "eval last", "lr")),
    ],
)
def test_one_of_several_processes_that_can_t_meet_does_nothing(dltrain, tmp_path, monkeypatch, name, command):
    monkeypatch.setenv(name, "2")
    code, out, err = dltrain(*command)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {name}=2: ")
    assert len(err.splitlines()) == 1
    assert not list(tmp_path.iterdir())
    assert dltrain("--help")[0] == dltrain("list")[0] == dltrain("--version")[0] == 0


def test_a_number_of_processes_that_has_too_many_digits_is_told_as_another(dltrain, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "9" * 5_000)
    code, _, err = dltrain()
    assert code == 2
    assert err.startswith("error: WORLD_SIZE=9999999999999999999…: one of several processes, as torchrun starts them")
    assert len(err) < 300


@pytest.mark.parametrize(
    ("name", "value"),
    [("POLARS_MAX_THREADS", "0"), ("PYTORCH_CUDA_ALLOC_CONF", "nonsense"), ("PYTORCH_ALLOC_CONF", ",")],
)
def test_a_variable_with_which_a_library_would_end_the_process_is_told(dltrain, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    code, out, err = dltrain("runs")
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {name}={value} in the environment: want ")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True,max_split_size_mb:128"),
        (
            "PYTORCH_CUDA_ALLOC_CONF",
            "roundup_power2_divisions:[256:1,512:2,1024:4,>:8],garbage_collection_threshold:0.8",
        ),
        ("PYTORCH_ALLOC_CONF", ""),
        ("POLARS_MAX_THREADS", "2"),
    ],
)
def test_a_variable_as_its_library_documents_it_is_taken(dltrain, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert dltrain("runs")[0] == 0


@pytest.mark.parametrize(("name", "value"), [("TQDM_NCOLS", "x"), ("TQDM_POSITION", "x"), ("TORCH_LOGS", "nonsense")])
def test_a_variable_with_which_a_library_is_not_imported_is_told(tmp_path, name, value):
    start = [sys.executable, "-P", "-m", "dltrain.commands.cli", "data=iris"]
    done = subprocess.run(start, capture_output=True, text=True, cwd=tmp_path, env={**os.environ, name: value})
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: a library can't be imported with ")
    assert f"{name} in the environment: " in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    "set_to", [{"WORLD_SIZE": "1", "RANK": "0"}, {"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, {"WORLD_SIZE": ""}]
)
def test_one_process_by_itself_trains(dltrain, monkeypatch, set_to):
    for name, value in set_to.items():
        monkeypatch.setitem(os.environ, name, value)
    code, _, err = dltrain("--cfg")
    assert code == 0, err


@pytest.mark.usefixtures("unpainted")
def test_names_that_are_no_utf8_are_read_and_said(dltrain, tmp_path, monkeypatch):
    """Of the folder that one is in, of classes, of images and of what is written; what no file can hold is refused."""
    here = tmp_path / os.fsdecode(b"\xfd")
    make_files(tmp_path)
    here.mkdir()
    for label in sorted((tmp_path / "pictures").iterdir()):
        (here / "pictures").mkdir(exist_ok=True)
        label.rename(here / "pictures" / os.fsdecode(label.name.encode() + b"\xfe"))
    first = sorted((here / "pictures").rglob("*.png"))[0]
    first.rename(first.with_name(os.fsdecode(b"\xff.png")))
    monkeypatch.chdir(here)
    for memory in ("true", "false"):
        words = ["data=image_folder", "data.root=pictures", "data.image_size=8", f"data.in_memory={memory}"]
        code, _, err = dltrain(*words, "trainer.epochs=1", "trainer.tensorboard=false")
        assert code == 0, err
        looks = [["doctor"], ["report", "--force"], ["export", "--format", "safetensors", "--force"]]
        for command in [["eval"], *(looks if memory == "true" else [])]:
            code, _, err = dltrain(command[0], "last", *command[1:])
            assert code == 0, (command, err)
        code, out, err = dltrain("predict", "last", "pictures")
        assert (code, "\\udcff.png," in out, "\\udcfe" in out.splitlines()[0]) == (0, True, True), err
    code, _, err = dltrain("predict", "last", "pictures", "-o", os.fsdecode(b"\xff.parquet"))
    assert (code, "is not UTF-8, which Parquet needs" in err) == (2, True)
    code, _, err = dltrain("predict", "last", "pictures", "-o", os.fsdecode(b"\xff.csv"))
    assert (code, os.listdir(b".").count(b"\xff.csv")) == (0, 1), err
    code, _, err = dltrain("data=image_folder", f"data.root={os.fsdecode(bytes(here))}/pictures")
    assert (code, "so that no file can hold it" in err) == (2, True)


def test_a_program_that_is_one_of_several_processes_and_can_t_meet_them_trains_nothing(tmp_path, monkeypatch):
    import dltrain

    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"WORLD_SIZE=2: one of several processes, .* but there is no RANK"):
        dltrain.train("data=iris", runs_dir=tmp_path)
    assert not list(tmp_path.iterdir())
