"""What training with AdamW, saving and resuming take of memory: weights, gradients, two moments and the best weights
are 20 bytes a parameter.
"""

import pytest
from memory import peak_of

from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.training import experiment

WIDE = 2900  # a matrix of 33.6 MB: smaller ones the C library may keep when they are freed
WORDS = (
    "data=blobs data.n=100 model.widths=[{0},{0}] optimizer=adamw scheduler=constant trainer.max_steps={1} "
    "trainer.report_every=0.5 trainer.eval_every=0.5 trainer.save_every=0 trainer.tensorboard=false "
    "trainer.threads=1 trainer.progress=false runs_dir={2} {3}"
)


def plan(root, words, *, width=WIDE, steps=3):
    return make_plan(compose.compose(WORDS.format(width, steps, root, words).split()))


@pytest.mark.parametrize(
    ("words", "trained", "resumed"),
    [("trainer.step=direct", 25, 26), ("trainer.step=plain", 23, 22), ("regularisation=[ema]", 29, 34)],
    ids=["direct", "plain", "ema"],
)
def test_training_saving_and_resuming_take_few_bytes_a_parameter(tmp_path, words, trained, resumed):
    folder = experiment.run(plan(tmp_path / "small", words, width=8)).folder  # loads what a process loads once
    experiment.go_on(plan(tmp_path / "small", words, width=8, steps=5), folder)
    ended = []
    peak = peak_of(lambda: ended.append(experiment.run(plan(tmp_path, words))))
    print(f"{peak / WIDE**2:.1f} bytes a parameter")
    assert peak / WIDE**2 < trained
    peak = peak_of(lambda: experiment.go_on(plan(tmp_path, words, steps=5), ended[0].folder))
    print(f"{peak / WIDE**2:.1f} bytes a parameter, resumed")
    assert peak / WIDE**2 < resumed
