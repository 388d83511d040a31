"""What is typed to choose and set: Hydra's grammar, the keys that are Hydra's own, and the jobs of a sweep."""

import pytest

from dltrain.config import overrides


def wrong(text, *, sweep=True):
    good, mistakes = overrides.check_overrides([text], sweep=sweep)
    return "" if good else mistakes[0]


@pytest.mark.parametrize("prefix", ["", "+", "++"])
@pytest.mark.parametrize("sweep", [False, True])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hydra.run.dir=x", "below runs_dir and name"),
        ("hydra.sweep.dir=x", "below runs_dir and name"),
        ("hydra.sweep.subdir=${hydra.job.num}", "below runs_dir and name"),
        ("hydra.job.chdir=true", "stays in the folder"),
        ("hydra.job.name=x", "name=..."),
        ("hydra.output_subdir=null", "the run folder"),
        ("hydra/launcher=joblib", "on all processors"),
        ("hydra.launcher.n_jobs=2", "on all processors"),
        ("hydra/sweeper=optuna", "every combination"),
        ("hydra/sweeper/sampler=tpe", "sweep.sampler=GPSampler takes any"),
        ("hydra.sweeper.max_batch_size=2", "every combination"),
        ("hydra.searchpath=[pkg://os]", "--config-dir"),
        ("hydra.mode=MULTIRUN", "-m makes a sweep"),
        ("hydra.verbose=true", "--debug"),
        ("hydra/job_logging=colorlog", "metrics.jsonl"),
        ("hydra.callbacks.x={_target_:os.mkdir}", "nothing else of it"),
        ("hydra={}", "nothing else of it"),
        ("evil@hydra.callbacks.x=name", "nothing else of it"),
    ],
)
def test_a_key_of_hydras_is_not_ignored(prefix, sweep, text, message):
    assert message in wrong(prefix + text, sweep=sweep)


def test_words_that_only_begin_with_hydra_are_others():
    assert wrong("+hydration.litres=2") == wrong("name=hydra.run.dir") == wrong("data.path=hydra/t.csv") == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["hydra.sweeper.params.optimizer.lr=0.1,0.2"], ["optimizer.lr=0.1,0.2"]),
        (["seed=1", "+hydra.sweeper.params.optimizer.lr='0.1,0.2'"], ["optimizer.lr=0.1,0.2", "seed=1"]),
        (["hydra.sweeper.params={optimizer.lr:'0.1,0.2',seed:3}"], ["optimizer.lr=0.1,0.2", "seed=3"]),
        (["hydra.sweeper.params={model:{dropout:null}}"], ["model.dropout=null"]),
        (["++hydra.sweeper.params.seed=range(3)"], ["seed=range(3)"]),
        (["hydra.sweeper.params=null"], []),
        (["seed=1", "+sweep.params.optimizer.lr='0.1,0.2'"], ["optimizer.lr=0.1,0.2", "seed=1"]),
        (["sweep.params.optimizer.lr=0.1,0.2"], ["optimizer.lr=0.1,0.2"]),
        (["++sweep.params={model:{dropout:null}}"], ["model.dropout=null"]),
    ],
)
def test_parameters_of_hydras_sweeper_are_values_of_a_sweep(typed, meant):
    assert overrides.lifted(typed) == meant
    assert "add -m" in wrong(typed[-1], sweep=False)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("optimizer.lr=interval(1,0)", "write interval(SMALLER,LARGER)"),
        ("optimizer.lr=tag(log,interval(0,1))", "tag(log, ...) needs numbers above zero"),
        ("optimizer.lr=glob(*)", "optimizer.lr is none"),
        ("optimizer=glob(zzz)", "it gives no value"),
        ("seed=range(0)", "it gives no value"),
        ("seed=range(5,1)", "it gives no value"),
        ("seed=range(0,3,0)", "write range(FIRST,END,STEP)"),
        ("optimizer.lr=range(0,1,0.)", "write range(FIRST,END,STEP)"),
        ("seed=range(0,10000000000)", "100,000 values are the most"),
        ("seed=shuffle(range(0,10000000000))", "100,000 values are the most"),
        ("optimizer.lr=range(0,inf)", "100,000 values are the most"),
        ("optimizer.lr=range(nan,1)", "100,000 values are the most"),
        ("optimizer.lr=choice()", "its functions are choice(a,b)"),
        ("optimizer.lr=log(1,2)", "its functions are choice(a,b)"),
        ("model.widths=[choice(1,2)]", "give each whole, as choice([16],[32,32])"),
        ("model.widths=[interval(1,2)],[3]", "give each whole, as choice([16],[32,32])"),
        ("+model.own={a:[range(1,3)]}", "give each whole"),
        ("model.widths=[1,glob(*)]", "give each whole"),
    ],
)
def test_values_that_make_no_sweep(text, message):
    assert wrong(text).startswith(f"`{text}`")
    assert message in wrong(text)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=3,1", ["3", "1"]),
        ("seed=choice(3,1)", ["3", "1"]),
        ("seed=range(1,6,2)", ["1", "3", "5"]),
        ("seed=range(3)", ["0", "1", "2"]),
        ("optimizer.lr=range(0.25,1,0.25)", ["0.25", "0.5", "0.75"]),
        ("seed=sort(3,1,2,reverse=true)", ["3", "2", "1"]),
        ("seed=tag(mine,choice(3,1))", ["3", "1"]),
        ("model.widths=[1],[2,3],[]", ["[1]", "[2,3]", "[]"]),
        ("optimizer=glob(ada*,exclude=*w)", ["adadelta", "adagrad", "adam", "adamax"]),
        ("optimizer=glob([sgd,rad*])", ["radam", "sgd"]),
        ("name='a,b','c d'", ["'a,b'", "'c d'"]),
        ("seed=4", ["4"]),
        ("model.widths=sort([64,32])", ["[32,64]"]),
    ],
)
def test_values_of_a_sweep(text, values):
    assert wrong(text) == ""
    key = text.partition("=")[0]
    assert overrides.alternatives(text) == [f"{key}={value}" for value in values]
    if len(values) > 1:
        assert overrides.first_of_each([text]) == [f"{key}={values[0]}"]


