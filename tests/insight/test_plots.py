"""The style of all pictures, and how they reach the disk."""

import subprocess
import sys
from io import BytesIO

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image

from dltrain.insight import plots
from dltrain.insight.plots import Figure, dreams, evaluation


def test_a_figure_is_saved_as_a_png_that_replaces_the_old_one(tmp_path):
    fig, (ax,) = plots.figure()
    ax.plot([1, 2, 3])
    path = plots.save(fig, tmp_path / "plots" / "line.png")
    first = path.read_bytes()
    assert first.startswith(b"\x89PNG\r\n\x1a\n")
    assert plots.save(fig, path).read_bytes() == first
    assert [p.name for p in path.parent.iterdir()] == ["line.png"]


def test_a_film_goes_from_figure_to_figure_and_ends_on_the_last():
    def figures():
        for high in (1, 2, 3):
            fig, (ax,) = plots.figure(height=1.0)
            ax.plot([0, high])
            yield fig

    film = Image.open(BytesIO(plots.gif(figures(), dpi=50, wait=100, last=700)))
    waits = []
    for number in range(film.n_frames):
        film.seek(number)
        waits.append(film.info["duration"])
    assert film.size == (plots.WIDTH * 50, 50)
    assert waits == [100, 100, 700]


def test_several_axes_come_row_by_row():
    for rows, columns in ((2, 3), (1, 2), (1, 1)):
        _, axes = plots.figure(rows, columns)
        places = [(ax.get_subplotspec().rowspan.start, ax.get_subplotspec().colspan.start) for ax in axes]
        assert places == [(row, column) for row in range(rows) for column in range(columns)]


def test_the_users_own_style_stays():
    before = {k: v for k, v in mpl.rcParams.items() if k != "backend"}  # which is chosen at first use
    fig, (ax,) = plots.figure()
    ax.plot([1, 2])
    plots.png(fig)
    assert {k: mpl.rcParams[k] for k in before} == before
    code = "import sys, dltrain.insight.plots; assert 'matplotlib.pyplot' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_folder_that_one_works_in_has_no_say(tmp_path):
    """Its matplotlibrc could have every word of a picture set by TeX, which is a program with files to read."""
    code = "import sys; from dltrain.insight import plots; plots.save(plots.figure()[0], plots.Path(sys.argv[1]))"
    pictures = []
    for name, content in (("a", None), ("b", "text.usetex: True\nfont.size: 30\naxes.facecolor: red\n")):
        (tmp_path / name).mkdir()
        if content:
            (tmp_path / name / "matplotlibrc").write_text(content)
        out = tmp_path / name / "x.png"
        subprocess.run([sys.executable, "-c", code, str(out)], check=True, cwd=tmp_path / name)
        pictures.append(out.read_bytes())
    assert pictures[0] == pictures[1]
    with mpl.rc_context({"text.usetex": True}):
        fig, (ax,) = plots.figure()
        ax.set_title("_")
        plots.png(fig)


def test_colours_of_many_classes_differ():
    for n in (2, 10, 30):
        assert len({str(c) for c in plots.colours(n)}) == n


def test_a_dollar_in_the_users_words_starts_no_formula():
    fig, (ax,) = plots.figure()
    for text in ("$", "$x$", r"$\bad$", "a_b^c", "{", "é…"):
        ax.set_title(plots.plain(text))
        fig.canvas.draw()
    assert plots.plain("x" * 50, 10) == "x" * 9 + "…"


def test_images_are_as_bright_in_a_dream_as_among_the_worst_answers():
    """Ink, which is the large number of a digit, is white in both."""
    pixels = np.zeros((1, 8, 8), np.float32)
    pixels[0, 2, 3] = 1.0
    result = {"worst": [{"true": "3", "predicted": "5"}]}
    drawn = [dreams.images([("3", torch.from_numpy(pixels))] * 3, descent=([2.0, 1.0], [0.1, 0.2])), Figure()]
    evaluation._images(drawn[1], result, [pixels])
    for figure in drawn:
        shown = figure.axes[0].images[0]
        colours = shown.to_rgba(shown.get_array())
        assert (colours[2, 3, :3] == 1).all()
        assert (colours[0, 0, :3] == 0).all()


def test_numbers_in_a_unit_have_labels_that_a_person_reads():
    """Targets of five decades are not ten dots and a heap, and no label is 22000 or runs into the next."""
    ax = Figure().subplots()
    plots.measured(ax.xaxis, np.logspace(0, 5, 50), ax.set_xscale)
    assert ax.get_xscale() == "symlog"
    plots.measured(ax.yaxis, np.linspace(-54_000, 28_000, 50), ax.set_yscale)
    assert (ax.get_yscale(), ax.yaxis.get_major_formatter()(20_000, 0)) == ("linear", "20,000")
    assert len(ax.yaxis.get_major_locator().tick_values(-54_000, 28_000)) <= 8
    assert [plots.number("rmse", value) for value in (0.25, 10_236)] == ["0.25", "10,236"]
