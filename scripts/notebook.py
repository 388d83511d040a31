"""Makes docs/library.ipynb of docs/library.md: a cell for each paragraph of words and each program.

`python scripts/notebook.py` writes it; `--check` ends with 1 where it is not what the page says.
"""

import re
import sys
from pathlib import Path

from dltrain.course.pages import as_notebook

PAGE = Path(__file__).parents[1] / "docs" / "library.md"
NOTEBOOK = PAGE.with_suffix(".ipynb")


def notebook() -> str:
    """The file's text: words and programs, in the order of the page."""
    text = PAGE.read_text(encoding="utf-8").replace(": [library.ipynb](library.ipynb) is this page as\none.", ".")
    parts = re.split(r"```python\n(.*?)```\n", text, flags=re.DOTALL)
    return as_notebook([("code" if n % 2 else "markdown", p.strip()) for n, p in enumerate(parts) if p.strip()])


if __name__ == "__main__":
    if "--check" not in sys.argv:
        NOTEBOOK.write_text(notebook(), encoding="utf-8")
    sys.exit(NOTEBOOK.read_text(encoding="utf-8") != notebook())
