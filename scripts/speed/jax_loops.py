"""jax and optax, as their users write them: a jitted step, or a scan over a whole epoch."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from speed.contender import Contender
from speed.workloads import Task


def _step_of(task: Task):
    optimizer = optax.adam(task.workload.lr)
    binary = task.workload.loss == "bce"

    def loss_of(parameters, x, y):
        for w, b in parameters[:-1]:
            x = jax.nn.relu(x @ w + b)
        logits = x @ parameters[-1][0] + parameters[-1][1]
        if binary:
            return optax.sigmoid_binary_cross_entropy(logits[:, 0], y).mean()
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def step(state, batch):
        parameters, moments = state
        loss, gradient = jax.value_and_grad(loss_of)(parameters, *batch)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(parameters, updates), moments), loss

    return optimizer, step


class _Jax:
    """Parameters and data on the device."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.optimizer, self.step = _step_of(task)
        self.x, self.y = jnp.asarray(task.x), jnp.asarray(task.y.astype(np.int32))
        if task.workload.loss == "bce":
            self.y = self.y.astype(jnp.float32)
        self.key = jax.random.key(0)
        self.reset()

    def reset(self) -> None:
        pairs = zip(self.task.weights[::2], self.task.weights[1::2], strict=True)
        parameters = [(jnp.array(w.T), jnp.array(b)) for w, b in pairs]
        self.state = parameters, self.optimizer.init(parameters)

    def weights(self) -> list[np.ndarray]:
        return [np.array(a) for w, b in self.state[0] for a in (w.T, b)]

    def order(self) -> jax.Array:
        self.key, own = jax.random.split(self.key)
        return jax.random.permutation(own, len(self.x))


def scan(task: Task) -> Contender:
    """One compiled program for an epoch's full batches, and a step for the ragged one."""
    net, size = _Jax(task), task.workload.batch
    full = len(task.x) // size

    @partial(jax.jit, donate_argnums=0)
    def epoch(state, x, y, order):
        def body(state, rows):
            return net.step(state, (x[rows], y[rows]))

        return jax.lax.scan(body, state, order[: full * size].reshape(full, size))

    @partial(jax.jit, donate_argnums=0)
    def rest(state, x, y, order):
        rows = order[full * size :]
        return net.step(state, (x[rows], y[rows]))

    def train() -> None:
        for _ in range(task.workload.epochs):
            order = net.order()
            net.state, losses = epoch(net.state, net.x, net.y, order)
            if len(task.x) % size:
                net.state, _ = rest(net.state, net.x, net.y, order)
            float(losses.mean())

    return Contender(net.reset, train, net.weights)


def step(task: Task) -> Contender:
    """A jitted step called for each batch."""
    net, size = _Jax(task), task.workload.batch
    jitted = jax.jit(lambda state, x, y, rows: net.step(state, (x[rows], y[rows])), donate_argnums=0)

    def train() -> None:
        for _ in range(task.workload.epochs):
            order, losses = np.asarray(net.order()), []
            for low in range(0, len(order), size):
                net.state, loss = jitted(net.state, net.x, net.y, order[low : low + size])
                losses.append(loss)
            float(jnp.stack(losses).mean())

    return Contender(net.reset, train, net.weights)
