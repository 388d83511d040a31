"""Writes the pages of docs/ that are made from the program: `python scripts/docs.py`; with --check it only says which
are not as they would be written, and exits with 1.
"""

import sys
from pathlib import Path

from dltrain.course import glossary

DOCS = Path(__file__).parents[1] / "docs"
PAGES = {"glossary.md": glossary.page}


def main() -> None:
    old = {name: text for name, make in PAGES.items() if (text := make()) != _read(DOCS / name)}
    for name, text in old.items():
        if "--check" in sys.argv[1:]:
            print(f"docs/{name} is not what `python scripts/docs.py` writes", file=sys.stderr)
        else:
            (DOCS / name).write_text(text, encoding="utf-8")
    sys.exit(1 if old and "--check" in sys.argv[1:] else 0)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    main()
