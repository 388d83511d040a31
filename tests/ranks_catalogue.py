"""What several processes are to do as one does it: trainings and judgements, each by 1, 2 and 3 processes.

python tests/ranks_catalogue.py FOLDER [WORD ...] leaves there what each process found of each case, or of those with
such a word in their names: SIZE-RANK.pt. Processes are forks of one that has imported torch, and has no threads yet.
"""

import os
import sys
import traceback
import warnings
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
import yaml
from torch import nn

from dltrain.data import Tensors, take
from dltrain.data.loaders import _stop_all_workers, make_loader
from dltrain.data.units import Standard
from dltrain.engine import sync_batchnorm
from dltrain.engine.evaluation import evaluate, of_training
from dltrain.engine.ranks import Ranks
from dltrain.engine.trainer import Trainer
from dltrain.errors import DivergedError
from dltrain.parts import losses, models, optimizers, regularisers

SOAK = bool(os.environ.get("DLTRAIN_SOAK"))
SIZES = (1, 2, 3)
CONFIGS = Path(__file__).parents[1] / "configs"
ROWS, BATCH = 49, 16  # the last of four batches has one row: fewer than processes
STEPS, MANY = (100, 100) if SOAK else (9, 20)
Result = dict[str, object]
CASES: dict[str, Callable[[Ranks | None], Result]] = {}


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X = torch.randn(ROWS, 6, generator=draw(), dtype=torch.float64)
Y = {
    "regression": torch.randn(ROWS, 2, generator=draw(1), dtype=torch.float64),
    "multilabel": torch.randint(2, (ROWS, 3), generator=draw(2)).double(),
    "multiclass": torch.randint(3, (ROWS,), generator=draw(3)),
    "binary": torch.randint(2, (ROWS,), generator=draw(4)),
}
WEIGHT = torch.rand(ROWS, generator=draw(5)) * 3


def mlp(outputs: int, **knobs: object) -> nn.Module:
    torch.manual_seed(1)
    return models.MLP(6, outputs, **{"widths": [8], "activation": "tanh", **knobs}).double()


def optimizer(name: str, model: nn.Module, **knobs: object) -> torch.optim.Optimizer:
    """As configs/optimizer has it."""
    found = yaml.safe_load((CONFIGS / f"optimizer/{name}.yaml").read_text()) | knobs
    kind = found.pop("_target_").rpartition(".")[2]
    made = getattr(torch.optim, kind, None) if kind != "Muon" else optimizers.Muon
    return made([p for p in model.parameters() if p.requires_grad], **found)


def trained(
    ranks: Ranks | None,
    model: nn.Module,
    loss: nn.Module,
    *,
    y: torch.Tensor,
    x: torch.Tensor = X,
    by: str = "sgd",
    step: str = "auto",
    steps: int = STEPS,
    batch: int | None = BATCH,
    weight: torch.Tensor | None = None,
    kind: str | None = None,
    workers: int = 0,
    sample: Callable[[torch.Tensor], torch.Tensor] | None = None,
    between: Callable[[Trainer, int], object] = lambda trainer, steps: None,
    knobs: dict[str, object] | None = None,
    **options: object,
) -> Result:
    """The loss of each step, and the weights after the last. kind: of step, that is expected; between: called at each
    report.
    """
    loss = loss.double()
    rows = Tensors(x, y, weight=weight)
    loader = make_loader(rows, batch_size=batch, shuffle=True, seed=3, transform=sample, workers=workers)
    made = {key: value(model) for key, value in options.items() if key in ("penalty", "constraint", "ema")}
    options = {key: value for key, value in options.items() if key not in made}
    opt = optimizer(by, model, **knobs or {})
    if "schedule" in options:
        made["schedule"] = options.pop("schedule")(opt)
    fit = {key: options.pop(key) for key in ("validate", "measure", "report_every") if key in options}
    trainer = Trainer(model, loss, opt, step=step, ranks=ranks, **made, **options)
    seen: list[torch.Tensor] = []
    metrics: list[dict[str, float]] = []
    for record in trainer.fit(loader, steps=steps, progress=lambda: seen.append(trainer.losses[-1].clone()), **fit):
        metrics.append({k: v for k, v in record.metrics.items() if k != "train/samples_per_s"})
        between(trainer, record.step)
    assert kind in (None, trainer.step_kind), (kind, trainer.step_kind, trainer.why_plain)
    assert len(seen) == steps
    found = {"losses": torch.stack(seen), "metrics": metrics}
    return found | {name: t.detach().clone() for name, t in trainer.best_model.state_dict().items()}


