"""What the film of the squared error shows is what autograd gives."""

import numpy as np
import pytest
import torch

from dltrain.course.plots import saturation
from dltrain.parts.losses import CrossEntropy, OneHotMSE


@pytest.mark.parametrize(("name", "loss"), [("squared error", OneHotMSE()), ("cross-entropy", CrossEntropy())])
def test_what_reaches_an_output_is_its_gradient(name, loss):
    z = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    loss(z, torch.arange(7) % 4 + 1).backward()  # never class 0
    said = (z.sigmoid() if name == "squared error" else z.softmax(1))[:, 0].detach().numpy()
    mean = 7 * 5 / 2 if name == "squared error" else 7
    np.testing.assert_allclose(z.grad[:, 0].numpy() * mean, saturation.reaches(name, said))
