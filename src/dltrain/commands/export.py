"""`dltrain export RUN`: the model with its preprocessing in one file."""

from __future__ import annotations

import argparse

from dltrain.config import command_line
from dltrain.errors.output import say
from dltrain.runs import run_folder, storage
from dltrain.trained import inference
from dltrain.trained.export import FORMATS, export


def command(words: list[str], options: argparse.Namespace) -> int:
    """`dltrain export RUN --format FORMAT`: writes RUN/model.FORMAT once it has answered as the run does."""
    parser = command_line.parser("export", "The model of a run with its preprocessing, in a file of its own.")
    parser.add_argument("run", metavar="RUN", help="its folder, its short id, or last")
    parser.add_argument(
        "overrides", nargs="*", metavar="KEY=VALUE", help="where its data are now: data.root, data.path"
    )
    parser.add_argument("--format", required=True, choices=FORMATS, help="weights, a torch.export program, or ONNX")
    command_line.output_option(parser, "instead of RUN/model.FORMAT")
    parser.add_argument(
        "--samples", type=command_line.path, metavar="FILE", help="rows to check it on, instead of the test part"
    )
    given = parser.parse_intermixed_args(words)
    folder, data = run_folder.find(given.run), given.samples is None
    path = command_line.output(given, folder / f"model.{given.format}")
    allow = command_line.allowed(options.allow)
    trained = inference.open_run(folder, overrides=[*given.overrides, "trainer.device=cpu"], allow=allow, data=data)
    content, checked = export(trained, given.format, source=given.samples)
    with command_line.writing(path):
        storage.replace(path, content)
    say(f"{path} ({len(content):,} bytes), checked on {checked}")
    return 0
