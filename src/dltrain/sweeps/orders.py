"""What every job of a sweep is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from dltrain.config.choices import Snapshot
from dltrain.runs.foreign import Values


@dataclass(frozen=True)
class Orders:
    """What holds for every job of a sweep, as long as one command works on it."""

    folder: str  # the sweep's
    own_groups: bool = False  # whether its snapshot has config groups of the user's own
    threads: int | None = None  # CPU threads of torch, where a job does not say; None: as of a run alone
    allow: tuple[str, ...] = ()  # packages that a `_target_` may name
    words: tuple[str, ...] = ()  # of a command for one job, beside its overrides
    resumed: bool = False  # the folder was there before: it may be a stranger's
    trusted: bool = True  # the user has named the config groups, now or when the sweep began
    allow_changed_data: bool = False
    quick: bool = True  # whether jobs are composed from what Hydra made of others

    @property
    def snapshot(self) -> Snapshot:
        """The config groups of the sweep."""
        configs = Path(self.folder) / "configs"
        return Snapshot(configs / "packaged", configs / "own" if self.own_groups else None, foreign=not self.trusted)

    def as_json(self) -> Values:
        return asdict(self)

    @classmethod
    def of(cls, given: Values) -> Orders:
        found: Values = {**given, "allow": tuple(given["allow"]), "words": tuple(given["words"])}
        return cls(**found)
