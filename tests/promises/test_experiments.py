"""Every experiment is documented, is planned without a mistake and runs; those of the course show what they claim."""

import re

import pytest
import torch

from dltrain.config import build, choices, compose
from dltrain.config.plan import make_plan
from dltrain.runs import checkpoint, run_folder
from dltrain.training import experiment

EXPERIMENTS = {choice.name: choice for choice in choices.choices("experiment")}


@pytest.fixture
def plan(tmp_path, request):
    """A function that plans an experiment with further overrides."""

    def make(name, *overrides):
        typed = [f"experiment={name}", f"runs_dir={tmp_path}", "trainer.tensorboard=false", *overrides]
        source = {
            "mnist_mlp": "mnist",
            "california_linear": "california_housing",
            "california_mlp": "california_housing",
        }
        if name in source:
            typed.append(f"data.root={request.getfixturevalue('shared_data') / source[name]}")
        composed = compose.compose(typed)
        assert composed.mistakes == ()
        return make_plan(composed)

    return make


def run(plan):
    """The summary of a run, and the network with its best weights."""
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    summary = experiment.train(plan, folder)
    weights, _ = checkpoint.load(checkpoint.find(folder / "checkpoints", "best")[0])
    model = plan.parts["model"](**plan.sizes)
    model.load_state_dict(weights)
    return summary, model.eval()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_opens_with_command_hardware_time_and_result(name):
    lines = EXPERIMENTS[name].path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# @package _global_"
    assert EXPERIMENTS[name].explanation.endswith(".")
    header = "\n".join(line for line in lines[2:] if line.startswith("#"))
    assert f"experiment={name}" in header
    assert "CPU" in header
    assert "seeds" in header
    assert re.search(r"\+-|\( *\d+ to +\d+\)|between [\d.]+ and [\d.]+", header)  # how far the seeds lie apart


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_it_runs(name, plan):
    small = ["data.limit=2000", "data.val=500"] if name == "mnist_mlp" else []
    made = plan(name, "trainer.fast_dev_run=true", *small)
    assert made.name == name
    summary, _ = run(made)
    assert summary["status"] == "done"
    assert set(summary["test"]) >= {"loss", "rmse" if made.data.task == "regression" else "accuracy"}


def test_the_perceptron_separates_setosa(plan):
    summary, _ = run(plan("perceptron_iris"))
    assert summary["train"] == summary["test"]
    assert summary["test"] == {name: float(name != "loss") for name in summary["test"]}
    assert summary["status"] == "early_stopped"  # after the epoch without a mistake, whose weights are the last ones
    assert summary["best"]["step"] == summary["steps"] == 714


def test_the_perceptron_fails_on_xor_and_a_hidden_layer_solves_it(plan):
    summary, _ = run(plan("perceptron_xor", "trainer.epochs=3"))
    assert summary["train"]["accuracy"] <= 0.8
    assert summary["test"]["accuracy"] <= 0.8
    summary, _ = run(plan("mlp_xor"))
    assert summary["train"]["accuracy"] == summary["test"]["accuracy"] == 1.0


def test_labels_are_kept_where_their_probabilities_are_best_and_not_where_few_rows_happen_to_be_right(plan):
    summary, _ = run(plan("multilabel_bce"))
    assert summary["best"]["epoch"] > 20
    assert summary["test"]["loss"] == pytest.approx(0.099, abs=0.01)


def test_two_linear_layers_are_one(plan):
    made = plan("two_linear_layers", "trainer.epochs=10")
    _, model = run(made)
    first, last = model.double().layers.linear1, model.layers.linear2
    weight, bias = last.weight @ first.weight, last.weight @ first.bias + last.bias
    x = made.data.test.x.double()
    torch.testing.assert_close(model(x), x @ weight.T + bias, rtol=1e-12, atol=1e-12)


def test_an_activation_between_them_makes_the_difference(plan):
    linear, _ = run(plan("two_linear_layers"))
    curved, _ = run(plan("two_linear_layers", "model.activation=tanh"))
    assert linear["test"]["accuracy"] < 0.95 < curved["test"]["accuracy"]


def gradient_ratio(made):
    """How much smaller the gradient of the first layer's weights is than that of the last one's, in the first step."""
    trainer = build.make_trainer(made)
    train, _ = build.make_loaders(made)
    trainer.step([next(train.epoch())])
    layers = [m for m in trainer.model.modules() if isinstance(m, torch.nn.Linear)]
    return (layers[0].weight.grad.norm() / layers[-1].weight.grad.norm()).item()


def test_sigmoid_layers_lose_the_gradient_that_relu_or_batch_norm_keeps(plan):
    assert gradient_ratio(plan("vanishing_gradient")) < 1e-4
    assert gradient_ratio(plan("vanishing_gradient", "model.activation=relu")) > 0.1
    assert gradient_ratio(plan("vanishing_gradient", "model.norm=batch")) > 0.1


def test_early_stopping_prevents_overfitting(plan):
    summary, _ = run(plan("overfitting", "trainer.epochs=100"))
    assert summary["train"]["accuracy"] > summary["test"]["accuracy"] + 0.07
    assert summary["train"]["loss"] < 0.5 * summary["test"]["loss"]
    stopped, _ = run(plan("overfitting", "regularisation=early_stopping", "trainer.monitor=val/loss"))
    assert stopped["status"] == "early_stopped"
    assert stopped["test"]["loss"] < summary["test"]["loss"]


def test_the_batch_size_sets_how_many_steps_an_epoch_has(plan):
    rows = len(plan("stochastic_vs_batch").data.train)
    steps = [plan("stochastic_vs_batch", f"data.batch_size={size}").steps_per_epoch for size in (1, 64, "full")]
    assert steps == [rows, -(-rows // 64), 1]
