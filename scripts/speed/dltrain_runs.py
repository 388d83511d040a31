"""dltrain as a user runs it, through its own plan and experiment, and its bare loop with all that is optional off."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import get_args, get_type_hints

import torch

from dltrain.config import build, compose
from dltrain.config.plan import Plan, make_plan
from dltrain.config.settings import Settings
from dltrain.data.loaders import make_loader
from dltrain.engine.trainer import Trainer, seed_everything
from dltrain.runs import run_folder
from dltrain.training import experiment
from speed.contender import Contender
from speed.handwritten import weights
from speed.workloads import INITIAL_SEED, Task

_task: Task | None = None


class Rows(torch.utils.data.Dataset):
    """The workload's rows as a user's own dataset."""

    def __init__(self, val: bool = False) -> None:
        assert _task is not None
        x, y = (_task.x_val, _task.y_val) if val else (_task.x, _task.y)
        self.x, self.y = torch.from_numpy(x), torch.from_numpy(y)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int):
        return self.x[index], self.y[index]


def known(key: str) -> tuple[str, ...]:
    """The values of trainer.KEY that this dltrain knows; none where it has no such knob."""
    return get_args(get_type_hints(Settings).get(key))


def make(task: Task, *typed: str) -> Plan:
    """The plan of a workload."""
    global _task
    _task = task
    w = task.workload
    net = ["model=perceptron", "loss=bce"] if len(w.widths) == 2 else [f"model.widths={list(w.widths[1:-1])}"]
    rows = f"{__name__}.Rows"
    overrides = [
        "data=dataset", f"data.dataset._target_={rows}", f"+data.val_dataset._target_={rows}",
        "+data.val_dataset.val=true", "data.in_memory=true", f"data.batch_size={w.batch}", "data.val=0", "data.test=0",
        *net, "optimizer=adam", f"optimizer.lr={w.lr}", "scheduler=constant", f"seed={INITIAL_SEED}",
        f"trainer.epochs={w.epochs}", f"trainer.threads={w.threads}", f"trainer.device={task.device}",
        f"runs_dir={task.folder}", "name=run", *typed,
    ]  # fmt: skip
    composed = compose.compose(overrides, None)
    return make_plan(composed, ["speed"])


def _options(step: str | None, bf16: bool, matmul: str | None = None) -> list[str]:
    chosen = {"step": step, "precision": "bf16" if bf16 else None, "matmul": matmul}
    return [f"trainer.{key}={value}" for key, value in chosen.items() if value]


def everything(task: Task, *, step: str | None = None, bf16: bool = False, validate: bool = True) -> Contender:
    """A whole run: folder, loop, validation, log, TensorBoard, checkpoints, and the judgement of the best weights.

    `validate=False`: only after the last epoch.
    """
    seldom = [] if validate else [f"trainer.eval_every={task.workload.epochs}"]
    plan = make(task, *_options(step, bf16), *seldom)
    last: list[Path] = []

    def reset() -> None:
        for folder in last:
            shutil.rmtree(folder)
        last.clear()

    def train() -> None:
        folder = run_folder.create(plan.runs_dir, plan.name)
        last.append(folder)
        with run_folder.Lock(folder):
            experiment.prepare(plan, folder, ["dltrain"])
            experiment.train(plan, folder)

    def trained() -> list:
        from safetensors.torch import load_file

        newest = sorted((last[0] / "checkpoints").glob("step-*"))[-1]
        state = load_file(newest / "model.safetensors")
        layers = sorted({name.rsplit(".", 1)[0] for name in state})  # linear, or linear1, linear2 ...
        return [state[f"{layer}.{kind}"].numpy() for layer in layers for kind in ("weight", "bias")]

    return Contender(reset, train, trained)


def loop(
    task: Task,
    *,
    step: str | None = None,
    bf16: bool = False,
    matmul: str | None = None,
    products: bool = False,
) -> Contender:
    """The trainer's loop alone: no validation, no log, no checkpoint; the losses are read once, at the end.

    `products`: and after each epoch the matrix products of a validation, which is the least that one can cost.
    """
    plan = make(task, *_options(step, bf16, matmul))
    build.set_threads_and_determinism(plan)
    train_loader, _ = build.make_loaders(plan)
    trainer = _new(plan)
    first = copy.deepcopy(trainer.model.state_dict())
    for _ in trainer.fit(train_loader, steps=plan.steps_per_epoch):  # makes the optimizer's state, and compiles
        pass
    fresh = copy.deepcopy(trainer.state_dict()) | {"steps": 0}
    for state in fresh["optimizer"]["state"].values():
        for value in state.values():
            value.zero_()

    def reset() -> None:
        trainer.load_state_dict(copy.deepcopy(fresh))
        trainer.model.load_state_dict(first)

    def train() -> None:
        seldom = {"report_every": plan.total_steps, "eval_every": plan.total_steps}
        validation = {"validate": lambda model: _multiply(model, task) or {}} if products else seldom
        for _ in trainer.fit(train_loader, steps=plan.total_steps, **validation):
            pass

    return Contender(reset, train, lambda: weights(trainer.model))


def judge(task: Task, *, matmul: str | None = None) -> Contender:
    """The training rows evaluated, as a run evaluates: loss and metrics, no training."""
    plan = make(task, *_options(None, False, matmul))
    build.set_threads_and_determinism(plan)
    rows, widest = plan.data.train, max(task.workload.widths)
    size = build.evaluation_size(rows, batch_size=plan.batch_size, values=widest)
    loader, evaluate, model = make_loader(rows, batch_size=size), build.make_evaluate(plan), _new(plan).model

    def train() -> None:
        evaluate(model, loader)

    return Contender(lambda: None, train, lambda: weights(model))


@torch.inference_mode()
def _multiply(model: torch.nn.Module, task: Task) -> None:
    """The products of the validation rows with the weights, one layer after the other, into memory that is kept."""
    layers = [m.weight.t() for m in model.modules() if isinstance(m, torch.nn.Linear)]
    for x in torch.from_numpy(task.x_val).split(_AT_ONCE):
        for i, w in enumerate(layers):
            kept = _kept.setdefault((i, len(x)), torch.empty(len(x), w.shape[1]))
            x = torch.mm(x, w, out=kept)


_AT_ONCE = 2500
_kept: dict[tuple[int, int], torch.Tensor] = {}


def _new(plan: Plan) -> Trainer:
    seed_everything(plan.seed)
    return build.make_trainer(plan)
