"""The multi-layer perceptron as estimators of scikit-learn: trained in memory, without a run folder.

Scales of inputs and targets, classes and weights are fitted on the rows of `fit` alone, and so per fold.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from typing import Literal, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.preprocessing import StandardScaler
from sklearn.utils import Tags  # pyrefly: ignore[missing-module-attribute]
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data  # pyrefly: ignore[missing-module-attribute]
from torch import Tensor, nn

from dltrain.config import build, construct, named
from dltrain.config.policy import Part
from dltrain.data import Split, Task, Tensors, split, take
from dltrain.data.loaders import make_loader
from dltrain.data.randomness import mix
from dltrain.data.units import Standard
from dltrain.engine import evaluation
from dltrain.engine.trainer import Trainer
from dltrain.errors import ConfigError, DataError
from dltrain.parts import State, losses, metrics, models
from dltrain.training import apart, parameters

_FLOATS = (np.float64, np.float32)
_JUDGED = 4096  # rows of a batch where nothing is learned


class _MLP(BaseEstimator):
    """What the two estimators share. Between calls there is the net, on the CPU, and the state of its optimizer."""

    widths: Sequence[int]
    activation: models.Activation
    norm: models.Norm
    dropout: float
    input_dropout: float
    init: models.Init
    loss: named.Named
    optimizer: named.Named
    lr: float | None
    weight_decay: float | None
    scheduler: named.Named
    epochs: float
    batch_size: int | Literal["full"]
    patience: int | None
    val: float
    device: str
    random_state: int | np.random.RandomState | None

    def _fit(
        self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, task: Task, loss: Part, *, outputs: int
    ) -> Self:
        """All epochs, by the schedule. x: [N, D]; y: class numbers int64 [N], or float64 [N, K]; weight: [N]."""
        parameters.above_zero("epochs", self.epochs, "how often to pass over the rows")
        seed, device = parameters.seed(self.random_state), parameters.device(self.device)
        train, held_out = np.arange(len(x)), None
        if self.patience is not None:
            val = parameters.held_out(self.val, self.patience)
            classes = None if task == "regression" else y
            train, held_out, _ = split(len(x), val=val, test=0, seed=seed % (2**32 - 2), classes=classes)
        self._begin(x[train], y[train], None if weight is None else weight[train], task, seed=seed)
        rows = self._rows(x, y, weight)
        with apart.apart(seed, device):
            judged = None if held_out is None else take(rows, torch.from_numpy(held_out))
            part, model = take(rows, torch.from_numpy(train)), self._net(x.shape[1], outputs)
            self._train(model.to(device), part, task, loss, seed=seed, judged=judged, epochs=self.epochs)
        return self

    def _pass(
        self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, task: Task, loss: Part, *, outputs: int
    ) -> Self:
        """One epoch more, by a constant rate, with the state that the optimizer has; the first one begins."""
        new, device = not hasattr(self, "module_"), parameters.device(self.device)
        if new:
            self._begin(x, y, weight, task, seed=parameters.seed(self.random_state))
        seed = mix(self._seed, self.n_iter_) if self.n_iter_ else self._seed
        with apart.apart(seed, device):
            model = self._net(x.shape[1], outputs) if new else self.module_
            self._train(model.to(device), self._rows(x, y, weight), task, loss, seed=seed)
        return self

    def _begin(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None, task: Task, *, seed: int) -> None:
        """Scales by these rows, and no history; nothing is fitted until the training is done."""
        vars(self).pop("module_", None)
        self._seed, self.n_iter_ = seed, 0
        self._scale = StandardScaler().fit(x, sample_weight=weight)
        self._units: Standard | None = None
        if task == "regression":
            scale = StandardScaler().fit(y, sample_weight=weight)
            self._units = Standard(torch.from_numpy(scale.mean_), torch.from_numpy(scale.scale_))
        self._optimizer_state: State = {}  # by the names of the parameters
        self.history_: list[dict[str, float]] = []

    def _net(self, features: int, outputs: int) -> nn.Module:
        names = ("widths", "activation", "norm", "dropout", "input_dropout", "init")
        return parameters.net(features, outputs, {name: getattr(self, name) for name in names})

    def _rows(self, x: np.ndarray, y: np.ndarray, weight: np.ndarray | None) -> Tensors:
        """What the net sees of rows."""
        counts = None if weight is None else torch.from_numpy(weight)
        if self._units is None:
            return Tensors(self._inputs(x), torch.from_numpy(y), weight=counts)
        targets = torch.from_numpy(self._units.standard(y)).float()
        return Tensors(self._inputs(x), targets, units=self._units, weight=counts)

    def _inputs(self, x: np.ndarray) -> Tensor:
        """float32 [N, D], standardised; raises ValueError where a number is too far away for float32."""
        with np.errstate(over="ignore"):
            scaled = self._scale.transform(x).astype(np.float32, copy=False)
        if not np.isfinite(scaled).all():
            raise DataError("X has a number further from the rows of fit than float32 reaches: leave its row out")
        return torch.from_numpy(np.ascontiguousarray(scaled))

    def _train(
        self,
        model: nn.Module,
        rows: Split,
        task: Task,
        loss: Part,
        *,
        seed: int,
        judged: Split | None = None,
        epochs: float | None = None,
    ) -> None:
        """So many epochs by the schedule, or one by a constant rate. judged: rows that say which epoch was the best."""
        trained = [*model.parameters()]
        size, device = parameters.batch_size(self.batch_size, len(rows), norm=self.norm), trained[0].device
        loader = make_loader(rows, batch_size=size, shuffle=True, seed=seed, device=device)
        criterion, work = loss(task=task).to(device), size * sum(p.numel() for p in trained)
        if device.type == "cpu" and work < build.SMALL:
            apart.slim()
        part = parameters.optimizer(self.optimizer, lr=self.lr, weight_decay=self.weight_decay)
        optimizer = construct.make_optimizer(part, model, device)
        if epochs is None:
            apart.restore(model, optimizer, self._optimizer_state)
        chosen = "constant" if epochs is None else self.scheduler
        schedule = parameters.schedule(chosen, optimizer, len(loader), epochs or 1, judged=judged is not None)
        trainer = Trainer(model, criterion, optimizer, schedule=schedule)
        trainer.rate_key = "lr"
        if judged is None:
            records = trainer.run(loader, epochs=epochs or 1)
        else:
            judge = make_loader(judged, batch_size=_JUDGED, device=device)
            validate = functools.partial(evaluation.evaluate, loader=judge, loss=criterion, task=task)
            best = f"val/{metrics.default_monitor(task)}"
            records = trainer.run(loader, epochs=epochs, validate=validate, best=best, patience=self.patience)
        self._optimizer_state = apart.released(model, optimizer)
        self.module_, self._criterion = model, criterion.cpu()
        self.history_ += [{"epoch": record.epoch, **record.metrics} for record in records]
        self.n_iter_ = len(self.history_)

    def _answers(self, x: object) -> Tensor:
        """Outputs of the net float64 [N, K] for rows as they are."""
        check_is_fitted(self, "module_")
        device = parameters.device(self.device)
        inputs = self._inputs(validate_data(self, x, reset=False, dtype=_FLOATS))
        model = self.module_ if device.type == "cpu" else copy.deepcopy(self.module_).to(device)
        rows = make_loader(Tensors(inputs, torch.zeros(len(inputs))), batch_size=_JUDGED, device=device)
        return evaluation.predict(model, rows)[0].double()


def _gives_probabilities(estimator: MLPClassifier) -> bool:
    return estimator.loss not in ("perceptron", "hinge", losses.Perceptron, losses.Hinge)


class MLPClassifier(ClassifierMixin, _MLP):
    """A multi-layer perceptron that tells classes apart, as an estimator of scikit-learn.

    Inputs are standardised inside, by the rows of `fit`. Defaults are those of the command `dltrain`.

    widths: units of each hidden layer; () is a linear model. activation, norm, dropout, input_dropout, init: as
    `dltrain.MLP` has them. loss, optimizer, scheduler: a name that `dltrain list loss` (optimizer, scheduler) shows, or
    a class of torch, or a `functools.partial` of one with arguments of its own. class_weight: None, "balanced" (rare
    classes count more) or a dict from class to weight; it weighs the cross-entropy. lr, weight_decay: None is the
    optimizer's own; under onecycle lr is the peak. epochs: passes over the rows. batch_size: rows of a step, or "full".
    patience: with a number, `val` of the rows (a share, or how many) are held out, training stops after so many epochs
    in a row without a better accuracy on them, and the weights of the best epoch stay. device: auto, cpu, cuda, ...
    random_state: the seed of first weights, order, dropout and held-out rows; the same one gives the same bits. None
    draws one from NumPy's global generator, as everywhere in scikit-learn.

    After `fit`: `classes_` [C], `n_features_in_`, `module_` (an `nn.Module` from standardised float32 [N, D] to outputs
    [N, 1 or C], on the CPU), `n_iter_` (epochs that were made) and `history_` (the metrics of each: train/loss, ...).
    A mistake in a parameter raises ValueError when `fit` is called.
    """

    def __init__(
        self,
        widths: Sequence[int] = (128,),
        *,
        activation: models.Activation = "relu",
        norm: models.Norm = "none",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        init: models.Init = "torch",
        loss: named.Named = "auto",
        class_weight: Literal["balanced"] | Mapping[object, float] | None = None,
        optimizer: named.Named = "adamw",
        lr: float | None = None,
        weight_decay: float | None = None,
        scheduler: named.Named = "onecycle",
        epochs: float = 30,
        batch_size: int | Literal["full"] = 64,
        patience: int | None = None,
        val: float = 0.15,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.widths, self.activation, self.norm = widths, activation, norm
        self.dropout, self.input_dropout, self.init = dropout, input_dropout, init
        self.loss, self.class_weight = loss, class_weight
        self.optimizer, self.lr, self.weight_decay, self.scheduler = optimizer, lr, weight_decay, scheduler
        self.epochs, self.batch_size, self.patience, self.val = epochs, batch_size, patience, val
        self.device, self.random_state = device, random_state

    def fit(self, X: object, y: object, sample_weight: object = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Trains from new weights. X: numbers [N, D], an array or a frame; y: classes [N], of any kind; sample_weight:
        how much each row counts [N], from 0 up.
        """
        x, labels = validate_data(self, X, y, dtype=_FLOATS)
        check_classification_targets(labels)
        self.classes_, numbers = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise DataError(f"y has one class alone, {self.classes_.tolist()[0]!r}: give rows of two classes at least")
        loss, weight = self._loss(labels), parameters.sample_weight(sample_weight, x)
        return self._fit(x, numbers, weight, self._task, loss, outputs=self._outputs_of(loss))

    def partial_fit(self, X: object, y: object, classes: object = None, sample_weight: object = None) -> Self:  # noqa: N803
        """One pass over these rows, from the weights and the optimizer's state that there are, at the constant rate lr.

        The first call begins: it needs all `classes`, and its rows fit the scales of the inputs. After `fit` it goes on
        with what that has fitted.
        """
        new = not hasattr(self, "module_")
        x, labels = validate_data(self, X, y, dtype=_FLOATS, reset=new)
        if new and classes is None:
            raise ConfigError("classes: give all of them in the first call of partial_fit, as classes=np.unique(y)")
        known = self.classes_ if classes is None else np.unique(np.asarray(classes))
        if not new and not np.array_equal(known, self.classes_):
            raise ConfigError(f"classes={known}: the first call said {self.classes_}")
        if self.class_weight == "balanced":
            raise ConfigError("class_weight='balanced' needs all rows at once: give partial_fit a dict of weights")
        if (strange := np.setdiff1d(labels, known)).size:
            raise DataError(f"y has {strange.tolist()[0]!r}, which is not among the classes {known}")
        self.classes_ = known
        loss, weight = self._loss(labels), parameters.sample_weight(sample_weight, x)
        numbers = np.searchsorted(known, labels)
        return self._pass(x, numbers, weight, self._task, loss, outputs=self._outputs_of(loss))

    def predict(self, X: object) -> np.ndarray:  # noqa: N803
        """Classes [N], of the kind that y had. Raises NotFittedError before `fit`."""
        answers = self._answers(X)
        return self.classes_[evaluation.decide(answers, self._task).numpy()]

    @available_if(_gives_probabilities)
    def predict_proba(self, X: object) -> np.ndarray:  # noqa: N803
        """Probabilities float64 [N, C], in the order of `classes_`; under the losses perceptron and hinge it lacks."""
        answers = self._answers(X)
        p = losses.probabilities(self._criterion, answers, self._task)
        if p is None:
            raise ConfigError(f"loss={self.loss!r} does not say what its outputs mean; loss='auto' gives probabilities")
        return p.numpy()

    @property
    def _task(self) -> Task:
        return "binary" if len(self.classes_) == 2 else "multiclass"

    def _loss(self, labels: np.ndarray) -> Part:
        part = named.part("loss", self.loss)
        if self.class_weight is not None:
            if part.function not in (losses.auto, losses.CrossEntropy):
                raise ConfigError(f"class_weight goes with loss='cross_entropy', not with {self.loss!r}")
            weights = compute_class_weight(self.class_weight, classes=self.classes_, y=labels)
            part = Part(losses.CrossEntropy, part.arguments | {"class_weights": weights.tolist()})
        losses.check_task(part.function, self._task)
        return part

    def _outputs_of(self, loss: Part) -> int:
        return losses.outputs(loss.function, self._task, len(self.classes_))


