"""`dltrain predict RUN INPUT`: answers to new rows, on standard output or in a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dltrain.config import command_line
from dltrain.data.tables.encoding import Gaps, sentences
from dltrain.data.tables.files import PARQUET
from dltrain.errors import ConfigError, DataError, streams
from dltrain.errors.output import say
from dltrain.errors.paths import check_is_text, local
from dltrain.runs import run_folder
from dltrain.trained import folds, inference
from dltrain.trained.mean import Mean
from dltrain.trained.predict import as_csv, predict, write


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain predict RUN INPUT`: a table on standard output, or in the file that -o names."""
    given = _given(words)
    output = given.output
    if output and output.suffix not in (".csv", *PARQUET):
        raise ConfigError(f"-o {output}: name a .csv or a .parquet file")
    if output:
        command_line.check_output(output)
        if output.suffix in PARQUET:
            check_is_text(output)
    if "data.unknown=allow" in given.input:
        raise ConfigError("data.unknown=allow is for training; predict takes --allow-unknown")
    named: list[Path] = [] if given.input == ["-"] else [local(each) for each in given.input]
    source = sys.stdin.buffer if not named else named[0] if len(named) == 1 else named
    if output and output.exists() and any(each.exists() and output.samefile(each) for each in named):
        raise ConfigError(f"-o {output} is the input itself; name another file")
    command_line.output(given, Path("-"))
    notes: list[str] = []
    trained = _opened(given.run, command_line.allowed(options.allow), notes)
    first = trained.members[0]
    inference.set_threads(first)
    found: Gaps = {}
    unreadable: list[DataError] = []
    pieces = predict(
        trained,
        source,
        keep=given.keep,
        allow_unknown=given.allow_unknown,
        found=found,
        notes=notes,
        unreadable=unreadable,
    )
    if output:
        rows = write(pieces, output)
        say(f"{rows:,} row{'s' * (rows != 1)} predicted by {_called(trained)}, in {output}")
    else:
        for number, piece in enumerate(pieces):
            say(as_csv(piece, header=number == 0), end="")
            if not streams.delivered():
                return 0
    for note in [*notes, *(sentences(found, first.facts.preprocessing) if found else ())]:
        say(f"note: {note}", error=True)
    for error in unreadable:
        say(f"unreadable: {error}", error=True)
    if unreadable:
        raise DataError(f"{len(unreadable)} of the files in {given.input[0]} can't be read; all others were predicted")
    return 0


def _opened(run: str, allow: Sequence[str], notes: list[str]) -> Mean:
    """A run; or those of the best choice of a sweep over folds, of which `notes` takes what is missing."""
    folder = run_folder.find(run, sweeps=True)
    if not (folder / "sweep.json").is_file() or not (runs := folds.best(folder)):
        return Mean((inference.open_run(run_folder.find(run), allow=allow),))
    notes += folds.left_out(runs)
    return Mean(tuple(inference.open_run(each.folder, allow=allow) for each in runs))


def _called(trained: Mean) -> str:
    if len(trained.members) == 1:
        return trained.members[0].checkpoint.name
    return f"the mean of {len(trained.members)} runs"


def _given(words: list[str]) -> argparse.Namespace:
    parser = command_line.parser("predict", "What the best weights of a run say of new rows.")
    parser.add_argument(
        "run", metavar="RUN", help="its folder, its short id, or last; of a sweep with folds=N the mean"
    )
    parser.add_argument(
        "input", metavar="INPUT", nargs="+", help="tables or a folder of them, a folder of images, an IDX file, or -"
    )
    command_line.output_option(parser, "a .csv or .parquet file, which is not there yet")
    parser.add_argument(
        "--allow-unknown", action="store_true", help="a category that is new counts as none, infinity as missing"
    )
    parser.add_argument(
        "--keep",
        action="extend",
        type=_names,
        default=[],
        metavar="A,B",
        help="columns that stand before the answers; row: its number",
    )
    return parser.parse_intermixed_args(words)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
