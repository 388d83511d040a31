"""Weights on the way of a training, under a slider: each pixel and each number is that of its moment."""

import base64
import html
import io
import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.insight import moments, weight_pictures, weights_by_step
from dltrain.training import replay


def trained(*overrides, steps=40, count=5):
    plan = make_plan(compose.compose([*overrides]), ())
    way = replay.replay(plan, steps=steps, wanted=replay.moments(steps, count), seconds=60)
    net = build.make_model(plan)
    net.load_state_dict(way.weights[-1])
    return plan, net, way


def sprites(text):
    """The images of a slider as RGBA, moments [N, H, W, 4] each, and what stands above them."""
    found = []
    for tall, data in re.findall(r'viewBox="0 0 \d+ (\d+)".*?base64,([^"]*)"', text):
        pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGBA"))
        found.append(pixels.reshape(-1, int(tall), *pixels.shape[1:]))
    return found, re.findall('<p class="what">([^<]*)</p>', text)


def strengths(pixels):
    """What a pixel says, from -1 to 1: red above zero, blue below."""
    return np.where(pixels[..., 0] > pixels[..., 2], 1, -1) * pixels[..., 3] / 255.0


def test_every_pixel_is_a_weight_of_its_moment():
    plan, net, way = trained("data=moons", "model.widths=[40]", "optimizer.lr=0.3")
    text = weights_by_step.of_layers(plan, net, way)
    (first, second), told = sprites(text)
    assert json.loads(html.unescape(re.search('data-names="([^"]*)"', text)[1]))[-1] == "step 40, epoch 1.82"
    assert [line.partition(";")[0] for line in told] == [
        "linear1: 40 units across, 2 inputs down",
        "linear2: 40 inputs across, 1 unit down",
    ]
    for pixels, name, turned in ((first, "layers.linear1.weight", True), (second, "layers.linear2.weight", False)):
        values = torch.stack([state[name].T if turned else state[name] for state in way.weights]).numpy()
        assert strengths(pixels) == pytest.approx(np.clip(values / np.abs(values).max(), -1, 1), abs=0.03)
        assert not np.allclose(strengths(pixels)[0], strengths(pixels)[-1], atol=0.1)
    assert 'y="-8" data-height="2"' in text  # without a script the last of the five moments is seen
    assert f"full colour at {torch.stack([s['layers.linear1.weight'] for s in way.weights]).abs().max():.2g}" in told[0]


def test_units_that_look_at_images_are_pictures():
    plan, net, way = trained("data=digits", "model.widths=[70]", steps=4, count=3)
    (first, _), told = sprites(weights_by_step.of_layers(plan, net, way))
    assert told[0].startswith("linear1: the 64 largest of 70 units, each over 8 x 8 inputs; full colour at ")
    assert first.shape[:3] == (3, 71, 71)
    weight = net.layers.linear1.weight.detach()
    unit = weight.norm(dim=1).argsort(descending=True)[:64].min()  # the first that is shown
    assert np.corrcoef(strengths(first)[-1, :8, :8].ravel(), weight[unit].numpy())[0, 1] > 0.95


def test_filters_of_a_convolution_are_pictures_too():
    plan = make_plan(compose.compose(["data=digits"]), ())
    net = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3), nn.Flatten(), nn.Linear(32, 10))
    way = replay.Way((0, 1), (net.state_dict(), net.state_dict()))
    (first, *others), told = sprites(weights_by_step.of_layers(plan, net, way))
    assert [line.partition(";")[0] for line in told] == [
        "0: 6 units, each over 3 x 3 inputs",
        "2: 54 inputs across, 2 units down",
        "4: 32 inputs across, 10 units down",
    ]
    assert first.shape[:3] == (2, 7, 15)
    assert [pixels.shape[1:3] for pixels in others] == [(2, 54), (10, 32)]


def test_a_film_of_weights_stays_small():
    units, told = weights_by_step._largest(torch.randn(24, 300, 1, 28, 28), weights_by_step._MOST)
    assert told == "the 16 largest of 300 units, each over 28 x 28 inputs"
    assert len(moments.pixels(weights_by_step._tiles(units), "x.")) < 400_000


def test_colours_of_three_channels_and_gaps():
    made = weights_by_step._tiles(torch.tensor([1.0, -1.0, 0.0]).view(1, 1, 3, 1, 1).expand(2, 5, 3, 1, 1))
    assert made.shape == (2, 3, 7, 3)
    (pixels,), _ = sprites(moments.pixels(made, "x."))
    assert pixels[0, 0, 0].tolist() == [255, 0, 128, 255]
    assert pixels[0, 0, 1, 3] == pixels[0, 1, 0, 3] == 0


def test_numbers_of_a_small_net_move_too():
    plan, net, way = trained("data=iris", "model=linear")
    found = weight_pictures.in_numbers(plan, net, way)
    assert found.names == [weights_by_step.when(plan, step) for step in way.steps]
    assert found.way[-1] == found.tables
    assert found.way[0][0].rows[0][1] == f"{way.weights[0]['layers.linear.weight'][0, 0]:.4g}"
    text = weight_pictures.moving(found)
    (cells,) = [json.loads(html.unescape(m)) for m in re.findall('data-moves="([^"]*)"', text)]
    texts, shares = cells[-1]
    assert texts == [cell for row in found.tables[0].rows for cell in row[1:]]
    biggest = max(abs(float(cell)) for moment, _ in cells for cell in moment)
    assert shares == [round(100 * float(text) / biggest) for text in texts]
    best = weight_pictures.in_numbers(plan, net, way, "the best weights, step 7")
    assert (best.names[-1], len(best.way)) == ("the best weights, step 7", len(way.steps) + 1)


def test_weights_that_are_no_numbers_have_no_colour():
    plan, net, way = trained("data=iris", "model=linear", steps=2, count=2)
    for state in way.weights:
        state["layers.linear.weight"].fill_(float("nan"))
    assert "nan" in weight_pictures.moving(weight_pictures.in_numbers(plan, net, way))
    (pixels,), _ = sprites(weights_by_step.of_layers(plan, net, way))
    assert not pixels[..., 3].any()
