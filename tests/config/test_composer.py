"""Jobs composed from one composition: always what Hydra itself makes of them."""

import random
import shutil

import pytest
from quick_compose import WHOLE

from dltrain.config.choices import CONFIGS, Snapshot, groups
from dltrain.config.compose import compose
from dltrain.config.composer import Composer
from dltrain.errors import ConfigError
from dltrain.runs.reading import flat

KNOWN = groups()
VALUES = ("7", "-0.5", "1e-3", "null", "true", "word", "'a b'", '"1"', "[1,2]", "[a,null]", "inf", "007", "1_000")
UNUSUAL = (
    *("+model.extra=3", "~optimizer.lr", "data.extra=1", "model.widths.0=3", "trainer={epochs:2}", "regularisation=[]"),
    *("scheduler.max_lr='${optimizer.lr}'", "++model.widths=[5]", "regularisation.early_stopping.patience=3"),
    *("regularisation=[l1,dropout]", "name='${seed}'", "+regularisation.early_stopping={patience:2}", "optimizer=null"),
)


def outcome(make, typed):
    try:
        made = make(typed)
    except ConfigError as error:
        return str(error)
    return made.values, list(flat(made.values)), made.chosen, made.overrides, made.mistakes, made.resolved


def typed(draw):
    """Choices, and values for keys that are there; now and then what only Hydra can tell about."""
    chosen = [f"{group}={draw.choice(KNOWN[group])}" for group in draw.sample(sorted(KNOWN), draw.randrange(4))]
    try:
        known = [*flat(compose(chosen, sweep=True).values)]
    except ConfigError:
        known = ["seed"]
    keys = draw.sample(known, min(len(known), draw.randrange(5))) + draw.sample(["optimizer.lr", "seed", "data"], 1)
    words = [*chosen, *(f"{key}={draw.choice(VALUES)}" for key in keys)]
    words += draw.sample(UNUSUAL, draw.random() < 0.3)
    draw.shuffle(words)
    return words


@pytest.mark.parametrize("seed", range(8))
def test_it_makes_what_hydra_makes(seed):
    draw, composer = random.Random(seed), Composer()
    words = typed(draw)
    for _ in range(2):  # what differs are values: the second comes from the composition of the first
        assert outcome(composer, words) == outcome(lambda w: compose(w, sweep=True), words), words
        words = [f"{w.partition('=')[0]}={draw.choice(VALUES)}" if "." in w and w[0].isalpha() else w for w in words]


def test_hydra_makes_the_same_where_it_does_once_what_it_does_each_time(monkeypatch):
    """As it does in these tests."""
    for seed in range(4):
        words = typed(random.Random(seed))
        quick = [outcome(compose, words) for _ in range(2)]
        with monkeypatch.context() as patch:
            for (owner, name), part in WHOLE.items():
                patch.setattr(owner, name, part)
            assert [outcome(compose, words)] * 2 == quick, words


def test_a_value_set_in_one_job_stays_out_of_the_next():
    composer = Composer()
    lists = [composer(["model.widths=[1,2]", "optimizer.lr=0.5"]).values for _ in range(2)]
    lists[0]["model"]["widths"].append(3)
    lists[0]["optimizer"]["betas"].append(3)
    assert composer(["model.widths=[1,2]", "optimizer.lr=0.5"]).values == lists[1]
    assert lists[1]["scheduler"]["max_lr"] == 0.5


def test_a_snapshot_is_composed_in_the_place_of_the_packaged_groups(tmp_path):
    shutil.copytree(CONFIGS, tmp_path / "packaged")
    snapshot = Snapshot(tmp_path / "packaged")
    for words in ([], [f"experiment={KNOWN['experiment'][0]}"], ["data=table", "scheduler=torch"]):
        assert compose(words, snapshot, sweep=True).resolved == compose(words, sweep=True).resolved
    edited = tmp_path / "packaged" / "optimizer" / "adamw.yaml"
    edited.write_text(edited.read_text().replace("lr: 3.0e-3", "lr: 0.25"))
    assert compose([], snapshot).values["optimizer"]["lr"] == 0.25


@pytest.mark.parametrize("name", ["train", "optimizer/adamw"])
def test_a_stored_file_that_is_a_list_is_refused_in_a_sentence(tmp_path, name):
    shutil.copytree(CONFIGS, tmp_path / "packaged")
    (tmp_path / "packaged" / f"{name}.yaml").write_text("- a\n")
    with pytest.raises(ConfigError, match=rf"{name}.* is a list; a file of choices has keys"):
        compose([], Snapshot(tmp_path / "packaged"), sweep=True)


def test_a_snapshot_that_lacks_what_it_kept_is_refused_in_a_sentence(tmp_path):
    snapshot = Snapshot(tmp_path / "packaged", tmp_path / "own")
    with pytest.raises(ConfigError, match=r"packaged/train\.yaml is missing; a sweep goes on by the YAML files"):
        compose([], snapshot, sweep=True)
    shutil.copytree(CONFIGS, tmp_path / "packaged")
    (tmp_path / "own").touch()
    with pytest.raises(ConfigError, match="own is missing; a sweep goes on by"):
        Composer(snapshot)(["seed=1"])


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "a${oc.decode:'1'}", "${ oc.env : HOME }", "${${name}:HOME}"])
def test_a_strangers_snapshot_asks_nothing_of_this_machine(tmp_path, text):
    shutil.copytree(CONFIGS, tmp_path / "packaged")
    (tmp_path / "own" / "optimizer").mkdir(parents=True)
    (tmp_path / "own" / "optimizer" / "mine.yaml").write_text(f'_target_: torch.optim.SGD\nlr: "{text}"\n')
    with pytest.raises(ConfigError, match="asks this machine"):
        compose(["optimizer=mine"], Snapshot(tmp_path / "packaged", tmp_path / "own"), sweep=True)


def test_where_hydra_makes_something_else_it_makes_all(monkeypatch):
    words = ["optimizer.lr=0.5", "seed=3"]
    assert Composer().prove(words)
    composer = Composer()
    monkeypatch.setattr(Composer, "_plain", lambda self, text: self._look(text.replace("seed=3", "seed=4")))
    assert not composer.prove(words)
    assert composer(words).values == compose(words, sweep=True).values
