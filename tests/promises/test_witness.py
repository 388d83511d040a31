"""Every number that a run logs, against one computed by other means: plain PyTorch, NumPy, scikit-learn."""

import itertools
import json
import math
import warnings

import numpy as np
import pytest
import torch
from sklearn import metrics
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD
from torch.optim import lr_scheduler as schedulers
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, ExponentialLR, ReduceLROnPlateau, StepLR
from torch.optim.swa_utils import AveragedModel

from dltrain.config import build, choices, compose
from dltrain.config.plan import make_plan
from dltrain.data import Tensors
from dltrain.data.loaders import make_loader
from dltrain.engine import records as records_module
from dltrain.engine.trainer import Trainer
from dltrain.insight.doctor.examine import Examination
from dltrain.parts import losses, models
from dltrain.parts.regularisers import EMA, Penalty
from dltrain.parts.schedules import TorchSchedule
from dltrain.runs import checkpoint, run_folder
from dltrain.training import experiment

N, BATCH = 65, 16  # the last batch of an epoch is a single row
STEPS = ("plain", "direct")


def data(rows=N, features=6):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(rows, features, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    x[-1] *= 30  # the row that has a batch of its own is like no other
    return Tensors(x, y)


def net(**more):
    torch.manual_seed(0)
    return models.MLP(6, 2, widths=[8], **more)


class Looped:
    """A loader of any batches."""

    def __init__(self, split, sizes):
        self.parts = torch.arange(sum(sizes)).split(sizes)
        self.split, self.samples, self.batch_size, self.batch_bytes = split, sum(sizes), sizes[0], None

    def __len__(self):
        return len(self.parts)

    def epoch(self, epoch, start=0):
        for index in self.parts[start:]:
            yield self.split.x[index], self.split.y[index], index


def trained(where, *overrides):
    """The run folder of a command."""
    plan = make_plan(compose.compose([*overrides, f"runs_dir={where}", "trainer.progress=false"]))
    folder = run_folder.create(plan.runs_dir, plan.name)
    experiment.prepare(plan, folder, ["dltrain"])
    experiment.train(plan, folder)
    return folder


def reports(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


# -- train/loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize("step", STEPS)
def test_train_loss_is_the_mean_over_rows(step, accumulate):
    """At a rate of 0 it is the loss of the whole train part, however that is cut into batches and steps."""
    split, model = data(), net()
    with torch.no_grad():
        rows = F.cross_entropy(model(split.x), split.y, reduction="none").double()
    trainer = Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.0), step=step, accumulate=accumulate)
    (record,) = trainer.fit(make_loader(split, batch_size=BATCH), epochs=1)
    assert record.metrics["train/loss"] == pytest.approx(rows.mean().item(), rel=1e-5)
    sizes = [len(part) for part in rows.split(BATCH * accumulate)]
    assert record.rows.tolist() == sizes
    assert record.losses.tolist() == pytest.approx([part.mean().item() for part in rows.split(sizes)], rel=1e-5)


def test_train_loss_counts_rows_of_any_loader_and_of_steps_made_by_hand():
    split, model = data(), net()
    with torch.no_grad():
        rows = F.cross_entropy(model(split.x), split.y, reduction="none")
    trainer = Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.0))
    trainer.step([(split.x[:5], split.y[:5], torch.arange(5))])
    records = list(trainer.fit(Looped(split, [3, 40, 1, 21]), steps=5, report_every=5))
    seen = torch.cat([rows[:5], rows[3:], rows[:3]])
    assert sum(len(r.losses) for r in records) == 5
    weights = [r.rows.sum().item() for r in records]
    mean = np.average([r.metrics["train/loss"] for r in records], weights=weights)
    assert mean == pytest.approx(seen.mean().item(), rel=1e-5)


