"""Processes that share a run, each forked by `nursery`, that meet as torchrun's do: in a store that the tests keep."""

import time
from datetime import timedelta
from itertools import count
from pathlib import Path

from killed import Child
from torch.distributed import TCPStore

_numbers = count()


class Group:
    """`dltrain WORDS` as so many processes, in the folder `root`."""

    def __init__(self, words: list[str], root: Path, size: int = 2, *, restarts: int = 0) -> None:
        # torch's launcher keeps the store, so that it outlives each of them
        self._store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False, timeout=timedelta(seconds=60))
        environ = {
            "MASTER_ADDR": "localhost",
            "MASTER_PORT": str(self._store.port),
            "WORLD_SIZE": str(size),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            "TORCHELASTIC_RESTART_COUNT": str(restarts),
        }
        self.said = [root / f"said-{next(_numbers)}" for _ in range(size)]
        self.children = [
            Child(words, root, (environ | {"RANK": str(n), "LOCAL_RANK": str(n)}, str(said)))
            for n, said in enumerate(self.said)
        ]

    def wait_for(self, place: int, rank: int = 0) -> None:
        """Until a process is there, or over."""
        while self.children[rank].place != place and not self.children[rank].over():
            time.sleep(0.0005)

    def ended(self, seconds: float = 120) -> list[int]:
        """Waits for all; gives their exit codes."""
        return [child.ended(seconds) for child in self.children]

    def words(self) -> str:
        """What all of them said."""
        return "".join(said.read_text() for said in self.said if said.exists())
