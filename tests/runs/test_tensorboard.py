"""TensorBoard on a folder of runs, looked at in a browser: curves, images, graph and the HParams table."""

import os
import re
import select
import subprocess
import sys
import time

import pytest
from browser import Browser, find

from dltrain.commands import cli

EVERYTHING = """(() => { const found = []; const walk = n => { for (const e of n.querySelectorAll('*')) {
    found.push(e); if (e.shadowRoot) walk(e.shadowRoot); } }; walk(document); return found; })()"""


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    return stop.value.code


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    """The address of a TensorBoard: two runs that ended, a job that could not be planned, a run that diverged."""
    find()
    root = tmp_path_factory.mktemp("board")
    common = [f"runs_dir={root}", "trainer.epochs=3", "data=moons"]
    words = ("optimizer=nesterov", "optimizer.momentum=0.9,0", "optimizer.nesterov=false,true", "scheduler=constant")
    assert run("-m", *common, *words, "model.widths=[8]", "name=sweep") == 8
    assert run(f"runs_dir={root}", "data=diabetes", "optimizer=sgd", "optimizer.lr=1e9", "name=boom") == 5
    assert run("report", str(next(root.glob("sweep/*/0"))), "--replay", "0") == 0
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(root), "--host", "127.0.0.1", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield _address(process)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def _address(process):
    text, deadline = "", time.monotonic() + 120
    while not (found := re.search(r"http://127\.0\.0\.1:\d+/", text)):
        ready, _, _ = select.select([process.stderr], [], [], max(0, deadline - time.monotonic()))
        part = os.read(process.stderr.fileno(), 1 << 16) if ready else b""
        assert part, f"TensorBoard did not start: {text}"
        text += part.decode()
    return found[0]


@pytest.fixture
def browser(board):
    opened = Browser(width=1400, height=1000, seconds=90)
    yield opened
    assert [address for address in opened.requests if not address.startswith((board, "data:", "blob:", "about:"))] == []
    opened.close()


def test_the_curves_of_two_runs_are_drawn(board, browser):
    browser.open(f"{board}#scalars")
    lines = f"""{EVERYTHING}.filter(e => e.tagName == 'VZ-LINE-CHART2').map(chart => {{
        const strokes = new Set([...chart.shadowRoot.querySelectorAll('path')].filter(
            p => (p.getAttribute('d') || '').length > 20).map(p => getComputedStyle(p).stroke));
        strokes.delete('none'); return strokes.size; }})"""
    browser.wait_for(f"{lines}.filter(n => n >= 2).length >= 2")
    names = browser.run(f"{EVERYTHING}.filter(e => e.tagName == 'TF-CARD-HEADING').map(e => e.shadowRoot.textContent)")
    assert any("train/loss" in name for name in names)


def test_the_images_are_shown(board, browser):
    browser.open(f"{board}#images")
    pictures = f"{EVERYTHING}.filter(e => e.tagName == 'IMG' && e.src.includes('individualImage'))"
    browser.wait_for(f"{pictures}.filter(e => e.complete && e.naturalWidth > 300).length >= 6")


def test_the_graph_has_the_net(board, browser):
    browser.open(f"{board}#graphs")
    browser.wait_for(f"{EVERYTHING}.some(e => e.tagName == 'text' && e.textContent.startsWith('MLP'))")


def test_the_hparams_table_has_every_run_with_real_metrics(board, browser):
    browser.open(f"{board}#hparams")
    cells = f"{EVERYTHING}.filter(e => e.tagName == 'VAADIN-GRID-CELL-CONTENT').map(e => e.textContent.trim())"
    browser.wait_for(f"{cells}.some(text => text.startsWith('sweep/') && text.endsWith('/3'))")
    found = [cell for cell in browser.run(cells) if cell]
    runs = [cell for cell in found if re.match(r"(sweep|boom)/\d", cell)]
    assert len(set(runs)) == 5
    assert {"(test) accuracy", "optimizer", "model.widths", "data"} <= set(found)
    assert {"moons", "diabetes"} <= set(found)
    row = found[found.index(next(name for name in runs if name.endswith("/1"))) :][:12]
    assert any(re.fullmatch(r"0\.[5-9]\d*", cell) for cell in row)
