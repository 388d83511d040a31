"""What a command must not import, since each costs a person's time at every start."""

import gc
import importlib
import json
import operator
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from dltrain.commands import cli
from dltrain.training import experiment

OLDEST = version("torch").startswith("2.10.")  # whose optimizers import the compiler
COMPILER = () if OLDEST else ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy")
HEAVY = ("sklearn", "scipy", "torchvision", "pandas", "matplotlib", *COMPILER)

SCRIPTS = Path(__file__).parents[2] / "scripts"

_SERVER = """
import json, os, sys
import hydra
from dltrain.commands.cli import main

def work(folder, answers, commands):
    os.chdir(folder)
    null = os.open(os.devnull, os.O_RDWR)
    err = os.open(answers + ".err", os.O_WRONLY | os.O_CREAT)
    for number, file in enumerate((null, null, err)):
        os.dup2(file, number)
    for arguments in commands:
        try: main(arguments)
        except SystemExit as stop: code = stop.code or 0
        if code: break
    with open(answers, "w") as file:
        json.dump([code, sorted(sys.modules)], file)

for line in sys.stdin:
    if pid := os.fork():
        os.waitpid(pid, 0)
        print("done", flush=True)
    else:
        try: work(*json.loads(line))
        finally: os._exit(0)
"""


@pytest.fixture(scope="module")
def server():
    """A process that has imported what each command does before it reads a word, and forks for each."""
    command = [sys.executable, "-c", _SERVER]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


@pytest.fixture
def loaded(server, tmp_path_factory):
    """Does a command in a folder, to its end, and those that follow, up to one that fails; gives the last exit code,
    stderr and modules.
    """

    def do(folder, *arguments, then=()):
        answers = tmp_path_factory.mktemp("answers") / "modules"
        server.stdin.write(json.dumps([str(folder), str(answers), [arguments, *then]]) + "\n")
        server.stdin.flush()
        assert server.stdout.readline() == "done\n"
        code, modules = json.loads(answers.read_text())
        return code, answers.with_suffix(".err").read_text(), set(modules)

    return do


def test_a_run_imports_only_what_it_uses(loaded, tmp_path):
    words = ["trainer.epochs=1", "data=iris", "model=perceptron", "optimizer=sgd"]
    code, stderr, modules = loaded(tmp_path, *words)
    assert code == 0, stderr
    assert "torch" in modules
    assert not set(HEAVY) & modules


def test_neither_a_run_nor_a_resumed_one_imports_tables_or_the_compiler(loaded, tmp_path):
    """One after another in one process, whose modules are those of all."""
    others = [
        ["resume", "last", "trainer.epochs=2", "trainer.schedule_steps=78"],
        ["optimizer=rmsprop", "scheduler=plateau", "regularisation=[dropout,ema,clip_norm,l2]", "trainer.epochs=1"],
        ["optimizer=lbfgs", "data=sine", "scheduler=constant", "trainer.deterministic=false", "trainer.epochs=1"],
    ]
    code, stderr, modules = loaded(tmp_path, "trainer.epochs=1", then=others)
    assert code == 0, stderr
    assert len(list(tmp_path.glob("runs/*/*/summary.json"))) == 3
    assert "torch" in modules
    assert not {*HEAVY, "polars"} & modules


# -- mistakes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        ["model.widthz=3"],
        ["optimizer=adma"],
        ["optimizer=3"],
        ["optimizer.lr=fast"],
        ["scheduler.anneal=cosine"],
        ["model.widths=64"],
        ["data.scaling=none_at_all"],
        ["data=iris", "data.positive=[1]"],
        ["trainer.epochs=0"],
        ["trainer.device=gpu"],
        ["regularisation.l1=-1"],
        ["regularisation.early_stopping={patience: 0}"],
        ["regularisation.augmentation.afine={}"],
        ["data.batch_size=0"],
        ["seed=-1"],
        ["name=.."],
        ["model=module", "model._target_=os.system"],
        ["data=table", "data.target=y"],
        ["experiment=nothing"],
        ["+optimizer.foo=1"],
        ["optimizer.lr"],
        ["-m", "optimizer=adam,adma"],
        ["--alow", "x"],
        ["lst"],
    ],
    ids=" ".join,
)
def test_a_mistake_is_told_without_torch(loaded, tmp_path, arguments):
    code, stderr, modules = loaded(tmp_path, *arguments)
    assert code == 2
    assert stderr.startswith("error: ")
    assert not {"torch", "numpy", "rich", *HEAVY} & modules
    assert list(tmp_path.iterdir()) == []


