"""Figures as SVG: what a page's script reads from them, and letters of every script."""

import base64
import io
import json
import re
import xml.etree.ElementTree as ET
from itertools import combinations

import numpy as np
import pytest
import torch
from PIL import Image

from dltrain.insight import page, plots
from dltrain.insight.plots import comparison, fonts, landscape, seen, training, vector, weights

REPORTS = [
    {
        "step": 10 * k,
        "epoch": float(k),
        "train/loss": 1 / k,
        "val/loss": 1.2 / k + 0.01,
        "val/accuracy": 1 - 1 / (k + 1),
    }
    for k in range(1, 31)
]
NASTY = "</script></title><img src=x onerror=alert(1)>\"'&"


def drawn():
    return training.curves(REPORTS, metric="accuracy", best_step=200)


@pytest.fixture(scope="module")
def curves():
    return drawn()


def read(figure):
    text = vector.svg(figure)
    return text, ET.fromstring(text)


def numbers(panel, group):
    """The points of a curve as a page's script reads them."""
    places = [(letter, json.loads(panel.get(f"data-{letter}"))) for letter in "xy"]
    steps = re.findall(r"[ML] ([-\d.]+) ([-\d.]+)", group.find(".//path").get("d"))
    found = []
    for at, (_, axis) in zip(np.array(steps, dtype=float).T, places, strict=True):
        ends = np.log10(axis["of"]) if axis["log"] else np.array(axis["of"])
        values = ends[0] + (at - axis["at"][0]) / (axis["at"][1] - axis["at"][0]) * (ends[1] - ends[0])
        found.append(10**values if axis["log"] else values)
    return found


def test_its_lines_are_its_data_and_axes_say_which(curves):
    _, root = read(curves)
    loss, accuracy = (panel for panel in root.iter() if panel.get("data-x"))
    assert json.loads(loss.get("data-x"))["label"] == json.loads(accuracy.get("data-x"))["label"] == "epoch"
    assert json.loads(loss.get("data-y"))["log"]
    assert json.loads(accuracy.get("data-y"))["share"]
    groups = {
        (panel is loss, g.get("data-name")): g for panel in (loss, accuracy) for g in panel.iter() if g.get("data-name")
    }
    epochs, losses = numbers(loss, groups[True, "validation"])
    assert np.allclose(epochs, range(1, 31), atol=1e-3)
    assert np.allclose(losses, [r["val/loss"] for r in REPORTS], rtol=1e-3)
    assert np.allclose(
        numbers(accuracy, groups[False, "validation"])[1], [r["val/accuracy"] for r in REPORTS], atol=1e-4
    )
    assert {e.get("data-entry") for e in root.iter()} >= {"validation", "train (mean over the epoch)"}
    assert groups[True, "validation"].find("title").text == "validation"
    assert vector.svg(drawn()) == vector.svg(drawn())


def test_it_is_light_its_inks_have_names_and_its_ids_are_its_own(curves):
    text, root = read(curves)
    assert len(text) < 25_000
    assert not set(re.findall(r"#[0-9a-f]{6}\b", text))
    assert "font-family" not in text
    ids = [e.get("id") for e in root.iter() if e.get("id")]
    fig, (ax,) = plots.figure()
    ax.plot([1, 2], label="a")
    others = [e.get("id") for e in read(fig)[1].iter() if e.get("id")]
    assert ids
    assert not {*ids} & {*others}
    used = {m for e in root.iter() for v in e.attrib.values() for m in re.findall(r"(?:^|url\()#([\w-]+)", v)}
    assert used == {*ids}


def test_names_are_text_whatever_they_say():
    fig, (ax,) = plots.figure()
    dots = ax.plot([1, 2, 3], "o", label=NASTY)[0]
    vector.name(dots, "all", [NASTY, "\x1b[0m", "$a$"])
    ax.bar([5, 6], [1, 2], label=f"{NASTY}2")
    ax.set_title(plots.plain(f"\x00{NASTY}", 80))
    _, root = read(fig)
    assert {e.tag for e in root.iter()} <= {
        "svg",
        "g",
        "defs",
        "path",
        "use",
        "text",
        "tspan",
        "title",
        "clipPath",
        "rect",
    }
    assert json.loads(root.get("data-sets")) == [[NASTY, "\\u001b[0m", "$a$"]]
    assert f"\\u0000{NASTY}" in [e.text for e in root.iter("text")]
    assert f"{NASTY}2, 6: 2" in [e.text for e in root.iter("title")]


def test_letters_that_no_font_has_are_spelled_in_pixels_and_left_to_a_browser_in_svg(monkeypatch):
    monkeypatch.setattr(fonts, "families", lambda: ["DejaVu Sans"])
    fonts._is_drawn.cache_clear()
    assert fonts.legible("é ш 中 🧠") == r"é ш \u4e2d \U0001f9e0"
    assert fonts.as_wide("é中") == "éW"
    fig, (ax,) = plots.figure()
    ax.plot([1, 2], label="类别")
    ax.set_yticks([1, 2], ["中文", "é"])
    ax.legend()
    plots.png(fig)  # a warning would be an error
    assert {"类别", "中文", "é"} <= {e.text for e in read(fig)[1].iter("text")}
    fonts._is_drawn.cache_clear()


