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
def outputs(tmp_path_factory):
    """What cells gave in a kernel of this Python, in an empty folder: those of the page first."""
    book = nbformat.read(ROOT / "docs" / "library.ipynb", as_version=4)
    nbformat.validate(book)
    programs = [re.sub(r"epochs=\d+", "epochs=2", cell.source) for cell in book.cells if cell.cell_type == "code"]
    cells = map(nbformat.v4.new_code_cell, [*programs, TRAIN, "run", ENDLESS, "dltrain.load('last').status"])
    made = nbformat.v4.new_notebook(cells=[*cells])
    resources = {"metadata": {"path": str(tmp_path_factory.mktemp("notebook"))}}
    _StopButton(made, timeout=300, kernel_name="python3", resources=resources, allow_errors=True).execute()
    return [cell.outputs for cell in made.cells]


def texts(outputs) -> str:
    return "".join(output.get("text", "") for output in outputs)


def test_the_notebook_is_the_page():
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "notebook.py"), "--check"])
    assert done.returncode == 0, "python scripts/notebook.py writes it anew"


def test_the_notebook_runs_from_top_to_bottom(outputs):
    found = outputs[:-4]
    assert len(found) >= 10
    assert all(texts(each) for each in found)
    assert not [output for each in found for output in each if output["output_type"] == "error"]


def test_a_run_has_a_bar_and_a_table(outputs):
    bar, shown = outputs[-4:-2]
    assert "21/21" in texts(bar) or any("application/vnd.jupyter" in str(o.get("data")) for o in bar)
    assert "<table>" in shown[0]["data"]["text/html"]
    assert "TqdmWarning" not in texts(bar)


def test_notebooks_of_the_course_run(tmp_path):
    """Three of them, one after the other in one kernel; what is seen is a table with a picture."""
    names = ("07_linear_regression", "28_checkpoints", "29_tensorboard")
    books = [nbformat.read(ROOT / "docs" / "course" / f"{name}.ipynb", as_version=4) for name in names]
    for book in books:
        nbformat.validate(book)
    programs = [cell.source for book in books for cell in book.cells if cell.cell_type == "code"]
    made = nbformat.v4.new_notebook(cells=[*map(nbformat.v4.new_code_cell, programs)])
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(made, timeout=300, kernel_name="python3", resources=resources).execute()
    seen = [cell.outputs[-1]["data"]["text/html"] for cell in made.cells if "lab.study" in cell.source]
    assert len(seen) == len(names)
    for html in seen:
        assert html.count("<table>") == html.count("<img ") == 1


def test_the_stop_button_saves_and_the_cell_says_how_to_go_on(outputs):
    interrupted, after = outputs[-2:]
    (error,) = (output for output in interrupted if output["output_type"] == "error")
    assert error["ename"] == "KeyboardInterrupt"
    assert re.search(r"stopped at step [\d,]+ and saved; go on: dltrain\.resume\(", error["evalue"])
    assert after[0]["data"]["text/plain"] == "'stopped'"
