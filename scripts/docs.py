"""Writes the pages of docs/ that are made from the program: glossary, lexicon, and the chapters of the course.

python scripts/docs.py                      the pages, with the numbers and pictures that were measured before
python scripts/docs.py --run [CHAPTER ...]  runs the chapters first, all of them or some, and keeps what they showed
python scripts/docs.py --check [--run]      writes nothing, says what is not as it would be written, and exits with 1;
                                            with --run it runs the chapters and holds their numbers against the pages'
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from dltrain.course import glossary, lexicon, pages
from dltrain.course.chapter import Chapter, chapters, find
from dltrain.course.lab import Taught, teach

DOCS = Path(__file__).parents[1] / "docs"
COURSE = DOCS / "course"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chapters", nargs="*", help="for --run: their names or numbers")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    wanted = [find(word) for word in given.chapters] or [*chapters()]
    faults = run(wanted, keep=not given.check) if given.run else []
    made = dict(texts())
    for path, text in made.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            if given.check:
                faults.append(f"{path.relative_to(DOCS.parent)} is not what `python scripts/docs.py` writes")
            else:
                path.write_text(text, encoding="utf-8")
    faults += [f"docs/course/{name} belongs to no chapter" for name in leftover({path.name for path in made})]
    print("\n".join(faults), file=sys.stderr)
    sys.exit(1 if faults else 0)


def texts() -> Iterator[tuple[Path, str]]:
    """Each page that is made, and its text."""
    yield DOCS / "glossary.md", glossary.page()
    yield DOCS / "lexicon.md", lexicon.page()
    yield COURSE / "README.md", pages.index()
    for chapter in chapters():
        yield COURSE / f"{chapter.stem}.ipynb", pages.notebook(chapter)
        yield COURSE / f"{chapter.stem}.md", pages.markdown(kept(chapter))


def kept(chapter: Chapter) -> Taught:
    """What was measured of a chapter."""
    return Taught.again(chapter, (COURSE / f"{chapter.stem}.json").read_text(encoding="utf-8"))


def leftover(made: set[str]) -> list[str]:
    """Files beside the pages that no chapter has."""
    for chapter in chapters():
        made |= {f"{chapter.stem}.json", *(f"{chapter.stem}_{picture.name}" for picture in kept(chapter).seen.pictures)}
    return sorted(path.name for path in COURSE.iterdir() if path.name not in made)


def run(wanted: list[Chapter], *, keep: bool) -> list[str]:
    """Runs chapters in a folder that is removed; what is not as expected, in words."""
    faults, begin = [], time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for chapter in wanted:
            taught = teach(chapter, [f"runs_dir={folder}"])
            print(f"{chapter.number:>3} {chapter.name:<24}{taught.seconds:6.1f} s  {taught.bits or ''}")
            faults += [
                f"{chapter.name}: {n.name} is {n.text}, not {n.expected}" for n in taught.seen.numbers if not n.held
            ]
            faults += [f"{chapter.name}: {taught.bits}" for _ in range(bool(taught.bits and taught.bits.difference))]
            if keep:
                keep_it(chapter, taught)
    print(f"{time.perf_counter() - begin:.0f} s")
    return faults


def keep_it(chapter: Chapter, taught: Taught) -> None:
    COURSE.mkdir(exist_ok=True)
    for path in COURSE.glob(f"{chapter.stem}_*"):
        path.unlink()
    for picture in taught.seen.pictures:
        path = COURSE / f"{chapter.stem}_{picture.name}"
        path.write_bytes(picture.content)
        if path.suffix == ".png":  # a third of the size
            Image.open(path).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)
    (COURSE / f"{chapter.stem}.json").write_text(taught.kept() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
