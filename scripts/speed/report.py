"""The table and the file of numbers."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import subprocess
from dataclasses import asdict
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import dltrain
from speed import floor
from speed.conduct import Result
from speed.workloads import Workload

_PACKAGES = (
    "torch", "lightning", "keras", "jax", "optax", "fastai", "skorch", "pytorch-ignite", "accelerate",
    "scikit-learn", "numpy",
)  # fmt: skip


def machine() -> dict:
    """Processor, cores, memory, system, Python and packages, and the day."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name = re.search(r"model name\s*: (.*)", text)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = {}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag} " in text]
    packages["dltrain"] = " ".join(filter(None, (dltrain.__version__, _commit())))
    return {
        "date": date.today().isoformat(),
        "processor": name[1] if name else platform.processor(),
        "instructions": flags,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "packages": packages,
    }


def command(script: str, typed: list[str]) -> str:
    """What was typed, without the places of this machine."""
    shown = [f"{'FOLDER' if before == '--mnist' else word}" for before, word in zip(["", *typed], typed, strict=False)]
    if "--out" in shown:
        del shown[(at := shown.index("--out")) : at + 2]
    return shlex.join(["python", f"scripts/{script}.py", *shown])


def _commit() -> str:
    """The commit of the repository, with a + where it has changes."""
    here = Path(__file__).parent
    call = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(call, cwd=here, capture_output=True, text=True)
    return done.stdout.strip()


def table(workload: Workload, results: list[Result]) -> str:
    """One workload as a Markdown table, fastest first."""
    by_name = {r.name: r for r in results}
    columns = [name for name in dict.fromkeys((workload.reference, "dltrain")) if name in by_name]
    lines = [
        f"### {workload.name}: {workload.title}",
        "",
        f"{workload.rows:,} rows, {workload.epochs} epoch{'s' * (workload.epochs > 1)} "
        f"({workload.steps:,} steps) a round, Adam {workload.lr:g}, {workload.threads} "
        f"thread{'s' * (workload.threads > 1)}. Losses agree within {workload.tolerance:.0%} of their median.",
        "",
        f"| contender | µs/step | {''.join(f'/ {name} | ' for name in columns)}spread | loss |",
        f"| --- | ---: | {'---: | ' * len(columns)}---: | ---: |",
    ]
    done = sorted((r for r in results if r.median), key=lambda r: r.median)
    lines += [_row(r, [by_name[name] for name in columns]) for r in done]
    lines += [f"| {r.name} | failed: {_cell(r.trouble)} | {'| ' * len(columns)}| |" for r in results if not r.median]
    if text := _floor(workload, by_name):
        lines += ["", text]
    return "\n".join(lines)


def _row(r: Result, others: list[Result]) -> str:
    """Name, time, ratios in the same rounds, how far rounds lie from the median, and loss."""
    low, high = min(r.microseconds) / r.median - 1, max(r.microseconds) / r.median - 1
    loss = "not comparable" if r.loss is None else f"{r.loss:.4f}{' **differs**' if r.wrong_loss else ''}"
    ratios = "".join(f"{'-' if (share := r.ratio(other)) is None else f'{share:.2f}'} | " for other in others)
    name = f"**{r.name}**" if r.kind == "dltrain" else r.name
    shown = f"{r.median:,.0f}" if r.median >= 100 else f"{r.median:.1f}"
    return f"| {name} | {shown} | {ratios}{low:+.0%} {high:+.0%} | {loss} |"


def _floor(workload: Workload, results: dict[str, Result]) -> str:
    """The rate of the matrix products, the bandwidth, and what they leave as the least time of a step."""
    products, moves = (results[name].median if name in results else None for name in (floor.PRODUCTS, floor.BYTES))
    if not products or not moves or floor.operations(workload) < 1e4:  # of a perceptron only the calls are seen
        return ""
    return (
        f"Floor: {floor.operations(workload) / 1e6:,.2f} MFLOP of matrix products at "
        f"{floor.operations(workload) / products / 1e3:,.1f} GFLOP/s, {products:,.1f} µs; and "
        f"{floor.traffic(workload) / 1e6:,.3f} MB moved by Adam and the gather at "
        f"{floor.traffic(workload) / moves / 1e3:,.1f} GB/s, {moves:,.1f} µs: {products + moves:,.1f} µs a step."
    )


def _cell(text: str | None) -> str:
    return (text or "no round was done").replace("|", "/")


def head(facts: dict) -> str:
    """The machine, the versions, the day and the command, in words."""
    packages = ", ".join(f"{p} {v}" for p, v in facts["packages"].items())
    return (
        f"{facts['date']}, {facts['processor']} ({', '.join(facts['instructions']) or 'no AVX2'}), {facts['cores']} "
        f"cores, {facts['memory_gib']} GiB, Python {facts['python']}; {packages}.\n\n`{facts['command']}`"
    )


def write(
    folder: Path, name: str, facts: dict, sections: list[str], shown: list[tuple[Workload, list[Result]]]
) -> list[Path]:
    """The Markdown file and the JSON file; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    markdown, data = folder / f"{name}.md", folder / f"{name}.json"
    markdown.write_text("\n\n".join(["# Speed", head(facts), *sections]) + "\n", encoding="utf-8")
    numbers = {workload.name: as_numbers(workload, results) for workload, results in shown}
    data.write_text(json.dumps({"machine": facts, "workloads": numbers}, indent=1) + "\n", encoding="utf-8")
    return [markdown, data]


def as_numbers(workload: Workload, results: list[Result]) -> dict:
    """One workload for the JSON file."""
    return {"workload": asdict(workload) | {"steps": workload.steps}, "results": [asdict(r) for r in results]}


def put(page: Path, title: str, text: str) -> None:
    """A part of a page, `# title` and what follows: in the place of the one of that title, else at the end."""
    parts = re.split(r"^(?=# )", page.read_text(), flags=re.MULTILINE) if page.is_file() else []
    own = f"# {title}\n\n{text}\n"
    if not any(part.startswith(f"# {title}\n") for part in parts):
        parts.append(own)
    kept = [own if part.startswith(f"# {title}\n") else part for part in parts if part.strip()]
    page.write_text("\n".join(part.rstrip() + "\n" for part in kept))
