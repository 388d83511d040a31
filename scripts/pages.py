"""Renders pages for a person to look at: on a desktop and a phone, light and dark, and as they are printed.

python scripts/pages.py FOLDER [PAGE.html ...]      without pages: reports of runs, also of foreign words, hostile names
                                                    and one in progress, of a sweep, and of several together
"""

import base64
import csv
import random
import shlex
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from browser import Browser

DLTRAIN = Path(sys.executable).with_name("dltrain")
TRAINED = (
    "data=moons data.noise=0.2 optimizer.lr=0.03 name=plane",
    "data=digits trainer.epochs=5 diagnose=true regularisation=affine name=images",
    "data=diabetes trainer.epochs=40 name=numbers",
    "data=multilabel trainer.epochs=5 name=labels",
    "-m data=diabetes optimizer=sgd,adamw optimizer.lr=1e-3,1e-2,1e-1 seed=0,1,2 trainer.epochs=5 name=sweep",
)
NAMES = [words.rpartition("name=")[2] for words in TRAINED]
GOING = "data=diabetes trainer.epochs=100000 name=going"
CLASSES = {  # of tables: the names of two columns, and those of classes
    "foreign": (["高度", "ширина"], ["猫", "собака", "قطة"]),
    "hostile": (["<b>a</b>", "$x_1^2$"], ["</script><script>alert(1)</script>", "'\"&\\", "x" * 80]),
}
LOOKS = {  # width, colours
    "desktop": (1440, "light"),
    "desktop-dark": (1440, "dark"),
    "phone": (390, "light"),
    "phone-dark": (390, "dark"),
}
A4 = {"paperWidth": 8.27, "paperHeight": 11.69}


def table(path: Path, columns: list[str], classes: list[str]) -> None:
    """Rows of two numbers around a centre for each class."""
    draw = random.Random(0)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow([*columns, "class"])
        for k in range(300):
            centre = 2 * (k % len(classes))
            rows.writerow([draw.gauss(centre, 1), draw.gauss(-centre, 1), classes[k % len(classes)]])


def made(folder: Path) -> list[Path]:
    """Pages of every kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (columns, classes) in CLASSES.items():
        table(folder / f"{name}.csv", columns, classes)
    own = [f"data=table data.path={name}.csv data.target=class trainer.epochs=10 name={name}" for name in CLASSES]
    for words in [*TRAINED, *own]:
        subprocess.run([DLTRAIN, *shlex.split(words)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (sweep,) = (folder / "runs" / "sweep").iterdir()
    pages = {f"{name}.html": list((folder / "runs" / name).iterdir()) for name in [*NAMES, *CLASSES]}
    pages["together.html"] = [sweep / job for job in ("0", "3", "9", "12")]
    for name, runs in pages.items():
        subprocess.run([DLTRAIN, "report", *runs, "-o", folder / name, "--force"], check=True)
    in_progress(folder, "going.html")
    return [folder / name for name in (*pages, "going.html")]


def in_progress(folder: Path, name: str) -> None:
    """The page of a run that has said how far it is, and ends with it."""
    words = [DLTRAIN, *shlex.split(GOING)]
    with subprocess.Popen(words, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
        try:
            while not (told := list((folder / "runs" / "going").glob("*/progress.json"))):
                time.sleep(0.5)
            subprocess.run([DLTRAIN, "report", told[0].parent, "-o", folder / name, "--force"], check=True)
        finally:
            run.terminate()


def main() -> None:
    folder, *given = map(Path, sys.argv[1:])
    pages = given or made(folder)
    browser = Browser(seconds=600)
    for page in pages:
        for look, (width, colours) in LOOKS.items():
            browser.resize(width, 900)
            scheme = {"name": "prefers-color-scheme", "value": colours}
            browser.call("Emulation.setEmulatedMedia", media="", features=[scheme])
            browser.open(page.resolve().as_uri())
            print(browser.screenshot(folder / f"{page.stem}-{look}.png"))
        printed = folder / f"{page.stem}.pdf"
        printed.write_bytes(base64.b64decode(browser.call("Page.printToPDF", printBackground=True, **A4)["data"]))
        print(printed)
    browser.close()
    assert browser.console == []


if __name__ == "__main__":
    main()