def case(name: str, make: Callable[[], nn.Module], loss: Callable[[], nn.Module], **options: object) -> None:
    """make: the model."""
    CASES[name] = lambda ranks: trained(ranks, make(), loss(), **options)


def untold(ranks: Ranks | None, *, loss: Callable[[], nn.Module], **options: object) -> Result:
    """In training for which processes count nothing together at a step: each knows what the rows of all count for."""

    def refuse(number: float) -> float:
        raise AssertionError("a message of its own")

    if ranks is not None:
        ranks.total = refuse
    try:
        return trained(ranks, mlp(3), loss(), **options)
    finally:
        if ranks is not None:
            del ranks.total


OUTPUTS = {"regression": 2, "multilabel": 3, "multiclass": 3, "binary": 2}

# -- optimizers ----------------------------------------------------------------------------------------------------

for path in sorted(CONFIGS.glob("optimizer/*.yaml")):
    common = {"y": Y["regression"], "by": path.stem}
    if path.stem == "lbfgs":
        common |= {"steps": 4, "batch": None, "kind": "plain", "knobs": {"max_iter": 5}}
        case("lbfgs", partial(mlp, 2), losses.MSE, **common)
        penalty = partial(regularisers.Penalty, l2=1e-3)
        case("lbfgs, penalty", partial(mlp, 2), losses.MSE, penalty=penalty, **common)
        case("lbfgs, batches", partial(mlp, 2), losses.MSE, **common | {"batch": BATCH, "accumulate": 2})
        continue
    steps = 100 if path.stem == "adamw" else MANY
    case(path.stem, partial(mlp, 2), losses.MSE, kind="direct", steps=steps, **common)
    if SOAK or path.stem in ("momentum", "adamw"):
        case(f"{path.stem}, plain", partial(mlp, 2), losses.MSE, step="plain", steps=MANY, **common)

# -- losses --------------------------------------------------------------------------------------------------------

LOSSES: dict[str, tuple[Callable[[], nn.Module], str, int]] = {
    "cross_entropy": (losses.CrossEntropy, "multiclass", 3),
    "cross_entropy of two": (losses.CrossEntropy, "binary", 2),
    "cross_entropy, smooth": (partial(losses.CrossEntropy, label_smoothing=0.1), "multiclass", 3),
    "cross_entropy, weights": (partial(losses.CrossEntropy, class_weights=[0.3, 2.0, 1.1]), "multiclass", 3),
    "cross_entropy, smooth weights": (
        partial(losses.CrossEntropy, class_weights=[0.3, 2.0, 1.1], label_smoothing=0.1),
        "multiclass",
        3,
    ),
    "bce": (losses.BCE, "binary", 1),
    "bce, pos_weight": (partial(losses.BCE, pos_weight=2.5, label_smoothing=0.1), "binary", 1),
    "bce of labels": (losses.BCE, "multilabel", 3),
    "bce of labels, pos_weight": (
        partial(losses.BCE, pos_weight=2.0, label_smoothing=0.1),
        "multilabel",
        3,
    ),
    "hinge": (losses.Hinge, "binary", 1),
    "hinge, squared": (partial(losses.Hinge, squared=True, margin=0.5), "multiclass", 3),
    "perceptron": (losses.Perceptron, "binary", 1),
    "perceptron of three": (losses.Perceptron, "multiclass", 3),
    "one_hot_mse": (losses.OneHotMSE, "multiclass", 3),
    "one_hot_mse of two": (losses.OneHotMSE, "binary", 2),
    "mse": (losses.MSE, "regression", 2),
    "mae": (losses.MAE, "regression", 2),
    "huber": (partial(losses.Huber, delta=0.5), "regression", 2),
    "torch's L1": (nn.SmoothL1Loss, "regression", 2),
}
for name, (make, task, outputs) in LOSSES.items():
    common = {"y": Y[task], "report_every": 10}
    case(name, partial(mlp, outputs), make, **common)
    case(f"{name}, plain, weights", partial(mlp, outputs), make, step="plain", accumulate=3, weight=WEIGHT, **common)
    if SOAK:
        case(f"{name}, plain", partial(mlp, outputs), make, step="plain", accumulate=3, **common)
        case(f"{name}, rows with weights", partial(mlp, outputs), make, weight=WEIGHT, **common)
