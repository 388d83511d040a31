"""A program that a launcher has started as several processes: one run of all of them, that each returns."""

import os
import socket
import subprocess
import sys

PROGRAM = """
import dltrain
from dltrain import errors

run = dltrain.train("trainer.epochs=1", "trainer.progress=false", "model.widths=[4]", "scheduler=constant", data="iris")
again = dltrain.resume(run, "trainer.epochs=2", "trainer.progress=false")
print(again.folder.name, again.metrics["test/loss"], again.status)
try:
    dltrain.train("optimizer.lrr=1")
except (errors.ConfigError, errors.RanksError) as error:
    print(error)
"""


def test_a_program_of_several_processes_shares_its_runs(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            cwd=tmp_path,
            env=os.environ | common | {"RANK": str(n), "LOCAL_RANK": str(n)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for n in range(2)
    ]
    first, second = (process.communicate(timeout=300)[0] for process in started)
    assert [process.returncode for process in started] == [0, 0]
    (folder,) = (tmp_path / "runs").glob("*/*")
    assert first == second
    assert first.startswith(f"{folder.name} ")
    assert " done\n`optimizer.lrr=1`: unknown key; did you mean `optimizer.lr`?\n" in first
