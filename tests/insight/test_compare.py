"""`dltrain compare` on real runs: what differs, how sure one can be, the picture."""

import json
import math
import re
import shutil
import statistics

import pytest
from outcomes import make_failed
from scipy import stats

from dltrain.commands import cli
from dltrain.insight import compare, history, several_page
from dltrain.insight.differences import difference, holm, interval, sentence, with_p_values
from dltrain.insight.entries import Entry, entries, of
from dltrain.insight.plots import figure
from dltrain.insight.plots.comparison import curves
from dltrain.runs import reading
from dltrain.runs import run_folder as runs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Sweeps over seeds on iris: a rate that learns and one that doesn't, twice the same; single runs; wine."""
    root = tmp_path_factory.mktemp("comparison")
    quick = ["data=iris", "trainer.tensorboard=false"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for words in (
            ["-m", *quick, "trainer.epochs=10", "seeds=4", "optimizer.lr=0.03,1e-3", "name=rates"],
            [*quick, "trainer.epochs=11", "optimizer.lr=0.03", "seeds=3", "seed=2", "name=other"],
            [*quick, "trainer.epochs=10", "optimizer.lr=0.03", "seed=0", "name=single"],
            [*quick, "trainer.epochs=2", "optimizer=sgd", "name=single"],
            ["data=wine", "trainer.epochs=2", "trainer.tensorboard=false", "name=wine"],
            ["-m", *quick, "trainer.epochs=1", "seeds=2", "optimizer.lr=0.01,1", "name=bad"],
        ):
            with pytest.raises(SystemExit):
                cli.main(words)
    for seed in (0, 1):
        typed = ("data=iris", "trainer.tensorboard=false", "trainer.epochs=1", "optimizer.lr=-1", f"seed={seed}")
        make_failed(next(root.glob(f"runs/bad/*/{2 + seed}")), *typed)
    return root


@pytest.fixture
def dltrain(dltrain, root, monkeypatch, capsys):
    """The command where the runs are."""
    monkeypatch.chdir(root)
    capsys.readouterr()
    return dltrain


def test_groups_of_seeds_are_told_apart_where_they_differ(dltrain, root, tmp_path):
    picture = tmp_path / "rates.png"
    code, out, err = dltrain("compare", "rates", "-o", str(picture))
    assert code == 0, err
    lines = out.splitlines()
    assert re.fullmatch(r"lr=0\.03 beats lr=0\.001 in test/accuracy \(p < 0\.\d+\)", lines[0])
    assert [line.split()[0] for line in lines if line.startswith("lr=")][1:] == ["lr=0.03", "lr=0.001"]
    assert "difference to lr=0.03, in points; paired t-test over seeds" in lines
    assert picture.read_bytes().startswith(b"\x89PNG")
    _, out, _ = dltrain("compare", "rates", "--json")
    data = json.loads(out)
    a, b = ([reading.read(root / f).numbers["test/accuracy"] for f in e["runs"]] for e in data["entries"])
    found = data["entries"][0]["metrics"]["test/accuracy"]
    assert (found["n"], found["mean"], found["std"]) == (4, statistics.fmean(a), statistics.stdev(a))
    assert data["differences"][0]["p"] == pytest.approx(stats.ttest_rel(b, a).pvalue)
    assert data["differences"][0]["mean"] == pytest.approx(statistics.fmean(b) - statistics.fmean(a))


def test_noise_is_called_noise_and_other_seeds_are_not_paired(dltrain, tmp_path):
    code, out, err = dltrain("compare", "rates", "other", "-o", str(tmp_path / "a.png"), "--force")
    assert code == 0, err
    first = out.splitlines()[0]
    assert "can't be told apart in test/accuracy (p > " in first
    assert re.search(r"(both|\S+) beats? lr=0\.001", first), first
    assert "in points; Welch's t-test; p by Holm's method over 2 comparisons" in out


def test_single_runs_can_not_tell(dltrain, root, tmp_path):
    one, two = (f.name[-4:] for f in sorted(root.glob("runs/single/*")))
    code, out, _ = dltrain("compare", one, two, "-o", str(tmp_path / "a.png"), "--force")
    assert code == 0
    assert "that is of these runs on these rows: another seed may turn it; train with seeds=5" in out
    assert re.search(r"; of the answers to 30 test rows: McNemar$", out, re.MULTILINE)
    assert {line.split()[0] for line in out.splitlines() if re.match("adamw|sgd", line)} == {"adamw", "sgd"}
    _, listed, _ = dltrain("compare", one, two, "--json")
    data = json.loads(listed)
    assert data["verdict"] == out.splitlines()[: len(data["verdict"])]
    assert (data["differences"][0]["rows"], data["differences"][0]["paired"], data["notes"]) == (30, True, [])


def test_a_run_that_failed_leaves_the_others_to_be_tested(dltrain, root, tmp_path):
    failed = next(root.glob("runs/bad/*/*/summary.json")).parent
    for folder in [failed, *root.glob("runs/single/*")]:
        shutil.copytree(folder, tmp_path / "runs" / folder.name)
    shutil.rmtree(tmp_path / "runs" / failed.name / "checkpoints", ignore_errors=True)
    code, out, err = dltrain("compare", str(tmp_path / "runs"), "-o", str(tmp_path / "a.png"), "--force")
    assert code == 0, err
    assert "of the answers to 30 test rows: McNemar" in out
    assert "another seed may turn it" in out
    assert " failed" in out
    assert "left out" not in out


def test_a_single_run_joins_the_seeds_of_its_configuration(dltrain, root, monkeypatch):
    monkeypatch.chdir(root)
    found = runs.collect(["rates", "single"])
    sizes = [len(entry.runs) for entry in entries(found)]
    assert sizes == [5, 4, 1]
    assert len(entries(runs.collect(["rates/last", "rates/last", "single"]))) == 3
    same = [run for run in found if run.config["optimizer.lr"] == 0.03 and run.config["trainer.epochs"] == 10]
    assert [len(e.runs) for e in entries(same[:2])] == [1, 1]  # one configuration alone: its seeds against each other


def test_other_data_are_not_better_or_worse(dltrain, tmp_path):
    code, out, _ = dltrain("compare", "rates", "wine", "-o", str(tmp_path / "a.png"), "--force")
    assert code == 0
    assert "data, data.features differ: these are different problems" in out  # iris has a key that wine has not
    assert " beat" not in out
    assert not re.search(r"[-+]\d+\.\d+ ", out)
    compared = of(["rates", "wine"])
    assert compare.one_loss(compared)  # that of classes
    shown = "".join(several_page.verdict(compared, "test/accuracy", compare.against_first(compared, "test/accuracy")))
    assert ("different problems" in shown, "the second" in shown) == (True, False)


@pytest.mark.usefixtures("grid")
def test_the_loss_of_classes_and_that_of_numbers_are_two(dltrain, tmp_path):
    code, out, err = dltrain("compare", "wine", "numbers", "-o", str(tmp_path / "a.png"))
    assert code == 0, err
    assert "the losses are different functions" in out
    assert "test/loss" not in out


def test_failed_jobs_are_named_and_do_not_count(dltrain, tmp_path):
    code, out, _ = dltrain("compare", "bad", "rates", "-o", str(tmp_path / "a.png"), "--force")
    assert code == 0
    assert out.count(" failed") == 2
    assert re.search(r"^without test/accuracy: .*-1.* \(failed\)$", out, re.MULTILINE)
    assert "test/accuracy" in out


def test_runs_without_any_number_are_compared_by_their_settings(dltrain, root, tmp_path):
    for folder in root.glob("runs/single/*"):
        shutil.copytree(folder, tmp_path / "runs" / folder.name)
    for folder in (tmp_path / "runs").iterdir():
        for name in ("summary.json", "metrics.jsonl"):
            (folder / name).unlink()
    code, out, _ = dltrain("compare", str(tmp_path / "runs"), "-o", str(tmp_path / "a.png"), "--force")
    assert code == 0
    assert re.search(r"^none of them has metrics: \d+ killed$", out, re.MULTILINE)
    assert "no curves: none of them has reported" in out
    assert "killed" in out


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["wine"], "wine is one run; name two or more, or a sweep"),
        (["rates", "nonsense"], "no run called `nonsense`"),
        (["rates", "-o", "."], "-o . is a folder; name a file in it"),
        (["rates", "-o", "a.pdf"], "name a PNG file"),
        (["rates", "-o", "no/such/a.png"], "name a PNG file in a folder that exists"),
        ([], "the following arguments are required: RUN"),
    ],
)
def test_a_wrong_word_is_a_sentence(dltrain, words, text):
    code, _, err = dltrain("compare", *words)
    assert (code, text in err) == (2, True), err


