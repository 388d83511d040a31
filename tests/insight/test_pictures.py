"""Which pictures a run gets, and what stands in their place when something is missing."""

import dataclasses
import html
import io
import json
import math
import re
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dltrain.commands import cli
from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.data.sources import sklearn_sets
from dltrain.insight import captions, history, layers_by_step, on_the_way, pictures, plots
from dltrain.insight.doctor import examine
from dltrain.insight.gallery import Gallery, Picture
from dltrain.insight.gallery import picture as as_picture
from dltrain.insight.plots import gradients, images, landscape, regions, training, weights
from dltrain.insight.plots import perceptron as perceptron_plots
from dltrain.runs import checkpoint, reading
from dltrain.training import perceptron, replay, resuming


def train(folder, *overrides):
    with pytest.raises(SystemExit) as stop:
        cli.main([*overrides, f"runs_dir={folder}"])
    assert stop.value.code == 0
    (found,) = folder.glob("*/*")
    return found


def made(folder, seconds=20.0):
    return pictures.of_run(reading.read(folder), allow=[], seconds=seconds)


def names(gallery):
    return {picture.name for picture in gallery.pictures}


@pytest.fixture(scope="module")
def moons(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moons")
    return train(folder, "data=moons", "model.widths=[16]", "trainer.epochs=4")


CLASSES = {"confusion.png", "calibration.png", "ranking.png"}
WAY = {"walk.png", "layers_by_step"}  # is of what is trained again
EVERY = {"curves.png", "schedule.png", "weights.png", "landscape.png", *WAY}


def test_a_run_in_the_plane_gets_every_picture(moons):
    gallery = made(moons)
    assert gallery.notes == []
    assert names(gallery) == EVERY | CLASSES | {"regions.png", "film.gif"}
    for picture in gallery.pictures:
        if picture.name == "layers_by_step":
            continue  # is no file
        image = Image.open(io.BytesIO(picture.content))
        assert image.width >= 500
        assert len(image.convert("RGB").getcolors(1 << 20)) > 20  # not an empty page
        assert picture.caption.endswith(".")
    film = Image.open(io.BytesIO(next(p.content for p in gallery.pictures if p.name == "film.gif")))
    assert 25 <= film.n_frames <= 30  # equal moments stand once
    first = np.asarray(film.convert("RGB")).astype(int)
    film.seek(film.n_frames - 1)
    assert np.abs(np.asarray(film.convert("RGB")).astype(int) - first).mean() > 3
    assert gallery.graph


@pytest.mark.parametrize(
    ("overrides", "also"),
    [
        (["data=digits", "trainer.epochs=1"], CLASSES | {"mistakes.png", "mixed.png"}),
        (["data=blobs", "data.classes=12", "trainer.epochs=2"], CLASSES | {"regions.png", "mixed.png"}),
        (["data=linear", "trainer.epochs=2"], {"regions.png", "regression.png", "residuals.png"}),
        (["data=multilabel", "trainer.epochs=2"], {"regions.png", "labels.png", "calibration.png", "ranking.png"}),
        (
            ["data=xor", "model=perceptron", "loss=perceptron", "optimizer=sgd"],
            {"regions.png", "confusion.png", "ranking.png", "mistakes_by_epoch.png"},
        ),
        (["data=breast_cancer", "model=linear", "trainer.epochs=2"], CLASSES | {"importance.png"}),
    ],
    ids=["images", "many-classes", "surface", "labels", "perceptron", "table"],
)
def test_every_kind_of_data_gets_what_fits_it(overrides, also, tmp_path, monkeypatch):
    def painted_once(name, title, caption, figure):
        """What the test above has painted is blank."""
        alike = name in ("curves.png", "schedule.png", "landscape.png")
        return Picture(name, title, caption, b"") if alike else as_picture(name, title, caption, figure)

    monkeypatch.setattr("dltrain.insight.gallery.picture", painted_once)
    gallery = made(train(tmp_path, *overrides), seconds=0)
    assert [note for note in gallery.notes if "--replay" not in note] == []
    assert names(gallery) == EVERY - WAY | also


@pytest.mark.usefixtures("unpainted")
def test_a_net_of_several_layers_shows_the_gradient_of_each(tmp_path, monkeypatch):
    figures = []
    by_layer = gradients.by_layer
    monkeypatch.setattr(gradients, "by_layer", lambda nets: figures.append(by_layer(nets)) or figures[0])
    deep = ["data=iris", "model.widths=[8,8,8,8]", "model.activation=sigmoid", "trainer.epochs=1"]
    gallery = made(train(tmp_path, *deep), seconds=0)
    assert "gradients.png" in names(gallery)
    first, last = (line.get_ydata() for line in figures[0].axes[0].get_lines())
    assert len(first) == len(last) == 5
    assert first[0] < 0.01 * first[-1]


@pytest.mark.usefixtures("unpainted")
def test_a_diagnosed_run_shows_its_layers_and_what_augmentation_makes(tmp_path, monkeypatch):
    figures = []
    over_time, changed = gradients.over_time, images.changed
    monkeypatch.setattr(gradients, "over_time", lambda looks: figures.append(over_time(looks)) or figures[-1])
    monkeypatch.setattr(images, "changed", lambda *x: figures.append(changed(*x)) or figures[-1])
    words = ["data=digits", "trainer.epochs=3", "diagnose=true", "regularisation=affine"]
    gallery = made(train(tmp_path, *words), seconds=0)
    assert {"layers.png", "layers_by_step", "augmented.png"} <= names(gallery)
    layers, examples = figures
    assert [line.get_label() for line in layers.axes[1].get_lines()] == ["linear1", "linear2"]
    assert all(len(line.get_xdata()) == 3 for ax in layers.axes for line in ax.get_lines())
    assert layers.axes[0].get_yscale() == "log"
    first, *others = (np.asarray(ax.images[0].get_array()) for ax in examples.axes[::6])
    assert len(others) == 3
    assert all(np.abs(first - other).max() > 0.1 for other in others)


def test_layers_by_step_are_those_of_the_diagnosis():
    sick = {"name": "layers.a", "kind": "Linear", "weight": 1.0, "gradient": 1e-6, "weight_gradient": 1e-5, "std": 0.5}
    dead = {"name": "layers.b", "kind": "ReLU", "dead": 0.75, "std": 0}
    last = {**sick, "name": "layers.<b>", "gradient": 1.0, "update": 0.02}
    looks = [history.Look(k / 100, [sick, dead, {**last, "update": 0.02 / (k + 1)}], k) for k in range(100)]
    looks.append(history.Look(1, [{**sick, "gradient": 1.0}, {**dead, "dead": None}, {**last, "std": "x"}, {}], 100))
    text = layers_by_step.by_step(looks)
    assert "<b>" not in text
    moving = [json.loads(html.unescape(m)) for m in re.findall('data-(?:moves|names)="([^"]*)"', text)]
    steps, told, cells = moving
    assert len(steps) == len(told) == len(cells) == 24
    assert (steps[0], steps[-1]) == ("step 0, epoch 0", "step 100, epoch 1")
    back = "the gradient vanishes on its way back (at a it is 1e-06 of the last layer's)"
    assert (told[0][0], told[-1][0]) == ([f"75% of the units of b are dead; {back}."], ["Nothing stands out."])
    texts, shares = cells[0]
    assert texts == ["1e-05", "", "", "0.5", "", "", "75%", "0", "1e-05", "0.02", "", "0.5"]
    assert shares == [2, 0, 0, 70, 0, 0, 75, 0, 2, 77, 0, 70]
    assert layers_by_step.by_step([history.Look(1, [{}, {"name": 3, "std": "x"}])] * 2) is None
    wide = [{"name": "a", "std": 1e299}, {"name": "b", "std": 1e-305}]
    assert "1e-300 to 1e+299" in layers_by_step.by_step([history.Look(1, wide)] * 2)


def test_a_run_without_a_diagnosis_has_layers_by_step_of_its_way():
    plan = make_plan(compose.compose(["data=moons", "model.widths=[4]", "model.activation=tanh", "optimizer.lr=1"]), ())
    way = replay.replay(plan, steps=40, wanted=[0, 3, 40], seconds=60)
    gallery = Gallery()
    layers_by_step.on_the_way(gallery, plan, way)
    layers_by_step.on_the_way(gallery, plan, way)  # what is there is not made again
    (made,) = gallery.pictures
    assert "With diagnose=true" in made.caption
    assert made.content == b""
    names = re.search('data-names="([^"]*)"', made.drawn)[1]
    assert json.loads(html.unescape(names)) == ["step 0, epoch 0", "step 3, epoch 0.14", "step 40, epoch 1.82"]
    net = build.make_model(plan)
    net.load_state_dict(way.weights[-1])
    last = [layer.weight_gradient for layer in examine.look(plan, net).layers if layer.weight_gradient]
    shown = re.findall(r"<td[^>]*>([^<]*)</td>", made.drawn.partition("<tbody>")[2])[::3]
    assert [text for text in shown if text] == [f"{value:.2g}" for value in last]


def test_why_there_is_no_way_is_said(moons):
    run = reading.read(moons)
    plan = make_plan(resuming.stored(moons), (), writes=False)
    assert "(--replay SECONDS); diagnose=true writes down" in on_the_way.weights(plan, run, 0)[1]
    rows = [*plan.rows[:-1], plan.rows[-1]._replace(parameters=2_000_000)]
    note = on_the_way.weights(dataclasses.replace(plan, rows=rows, diagnose=True), run, 99)[1]
    assert note.endswith("the net has 2,000,000 parameters, and up to 1,000,000 are kept of each moment")


def test_a_damaged_diagnosis_leaves_what_can_be_read(tmp_path):
    good = {"epoch": 1.0, "layers": [{"name": "a", "weight_gradient": 0.1, "std": None}, 3]}
    lines = [json.dumps(good), "{", "[]", json.dumps({"epoch": "x", "layers": 3}), json.dumps({**good, "epoch": 2})]
    (tmp_path / "diagnosis.jsonl").write_text("".join(f"{line}\n" for line in lines))
    looks = history.looks(tmp_path)
    assert [look.epoch for look in looks] == [1.0, 2.0]
    assert len(gradients.over_time(looks).axes[1].get_lines()) == 1
    assert history.looks(tmp_path / "none") == []
    assert gradients.over_time([history.Look(1.0, [{}])]) is None


@pytest.mark.filterwarnings("error")
def test_a_gradient_that_is_zero_or_no_number_is_a_gap():
    (line,) = gradients.by_layer({"net": [0.0, math.nan, 0.5]}).axes[0].get_lines()
    assert np.isnan(line.get_ydata()).tolist() == [True, True, False]
    plots.png(gradients.by_layer({"net": [0.0, 0.0, 0.0]}))


@pytest.mark.usefixtures("few_frames")
def test_a_learned_function_has_a_film_too(tmp_path):
    gallery = made(train(tmp_path, "data=sine", "trainer.epochs=2"))
    assert gallery.notes == []
    assert names(gallery) == EVERY | {"regions.png", "film.gif", "weights_by_step", "regression.png", "residuals.png"}


@pytest.mark.usefixtures("unpainted")
def test_a_long_run_is_not_trained_again_unasked(moons):
    gallery = made(moons, seconds=0)
    assert names(gallery) == EVERY - WAY | CLASSES | {"regions.png"}
    assert "--replay" in gallery.notes[0]


@pytest.fixture
def copy(moons, tmp_path):
    return shutil.copytree(moons, tmp_path / "copy")


@pytest.mark.usefixtures("unpainted")
def test_without_a_checkpoint_the_logged_pictures_remain(copy):
    shutil.rmtree(copy / "checkpoints")
    gallery = made(copy)
    assert names(gallery) == {"curves.png", "schedule.png"}
    assert "no checkpoint" in gallery.notes[0]


@pytest.mark.usefixtures("unpainted")
def test_without_a_whole_configuration_the_curves_remain(copy):
    (copy / "config.yaml").write_text("data: [")
    gallery = made(copy)
    assert names(gallery) == {"curves.png", "schedule.png"}
    assert "config.yaml" in gallery.notes[0]


@pytest.mark.usefixtures("unpainted")
def test_a_checkpoint_of_another_net_is_a_note(copy):
    text = (copy / "config.yaml").read_text()
    (copy / "config.yaml").write_text(text.replace("- 16", "- 17"))
    gallery = made(copy)
    assert names(gallery) == {"curves.png", "schedule.png"}
    assert "does not fit" in gallery.notes[0]


@pytest.mark.usefixtures("unpainted")
def test_without_any_report_nothing_is_drawn_from_it(copy):
    (copy / "metrics.jsonl").write_text('{"step": 1')
    gallery = made(copy, seconds=0)
    assert "curves.png" not in names(gallery)
    assert "metrics.jsonl has no report that can be read" in gallery.notes[0]
    (copy / "metrics.jsonl").unlink()
    assert "nothing was logged" in made(copy, seconds=0).notes[0]


def test_odd_values_in_the_log_harm_no_other_picture(copy):
    row = {"step": 1, "epoch": 1, "train/loss": "1e999", "val/loss": [1], "train/lr": None, "val/accuracy": 5e300}
    (copy / "metrics.jsonl").write_text("[]\n3\n" + json.dumps(row) + "\n")
    assert "regions.png" in names(made(copy, seconds=0))


# -- the figures -----------------------------------------------------------------------------------------------


def test_curves_mark_the_best_epoch_and_pass_over_what_is_not_finite():
    rows = [
        {"step": 10 * i, "epoch": float(i), "train/loss": 2.0**-i, "val/loss": None if i == 2 else 1.5**-i}
        | {"val/accuracy": i / 10}
        for i in range(1, 9)
    ]
    loss, accuracy = training.curves(rows, metric="accuracy", best_step=60).axes
    assert [len(line.get_xdata()) for line in loss.get_lines()] == [8, 7, 2, 1]
    assert loss.get_yscale() == "log"
    assert list(accuracy.get_lines()[-1].get_xdata()) == [6.0]
    assert "60.0%" in accuracy.get_legend().get_texts()[-1].get_text()
    (only,) = training.curves(rows, metric="rmse").axes
    assert len(only.get_lines()) == 2


def test_first_layer_weights_are_images_where_the_inputs_are():
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    weight = weights.first_layer(net)
    tiles = weights.weights(weight, (1, 8, 8), outputs=[str(i) for i in range(10)])
    assert sum(bool(ax.images) for ax in tiles.axes) == 10
    assert len(weights.weights(weight, (64,)).axes) >= 10
    table = weights.weights(torch.randn(3, 4), (4,), inputs=list("abcd"), outputs=list("xyz"))
    assert [t.get_text() for t in table.axes[0].get_xticklabels()] == list("abcd")
    one = weights.weights(torch.randn(1, 2), (2,))  # a perceptron's
    one.canvas.draw()
    assert one.axes[0].get_yticks().tolist() == [0]
    assert one.axes[0].get_xticks().tolist() == [0, 1]
    assert weights.weights(torch.randn(16, 3, 5, 5), (3, 32, 32)) is not None
    assert weights.weights(torch.randn(16, 64, 3, 3), (64, 8, 8)) is None


def test_regions_of_scaled_columns_are_drawn_in_original_units():
    net = nn.Linear(2, 1)
    net.weight.data, net.bias.data = torch.tensor([[1.0, 0.0]]), torch.tensor([0.0])  # the boundary: x1 = 0
    x = torch.tensor([[-1.0, -1.0], [1.0, 1.0], [-1.0, 1.0], [1.0, -1.0]])
    scene = regions.Scene(
        x, torch.tensor([0, 1, 0, 0]), "binary", ("age", "height"), ((40.0, 10.0), (1.7, 0.1)), classes=("no", "yes")
    )
    (ax,) = regions.regions(net, scene).axes
    assert ax.get_xlabel() == "age"
    low, high = ax.get_xlim()
    assert low < 30 < 50 < high
    boundary = next(c for c in ax.collections if len(c.get_paths()) == 1 and len(c.get_paths()[0].vertices) > 50)
    assert np.allclose(boundary.get_paths()[0].vertices[:, 0], 40.0, atol=0.5)
    right, wrong = ax.collections[-2:]
    assert len(right.get_offsets()) == 3
    assert wrong.get_offsets().tolist() == [[50.0, pytest.approx(1.6)]]


def test_a_class_leads_by_what_it_is_above_all_others():
    outputs = torch.randn(50, 7).numpy()
    outputs[0] = 1  # all the same
    for k, margin in enumerate(regions._margins(outputs)):
        assert np.array_equal(margin, outputs[:, k] - np.delete(outputs, k, axis=1).max(1))


@pytest.mark.usefixtures("unpainted")
def test_regions_of_too_many_classes_are_not_drawn(tmp_path):
    gallery = made(train(tmp_path, "data=blobs", "data.classes=30", "trainer.max_steps=2"), seconds=0)
    assert "regions.png" not in names(gallery)
    assert "decision regions are not drawn of more than 20 classes or labels" in gallery.notes


def test_random_directions_are_as_long_as_the_rows_of_the_net():
    net = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Conv1d(5, 2, 3))
    first, second = landscape.random_directions(net)
    assert not torch.equal(first, second)
    start = 0
    for parameter in net.parameters():
        part = first[start : start + parameter.numel()].view_as(parameter)
        start += parameter.numel()
        if parameter.dim() > 1:
            assert torch.allclose(part.flatten(1).norm(dim=1), parameter.flatten(1).norm(dim=1), atol=1e-5)
        else:
            assert not part.any()


