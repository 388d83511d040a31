"""The loop with a line left out, and the same trained net in training and in evaluation mode, many times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from dltrain.config import build
from dltrain.course import looks
from dltrain.course.chapter import Number, Seen
from dltrain.course.plots import modes
from dltrain.engine.process import left_as_it_was

if TYPE_CHECKING:
    from dltrain.course.chapter import Done
    from dltrain.trained.whole_run import TrainedRun

_TIMES = 40
_DEVIATION = f"largest standard deviation of a probability, {_TIMES} times"
_EPOCHS = 8  # of the loop with a line left out
_LOOPS = ("as it stands", "without zero_grad()", "without step()")


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
        "the true class of the image on which the passes differ most. In evaluation mode all are the same number."
    )
    loops = {name: _loop(run, name) for name in _LOOPS}
    whole, adding, still = (loops[name] for name in _LOOPS)
    figure = modes.modes({name: each.tolist() for name, each in right.items()}, chances)
    return Seen(
        [
            Number("accuracy in training mode, mean", float(right["training"].mean()), 0.84, 0.92, ".1%"),
            Number("accuracy in evaluation mode", float(right["evaluation"].mean()), 0.935, 0.975, ".1%"),
            Number(f"{_DEVIATION}, training mode", spread["training"], 0.25, 0.5, ".2f"),
            Number(f"{_DEVIATION}, evaluation mode", spread["evaluation"], 0.0, 0.0, ".2g"),
            Number(f"accuracy after {_EPOCHS} epochs of the listing's loop", whole[-1], 0.7, 0.9, ".1%"),
            Number("the same, zero_grad() left out", adding[-1], 0.05, 0.2, ".1%"),
            Number("the same, step() left out", still[-1], 0.03, 0.2, ".1%"),
        ],
        2 if lower > 0.005 else 3 if lower < -0.005 else 1,
        f"In training mode the accuracy is {right['training'].min():.1%} to {right['training'].max():.1%}, on average "
        f"{right['training'].mean():.1%}; in evaluation mode it is {right['evaluation'].mean():.1%} each time.",
        [
            looks.picture("modes.png", "One net, two modes", caption, figure),
            looks.picture("loop.png", "One line left out", _left_out(adding), modes.left_out(loops)),
        ],
    )


def _left_out(adding: Sequence[float]) -> str:
    return (
        f"The listing's loop for {_EPOCHS} epochs. Without zero_grad() each step follows the sum of all gradients "
        "since the start, a momentum of 1: faster at first, then its steps are too long and can't turn, and from "
        f"{max(adding):.0%} the net comes to {adding[-1]:.0%}. Without step() all is computed, and nothing moves."
    )


def _loop(run: TrainedRun, name: str) -> list[float]:
    """The listing's loop with a line left out, on a run's net and data: test accuracy before and after each epoch."""
    net, (x, y) = build.make_model(looks.plan(run)), looks.rows(run, "test")
    loader, _ = build.make_loaders(looks.plan(run))
    net.load_state_dict(looks.start(run))
    optim = torch.optim.SGD(net.parameters(), lr=0.1)
    found = []
    with left_as_it_was():
        torch.manual_seed(0)
        for epoch in range(_EPOCHS + 1):
            net.eval()
            with torch.no_grad():
                found.append(float((net(x).argmax(1) == y).double().mean()))
            net.train()
            for batch in loader.epoch(epoch):
                loss = F.cross_entropy(net(batch.x), batch.y)
                if name != "without zero_grad()":
                    optim.zero_grad()
                loss.backward()
                if name != "without step()":
                    optim.step()
    return found