def test_numbers_at_an_axis_are_text():
    fig, (ax,) = plots.figure()
    ax.plot([1, 2], [1e-4, 10])
    ax.set_yscale("log")
    words = [e.text for e in read(fig)[1].iter("text")]
    assert "10⁻³" in words
    assert not list(read(fig)[1].iter("tspan"))


def test_what_is_seen_is_said_in_numbers(curves):
    assert seen.seen(curves) == (
        "loss: train (mean over the epoch) from 1 to 0.0333; validation from 1.21 to 0.05. "
        "accuracy over epoch: validation from 50.0% to 96.8%."
    )
    fig, (ax,) = plots.figure()
    ax.barh([0, 1], [3, 5])
    ax.set_yticks([0, 1], ["a", "b"])
    assert seen.seen(fig) == "2 bars, the largest, b 5."
    tiles = weights.weights(torch.ones(12, 64), (1, 8, 8))
    assert seen.seen(tiles) == "12 images of 8 by 8 pixels."
    assert seen.seen(weights.weights(torch.ones(12, 2), (2,), inputs="ab")) == "A map of 12 by 2."
    at = np.linspace(-1, 1, 5)
    hills = landscape.landscape(1 + at[None] ** 2 + at[:, None] ** 2, at, at)
    assert seen.seen(hills) == "A map of second direction over first direction, with values from 1 to 3."


def test_maps_are_pixels_on_nothing_below_words_in_the_inks_of_the_page():
    fig, (map_, curve) = plots.figure(1, 2)
    drawn = map_.contourf([[1, 2], [3, 4]])
    map_.plot([0, 1], [0, 1], "o", color=plots.INK, label="way")
    map_.set(xlabel="first", title="a map")
    map_.legend()
    fig.colorbar(drawn, ax=map_, label="loss")
    curve.plot([1, 2], [3, 4], label="curve")
    text, root = read(fig)
    assert all(own.get_visible() for own in (map_.xaxis, map_.patch, *map_.lines, *map_.collections, curve, fig.patch))
    (image,) = root.iter("image")
    assert root[0] is image  # below all else
    pixels = Image.open(io.BytesIO(base64.b64decode(image.get("href").removeprefix("data:image/png;base64,"))))
    assert pixels.mode == "RGBA"
    assert pixels.getextrema()[3] == (0, 255)  # nothing between the map and its scale
    width, height = (float(value) for value in root.get("viewBox").split()[2:])
    assert float(image.get("x")) + float(image.get("width")) <= width * 0.62  # the curve is none of them
    assert float(image.get("y")) + float(image.get("height")) <= height
    assert {"first", "a map", "loss", "way"} <= {e.text for e in root.iter("text")}
    assert [e.get("data-name") for e in root.iter("g") if e.get("data-name")] == ["curve"]
    assert "var(--paper)" not in re.search(r"<g data-x.*?</g>", text)[0]  # no ground over the map


# -- colours -----------------------------------------------------------------------------------------------------

VISIONS = {  # Machado, Oliveira & Fernandes 2009, of linear RGB, in full strength
    "usual": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
SHEET = page._CSS.partition("@media screen")
BASE = {"light": SHEET[0], "dark": SHEET[2].partition("} }")[0]}


def inks(mode):
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", BASE[mode]))


def linear(colour):
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIELAB of linear RGB, under D65."""
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = to_xyz @ rgb.clip(0, 1) / [0.9505, 1, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(one, other):
    """As WCAG 2 has it."""
    light = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) + 0.05 for c in (one, other))
    return light[1] / light[0]


@pytest.mark.parametrize("mode", BASE)
@pytest.mark.parametrize("vision", VISIONS)
def test_seven_curves_can_be_told_apart_with_any_colour_vision(vision, mode):
    colours = [inks(mode)[f"c{k}"] for k in range(7)]
    if mode == "light":
        assert tuple(colours) == plots.COLOURS[:7]
    seen_as = [lab(np.array(VISIONS[vision]) @ linear(colour)) for colour in colours]
    apart = [np.linalg.norm(a - b) for a, b in combinations(seen_as, 2)]
    assert min(apart) > 12  # 2.3 is just noticeable


@pytest.mark.parametrize("mode", BASE)
def test_words_stand_out_from_what_is_behind_them(mode):
    own = inks(mode)
    assert (
        min(contrast(own[ink], own[back]) for ink in ("ink", "soft", "faint", "link") for back in ("paper", "box"))
        > 4.5
    )
    assert min(contrast(own["ink"], own[back]) for back in ("good", "bad")) > 4.5


def test_a_band_belongs_to_its_curve():
    runs = [[{**report, "val/accuracy": report["val/accuracy"] - k / 50} for report in REPORTS] for k in range(3)]
    _, root = read(comparison.curves([("A $", runs), ("B", runs[:1])], metric="accuracy"))
    bands = [element.get("data-band") for element in root.iter() if element.get("data-band")]
    assert bands == ["A $", "A $"]  # of the metric and of the loss
    assert {"A $", "B"} <= {element.get("data-name") for element in root.iter()}
