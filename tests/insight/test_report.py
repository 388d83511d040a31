"""`dltrain report`: the page, the files beside it, and folders that are hostile or half written."""

import base64
import errno
import io
import itertools
import json
import os
import re
import shutil
import socket
import time
from html.parser import HTMLParser

import pytest
from browser import Browser
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dltrain.commands import cli
from dltrain.commands import report as command
from dltrain.insight import page as webpage
from dltrain.runs import run_folder, storage


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    root = tmp_path_factory.mktemp("trained")
    with pytest.raises(SystemExit) as stop:
        cli.main(["data=moons", "model.widths=[8]", "trainer.epochs=2", f"runs_dir={root}"])
    assert stop.value.code == 0
    return next(root.glob("*/*"))


@pytest.fixture
def run(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "runs" / "moons" / trained.name)


class Tags(HTMLParser):
    """Every tag with its attributes, and that all are closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def addresses(tags):
    return [v for _, attributes in tags for k, v in attributes.items() if k in ("src", "href", "srcset", "action")]


@pytest.mark.usefixtures("few_frames")
def test_the_page_holds_all_and_asks_for_nothing(dltrain, run, tmp_path):
    code, out, err = dltrain("report", "last", "-o", "page.html", "--force")
    assert (code, err) == (0, "")
    assert "page.html" in out
    text = (tmp_path / "page.html").read_text()
    tags = Tags(text).tags
    sources = addresses(tags)
    drawn = [tag for tag, attributes in tags if tag == "svg" and attributes["class"] == "plot"]
    files = {path.suffix for path in (run / "plots").iterdir()}, len(list((run / "plots").iterdir()))
    assert files == ({".png", ".gif"}, 10)
    films = [tag for tag, attributes in tags if attributes.get("class") == "film"]
    assert len(films) == 1
    images = [source for source in sources if source.startswith("data:")]
    shown = [tag for tag, _ in tags if tag in ("img", "image")]
    assert (len(drawn), shown.count("img"), shown.count("image")) == (9, 5, 4)  # frames of the film, pixels of maps
    assert {source[0] for source in sources if source not in images} == {"#"}
    for source in images:
        head, _, data = source.partition(";base64,")
        picture = Image.open(io.BytesIO(base64.b64decode(data)))
        assert head == f"data:image/{picture.format.lower()}"
    names = [tag for tag, _ in tags]
    assert not {*names} & {"link", "iframe", "object", "form"}
    assert names.count("script") == 1
    assert all(attributes["alt"] for tag, attributes in tags if tag == "img" and "style" not in attributes)
    assert all(attributes["aria-label"].endswith(".") for tag, attributes in tags if tag == "svg")
    levels = [int(tag[1]) for tag in names if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"\w+://[^\"]*", re.sub(r'"data:[^"]*"', "", text))) == {"http://www.w3.org/2000/svg"}
    assert "data=moons" in text
    assert "AdamW" in text
    assert re.search("What (else the doctor says|the doctor looked at)</h2>", text)
    assert '<p class="verdict"><strong>It is no better on val and test than one answer for every row</strong>,' in text
    (verdict,) = re.findall('<p class="verdict[^"]*">The doctor: ([^<]*)</p>', text)
    assert text.count(verdict) == 1
    assert str(json.loads((run / "summary.json").read_text())["steps"]) in text


def test_the_pictures_and_the_graph_stand_in_tensorboard_once(dltrain, run):
    for _ in range(2):
        assert dltrain("report", str(run), "--replay", "0")[0] == 0
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {
        f"view/{n}"
        for n in ("curves", "schedule", "regions", "weights", "landscape", "confusion", "calibration", "ranking")
    }
    (image,) = events.Images("view/regions")
    assert image.step == json.loads((run / "summary.json").read_text())["steps"]
    assert image.encoded_image_string == (run / "plots" / "regions.png").read_bytes()
    assert {"linear1" in node.name for node in events.Graph().node} == {True, False}
    assert (run / "report.html").is_file()


@pytest.fixture
def browser():
    opened = Browser()
    yield opened
    opened.close()


# Of each text that stands on the page's own ground the contrast of its ink, without letters on cells.
CONTRASTS = """[...document.querySelectorAll('body *')].flatMap((own) => {
  const said = [...own.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const plot = own.closest('svg');
  if (!said || !own.checkVisibility() || own.closest('style, script') || plot?.querySelector('.cell')) return [];
  const light = (colour) => {
    const canvas = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d');
    for (const layer of [getComputedStyle(document.body).backgroundColor, colour]) {
      canvas.fillStyle = layer;
      canvas.fillRect(0, 0, 1, 1);
    }
    const parts = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((part) => part / 255);
    const [red, green, blue] = parts.map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
  };
  let ground = own;
  while (ground && getComputedStyle(ground).backgroundColor.endsWith(', 0)')) ground = ground.parentElement;
  const inks = getComputedStyle(own);
  const pair = [light(plot ? inks.fill : inks.color), light(getComputedStyle(ground ?? document.body).backgroundColor)];
  return [[Math.max(...pair) / Math.min(...pair), own.textContent.slice(0, 40)]];
})"""


@pytest.mark.usefixtures("few_frames")
def test_a_phone_and_a_desktop_show_the_page_whole(browser, dltrain, run, tmp_path):
    assert dltrain("report", str(run), "-o", "page.html", "--force")[0] == 0
    page = (tmp_path / "page.html").resolve().as_uri()
    for width in (390, 1200):
        browser.resize(width, 800)
        browser.open(page)
        assert browser.run("document.documentElement.scrollWidth") <= width
        assert browser.run("[...document.images].every(i => i.complete && i.naturalWidth > 300)")
        assert browser.run("Math.max(...[...document.images].map(i => i.getBoundingClientRect().right))") <= width
        assert browser.run("document.querySelectorAll('figure').length") == 11
        colours = {"name": "prefers-color-scheme", "value": "dark" if width == 390 else "light"}
        browser.call("Emulation.setEmulatedMedia", features=[colours])
        found = browser.run(CONTRASTS)
        assert len(found) > 150
        assert min(found)[0] >= 4.5, min(found)
    assert browser.console == []
    assert {address for address in browser.requests if not address.startswith("data:")} == {page}
    shot = Image.open(browser.screenshot(tmp_path / "page.png"))
    assert len(shot.convert("RGB").getcolors(1 << 24)) > 1000


NASTY = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


@pytest.mark.usefixtures("unpainted")
def test_a_strangers_words_are_text(dltrain, run, tmp_path):
    summary = json.loads((run / "summary.json").read_text())
    (run / "summary.json").write_text(json.dumps({**summary, "status": "failed", "error": NASTY}))
    (run / "data.json").write_text(json.dumps({"notes": [NASTY, {NASTY: NASTY}]}))
    environment = {"command": NASTY, "started": NASTY, "monitor": NASTY, "folder": NASTY}
    (run / "environment.json").write_text(json.dumps(environment))
    with open(run / "config.yaml", "a") as file:
        file.write(f"# {NASTY}\n")
    nasty = run.rename(run.with_name("<b>'\"&"))
    assert dltrain("report", str(nasty), "--replay", "0", "-o", "page.html", "--force")[0] == 0
    text = (tmp_path / "page.html").read_text()
    tags = Tags(text).tags
    assert [tag for tag, _ in tags if tag in ("script", "b")] == ["script"]
    assert not [k for _, attributes in tags for k in attributes if k.startswith("on")]
    assert all(source.startswith(("data:image/", "#")) for source in addresses(tags))
    assert text.count("&lt;script&gt;alert(1)") >= 6


@pytest.mark.usefixtures("unpainted")
def test_no_script_of_a_stranger_runs(browser, dltrain, run, tmp_path):
    (run / "data.json").write_text(json.dumps({"notes": [NASTY]}))
    assert dltrain("report", str(run), "--replay", "0", "-o", "page.html", "--force")[0] == 0
    page = tmp_path / "page.html"
    probe = "<script>document.title = 'ran'</script>"
    page.write_text(page.read_text().replace("</main>", f"{probe}</main>"))  # were the escaping not enough
    browser.open(page.resolve().as_uri())
    assert browser.run("document.title") != "ran"
    assert "script" in browser.run("[...document.querySelectorAll('li')].pop().textContent")
    assert any("Content Security Policy" in line for line in browser.console)


@pytest.mark.usefixtures("unpainted", "few_frames")
@pytest.mark.parametrize("content", ["[]", "3", "{", '{"best": [], "train": {"loss": "x"}, "steps": "many"}'])
def test_broken_files_of_a_run_leave_a_page(content, dltrain, run):
    for name in ("summary.json", "environment.json", "data.json"):
        (run / name).write_text(content)
    code, _, err = dltrain("report", str(run))
    assert (code, err) == (0, "")
    assert "Learning curves" in (run / "report.html").read_text()


@pytest.mark.usefixtures("unpainted", "few_frames")
def test_a_run_without_anything_but_its_configuration_has_a_page(dltrain, run):
    for path in run.iterdir():
        if path.name != "config.yaml":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert dltrain("report", str(run))[0] == 0
    text = (run / "report.html").read_text()
    assert "nothing was logged" in text
    assert "has no data.json" in text


@pytest.mark.usefixtures("unpainted", "few_frames")
@pytest.mark.parametrize(
    ("summary", "said", "words"),
    [
        ({"status": "diverged", "error": "step 3: inf", "steps": 2}, "It ended because: step 3: inf.", "doctor"),
        ({"status": "running"}, "The best until then were those of epoch", "resume"),
    ],
)
def test_a_run_that_came_to_no_end_is_told_what_makes_sense(summary, said, words, dltrain, run):
    (run / "summary.json").write_text(json.dumps(summary))
    shutil.rmtree(run / "checkpoints")
    assert dltrain("report", str(run), "--replay", "0")[0] == 0
    text = (run / "report.html").read_text()
    assert said in text
    assert f"dltrain {words} " in text[: text.index("<nav")]
    assert ("go on with it" in text) is (words == "resume")


def test_mistakes_are_one_sentence(dltrain, run, tmp_path):
    (tmp_path / "other").mkdir()
    for words, code, part in (
        ([], 2, "the following arguments are required: run"),
        (["nowhere"], 2, "no run called `nowhere`"),
        (["other"], 2, "not a run folder"),
        (["last", "-o", "other"], 2, "is a folder"),
        (["last", "-o", "missing/page.html"], 2, "there is no folder missing"),
        (["last", "--replay", "soon"], 2, "--replay"),
        (["last", "--replay", "nan"], 2, "give seconds"),
        (["last", "--replay=-1"], 2, "give seconds"),
        (["last", "--every", "0"], 2, "give seconds"),
        (["last", "--every", "nan"], 2, "give seconds"),
    ):
        found, out, err = dltrain("report", *words)
        assert (found, out) == (code, "")
        assert part in err
        assert len(err.splitlines()) <= 3


@pytest.mark.usefixtures("unpainted")
def test_a_folder_that_refuses_writes_still_gives_a_page(dltrain, run, tmp_path, monkeypatch):
    replace = storage.replace

    def refuse(path, content):
        if path.is_relative_to(run):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        replace(path, content)

    monkeypatch.setattr(storage, "replace", refuse)
    code, _, err = dltrain("report", str(run), "--replay", "0", "-o", "page.html", "--force")
    assert code == 0
    assert "the pictures are in the page alone" in err
    assert (tmp_path / "page.html").read_text().count("<figure>") == 8


@pytest.fixture
def going(run):
    """A run of two epochs after one, without a checkpoint."""
    half = json.loads((run / "metrics.jsonl").read_text().splitlines()[0])["step"]
    word = {"step": half, "total": 2 * half, "rate": half / 46, "time": time.time(), "host": socket.gethostname()}
    (run / "progress.json").write_text(json.dumps(word))
    (run / "summary.json").write_text('{"status": "running", "seconds": 10.0}')
    shutil.rmtree(run / "checkpoints")
    with run_folder.Lock(run) as lock:
        yield run, lock


@pytest.mark.usefixtures("unpainted")
def test_of_a_run_in_progress_a_page_says_how_far_it_is_and_shows_its_curves(dltrain, going):
    run, _ = going
    assert dltrain("report", str(run))[0] == 0
    text = (run / "report.html").read_text()
    assert Tags(text).tags
    assert re.search(
        r" it is at step \d+ of \d+ \(50%\), epoch 1 of 2, \d+ s so far, 46 s left, [\d.]+ steps/s\.<", text
    )
    assert '<progress max="100" value="50" aria-label="progress">50%</progress>' in text
    assert f"dltrain watch {run}" in text
    assert "Learning curves" in text
    assert "what the net answers is shown from its first checkpoint on" in text
    assert "dltrain resume" not in text
    assert "ended because" not in text
    assert "refresh" not in text  # nothing makes it again


@pytest.mark.usefixtures("unpainted")
@pytest.mark.parametrize("stopped", [False, True])
def test_a_page_that_is_made_again_renews_itself_until_the_run_ends_or_the_command(
    dltrain, going, monkeypatch, stopped
):
    (run, lock), seen = going, []

    def sleep(seconds):
        seen.append((run / "report.html").read_text())
        if stopped:
            raise KeyboardInterrupt
        if len(seen) == 2:
            lock.release()

    monkeypatch.setattr(command.time, "sleep", sleep)
    code, _, err = dltrain("report", str(run), "--every", "3")
    assert (code, err) == (0, "")
    assert 'http-equiv="refresh" content="3"' in seen[0]
    assert len(seen) == (1 if stopped else 2)
    text = (run / "report.html").read_text()
    assert 'http-equiv="refresh"' not in text
    assert ('class="status">running' in text, 'class="status bad">killed' in text) == (stopped, not stopped)
    assert (f"dltrain resume {run}" in text) == (not stopped)


def test_tables_and_lists_escape_what_they_are_given():
    text = webpage.table(["<i>"], [["<u>"]]) + webpage.bullets(["<s>"]) + webpage.verbatim("<a>", under="<q>")
    text += webpage.formula("<b>\n\n  <em>")
    assert text.count("</span>\n") == 3
    assert not {"i", "u", "s", "a", "q", "b", "em"} & {tag for tag, _ in Tags(text).tags}


def test_a_long_text_is_cut():
    text = webpage.verbatim("\x00" * 64_000_000)
    assert len(text) < 10_000_000
    assert "63,000,000 more letters" in text
