"""Where configs are, what can be chosen, and how a command line becomes one checked configuration.

Listing reads the YAML files as text, so that `dltrain --help` and `dltrain list` need neither torch nor Hydra.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dltrain.errors import ConfigError
from dltrain.targets import did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig

_HERE = Path(__file__).parent
# In an installed wheel the configs stand inside the package; in a checkout, at the top of the repository.
CONFIGS = next((p for p in (_HERE / "configs", _HERE.parents[1] / "configs") if (p / "train.yaml").is_file()), None)
_KNOB = re.compile(r"^( *)([\w.]+):[ ]*([^#]*?)[ ]*(?:#[ ]*(.*))?$")


@dataclass(frozen=True)
class Choice:
    """One YAML file of a group: its name, its explanation (the file's first comment) and its knobs."""

    group: str
    name: str
    path: Path
    explanation: str
    knobs: tuple[tuple[str, str, str], ...]  # (key, value, comment)


def folders(config_dir: str | Path | None = None) -> list[Path]:
    """Folders that hold config groups: the packaged one, then the user's own."""
    if CONFIGS is None:
        raise ConfigError(f"the packaged configs are missing beside {_HERE}; install dltrain again")
    if config_dir is None:
        return [CONFIGS]
    own = Path(config_dir).resolve()
    if not own.is_dir():
        raise ConfigError(f"--config-dir {config_dir}: there is no such folder")
    return [CONFIGS, own]


def groups(config_dir: str | Path | None = None) -> dict[str, list[str]]:
    """Each group with the names that it offers."""
    found: dict[str, set[str]] = {}
    for folder in folders(config_dir):
        for group in sorted(p for p in folder.iterdir() if p.is_dir()):
            found.setdefault(group.name, set()).update(f.stem for f in group.glob("*.yaml"))
    return {group: sorted(names) for group, names in found.items() if names}


def choices(group: str, config_dir: str | Path | None = None) -> Iterator[Choice]:
    """The files of one group, read as text."""
    files = {f.stem: f for folder in folders(config_dir) for f in (folder / group).glob("*.yaml")}
    for name, path in sorted(files.items()):
        lines = path.read_text(encoding="utf-8").splitlines()
        comment = next((line for line in lines if line.startswith("#") and "@package" not in line), "#")
        knobs, parents = [], []
        for line in lines:
            match = _KNOB.match(line)
            if not match or line.startswith("#"):
                continue
            indent, key, value, note = len(match[1]), match[2], match[3], match[4] or ""
            parents = [(i, k) for i, k in parents if i < indent]
            if key in ("_target_", "defaults") or any(k == "defaults" for _, k in parents):
                continue
            if value or note:
                knobs.append((".".join([*(k for _, k in parents), key]), value, note))
            if not value:
                parents.append((indent, key))
        yield Choice(group, name, path, comment.lstrip("# ").strip(), tuple(knobs))


@dataclass(frozen=True)
class Composed:
    """A configuration with where it came from: what was chosen in each group, and what was typed."""

    cfg: DictConfig
    chosen: dict[str, Any]
    overrides: tuple[str, ...]
    mistakes: tuple[str, ...] = ()

    def origin(self, key: str) -> str:
        """Where the value of a dotted key was written: an override, or a YAML file."""
        typed = [o for o in self.overrides if o.split("=")[0].lstrip("+~") in (key, key.split(".")[0] + "._target_")]
        exact = [o for o in typed if o.split("=")[0].lstrip("+~") == key]
        if exact:
            return f"override {exact[-1]}"
        group = key.split(".")[0]
        if self.chosen.get("experiment") and f"{group}:" in _text("experiment", self.chosen["experiment"]):
            return f"configs/experiment/{self.chosen['experiment']}.yaml or its {group}"
        name = self.chosen.get(group)
        return f"configs/{group}/{name}.yaml" if isinstance(name, str) else "configs/train.yaml"


def _text(group: str, name: str) -> str:
    path = CONFIGS / group / f"{name}.yaml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def compose(overrides: Sequence[str], config_dir: str | Path | None = None) -> Composed:
    """Compose a configuration from `key=value` and `group=name`; unknown ones are collected, not raised."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    good, mistakes = check_overrides(overrides, config_dir)
    search = [f"hydra.searchpath=[file://{folders(config_dir)[1]}]"] if config_dir else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(config_dir=str(CONFIGS), version_base="1.3"):

        def attempt(typed: Sequence[str]) -> DictConfig:
            return hydra_compose("train", overrides=[*search, *typed], return_hydra_config=True)

        try:
            try:
                cfg = attempt(good)
            except (HydraException, OmegaConfBaseException):
                good, cfg = _drop_bad(good, attempt, mistakes, groups(config_dir))
            chosen = OmegaConf.to_container(cfg.hydra.runtime.choices)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError("\n".join([*mistakes, _first_line(error)])) from error
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    return Composed(cfg, chosen, tuple(good), tuple(mistakes))


def _drop_bad(
    typed: Sequence[str], attempt: Callable[[Sequence[str]], DictConfig], mistakes: list[str], known: Iterable[str]
) -> tuple[list[str], DictConfig]:
    """The overrides that compose, found one by one, with the config that they make; says what the others lack."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    good = [o for o in typed if o.split("=")[0].lstrip("+~").split("@")[0] in known]
    cfg = attempt(good)
    for override in (o for o in typed if o not in good):
        try:
            attempt([*good, override])
            good.append(override)
        except (HydraException, OmegaConfBaseException) as error:
            mistakes.append(_explain(override, cfg, error))
    return good, attempt(good)


def check_overrides(
    overrides: Sequence[str], config_dir: str | Path | None = None, *, sweep: bool = False
) -> tuple[list[str], list[str]]:
    """The overrides that Hydra can read and whose groups and choices exist, and what is wrong with the others."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    known, parser = groups(config_dir), OverridesParser.create()
    good, mistakes = [], []
    for text in overrides:
        if "=" not in text and not text.startswith("~"):
            commands = ["list", "resume", *(f"{g}=" for g in known)]
            mistakes.append(f"`{text}`: write key=value or group=name{did_you_mean(text, commands)}")
            continue
        try:
            override = parser.parse_override(text)
        except OverrideParseException as error:
            mistakes.append(f"`{text}`: {_first_line(error)}")
            continue
        if override.is_sweep_override() and not sweep:
            mistakes.append(f"`{text}` gives several values: add -m to train one run for each, or quote the value")
            continue
        if override.key_or_group in known and not override.is_delete():
            names = _selected(override)
            unknown = [n for n in names if n not in known[override.key_or_group]]
            for name in unknown:
                hint = did_you_mean(str(name), known[override.key_or_group])
                offered = "" if hint else f"; there are {', '.join(known[override.key_or_group])}"
                mistakes.append(f"`{text}`: {override.key_or_group} has no `{name}`{hint}{offered}")
            if unknown:
                continue
        good.append(text)
    return good, mistakes


def _selected(override: Any) -> list[Any]:
    """The names that a group override picks, flattened; `null` picks nothing."""
    value = override.sweep_iterator() if override.is_sweep_override() else [override.value()]
    flat = [v for item in value for v in (item if isinstance(item, list) else [item])]
    return [str(v).strip("\"'") for v in flat if v is not None and str(v) != "null"]


def _explain(override: str, cfg: DictConfig, error: Exception) -> str:
    """One line on why Hydra refused a `key=value`."""
    key = override.split("=")[0].lstrip("+~")
    known = _keys(cfg)
    if key not in known and not override.startswith("+"):
        hint = did_you_mean(key, known) or did_you_mean(key, groups())
        parent = key.rsplit(".", 1)[0]
        own = [k[len(parent) + 1 :] for k in known if k.startswith(f"{parent}.")]
        more = "" if hint else (f"; `{parent}` has {', '.join(own)}" if own else "; `dltrain list` shows what there is")
        return f"`{override}`: unknown key{hint}{more}"
    return f"`{override}`: {_first_line(error)}"


def _keys(cfg: Any, prefix: str = "") -> list[str]:
    """All dotted keys of a config, Hydra's own left out."""
    from omegaconf import DictConfig

    found = []
    for key in cfg:
        if not prefix and key == "hydra":
            continue
        path = f"{prefix}{key}"
        found.append(path)
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            found += _keys(node, f"{path}.")
    return found


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def from_job(cfg: DictConfig, chosen: dict[str, Any], overrides: Sequence[str]) -> Composed:
    """The configuration that Hydra composed for one job of a sweep."""
    from omegaconf import OmegaConf

    own = OmegaConf.masked_copy(cfg, [k for k in cfg if k != "hydra"])
    OmegaConf.set_struct(own, False)
    return Composed(own, chosen, tuple(overrides))


def stored(folder: Path) -> Composed:
    """The configuration of a run folder. It is data: nothing in it is resolved, and it passes the same checks."""
    from omegaconf import OmegaConf

    path = folder / "config.yaml"
    try:
        text = path.read_text(encoding="utf-8")
        if "${" in text:
            raise ConfigError(f"{path} has an interpolation; a stored configuration holds plain values")
        cfg = OmegaConf.create(text)
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}") from error
    except ConfigError:
        raise
    except Exception as error:  # a YAML error of any kind
        raise ConfigError(f"{path} is not the configuration of a run: {_first_line(error)}") from error
    if not OmegaConf.is_dict(cfg):
        raise ConfigError(f"{path} is not the configuration of a run")
    return Composed(cfg, {}, ())


def first_of_each(overrides: Sequence[str]) -> list[str]:
    """The overrides of a sweep with the first value in place of each list of values."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parser, single = OverridesParser.create(), []
    for text in overrides:
        override = parser.parse_override(text)
        if override.is_sweep_override():
            text = f"{text.split('=', 1)[0]}={next(iter(override.sweep_string_iterator()))}"
        single.append(text)
    return single