for step in ("auto", "plain"):  # whatever rows a batch has, some of the processes have none that count
    heavy = partial(losses.CrossEntropy, class_weights=[0.0, 2.0, 1.0])
    skipping = partial(nn.CrossEntropyLoss, weight=torch.tensor([0.3, 2.0, 1.1]), ignore_index=2)
    common = {"y": torch.arange(ROWS) % 3, "batch": 7, "step": step}
    case(f"a class of weight 0, {step}", partial(mlp, 3), heavy, **common)
    CASES[f"a class that is skipped, {step}"] = partial(untold, loss=skipping, **common)
common = {"y": Y["multiclass"].where(WEIGHT < 2, -100), "weight": WEIGHT, "batch": 5, "accumulate": 2}
CASES["rows of no class"] = partial(untold, loss=nn.CrossEntropyLoss, **common)
CASES["rows of no class, stream"] = partial(untold, loss=nn.CrossEntropyLoss, sample=torch.sin, **common)
case("perceptron of zeros", lambda: models.Perceptron(6, 1).double(), losses.Perceptron, y=Y["binary"], report_every=7)

# -- rows with weights ---------------------------------------------------------------------------------------------

few = WEIGHT * (torch.arange(ROWS) % 7 == 0)
for step in ("auto", "plain"):
    for accumulate in (1, 3) if SOAK else ((3,) if step == "auto" else (1,)):
        common = {"y": Y["multiclass"], "step": step, "accumulate": accumulate}
        weights = partial(losses.CrossEntropy, class_weights=[0.3, 2.0, 1.1])
        case(f"few weigh anything, {step}, {accumulate}", partial(mlp, 3), losses.CrossEntropy, weight=few, **common)
        case(f"few weigh, classes do, {step}, {accumulate}", partial(mlp, 3), weights, weight=few, **common)
        none = {"weight": few, "batch": 5} | common
        case(f"batches of no weight, {step}, {accumulate}", partial(mlp, 3), losses.CrossEntropy, **none)

# -- what acts in a step -------------------------------------------------------------------------------------------


def onecycle(opt: torch.optim.Optimizer) -> object:
    return torch.optim.lr_scheduler.OneCycleLR(opt, max_lr=0.05, total_steps=STEPS)


def plateau(opt: torch.optim.Optimizer) -> object:
    return torch.optim.lr_scheduler.ReduceLROnPlateau(opt, patience=1)


SEAMS: dict[str, dict[str, object]] = {
    "norm clipped": {"clip_norm": 0.1},
    "value clipped": {"clip_value": 0.01},
    "both clipped": {"clip_norm": 0.1, "clip_value": 0.05},
    "l1, l2": {"penalty": partial(regularisers.Penalty, l1=1e-3, l2=1e-2)},
    "max-norm": {"constraint": partial(regularisers.MaxNorm, c=0.5)},
    "average": {"ema": partial(regularisers.EMA, decay=0.9)},
    "schedule": {"schedule": onecycle, "by": "momentum"},
    "schedule of a function": {"schedule": lambda opt: lambda step: 0.1 / (1 + step), "by": "adam"},
    "decay": {"by": "adamw", "knobs": {"weight_decay": 0.1}},
}
ALL = {key: value for options in SEAMS.values() for key, value in options.items() if key not in ("by", "knobs")}
for name, options in (SEAMS | {"all at once": ALL}).items():
    for step in ("auto", "plain"):
        for accumulate in (1, 3) if SOAK else ((1,) if step == "auto" else (3,)):
            common = {"y": Y["regression"], "step": step, "accumulate": accumulate} | options
            case(f"{name}, {step}, {accumulate}", partial(mlp, 2), losses.MSE, **common)
