"""Configuration files of a folder that somebody else may have made: how much they may become, and what stays."""

import pytest

from dltrain.commands import cli
from dltrain.config.compose import compose
from dltrain.errors import ConfigError

GLOBAL = "# @package _global_\n"


@pytest.fixture
def chosen(tmp_path, monkeypatch):
    """Composes a text as experiment=mine; other files by their names."""
    monkeypatch.chdir(tmp_path)

    def composed(text, *overrides, **others):
        for name, content in {"experiment/mine": GLOBAL + text, **others}.items():
            path = tmp_path / "own" / f"{name}.yaml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return compose(["experiment=mine", *overrides], "own").values

    return composed


def levels(line, first="x: w\n", count=40):
    """A text whose every line refers to the one before it."""
    return first.replace("x", "x0", 1) + "".join(line.format(i=i, b=i - 1) + "\n" for i in range(1, count))


BOMBS = {
    "aliases": levels("x{i}: &x{i} [*x{b}, *x{b}]", "x: &x0 [1]\n"),
    "merged aliases": levels("x{i}: &x{i} {{<<: [*x{b}, *x{b}]}}", "x: &x0 {a: 1}\n"),
    "aliases of a long text": f"x: &x {'y' * 100_000}\nz: [{'*x, ' * 100}]\n",
    "an alias of what it stands in": "x: &x [*x]\n",
    "interpolations": levels('x{i}: "${{x{b}}}${{x{b}}}"'),
    "relative interpolations": "name:\n  " + levels('x{i}: "${{.x{b}}}${{.x{b}}}"').replace("\n", "\n  "),
    "interpolations of nodes": levels('x{i}: {{a: "${{x{b}}}", b: "${{x{b}}}"}}', "x: {a: 1}\n"),
    "interpolations of lists": levels('x{i}: ["${{x{b}}}", "${{x{b}}}"]', "x: [1]\n"),
    "interpolations by another's argument": levels('x{i}: "${{oc.select:x{b}}}${{oc.select:x{b},${{x{b}}}}}"'),
    "interpolations of the values of a node": levels(
        'x{i}: {{a: "${{oc.dict.values:x{b}}}", b: "${{x{b}}}"}}', "x: {a: 1}\n"
    ),
    "interpolations in what is decoded": levels(r"""x{i}: ${{oc.decode:'"$\{{x{b}\}}$\{{x{b}\}}"'}}"""),
    "computed names": levels('x{i}: "${{y.${{x{b}}}}}"') + 'y: {w: "${x20}"}\n',
    "names that are computed from nothing": 'x: "${${y}}"\ny: x\n',
    "a long text, often": f'x: {"y" * 100_000}\nz: "{"${x}" * 1_000}"\n',
    "a long chain": levels('x{i}: "${{x{b}}}"', count=2_000),
    "a chain that ends where it begins": 'x: "${y}${y}"\ny: "${x}${x}"\n',
    "an integer of base 60": f"seed: 1{':59' * 130_000}\n",
    "a number of base 60": f"seed: 1{':59' * 130_000}.5\n",
    "an integer of base 60 by its tag": f"seed: !!int '1{':59' * 130_000}'\n",
    "an integer too long to be printed": f"seed: 0x{'f' * 5_000}\n",
    "deep nesting": f"x: {'[' * 50_000}\n",
    "many values": f"x: [{'1,' * 300_000}]\n",
    "many keys": "".join(f"x{i}: 1\n" for i in range(20_000)),
    "a long text in many lines": "x: |\n" + f"  {'y' * 100}\n" * 50_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_small_file_takes_no_minutes_and_no_memory(chosen, name):
    with pytest.raises(
        ConfigError, match=r"nodes|letters|keys|interpolation|alias|bytes|lead to one another"
    ) as refused:
        chosen(BOMBS[name])
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize("typed", [["x30=1"], ["++x30.y=1"]])
def test_nothing_is_computed_while_files_and_overrides_are_put_together(chosen, typed):
    with pytest.raises(ConfigError, match="nodes"):
        chosen(BOMBS["interpolations"] + "x39: 1\n".replace("39", "40"), *typed)


def test_what_a_person_writes_stays_as_it_was(chosen, monkeypatch):
    monkeypatch.setenv("WHERE", "here")
    values = chosen(
        "defaults: [override /data: iris]\n"
        "base: &base {a: 1e-3, b: 2001-01-01}\nmore: {<<: *base, a: 2}\nlist: [*base, *base]\n"
        'name: "${data.val}-${base.a}-${oc.env:WHERE}"\nfolder: ${oc.env:WHERE}/${name}\nmodel: {widths: [8, 8]}\n'
        'sets: {base: 5}\nwhich: base\nby_name: "${sets.${which}}"\nother: "${.base}"\n'
        "safe: '\\${seed} and \\${seed}'\n",
        "data.batch_size=8",
    )
    assert (values["name"], values["folder"]) == ("0.15-0.001-here", "here/0.15-0.001-here")
    assert values["more"] == {"a": 2, "b": "2001-01-01"}
    assert values["list"] == [values["base"], values["base"]]
    assert (values["by_name"], values["other"], values["safe"]) == (5, values["base"], "${seed} and ${seed}")
    assert values["model"]["widths"] == [8, 8]


def test_a_file_may_be_a_link_and_a_hole_is_not_read(chosen, tmp_path, capsys):
    (tmp_path / "elsewhere.yaml").write_text(f"{GLOBAL}seed: 5\n")
    own = tmp_path / "own" / "experiment"
    own.mkdir(parents=True)
    (own / "linked.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert compose(["experiment=linked"], "own").values["seed"] == 5
    with (own / "hole.yaml").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=r"own/experiment/hole.yaml can't be read: it has 1,099,511,627,776 bytes"):
        compose(["experiment=hole"], "own")
    for words in (["list", "experiment"], ["list", "experiment", "hole"]):
        with pytest.raises(SystemExit):
            cli.main([*words, "--config-dir", "own"])
        assert "bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["a word", "- 1", "3", "defaults: 3", "defaults: [1, {2: a}, [b]]", "defaults: {a: b}"]
)
def test_a_file_that_is_no_mapping_or_has_odd_defaults_is_told_in_words(tmp_path, monkeypatch, capsys, text):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "own" / "experiment" / "mine.yaml"
    path.parent.mkdir(parents=True)
    for first in ("", GLOBAL):
        path.write_text(f"{first}{text}\n")
        with pytest.raises(SystemExit) as end:
            cli.main(["--config-dir", "own", "experiment=mine", "trainer.epochs=x"])
        said = capsys.readouterr().err
        assert (end.value.code, "--debug" in said) == (2, False), said


def test_a_listing_of_long_lines_is_short(chosen, capsys):
    chosen(f"# {'e' * 100_000}\nx: a{' ' * 100_000}b # {'n' * 100_000}\n{'k' * 900}: 1\n")
    with pytest.raises(SystemExit) as end:
        cli.main(["list", "experiment", "mine", "--config-dir", "own"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    assert "x: a" in said
    assert max(map(len, said.splitlines())) < 500


def test_of_many_mistakes_as_many_are_told_as_can_be_read(chosen, capsys):
    chosen("model: {" + ", ".join(f"x{i}: {'y' * 2_000}" for i in range(200)) + "}\n")
    with pytest.raises(SystemExit) as end:
        cli.main(["experiment=mine", "--config-dir", "own"])
    assert end.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert 40 < len(lines) < 60
    assert "more lines" in lines[-1]
    assert max(map(len, lines)) < 1_100