def test_the_surface_is_the_loss_at_each_place_and_leaves_the_net_as_it_was():
    net = nn.Linear(2, 1, bias=False)
    before = net.weight.detach().clone()
    directions = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    values = landscape.surface(net, lambda: float(net.weight[0, 0] + 10 * net.weight[0, 1]), directions, [0, 1], [0, 2])
    base = float(before[0, 0] + 10 * before[0, 1])
    assert np.allclose(values - base, [[0, 1], [20, 21]], atol=1e-5)
    assert torch.equal(net.weight, before)


def test_the_main_directions_hold_a_way_that_lies_in_a_plane():
    torch.manual_seed(1)
    one, two = torch.randn(2, 50)
    way = torch.stack([(a - 6) * one + (6 - a) ** 2 * two for a in range(7)])
    first, second, share = landscape.main_directions(way)
    assert share == pytest.approx(1)
    assert float(first @ second) == pytest.approx(0, abs=1e-4)
    steps = way - way[-1]
    assert torch.allclose((steps @ first)[:, None] * first + (steps @ second)[:, None] * second, steps, atol=1e-2)
    assert landscape.main_directions(torch.outer(torch.arange(5.0), one)) is None


def test_a_landscape_with_infinite_places_is_drawn():
    values = np.array([[1.0, 2.0, np.inf], [0.5, 0.1, np.nan], [1.0, 1.0, 1e30]])
    assert landscape.landscape(values, [0, 1, 2], [0, 1, 2], way=np.zeros((3, 2)))
    assert landscape.landscape(np.full((3, 3), 0.3), [0, 1, 2], [0, 1, 2])


