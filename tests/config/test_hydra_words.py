"""Hydra's words for where jobs of a sweep run and how they are chosen, typed and in files, as ours."""

import pytest

from dltrain.config import compose, hydra_words
from dltrain.errors import ConfigError
from dltrain.sweeps import request
from dltrain.sweeps.request import Options


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("hydra/launcher=basic", "sweep.workers=1"),
        ("hydra/launcher=joblib hydra.launcher.n_jobs=4", "sweep.engine=local sweep.workers=4"),
        ("+hydra.launcher.n_jobs=-1", "sweep.workers=auto"),
        (
            "hydra/launcher=submitit_slurm hydra.launcher.timeout_min=60 hydra.launcher.partition=gpu",
            "sweep.engine=submitit sweep.cluster.cluster=slurm sweep.cluster.timeout_min=60 "
            "sweep.cluster.slurm_partition=gpu",
        ),
        ("hydra/launcher=submitit_local", "sweep.engine=submitit sweep.cluster.cluster=local"),
        (
            "hydra.launcher.additional_parameters.nice=5 hydra.launcher.array_parallelism=8",
            "sweep.workers=8 sweep.cluster.slurm_additional_parameters.nice=5",
        ),
        ("hydra/launcher=ray hydra.launcher.ray.remote.num_gpus=1", "sweep.engine=ray sweep.cluster.num_gpus=1"),
        (
            "hydra.sweeper.n_trials=20 hydra.sweeper.n_jobs=2 hydra/sweeper=optuna",
            "sweep=tpe sweep.trials=20 sweep.workers=2",
        ),
        ("hydra/sweeper/sampler=random hydra/sweeper=optuna", "sweep=random"),
        (
            "hydra.sweeper.sampler=nsgaii hydra.sweeper.sampler.seed=3",
            "sweep=optuna sweep.sampler=NSGAIISampler sweep.seed=3",
        ),
        ("hydra.sweeper.sampler._target_=optuna.samplers.GPSampler", "sweep=optuna sweep.sampler=GPSampler"),
        (
            "hydra/sweeper/sampler=tpe hydra.sweeper.sampler.n_startup_trials=5",
            "sweep=tpe sweep.options.n_startup_trials=5",
        ),
        ("hydra/sweeper=basic", "sweep=grid"),
    ],
)
def test_what_is_typed_is_read_as_ours(typed, meant):
    found = hydra_words.read(["seed=0,1", *typed.split()])
    assert (" ".join(found.words), found.others) == (meant, ("seed=0,1",))
    assert found.notes == (f"`{typed}` is read as {meant}",)


def test_what_is_typed_of_ours_has_the_last_word():
    found = hydra_words.read(["hydra/sweeper=optuna", "sweep=random", "hydra.launcher.n_jobs=2", "sweep.workers=1"])
    assert (found.words, found.others) == ((), ("sweep=random", "sweep.workers=1"))


def test_what_needs_no_word_here_is_left_out_and_said():
    found = hydra_words.read(["hydra.sweeper.direction=maximize", "hydra.sweeper.max_batch_size=4"])
    assert (found.words, found.others) == ((), ())
    assert "which way is better" in found.notes[0]
    assert "as soon as there is room" in found.notes[1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hydra/launcher=rq", "on all processors"),
        ("hydra/launcher@hydra.x=joblib", "on all processors"),
        ("~hydra.launcher.n_jobs", "on all processors"),
        ("hydra.launcher.backend=loky", "on all processors"),
        ("hydra/sweeper=ax", "every combination"),
        ("hydra.sweeper.sampler=motpe", "there are tpe, random"),
        ("hydra.sweeper.storage=sqlite:///x.db", "keeps all trials"),
        ("hydra.sweeper.study_name=x", "name=NAME"),
        ("hydra.launcher.submitit_folder=x", "cluster/"),
        ("hydra.launcher.partition=gpu", "say where jobs run, too"),
        ("hydra.launcher.n_jobs=many", "sweep.workers"),
    ],
)
def test_the_rest_is_refused_in_a_sentence(text, said):
    with pytest.raises(ConfigError, match=said) as error:
        request.read(["data=iris", "seed=0,1", text], Options())
    assert "\n" not in str(error.value)


ASKS = """# @package _global_
# Mine.
defaults:
  - override /data: iris
  - override /hydra/launcher: joblib
  - override /hydra/sweeper: optuna
  - override /hydra/sweeper/sampler: random
hydra:
  mode: MULTIRUN
  launcher: {n_jobs: 2}
  sweeper:
    n_trials: 3
    direction: minimize
    sampler: {seed: 5}
    params: {optimizer.lr: "interval(0.001, 0.1)"}
"""


def test_an_experiment_says_it_in_its_file(tmp_path):
    file = tmp_path / "mine" / "experiment" / "exp.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(ASKS)
    folder = str(file.parents[1])
    wanted = request.read(["experiment=exp"], Options(config_dir=folder))
    knobs = wanted.settings
    assert (knobs.engine, knobs.method, knobs.workers, knobs.trials, knobs.seed) == ("local", "random", 2, 3, 5)
    assert "is read as" in wanted.notes[0]
    typed = ["experiment=exp", "sweep=sobol", "sweep.trials=4", "hydra.launcher.n_jobs=1"]
    knobs = request.read(typed, Options(config_dir=folder)).settings
    assert (knobs.method, knobs.workers, knobs.trials, knobs.seed) == ("sobol", 1, 4, 5)
    file.write_text(ASKS.replace("n_trials", "storage"))
    with pytest.raises(ConfigError, match=r"exp.yaml sets hydra.sweeper.storage: the sweep's folder keeps all trials"):
        request.read(["experiment=exp"], Options(config_dir=folder))
    file.write_text(ASKS.replace("    params:", "    # ").replace("  mode: MULTIRUN\n", ""))
    assert compose.compose(["experiment=exp"], folder).values["seed"] == 0  # alone it is a run
