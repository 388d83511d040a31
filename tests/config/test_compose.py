"""From a command line to one configuration: what is listed, what is refused, and where a value was written."""

import os
from pathlib import Path

import pytest

from dltrain.config import choices
from dltrain.config import compose as config
from dltrain.config.compose import compose
from dltrain.config.hydra import as_yaml
from dltrain.errors import ConfigError


def mistakes(*overrides, config_dir=None):
    return list(compose(overrides, config_dir).mistakes)


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with config groups of a user's own; returns a function that writes a file into it."""
    monkeypatch.chdir(tmp_path)

    def write(name, text):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return "mine"

    return write


def test_overrides_reach_the_configuration():
    composed = compose(["optimizer=sgd", "optimizer.lr=0.5", "model.widths=[3]", "seed=7"])
    assert composed.mistakes == ()
    values = composed.values
    assert (values["optimizer"]["lr"], values["model"]["widths"], values["seed"]) == (0.5, [3], 7)
    assert composed.chosen["optimizer"] == "sgd"
    assert "hydra" not in composed.values


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.epoch=3", "unknown key; did you mean `trainer.epochs`?"),
        ("optimzer=adam", "unknown key; did you mean `optimizer`?"),
        ("optimzer.lr=1", "unknown key; did you mean `optimizer.lr`?"),
        ("lr=1", "unknown key; did you mean `optimizer.lr`?"),
        ("nproc=2", "this is an option, and no key: write --nproc 2"),
        ("model.zzz=1", "unknown key; `model` has widths, activation, norm, dropout, input_dropout, init, bias"),
        ("zzz=1", "unknown key; `dltrain list` shows what there is"),
        ("optimizer=adma", "optimizer has no `adma`; did you mean `adam`?"),
        ("model=xyz", "model has no `xyz`; there are linear, mlp, module, perceptron, torchvision"),
        ("regularisation=[l2,dropuot]", "regularisation has no `dropuot`; did you mean `dropout`?"),
        ("scheduler=null", "choose one of constant, cosine,"),
        ("model=[mlp,linear]", "choose one; only regularisation takes several, and -m model=mlp,linear tries each"),
        ("+model=mlp", "write model=mlp, without the +"),
        ("optimizer.lr=1,2", "gives several values: add -m to train one run for each"),
        ("optimizer.lr=0,1", "0.1 a number"),
        ("model.widths=[64", "can't be read: close every bracket and quote"),
        ("digits", "write key=value or group=name; did you mean `data=digits`?"),
        ("resme", "write key=value or group=name; did you mean `resume`?"),
        ("qqq", "`dltrain --help` shows the choices"),
    ],
)
def test_a_wrong_override_is_explained(override, message):
    (line,) = mistakes(override)
    assert line.startswith(f"`{override}`")
    assert message in line


def test_all_wrong_overrides_are_explained_together():
    lines = mistakes("trainer.epoch=3", "seed=1", "optimizer=adma", "x", "model.widths=[4]", "model.widht=[3]")
    assert [line.split(": ")[0] for line in lines] == [
        "`optimizer=adma`",
        "`x`",
        "`trainer.epoch=3`",
        "`model.widht=[3]`",
    ]


def test_the_argument_of_a_users_class_needs_a_plus():
    (line,) = mistakes("model=module", "model._target_=my_net.Net", "model.hidden=4")
    assert line == "`model.hidden=4`: unknown key; to give your class this argument write +model.hidden=4"


def test_a_sweep_may_give_several_values():
    good, wrong = config.check_overrides(["optimizer.lr=1,2", "model=mlp,lin", "optimizer=adam,sgd"], sweep=True)
    assert good == ["optimizer.lr=1,2", "optimizer=adam,sgd"]
    assert wrong == ["`model=mlp,lin`: model has no `lin`; did you mean `linear`?"]
    assert config.first_of_each(good) == ["optimizer.lr=1", "optimizer=adam"]


# -- where a value was written ---------------------------------------------------------------------------------


def test_origin_names_the_override_or_the_file(mine):
    folder = mine(
        "experiment/exp.yaml",
        "# @package _global_\ndefaults:\n  - override /loss: mse\nmodel:\n  norm: batch\nseed: 3\n",
    )
    composed = compose(
        ["experiment=exp", "optimizer.lr=1", "regularisation=[dropout,early_stopping]", "+model={a: 1}"], folder
    )
    origins = {
        "optimizer.lr": "override optimizer.lr=1",
        "optimizer.betas": "configs/optimizer/adamw.yaml",
        "model.norm": "mine/experiment/exp.yaml",
        "loss": "mine/experiment/exp.yaml",
        "seed": "mine/experiment/exp.yaml",
        "model.dropout": "configs/regularisation/dropout.yaml",
        "regularisation.early_stopping.patience": "configs/regularisation/early_stopping.yaml",
        "regularisation.l1": "configs/regularisation/off.yaml",
        "model.widths": "configs/model/mlp.yaml",
        "runs_dir": "configs/train.yaml",
        "data": "configs/data/digits.yaml",
    }
    assert {key: composed.origin(key) for key in origins} == origins