def test_train_loss_of_a_command_is_that_of_its_rows(tmp_path):
    """With the by-step points of TensorBoard, each of several steps."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    still = ["data=iris", "model=linear", "optimizer=sgd", "optimizer.lr=0", "scheduler=constant"]
    folder = trained(tmp_path, *still, "data.batch_size=4", "trainer.epochs=2", "trainer.report_every=2")
    summary = run_folder.read_json(folder / "summary.json")
    line = reports(folder)[-1]
    assert summary["rows_judged"]["train"] % 4  # a ragged end
    assert line["train/loss"] == pytest.approx(summary["train"]["loss"], rel=1e-5)
    loaded = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    loaded.Reload()
    points = [(e.step, float(e.tensor_proto.float_val[0])) for e in loaded.Tensors("train/loss_by_step")]
    n = summary["rows_judged"]["train"]
    per_epoch = math.ceil(n / 4)
    sizes = [4 if step % per_epoch else (n - 1) % 4 + 1 for step in range(1, 2 * per_epoch + 1)]
    edges = [0, *(step for step, _ in points)]
    weights = [sum(sizes[a:b]) for a, b in itertools.pairwise(edges)]
    assert max(b - a for a, b in itertools.pairwise(edges)) > 1
    mean = np.average([value for _, value in points], weights=weights)
    assert mean == pytest.approx(summary["train"]["loss"], rel=1e-5)


@pytest.mark.parametrize("written_by", ["today", "0.1.0"])
def test_train_loss_across_a_checkpoint_between_reports(written_by):
    def start():
        model = net()
        return Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.1), accumulate=2)

    loader = make_loader(data(), batch_size=BATCH, shuffle=True)
    *_, whole = start().fit(loader, epochs=4, report_every=12)
    first, second = start(), start()
    assert not list(first.fit(loader, epochs=4, report_every=12, stop=lambda: first.steps == 7))
    state = first.state_dict()
    if written_by == "0.1.0":
        del state["rows"]  # which it did not have
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(state)
    *_, last = second.fit(loader, epochs=4, report_every=12)
    assert (last.metrics["train/loss"], last.rows.tolist()) == (whole.metrics["train/loss"], whole.rows.tolist())


# -- train/lr --------------------------------------------------------------------------------------------------

TORCHS = {
    "step, by epoch": (lambda o: StepLR(o, 1, gamma=0.5), "epoch"),
    "exponential, by epoch": (lambda o: ExponentialLR(o, 0.9), "epoch"),
    "exponential, by step": (lambda o: ExponentialLR(o, 0.9), "step"),
    "restarts, by step": (lambda o: CosineAnnealingWarmRestarts(o, 3), "step"),
    "plateau": (lambda o: ReduceLROnPlateau(o, factor=0.5, patience=0), "epoch"),
}


class Noting(SGD):
    """Plain descent that notes the rate of each of its steps."""

    def step(self, closure=None):
        self.used = [*getattr(self, "used", []), self.param_groups[0]["lr"]]
        return super().step(closure)


@pytest.mark.parametrize("report_every", [1, 5, 10])
@pytest.mark.parametrize("kind", TORCHS)
def test_train_lr_is_the_rate_of_the_last_step(kind, report_every):
    make, interval = TORCHS[kind]
    model = net()
    optimizer = Noting(model.parameters(), lr=0.5)
    schedule = TorchSchedule(make(optimizer), interval=interval)
    trainer = Trainer(model, losses.CrossEntropy(), optimizer, schedule=schedule, step="plain")
    records = list(
        trainer.fit(
            make_loader(data(), batch_size=BATCH), epochs=4, report_every=report_every, validate=lambda m: {"loss": 1.0}
        )
    )
    assert len(set(optimizer.used)) > 1
    assert [r.metrics["train/lr"] for r in records] == [optimizer.used[r.step - 1] for r in records]


def test_plateau_can_watch_the_training_loss():
    model = net()
    optimizer = SGD(model.parameters(), lr=0.0)
    schedule = TorchSchedule(ReduceLROnPlateau(optimizer, factor=0.5, patience=0), monitor="train/loss")
    trainer = Trainer(model, losses.CrossEntropy(), optimizer, schedule=schedule)
    for _ in trainer.fit(make_loader(data(), batch_size=BATCH), epochs=3):
        pass
    assert schedule.scheduler.last_epoch == 3


def by_torch(name, optimizer, *, epochs, per_epoch):
    """A scheduler of torch's that does what a choice of configs/scheduler does, and the steps between two calls."""
    total, by_epoch = epochs * per_epoch, per_epoch
    return {
        "constant": lambda: (schedulers.LambdaLR(optimizer, lambda k: 1.0), 1),
        "cosine": lambda: (schedulers.CosineAnnealingLR(optimizer, total - 1), 1),
        "exponential": lambda: (schedulers.ExponentialLR(optimizer, 0.95), by_epoch),
        "linear": lambda: (schedulers.LinearLR(optimizer, 1.0, 0.0, total - 1), 1),
        "multistep": lambda: (schedulers.MultiStepLR(optimizer, [2, 3]), by_epoch),
        "onecycle": lambda: (schedulers.OneCycleLR(optimizer, 0.05, total_steps=total), 1),
        "plateau": lambda: (schedulers.ReduceLROnPlateau(optimizer, "max", patience=0, factor=0.5), by_epoch),
        "step": lambda: (schedulers.StepLR(optimizer, 2), by_epoch),
        "torch": lambda: (schedulers.CosineAnnealingWarmRestarts(optimizer, 3), by_epoch),
        "warmup_cosine": lambda: (
            schedulers.SequentialLR(
                optimizer,
                [
                    schedulers.LinearLR(optimizer, 1 / (RISE + 1), 1.0, RISE),
                    schedulers.CosineAnnealingLR(optimizer, total - 1 - RISE),
                ],
                milestones=[RISE],
            ),
            1,
        ),
    }[name]()


