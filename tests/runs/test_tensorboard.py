"""TensorBoard on a folder of runs, looked at in a browser: curves, images, graph, texts and the HParams tab."""

import csv
import json
import os
import re
import select
import subprocess
import sys
import time
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from browser import Browser, find

from dltrain.commands import cli
from dltrain.training.keeper import Keeper

EVERYTHING = """(() => { const found = []; const walk = n => { for (const e of n.querySelectorAll('*')) {
    found.push(e); if (e.shadowRoot) walk(e.shadowRoot); } }; walk(document); return found; })()"""


def run(*words):
    with pytest.raises(SystemExit) as stop:
        cli.main(words)
    return stop.value.code


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Runs of a sweep of two optimizers, of which one could not be planned, one that diverged, one that was stopped and
    went on from its last checkpoint, and one of 100 labels.
    """
    find()
    root = tmp_path_factory.mktemp("board")
    common = [f"runs_dir={root}", "trainer.epochs=3", "data=moons", "model.widths=[8]"]
    words = ("optimizer=nesterov,adamw", "optimizer.momentum=0.9,0", "optimizer.nesterov=false,true")
    assert run("-m", *common, *words, "scheduler=constant", "name=sweep") == 8
    assert run("report", str(next(root.glob("sweep/*/0"))), "--replay", "0") == 0
    assert run(f"runs_dir={root}", "data=diabetes", "optimizer=sgd", "optimizer.lr=1e9", "name=boom") == 5
    with pytest.MonkeyPatch.context() as patch:
        see = Keeper.see
        patch.setattr(Keeper, "see", lambda self, record: (see(self, record), _stopped_at(record, 2)))
        assert run(*common, "trainer.save_every=1e-9", "name=resumed") == 130
    (stopped,) = root.glob("resumed/*")
    assert max(path.name for path in stopped.glob("checkpoints/step-*")) < "step-00000044"  # whose report comes again
    assert run("resume", str(stopped)) == 0
    names = [f"label{i}" for i in range(100)]
    with (root / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["x", *names], *([i / 60, *(int(i > k / 2) for k in range(100))] for i in range(60))]
        )
    table = ["data=table", f"data.path={root / 'labels.csv'}", f"data.target=[{','.join(names)}]"]
    assert run(*common[:2], *table, "data.task=multilabel", "diagnose=true", "name=labels") == 0
    return root


def _stopped_at(record, epoch):
    if record.epoch == epoch:
        raise KeyboardInterrupt


@pytest.fixture(scope="module")
def board(root):
    """The address of a TensorBoard of these runs."""
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


@pytest.fixture(scope="module")
def tab(board):
    """Opens a tab of TensorBoard; nothing leaves the machine."""
    browser = Browser(width=1400, height=1000)

    def opened(name):
        browser.deadline = time.monotonic() + 120  # of each tab, where much else goes on
        browser.open("about:blank")  # a new fragment alone would open nothing
        browser.open(f"{board}#{name}")
        return browser

    yield opened
    assert [
        address for address in browser.requests if not address.startswith((board, "data:", "blob:", "about:"))
    ] == []
    browser.close()


def asked(board, path, **query):
    with urlopen(f"{board}data/{path}?{urlencode(query)}", timeout=60) as answer:
        return json.load(answer)


def test_a_job_is_called_by_what_its_sweep_varies(board):
    names = sorted(asked(board, "runs"))
    assert len(names) == 8
    assert [name.split("/", 2)[2] for name in names if name.startswith("sweep/")] == [
        "0/optimizer=nesterov momentum=0.9 nesterov=false",
        "1/optimizer=nesterov momentum=0.9 nesterov=true",
        "2/optimizer=nesterov momentum=0 nesterov=false",
        "3/optimizer=nesterov momentum=0 nesterov=true",
        "4/optimizer=adamw",
    ]
    assert not any("=" in name for name in names if not name.startswith("sweep/"))


def test_a_run_that_went_on_has_no_point_twice(board):
    (name,) = (name for name in asked(board, "runs") if name.startswith("resumed/"))
    steps = {
        tag: [step for _, step, _ in asked(board, "plugin/scalars/scalars", run=name, tag=tag)]
        for tag in asked(board, "plugin/scalars/tags")[name]
    }
    assert steps["val/loss"] == steps["train/loss"] == [22, 44, 66]
    assert all(found == sorted({*found}) for found in steps.values())
    texts = asked(board, "plugin/text/text", run=name, tag="run/result")
    assert ["accuracy" in text["text"] for text in texts] == [True]  # and none of the stop


def test_the_curves_are_drawn_and_none_goes_back(tab):
    browser = tab("scalars")
    lines = f"""{EVERYTHING}.filter(e => e.tagName == 'VZ-LINE-CHART2').map(chart => {{
        const lines = [...chart.shadowRoot.querySelectorAll('path.line')].filter(
            line => (line.getAttribute('d') || '').length > 20 && getComputedStyle(line).stroke != 'none');
        return lines.map(line => line.getAttribute('d').slice(1).split('L').map(point => Number(point.split(',')[0])));
    }})"""
    browser.wait_for(f"{lines}.filter(found => found.length >= 6).length >= 2")  # of the runs that have points
    drawn = [line for chart in browser.run(lines) for line in chart]
    assert all(line == sorted(line) for line in drawn)
    names = browser.run(f"{EVERYTHING}.filter(e => e.tagName == 'TF-CARD-HEADING').map(e => e.shadowRoot.textContent)")
    assert any("train/loss" in name for name in names)


def test_numbers_come_before_all_else_also_of_a_run_of_100_labels(board, tab):
    (name,) = (name for name in asked(board, "runs") if name.startswith("labels/"))
    scalars, histograms = (asked(board, f"plugin/{kind}/tags")[name] for kind in ("scalars", "histograms"))
    assert len(scalars) < 20  # none for each label
    assert max(scalars) < min(histograms)
    browser = tab("timeseries")
    groups = f"{EVERYTHING}.filter(e => e.className == 'group-title-wrapper').map(e => e.innerText.trim())"
    browser.wait_for(f"{groups}.length >= 2")
    assert browser.run(groups)[0].startswith("train")
    browser.wait_for(f"{EVERYTHING}.some(e => e.tagName == 'RUNS-DATA-TABLE' && e.innerText.includes('labels/'))")


def test_the_images_are_shown(tab):
    browser = tab("images")
    pictures = f"{EVERYTHING}.filter(e => e.tagName == 'IMG' && e.src.includes('individualImage'))"
    browser.wait_for(f"{pictures}.filter(e => e.complete && e.naturalWidth > 300).length >= 6")


def test_the_graph_has_the_net(tab):
    browser = tab("graphs")
    browser.wait_for(f"{EVERYTHING}.some(e => e.tagName == 'text' && e.textContent.startsWith('MLP'))")


def test_the_hparams_tab_has_every_run_with_real_metrics_and_no_empty_cell(tab):
    browser = tab("hparams")
    cells = f"{EVERYTHING}.filter(e => e.tagName == 'VAADIN-GRID-CELL-CONTENT').map(e => e.textContent.trim())"
    browser.wait_for(f"{cells}.some(text => text.startsWith('sweep/') && text.endsWith('optimizer=adamw'))")
    found = [cell for cell in browser.run(cells) if cell]
    runs = [cell for cell in found if re.match(r"(sweep|boom|resumed|labels)/\d", cell)]
    assert len(set(runs)) == 8
    assert {"(test) accuracy", "model.widths", "data"} <= set(found)
    assert {"moons", "diabetes", "table"} <= set(found)
    assert "MLP" not in found  # but mlp, as it was typed, also of the run that went on
    row = found[found.index(next(name for name in runs if "/1/" in name)) :][:12]
    assert any(re.fullmatch(r"0\.[5-9]\d*", cell) for cell in row)
    listed = browser.run(f"{EVERYTHING}.find(e => e.tagName == 'TF-HPARAMS-QUERY-PANE').shadowRoot.textContent")
    assert re.search(r"optimizer\.nesterov\s+((n/a|true|false)\s+){3}", listed)
    browser.run(f"{EVERYTHING}.find(e => e.tagName == 'PAPER-TAB' && e.textContent.includes('PARALLEL')).click()")
    lines = f"{EVERYTHING}.find(e => e.tagName == 'TF-HPARAMS-PARALLEL-COORDS-PLOT')?.shadowRoot"
    browser.wait_for(f"{lines}?.querySelectorAll('.foreground path').length == 6")  # of all that came to their end
