"""`dltrain list [GROUP [NAME]]`: what can be chosen, and its knobs; and the words of a course."""

from __future__ import annotations

import argparse
import textwrap

from dltrain.config import choices
from dltrain.course import glossary
from dltrain.errors import ConfigError, did_you_mean
from dltrain.errors.output import cut, say

_HEADER = 40  # lines of a file that are shown


def overview(config_dir: str | None) -> str:
    """Every group with its choices, as `dltrain --help` shows them, too."""
    lines: list[str] = []
    for group, names in choices.groups(config_dir).items():
        text = textwrap.wrap(" ".join(names), width=96)
        lines += [f"  {group if i == 0 else '':<15}{line}" for i, line in enumerate(text)]
    return "\n".join(lines)


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain list`: needs neither torch nor Hydra."""
    groups = choices.groups(options.config_dir)
    if not words:
        say(overview(options.config_dir))
        say("\n`dltrain list GROUP` explains each choice and its knobs, `dltrain list glossary` the words of a course")
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
    for choice in choices.choices(group, options.config_dir):
        if names and choice.name not in names:
            continue
        header = choice.header[:_HEADER] if names else (choice.explanation,)
        lines = [f"{group}={choice.name}", *(f"    {cut(line, 300)}".rstrip() for line in header)]
        say("\n".join([*lines, *[""] * (len(lines) > 2)]))
        for key, value, note in choice.knobs:
            say(f"      {cut(key + ': ' + value, 100):<32}  {cut(note, 300)}".rstrip())
    return 0
