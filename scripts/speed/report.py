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

import torch

import dltrain
from dltrain.errors import system
from speed import floor, startup
from speed.conduct import Result
from speed.workloads import Workload

_PACKAGES = (
    "torch", "lightning", "keras", "jax", "optax", "fastai", "skorch", "pytorch-ignite", "accelerate",
    "scikit-learn", "numpy",
)  # fmt: skip


def machine(device: str = "cpu") -> dict:
    """Processor, cores, memory, system, Python and packages, and the day."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    name, model = re.search(r"model name\s*: (.*)", text), re.search(r"^model\s*: (.*)", text, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    packages = {}
    for package in _PACKAGES:
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    flags = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f" {flag} " in text]
    packages["dltrain"] = " ".join(filter(None, (dltrain.__version__, _commit())))
    gpu = {"gpu": torch.cuda.get_device_name()} if device == "cuda" else {}
    return gpu | {
        "date": date.today().isoformat(),
        "processor": name[1] if name else platform.processor(),
        "family": system.processor()[1],
        "model": int(model[1]) if model else 0,
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
    by_name, unit = {r.name: r for r in results}, "µs" if workload.judged else "µs/step"
    columns = [name for name in dict.fromkeys((workload.reference, "dltrain")) if name in by_name]
    lines = [
        f"### {workload.name}: {workload.title}",
        "",
        _work(workload),
        "",
        f"| contender | {unit} | {''.join(f'/ {name} | ' for name in columns)}spread | loss |",
        f"| --- | ---: | {'---: | ' * len(columns)}---: | ---: |",
    ]
    done = sorted((r for r in results if r.median), key=lambda r: r.median)
    lines += [_row(r, [by_name[name] for name in columns]) for r in done]
    lines += [f"| {r.name} | failed: {_cell(r.trouble)} | {'| ' * len(columns)}| |" for r in results if not r.median]
    if text := _floor(workload, by_name):
        lines += ["", text]
    return "\n".join(lines)


def _work(w: Workload) -> str:
    """What is done in a round, in words."""
    threads = f"{w.threads} thread{'s' * (w.threads > 1)}"
    if w.judged:
        return f"{w.rows:,} rows, loss and metrics of the first weights, {threads}."
    return (
        f"{w.rows:,} rows, {w.epochs} epoch{'s' * (w.epochs > 1)} ({w.steps:,} steps) a round, Adam {w.lr:g}, "
        f"{threads}. Losses agree within {w.tolerance:.0%} of their median."
    )


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
    names = (floor.PRODUCTS, floor.BYTES, floor.ONEDNN)
    products, moves, onednn = (results[name].median if name in results else None for name in names)
    if not products or not moves or floor.operations(workload) < 1e4:  # of a perceptron only the calls are seen
        return ""
    return (
        f"Floor: {floor.operations(workload) / 1e6:,.2f} MFLOP of matrix products at "
        f"{floor.operations(workload) / products / 1e3:,.1f} GFLOP/s, {products:,.1f} µs; and "
        f"{floor.traffic(workload) / 1e6:,.3f} MB moved by Adam and the gather at "
        f"{floor.traffic(workload) / moves / 1e3:,.1f} GB/s, {moves:,.1f} µs: {products + moves:,.1f} µs a step."
    ) + ("" if onednn is None else _with_onednn(products, onednn))


def _with_onednn(products: float, onednn: float) -> str:
    """What oneDNN's kernels would give to whatever calls torch's own, other frameworks too."""
    return (
        f" By oneDNN's kernels the products take {onednn:,.1f} µs: whatever calls torch's own would lose "
        f"{products - onednn:,.1f} µs with them."
    )


def _cell(text: str | None) -> str:
    return (text or "no round was done").replace("|", "/")


def head(facts: dict) -> str:
    """The machine, the versions, the day and the command, in words."""
    packages = ", ".join(f"{p} {v}" for p, v in facts["packages"].items())
    return (
        f"{facts['date']}, {processor(facts)} ({', '.join(facts['instructions']) or 'no AVX2'}), {facts['cores']} "
        f"cores, {facts['memory_gib']} GiB, Python {facts['python']}; {packages}.\n\n`{facts['command']}`"
    )


def processor(facts: dict) -> str:
    """Its name, and its numbers where they were noted: the name of a rented one often says no more than the maker."""
    numbers = f" of family {facts['family']}, model {facts['model']}" if facts.get("family") else ""
    return facts["processor"] + numbers


def kind(facts: dict) -> str:
    """A name for files that all processors of one kind share, or all GPUs: amd-epyc-family-25-model-17."""
    name = facts.get("gpu") or processor(facts).replace(" of family", " family")
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\((R|TM)\)", "", name).lower()).strip("-")


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


_INDEX = """One page for each kind of processor that `python scripts/benchmark.py --mnist FOLDER` was run on, with all
contenders, their losses and the floor that the machine sets. Here: microseconds a step of dltrain; its time as a share
of JAX's, an epoch as one compiled scan; and the time of the fastest framework on torch as a multiple of dltrain's.

| processor | date | workload | dltrain | of JAX's scan | fastest on torch |
| --- | --- | --- | ---: | ---: | ---: |"""
_ON_TORCH = ("Lightning", "Keras on torch", "fastai", "skorch", "Ignite", "Accelerate")


def index(folder: Path) -> Path:
    """The page `speed.md`, of all that stand in `speed/`; returns its path. Other parts of the page are kept."""
    rows = []
    for page in sorted((folder / "speed").glob("*.json")):
        written = json.loads(page.read_text(encoding="utf-8"))
        facts = written["machine"]
        link = f"[{facts.get('gpu') or processor(facts)}](speed/{page.stem}.md)"
        for name, work in written["workloads"].items():
            results = {r["name"]: Result(**r) for r in work["results"]}
            if "dltrain" in results and name != startup.WORKLOAD.name and work["workload"]["reference"] != "dltrain":
                rows.append(f"| {link} | {facts['date']} | {work['workload']['title']} | {_against_others(results)} |")
                link = ""
    put(folder / "speed.md", "Speed", "\n".join([_INDEX, *rows]))
    return folder / "speed.md"


def _against_others(results: dict[str, Result]) -> str:
    """Cells: microseconds of dltrain, its ratio to JAX's scan, and the ratio of the best framework on torch to it."""
    own = results["dltrain"]
    of_jax = own.ratio(results.get("JAX, scan over the epoch"))
    others = {r.name: share for r in results.values() if r.name.startswith(_ON_TORCH) and (share := r.ratio(own))}
    best = min(others, key=others.__getitem__) if others else None
    shown = [f"{own.median:,.0f}" if own.median >= 100 else f"{own.median:.1f}"]
    shown.append("" if of_jax is None else f"{of_jax:.2f}")
    shown.append("" if best is None else f"{others[best]:.2f} ({best.removesuffix(', quiet')})")
    return " | ".join(shown)


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