def torchs(name, interval, *knobs):
    target = f"scheduler._target_=torch.optim.lr_scheduler.{name}"
    return ["scheduler=torch", target, f"scheduler.interval={interval}", *(f"+scheduler.{knob}" for knob in knobs)]


RISE = 4
KNOBS = {
    "multistep": ["scheduler.milestones=[2,3]"],
    "plateau": ["scheduler.monitor=val/accuracy", "scheduler.patience=0", "scheduler.factor=0.5"],
    "step": ["scheduler.step_size=2"],
    "torch": ["scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts", "+scheduler.T_0=3"],
    "warmup_cosine": ["scheduler.warmup=0.1"],
}


@pytest.mark.parametrize("name", choices.groups()["scheduler"])
def test_the_rate_of_every_step_is_that_of_torchs_own_scheduler(name):
    """Of every choice, with two parameter groups, by the trainer that a command makes."""
    common = ["data=iris", "data.batch_size=10", "model=linear", "optimizer=adamw", "optimizer.lr=0.05"]
    plan = make_plan(compose.compose([*common, f"scheduler={name}", *KNOBS.get(name, []), "trainer.epochs=4"]))
    epochs, per_epoch, accuracies = 4, plan.steps_per_epoch, [0.5, 0.4, 0.3, 0.2]
    assert round(0.1 * epochs * per_epoch) == RISE
    trainer, (train, _) = build.make_trainer(plan), build.make_loaders(plan)
    validated = iter(accuracies)
    records = list(
        trainer.fit(train, epochs=epochs, report_every=1, validate=lambda model: {"accuracy": next(validated)})
    )
    reference = torch.optim.AdamW([nn.Parameter(torch.zeros(2))], lr=0.05)
    with warnings.catch_warnings(action="ignore"):  # of SequentialLR about its own calls
        scheduler, every = by_torch(name, reference, epochs=epochs, per_epoch=per_epoch)
        for record in records:
            assert record.metrics["train/lr"] == pytest.approx(reference.param_groups[0]["lr"], rel=1e-6, abs=1e-9)
            reference.step()
            if record.step % every == 0 and record.step < len(records):
                watched = (accuracies[record.step // per_epoch - 1],) if name == "plateau" else ()
                scheduler.step(*watched)
    assert len({r.metrics["train/lr"] for r in records}) > 1 or name == "constant"


@pytest.mark.parametrize(
    ("overrides", "peak"),
    [
        (["scheduler=onecycle", "scheduler.max_lr=0.08"], 0.08),
        (torchs("OneCycleLR", "step", "max_lr=0.08", "total_steps=1170"), 0.08),
        (torchs("OneCycleLR", "epoch", "max_lr=0.08", "total_steps=30"), 0.08),
        (torchs("LinearLR", "epoch", "start_factor=0.1"), 0.05),
        (["scheduler=plateau"], 0.05),
    ],
)
def test_the_doctors_highest_rate_is_that_of_the_schedule(overrides, peak):
    plan = make_plan(compose.compose(["data=digits", "optimizer.lr=0.05", *overrides]))
    assert plan.total_steps == 1170
    assert Examination(plan).peak == pytest.approx(peak, rel=0.01)


# -- gradient, weights, penalty, speed -------------------------------------------------------------------------


@pytest.mark.parametrize("clipping", [{}, {"clip_norm": 0.01}, {"clip_value": 0.003}])
@pytest.mark.parametrize("accumulate", [1, 5])
@pytest.mark.parametrize("step", STEPS)
def test_norms_and_penalty_are_those_of_autograd(step, accumulate, clipping):
    split, model = data(), net()
    x, y = (split.x, split.y) if accumulate == 5 else (split.x[-1:], split.y[-1:])  # what the last step saw
    penalised = 0.1 * sum(p.square().sum() for p in model.parameters() if p.ndim > 1)
    gradients = torch.autograd.grad(F.cross_entropy(model(x), y) + penalised, list(model.parameters()))
    gradients = [g.clamp(-0.003, 0.003) if "clip_value" in clipping else g for g in gradients]
    trainer = Trainer(
        model,
        losses.CrossEntropy(),
        SGD(model.parameters(), lr=0.0),
        step=step,
        accumulate=accumulate,
        penalty=Penalty(model, l2=0.1),
        **clipping,
    )
    (record,) = trainer.fit(make_loader(split, batch_size=BATCH), epochs=1)
    found = record.metrics
    assert found["train/grad_norm"] == pytest.approx(
        np.linalg.norm(np.concatenate([g.ravel() for g in gradients])), 1e-4
    )
    weights = np.concatenate([p.detach().numpy().ravel() for p in model.parameters()])
    assert found["train/weight_norm"] == pytest.approx(np.linalg.norm(weights), 1e-5)
    assert found["train/penalty"] == pytest.approx(penalised.item(), 1e-5)


def test_samples_per_second_are_rows_by_the_time_of_training(monkeypatch):
    """Without the time of validation, and after a resume without the rows that were seen before it."""
    now, loader = [0.0], make_loader(data(), batch_size=BATCH)
    monkeypatch.setattr(records_module.time, "perf_counter", lambda: now[0])

    def passing(seconds):
        now[0] += seconds

    def start():
        model = net()
        return Trainer(model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.1))

    def fit(trainer, **more):
        validate = lambda model: passing(1000) or {"loss": 1.0}  # noqa: E731
        return trainer.fit(loader, epochs=3, validate=validate, progress=lambda: passing(0.5), **more)

    first = start()
    assert [r.metrics["train/samples_per_s"] for r in fit(first)] == pytest.approx([N / 2.5] * 3)
    first, second = start(), start()
    list(fit(first, stop=lambda: first.steps == 7))
    second.model.load_state_dict(first.model.state_dict())
    second.load_state_dict(first.state_dict())
    speeds = [r.metrics["train/samples_per_s"] for r in fit(second)]
    assert speeds == pytest.approx([(N - 2 * BATCH) / 1.5, N / 2.5])


# -- averages and metrics --------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_the_average_is_that_of_torchs_averaged_model(step):
    model, theirs = net(norm="batch"), net(norm="batch")
    trainer = Trainer(
        model, losses.CrossEntropy(), SGD(model.parameters(), lr=0.1), step=step, ema=EMA(model, 0.9), accumulate=2
    )
    split = data(64)
    list(trainer.fit(make_loader(split, batch_size=BATCH), epochs=10))

    optimizer, seen = SGD(theirs.parameters(), lr=0.1), [0]

    def averaged(old, new, _):
        d = min(0.9, (1 + seen[0]) / (10 + seen[0]))
        return d * old + (1 - d) * new if new.is_floating_point() else new

    reference = AveragedModel(theirs, avg_fn=averaged, use_buffers=True)
    reference.n_averaged += 1  # its first update would copy
    for _ in range(10):
        for half in range(2):
            optimizer.zero_grad()
            for part in range(2):
                rows = slice((2 * half + part) * BATCH, (2 * half + part + 1) * BATCH)
                (F.cross_entropy(theirs(split.x[rows]), split.y[rows]) / 2).backward()
            optimizer.step()
            reference.update_parameters(theirs)
            seen[0] += 1
    expected = reference.module.state_dict()
    for name, value in trainer.best_model.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-5)