# -- the words under them --------------------------------------------------------------------------------------


def rows_of(train, val):
    """Reports of a run: one loss of each part an epoch."""
    return [
        {"epoch": float(i), "step": 10 * i, "train/loss": t, "val/loss": v}
        for i, (t, v) in enumerate(zip(train, val, strict=True), start=1)
    ]


def told(train, val, *, same=False):
    return " ".join(captions.curves(rows_of(train, val), same=same, units=None, kept=True))


def test_learning_by_heart_is_told_of_a_run_that_does():
    healthy = told([1.0, 0.5, 0.3, 0.2], [1.1, 0.6, 0.4, 0.35])
    assert "by heart" not in healthy
    sick = told([1.0, 0.5, 0.3, 0.1], [1.1, 0.6, 0.7, 0.9])
    assert "From epoch 2 on the validation loss rises while the train loss falls" in sick
    assert "by heart" in sick
    assert "by heart" not in told([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])  # both rise: it breaks down
    falling = [1 / (1 + n) for n in range(100)]
    for seed in range(10):
        noise = np.random.default_rng(seed).normal(0, 0.1, 100)
        noisy = [0.5 + float(noise[n]) - (0.3 if n == 57 else 0.0) for n in range(100)]
        assert "by heart" not in told(falling, noisy)  # one lucky epoch is no turn
        assert "by heart" in told(falling, [value + 0.01 * max(0, n - 50) for n, value in enumerate(noisy)])


