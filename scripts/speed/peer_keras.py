"""Keras on the backend that KERAS_BACKEND names."""

from __future__ import annotations

import keras
import numpy as np

from speed.contender import Contender
from speed.workloads import Task


def fit(task: Task, *, quiet: bool) -> Contender:
    """`model.fit` on arrays; `quiet` leaves out bar, accuracy and validation."""
    w = task.workload
    layers = [keras.layers.Dense(width, activation="relu") for width in w.widths[1:-1]]
    model = keras.Sequential([keras.Input(w.widths[:1]), *layers, keras.layers.Dense(w.widths[-1])])
    if w.loss == "bce":
        loss, accuracy = keras.losses.BinaryCrossentropy(from_logits=True), keras.metrics.BinaryAccuracy(threshold=0)
    else:
        loss, accuracy = keras.losses.SparseCategoricalCrossentropy(from_logits=True), "accuracy"
    optimizer = keras.optimizers.Adam(learning_rate=w.lr, epsilon=1e-8)  # its default of 1e-7 is not torch's
    model.compile(optimizer=optimizer, loss=loss, metrics=None if quiet else [accuracy])
    optimizer.build(model.trainable_variables)
    fresh = [np.array(v) for v in optimizer.variables]
    first = [a.T if a.ndim == 2 else a for a in task.weights]
    more = {} if quiet else {"validation_data": (task.x_val, task.y_val)}

    def reset() -> None:
        model.set_weights(first)
        for variable, value in zip(optimizer.variables, fresh, strict=True):
            variable.assign(value)

    def train() -> None:
        model.fit(
            task.x, task.y, batch_size=w.batch, epochs=w.epochs, shuffle=True, verbose=0 if quiet else "auto", **more
        )

    def weights() -> list[np.ndarray]:
        return [a.T if a.ndim == 2 else a for a in model.get_weights()]

    return Contender(reset, train, weights)
