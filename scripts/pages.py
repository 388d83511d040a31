"""Renders pages for a person to look at: on a desktop and a phone, light and dark, and as they are printed.

python scripts/pages.py FOLDER [PAGE.html ...]      without pages: reports of some runs, a sweep and both together
"""

import base64
import shlex
import subprocess
import sys
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
LOOKS = {  # width, colours
    "desktop": (1440, "light"),
    "desktop-dark": (1440, "dark"),
    "phone": (390, "light"),
    "phone-dark": (390, "dark"),
}
A4 = {"paperWidth": 8.27, "paperHeight": 11.69}


def made(folder: Path) -> list[Path]:
    """Pages of every kind."""
    folder.mkdir(parents=True, exist_ok=True)
    for words in TRAINED:
        subprocess.run([DLTRAIN, *shlex.split(words)], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    (sweep,) = (folder / "runs" / "sweep").iterdir()
    pages = {f"{name}.html": list((folder / "runs" / name).iterdir()) for name in NAMES}
    pages["together.html"] = [sweep / job for job in ("0", "3", "9", "12")]
    for name, runs in pages.items():
        subprocess.run([DLTRAIN, "report", *runs, "-o", folder / name, "--force"], check=True)
    return [folder / name for name in pages]


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