def caption(gallery, name):
    return next(picture.caption for picture in gallery.pictures if picture.name == name)


@pytest.mark.usefixtures("unpainted", "few_frames")
def test_one_row_is_one_curve_and_has_no_r2(tmp_path, monkeypatch):
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda ax, text, **kw: titles.append(text))
    gallery = made(train(tmp_path, "experiment=worked_example"))
    assert "there is one curve" in caption(gallery, "curves.png")
    assert "test, 1 row" in titles
    assert not any("nan" in title for title in titles)
    (loss,) = training.curves(rows_of([0.3, 0.2, 0.1], [0.25, 0.15, 0.1]), metric="loss", same=True).axes
    assert [line.get_label() for line in loss.get_lines()] == ["all rows"]
    assert "from the first weights to the last weights" in caption(gallery, "film.gif")
    assert "random" not in caption(gallery, "walk.png")  # they were typed


@pytest.mark.usefixtures("unpainted", "few_frames")
def test_pictures_say_which_weights_they_show(tmp_path):
    words = ["data.batch_size=2", "trainer.epochs=4", "trainer.monitor=val/accuracy"]
    folder = train(tmp_path, "experiment=perceptron_xor", *words)
    run = reading.read(folder)
    gallery = made(folder)
    best, last = run.numbers["best/step"], run.steps
    assert "from weights of zero to the last weights" in caption(gallery, "film.gif")
    assert "from weights of zero" in caption(gallery, "walk.png")
    assert "pale areas" not in caption(gallery, "regions.png")  # a perceptron has no probabilities
    titles = {picture.name: picture.title for picture in gallery.pictures}
    if best == last:
        assert "These are the last weights." in caption(gallery, "regions.png")
        assert titles["landscape.png"] == "The loss around the last weights"
    else:
        assert f"the best weights by val/accuracy, those of step {best:,.0f}" in caption(gallery, "regions.png")
        assert f"those of step {last:,}" in caption(gallery, "film.gif")
        assert titles["landscape.png"] == "The loss around the best weights"
    values = np.ones((3, 3))
    (label,) = [
        text.get_text()
        for text in landscape.landscape(values, [-1, 0, 1], [-1, 0, 1], star="best weights").axes[0].get_legend().texts
    ]
    assert label == "best weights"


