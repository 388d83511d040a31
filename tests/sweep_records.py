"""A sweep's folder as a stranger may send it: the record, and a snapshot of config groups beside it."""

import json
import shutil
from pathlib import Path

from dltrain.config.choices import CONFIGS
from dltrain.config.compose import compose
from dltrain.sweeps.ledger import FORMAT

NODE = compose([], sweep=True).sweep


def write_record(folder: Path, overrides: list[str], **others: object) -> None:
    """sweep.json with what was typed, and the packaged groups beside it."""
    if not (folder / "configs" / "packaged").exists():
        shutil.copytree(CONFIGS, folder / "configs" / "packaged", dirs_exist_ok=True)
    record = {"format": FORMAT, "overrides": overrides, "command": [], "folder": str(folder.parent), "sweep": NODE}
    record |= {"own_groups": (folder / "configs" / "own").is_dir(), "threads": 1, "jobs": None, **others}
    (folder / "sweep.json").unlink(missing_ok=True)
    (folder / "sweep.json").write_text(json.dumps(record))