case("batches of fewer rows than processes", partial(mlp, 2), losses.MSE, y=Y["regression"], batch=3)
case("one row a batch", partial(mlp, 2), losses.MSE, y=Y["regression"], batch=1, accumulate=3)
case("full batch", partial(mlp, 2), losses.MSE, y=Y["regression"], batch=None, step="plain")

# -- nets ----------------------------------------------------------------------------------------------------------


def conv() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(6, 3)
    return nn.Sequential(nn.Unflatten(1, (1, 2, 3)), *layers).double()


class Idle(nn.Module):
    """Has a part that is never called."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.used, self.idle = nn.Linear(6, 3).double(), nn.Linear(6, 3).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


class Changing(nn.Module):
    """Has a part that it calls at some steps alone."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.always, self.at_times, self.calls = nn.Linear(6, 3).double(), nn.Linear(3, 3).double(), 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        x = self.always(x)
        return x + self.at_times(x) if self.calls % 3 == 1 else x


class Twice(nn.Module):
    """Has a layer that is called twice, and a number of its own."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.inner, self.last, self.factor = nn.Linear(6, 6), nn.Linear(6, 3), nn.Parameter(torch.tensor(1.5))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.inner(self.inner(x).tanh()).tanh() * self.factor)


def freeze(trainer: Trainer, steps: int) -> None:
    trainer.model.layers[1].weight.requires_grad_(steps != 5)


def hook(trainer: Trainer, steps: int) -> None:
    if steps == 5:
        trainer.model.layers[1].register_forward_hook(lambda module, inputs, output: output * 0.5)


class Wanting:
    """A transform that, for some steps in the middle of an epoch, wants gradients of the batch."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x, y, index, epoch):
        self.calls += 1
        return (x.clone().requires_grad_() if 13 <= self.calls < 20 else x), y


multiclass = {"y": Y["multiclass"], "report_every": 5}
for accumulate in (1, 3) if SOAK else (3,):
    for make in (conv, Idle, lambda: Twice().double()):
        name = ("conv", "idle", "twice")[(conv, Idle).index(make) if make in (conv, Idle) else 2]
        case(f"{name}, {accumulate}", make, losses.CrossEntropy, accumulate=accumulate, by="adam", **multiclass)
    options = multiclass | {"accumulate": accumulate}
    case(f"frozen in the middle, {accumulate}", partial(mlp, 3), losses.CrossEntropy, between=freeze, **options)
    case(f"frozen, plain, {accumulate}", partial(mlp, 3), losses.CrossEntropy, between=freeze, step="plain", **options)
    case(f"a hook in the middle, {accumulate}", partial(mlp, 3), losses.CrossEntropy, between=hook, **options)
    CASES[f"gives way, {accumulate}"] = lambda ranks, options=options: trained(
        ranks, mlp(3), losses.CrossEntropy(class_weights=[0.3, 2.0, 1.1]), transform=Wanting(), **options
    )
for accumulate in (1, 2) if SOAK else (1,):
    changing = {"accumulate": accumulate, "by": "adam"} | multiclass
    case(f"parts at some steps alone, {accumulate}", Changing, losses.CrossEntropy, **changing)
case("layer norm", partial(mlp, 3, norm="layer"), losses.CrossEntropy, **multiclass)


def of_data(ranks: Ranks | None) -> Result:
    """Rows of which `fit` makes a loader."""
    model = mlp(3)
    trainer = Trainer(model, losses.CrossEntropy(), optimizer("sgd", model), ranks=ranks)
    found = trainer.fit((X, Y["multiclass"]), batch_size=BATCH, steps=9, report_every=3)
    return {"losses": [record.metrics["train/loss"] for record in found], **model.state_dict()}