def test_values_that_stand_twice_are_seen():
    found = [overrides.repeats(text) for text in ("seed=2,1,2", "seed=2,1", "seed=2")]
    assert found == [True, False, False]


def test_what_is_drawn_is_drawn_once():
    typed = ["seed=shuffle(range(9))", "optimizer=glob(*w)", "model.widths=shuffle([1,2])", "data=iris,wine"]
    settled = overrides.frozen(typed)
    assert sorted(settled[0].removeprefix("seed=").split(",")) == list("012345678")
    assert settled[1] == "optimizer=adamw"
    assert settled[2] in ("model.widths=[1,2]", "model.widths=[2,1]")
    assert settled[3] == typed[3]
    assert overrides.frozen(settled) == settled


def test_a_name_with_a_bracket_and_a_sign_beyond_ascii_is_read_in_quotes_and_told_as_typed():
    assert overrides.check_overrides(['data.target="price [€]"']) == (['data.target="price [€]"'], [])
    (told,) = overrides.check_overrides(["data.target=price [€]"])[1]
    assert told.startswith("`data.target=price [€]` can't be read: ")
    assert told.endswith("'data.target=\"...\"'")


def test_a_long_text_is_quoted_in_time_and_many_are_refused():
    assert overrides.quoted(text := "name=" + "=" * 1_000_000) == text
    assert overrides.quoted(f"a=[é,b~,~c,{'=' * 10_000}]") == f"a=['é',b~,'~c',{'=' * 10_000}]"
    for many in ("'", "\\'", "\"'"):
        overrides.quoted("name='é" + many * 100_000)
    good, mistakes = overrides.check_overrides([f"+a{i}=1" for i in range(20_000)])
    assert (good, "20,000 overrides: 1,000 are the most" in mistakes[0]) == ([], True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a=[{'1,' * 150_000}1]", "300,008 letters of overrides: 262,144 are the most"),
        (f"a=[{'1,' * 100_000}1]", "100,000 values in lists: 5,000 are the most"),
        ("a=" + "[" * 60_000, "60,000 nested brackets: 20 are the most"),
        ("a=" + "{a:" * 3_000 + "1" + "}" * 3_000, "3,000 nested brackets"),
        ("a=" + "str(" * 2_000 + "1" + ")" * 2_000, "2,000 nested brackets"),
    ],
)
def test_what_hydra_would_read_for_minutes_is_refused_before(text, message):
    good, mistakes = overrides.check_overrides(["b=1", text])
    assert (good, message in mistakes[0]) == ([], True), mistakes[0][:200]


def test_bytes_that_no_file_can_hold_are_refused():
    good, mistakes = overrides.check_overrides(["data.path=t\udcff.csv", "data.root=é"])
    assert len(good) == 1
    assert mistakes == [
        "`data.path='t\udcff.csv'` is not UTF-8, so that no file can hold it; rename what it names, or link to it"
    ]
