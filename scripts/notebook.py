"""Makes docs/library.ipynb of docs/library.md: a cell for each paragraph of words and each program.

`python scripts/notebook.py` writes it; `--check` ends with 1 where it is not what the page says.
"""

import json
import re
import sys
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")


def cells() -> list[dict[str, object]]:
    """Words and programs, in the order of the page."""
    found: list[dict[str, object]] = []
    text = PAGE.read_text(encoding="utf-8").replace(": [library.ipynb](library.ipynb) is this page as\none.", ".")
    for number, part in enumerate(re.split(r"```python\n(.*?)```\n", text, flags=re.DOTALL)):
        cell: dict[str, object] = {"id": f"cell-{number}", "metadata": {}, "source": part.strip()}
        if number % 2:
            cell |= {"cell_type": "code", "execution_count": None, "outputs": []}
        else:
            cell["cell_type"] = "markdown"
        if part.strip():
            found.append(cell)
    return found


def notebook() -> str:
    """The file's text, without outputs."""
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    content = {"cells": cells(), "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    if "--check" not in sys.argv:
        NOTEBOOK.write_text(notebook(), encoding="utf-8")
    sys.exit(NOTEBOOK.read_text(encoding="utf-8") != notebook())
