"""What a run folder that `dltrain ensemble` made says of its members; it is known by having some."""

from __future__ import annotations

from pathlib import Path

from dltrain.errors import ConfigError
from dltrain.errors.output import cut
from dltrain.runs import reading

_MOST_TOLD = 200
_LONGEST = 200  # letters of what was typed for a member


def are_in(summary: object) -> bool:
    """Whether the content of a summary.json is that of an ensemble."""
    return "members" in reading.node(summary)


def told(summary: object) -> list[str]:
    """A line for each: how often it counts, its short id, what was typed for it."""
    found = reading.node(summary).get("members")
    members = found if isinstance(found, list) else []
    lines: list[str] = []
    for each in members[:_MOST_TOLD]:
        typed = reading.node(each).get("overrides")
        words = " ".join(map(str, typed)) if isinstance(typed, list) else ""
        weight, run = (cut(str(reading.node(each).get(key))) for key in ("weight", "run"))
        lines.append(f"{weight} x {run}  {cut(words, _LONGEST)}".rstrip())
    more = len(members) - len(lines)
    return [*lines, *[f"and {more:,} more"] * (more > 0)]


def check_none(folder: Path) -> None:
    """Raises ConfigError for the folder of an ensemble, which no training made."""
    if are_in(reading.read_json(folder / "summary.json")[0]):
        raise ConfigError(
            f"{folder} is an ensemble, an average of runs that were trained before: it has no training to go on with "
            "or to look into; take its members (dltrain show names them), and average them again by dltrain ensemble"
        )
