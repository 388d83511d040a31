"""Where configs are and what can be chosen: the YAML files of each group, read as text.

`dltrain --help` and `dltrain list` need nothing else, neither torch nor Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import dropwhile, takewhile
from pathlib import Path
from textwrap import dedent

from dltrain.errors import ConfigError
from dltrain.errors.paths import local
from dltrain.runs import foreign

_HERE = Path(__file__).parents[1]
# In an installed wheel the configs stand inside the package; in a checkout, at the top of the repository.
_PLACES = (_HERE / "configs", _HERE.parents[1] / "configs")
CONFIGS = next((place for place in _PLACES if (place / "train.yaml").is_file()), _PLACES[0])
_ONE_EACH = ("data", "model", "loss", "optimizer", "scheduler", "trainer")
GROUPS = (*_ONE_EACH, "regularisation", "experiment")
LABELS = ("formula", "when", "default", "source", "see")
_KNOB = re.compile(r"( *)([\w.]+):(.*)")
_LABEL = re.compile(rf"({'|'.join(LABELS)}|[a-z_]+=[\w.]+): +(\S.*)")


@dataclass(frozen=True)
class Choice:
    """One YAML file of a group: its name, its header (its first comment), its entry in the lexicon and its knobs.

    The entry stands in the header, too: lines that begin with a label, `when: many weights`, and those indented below
    them. Labels are those of LABELS, and KNOB=VALUE of what a value of a knob means.
    """

    group: str
    name: str
    path: Path
    header: tuple[str, ...]  # the lines that are no part of the entry
    entry: Mapping[str, tuple[str, ...]]  # the lines of each label
    knobs: tuple[tuple[str, str, str], ...]  # (key, value, comment)

    @property
    def explanation(self) -> str:
        """The first line of the header."""
        return self.header[0].strip() if self.header else ""


@dataclass(frozen=True)
class Snapshot:
    """Config groups as a sweep keeps them: the packaged ones and the user's own, as they were when it began.

    foreign: it may be a stranger's, and its files may name keys, but ask nothing of this machine.
    """

    packaged: Path
    own: Path | None = None
    foreign: bool = True

    def __str__(self) -> str:
        return readable(self.packaged)


Groups = str | Path | Snapshot | None  # where config groups are, beside the packaged ones or in their place


def folders(config_dir: Groups = None) -> list[Path]:
    """Folders that hold config groups: the packaged one, then the user's own."""
    if isinstance(config_dir, Snapshot):
        train, own = config_dir.packaged / "train.yaml", config_dir.own
        if not train.is_file() or (own and not own.is_dir()):
            lost = own if train.is_file() else train
            raise ConfigError(f"{lost} is missing; a sweep goes on by the YAML files that it keeps: begin it again")
        return [config_dir.packaged, *([own] if own else [])]
    if not CONFIGS.is_dir():
        raise ConfigError(f"the packaged configs are missing beside {_HERE}; install dltrain again")
    if config_dir is None:
        return [CONFIGS]
    own = local(config_dir).resolve()
    if not own.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
    return [CONFIGS, own]


def readable(file: Path) -> str:
    """What a file of choices is called: from configs/ or the current folder on, where it is in there."""
    if file.is_relative_to(CONFIGS):
        return f"configs/{file.relative_to(CONFIGS)}"
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def groups(config_dir: Groups = None) -> dict[str, list[str]]:
    """Each group with the names that it offers. A folder of the user's own may hold other things, too, such as runs."""
    found: dict[str, set[str]] = {}
    for folder in folders(config_dir):
        for group in sorted(p for p in folder.iterdir() if p.is_dir() and _may_be_group(p)):
            found.setdefault(group.name, set()).update(f.stem for f in group.glob("*.yaml") if f.is_file())
    return {group: sorted(names) for group, names in found.items() if names}


def _may_be_group(folder: Path) -> bool:
    made = any((folder / name).is_file() for name in ("overrides.txt", "summary.json", "sweep.json"))  # by a run
    return not (made or folder.name.startswith(".") or folder.name == "hydra")


def choices(group: str, config_dir: Groups = None) -> Iterator[Choice]:
    """The files of one group, read as text."""
    files = {f.stem: f for folder in folders(config_dir) for f in (folder / group).glob("*.yaml") if f.is_file()}
    for name, path in sorted(files.items()):
        try:
            lines = foreign.read(path.resolve(), foreign.LARGEST_CONFIG).decode(errors="replace").splitlines()
        except OSError as error:
            raise ConfigError(f"{readable(path)} can't be read: {error.strerror}") from error
        below = dropwhile(lambda line: not line.startswith("#"), (line for line in lines if "@package" not in line))
        comments = takewhile(lambda line: line.startswith("#"), below)
        header, entry = _entry([line.lstrip("#").removeprefix(" ").rstrip() for line in comments])
        knobs: list[tuple[str, str, str]] = []
        parents: list[tuple[int, str]] = []
        for line in lines:
            match = _KNOB.match(line)
            if not match or line.startswith("#"):
                continue
            indent, key = len(match[1]), match[2]
            value, _, note = (part.strip() for part in match[3].partition("#"))
            parents = [(i, k) for i, k in parents if i < indent]
            if key in ("_target_", "defaults") or any(k == "defaults" for _, k in parents):
                continue
            if value or note:
                knobs.append((".".join([*(k for _, k in parents), key]), value, note))
            if not value:
                parents.append((indent, key))
        yield Choice(group, name, path, header, entry, tuple(knobs))


def _entry(header: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """The lines of a header without a label, of which the first is one, and those of each label."""
    plain: list[str] = []
    entry: dict[str, list[str]] = {}
    label = None
    for line in header:
        if plain and (match := _LABEL.fullmatch(line)):
            label = match[1]
            entry.setdefault(label, []).append(match[2])
        elif label and line.startswith("  "):
            entry[label].append(line)
        else:
            label = None
            plain.append(line)
    return tuple(plain), {label: (first, *_level(rest)) for label, (first, *rest) in entry.items()}


def _level(lines: Sequence[str]) -> list[str]:
    """Lines without the indentation that they share."""
    return dedent("\n".join(lines)).splitlines()
