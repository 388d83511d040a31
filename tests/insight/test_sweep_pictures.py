"""What a sweep's pictures show, and its page."""

import io
import itertools
import json
import re
import statistics
import time
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from dltrain.commands import cli
from dltrain.errors import system
from dltrain.insight import history, sweep_pictures, trials
from dltrain.insight.gallery import picture
from dltrain.insight.plots import sweeps
from dltrain.insight.trials import Score, Trial
from dltrain.runs import foreign, reading, seeds


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    return stop.value.code


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    root = tmp_path_factory.mktemp("swept")
    words = ["-m", "data=diabetes", "optimizer=sgd,adam", "optimizer.lr=1e-3,1e-1,1e9", "seed=0,1"]
    assert run(*words, "regularisation=none,[dropout]", "trainer.epochs=2", f"runs_dir={root}") == 8  # some diverge
    return next(root.glob("*/*"))


@pytest.fixture(scope="module")
def jobs(swept):
    return [reading.read(folder, sweep) for folder, sweep in reading.walk(swept)]


def test_what_was_varied_is_what_was_typed_differently(jobs):
    keys = trials.keys(jobs)
    assert sorted(keys) == ["optimizer", "optimizer.lr", "regularisation", "seed"]
    assert keys[-1] == "seed"
    assert {trials.value(job, "optimizer") for job in jobs} == {"sgd", "adam"}
    assert {trials.value(job, "optimizer.lr") for job in jobs} == {1e-3, 1e-1, 1e9}
    assert {trials.value(job, "regularisation") for job in jobs} == {"none", "[dropout]"}


def test_a_sweep_gets_every_picture_and_says_what_is_in_none(jobs):
    gallery = sweep_pictures.of_sweep(seeds.ranked(jobs))
    names = [made.name for made in gallery.pictures]
    compared = ["parallel.png", "against.png", "heat1.png", "heat2.png", "heat3.png"]
    assert names == ["importance.png", *compared, "sofar.png", "curves.png"]
    caption = gallery.pictures[0].caption
    assert caption.startswith("optimizer")
    assert "of the differences in validation rmse" in caption
    for made in gallery.pictures:
        assert len(Image.open(io.BytesIO(made.content)).convert("RGB").getcolors(1 << 20)) > 20
    without = sum("best/rmse" not in job.numbers or job.status == "diverged" for job in jobs)
    against = next(made for made in gallery.pictures if made.name == "against.png")
    assert "optimizer.lr" in against.drawn
    assert ">seed<" not in against.drawn
    heats = [made for made in gallery.pictures if made.name.startswith("heat")]
    assert {*("try values beyond it" in made.caption for made in heats)} == {True, False}
    assert all(("try values beyond it" in made.caption) == ("optimizer.lr" in made.title) for made in heats)
    assert gallery.notes == [f"{without} of {len(jobs)} runs failed, diverged or have no metric, and are in no picture"]


def test_its_page_ranks_the_runs_and_names_the_failures(swept, jobs, tmp_path, capsys):
    assert run("report", str(swept), "-o", str(tmp_path / "page.html")) == 0
    text = (tmp_path / "page.html").read_text()
    below = "".join(re.findall(r'<tr class="more">.*?</table>', text))  # the runs of each configuration
    order = [int(n) for n in re.findall(r'<tr><th scope="row" class="text">(\d+)</th>', below)]
    scores = {int(job.folder.name): job.numbers.get("best/rmse", np.inf) for job in jobs}
    assert sorted(order) == sorted(scores)
    means = [statistics.fmean(scores[int(job.folder.name)] for job in group) for group in seeds.ranked(jobs)]
    assert order == [int(job.folder.name) for job in seeds.in_order(jobs)]
    assert means == sorted(means)
    assert text.count("<figure>") == 8
    assert "Mean and deviation over the seeds" in text
    assert text.count("<details><summary>its 2 runs</summary>") == len(jobs) // 2
    assert 'data-explored="[&quot;optimizer&quot;, ' in text
    assert f"A sweep of {len(jobs)} runs" in text
    first, margin, *_ = re.findall('<p class="verdict good">(.*)</p>', text)  # as compare has it
    assert re.match("<strong>(adam|sgd) .*</strong>.*(beats|told apart)", first)
    assert re.search(r" has test rmse .*, the second, has .*, which is \S+ (more|less)", margin)
    assert "interval" not in margin  # of two seeds it goes beyond all reason
    assert re.search(r"\(jobs \d+ and \d+: ", text)
    assert "diverged" in text
    best = next(job for job in jobs if int(job.folder.name) == order[0])
    assert best.overrides[0] in text
    assert (swept / "plots" / "parallel.png").is_file()