def tables(folder):
    """Two tables, train and test: three classes of 600, 60 and 12 rows, and two targets far from 0."""
    generator = np.random.default_rng(0)
    for part, sizes in (("train", (600, 60, 12)), ("test", (200, 20, 4))):
        kind = np.repeat(["common", "rare", "odd"], sizes)
        x = generator.normal(size=(len(kind), 3)) + np.repeat([[0, 0, 0], [1, 1, 0], [0, 1, 2]], sizes, axis=0)
        price, heat = 5e4 + 1e4 * x[:, 0] + 2e3 * x[:, 1], 300 - 2 * x[:, 2] + generator.normal(size=len(x))
        lines = [f"{a},{b},{c},{k},{p},{h}" for (a, b, c), k, p, h in zip(x, kind, price, heat, strict=True)]
        (folder / f"{part}.csv").write_text("\n".join(["a,b,c,kind,price,heat", *lines]) + "\n")
    return [f"data.path={folder}/train.csv", f"data.test_path={folder}/test.csv"]


RUNS = {
    "binary, one output": ["data=breast_cancer", "loss=bce"],
    "binary, two outputs": ["data=breast_cancer", "loss=cross_entropy"],
    "multiclass, averaged": ["data=wine", "regularisation=ema", "regularisation.ema=0.9"],
    "weighted classes": ["data=wine", "loss=cross_entropy", "loss.class_weights=balanced", "loss.label_smoothing=0.1"],
    "imbalanced": ["data=table", "data.target=kind", "data.drop=[price,heat]"],
    "labels": ["data=multilabel", "data.n=300"],
    "two targets": ["data=table", "data.target=[price,heat]", "data.drop=[kind]"],
    "one target": ["data=diabetes", "loss=huber"],
}


