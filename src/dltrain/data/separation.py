"""Whether a hyperplane separates two classes, and how many mistakes a perceptron then makes at most."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

_MOST = 1_000_000  # numbers of a part that is looked at: a tenth of a second
_NONE = 1e-12  # what is left of a distance of 1 where nothing separates, by rounding


def bound(x: Tensor, y: Tensor) -> float | None:
    """(R / gamma)^2 (Novikoff 1962): infinite where no hyperplane separates the classes, None where it is not known.

    R is the largest norm of an input with its constant 1 for the bias, gamma the margin of the best hyperplane through
    the origin of that space. x: [N, ...], y: int64 [N], 0 or 1.
    """
    from scipy.optimize import nnls

    rows = x.flatten(1).double().numpy()
    if rows.size > _MOST or not np.isfinite(rows).all():
        return None
    rows = np.hstack([rows, np.ones((len(rows), 1))])
    signed = rows * (2 * y.numpy() - 1)[:, None] / np.linalg.norm(rows, axis=1).max()
    # The shortest w with w . row >= 1 for each signed row has the length R / gamma. Lawson and Hanson 1974, chapter 23:
    # a least squares problem without signs, whose residual r has |r|^2 = 1 / (1 + |w|^2), and 0 where there is no w.
    wanted = np.zeros(signed.shape[1] + 1)
    wanted[-1] = 1.0
    columns = np.vstack([signed.T, np.ones(len(signed))])
    try:
        weights, left = nnls(columns, wanted)
    except RuntimeError:  # it goes round in circles
        return None
    separates = (signed @ (columns @ weights)[:-1]).min() > 0
    return 1 / left**2 - 1 if separates and left**2 > _NONE else math.inf