def test_origin_of_a_stored_configuration_is_its_file(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    assert config.stored(tmp_path).origin("model.widths") == str(tmp_path / "config.yaml")


# -- a user's own files ----------------------------------------------------------------------------------------

GLOBAL = "# @package _global_\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GLOBAL + "model:\n  widths: [8\n", r"mine/experiment/exp.yaml, line 4: this is not YAML"),
        (GLOBAL + "model:\n\twidths: 8\n", r"mine/experiment/exp.yaml, line 3: this is not YAML"),
        (
            GLOBAL + "seed: 1\nseed: 2\n",
            r"mine/experiment/exp.yaml, line 3: this is not YAML: the key seed twice",
        ),
        (GLOBAL + "- a\n- b\n", r"experiment/exp.*Cannot merge DictConfig with ListConfig"),
        (GLOBAL + "defaults:\n  - override /modle: mlp\n", r"'modle'.*did you mean `model`\? \(experiment=exp\)"),
        (GLOBAL + "defaults:\n  - override /model: mpl\n", r"'model/mpl'; did you mean `mlp`\? \(experiment=exp\)"),
        (GLOBAL + "defaults:\n  - /model: linear\n", r"model is chosen twice.*`- override /model: linear`"),
        ("\x00", r"experiment=exp"),
    ],
)
def test_a_broken_experiment_file_is_named(mine, text, message):
    folder = mine("experiment/exp.yaml", text)
    with pytest.raises(ConfigError, match=message):
        compose(["experiment=exp"], folder)


def test_own_groups_are_listed_and_chosen(mine):
    folder = mine("model/tiny.yaml", "# A tiny net.\n_target_: my_net.Net\nhidden: 4  # units\n")
    assert "tiny" in choices.groups(folder)["model"]
    choice = next(c for c in choices.choices("model", folder) if c.name == "tiny")
    assert (choice.explanation, choice.knobs) == ("A tiny net.", (("hidden", "4", "units"),))
    assert compose(["model=tiny"], folder).values["model"]["hidden"] == 4


def test_the_header_of_a_choice_is_its_first_comment_wherever_it_stands(mine):
    text = "# @package _global_\n\n# Mine.\n#\n#   dltrain experiment=exp\nseed: 4\n# no\n"
    folder = mine("experiment/exp.yaml", text)
    choice = next(c for c in choices.choices("experiment", folder) if c.name == "exp")
    assert choice.header == ("Mine.", "", "  dltrain experiment=exp")
    assert choice.explanation == "Mine."


def test_own_files_can_not_hide_packaged_ones(mine):
    folder = mine("model/mlp.yaml", "# Mine.\n_target_: my_net.Net\n")
    with pytest.raises(ConfigError, match=r"dltrain has a model=mlp already; rename your file"):
        compose([], folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("experiment/exp.yaml", GLOBAL + "hydra: {callbacks: {x: {_target_: os.system}}}\n"),
        ("experiment/exp.yaml", '# @package _global_\n{"\\x68ydra": {launcher: {_target_: os.system}}}\n'),
        ("experiment/exp.yaml", GLOBAL + "defaults:\n  - /other@hydra.job_logging: x\n"),
        ("other/x.yaml", "# @package hydra.job_logging\nversion: 2\n"),
        ("hydra/job_logging/none.yaml", "version: 1\n"),
    ],
)
def test_own_files_can_not_configure_hydra(mine, name, text):
    folder = mine(name, text)
    if "exp" in name:
        mine("other/x.yaml", "version: 2\n")
        with pytest.raises(ConfigError, match=r"exp.yaml sets hydra.(callbacks|job_logging|launcher|sweep)"):
            compose(["experiment=exp"], folder)
    elif "other" in name:
        with pytest.raises(ConfigError, match=r"x.yaml sets hydra.job_logging"):
            compose(["+other=x"], folder)
    assert compose([], folder).mistakes == ()  # a file is judged when it is chosen


