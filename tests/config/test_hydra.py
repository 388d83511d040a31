"""Hydra alone composes: nothing that lies about is run by it, and what it composes is written as OmegaConf does."""

import os
import random
import subprocess
import sys

import pytest
import yaml
from omegaconf import OmegaConf

from dltrain.config.choices import CONFIGS
from dltrain.config.hydra import as_yaml


@pytest.mark.parametrize("words", [["--cfg", "data=iris"], ["-sc", "query=bash"]])
def test_nothing_below_hydra_plugins_is_run(tmp_path, words):
    """Hydra would import each module there, also of the folder that one works in, where Python looks for modules."""
    (tmp_path / "hydra_plugins").mkdir()
    (tmp_path / "hydra_plugins" / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    environment = {**os.environ, "COMP_LINE": "dltrain data=", "COMP_POINT": "13"}
    command = [sys.executable, "-m", "dltrain.commands.cli", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert not (tmp_path / "ran").exists()


# -- the text of config.yaml -----------------------------------------------------------------------------------


def written(values):
    return OmegaConf.to_yaml(OmegaConf.create(values))


def test_every_file_of_ours_is_written_as_omegaconf_writes_it():
    for path in CONFIGS.rglob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        assert as_yaml(values) == written(values), path


TEXTS = [
    *("", " ", "a", "1", "1e-3", "1e3", "0x1f", "0o7", "1_000", "12:30", "true", "No", "on", "y", "null", "~", ".inf"),
    *(
        "- x",
        "-",
        "--",
        "---",
        "...",
        "a: b",
        "a:",
        ":a",
        "#c",
        "a #b",
        "'q'",
        '"d"',
        "a'b",
        "{}",
        "[1]",
        "[",
        "}",
        ",",
    ),
    *("%a", "@b", "`", "|", ">", "!t", "&a", "*b", "?", "? a", "=", "<<", "2001-01-01", "???", "${a.b}", "\\", "C:\\x"),
    *(
        " lead",
        "trail ",
        "a  b",
        "a\tb",
        "a\nb",
        "\n",
        "\x07",
        "\x85",
        "\u2028",
        "\ufeff",
        "é",
        "日本語",
        "🙂",
        "x" * 300,
    ),
    *("word " * 40, "word  " * 40, "0123456789 " * 4, "/a/very/long/path" * 10, "- " * 60, "a\n\n b " * 30),
]


def test_texts_and_numbers_are_written_as_omegaconf_writes_them():
    for text in TEXTS:
        for values in ({"a": text}, {"a": [text, {"b": text}]}, {text: 1}, {text: {text: [text]}}):
            assert as_yaml(values) == written(values), values
    for number in (1e-3, 1e-5, 1e22, -0.0, float("inf"), float("nan"), 0.1 + 0.2, 10**30, True, None, 3):
        assert as_yaml({"a": [number, [number]], "b": number}) == written({"a": [number, [number]], "b": number})
    shared = [1, 2]  # and no anchors
    assert as_yaml({"a": shared, "b": shared, "c": list(range(500))}) == written(
        {"a": shared, "b": shared, "c": list(range(500))}
    )


def test_drawn_values_are_written_as_omegaconf_writes_them():
    draw = random.Random(0)

    def value(depth):
        kind = draw.random()
        if depth < 4 and kind < 0.3:
            return {draw.choice(TEXTS): value(depth + 1) for _ in range(draw.randint(0, 4))}
        if depth < 4 and kind < 0.5:
            return [value(depth + 1) for _ in range(draw.randint(0, 4))]
        signs = "ab1 :-#,'\"[]{}&*!|>%@`?.~=/\\_e+"
        text = "".join(draw.choice(signs) for _ in range(draw.randint(1, 45)))
        return draw.choice([text, draw.choice(TEXTS), draw.uniform(-1, 1), draw.randint(-9, 99), None, False])

    for _ in range(100):
        values = {"a": value(0), "b": value(0)}
        assert as_yaml(values) == written(values), values
