"""`dltrain runs`: a table of runs."""

from __future__ import annotations

import argparse
import json

from dltrain.config import command_line
from dltrain.errors import output, streams
from dltrain.errors.output import say
from dltrain.insight.listing import differing, flat_row, known, row, selected, sweeps, table
from dltrain.runs import run_folder


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain runs`."""
    parser = command_line.parser("runs", "One row a run, the newest last; jobs of sweeps too.")
    parser.add_argument("folder", nargs="?", default="runs", metavar="FOLDER", help="where to look (runs)")
    parser.add_argument(
        "--where", action="append", default=[], metavar="KEY=VALUE", help="only these; also != < <= > >="
    )
    parser.add_argument("--sort", metavar="KEY", help="by a key or metric, such as test/accuracy, the best first")
    parser.add_argument("--columns", metavar="A,B", help="these keys or metrics, in this order")
    parser.add_argument("--csv", action="store_true", help="comma-separated values, every metric and the command")
    parser.add_argument("--json", action="store_true", help="a list of objects, with the same")
    given = parser.parse_args(words)
    found, ids = selected(run_folder.place(given.folder), given.where, given.sort)
    wanted = [name.strip() for name in (given.columns or "").split(",")]
    chosen = [known(name, found) for name in wanted if name not in ("", "run")] or None  # `run` is always there
    if given.json or given.csv:
        keys = differing(found)
        rows = [{"run": ids[run.folder], **row(run, chosen, keys)} for run in found]
        _print_data(rows, as_json=given.json)
        streams.delivered()
    elif not found:
        say(f"no run in {given.folder}" + " is like that" * bool(given.where))
    else:
        say("\n".join([table(found, ids, chosen), *(f"\n{line}" for line in sweeps(found))]))
    return 0


def _print_data(rows: list[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        say(json.dumps(rows, indent=1, default=str))
        return
    lines = [flat_row(row) for row in rows]
    names = list(dict.fromkeys(name for line in lines for name in line))
    say(output.csv_rows([names, *([line.get(name) for name in names] for line in lines)]), end="")
