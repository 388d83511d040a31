"""A valley is the loss that the run had, and the ways down it are the run's own."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from dltrain.config import named
from dltrain.course import changes, lab, looks, valley
from dltrain.course.chapters import optimizers
from dltrain.course.plots import race
from dltrain.course.plots import valley as plots


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    words = "dltrain experiment=cost_of_steps data.n=500 data.batch_size=full trainer.max_steps=8"
    more = [f"runs_dir={tmp_path_factory.mktemp('valley')}", "trainer.tensorboard=false"]
    return lab.do(changes.changed(words, more))


def test_a_valley_is_the_loss_of_the_run_over_weight_and_bias(run):
    where, way = valley.of(run), valley.walk(run)
    assert way.shape == (9, 2)
    assert where.loss(way[-1]) == pytest.approx(run.metrics["train/loss"], rel=1e-5)
    assert where.loss(where.lowest) == where.least
    assert all(where.loss(where.lowest + off) > where.least for off in ([0.1, 0], [0, 0.1], [-0.1, 0.1]))
    steps = np.diff(way, axis=0)
    slopes = 2 * (way[:-1] - where.lowest) @ where.second
    assert np.allclose(steps, -0.1 * slopes, atol=1e-5)  # plain descent along the exact gradient
    assert where.condition > 5
    assert looks.plan(run).data.train.x.mean() == pytest.approx(1, abs=0.2)


def test_a_film_has_a_frame_for_each_moment_and_every_colour(run):
    where, way = valley.of(run), valley.walk(run)
    moments = [(f"{count} steps", [count, count // 2]) for count in range(9)]
    film = Image.open(BytesIO(plots.film(where, {"one": way, "other": way + 0.2}, moments)))
    assert film.n_frames == 9
    frames = []
    for frame in (0, 8):
        film.seek(frame)
        frames.append(np.asarray(film.convert("RGB")).astype(int))
    assert (frames[0] != frames[1]).any()
    for colour in ((0, 114, 178), (213, 94, 0)):
        assert all((np.abs(frame - colour).max(-1) < 12).sum() > 20 for frame in frames)


def test_descend_is_the_optimizer_of_the_file_and_counts_each_gradient(run):
    where, way = valley.of(run), valley.walk(run)
    part = named.part("optimizer", "sgd")
    again = valley.descend(where, way[0], part, gradients=9)
    assert np.allclose(again, way, atol=1e-5)  # as the run went, at the same rate of 0.1
    lbfgs = valley.descend(where, way[0], named.part("optimizer", "lbfgs"), gradients=30)
    assert lbfgs.shape == (30, 2)
    assert np.allclose(lbfgs[-1], where.lowest, atol=1e-4)
    assert optimizers.arrived(where, lbfgs) < optimizers.arrived(
        where, valley.descend(where, way[0], part, gradients=99)
    )
    assert optimizers.arrived(where, way[:1]) == float("inf")


def test_each_optimizer_has_its_own_share_of_what_it_keeps():
    shares = {
        name: {share for _, share in optimizers._settings(named.part("optimizer", name))}
        for family in optimizers._FAMILIES
        for name in family
    }
    assert shares["sgd"] == shares["lbfgs"] == shares["adagrad"] == {None}
    assert shares["momentum"] == shares["adam"] == shares["adadelta"] == {0.5, 0.9}
    assert shares["rmsprop"] == {0.5, 0.99}


def test_losses_stand_at_their_rates_and_what_was_not_tried_is_empty():
    figure = race.rates({"adam": {0.1: 0.3, 1.0: 20.0}, "lbfgs": {1.0: 2.0}})
    (ax,) = figure.axes
    assert [text.get_text() for text in ax.texts] == ["0.30", "> 10", "2.00"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["adam", "lbfgs"]
    assert len(ax.patches) == 1  # the best of what was tried everywhere