def test_sweep_parameters_of_a_file(mine):
    text = (
        "hydra:\n  mode: MULTIRUN\n  sweeper:\n    params:\n      optimizer.lr: 0.1,0.2\n      model: {dropout: 0.5}\n"
    )
    folder = mine("experiment/exp.yaml", GLOBAL + text)
    with pytest.raises(ConfigError, match=r"exp.yaml sets a sweep \(optimizer.lr=0.1,0.2, model.dropout=0.5\): add -m"):
        compose(["experiment=exp"], folder)
    assert compose(["experiment=exp"], folder, sweep=True).parameters == ("optimizer.lr=0.1,0.2", "model.dropout=0.5")
    assert config.sweep_parameters(["experiment=exp"], folder) == (["optimizer.lr=0.1,0.2", "model.dropout=0.5"], [])
    mine("experiment/other.yaml", GLOBAL + "seed: 1\n")
    for both in ("exp,other", "other,exp"):
        with pytest.raises(ConfigError, match=r"one of them sets a sweep"):
            config.sweep_parameters([f"experiment={both}"], folder)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "defaults: [override /hydra/launcher: rq]\n",
            r"'hydra/launcher/rq': -m runs jobs on all processors",
        ),
        ("hydra: {launcher: {n_jobs: 3}}\n", r"Key 'n_jobs' not in .*: -m runs jobs on all processors"),
        ("hydra: {nonsense: 1}\n", r"Key 'nonsense' not in .*: dltrain takes its configurations from Hydra"),
        ("hydra: {run: {dir: x}}\n", r"exp.yaml sets hydra.run: a run makes a folder of its own"),
        ("hydra: {job: {chdir: true}}\n", r"exp.yaml sets hydra.job.chdir: a run stays in the folder"),
        ("hydra: {job: {env_set: {A: b}}}\n", r"exp.yaml sets hydra.job.env_set: a run has its name by name="),
    ],
)
def test_what_else_a_file_may_ask_of_hydra_is_refused(mine, text, message):
    folder = mine("experiment/exp.yaml", GLOBAL + text)
    with pytest.raises(ConfigError, match=message):
        compose(["experiment=exp"], folder)


def test_a_folder_of_other_things_may_hold_groups(mine):
    """Such as the working folder, with the runs that were made in it."""
    folder = mine("experiment/exp.yaml", GLOBAL + "seed: 7\n")
    for name in ("runs/a/b/0/config.yaml", "sweep/config.yaml", "data/mnist.yaml", ".github/w.yaml", "hydra/x.yaml"):
        mine(name, "hydra: {callbacks: {x: {_target_: os.system}}}\n")
    mine("sweep/overrides.txt", "")
    mine("train.yaml", "of: another program\n")
    mine("optimizer/odd.yaml", "")
    Path("mine/optimizer/odd.yaml").write_bytes(b"\xff\x00")
    assert compose(["experiment=exp"], folder).values["seed"] == 7
    assert not {"runs", ".github", "hydra"} & choices.groups(folder).keys()
    assert "odd" in [choice.name for choice in choices.choices("optimizer", folder)]
    with pytest.raises(ConfigError, match=r"dltrain has a data=mnist already; rename your file"):
        compose(["data=mnist"], folder)


def test_words_that_only_look_like_hydra_pass(mine):
    folder = mine("hydration/exp.yaml", GLOBAL + "hydration: 1\n")
    assert compose([], folder).mistakes == ()


def test_a_missing_config_dir_is_told():
    with pytest.raises(ConfigError, match=r"--config-dir nope: there is no such folder"):
        compose([], "nope")


# -- stored configurations -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: ${oc.env:HOME}\n", r"has an interpolation"),
        ("- 1\n", r"is not the configuration of a run"),
        ("a: [\n", r"is not the configuration of a run"),
        ("a: !!python/object/apply:os.system ['true']\n", r"is not the configuration of a run"),
    ],
)
def test_a_stored_configuration_is_only_data(tmp_path, text, message):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        config.stored(tmp_path)


@pytest.mark.parametrize("name", ["no", "08", "1e3", "null", "1:30"])
def test_words_that_look_like_other_values_survive_storing(tmp_path, name):
    (tmp_path / "config.yaml").write_text(as_yaml(compose([f"name='{name}'"]).values))
    assert config.stored(tmp_path).values["name"] == name


@pytest.mark.parametrize("name", ["..", ".", "", ".hidden", "a/b", "a\\b", "a\nb", "-x", "a" * 101])
def test_names_that_are_no_folder_are_refused(name):
    assert "can't name a folder" in config.name_mistake(name)


@pytest.mark.parametrize("name", ["digits-mlp", "run 1", "no", "münchen", "lr=0.1,b=2", "a" * 100])
def test_names_of_folders_pass(name):
    assert config.name_mistake(name) is None


def test_a_file_with_a_month_that_is_none_still_has_its_place(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.yaml").write_text("_target_: dltrain.models.MLP\nwidths: 3\nsince: 2026-13-01\n")
    made = compose(["model=mine"], tmp_path)
    assert made.values["model"]["since"] == "2026-13-01"
    assert "mine.yaml" in made.origin("model.widths")


def test_only_files_are_choices(tmp_path):
    """A pipe would keep whoever lists them waiting for ever, and a device fill the memory."""
    (tmp_path / "experiment").mkdir()
    os.mkfifo(tmp_path / "experiment" / "pipe.yaml")
    (tmp_path / "experiment" / "zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\n# Mine.\nseed: 1\n")
    found = choices.groups(tmp_path)["experiment"]
    assert ("mine" in found, "pipe" in found, "zero" in found) == (True, False, False)
    assert "mine" in [choice.name for choice in choices.choices("experiment", tmp_path)]


def test_a_number_that_no_float_holds_is_a_mistake_of_its_file(tmp_path):
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(f"# @package _global_\nseed: {'1:' * 300}1.5\n")
    with pytest.raises(ConfigError, match="a number of 603 letters"):
        compose(["experiment=mine"], tmp_path)
