"""`dltrain list [GROUP [NAME]]`: what can be chosen, and its knobs; and the words of a course."""

from __future__ import annotations

import argparse
import textwrap

from dltrain.config import choices
from dltrain.course import glossary, lexicon
from dltrain.errors import ConfigError, did_you_mean
from dltrain.errors.output import say
from dltrain.errors.tables import room


def overview(config_dir: str | None) -> str:
    """Every group with its choices, as `dltrain --help` shows them, too."""
    lines: list[str] = []
    for group, names in choices.groups(config_dir).items():
        text = textwrap.wrap(" ".join(names), width=max(40, min(96, room() - 17)))
        lines += [f"  {group if i == 0 else '':<15}{line}" for i, line in enumerate(text)]
    return "\n".join(lines)


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain list`: needs neither torch nor Hydra."""
    groups = choices.groups(options.config_dir)
    if not words:
        say(overview(options.config_dir))
        say("\n`dltrain list GROUP` explains each choice, `dltrain list GROUP NAME` one with all its knobs,")
        say("`dltrain list glossary` the words of a course")
        return 0
    group, *names = words
    if group == "glossary" and group not in groups:
        say("\n\n".join(map(glossary.told, glossary.found(names))))
        return 0
    if group not in groups:
        raise ConfigError(f"there is no group `{group}`{did_you_mean(group, groups)}; there are {', '.join(groups)}")
    unknown = [n for n in names if n not in groups[group]]
    if unknown:
        raise ConfigError(f"{group} has no `{unknown[0]}`{did_you_mean(unknown[0], groups[group])}")
    found = choices.choices(group, options.config_dir)
    if names or len(groups[group]) == 1:
        say("\n\n".join(lexicon.whole(choice) for choice in found if choice.name in (names or groups[group])))
    else:
        say("\n\n".join([*filter(None, [lexicon.about(group)]), *map(lexicon.brief, found)]))
        say(f"\n`dltrain list {group} NAME` has all of one: formula, reasons, source, chapter, knobs")
    return 0