def by_scikit_learn(plan, outputs, y):
    """The metrics of a split, from a net's outputs."""
    outputs, task = outputs.double(), plan.data.task
    if task == "regression":
        scale, origin = plan.data.units.std.double().numpy(), plan.data.units.mean.double().numpy()
        guess, truth = (t.double().numpy() * scale + origin for t in (outputs, y))
        error = np.abs(outputs.numpy() - y.double().numpy())
        huber = np.where(error < 1, error**2 / 2, error - 0.5).mean()
        loss = huber if isinstance(plan.loss, losses.Huber) else metrics.mean_squared_error(y, outputs)
        found = {"rmse": metrics.root_mean_squared_error(truth, guess), "r2": metrics.r2_score(truth, guess)}
        found["median_absolute_error"] = metrics.median_absolute_error(truth, guess)
        return {"loss": loss, "mae": metrics.mean_absolute_error(truth, guess), **found}
    if task == "multilabel":
        guess, truth, p = outputs.numpy() > 0, y.numpy() > 0.5, outputs.sigmoid().numpy()
        each = list(zip(truth.T, p.T, strict=True))
        loss = np.mean([metrics.log_loss(t, p) for t, p in each])
        f1 = {f"f1_{name}": metrics.f1_score(truth, guess, average=name) for name in ("micro", "macro")}
        areas = {
            "roc_auc": metrics.roc_auc_score(truth, p),
            "average_precision": metrics.average_precision_score(truth, p),
            "brier": np.mean([metrics.brier_score_loss(t, p) for t, p in each]),
        }
        found = {
            "accuracy": 1 - metrics.hamming_loss(truth, guess),
            "exact_match": metrics.accuracy_score(truth, guess),
        }
        return {"loss": loss, "log_loss": loss, **found, "f1": f1["f1_micro"], **f1, **areas}
    p = outputs.softmax(1) if outputs.shape[1] > 1 else torch.cat([1 - outputs.sigmoid(), outputs.sigmoid()], 1)
    guess, p = p.argmax(1), p.numpy()
    several = {"multi_class": "ovr"} if p.shape[1] > 2 else {}
    names = {"f1_macro": "macro", "f1_micro": "micro", "f1_weighted": "weighted"}
    found = {name: metrics.f1_score(y, guess, average=average) for name, average in names.items()}
    loss, ranks = metrics.log_loss(y, p, labels=range(p.shape[1])), p if several else p[:, 1]
    return {
        **{"loss": loss, "log_loss": loss, "brier": metrics.brier_score_loss(y, p, labels=range(p.shape[1]))},
        **{"accuracy": metrics.accuracy_score(y, guess), "mcc": metrics.matthews_corrcoef(y, guess)},
        **{"balanced_accuracy": metrics.balanced_accuracy_score(y, guess), "f1": found["f1_macro"], **found},
        "precision_macro": metrics.precision_score(y, guess, average="macro", zero_division=0),
        "recall_macro": metrics.recall_score(y, guess, average="macro"),
        "roc_auc": metrics.roc_auc_score(y, ranks, **several),
        "average_precision": metrics.average_precision_score(y, ranks),
    }