def test_digits_are_as_bright_in_one_picture_as_in_another():
    """1 is white everywhere: among the worst answers as in a dream."""
    pixels = np.zeros((1, 8, 8), dtype=np.float32)
    pixels[0, 2:6, 3:5] = 1
    answer = {"true": "1", "predicted": "7"}
    result = {"split": "test", "rows": 1, "worst": [answer], "labels": []}
    from dltrain.insight.plots import evaluation

    fig = evaluation.parts({**result, "labels": []}, images=[pixels])["mistakes"]
    (shown,) = fig.axes[0].images
    assert shown.cmap(shown.norm(1.0))[:3] == (1.0, 1.0, 1.0)
    assert shown.cmap(shown.norm(0.0))[:3] == (0.0, 0.0, 0.0)


# -- the perceptron --------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("unpainted")
def test_a_perceptron_is_shown_mistake_by_mistake(tmp_path):
    folder = train(tmp_path, "experiment=perceptron_iris", "seed=4", "trainer.tensorboard=false")
    run = reading.read(folder)
    plan = make_plan(resuming.stored(folder), writes=False)
    found = perceptron.replayed(plan, steps=run.steps, most=1000, seconds=100)
    counts = [n for _, n in perceptron.counted(reading.read_log(folder))]
    assert counts == [9, 3, 3, 1, 1, 0]
    epochs = [(one.step - 1) // plan.steps_per_epoch for one in found]
    assert [epochs.count(epoch) for epoch in range(6)] == counts
    for one in found:  # the rule, and that it was for a mistake
        sign, (w, b), (now_w, now_b) = 2 * one.y - 1, one.before, one.after
        assert sign * (w @ one.x + b) <= 0
        torch.testing.assert_close(now_w, w + sign * one.x)
        assert now_b == b + sign
    _, weights, _ = checkpoint.latest(folder / "checkpoints")
    assert torch.equal(weights["layers.linear.weight"][0], found[-1].after[0])
    planned = pictures.planned(plan, run.steps)
    assert planned[0][-1] == run.steps - 1 < plan.total_steps - 1  # rates are drawn up to where it ended
    gallery = made(folder)
    assert "9, 3, 3, 1, 1, 0 an epoch, 17 in all" in caption(gallery, "mistakes_by_epoch.png")
    assert caption(gallery, "film.gif").startswith(
        "Each picture but the first and the last is a step that changed the weights."
    )
    assert "These are the last weights." in caption(gallery, "regions.png")
    film = Image.open(io.BytesIO(next(p.content for p in gallery.pictures if p.name == "film.gif")))
    assert film.n_frames <= len(found) + 2


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_the_arrow_of_a_perceptron_is_at_a_right_angle_to_its_border(scaling):
    """In the units of the axes, which have one scale."""
    data = sklearn_sets.iris(positive="setosa", scaling=scaling, features=["sepal length", "petal width"])
    names, units = pictures._axes(data)
    scene = regions.Scene(data.train.x, data.train.y, "binary", names, units, classes=data.classes, equal=True)
    w, b = torch.tensor([-1.0, 2.0]), 0.25
    foot, normal = perceptron_plots._border(scene, (w, b))
    mean, std = (torch.tensor(values, dtype=torch.float64) for values in zip(*units, strict=True))

    def f(point):
        return w.double() @ ((torch.tensor(point, dtype=torch.float64) - mean) / std) + b

    along = (foot[0] - 3 * normal[1], foot[1] + 3 * normal[0])
    assert [float(f(foot)), float(f(along))] == pytest.approx([0, 0], abs=1e-9)
    assert f((foot[0] + normal[0], foot[1] + normal[1])) > 0  # towards setosa
    figure = regions.regions(nn.Linear(2, 1), scene, also=perceptron_plots.arrow(scene, (w, b)))
    figure.draw_without_rendering()
    (ax,) = figure.axes
    across, up = (ax.transData.transform((k, 1 - k)) - ax.transData.transform((0, 0)) for k in (1, 0))
    assert np.abs(across).max() == pytest.approx(np.abs(up).max())


def test_weights_of_zero_have_no_border():
    scene = regions.Scene(torch.rand(5, 2), torch.tensor([0, 1, 0, 1, 1]), "binary", ("a", "b"), ((0.0, 1.0),) * 2)
    assert perceptron_plots._border(scene, (torch.zeros(2), 1.0)) is None
