"""`dltrain show RUN`: all about one run."""

from __future__ import annotations

import argparse
import json

from dltrain.config import command_line
from dltrain.errors import streams
from dltrain.errors.output import one_line, say
from dltrain.insight import importance
from dltrain.insight.listing import configuration, files, ids_of, result, row, story, table
from dltrain.runs import jobs, reading, run_folder, seeds

_GONE = 10  # removed jobs that are listed


def command(words: list[str], _options: argparse.Namespace) -> int:
    """`dltrain show`."""
    parser = command_line.parser("show", "All about one run: configuration, result, where it stopped, files.")
    parser.add_argument("run", metavar="RUN", help="its folder, its short id, last or best; or a sweep")
    parser.add_argument("--json", action="store_true", help="as an object, with the whole configuration")
    given = parser.parse_args(words)
    folder = run_folder.find(given.run, sweeps=True, broken=True)
    if (folder / "sweep.json").is_file():
        found = [reading.read(job, sweep) for job, sweep in reading.walk(folder)]
        far, gone = jobs.read(folder, found), jobs.gone(folder, found)
        say(f"sweep     {folder}\nstatus    {far}")
        for line in [*gone[:_GONE], *[f"and {len(gone) - _GONE:,} more"] * (len(gone) > _GONE)]:
            say(one_line(f"no folder {line}"))
        if not reading.is_alive(folder) and (far.unfinished or far.states["failed"] + far.states["diverged"]):
            say(f"go on     dltrain resume {folder}{'' if far.unfinished else ' --retry-failed'}")
        say()
        more = f"dltrain runs {folder} --columns A,B chooses, --csv has all"
        say(table(found, ids_of(found), None, more=more) if found else "")
        if any(map(seeds.differ, seeds.groups(found))):
            from dltrain.runs import sweep_table

            say(f"\n{sweep_table.table(found)}")
        if (answers := folder / seeds.OUT_OF_FOLD).is_file():
            say(f"\nout of fold: {answers}")
        say(f"\n{told}" if (told := importance.of_sweep(found)) else "")
        return 0
    run = reading.read(folder, reading.sweep_of(folder))
    if given.json:
        data = {"run": reading.short_ids([folder])[0], **row(run, None, list(run.config))}
        say(json.dumps({**data, "overrides": run.overrides, "environment": run.environment}, indent=1, default=str))
        streams.delivered()
    else:
        say("\n".join([*story(run), "", *configuration(run), "", *result(run), "files", *files(run.folder)]))
    return 0
