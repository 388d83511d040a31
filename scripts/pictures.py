"""Makes the README's pictures from one real run, docs/terminal.svg and docs/page.png, and chapter 29's of TensorBoard.

python scripts/pictures.py      needs Chromium: on the path, or as CHROMIUM=PROGRAM
"""

import base64
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.text import Text

from dltrain.course.chapter import chapter

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from browser import Browser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PORT = 6123
DLTRAIN = Path(sys.executable).with_name("dltrain")
COMMANDS = (
    "dltrain data=moons data.noise=0.2 optimiser.lr=0.03",
    "dltrain data=moons data.noise=0.2 optimizer.lr=0.03",
    "dltrain report last",
)
WIDTH, HEIGHT = 1160, 1560
# The page as far as the window goes, without the summary that the terminal shows, and without a slider.
STYLE = """
body { height: 100vh; overflow: hidden; box-shadow: inset 0 0 0 1px #ccc; }
#result, .figures > div:has(.moments) { display: none; }
"""


def draw_terminal(folder: Path) -> None:
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True)
    for command in COMMANDS:
        words = [str(DLTRAIN), *shlex.split(command)[1:]]
        done = subprocess.run(words, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text(done.stdout))
    svg = console.export_svg(title="dltrain")
    svg = re.sub(r"@font-face \{.*?\}\n", "", svg, flags=re.DOTALL)  # fonts of the reader's own, none from the network
    svg = svg.replace("Fira Code, monospace", "DejaVu Sans Mono, Menlo, Consolas, monospace")
    svg = re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE)
    (DOCS / "terminal.svg").write_text(svg, encoding="utf-8")


def draw_page(folder: Path) -> None:
    (report,) = folder.glob("runs/*/*/report.html")
    page, shot = folder / "page.html", folder / "page.png"
    page.write_text(report.read_text(encoding="utf-8").replace("</style>", STYLE + "</style>"), encoding="utf-8")
    chromium = [os.environ.get("CHROMIUM", "chromium"), "--headless", "--no-sandbox", "--hide-scrollbars"]
    chromium += [f"--screenshot={shot}", f"--window-size={WIDTH},{HEIGHT}", "--force-device-scale-factor=1.2"]
    subprocess.run([*chromium, page.as_uri()], check=True, capture_output=True)
    Image.open(shot).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(DOCS / "page.png", optimize=True)


def draw_tensorboard(folder: Path) -> None:
    """What TensorBoard shows of the runs of the course's chapter on it."""
    words = shlex.split(chapter("tensorboard").commands[0])[1:]
    subprocess.run([str(DLTRAIN), *words, "runs_dir=tensorboard"], cwd=folder, check=True, capture_output=True)
    (sweep,) = folder.glob("tensorboard/*/*/")
    program = [str(DLTRAIN.with_name("tensorboard")), "--logdir", str(sweep), "--port", str(PORT)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            time.sleep(15)  # until it answers
            browser = Browser(width=900, height=1030)
            browser.open(f"http://localhost:{PORT}/?darkMode=false&tagFilter=(train%7Cval)/loss%24#timeseries")
            time.sleep(8)  # until the curves are drawn
            browser.run("document.querySelector('.settings-button').click()")
            time.sleep(4)
            shot = base64.b64decode(browser.call("Page.captureScreenshot", format="png")["data"])
            browser.close()
        finally:
            server.terminate()
    image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(64, dither=Image.Dither.NONE)
    image.save(ROOT / "src" / "dltrain" / "course" / "chapters" / "tensorboard.png", optimize=True)


with tempfile.TemporaryDirectory() as made:
    draw_terminal(Path(made))
    draw_page(Path(made))
    draw_tensorboard(Path(made))
