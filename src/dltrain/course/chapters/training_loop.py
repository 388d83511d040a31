"""The loop: the same trained net in training and in evaluation mode, many times."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import TYPE_CHECKING

import torch

from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import modes
from dltrain.engine.process import left_as_it_was

if TYPE_CHECKING:
    from dltrain.course.chapter import Done

_TIMES = 40


def study(done: Sequence[Done]) -> Seen:
    run = looks.run(done[0])
    x, y = looks.rows(run, "test")
    names = ("training", "evaluation")
    with left_as_it_was(), torch.no_grad():
        torch.manual_seed(0)
        answers = {}
        for name in names:
            run.model.train(name == "training")
            answers[name] = torch.stack([run.model(x).softmax(1) for _ in range(_TIMES)])
    run.model.eval()
    right = {name: (p.argmax(2) == y).double().mean(1) for name, p in answers.items()}
    lower = float(right["evaluation"].mean() - right["training"].mean())
    spread = {name: float(p.std(0).max()) for name, p in answers.items()}
    unsure = int(answers["training"].std(0).amax(1).argmax())  # the row about which training mode is of most minds
    chances = {name: p[:, unsure, int(y[unsure])].tolist() for name, p in answers.items()}
    caption = (
        f"Above the accuracy on the test part, {_TIMES} times in each mode; below the probability of "
        "the true class of one image. In evaluation mode all are the same number."
    )
    figure = modes.modes({name: each.tolist() for name, each in right.items()}, chances)
    return Seen(
        [
            Number("accuracy in training mode, mean", float(right["training"].mean()), 0.84, 0.92, ".1%"),
            Number("accuracy in evaluation mode", float(right["evaluation"].mean()), 0.935, 0.975, ".1%"),
            Number("largest deviation of a probability, training mode", spread["training"], 0.25, 0.5, ".2f"),
            Number("largest deviation of a probability, evaluation mode", spread["evaluation"], -inf, 0.0, ".2g"),
        ],
        2 if lower > 0.005 else 3 if lower < -0.005 else 1,
        f"In training mode the accuracy is {right['training'].min():.1%} to {right['training'].max():.1%}, on average "
        f"{right['training'].mean():.1%}; in evaluation mode it is {right['evaluation'].mean():.1%} each time.",
        [looks.picture("modes.png", "One net, two modes", caption, figure)],
    )
