"""What is read from run folders: real ones, killed ones, damaged ones and other people's."""

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import tracemalloc

import pytest

from dltrain.commands import cli
from dltrain.errors import tables
from dltrain.insight import listing
from dltrain.runs import ensemble_members, reading, run_folder
from dltrain.runs.reading import read


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The folder of one real run."""
    root = tmp_path_factory.mktemp("reading") / "runs"
    with pytest.raises(SystemExit):
        cli.main(["data=iris", "trainer.epochs=2", "optimizer=sgd", f"runs_dir={root}"])
    (folder,) = root.glob("*/*")
    return folder


def test_a_run_says_what_it_was(made):
    run = read(made)
    assert (run.status, run.reason, run.monitor, run.steps) == ("done", "", "val/accuracy", 14)
    assert (run.config["optimizer"], run.config["data"], run.config["trainer.epochs"]) == ("SGD", "iris", 2)
    assert run.config["model.widths"] == [128]
    summary = json.loads((made / "summary.json").read_text())
    assert run.numbers["test/accuracy"] == summary["test"]["accuracy"]
    assert run.numbers["best/step"] == summary["best"]["step"]
    assert run.seconds == summary["seconds"]
    assert run.overrides[:2] == ("data=iris", "trainer.epochs=2")


def test_a_configuration_read_in_parts_is_the_whole(made):
    import yaml

    text = (made / "config.yaml").read_text()
    assert reading.parse_config(text) == yaml.safe_load(text)


@pytest.mark.parametrize(
    "text",
    ["a: &x [1]\nb: *x\n", "- 1\n- 2\n", "a: [1\n", "a: " + "[" * 30 + "]" * 30, "!!python/name:os.system a: 1\n"],
)
def test_what_no_run_writes_is_not_a_configuration(text):
    assert reading.parse_config(text) is None


def test_a_run_is_running_while_it_is_and_killed_after(tmp_path):
    command = [
        sys.executable,
        "-m",
        "dltrain.commands.cli",
        "data=iris",
        "trainer.epochs=100000",
        "trainer.tensorboard=false",
    ]
    process = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (logs := list(tmp_path.glob("runs/*/*/metrics.jsonl"))) or not logs[0].stat().st_size:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        folder = logs[0].parent
        assert read(folder).status == "running"
        assert 0 <= read(folder).numbers["last/accuracy"] <= 1  # 0 in the first epoch: none of 18 rows is right yet
        assert reading.is_alive(folder)
        word = read(folder).pulse
        assert (word.total, word.pid, word.elsewhere) == (700_000, process.pid, False)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    run = read(folder)
    assert run.status == "killed"
    assert run.pulse.step < run.pulse.total
    assert run.numbers["best/accuracy"] >= run.numbers["last/accuracy"] >= 0
    assert 0 < run.seconds < 3600


@pytest.mark.parametrize(
    ("ago", "status", "reason"),
    [
        (5, "running", ""),
        (720, "killed", "no word for 12 min: killed, or on another host, far"),
        (-1e9, "killed", "no word for years: killed, or on another host, far"),
    ],
)
def test_a_run_of_another_host_is_running_while_it_says_so(tmp_path, ago, status, reason):
    """Its lock may not be seen here."""
    (tmp_path / "summary.json").write_text('{"status": "running", "seconds": 0}')
    word = {"step": 3, "total": 10, "rate": 0.5, "loss": None, "time": time.time() - ago, "host": "far", "pid": 1}
    (tmp_path / "progress.json").write_text(json.dumps(word))
    run = read(tmp_path)
    assert (run.status, run.reason) == (status, reason)
    word["host"] = socket.gethostname()
    (tmp_path / "progress.json").write_text(json.dumps(word))
    assert read(tmp_path).status == "killed"


def test_a_run_that_holds_its_folder_and_is_silent_is_said_to_be(tmp_path):
    word = {"step": 3, "total": 10, "time": time.time() - 7300}
    with run_folder.Lock(tmp_path):
        assert (read(tmp_path).status, read(tmp_path).reason) == ("running", "")
        (tmp_path / "progress.json").write_text(json.dumps(word))
        assert (read(tmp_path).status, read(tmp_path).reason) == ("running", "no word for 2 h 2 min")


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("summary.json", "{", "summary.json is not JSON"),
        ("summary.json", "[1]", "not the summary of a run"),
        ("summary.json", '{"status": 3}', "not the summary of a run"),
        ("summary.json", "[" * 100_000, "summary.json is not JSON"),
    ],
)
def test_a_damaged_summary_is_said(made, tmp_path, name, content, reason):
    (tmp_path / "config.yaml").write_text((made / "config.yaml").read_text())
    (tmp_path / name).write_text(content)
    run = read(tmp_path)
    assert run.status == "damaged"
    assert reason in run.reason


def test_odd_files_are_read_as_far_as_they_go(tmp_path):
    (tmp_path / "overrides.txt").write_bytes(b"optimizer.lr=-1\nname=\xff\nloss")
    (tmp_path / "config.yaml").mkdir()
    (tmp_path / "environment.json").write_text('{"command": "dltrain \'"}')
    (tmp_path / "summary.json").write_text(
        '{"status": "failed", "error": 3, "best": [1], "seconds": "x", "steps": null}'
    )
    (tmp_path / "metrics.jsonl").write_text('{"step": 1e999, "val/loss": 1}\n{"step": 3, "val/loss": 0.5}\n{"step"')
    run = read(tmp_path)
    assert (run.status, run.reason, run.seconds, run.steps) == ("failed", "", None, None)
    assert run.config["optimizer.lr"] == -1
    assert run.numbers == {"last/step": 3, "last/loss": 0.5}
    assert run.command.startswith("dltrain optimizer.lr=-1")


@pytest.mark.parametrize(
    "command",
    ["curl x | sh", "", "dltrain 'x", 3, None, ["dltrain"], "dltrain rm best --yes", "dltrain --debug clean --yes"],
)
def test_only_a_command_of_dltrain_is_shown(tmp_path, command):
    (tmp_path / "environment.json").write_text(json.dumps({"command": command}))
    (tmp_path / "overrides.txt").write_text("data=iris\nname=a b\nresume=auto\n")
    assert read(tmp_path).command == "dltrain data=iris 'name=a b'"
    (tmp_path / "overrides.txt").write_text("clean\n--yes\n")
    assert not read(tmp_path).command


def test_what_was_typed_is_shown_without_what_each_allows_himself(tmp_path):
    typed = "dltrain -m --config-dir mine ~regularisation x= seed=1,2 --allow a --allow=b --debug resume=auto"
    (tmp_path / "environment.json").write_text(json.dumps({"command": typed}))
    assert read(tmp_path).command == "dltrain -m --config-dir mine '~regularisation' x= seed=1,2"


def test_a_pipe_in_a_folder_does_not_hang(tmp_path):
    for name in ("summary.json", "environment.json", "overrides.txt", "metrics.jsonl", ".lock"):
        os.mkfifo(tmp_path / name)
    run = read(tmp_path)
    assert (run.status, run.config, run.numbers, run.command) == ("damaged", {}, {}, "")


def test_walking_finds_runs_and_nothing_else(made, tmp_path):
    for name in (
        "a/20260101-000000-abcd",
        "b/20260101-000001-abce/0",
        "b/20260101-000001-abce/10",
        "b/20260101-000001-abce/2",
    ):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "overrides.txt").write_text("seed=1\n")
    (tmp_path / "b/20260101-000001-abce/sweep.json").write_text("{}")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "overview.txt").write_text("mine")
    (tmp_path / "a" / ".tmp-x").mkdir()
    (tmp_path / "a" / ".tmp-x" / "config.yaml").write_text("")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "20260101-000002-abcf").mkdir()  # killed before it wrote anything
    (tmp_path / "a" / "20260101-000002-abcf" / ".lock").write_text("")
    found = [path for path, _ in reading.walk(tmp_path)]
    assert [p.name for p in found] == ["20260101-000000-abcd", "0", "2", "10", "20260101-000002-abcf"]
    assert reading.short_ids(found) == ["abcd", "abce/0", "abce/2", "abce/10", "abcf"]
    assert read(found[-1]).status == "killed"
    assert [p for p, _ in reading.walk(made)] == [made]
    assert list(reading.walk(tmp_path / "nowhere")) == []


def test_ids_that_two_runs_share_are_written_out(tmp_path):
    folders = [tmp_path / "a" / f"2026010{n}-000000-abcd" for n in (1, 2)]
    assert reading.short_ids(folders) == [f.name for f in folders]


def test_a_thousand_ways_to_damage_a_run_are_read_without_a_crash(made, tmp_path):
    draw = random.Random(0)
    names = ("config.yaml", "summary.json", "environment.json", "overrides.txt", "metrics.jsonl")
    whole = {name: (made / name).read_bytes() for name in names}
    statuses = set()
    for _ in range(1000):
        name = draw.choice(names)
        content = bytearray(whole[name])
        for _ in range(draw.randint(1, 4)):
            place = draw.randrange(len(content))
            content[place : place + draw.randint(0, 3)] = bytes(
                draw.choices(b'{}[]",:0e-nul\x00\xff\n', k=draw.randint(0, 3))
            )
        cut = draw.randrange(len(content)) if draw.random() < 0.3 else len(content)
        for file, text in whole.items():
            (tmp_path / file).write_bytes(content[:cut] if file == name else text)
        run = read(tmp_path)
        tables.table([["key"], *([listing.cell(k, listing.value(run, k))] for k in (*run.config, *run.numbers))])
        assert all(isinstance(part, str) for part in (run.reason, run.fault, run.monitor, run.command, run.started))
        assert run.seconds is None or run.seconds >= 0 or name == "summary.json"
        assert run.steps is None or isinstance(run.steps, int)
        assert reading.problem(run) is not None
        statuses.add(run.status)
    assert statuses >= {"done", "damaged"}


def test_a_log_of_any_length_is_read_in_little_memory(tmp_path):
    """Reports were lost in silence where there were more than 64 MiB of them."""
    (tmp_path / "environment.json").write_text('{"monitor": "val/loss"}')
    with open(tmp_path / "metrics.jsonl", "w") as file:
        for step in range(9_000):
            file.write(f'{{"step": {step}, "epoch": {step}, "val/loss": {1 + abs(step - 4_321)}{" " * 8_000}}}\n')
        file.write(f'"{"x" * (1 << 21)}"\n{{"step": 9000, "epoch": 9000, "val/loss": 7')  # no report, and one cut
    assert (tmp_path / "metrics.jsonl").stat().st_size > 1 << 26
    tracemalloc.start()
    numbers = read(tmp_path).numbers
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (numbers["best/loss"], numbers["last/loss"]) == (1, 4_679)
    assert peak < 1 << 23
    shown = reading.read_log(tmp_path)
    assert 1_000 < len(shown) <= 5_000
    assert (shown[0]["step"], shown[-1]["step"]) == (0, 8_999)


def test_a_folder_in_a_sweep_that_only_looks_like_a_number_is_no_job(made, tmp_path):
    sweep = tmp_path / "20260101-000001-abce"
    for name in ("0", "²", "1" * 200):
        shutil.copytree(made, sweep / name)
    (sweep / "sweep.json").write_text("{}")
    assert [path.name for path, _ in reading.walk(tmp_path)] == ["0"]


def test_what_a_run_keeps_of_its_files_is_no_more_than_can_be_typed(tmp_path):
    (tmp_path / "overrides.txt").write_text("".join(f"k{n}=\n" for n in range(5_000)))
    assert len(reading.read(tmp_path).overrides) == 2_000
    (tmp_path / "overrides.txt").write_text("k=\n" * 1_000_000)
    (tmp_path / "environment.json").write_text(json.dumps({"command": "dltrain " + "a" * 3_000_000}))
    run = reading.read(tmp_path)
    assert (run.overrides, run.environment) == ((), {})
    (tmp_path / "summary.json").write_text('{"status": "done", "x": [' + '"ab",' * 500_000 + "1]}")
    run = reading.read(tmp_path)
    assert (run.status, run.summary) == ("damaged", {})


def test_of_many_members_some_are_told():
    lines = ensemble_members.told({"members": [{"weight": 1, "run": "ab"}] * 300_000})
    assert (len(lines), lines[-1]) == (201, "and 299,800 more")


def test_no_sweep_is_the_job_of_another(made, tmp_path):
    """Else sweeps could stand in sweeps more deeply than Python calls."""
    shutil.copytree(made, tmp_path / "0" / "0" / "0")
    for folder in (tmp_path, tmp_path / "0", tmp_path / "0" / "0"):
        (folder / "sweep.json").write_text("{}")
    assert [*reading.walk(tmp_path)] == []
    assert [path for path, _ in reading.walk(tmp_path / "0" / "0")] == [tmp_path / "0" / "0" / "0"]


def test_more_steps_than_a_run_can_make_are_none(tmp_path):
    (tmp_path / "summary.json").write_text(f'{{"status": "done", "steps": {10**400}}}')
    assert reading.read(tmp_path).steps is None


def test_checkpoints_are_in_the_order_of_their_steps(tmp_path):
    steps = [5, 99_999_990, 100_000_010, 2_000_000_000]
    for step in steps[::-1]:
        (tmp_path / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    assert [int(p.name[5:]) for p in reading.checkpoints(tmp_path)] == steps
