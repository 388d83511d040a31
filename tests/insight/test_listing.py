"""`dltrain runs` and `dltrain show` on real runs: a sweep with failures, and what people do to folders."""

import csv
import io
import json
import re
import shutil
import sys

import pytest
from outcomes import make_failed

from dltrain.commands import cli
from dltrain.insight import listing
from dltrain.runs import reading


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Three runs on iris, one on wine, and a sweep in which one of two jobs fails."""
    root = tmp_path_factory.mktemp("listing")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in (
            ["data=iris", "trainer.epochs=1", "optimizer=adamw", "name=plain"],
            ["data=iris", "trainer.epochs=9", "optimizer=adamw", "name=plain", "model.activation=tanh"],
            ["data=iris", "trainer.epochs=9", "optimizer=momentum", "name=plain"],
            ["data=wine", "trainer.epochs=1", "name=other"],
            ["-m", "data=iris", "trainer.epochs=1", "optimizer.lr=0.01,1"],
        ):
            with pytest.raises(SystemExit):
                cli.main(words)
        make_failed(next(root.glob("runs/sweep/*/1")), "data=iris", "trainer.epochs=1", "optimizer.lr=-1")
    return root


@pytest.fixture
def dltrain(dltrain, root, monkeypatch, capsys):
    """The command where the runs are."""
    monkeypatch.chdir(root)
    capsys.readouterr()
    return dltrain


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_one_row_a_run_with_what_differs(dltrain):
    code, out, _ = dltrain("runs")
    lines = out.splitlines()
    assert (code, len(lines)) == (0, 8)
    head = lines[0].split()
    assert {"run", "status", "data", "optimizer.lr", "trainer.epochs", "test/accuracy", "seconds", "reason"} <= set(
        head
    )
    assert "model.widths" not in head
    assert "scheduler.max_lr" not in head  # it only repeats the rate
    assert sum("Invalid learning rate: -1" in line for line in lines) == 1


def test_csv_and_json_hold_every_metric_and_the_command(dltrain, root):
    _, out, _ = dltrain("runs", "--csv")
    found = rows(out)
    assert sorted(row["status"] for row in found) == ["done"] * 5 + ["failed"]
    number = [row["model.activation"] for row in found].index("tanh")
    row = found[number]
    assert row["command"] == "dltrain data=iris trainer.epochs=9 optimizer=adamw name=plain model.activation=tanh"
    summary = json.loads((root / row["folder"] / "summary.json").read_text())
    assert float(row["test/f1"]) == summary["test"]["f1"]
    _, out, _ = dltrain("runs", "--json")
    objects = json.loads(out)
    assert [o["run"] for o in objects] == [row["run"] for row in found]
    assert objects[number]["metrics"]["last/loss"] == summary["last"]["loss"]
    assert objects[number]["config"]["model.activation"] == "tanh"


@pytest.mark.parametrize(
    ("conditions", "count"),
    [
        (["optimizer=adamw"], 4),  # the class, however it is written; the failed job has no configuration
        (["optimizer=momentum"], 1),  # the choice as it was typed
        (["optimizer!=AdamW", "status=done"], 1),
        (["trainer.epochs>1"], 2),
        (["trainer.epochs>=9", "model.activation=tanh"], 1),
        (["test/accuracy>2"], 0),
        (["model.widths=[128]", "status=done"], 5),
        (["model.norm=none"], 5),
        (["name=sweep"], 2),
    ],
)
def test_where_chooses(dltrain, conditions, count):
    _, out, _ = dltrain("runs", "--csv", *(w for c in conditions for w in ("--where", c)))
    assert len(rows(out)) == count


def test_a_part_of_the_runs_is_named_as_in_other_commands(dltrain, root):
    (sweep,) = root.glob("runs/sweep/*")
    for place, count in (
        *(("plain", 3), ("runs/plain", 3), (sweep.name[-4:], 2), (str(sweep), 2)),
        *(("last", 2), ("sweep/last", 2), (f"{sweep.name[-4:]}/last", 1), ("plain/last", 1), ("sweep/best", 1)),
    ):
        assert len(rows(dltrain("runs", place, "--csv")[1])) == count


def test_sorting_puts_the_best_first_and_those_without_last(dltrain):
    _, out, _ = dltrain("runs", "--csv", "--sort", "val/loss", "--columns", "status,best/loss")
    losses = [row["best/loss"] for row in rows(out)]
    assert losses[-1] == ""
    assert losses[:-1] == sorted(losses[:-1], key=float)
    _, out, _ = dltrain("runs", "--csv", "--sort", "test/accuracy", "--columns", "test/accuracy")
    values = [float(row["test/accuracy"]) for row in rows(out)[:-1]]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--sort", "test/acuracy"], "did you mean `test/accuracy`?"),
        (["--where", "optimizer"], "write KEY=VALUE"),
        (["--where", "optimiser=sgd"], "did you mean `optimizer`?"),
        (["--columns", "status,sead"], "did you mean `seed`?"),
        (["nowhere"], "there is no folder or sweep called `nowhere`"),
        (["--jsn"], "unrecognized arguments: --jsn"),
    ],
)
def test_a_wrong_word_is_a_sentence(dltrain, words, text):
    code, _, err = dltrain("runs", *words)
    assert code == 2
    assert text in err


def test_a_folder_of_rubbish_is_listed_as_such(dltrain, tmp_path):
    for name, file, content in (
        ("a", "config.yaml", "\x00\x01"),
        ("b", "config.yaml", "someone: [else's"),
        ("c", "summary.json", "{"),
        ("d", "summary.json", '{"status": "failed", "error": "\\u001b[2Jgone\\nsecond line"}'),
        ("e", "sweep.json", "[]"),
        ("f", "notes.txt", "not a run"),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(content)
    code, out, err = dltrain("runs", str(tmp_path))
    assert (code, err) == (0, "")
    assert [line.split()[1 + (line.split()[1] == "-")] for line in out.splitlines()[2:]] == [
        "killed",
        "killed",
        "damaged",
        "failed",
    ]
    assert "\x1b" not in out
    code, out, _ = dltrain("show", str(tmp_path / "d"))
    assert code == 0
    assert "\x1b" not in out
    assert dltrain("runs", str(tmp_path / "f"))[1] == f"no run in {tmp_path / 'f'}\n"


def test_show_tells_all_about_a_run(dltrain):
    _, out, _ = dltrain("runs", "--csv", "--where", "model.activation=tanh")
    (row,) = rows(out)
    code, out, _ = dltrain("show", row["run"])
    assert code == 0
    lines = out.splitlines()
    assert f"run       {row['folder']}" in lines
    assert f"again     {row['command']}" in lines
    typed = {line.split()[1] for line in lines if line.startswith("* ")}
    assert typed == {"data", "trainer.epochs", "optimizer", "name", "model.activation"}
    assert any(line.startswith("status    done after 63 steps") for line in lines)
    assert any("checkpoints/best-" in line for line in lines)
    assert "resume" not in out
    _, out, _ = dltrain("show", row["run"], "--json")
    assert json.loads(out)["config"]["model.activation"] == "tanh"


def test_show_of_a_sweep_and_of_its_failed_job(dltrain, root):
    (sweep,) = root.glob("runs/sweep/*")
    code, out, _ = dltrain("show", sweep.name[-4:])
    assert code == 0
    assert "status    2 of 2 jobs ended (1 done, 1 failed)\n" in out
    code, out, _ = dltrain("show", f"{sweep.name[-4:]}/1")
    assert code == 0
    assert "status    failed" in out
    assert "Invalid learning rate: -1" in out
    assert "no configuration was written" not in out
    assert "* optimizer.lr" in out


def test_show_of_a_stopped_run_says_how_to_go_on(dltrain, root):
    code, _, err = dltrain(
        "data=iris", "trainer.epochs=100000", "trainer.max_time=0.2", "name=stopped", "runs_dir=elsewhere"
    )
    assert code == 138, err
    _, out, _ = dltrain("show", "elsewhere/last")
    assert "status    stopped by max_time after" in out
    assert f"go on     dltrain resume {next((root / 'elsewhere').glob('*/*')).relative_to(root)}" in out


def test_show_of_a_sweep_says_what_resume_would_do_and_what_was_removed(dltrain, root, tmp_path):
    (sweep,) = root.glob("runs/sweep/*")
    copy = tmp_path / sweep.name
    shutil.copytree(sweep, copy)
    log = copy / "jobs.jsonl"
    text = log.read_text()

    def shown(**line):
        log.write_text(text + json.dumps({"job": 1, **line}) + "\n")
        lines = dltrain("show", str(copy))[1].splitlines()
        return [line for line in lines if line.startswith(("go on", "no folder"))]

    again = f"go on     dltrain resume {copy}"
    assert shown(state="failed", reason="killed by SIGSEGV") == [f"{again} --retry-failed"]
    assert shown(state="queued") == [again]
    shutil.rmtree(copy / "1")
    assert shown(state="failed", reason="killed by SIGSEGV") == [
        "no folder [1] failed: killed by SIGSEGV",
        f"{again} --retry-failed",
    ]
    assert shown(state="done") == [again]
    assert shown(state="pruned") == ["no folder [1] pruned"]


def test_a_narrow_terminal_gets_fewer_columns_not_cut_ones(dltrain, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    for wide in (70, 100, 140):
        monkeypatch.setenv("COLUMNS", str(wide))
        _, out, _ = dltrain("runs", "--where", "status=done")
        head = out.splitlines()[0]
        assert len(head) <= wide
        assert "…" not in out
        assert {"run", "name", "best/accuracy", "test/accuracy"} <= set(head.split())
        assert wide > 100 or "not shown: " in out


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    root = tmp_path_factory.mktemp("swept")
    words = ["-m", "data=iris", "optimizer=sgd,momentum,adamw", "optimizer.lr=1e-4,1e-3,1e-2,1e-1"]
    with pytest.raises(SystemExit) as stop:
        cli.main([*words, "trainer.epochs=2", "trainer.tensorboard=false", f"runs_dir={root}"])
    assert stop.value.code == 0
    return next(root.glob("*/*"))


def test_a_sweep_shows_choices_as_they_were_typed_and_says_which_key_decides(dltrain, swept):
    for command in ("show", "runs"):
        code, out, _ = dltrain(command, str(swept))
        assert code == 0
        lines = out.splitlines()
        head = next(i for i, line in enumerate(lines) if line.startswith("run "))
        told = [line.split()[lines[head].split().index("optimizer")] for line in lines[head + 2 : head + 14]]
        assert sorted(told) == ["adamw"] * 4 + ["momentum"] * 4 + ["sgd"] * 4
    _, out, _ = dltrain("show", str(swept))
    assert re.search(r"^(\S+ decides .* of the differences in|What was varied does not foretell)", out, re.MULTILINE)
    _, out, _ = dltrain("runs", str(swept), "--csv", "--columns", "optimizer")
    assert {row["optimizer"] for row in rows(out)} == {"AdamW", "SGD"}


def test_a_choice_is_shown_as_typed_where_each_run_has_typed_it(swept):
    found = [reading.read(*place) for place in reading.walk(swept)]
    assert listing.choices(found) >= {"optimizer", "data"}
    sgd, momentum = (next(r for r in found if r.typed["optimizer"] == name) for name in ("sgd", "momentum"))
    assert "optimizer" not in listing.differing([sgd, momentum])
    assert "optimizer" in listing.differing([sgd, momentum], typed=listing.choices(found))
    assert listing.choices([]) == frozenset()