class MLPRegressor(RegressorMixin, _MLP):
    """A multi-layer perceptron that fits numbers, one or several for each row, as an estimator of scikit-learn.

    Inputs and targets are standardised inside, by the rows of `fit`; predictions are in the units of y. Parameters and
    what stands there after `fit` are those of `MLPClassifier`, but for classes: `loss` is mse (auto), mae, huber or a
    class of torch, in standard deviations of the targets, and `patience` watches the root mean squared error.
    """

    def __init__(
        self,
        widths: Sequence[int] = (128,),
        *,
        activation: models.Activation = "relu",
        norm: models.Norm = "none",
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        init: models.Init = "torch",
        loss: named.Named = "auto",
        optimizer: named.Named = "adamw",
        lr: float | None = None,
        weight_decay: float | None = None,
        scheduler: named.Named = "onecycle",
        epochs: float = 30,
        batch_size: int | Literal["full"] = 64,
        patience: int | None = None,
        val: float = 0.15,
        device: str = "auto",
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.widths, self.activation, self.norm = widths, activation, norm
        self.dropout, self.input_dropout, self.init = dropout, input_dropout, init
        self.loss, self.optimizer, self.lr, self.weight_decay = loss, optimizer, lr, weight_decay
        self.scheduler, self.epochs, self.batch_size = scheduler, epochs, batch_size
        self.patience, self.val, self.device, self.random_state = patience, val, device, random_state

    def fit(self, X: object, y: object, sample_weight: object = None) -> Self:  # noqa: N803 - scikit-learn's name
        """Trains from new weights. X: numbers [N, D], an array or a frame; y: numbers [N] or [N, K]; sample_weight: how
        much each row counts [N], from 0 up.
        """
        x, targets = self._validated(X, y, reset=True)
        weight = parameters.sample_weight(sample_weight, x)
        return self._fit(x, targets, weight, "regression", self._loss(), outputs=targets.shape[1])

    def partial_fit(self, X: object, y: object, sample_weight: object = None) -> Self:  # noqa: N803
        """One pass over these rows, from the weights and the optimizer's state that there are, at the constant rate lr.

        The first call begins, and its rows fit the scales of inputs and targets. After `fit` it goes on with what that
        has fitted.
        """
        x, targets = self._validated(X, y, reset=not hasattr(self, "module_"))
        weight = parameters.sample_weight(sample_weight, x)
        return self._pass(x, targets, weight, "regression", self._loss(), outputs=targets.shape[1])

    def predict(self, X: object) -> np.ndarray:  # noqa: N803
        """Predictions float64 [N] or [N, K], as y was, in its units. Raises NotFittedError before `fit`."""
        outputs = self._answers(X)
        assert self._units is not None
        predicted = self._units.answers(outputs).numpy()
        return predicted[:, 0] if self._is_flat else predicted

    def _validated(self, given: object, y: object, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """Inputs float [N, D] and targets float64 [N, K]."""
        x, targets = validate_data(self, given, y, dtype=_FLOATS, multi_output=True, y_numeric=True, reset=reset)
        self._is_flat = targets.ndim == 1
        return x, targets.astype(np.float64).reshape(len(x), -1)

    def _loss(self) -> Part:
        part = named.part("loss", self.loss)
        losses.check_task(part.function, "regression")
        return part

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()  # pyrefly: ignore[missing-attribute]
        tags.target_tags.multi_output = True
        return tags