@pytest.mark.parametrize("kind", RUNS)
def test_metrics_of_a_run_are_scikit_learns(kind, tmp_path):
    """The last validation in the log, and what the summary says of the best weights on each split."""
    where = tables(tmp_path) if "data=table" in RUNS[kind] else []
    folder = trained(
        tmp_path, *RUNS[kind], *where, "trainer.epochs=3", "optimizer.lr=0.01", "trainer.tensorboard=false"
    )
    plan, summary = make_plan(compose.stored(folder)), run_folder.read_json(folder / "summary.json")
    model = build.make_model(plan).eval()

    def witness(weights, split):
        model.load_state_dict(weights)
        with torch.no_grad():
            return by_scikit_learn(plan, model(split.x), split.y)

    _, weights, state = checkpoint.latest(folder / "checkpoints")
    weights = state["trainer"]["ema"]["model"] if "averaged" in kind else weights
    last = {n.removeprefix("val/"): v for n, v in reports(folder)[-1].items() if n.startswith("val/")}
    wanted = witness(weights, plan.data.val)
    assert last == pytest.approx({name: wanted[name] for name in last}, rel=1e-5)
    best, _ = checkpoint.load(checkpoint.find(folder / "checkpoints", "best")[-1])
    for name in ("train", "val", "test"):
        assert summary[name] == pytest.approx(witness(best, getattr(plan.data, name)), rel=1e-5)
    if kind == "imbalanced":
        assert summary["test"]["f1"] < summary["test"]["accuracy"] - 0.1
