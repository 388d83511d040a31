"""dltrain in a notebook, in a kernel of its own: docs/library.md as one, a bar, tables, and the stop button."""

import re
import subprocess
import sys
import threading
from pathlib import Path

import nbclient
import nbformat
import pytest

ROOT = Path(__file__).parents[2]


CHAPTERS = ("07_linear_regression", "28_checkpoints", "29_tensorboard")
TRAIN = "import dltrain; run = dltrain.train('data=iris', 'trainer.epochs=3', 'trainer.tensorboard=false')"
ENDLESS = "import dltrain; run = dltrain.train('data=digits', 'trainer.epochs=99999', 'trainer.tensorboard=false')"


class _StopButton(nbclient.NotebookClient):
    """Pressed when the endless cell has shown something."""

    def process_message(self, msg, cell, cell_index):
        if msg["msg_type"] == "stream" and cell.source == ENDLESS and not hasattr(self, "pressed"):
            self.pressed = threading.Timer(1, lambda: subprocess.run(["kill", "-INT", str(self.km.provisioner.pid)]))
            self.pressed.start()
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """Cells that ran in one kernel of this Python, in an empty folder: of the page, of chapters, and typed."""

    def programs(*path):
        book = nbformat.read(ROOT.joinpath("docs", *path), as_version=4)
        nbformat.validate(book)
        return [cell.source for cell in book.cells if cell.cell_type == "code"]

    page = [re.sub(r"epochs=\d+", "epochs=2", program) for program in programs("library.ipynb")]
    course = [program for name in CHAPTERS for program in programs("course", f"{name}.ipynb")]
    typed = [TRAIN, "run", ENDLESS, "dltrain.load('last').status"]
    made = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, [*page, *course, *typed])])
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    _StopButton(made, timeout=300, kernel_name="python3", resources=resources, allow_errors=True).execute()
    rest = len(page) + len(course)
    return made.cells[: len(page)], made.cells[len(page) : rest], made.cells[rest:]


def errors(cells) -> list:
    return [output for cell in cells for output in cell.outputs if output["output_type"] == "error"]


def texts(outputs) -> str:
    return "".join(output.get("text", "") for output in outputs)


def test_the_notebook_is_the_page():
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "notebook.py"), "--check"])
    assert done.returncode == 0, "python scripts/notebook.py writes it anew"


def test_the_notebook_runs_from_top_to_bottom(ran):
    page, _, _ = ran
    assert len(page) >= 10
    assert all(texts(cell.outputs) for cell in page)
    assert not errors(page)


def test_a_run_has_a_bar_and_a_table(ran):
    bar, shown = (cell.outputs for cell in ran[2][:2])
    assert "21/21" in texts(bar) or any("application/vnd.jupyter" in str(o.get("data")) for o in bar)
    assert "<table>" in shown[0]["data"]["text/html"]
    assert "TqdmWarning" not in texts(bar)


def test_notebooks_of_the_course_run(ran):
    """Three of them, one after the other; what is seen is a table with pictures."""
    _, course, _ = ran
    assert not errors(course)
    seen = [cell.outputs[-1]["data"]["text/html"] for cell in course if "lab.study" in cell.source]
    assert len(seen) == len(CHAPTERS)
    for html in seen:
        assert html.count("<table") == 1 <= html.count("<img ")


def test_the_stop_button_saves_and_the_cell_says_how_to_go_on(ran):
    interrupted, after = ran[2][2:]
    (error,) = errors([interrupted])
    assert error["ename"] == "Interrupted"  # a KeyboardInterrupt
    assert re.search(r"stopped at step [\d,]+ and saved; go on: dltrain\.resume\(", error["evalue"])
    assert after.outputs[0]["data"]["text/plain"] == "'stopped'"
