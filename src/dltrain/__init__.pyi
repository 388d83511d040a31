# What there is, for type checkers and editors: the module itself imports each name at its first use.
from dltrain import data, errors, sklearn
from dltrain.data.loaders import make_loader
from dltrain.engine import evaluation, trainer
from dltrain.engine.evaluation import evaluate, predict
from dltrain.engine.records import Record
from dltrain.engine.state import seed_everything
from dltrain.engine.trainer import Trainer
from dltrain.insight.frames import compare, runs
from dltrain.insight.whole_sweep import sweep
from dltrain.parts import augmentation, codes, ensembles, losses, metrics, models, schedules
from dltrain.parts import optimizers as optim
from dltrain.parts import regularisers as regularisation
from dltrain.parts.models import MLP, Perceptron
from dltrain.parts.regularisers import EMA, EarlyStopping, MaxNorm, Penalty
from dltrain.parts.schedules import PureSchedule, TorchSchedule
from dltrain.trained.whole_run import ensemble, load, resume, train

__version__: str
MODULES: dict[str, str]
__all__ = [
    "EMA",
    "MLP",
    "EarlyStopping",
    "MaxNorm",
    "Penalty",
    "Perceptron",
    "PureSchedule",
    "Record",
    "TorchSchedule",
    "Trainer",
    "augmentation",
    "codes",
    "compare",
    "data",
    "ensemble",
    "ensembles",
    "errors",
    "evaluate",
    "evaluation",
    "load",
    "losses",
    "make_loader",
    "metrics",
    "models",
    "optim",
    "predict",
    "regularisation",
    "resume",
    "runs",
    "schedules",
    "seed_everything",
    "sklearn",
    "sweep",
    "train",
    "trainer",
]

def located(name: str) -> str: ...