CASES["data, and no loader"] = of_data

# -- BatchNorm -----------------------------------------------------------------------------------------------------


def images() -> nn.Module:
    torch.manual_seed(1)
    layers = nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3), nn.Tanh(), nn.Flatten(), nn.Linear(6, 4)
    last = nn.BatchNorm1d(4, affine=False, momentum=None), nn.Tanh(), nn.Linear(4, 3)
    return nn.Sequential(
        nn.BatchNorm1d(6, track_running_stats=False), nn.Unflatten(1, (1, 2, 3)), *layers, *last
    ).double()


NORMED: dict[str, tuple[Callable[[], nn.Module], dict[str, object]]] = {
    "dense": (partial(mlp, 3, norm="batch"), {"batch": 23, "steps": 100}),
    "images": (
        images,
        {"batch": 47, "steps": 20, "accumulate": 2, "by": "momentum", "ema": partial(regularisers.EMA, decay=0.9)},
    ),
    "few rows": (partial(mlp, 3, norm="batch"), {"batch": 2, "steps": 9, "x": X[:48], "y": Y["multiclass"][:48]}),
    "few weigh": (partial(mlp, 3, norm="batch"), {"batch": 5, "x": X[:48], "weight": few[:48], "accumulate": 3}),
    "lbfgs": (partial(mlp, 3, norm="batch"), {"batch": None, "by": "lbfgs", "steps": 3, "knobs": {"max_iter": 4}}),
}


def normed(ranks: Ranks | None, make: Callable[[], nn.Module], options: dict[str, object]) -> Result:
    model = make()
    if ranks is not None:
        sync_batchnorm.convert(model, ranks)
    y = Y["multiclass"][: len(options.get("x", X))]
    return trained(
        ranks, model, losses.CrossEntropy(), **{"y": y, "kind": None if ranks is None else "plain", **options}
    )


for name, (make, options) in NORMED.items():
    CASES[f"BatchNorm, {name}"] = partial(normed, make=make, options=options)

# -- streams -------------------------------------------------------------------------------------------------------


def noisy(x: torch.Tensor) -> torch.Tensor:
    return x + 0.1 * torch.randn(x.shape, dtype=x.dtype)


for workers in (0, 2):
    common = {"sample": noisy, "workers": workers, "steps": 9, "weight": WEIGHT}
    case(f"stream, {workers} workers", partial(mlp, 3), losses.CrossEntropy, **common | {"y": Y["multiclass"]})

# -- judgements ----------------------------------------------------------------------------------------------------


def own(split: Tensors, ranks: Ranks | None) -> Tensors:
    return split if ranks is None else take(split, ranks.shard(torch.arange(len(split))))


def judged(ranks: Ranks | None, task: str, loss: nn.Module, outputs: int, rows: int, **options: object) -> Result:
    weight = WEIGHT[:rows] if options.pop("weighted", False) else None
    y = Y[task][:rows] + options.pop("mean", 0)
    part = own(Tensors(X[:rows], y, weight=weight), ranks)
    found = evaluate(
        mlp(outputs), make_loader(part, batch_size=7), loss.double(), task=task, metrics="all", ranks=ranks, **options
    )
    return {"metrics": [found]}


JUDGES: dict[str, dict[str, object]] = {
    "binary": {"task": "binary", "loss": losses.BCE(), "outputs": 1},
    "binary by two": {"task": "binary", "loss": losses.CrossEntropy(), "outputs": 2},
    "binary by margin": {"task": "binary", "loss": losses.Hinge(), "outputs": 1},
    "multiclass": {"task": "multiclass", "loss": losses.CrossEntropy(), "outputs": 3},
    "multilabel": {"task": "multilabel", "loss": losses.BCE(), "outputs": 3},
    "regression": {"task": "regression", "loss": losses.MSE(), "outputs": 2},
    "regression of a large mean": {
        "task": "regression",
        "loss": losses.MSE(),
        "outputs": 2,
        "mean": 1e6,
    },
    "regression in units": {
        "task": "regression",
        "loss": losses.MSE(),
        "outputs": 2,
        "units": Standard(torch.tensor([1e4, -3.0]), torch.tensor([2.0, 50.0])),
    },
}
for name, options in JUDGES.items():
    for rows in (ROWS, 2, 1):
        for weighted in (False, True) if SOAK else (rows == 2,):
            label = f"judge {name}, {rows} rows{', weights' * weighted}"
            CASES[label] = partial(judged, rows=rows, weighted=weighted, **options)