def test_runs_in_two_or_one_dimension_and_none(tmp_path, capsys):
    assert run("-m", "data=iris", "seed=0,1", "trainer.epochs=1", f"runs_dir={tmp_path}") == 0
    (folder,) = tmp_path.glob("*/*")
    found = [reading.read(path, folder) for path, _ in reading.walk(folder)]
    gallery = sweep_pictures.of_sweep(seeds.ranked(found))
    assert [made.name for made in gallery.pictures] == ["against.png", "curves.png"]
    assert [p.name for p in sweep_pictures.of_sweep([found[:1]]).pictures] == ["curves.png"]
    nothing = sweep_pictures.of_sweep([])
    assert (nothing.pictures, len(nothing.notes)) == ([], 1)


def test_runs_that_are_ranked_by_their_training_loss(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = ["-m", "data=diabetes", "trainer.epochs=2", "trainer.monitor=train/loss", "optimizer.lr=1e-3,1e-1"]
    assert run(*words, "trainer.tensorboard=false", "name=a") == 0
    (titles,) = [line for line in capsys.readouterr().out.splitlines() if "overrides" in line]
    assert " train loss " in titles
    assert "test train" not in titles
    assert "train_loss" not in titles
    (folder,) = tmp_path.glob("runs/a/*")
    found = [reading.read(path, folder) for path, _ in reading.walk(folder)]
    judge = trials.score(found)
    figure = sweeps.curves([(job.folder.name, history.logged(job)) for job in found], judge)
    assert [len(line.get_ydata()) for line in figure.axes[0].get_lines()] == [2, 2]
    assert figure.axes[0].get_ylabel() == "train loss"
    assert run("report", str(folder), "-o", "page.html") == 0
    text = (tmp_path / "page.html").read_text()
    assert ">train loss<" in text
    assert "train_loss" not in text
    assert run("compare", str(folder), "-o", "c.png") == 0


def test_a_sweep_whose_jobs_are_damaged_has_a_page(swept, tmp_path, capsys):
    for name in ("0", "1", "2"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
    (tmp_path / "sweep" / "sweep.json").write_text("{}")
    (tmp_path / "sweep" / "0" / "summary.json").write_text("{")
    (tmp_path / "sweep" / "1" / "overrides.txt").write_text("=\n<b>x</b>=<script>\nlr=1\n")
    (tmp_path / "sweep" / "1" / "summary.json").write_text(json.dumps({"status": "failed", "error": "<script>"}))
    (tmp_path / "sweep" / "2" / "overrides.txt").write_text("lr=2\n")
    assert run("report", str(tmp_path / "sweep")) == 0
    text = (tmp_path / "sweep" / "report.html").read_text()
    assert text.count("<script>") == 1
    assert "damaged" in text


# -- the figures -----------------------------------------------------------------------------------------------

HIGH, LOW = Score("accuracy", True), Score("rmse", False)


def test_a_heat_map_holds_the_mean_of_each_cell_and_leaves_out_what_was_not_tried():
    rows = [("a", 1, 0.2), ("a", 1, 0.4), ("b", 1, 0.5), ("b", 2, 0.6)]
    trials = [Trial({"kind": kind, "depth": depth}, score, i) for i, (kind, depth, score) in enumerate(rows)]
    assert sweeps.pairs(trials, ["kind", "depth"]) == [("kind", "depth")]
    grid = np.asarray(sweeps.heat(trials, ("kind", "depth"), HIGH).axes[0].images[0].get_array().filled(np.nan))
    assert np.allclose(grid, [[0.3, 0.5], [np.nan, 0.6]], equal_nan=True)


def test_values_over_many_sizes_stand_by_their_logarithm():
    trials = [Trial({"lr": 10.0**-k, "depth": k, "name": n}, 0.1 * k, k) for k, n in enumerate("abcd")]
    rates, depths, names = (
        ax.get_lines()[0].get_xdata() for ax in sweeps.against(trials, ["lr", "depth", "name"], HIGH).axes
    )
    assert np.allclose(rates, [0, -1, -2, -3])
    assert list(depths) == list(names) == [0, 1, 2, 3]


@pytest.mark.parametrize("values", [[True, False, True], [None, 1, "x"], [0, 0.5, 1e9], [-1, 0, 1], ["$x$", "a_b", ""]])
def test_any_values_can_be_drawn(values):
    trials = [Trial({"one": value, "two": i}, 10.0 ** (3 * i), i) for i, value in enumerate(values)]
    for score in (LOW, Score("loss", False)):
        assert sweeps.parallel(trials, ["one", "two"], score)
        assert sweeps.against(trials, ["one", "two"], score)
        assert sweeps.heat(trials, ("one", "two"), score)
        logs = [(f"one={value}", [{"epoch": 1.0, f"val/{score.name}": 3.0}]) for value in values]
        figure = sweeps.curves(logs, score)
        figure.canvas.draw()


def test_each_value_has_a_mean_with_its_interval_over_configurations_and_many_numbers_are_taken_together():
    rows = [(kind, seed, 10.0 ** -(i % 12), s) for i, (kind, seed, s) in enumerate(ROWS)]
    trials = [Trial({"kind": k, "lr": lr, "seed": seed}, s, i) for i, (k, seed, lr, s) in enumerate(rows)]
    kinds, rates, of_seed = sweeps.against(trials, ["kind", "lr", "seed"], HIGH).axes
    (bars,) = kinds.containers
    assert np.allclose(bars.lines[0].get_xdata(), [0, 1])
    assert len(rates.containers[0].lines[0].get_xdata()) == 6
    assert len(of_seed.containers[0].lines[0].get_xdata()) == 2
    means = [np.mean([s for k, _, s in ROWS if k == kind]) for kind in "ab"]
    assert np.allclose(bars.lines[0].get_ydata(), means)
    assert all(ax.get_ylim()[1] <= 1.02 for ax in (kinds, rates, of_seed))


def test_the_mean_of_one_run_has_no_interval():
    trials = [Trial({"kind": kind}, score, i) for i, (kind, score) in enumerate([("a", 0.1), ("a", 0.3), ("b", 0.2)])]
    trials = [Trial({**t.values, "n": i}, t.score, i) for i, t in enumerate(trials)]
    (bars,) = sweeps.against(trials, ["kind"], HIGH).axes[0].containers
    assert np.isfinite(bars.lines[2][0].get_segments()[0]).all()
    assert not np.isfinite(bars.lines[1][0].get_ydata()[1])


def test_runs_without_a_key_stand_below_its_numbers():
    given = [0.5, 0.9, "-", 0.9]
    trials = [Trial({"momentum": v, "kind": "-" if i else "a"}, 0.1 * i, i) for i, v in enumerate(given)]
    ax = sweeps.against(trials, ["momentum"], HIGH).axes[0]
    assert np.allclose(ax.get_lines()[0].get_xdata(), [0.5, 0.9, 0.42, 0.9])
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["-", "0.5", "0.9"]
    assert sweeps.parallel(trials, ["momentum", "kind"], HIGH)


ROWS = [(kind, seed, 0.3 + 0.02 * i + 0.01 * seed) for i in range(12) for kind in "ab" for seed in (0, 1)]


@pytest.fixture
def thousand(swept, tmp_path):
    """A sweep of 1,000 jobs, each with a rate and a result of its own."""
    folder, kept = tmp_path / "runs" / "sweep" / "20260101-000000-abcd", "config.yaml environment.json metrics.jsonl"
    job = next(path.parent for path in swept.glob("*/summary.json") if '"done"' in path.read_text())
    files = {name: (job / name).read_text() for name in kept.split()}
    summary, (rate, width) = json.loads((job / "summary.json").read_text()), np.random.default_rng(0).random((2, 1000))
    for number in range(1000):
        own, lr, size = folder / str(number), 10 ** (3 * rate[number] - 4), int(8 + 200 * width[number])
        own.mkdir(parents=True)
        config = re.sub(r"^(optimizer:(?:\n  .*)*?\n  lr: ).*", rf"\g<1>{lr:.6f}", files["config.yaml"], flags=re.M)
        (own / "config.yaml").write_text(config)
        (own / "environment.json").write_text(files["environment.json"])
        (own / "metrics.jsonl").write_text(files["metrics.jsonl"])
        (own / "overrides.txt").write_text(f"optimizer.lr={lr:.6f}\nmodel.hidden=[{size}]\n")
        summary["best"]["rmse"] = 50 + 10 * abs(rate[number] - 0.7) + width[number]
        (own / "summary.json").write_text(json.dumps(summary))
    (folder / "sweep.json").write_text("{}")
    return folder


def test_a_thousand_runs_are_one_page_soon_and_each_file_is_read_once(thousand, monkeypatch, capsys):
    opened, plain_file = Counter(), system.plain_file
    monkeypatch.setattr(foreign.system, "plain_file", lambda path: (opened.update([path]), plain_file(path))[1])
    begin = time.process_time()
    assert run("report", str(thousand)) == 0
    assert time.process_time() - begin < 15  # a third of it where nothing else is done
    text = (thousand / "report.html").read_text()
    assert len(text) < 10_000_000
    assert text.count("<figure>") == 5
    assert "A sweep of 1000 runs" in text
    assert {n for path, n in opened.items() if path.parent != thousand} == {1}
    assert len([path for path in opened if path.name == "metrics.jsonl"]) == 100  # of the curves that are drawn
    assert text.count('<div class="wide long">') == 1  # it scrolls in its place, above the pictures


def test_dots_of_one_value_and_one_score_stand_side_by_side_and_no_value_reaches_the_next():
    trials = [Trial({"lr": lr}, 0.5, i) for i, lr in enumerate([0.1] * 30 + [0.2] * 2 + [0.3])]
    places = np.array(sweeps.against(trials, ["lr"], HIGH).axes[0].get_lines()[0].get_xdata())
    assert len({*places}) == len(trials)
    assert np.allclose([places[:30].mean(), places[30:32].mean(), places[32]], [0.1, 0.2, 0.3])
    assert places[:30].max() < places[30:32].min() < 0.2 < places[30:32].max() < places[32]


def test_long_keys_stand_beside_each_other():
    keys = ["optimizer.weight_decay", "regularisation.early_stopping.patience", "optimizer.lr", "scheduler.lr"]
    trials = [Trial({key: i * (k + 1) for k, key in enumerate(keys)}, 0.1 * i, i) for i in range(3)]
    figure = sweeps.parallel(trials, keys, HIGH)
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["weight_\ndecay", "patience", "optimizer.\nlr", "scheduler.\nlr", "accuracy"]
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert all(one.x1 < other.x0 for one, other in itertools.pairwise(boxes))


def test_cells_of_a_heat_map_say_their_values_in_a_page_and_stay_pixels_in_a_file():
    trials = [Trial({"a $": a, "b": b}, 0.1 * a + 0.05 * b, 2 * a + b) for a in (1, 2) for b in (0, 1)]
    made = picture("heat.png", "h", "c", sweeps.heat(trials[:3], ("a $", "b"), LOW))
    told = re.findall(r'<rect [^>]*style="--s: ([\d.]+)%"><title>([^<]*)</title>', made.drawn)
    assert [words for _, words in told] == [
        f"a $ {a}\nb {b}\nrmse {v}" for b, a, v in ((0, 1, 0.1), (0, 2, 0.2), (1, 1, 0.15))
    ]
    assert [float(dark) for dark, _ in told] == [100, 0, 50]  # the lowest error is dark
    assert len(Image.open(io.BytesIO(made.content)).convert("RGB").getcolors(1 << 20)) > 20