def test_mistakes_that_need_no_torch_come_together_and_the_others_next(loaded, tmp_path):
    wrong = ["model.widthz=3", "optimizer.lr=fast", "trainer.epochs=0", "regularisation.ema=2", "data.scaling=x"]
    later = ["model.dropout=2", "optimizer.eps=-1"]
    code, stderr, modules = loaded(tmp_path, *wrong, *later)
    assert code == 2
    assert len(stderr.splitlines()) == 1 + len(wrong)
    assert "torch" not in modules
    code, stderr, modules = loaded(tmp_path, *later)
    assert code == 2
    assert len(stderr.splitlines()) == 1 + len(later)


@pytest.mark.parametrize("arguments", [["--cfg"], ["experiment=mnist_mlp", "--cfg"]])
def test_the_configuration_is_printed_without_torch(loaded, tmp_path, arguments):
    code, _, modules = loaded(tmp_path, *arguments)
    assert code == 0
    assert "torch" not in modules


# -- where the time goes ---------------------------------------------------------------------------------------


def profiled(folder, *arguments):
    """The phases of a command, in seconds, and its exit code."""
    command = [sys.executable, SCRIPTS / "profile_startup.py", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    lines = [line for line in done.stderr.splitlines() if line.endswith("%")]
    return {line[:31].strip(): float(line[31:].split()[0]) for line in lines}, done.returncode


@pytest.fixture
def phases(monkeypatch):
    """Every module with the functions in it that a phase is timed by."""
    monkeypatch.syspath_prepend(SCRIPTS)
    found = importlib.import_module("profile_startup")
    return [*found._FUNCTIONS.items(), *found._FIRST_CALL.items()]


def test_the_phases_of_a_run_add_up_to_its_total(tmp_path, phases):
    taken, code = profiled(tmp_path, "trainer.epochs=2")
    assert code == 0
    total = taken.pop("total")
    assert abs(sum(taken.values()) - total) < 0.0006 * len(taken)
    wanted = {phase for _, functions in phases for phase in functions.values()}
    assert {"interpreter", "import hydra", "import torch", "other", *wanted} <= taken.keys()
    assert taken["import torch"] > 0
    assert taken["other"] < 0.3 * total


def test_the_phases_of_a_mistake_and_of_help(tmp_path):
    phases, code = profiled(tmp_path, "model.widthz=3")
    assert code == 2
    assert "compose" in phases
    assert "import torch" not in phases
    phases, code = profiled(tmp_path, "--help")
    assert code == 0
    assert {"interpreter", "total"} <= phases.keys()


def test_every_phase_times_functions_that_there_are(phases):
    for module, functions in phases:
        for dotted in functions:
            assert callable(operator.attrgetter(dotted)(importlib.import_module(module))), dotted


def test_garbage_is_collected_again_once_all_is_imported(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []

    def stop(*_args):
        seen.append(gc.isenabled())
        raise KeyboardInterrupt

    monkeypatch.setattr(experiment, "prepare", stop)
    for arguments in ([], ["--help"], ["model.widthz=3"]):
        with pytest.raises(SystemExit):
            cli.main(arguments)
        assert gc.isenabled()
    assert seen == [True]


@pytest.mark.parametrize(
    "arguments",
    [
        ["seed=0,1", "optimizer.lr=fast"],
        ["optimizer.lr=fast,0.1"],
        ["model=mlp,linear", "trainer.epochs=0"],
        ["seed=1,2", "name=.."],
    ],
)
def test_what_is_wrong_in_every_job_of_a_sweep_is_told_before_the_first(loaded, tmp_path, arguments):
    code, stderr, modules = loaded(tmp_path, "-m", *arguments)
    assert code == 2
    assert len(stderr.splitlines()) == 1
    assert "torch" not in modules
    assert list(tmp_path.iterdir()) == []
