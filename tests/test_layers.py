"""Who may import whom: rooms know torch and their subject, the engine knows the rooms, the borders know Hydra."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "dltrain"
ROOMS = (
    "models",
    "pretrained",
    "losses",
    "optim",
    "schedules",
    "regularisation",
    "augmentation",
    "evaluation",
    "assessment",
)
ENGINE = (
    "output",
    "storage",
    "state",
    "nonfinite",
    "direct",
    "direct_losses",
    "hands",
    "flat",
    "updates",
    "lbfgs",
    "compiled",
    "graph",
    "records",
    "trainer",
    "checkpoint",
    "tracking",
    "profiling",
    "diagnosis",
)
BORDERS = (
    "foreign",
    "allowlist",
    "layout",
    "commit",
    "targets",
    "catalogue",
    "commands",
    "overrides",
    "config",
    "own_groups",
    "settings",
    "signatures",
    "startup",
    "nodes",
    "trials",
    "mistakes",
    "plan",
    "build",
    "experiment",
    "report",
    "reading",
    "runs",
    "signals",
    "streams",
    "paths",
    "resuming",
    "inference",
    "blocks",
    "judging",
    "predicting",
    "serving",
    "export",
    "keeper",
    "sweeping",
    "seeds",
    "lr_range",
    "equations",
    "remedies",
    "passes",
    "tracing",
    "examining",
    "causes",
    "verdicts",
    "doctor",
    "watching",
    "dreaming",
    "listing",
    "replay",
    "captions",
    "pictures",
    "sweep_pictures",
    "webpage",
    "reporting",
    "removal",
    "comparison",
    "cli",
)
ALLOWED = {
    **{room: {"errors"} for room in ROOMS},
    "models": {"errors", "pretrained"},
    "output": set(),
    "storage": set(),
    "signals": set(),
    "streams": {"errors"},
    "state": {"errors"},
    "nonfinite": {"errors"},
    "direct": {"direct_losses", "hands", "models"},
    "direct_losses": {"hands", "losses"},
    "hands": {"regularisation"},
    "flat": {"hands"},
    "updates": {"flat", "hands"},
    "lbfgs": {"errors", "state"},
    "compiled": {"flat", "regularisation", "updates"},
    "graph": {"direct", "updates"},
    "trainer": {
        *("compiled", "direct", "errors", "flat", "graph", "hands", "lbfgs", "nonfinite"),
        *("records", "regularisation", "state"),
    },
    "checkpoint": {"errors", "foreign", "state", "storage"},
    "profiling": {"output", "storage"},
    "tracking": {"foreign", "output", "records", "storage"},
    "records": set(),
    "diagnosis": set(),
    "foreign": {"output"},
    "paths": {"errors"},
    "allowlist": set(),
    "reading": {"foreign", "output"},
    "seeds": {"reading"},
    "layout": {"errors"},
    "commit": {"foreign"},
    "runs": {"commit", "errors", "foreign", "paths", "storage", "reading", "seeds"},
    "comparison": {
        "errors",
        "commands",
        "listing",
        "output",
        "paths",
        "plots",
        "reading",
        "report",
        "runs",
        "seeds",
        "streams",
    },
    "removal": {"errors", "commands", "layout", "listing", "output", "reading", "runs", "storage"},
    "listing": {"errors", "targets", "commands", "output", "reading", "report", "runs", "seeds", "streams"},
    "targets": {"allowlist", "errors", "paths"},
    "catalogue": {"errors", "foreign", "paths", "targets"},
    "commands": {"errors", "paths", "targets"},
    "signatures": {"targets"},
    "startup": set(),
    "overrides": {"errors", "targets", "catalogue", "commands"},
    "config": {"errors", "targets", "catalogue", "foreign", "overrides", "own_groups", "reading"},
    "own_groups": {"catalogue", "foreign", "output"},
}


def imports(path: Path) -> set[str]:
    """Dotted names of everything that a file imports, at any depth of the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def own(path: Path) -> set[str]:
    """The modules of dltrain that a file imports, by their first name."""
    return {name.split(".")[1] for name in imports(path) if name.startswith("dltrain.")}


def test_every_module_has_its_place():
    places = {*ROOMS, *ENGINE, *BORDERS, "errors", "__init__"}
    assert {p.stem for p in SRC.glob("*.py")} == places


@pytest.mark.parametrize("module", sorted(ALLOWED))
def test_modules_import_only_from_above(module):
    assert own(SRC / f"{module}.py") <= ALLOWED[module]


@pytest.mark.parametrize("path", sorted((SRC / "data").glob("*.py")), ids=lambda p: p.stem)
def test_data_knows_only_itself(path):
    assert own(path) <= {"data", "errors", "paths", "streams"}


@pytest.mark.parametrize("path", sorted((SRC / "plots").glob("*.py")), ids=lambda p: p.stem)
def test_plots_know_rooms_and_engine_only(path):
    assert own(path) <= {"plots", "errors", "data", *ROOMS, *ENGINE}


@pytest.mark.parametrize("path", sorted(p for p in SRC.rglob("*.py") if p.parent.name != "plots"), ids=lambda p: p.stem)
def test_pictures_are_drawn_by_plots_alone(path):
    assert not {name for name in imports(path) if name.split(".")[0] == "matplotlib"}


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_what_is_printed_goes_through_output(path):
    """So that no text from a file reaches a terminal as it stands."""
    if path.stem not in ("output", "streams"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        written = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert "print" not in names
        assert not written & {"sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer", "sys.__stdout__"}


@pytest.mark.parametrize("path", sorted((SRC / "plots").glob("*.py")), ids=lambda p: p.stem)
def test_plots_leave_no_global_state(path):
    assert not {name for name in imports(path) if "pyplot" in name}


@pytest.mark.parametrize("path", sorted(SRC.rglob("*.py")), ids=lambda p: str(p.relative_to(SRC)))
def test_only_the_borders_know_hydra_and_exits(path):
    text = path.read_text(encoding="utf-8")
    libraries = {name.split(".")[0] for name in imports(path)}
    if path.stem not in ("config", "own_groups", "overrides", "nodes", "resuming", "experiment", "cli"):
        assert not libraries & {"hydra", "omegaconf"}
    if path.stem != "cli":
        assert "sys.exit" not in text
    assert not libraries & {"pickle", "joblib", "dill", "cloudpickle"}


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["runs"], ["list", "optimizer"], ["--version"]])
def test_help_and_listing_need_neither_torch_nor_hydra(arguments):
    code = (
        "import sys; sys.argv = ['dltrain', *sys.argv[1:]]\n"
        "from dltrain.cli import main\n"
        "try: main()\n"
        "except SystemExit as stop: assert not stop.code\n"
        "heavy = {'torch', 'hydra', 'omegaconf', 'numpy', 'sklearn', 'rich', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout
