"""What a command must not import, since each costs a person's time at every start."""

import json
import subprocess
import sys

import pytest

COMPILER = ("torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes", "sympy")  # 1.2 to 1.5 s
HEAVY = ("sklearn", "scipy", "torchvision", "pandas", "matplotlib", *COMPILER)

_HARNESS = """
import json, sys
from dltrain.cli import main
try: main()
except SystemExit as stop: code = stop.code
print(json.dumps([code or 0, sorted(sys.modules)]))
"""


def loaded(folder, *arguments):
    """Exit code, stderr and the modules of a command that ran to its end."""
    command = [sys.executable, "-c", _HARNESS, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    code, modules = json.loads(done.stdout.splitlines()[-1])
    return code, done.stderr, set(modules)


@pytest.mark.parametrize(
    ("arguments", "spared"),
    [
        ([], {*HEAVY, "polars"}),
        (["data=iris", "model=perceptron", "optimizer=sgd"], HEAVY),
        (["optimizer=rmsprop", "scheduler=plateau", "regularisation=[dropout,ema,clip_norm,l2]"], {*HEAVY, "polars"}),
        (["optimizer=lbfgs", "data=sine", "scheduler=constant", "trainer.deterministic=false"], {*HEAVY, "polars"}),
    ],
    ids=lambda a: " ".join(a) if isinstance(a, list) else "",
)
def test_a_run_imports_only_what_it_uses(tmp_path, arguments, spared):
    code, stderr, modules = loaded(tmp_path, "trainer.epochs=1", *arguments)
    assert code == 0, stderr
    assert "torch" in modules
    assert not set(spared) & modules


def test_a_resumed_run_imports_no_compiler(tmp_path):
    assert loaded(tmp_path, "trainer.epochs=1")[0] == 0
    code, stderr, modules = loaded(tmp_path, "resume", "last", "trainer.epochs=2", "trainer.schedule_steps=78")
    assert code == 0, stderr
    assert not set(HEAVY) & modules
