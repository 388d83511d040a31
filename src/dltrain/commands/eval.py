"""`dltrain eval RUN`: how good the best weights of a run are on a split, in all detail."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from dltrain.config import command_line
from dltrain.errors import streams
from dltrain.errors.output import say
from dltrain.runs import run_folder, storage
from dltrain.trained import findings, inference, wrong
from dltrain.trained.explain import explain
from dltrain.trained.judge import SPLITS, Judged, choose_rows, drawn, judge


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain eval RUN`: prints what it finds, and writes eval-<split>.json and a picture into the run folder."""
    parser = command_line.parser(
        "eval", "How good the best weights of a run are: each class, calibration, worst examples."
    )
    parser.add_argument("run", metavar="RUN", help="its folder, its short id, or last")
    parser.add_argument("overrides", nargs="*", metavar="data.KEY=VALUE", help="other data, such as data.path=new.csv")
    parser.add_argument("--split", choices=SPLITS, help="which part (test)")
    parser.add_argument("--explain", action="store_true", help="shuffle each column of a table: which ones matter")
    parser.add_argument("--wrong", type=command_line.path, metavar="FILE", help="all wrong answers as CSV, worst first")
    parser.add_argument("--force", action="store_true", help="replace the file that --wrong names, if there is one")
    given = parser.parse_intermixed_args(words)
    if given.wrong:
        command_line.check_output(given.wrong, "--wrong", force=given.force)
    folder = run_folder.find(given.run)
    allow, changed = command_line.allowed(options.allow), options.allow_changed_data
    trained = inference.open_run(folder, overrides=given.overrides, allow=allow, data=True)
    inference.set_threads(trained)
    rows = choose_rows(trained, split=given.split, overrides=given.overrides, allow_changed_data=changed)
    judged = judge(trained, rows)
    if given.explain:
        judged.result["importance"] = explain(trained, rows)
    file, picture = folder / f"eval-{rows.split}.json", folder / "plots" / f"eval-{rows.split}.png"
    say(findings.describe(judged.result))
    if given.wrong:
        with command_line.writing(given.wrong, "; name another file with --wrong"):
            storage.replace(given.wrong, wrong.as_csv(judged).encode())
        say(f"wrong        {given.wrong}  ({wrong.count(judged):,} rows, worst first)")
    if not os.access(folder, os.W_OK):
        say(f"note: {folder} is not writable: {file.name} and its picture were not kept", error=True)
        streams.delivered()  # the only place where the answer stands
        return 0
    run_folder.write_json(file, judged.result)
    pictures = _draw(judged, picture)
    say(f"all of it    {file}\npicture      {', '.join(map(str, pictures))}")
    return 0


def _draw(judged: Judged, path: Path) -> list[Path]:
    """The picture of what was found, and one of the columns that matter where that was asked for."""
    from dltrain.insight import plots
    from dltrain.insight.plots import evaluation as figures

    with command_line.writing(path):
        paths = [plots.save(figures.draw(judged.result, **drawn(judged)), path)]
        if "importance" in judged.result:
            other = path.with_name(path.name.replace("eval-", "explain-"))
            paths.append(plots.save(figures.importance(judged.result), other))
    return paths
