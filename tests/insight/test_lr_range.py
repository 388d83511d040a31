"""The learning rate range test: it finds a rate that trains, and leaves nothing but its picture."""

import pytest
import torch

from dltrain.commands import cli
from dltrain.config import build, compose
from dltrain.config.plan import make_plan
from dltrain.engine.trainer import seed_everything
from dltrain.errors import DivergedError
from dltrain.insight import lr_range
from dltrain.insight.plots.lr_range import draw


def plan(tmp_path, *overrides):
    composed = compose.compose([f"runs_dir={tmp_path / 'runs'}", "trainer.epochs=10", *overrides])
    assert composed.mistakes == ()
    return make_plan(composed)


def final_loss(made):
    """The training loss at the end of a run; infinite where it diverged."""
    build.set_threads_and_determinism(made)
    seed_everything(made.seed)
    trainer = build.make_trainer(made)
    train, loaders = build.make_loaders(made)
    try:
        for _ in trainer.fit(train, steps=made.total_steps):
            pass
    except DivergedError:
        return float("inf")
    return build.make_evaluate(made)(trainer.model, loaders["train"])["loss"]


CASES = [
    ["data=digits"],
    ["data=digits", "optimizer=momentum"],
    ["data=moons", "optimizer=adam"],
    ["data=breast_cancer", "optimizer=nesterov", "scheduler=constant"],
]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
@pytest.mark.parametrize("seed", [1, 2])
def test_the_suggestion_trains_and_the_edge_is_too_much(case, seed, tmp_path):
    curve = lr_range.measure(plan(tmp_path, *case, f"seed={seed}"))
    assert curve.lowest < 0.8 * curve.start
    losses = [
        final_loss(plan(tmp_path, *case, f"seed={seed}", f"optimizer.lr={rate}"))
        for rate in (curve.suggested / 100, curve.suggested, 10 * curve.edge)
    ]
    assert losses[1] < losses[0]
    assert losses[1] < losses[2]


def test_the_rate_rises_by_the_same_factor_from_end_to_end(tmp_path):
    curve = lr_range.measure(plan(tmp_path, "data=iris"), low=1e-6, high=1e-2, steps=41)
    assert curve.rates[0] == 1e-6
    assert curve.rates[-1] == pytest.approx(1e-2)
    assert curve.rates[10] == pytest.approx(1e-5)
    assert len(curve.losses) == len(curve.smooth) == 41
    assert curve.edge is None


def test_it_ends_where_the_loss_explodes(tmp_path):
    curve = lr_range.measure(plan(tmp_path, "data=linear", "model=linear", "optimizer=sgd"))
    assert len(curve.losses) < lr_range.STEPS
    assert curve.suggested < curve.edge


def test_a_loss_that_falls_at_no_rate_gets_no_suggestion(tmp_path):
    made = plan(tmp_path, "data=moons", "model.activation=sign", "optimizer=sgd", "data.batch_size=full")
    made.parts["model"].arguments["init"] = "zeros"  # every output stays 0, but for the last bias
    made.data.train.y.copy_(torch.arange(len(made.data.train)) % 2)  # which has nothing to learn from equal shares
    curve = lr_range.measure(made)
    assert curve.suggested is None or curve.flat
    assert ("nothing" if curve.suggested is None else "is a guess") in lr_range.describe(made, curve, tmp_path)


def test_the_command_prints_what_to_type_and_leaves_only_the_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["lr", "data=iris", "optimizer.lr=0.5", "data.batch_size=8"])
    out = capsys.readouterr().out
    assert stop.value.code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["lr_range.png"]
    assert (tmp_path / "lr_range.png").read_bytes().startswith(b"\x89PNG")
    (typed,) = [line for line in out.splitlines() if line.startswith("try")]
    assert typed.split()[1:] == ["dltrain", "data=iris", "data.batch_size=8", typed.split()[-1]]
    assert typed.split()[-1].startswith("optimizer.lr=0.")


def test_a_picture_that_cannot_be_written_is_an_error_of_storage(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as stop:
        cli.main(["lr", "data=iris", "-o", "taken/x.png"])
    assert stop.value.code == 7
    assert "name another with -o FILE" in capsys.readouterr().err


def test_mistakes_are_told_as_for_a_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        cli.main(["lr", "data=iris", "optimizer.lrr=1"])
    assert stop.value.code == 2
    assert "did you mean `optimizer.lr`?" in capsys.readouterr().err


def test_a_loss_that_is_zero_at_first_gets_a_picture_and_a_sentence(tmp_path):
    """The perceptron's: from weights of zero every rate makes the same decisions."""
    made = plan(tmp_path, "experiment=perceptron_xor")
    curve = lr_range.measure(made)
    text = lr_range.describe(made, curve, tmp_path)
    assert "0 at first, and never below it" in text
    assert "still below" not in text
    assert "the loss has no scale" in text
    figure = draw(curve.rates, curve.losses, curve.smooth, curve.start, curve.edge, curve.suggested)
    low, high = figure.axes[0].get_ylim()
    assert low < min(curve.smooth) <= max(curve.smooth) < high
