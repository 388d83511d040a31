"""Files that may come from a stranger: only plain files are read, and only plain values come of them."""

import os

import pytest
import yaml
from omegaconf import OmegaConf

from dltrain.runs import foreign
from dltrain.runs.reading import parse_config

GOOD = [
    "a: 1e-3\nb: 1.5e-05\nc: 2001-01-01\nd: 1_000\ne: .5\nf: 1.e5\ng: '1e-3'\nh: null\ni: yes\nj: -1e5\nk: +.inf\n",
    "2: x\ntrue: y\n",
    "a: {b: [1, {c: d}]}\n",
    "'2001-01-01': |\n  two\n  lines\n",
]


@pytest.mark.parametrize("text", GOOD)
def test_values_are_those_that_omegaconf_reads(text):
    assert foreign.parse_yaml(text) == OmegaConf.to_container(OmegaConf.create(text))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        *((f"a: {tag} x", "tag") for tag in ("!!str", "!x", "!", "!!python/name:os.system", "!!binary")),
        ("a: !!python/object/apply:pathlib.PosixPath [x]", "tag"),
        ("a: &x [1]\nb: *x", "alias"),
        ("a: 1\na: 2", "twice"),
        ("a: {b: 1, b: 1}", "twice"),
        *(
            (f"a: {text}", "interpolation")
            for text in ("${b}", "['x${b}']", r'"\x24{b}"', r'"\u0024\x7bb}"', "'\\${b}'")
        ),
        ('{"a${b": 1}', "interpolation"),
        ("a: $\\{b}", "interpolation"),
        ("[" * 30, "nested"),
        ("a: [", "not YAML"),
        ("--- 1\n--- 2", "not YAML"),
        ("? [1]\n: 2", "not YAML"),
        ("a: =", "not YAML"),
    ],
)
def test_anything_else_is_refused_in_words(text, what):
    with pytest.raises(ValueError, match=what):
        foreign.parse_yaml(text)


def test_what_omegaconf_writes_is_read(tmp_path):
    values = {"a": 1e-05, "b": "1e-3", "c": "null", "d": "2001-01-01", "e": [1.0, -3], "f": {"g": "é\x1b\n", "h": "=="}}
    text = OmegaConf.to_yaml(OmegaConf.create(values))
    assert foreign.parse_yaml(text) == values == yaml.safe_load(text)


def test_only_plain_files_are_read(tmp_path):
    plain, link, pipe = (tmp_path / name for name in ("plain", "link", "pipe"))
    plain.write_bytes(b"text")
    link.symlink_to(plain)
    os.mkfifo(pipe)
    assert foreign.read(plain) == b"text"
    for path in (link, pipe, tmp_path, tmp_path / "none", "/dev/zero"):
        with pytest.raises(OSError, match=r"plain file|links|directory|No such"):
            foreign.read(path)
    with pytest.raises(OSError, match="it has 4 bytes, and 3 are the most"):
        foreign.read(plain, largest=3)


def test_json_of_any_depth_is_an_error_in_words():
    assert foreign.parse_json(b'{"a": [1, "${x}"]}') == {"a": [1, "${x}"]}  # a text there, which nobody computes
    for content in (b"[" * 200_000, b"\xff", b"{", b"1" * 10_000):
        with pytest.raises(ValueError, match=r"."):
            foreign.parse_json(content)


BIG = {
    "a number of base 60": "a: " + "1:" * 100_000 + "1",
    "one with a fraction, which no float holds": "a: " + "1:" * 300 + "1.5",
    "a number that is too long to be printed": "a: 0x" + "f" * 5_000,
    "one among the keys": "0x" + "f" * 500 + ": 1",
    "a million keys": "\n".join(f"a{i}: 1" for i in range(1_000_000)),
    "a million values": f"a: [{'1,' * 1_000_000}]",
    "half a million lists": f"a: [{'[],' * 500_000}]",
}


@pytest.mark.parametrize("name", BIG)
def test_a_small_file_takes_no_minutes(name):
    with pytest.raises(ValueError, match=r"letters|keys|nodes"):
        foreign.parse_yaml(BIG[name])
    assert parse_config(BIG[name]) is None


@pytest.mark.parametrize("part", [b"[],", b'{"":0},'])
def test_a_json_file_of_many_small_parts_does_not_fill_the_memory(part):
    with pytest.raises(ValueError, match="lists and objects"):
        foreign.parse_json(b"[" + part * (1 << 21) + b"0]")


def test_a_line_that_has_no_end_is_the_last_that_is_read(tmp_path):
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.write(b"1\n2\n")
        file.truncate(1 << 40)  # a hole takes no room on the disk
    assert list(foreign.lines(log)) == [b"1\n", b"2\n"]
