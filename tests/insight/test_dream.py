"""Dreams: the input is optimised, not the net; and the smallest change that fools it."""

import hashlib
import runpy

import pytest
import torch
from torch import nn

from dltrain.commands import cli
from dltrain.config import compose
from dltrain.config.plan import make_plan
from dltrain.course.chapter import find
from dltrain.errors import ConfigError
from dltrain.insight import dream
from dltrain.runs import run_folder
from dltrain.trained import inference, judge
from dltrain.training import experiment


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A function that trains a small run once, and gives its folder."""
    made = {}

    def train(*overrides):
        if overrides not in made:
            root = tmp_path_factory.mktemp("dreams")
            composed = compose.compose([*overrides, f"runs_dir={root}", "trainer.tensorboard=false"])
            assert composed.mistakes == ()
            plan = make_plan(composed)
            made[overrides] = run_folder.create(plan.runs_dir, plan.name)
            experiment.prepare(plan, made[overrides], ["dltrain"])
            experiment.train(plan, made[overrides])
        return made[overrides]

    return train


def opened(folder):
    run = inference.open_run(folder, data=True)
    return run, judge.choose_rows(run, split="test").part


CASES = [["data=digits", "trainer.epochs=10"], ["data=wine"], ["data=moons"]]


@pytest.mark.parametrize("case", CASES, ids=" ".join)
@pytest.mark.parametrize("wanted", [0, 1])
def test_the_net_calls_the_dream_and_the_changed_row_by_the_wanted_name(case, wanted, trained):
    run, rows = opened(trained(*case))
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    seen = dream.of(run, wanted, rows)
    name = run.facts.names[wanted]
    said = run.answers(run.logits(torch.stack([seen.made, seen.fooled.before, seen.fooled.after])))["prediction"]
    assert said.to_list() == [name, run.facts.names[seen.fooled.was], name]
    assert seen.scores[1] > seen.scores[0]
    assert seen.scores[1] > 0.8 * seen.scores[2]
    assert seen.made.min() >= rows.x.min()
    assert seen.made.max() <= rows.x.max()
    x, y = rows.x[seen.fooled.index], rows.y[seen.fooled.index]
    assert torch.equal(x, seen.fooled.before)
    assert y == seen.fooled.was != wanted
    others = (rows.x[rows.y == wanted] - x).flatten(1).norm(dim=1)
    assert (seen.fooled.after - x).norm() < 0.7 * others.median()  # real rows of the class are further away
    assert all(torch.equal(run.model.state_dict()[n], v) for n, v in before.items())


def test_on_a_linear_net_the_smallest_change_is_the_distance_to_the_line():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0, 4.0]]))
        net.bias.fill_(-10.0)
    x = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]])
    far = torch.tensor(9.0)
    after, turned = dream.fool(net, x, lambda out: out[:, 0], low=-far, high=far)
    assert turned.tolist() == [True, True, True]
    assert torch.equal(after[2], x[2])  # it was there already
    torch.testing.assert_close((after - x).norm(dim=1)[:2], torch.tensor([2.0, 0.6]), rtol=0.03, atol=1e-3)


def test_bounds_that_forbid_it_are_kept_and_said():
    net = nn.Linear(2, 1)
    with torch.no_grad():
        net.weight.fill_(1.0)
        net.bias.fill_(-10.0)
    one = torch.tensor(1.0)
    after, turned = dream.fool(net, torch.zeros(1, 2), lambda out: out[:, 0], low=-one, high=one)
    assert not turned[0]
    assert after.abs().max() <= 1


def dltrain(*arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main([str(a) for a in arguments])
    return stop.value.code


def test_the_command_draws_into_plots_and_changes_nothing_else(trained, capsys):
    folder = trained("data=wine")

    def files():
        return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}

    before = files()
    assert dltrain("dream", folder, "--class", "class_1") == 0
    out = capsys.readouterr().out
    picture = folder / "plots" / "dream-1.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert {p: h for p, h in files().items() if p != picture} == before
    (row,) = [line.split() for line in out.splitlines() if line.strip().startswith("proline")]
    assert all(200 < float(value) < 1700 for value in row[1:])  # in its own units
    content = picture.read_bytes()
    assert dltrain("dream", folder, "--class", "1") == 0
    assert picture.read_bytes() == content  # the same seed gives the same dream


def test_a_dream_of_data_that_moved_says_where_to_look_and_looks_there(trained, capsys, tmp_path, monkeypatch):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    new.mkdir()
    (old / "t.csv").write_text("a,y\n" + "".join(f"{i},{'big' if i > 30 else 'small'}\n" for i in range(60)))
    monkeypatch.chdir(old)
    folder = trained("data=table", "data.path=t.csv", "data.target=y", "trainer.epochs=1")
    (old / "t.csv").rename(new / "t.csv")
    monkeypatch.chdir(new.parent)
    assert dltrain("dream", folder, "--class", "big") == 3
    assert "say where it is: data.path=..." in capsys.readouterr().err
    assert dltrain("dream", folder, "data.path=new/t.csv", "--class", "big") == 0
    assert dltrain("export", folder, "--format", "safetensors") == 3
    assert "say where it is: data.path=..." in capsys.readouterr().err
    assert dltrain("export", folder, "data.path=new/t.csv", "--format", "safetensors") == 0


def test_a_dream_keeps_the_codes_of_categories_that_rows_have(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"z{i % 70},{i % 13},{'big' if i % 13 + i % 70 // 3 > 16 else 'small'}" for i in range(700)]
    (tmp_path / "t.csv").write_text("\n".join(["zone,a,y", *rows]))
    run, part = opened(
        trained("data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y", "data.one_hot=9", "trainer.epochs=5")
    )
    assert dream.code_positions(run.facts) == [0]
    seen = dream.of(run, 0, part)
    assert seen.made[0] in part.x[:, 0]
    assert seen.scores[1] > seen.scores[0]
    assert seen.fooled.before[0] == seen.fooled.after[0]
    assert "zone" in dream.describe(run, 0, seen)
    alone = trained("data=table", f"data.path={tmp_path / 't.csv'}", "data.target=y", "data.one_hot=9", "data.drop=[a]")
    with pytest.raises(ConfigError, match="are codes of categories, between which there is no way"):
        dream.of(opened(alone)[0], 0, part)


def test_numbers_and_labels_have_dreams_without_fooling(trained, capsys):
    assert dltrain("dream", trained("data=diabetes", "trainer.epochs=5")) == 0
    assert dltrain("dream", trained("data=multilabel", "trainer.epochs=5"), "--class", "far") == 0
    out = capsys.readouterr().out
    assert "progression rises" in out
    assert "far rises" in out
    assert "fooling" not in out


def test_the_score_of_a_number_is_in_its_own_units(trained):
    run, rows = opened(trained("data=diabetes", "trainer.epochs=5"))
    seen = dream.of(run, 0, rows)
    said = run.answers(run.logits(torch.stack([seen.start, seen.made, seen.real])))["progression"].to_list()
    first, last, real = (f"{value:.3g}" for value in said)
    assert f"rises from {first} (noise) to {last}; real rows reach {real}" in dream.describe(run, 0, seen)


def test_what_was_typed_wrong_is_said(trained, capsys, tmp_path):
    folder = trained("data=moons")
    assert dltrain("dream", folder) == 2
    assert "say of which class: --class NAME; there are upper, lower" in capsys.readouterr().err
    assert dltrain("dream", folder, "--class", "loer") == 2
    assert "did you mean `lower`?" in capsys.readouterr().err
    assert dltrain("dream", folder, "--class", "7") == 2
    assert dltrain("dream", "nope", "--class", "1") == 2
    (tmp_path / "file").write_text("")
    assert dltrain("dream", folder, "--class", "1", "-o", tmp_path / "file" / "x.png") == 7
    assert "name another with -o FILE" in capsys.readouterr().err


def test_a_dream_is_the_descent_of_the_course_s_listing():
    listed = runpy.run_path(str(find("noise").listing))
    start = torch.rand(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    low, high = torch.tensor(0.0), torch.tensor(1.0)
    found = dream.dream(
        listed["net"], start, lambda out: out[:, 3], low=low, high=high, steps=1000, rate=0.5, moments=[0, 7, 1000]
    )
    torch.testing.assert_close(found.losses[:, 0], torch.tensor(listed["losses"]), atol=1e-3, rtol=0)
    torch.testing.assert_close(found.made, listed["noise"].detach(), atol=1e-3, rtol=0)
    assert found.watched.shape == (3, 1, 1, 8, 8)
    assert torch.equal(found.watched[0], start)
    assert torch.equal(found.watched[2], found.made)
    assert max(found.rates) == pytest.approx(0.5)
    assert len(found.rates) == 1000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--steps", "0"], "write a whole number from 1 to 999999"),
        (["--steps", "many"], "write a whole number from 1 to 999999"),
        (["--lr", "0"], "write a number above zero"),
        (["--lr", "nan"], "write a number above zero"),
    ],
)
def test_steps_and_rates_that_are_none_are_refused(words, said, capsys):
    assert dltrain("dream", "last", "--class", "0", *words) == 2
    assert said in capsys.readouterr().err


def test_few_small_steps_leave_the_noise_nearly_as_it_was(trained, capsys):
    folder = trained("data=digits", "trainer.epochs=10")
    assert dltrain("dream", folder, "--class", "3", "--steps", "5", "--lr", "0.01") == 0
    assert "descent    5 steps of AdamW under one cycle" in capsys.readouterr().out
    run, rows = opened(folder)
    short, whole = (dream.of(run, 3, rows, steps=steps, rate=rate) for steps, rate in ((5, 0.01), (400, 0.1)))
    assert torch.equal(short.start, whole.start)
    assert (short.made - short.start).abs().max() < 0.05
    assert short.scores[0] < short.scores[1] < whole.scores[1]
    assert short.start.min() < 0.05
    assert short.start.max() > 0.95  # pure noise, over all that pixels may be


def test_a_constant_rate_is_kept_and_said(trained, capsys):
    folder = trained("data=digits", "trainer.epochs=10")
    assert dltrain("dream", folder, "--class", "3", "--steps", "5", "--lr", "0.01", "--constant") == 0
    assert "5 steps of AdamW at the rate 0.01: the loss" in capsys.readouterr().out
    run, rows = opened(folder)
    assert dream.of(run, 3, rows, steps=5, rate=0.01, cycle=False).descent.rates == [0.01] * 5
