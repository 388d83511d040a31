"""What is compared: runs of one configuration together, the best first, each by the values that tell it from others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from dltrain.errors import ConfigError
from dltrain.errors.output import cut, one_line
from dltrain.insight import listing
from dltrain.runs import reading, run_folder, seeds
from dltrain.runs.reading import Run

_LONGEST = 40  # letters of a name


@dataclass(frozen=True)
class Entry:
    """One run, or several of one configuration with different seeds or folds; where somebody compares `by` a key, all
    that have one value of it, and `beside` are the keys whose values vary among them.
    """

    name: str  # adamw 0.1
    runs: list[Run]
    beside: tuple[str, ...] = ()

    def values(self, metric: str) -> list[float]:
        """A metric of each run that has it."""
        return seeds.values(self.runs, metric)

    def by_repeat(self, metric: str) -> dict[tuple[str, ...], float]:
        """The same by seed and fold, and what varies beside: what can be held against another entry pair by pair."""
        typed = listing.choices(self.runs if self.beside else ())  # momentum and sgd are two, by their class one
        return {
            (*seeds.repeat(run), *(str(listing.shown(run, key, typed)) for key in self.beside)): run.numbers[metric]
            for run in self.runs
            if metric in run.numbers
        }


def of(references: Sequence[str], *, by: Sequence[str] = (), to: str | None = None) -> list[Entry]:
    """What is compared where somebody names runs; raises ConfigError for fewer than two.

    by: keys whose values alone tell entries apart. to: a run of the entry that comes first, in the place of the best.
    """
    found = run_folder.collect([*references, *([to] if to else [])])
    made = entries(found, by=[listing.known(key, found) for key in by])
    if len(made) < 2:
        what = f"all of them have one value of {', '.join(by)}" if by else f"{' '.join(references)} is one run"
        raise ConfigError(f"{what}; name two or more, or a sweep: dltrain compare A B")
    if to is None:
        return made
    meant = {run.folder.resolve() for run in run_folder.collect([to])}
    first = next(entry for entry in made if any(run.folder.resolve() in meant for run in entry.runs))
    return [first, *(entry for entry in made if entry is not first)]


def entries(found: Sequence[Run], *, by: Sequence[str] = ()) -> list[Entry]:
    """Runs of one configuration are one entry, whatever their seeds and folds, unless that leaves one entry alone."""
    own, places = _typed_and_different(found), {run.folder: place for place, run in enumerate(found)}
    if by:
        groups, beside = _pooled(found, by), tuple(key for key in own if key not in by)
    else:
        ranked, beside = seeds.ranked(found), ()
        groups = [sorted(group, key=lambda run: places[run.folder]) for group in ranked]
        if len(groups) == 1:
            groups = [[run] for run in ranked[0]]
    return [Entry(n, group, beside) for n, group in zip(_names(groups, by or own), groups, strict=True)]


def _pooled(found: Sequence[Run], by: Sequence[str]) -> list[list[Run]]:
    """The runs by their values of some keys, the best first by the mean over all of them."""
    typed, together = listing.choices(found), dict[tuple[str, ...], list[Run]]()
    for run in found:
        together.setdefault(tuple(str(listing.shown(run, key, typed)) for key in by), []).append(run)
    metric = seeds.criterion(found)
    return sorted(together.values(), key=lambda group: seeds.rank(group, metric))


def _typed_and_different(found: Sequence[Run]) -> list[str]:
    """The keys that somebody typed, and whose values differ; whatever differs where nobody typed any of that."""
    typed = listing.choices(found)
    keys = [key for key in listing.differing(found, typed=typed) if key not in seeds.keys(found)]
    return [key for key in keys if any(key in run.typed for run in found)] or keys


def _names(groups: Sequence[Sequence[Run]], keys: Sequence[str]) -> list[str]:
    """The values of as few keys as tell all of them apart, in their order, or, where that is too long, first of those
    that most runs have typed; what they can't, short ids do.
    """
    firsts = [group[0] for group in groups]
    names = _worded(firsts, keys)
    if max(map(len, names), default=0) > _LONGEST:
        names = _worded(firsts, listing.most_typed(keys, firsts))
    names = [cut(name or _repeat(run), _LONGEST) for name, run in zip(names, firsts, strict=True)]
    times, ids = Counter(names), reading.short_ids([run.folder for run in firsts])
    return [one_line(n if times[n] == 1 else f"{n} ({own})".lstrip()) for n, own in zip(names, ids, strict=True)]


def _worded(firsts: Sequence[Run], keys: Sequence[str]) -> list[str]:
    typed = listing.choices(firsts)
    known = [[_value(run, key, typed) for key in keys] for run in firsts]
    few = next((n for n in range(1, len(keys)) if len({tuple(row[:n]) for row in known}) == len(known)), len(keys))
    words = [key for key in keys[:few] if key in typed]
    plain = len(words) > 0 and few - len(words) == 1  # adamw 0.1, but lr=0.1 where it stands alone
    short = {key: key.rpartition(".")[2] for key in keys[:few]}
    return [
        " ".join(
            v if key in words or plain else f"{short[key]}={v}" for key, v in zip(keys[:few], row, strict=False) if v
        )
        for row in known
    ]


def _value(run: Run, key: str, typed: frozenset[str]) -> str:
    found = listing.shown(run, key, typed)
    text = "" if found is None else listing.cell(key, found)
    return text.replace(", ", ",") if isinstance(found, list) else text  # as it was typed


def _repeat(run: Run) -> str:
    seed, fold = seeds.repeat(run)
    return f"seed {seed}{f' fold {fold}' if fold else ''}"


def told(compared: Sequence[Entry]) -> list[str]:
    """Of each entry its runs by their short ids, and what became of those that did not end."""
    folders = [run.folder for entry in compared for run in entry.runs]
    ids = dict(zip(folders, reading.short_ids(folders), strict=True))
    lines = []
    for entry in compared:
        names = [ids[run.folder] for run in entry.runs]
        shown = " ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        unlike = [f"{ids[r.folder]} {r.status}" for r in entry.runs if r.status not in reading.ENDED]
        notes = f"   ({', '.join(unlike[:4])})" if unlike else ""
        lines.append(one_line(shown + notes))
    return lines


def statuses(found: Sequence[Run]) -> str:
    """How many runs ended how: 3 done, 1 diverged."""
    return ", ".join(f"{n} {status.replace('_', ' ')}" for status, n in Counter(run.status for run in found).items())