def entry(name, values, first_seed=0):
    """An entry of made-up accuracies."""
    made = []
    for i, value in enumerate(values):
        run = reading.Run(folder=None, status="done", reason="", summary={"test": {"accuracy": value}})
        run.__dict__["config"] = {"seed": first_seed + i}
        run.__dict__["numbers"] = {"test/accuracy": value}
        made.append(run)
    return Entry(name, made)


def test_intervals_and_tests_are_scipys():
    a, b = [0.91, 0.93, 0.92, 0.95], [0.90, 0.91, 0.92, 0.92]
    low, high = interval(a)
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 3, loc=statistics.fmean(a), scale=stats.sem(a)))
    paired = difference(entry("B", b), entry("A", a), "test/accuracy")
    assert (paired.paired, paired.p) == (True, pytest.approx(stats.ttest_rel(b, a).pvalue))
    welch = difference(entry("B", b, first_seed=1), entry("A", a), "test/accuracy")
    assert (welch.paired, welch.p) == (False, pytest.approx(stats.ttest_ind(b, a, equal_var=False).pvalue))
    assert welch.low < welch.mean < welch.high


@pytest.fixture(scope="module")
def grid(root):
    """Two optimizers by two rates by three seeds on iris, and two single runs on its test rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        quick = ["data=iris", "trainer.tensorboard=false", "trainer.epochs=6"]
        for words in (
            ["-m", *quick, "optimizer=momentum,adamw", "optimizer.lr=0.1,0.001", "seeds=3", "name=grid"],
            ["data=diabetes", "trainer.tensorboard=false", "trainer.epochs=9", "optimizer.lr=1e-6", "name=numbers"],
            ["data=diabetes", "trainer.tensorboard=false", "trainer.epochs=9", "name=numbers"],
        ):
            with pytest.raises(SystemExit):
                cli.main(words)


@pytest.mark.usefixtures("grid")
def test_entries_are_named_as_they_were_typed_and_the_best_comes_first(dltrain, tmp_path):
    code, out, err = dltrain("compare", "grid", "-o", str(tmp_path / "a.png"))
    assert code == 0, err
    names = [line.split("   ")[0] for line in out.splitlines() if re.match("momentum|adamw", line)][1:]
    assert sorted(names) == ["adamw 0.001", "adamw 0.1", "momentum 0.001", "momentum 0.1"]
    _, listed, _ = dltrain("compare", "grid", "--json")
    entries = json.loads(listed)["entries"]
    assert [entry["name"] for entry in entries] == names
    best = [entry["metrics"]["best/accuracy"]["mean"] for entry in entries]
    assert best == sorted(best, reverse=True)


def test_names_that_are_too_long_begin_with_what_most_have_typed(tmp_path):
    for i, kind in enumerate(("short", "k" * 40, "k" * 40)):
        (tmp_path / f"{i}").mkdir()
        (tmp_path / f"{i}" / "config.yaml").write_text(f"kind: {kind}\ndepth: {i}\n")
        (tmp_path / f"{i}" / "overrides.txt").write_text(f"depth={i}\n" + "kind=short\n" * (i == 0))
    found = [reading.read(tmp_path / f"{i}") for i in range(3)]
    assert [entry.name for entry in entries(found)] == ["depth=0", "depth=1", "depth=2"]


@pytest.mark.usefixtures("grid")
def test_by_a_key_all_else_is_pooled_and_paired(dltrain, tmp_path):
    code, out, err = dltrain("compare", "grid", "--by", "optimizer", "-o", str(tmp_path / "a.png"), "--x", "seconds")
    assert code == 0, err
    rows = {line.split()[0]: line.split()[1] for line in out.splitlines() if re.match(r"(momentum|adamw) +\d", line)}
    assert rows == {"momentum": "6", "adamw": "6"}
    assert "paired t-test over seeds, optimizer.lr" in out
    _, out, _ = dltrain("compare", "grid", "--by", "seed", "-o", str(tmp_path / "b.png"))
    assert "of one configuration" not in out  # each seed has several
    code, _, err = dltrain("compare", "grid", "--by", "data.batch_size")
    assert (code, "all of them have one value of data.batch_size" in err) == (2, True), err
    code, _, err = dltrain("compare", "grid", "--by", "optimiser")
    assert (code, "did you mean `optimizer`" in err) == (2, True), err


def test_choices_of_one_class_are_paired_apart_and_lists_are_named_as_typed(dltrain, tmp_path):
    words = ["data=iris", "trainer.epochs=1", "trainer.tensorboard=false", "optimizer=momentum,sgd"]  # both are SGD
    code, _, err = dltrain("-m", *words, "model.widths=[8],[8,8]", "seeds=2", "name=pairs")
    assert code == 0, err
    code, out, err = dltrain("compare", "pairs", "--by", "model.widths", "-o", str(tmp_path / "a.png"))
    assert code == 0, err
    assert "paired t-test over seeds, optimizer" in out
    assert re.search(r"^(model\.)?widths=\[8,8\] +4 ", out, re.MULTILINE), out


@pytest.mark.usefixtures("grid")
def test_another_than_the_best_may_be_what_the_others_are_held_against(dltrain, root, tmp_path):
    last = max(root.glob("runs/grid/*/11"))
    code, out, err = dltrain("compare", "grid", "--to", str(last), "-o", str(tmp_path / "a.png"))
    assert code == 0, err
    assert "difference to adamw 0.001" in out
    assert re.search(r"beats? adamw 0\.001 in test/accuracy", out.splitlines()[0])
    alone = next(str(f) for f in root.glob("runs/single/*") if "optimizer=sgd" in (f / "overrides.txt").read_text())
    _, out, _ = dltrain("compare", "grid", "--to", alone, "-o", str(tmp_path / "b.png"))
    assert re.search(r"^nothing is tested against one run: --to \S+ holds all against ", out, re.MULTILINE)


@pytest.mark.usefixtures("grid")
def test_single_regressions_are_told_apart_by_the_rows_they_were_tested_on(dltrain, root, tmp_path):
    code, out, err = dltrain("compare", "numbers", "-o", str(tmp_path / "a.png"))
    assert code == 0, err
    assert re.search(r"lr=0\.003 beats lr=1e-06 in test/rmse \(p < 0\.\d+\)", out)
    assert "of the answers to 89 test rows: paired bootstrap" in out
    shutil.copytree(root / "runs" / "numbers", tmp_path / "numbers")
    for file in (tmp_path / "numbers").glob("*/data.json"):  # whose test rows nobody knows
        known = json.loads(file.read_text())
        file.write_text(json.dumps(known | {"sha256": {}}))
    code, out, err = dltrain("compare", str(tmp_path / "numbers"), "-o", str(tmp_path / "b.png"))
    assert code == 0, err
    assert "one run each can't tell which is better" in out


def made(name, mean):
    values = [mean - 0.015, mean + 0.005, mean - 0.005, mean + 0.015]
    return entry(name, values, first_seed=10 * ord(name))


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([("B", 0.9)], "A and B can't be told apart in test/accuracy (p > 0.9)"),
        ([("B", 0.5)], "A beats B in test/accuracy (p < 0.001)"),
        ([("B", 0.9), ("C", 0.5)], "A and B can't be told apart in test/accuracy (p > 0.9); both beat C (p < 0.001)"),
        (
            [("B", 0.9), ("C", 0.9), ("D", 0.5), ("E", 0.4)],
            "A, B and C can't be told apart in test/accuracy (p > 0.9); all beat D and E (p < 0.001)",
        ),
        ([("B", 0.95), ("C", 0.5)], "A beats C in test/accuracy (p < 0.001); B beats A in test/accuracy (p < 0.01)"),
    ],
)
def test_one_sentence_says_who_is_better(others, told):
    base, *rest = [made("A", 0.9), *(made(name, mean) for name, mean in others)]
    found = with_p_values(rest, [difference(one, base, "test/accuracy") for one in rest])
    assert sentence(base, found, "test/accuracy") == told


def test_two_seeds_are_said_to_tell_little():
    """A t-test of two pairs finds nothing in a difference of 50 points, which must not read as if there was none."""
    one, other = entry("A", [0.9, 0.94]), entry("B", [0.4, 0.3])
    told = sentence(one, with_p_values([other], [difference(other, one, "test/accuracy")]), "test/accuracy")
    assert told.startswith("A and B can't be told apart in test/accuracy (p > 0.0")
    assert told.endswith("); 2 runs of each tell little: more seeds would tell more")


def test_curves_may_stand_over_samples_and_seconds(root):
    run = reading.read(next(root.glob("runs/other/*/0")))
    reports = history.over(run, history.logged(run))
    rows = json.loads((run.folder / "data.json").read_text())["rows"]["train"]
    assert [report["samples"] for report in reports] == [pytest.approx(rows * report["epoch"]) for report in reports]
    seconds = [report["seconds"] for report in reports]
    assert seconds == sorted(seconds)
    assert 0 < seconds[-1] < run.seconds


def test_seeds_are_paired_by_number_not_by_order():
    a = entry("A", [0.9, 0.8, 0.7])
    b = entry("B", [0.71, 0.82, 0.93])
    for run, seed in zip(b.runs, (2, 1, 0), strict=True):
        run.__dict__["config"] = {"seed": seed}
    found = difference(b, a, "test/accuracy")
    assert found.p == pytest.approx(stats.ttest_rel([0.93, 0.82, 0.71], [0.9, 0.8, 0.7]).pvalue)


def test_numbers_without_noise_are_no_division_by_zero():
    same = difference(entry("B", [1.0, 1.0]), entry("A", [1.0, 1.0]), "test/accuracy")
    assert (same.mean, same.p) == (0.0, 1.0)
    apart = difference(entry("B", [0.5, 0.5]), entry("A", [1.0, 1.0], first_seed=7), "test/accuracy")
    assert (apart.mean, apart.p) == (-0.5, 0.0)
    assert difference(entry("B", [0.5]), entry("A", [1.0, 1.0]), "test/accuracy") is None
    assert interval([1.0]) is None


def test_holm_is_its_published_example():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert math.isclose(holm([0.9, 0.8])[0], 1.0)


def test_best_and_compare_agree(dltrain, root, monkeypatch):
    monkeypatch.chdir(root)
    best = reading.read(runs.find("rates/best"))
    assert best.config["optimizer.lr"] == 0.03


def test_curves_show_each_run_and_the_mean_of_the_epochs_that_all_have():
    long = [{"step": e, "epoch": float(e), "train/loss": 1.0, "val/loss": 0.5, "val/accuracy": 0.8} for e in (1, 2, 3)]
    short = [{**row, "val/accuracy": 0.6} for row in long[:2]]
    holes = [{"step": 1, "epoch": 1.0, "train/loss": None, "val/loss": None}]
    top, losses = curves([("A", [long, short]), ("B", [holes]), ("C", [])], metric="accuracy").axes
    drawn = [(list(line.get_xdata()), [round(y, 6) for y in line.get_ydata()]) for line in top.get_lines()]
    assert drawn == [([1, 2], [0.7] * 2)]
    (band,) = top.collections
    assert {round(y, 3) for _, y in band.get_paths()[0].vertices} == {round(0.7 + s * 0.2 / 2**0.5, 3) for s in (-1, 1)}
    assert [line.get_linewidth() for line in losses.get_lines()] == [2.0, 0.9]
    many = curves([(str(i), [long, short]) for i in range(6)], metric="loss")
    assert len(many.axes[0].get_lines()) == 6


def test_different_losses_do_not_stand_on_one_axis(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    short = ["data=digits", "trainer.epochs=2", "trainer.tensorboard=false"]
    for loss in ("one_hot_mse", "cross_entropy"):
        with pytest.raises(SystemExit):
            cli.main([*short, f"loss={loss}", f"name={loss}"])
    drawn = {}
    monkeypatch.setattr(
        "dltrain.insight.plots.comparison.curves", lambda groups, **knobs: drawn.update(knobs) or figure()[0]
    )
    capsys.readouterr()
    runs = sorted(str(folder) for folder in (tmp_path / "runs").glob("*/*"))
    with pytest.raises(SystemExit):
        cli.main(["compare", *runs])
    assert "the losses are different functions" in capsys.readouterr().out
    assert drawn == {"metric": "accuracy", "losses": False, "over": "epochs"}


def test_losses_that_do_not_compare_are_not_drawn():
    rows = [{"epoch": e, "train/loss": 1 / e, "val/loss": 1 / e, "val/accuracy": 1 - 1 / e} for e in (1, 2, 3)]
    groups = [("A", [rows]), ("B", [rows])]
    (only,) = curves(groups, metric="accuracy", losses=False).axes
    assert only.get_ylabel() == "val accuracy"
    assert len(curves(groups, metric="accuracy").axes) == 2