def last_rows(ranks: Ranks | None, *, step: str, task: str, loss: Callable[[], nn.Module], weighted: bool) -> Result:
    """What is measured of the last 1,000 rows that are trained on, among 1,300."""
    rows = 1_300
    x = torch.randn(rows, 6, generator=draw(7), dtype=torch.float64)
    y = x @ torch.randn(6, 3, generator=draw(8), dtype=torch.float64)
    y = y.argmax(1) if task == "multiclass" else y
    weight = torch.rand(rows, generator=draw(9)) * (torch.arange(rows) % 3 > 0) if weighted else None
    name = "f1" if task == "multiclass" else "rmse"
    measure = partial(of_training, name=name, task=task, loss=loss())
    common = {"y": y, "x": x, "weight": weight, "batch": 101, "steps": 26, "report_every": 4, "step": step}
    return trained(ranks, mlp(3), loss(), measure=measure, by="adam", **common)


for step in ("auto", "plain"):
    for weighted in (False, True):
        for task, loss in (("multiclass", losses.CrossEntropy), ("regression", losses.MSE)):
            label = f"last rows, {step}, {task}{', weights' * weighted}"
            CASES[label] = partial(last_rows, step=step, task=task, loss=loss, weighted=weighted)


def stopped(ranks: Ranks | None, *, step: str, where: str) -> Result:
    """A number that is not finite, in a row that one process has alone."""
    x, y = X.clone(), Y["regression"].clone()
    (x if where == "inputs" else y)[17] = float("nan")
    try:
        trained(ranks, mlp(2), losses.MSE(), x=x, y=y, step=step)
    except DivergedError as error:
        return {"message": str(error), "step": error.state["step"]}
    raise AssertionError("nothing was said")


for step in ("auto", "plain"):
    for where in ("inputs", "targets"):
        CASES[f"not finite, {step}, {where}"] = partial(stopped, step=step, where=where)


def tried(size: int, *words: str) -> list[str]:
    """What so many processes try: two of them each second case, but for the whole campaign."""
    names = [name for name in CASES if not words or any(word in name for word in words)]
    return names if SOAK or size != 2 else names[::2]


# -- processes -----------------------------------------------------------------------------------------------------


def work(folder: Path, rank: int, size: int) -> None:
    """One process of so many; the only one has no group."""
    ranks = None
    warnings.simplefilter("error")
    warnings.filterwarnings("ignore", ".* gives way to ")
    if size > 1:
        store = dist.FileStore(str(folder / f"store-{size}"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size, timeout=timedelta(seconds=60))
        ranks = Ranks()
    found: dict[str, Result] = {}
    for name in tried(size, *sys.argv[2:]):
        try:
            found[name] = CASES[name](ranks)
        except Exception:
            found[name] = {"error": traceback.format_exc()}
    torch.save(found, folder / f"{size}-{rank}.pt")
    if size > 1:
        dist.destroy_process_group()


def fork(folder: Path, rank: int, size: int) -> int:
    if child := os.fork():
        return child
    code = 1
    try:
        work(folder, rank, size)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        _stop_all_workers()
        os._exit(code)


if __name__ == "__main__":
    torch.set_num_threads(1)
    next(iter(CASES.values()))(None)  # what torch imports at a first step is imported once
    place = Path(sys.argv[1])
    for count in SIZES:
        (place / f"store-{count}").unlink(missing_ok=True)
        children = [fork(place, number, count) for number in range(count)]
        for child in children:
            if os.waitpid(child, 0)[1]:
                sys.exit(f"one of {count} processes failed")
