"""What dltrain's commands take of time, memory and pages as what they count grows: linear, or by how much more.

python scripts/benchmark_sizes.py [AXES ...] [--quick] [--sizes N ...] [--out docs]

Each axis makes small work of 10, 1,000 and 100,000 of one thing (columns, classes, runs, ...) and gives it to every
command that meets it, each a process of its own, forked from one that has loaded what all load (some 600 MiB, which
count). A command may take, beyond what it takes at 10, so much processor time
and memory for each further one as its axis says, and write pages and words up to its cap. Exit code 1 when one takes
more or fails.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from speed.sizes import AXES, Axis, Step

_SPARE_SECONDS, _SPARE_BYTES = 3.0, 64 << 20  # what a start of a process may differ by
_BEND, _SEEN = (
    4,
    0.25,
)  # times that a further one may become dearer; seconds that a step in size must show to be counted
_TINY = ["trainer.epochs=1", "trainer.threads=1", "runs_dir=runs"]
_MORE = ["trainer.epochs=2", "trainer.schedule_steps=22"]
_LIMIT = 900  # seconds of one command


@dataclass
class Cost:
    """One command at one size: seconds, bytes; page and words are what it wrote to a file and to the terminal."""

    axis: str
    size: int
    command: str
    wall: float
    processor: float
    memory: int
    page: int
    words: int
    trouble: str = ""
    share: float = 1.0  # of what its axis allows


def measure(axis: Axis, size: int, step: Step, folder: Path) -> Cost:
    """Runs one command of an axis in its folder."""
    out, err = folder / "out.txt", folder / "err.txt"
    begin = time.perf_counter()
    with out.open("wb") as stdout, err.open("wb") as stderr:
        if (pid := os.fork()) == 0:
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            os.chdir(folder)
            os._exit(_code(step.words))
        trouble = "" if _ended(pid, begin) else f"it took more than {_LIMIT} s"
        _, status, usage = os.wait4(pid, 0)
    wall, code = time.perf_counter() - begin, os.waitstatus_to_exitcode(status)
    if not trouble and code != step.code:
        trouble = f"exit code {code}: {err.read_text(errors='replace')[-300:]}"
    page = folder / step.page if step.page else None
    return Cost(
        axis.name,
        size,
        step.name,
        wall,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss * 1024,
        page.stat().st_size if page and page.is_file() else 0,
        out.stat().st_size + err.stat().st_size,
        trouble,
        step.share,
    )


def _code(words: Sequence[str]) -> int:
    """Runs the command in this process; its exit code."""
    from dltrain.commands import cli

    try:
        cli.main(list(words))
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def warm() -> None:
    """Loads here what each command would load anew, so that its own work is seen; polars must not be used before."""
    with tempfile.TemporaryDirectory(prefix="sizes-") as name, open(os.devnull, "w") as nowhere:
        before = os.getcwd()
        os.chdir(name)
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            for words in (["data=moons", *_TINY], ["resume", "last", *_MORE], ["eval", "last"], ["report", "last"]):
                if _code(words):
                    raise SystemExit(f"{' '.join(words)} failed")
        os.chdir(before)


def _ended(pid: int, begin: float) -> bool:
    """Waits until it ends, without taking its status, or kills it."""
    while os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.perf_counter() - begin > _LIMIT:
            os.kill(pid, signal.SIGKILL)
            return False
        time.sleep(0.05)
    return True


def measured(axis: Axis, size: int) -> list[Cost]:
    """All commands of an axis at one size, one after the other in one folder."""
    with tempfile.TemporaryDirectory(prefix="sizes-") as name:
        folder = Path(name)
        steps = axis.make(size, folder)
        costs = []
        for step in steps:
            costs.append(measure(axis, size, step, folder))
            print(line(costs[-1]), flush=True)
        return costs


def line(cost: Cost) -> str:
    """One measurement as a row of a table."""
    page = f"{cost.page / 1e6:.2f}" if cost.page else "-"
    numbers = f"{cost.wall:.1f} | {cost.processor:.1f} | {cost.memory / 2**20:,.0f} | {page} | {cost.words / 1e3:,.1f}"
    return f"| {cost.axis} | {cost.size:,} | {cost.command} | {numbers} | {cost.trouble} |"


def judge(axis: Axis, costs: list[Cost]) -> list[str]:
    """What grows faster than the axis allows, a sentence each."""
    wrong = []
    for cost in costs:
        where = f"{axis.name}: {cost.command} at {cost.size:,}"
        if cost.trouble:
            wrong.append(f"{where}: {cost.trouble}")
            continue
        base = next(c for c in costs if c.command == cost.command)
        more = (cost.size - base.size) * cost.share
        seconds = base.processor + _SPARE_SECONDS + more * axis.milliseconds / 1e3
        memory = base.memory + _SPARE_BYTES + more * axis.kibibytes * 1024
        if cost.processor > seconds:
            wrong.append(f"{where}: {cost.processor:.1f} s of processor time, and {seconds:.1f} are allowed")
        if cost.memory > memory:
            wrong.append(f"{where}: {cost.memory / 2**20:,.0f} MiB, and {memory / 2**20:,.0f} are allowed")
        if cost.page > axis.page:
            wrong.append(f"{where}: a page of {cost.page / 1e6:.1f} MB, and {axis.page / 1e6:.0f} are allowed")
        if cost.words > (allowed := axis.words + more * axis.words_each):
            wrong.append(f"{where}: {cost.words:,} letters to the terminal, and {allowed:,} are allowed")
        before = [c for c in costs if c.command == cost.command and c.size < cost.size and not c.trouble]
        if not axis.square and (times := _bend(before, cost)) > _BEND:
            wrong.append(f"{where}: each further one costs {times:.1f} times what it did at {before[-1].size:,}")
    return wrong


def _bend(before: list[Cost], cost: Cost) -> float:
    """How many times dearer each further one has become, in processor time; 0 where too little was measured, or where
    few cost more than many: they are drawn, and of many some.
    """
    if len(before) < 2 or before[-2].processor > before[-1].processor + _SEEN:
        return 0.0
    first, last = before[-2:]
    earlier = max(last.processor - first.processor, _SEEN) / (last.size - first.size)
    return (cost.processor - last.processor) / (cost.size - last.size) / earlier


def section(axis: Axis, costs: list[Cost], wrong: list[str]) -> str:
    """One axis as Markdown: a row for each command, its sizes side by side."""
    sizes = sorted({cost.size for cost in costs})
    titles = " | ".join(f"{size:,}" for size in sizes)
    shares = {cost.command: cost.share for cost in costs if cost.share != 1}
    others = "".join(f" ({command}: {share:g} times that)" for command, share in shares.items())
    lines = [
        f"{axis.about} Allowed: {axis.milliseconds:g} ms of processor time and {axis.kibibytes:g} KiB for "
        f"each{others}, pages of {axis.page / 1e6:.0f} MB.",
        "",
        f"| processor s, MiB, page MB at | {titles} |",
        f"| --- |{' ---: |' * len(sizes)}",
    ]
    for command in dict.fromkeys(cost.command for cost in costs):
        cells = []
        for size in sizes:
            found = next((c for c in costs if (c.command, c.size) == (command, size)), None)
            cells.append("-" if found is None else _cell(found))
        lines.append(f"| {command} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *(f"- {text}" for text in wrong)]).rstrip()


def _cell(cost: Cost) -> str:
    if cost.trouble:
        return "failed"
    page = f", {cost.page / 1e6:.1f} MB" if cost.page else ""
    return f"{cost.processor:.1f} s, {cost.memory / 2**20:,.0f} MiB{page}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [axis.name for axis in AXES]
    parser.add_argument("axes", nargs="*", metavar="AXIS", help=", ".join(names))
    parser.add_argument("--quick", action="store_true", help="10 and 1,000 of each")
    parser.add_argument("--sizes", nargs="+", type=int, help="these in the place of an axis's own")
    parser.add_argument("--out", type=Path, metavar="FOLDER", default=Path("docs"))
    options = parser.parse_args()
    if unknown := set(options.axes) - set(names):
        parser.error(f"there is no {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    warm()
    failed = []
    for axis in (AXES[names.index(name)] for name in options.axes or names):
        sizes = options.sizes or (axis.sizes[:2] if options.quick else axis.sizes)
        costs = [cost for size in sizes for cost in measured(axis, size)]
        wrong = judge(axis, costs)
        leave(axis, costs, wrong, options.out)
        print("\n".join(wrong), flush=True)
        failed += wrong
    print(f"{len(failed)} of it grows faster than it may" if failed else "nothing grows faster than it may")
    sys.exit(1 if failed else 0)


def leave(axis: Axis, costs: list[Cost], wrong: list[str], folder: Path) -> None:
    """The table of an axis into the page of growth, and its numbers beside it."""
    from speed import report  # late: it loads what a command may not need

    facts = report.machine() | {"command": f"python scripts/benchmark_sizes.py {axis.name}"}
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n\n".join([report.head(facts), section(axis, costs, wrong)])
    report.put(folder / "growth.md", f"Growth in {axis.name}", text)
    file = folder / "sizes.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    known[axis.name] = {"machine": facts, "costs": [asdict(cost) for cost in costs]}
    file.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
