"""What a run has learned, as its weights show it: counts and numbers are those of the checkpoint."""

import re

import pytest
import torch

from dltrain.commands import cli
from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.insight import captions, pictures, report, weight_pictures
from dltrain.insight.plots import gradients, weights
from dltrain.runs import reading
from dltrain.trained.whole_run import load

_NORM = [["norm1.weight", "1", "2"], ["norm1.bias", "1", "2"]]


@pytest.mark.usefixtures("unpainted")
def test_a_run_shows_its_weights_by_size_its_clipped_gradients_and_its_numbers(tmp_path, monkeypatch):
    words = ["data=iris", "model=linear", "trainer.epochs=3", "regularisation.l1=0.1", "regularisation.clip_norm=0.2"]
    with pytest.raises(SystemExit):
        cli.main([*words, "trainer.report_every=0.5", f"runs_dir={tmp_path}"])
    (run,) = map(reading.read, tmp_path.glob("*/*"))
    state = load(run.folder).model.state_dict()
    drawn = {}
    monkeypatch.setattr(gradients, "clipped", lambda *given: drawn.setdefault("clipped", given) and None)
    monkeypatch.setattr(weights, "sizes", lambda *given: drawn.setdefault("sizes", given) and None)
    gallery = pictures.of_run(run, allow=[], seconds=0)
    nets, zero = drawn["sizes"]
    assert sorted(nets["learned"].tolist()) == sorted(state["layers.linear.weight"].flatten().tolist())
    assert zero == 0.001
    logged = [row for row in reading.read_log(run.folder) if "train/grad_norm" in row]
    steps, norms, most = drawn["clipped"]
    assert (steps.tolist(), most) == ([row["step"] for row in logged], 0.2)
    assert norms.tolist() == [row["train/grad_norm"] for row in logged]

    about, (table,), *_ = gallery.numbers
    assert about.endswith("Inputs are as the net gets them (data.scaling=standard).")
    assert table.titles == ["linear", "setosa", "versicolor", "virginica"]
    names = ["sepal length (cm)", "sepal width (cm)", "petal length (cm)", "petal width (cm)", "bias"]
    wanted = torch.cat([state["layers.linear.weight"], state["layers.linear.bias"][:, None]], dim=1).T
    assert table.rows == [[n, *(f"{v + 0.0:.4g}" for v in row)] for n, row in zip(names, wanted.tolist(), strict=True)]
    monkeypatch.setattr(pictures, "of_run", lambda *_, **__: gallery)
    page = report.run_page(run, allow=[], seconds=0)
    assert re.search("The (best|last) weights, in numbers", page)
    assert f"<td>{table.rows[0][1]}</td>" in page


def test_captions_of_weights_and_gradients_count():
    plan = make_plan(compose.compose(["data=iris", "model=linear", "regularisation.l2=0.5"]), ())
    net = build.make_model(plan)
    with torch.no_grad():
        net.layers.linear.weight[0] = 0.0005
    caption, _ = weight_pictures.by_size(plan, net, None)
    assert "All 12 weights that L2 (l2=0.5) acts on, from the largest to the smallest; 4 of them" in caption
    _, caption = captions.clipped([0.1, 3.0, 1.0], 1.0)
    assert "1 of these 3 were cut to clip_norm=1." in caption


@pytest.mark.parametrize(
    ("overrides", "titles"),
    [
        (["data=linear", "model=linear"], [["linear", "y"]]),
        (
            ["data=xor", "model.widths=[2]", "model.norm=batch"],
            [["linear1", "unit 1", "unit 2"], *_NORM, ["linear2", "unit 1"]],
        ),
        (["data=digits", "model=linear"], None),
    ],
)
def test_the_tables_of_a_small_net_name_its_units(overrides, titles):
    plan = make_plan(compose.compose(overrides), ())
    found = weight_pictures.in_numbers(plan, build.make_model(plan))
    assert (found and [table.titles for table in found[1]]) == titles


def test_what_is_drawn_has_an_axis_for_it():
    figure = weights.sizes({"at first": torch.rand(9000).numpy(), "learned": torch.zeros(9000).numpy()}, 0.001)
    first, learned = figure.axes[0].get_lines()
    assert len(first.get_xdata()) == 4000
    assert first.get_xdata()[[0, -1]].tolist() == [1, 9000]
    assert learned.get_label() == "learned: 9,000 below 0.001"
    norms = torch.tensor([0.5, 3.0]).numpy()
    _, after, bound = gradients.clipped(norms, norms, 1.0).axes[0].get_lines()
    assert after.get_ydata().tolist() == [0.5, 1.0]
    assert bound.get_ydata() == [1.0, 1.0]
