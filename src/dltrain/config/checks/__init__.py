"""The checks of a plan, by subject: its nodes and parts, the data, the net on the data, and what should be told.

Each is a function from facts, which its parameters name, to new ones. It runs where all of them are known; one that it
can do without has a default. What is wrong it says to `mistakes` by its key, or raises. `plan` lists them in order.
They import what `config` may.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import torch
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from dltrain.config.compose import Composed
    from dltrain.config.mistakes import Mistakes
    from dltrain.config.nodes import Nodes
    from dltrain.config.policy import Part
    from dltrain.config.settings import BatchSize, Regularisation, Settings
    from dltrain.data import Data
    from dltrain.engine.ranks import Ranks
    from dltrain.engine.steps.step import Kind
    from dltrain.parts.modules import Row
    from dltrain.parts.pretrained import How
    from dltrain.parts.schedules import PureSchedule, TorchSchedule
    from dltrain.runs.foreign import Values


class Known(TypedDict, total=False):
    """All that can be known of a run, in a plan under the same names; what could not be made is missing."""

    # what is given
    nodes: Nodes
    composed: Composed
    slots: Sequence[str]  # the parts that are asked for
    writes: bool  # whether a run folder is to be made
    ranks: Ranks | None  # the processes that share the run
    started: Path | None  # the folder in which a stored run's relative paths were typed
    pretrained: How
    overrides: tuple[str, ...]
    chosen: Mapping[str, str]  # of each group the name of its file, where that is known
    mistakes: Mistakes
    notes: list[str]  # what the user should know of a run that can start

    # what the nodes of the configuration say
    config: Values
    seed: int
    name: str
    runs_dir: Path
    resume: str | None
    diagnose: bool
    settings: Settings
    regularisation: Regularisation
    parts: dict[str, Part]  # those that could be made, by their slots
    data_part: Part
    model_part: Part
    loss_part: Part
    optimizer_part: Part
    scheduler_part: Part
    given_size: BatchSize
    workers: int | None
    device: torch.device

    # what trials find
    optimizer: Optimizer  # on stand-ins for parameters
    data: Data
    batch_size: int | None  # None: the whole train part
    few: tuple[Tensor, Tensor]  # the first training samples
    loss: nn.Module
    out_features: int
    monitor: str
    model: nn.Module  # which may hold no memory
    rows: list[Row]  # its summary
    step: Kind
    why_plain: str | None
    steps_per_epoch: int
    total_steps: int
    schedule_steps: int
    schedule: PureSchedule | TorchSchedule
    rate_key: str
