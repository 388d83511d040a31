"""What lies in the folder that one works in, in a home and in a cache, and what stands in the environment.

Variables are the user's own, so none of them leads to code; but a user has odd ones, and no command may end oddly.
"""

import os
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

from hostile import words
from hostile.case import Bomb, Case

MODULES = ["sitecustomize", "usercustomize", "dltrain", "torch", "numpy", "yaml", "hydra_plugins/evil", "conftest"]
MODULES += ["matplotlib", "polars", "json", "random", "torchvision", "dltrain/config", "hydra", "typing", "PIL"]
VALUES: dict[str, list[str | None]] = {  # name -> values; None takes it away
    "TERM": [None, "", "dumb", "xterm-256color", "\x1b]0;x\x07", "nonsense", "a" * 9_000],
    "COLUMNS": ["0", "1", "7", "-1", "-99999", "x", "", "9" * 25, "80.5", " 80", "\u0661"],
    "LINES": ["0", "-1", "x", "9" * 25],
    "LANG": [None, "", "C", "xx_YY.nonsense", "de_DE.ISO-8859-1", "ja_JP.EUC-JP", "../../x"],
    "LC_ALL": ["C", "POSIX", "tr_TR.UTF-8", "nonsense", "C.UTF-8", ""],
    "LANGUAGE": ["de:x", "../../x"],
    "NO_COLOR": ["1", "", "0"],
    "FORCE_COLOR": ["1", "3", "x"],
    "PYTHONUTF8": ["0", "1"],
    "PYTHONIOENCODING": ["ascii", "latin-1", "utf-8:strict", "cp1252:replace", ":surrogateescape"],
    "PYTHONOPTIMIZE": ["1", "2"],
    "PYTHONUNBUFFERED": ["1"],
    "PYTHONDEVMODE": ["1"],
    "PYTHONWARNINGS": ["error", "always", "nonsense", "ignore::x.Y"],
    "PYTHONNOUSERSITE": ["1"],
    "PYTHONSAFEPATH": [None, "1"],
    "TMPDIR": ["NONE", "FILE", "READ-ONLY", "", "relative", "LINK", "/sys/kernel"],
    "HOME": [None, "", "NONE", "FILE", "READ-ONLY", "relative"],
    "XDG_CACHE_HOME": ["NONE", "FILE", "relative"],
    "MPLBACKEND": ["nonsense", "", "module://evil_pkg", "TkAgg", "agg", "\x1b[2J"],
    "MPLCONFIGDIR": ["NONE", "FILE", "READ-ONLY"],
    "OMP_NUM_THREADS": ["abc", "0", "-1", "99999999999", "", "4,2"],
    "MKL_NUM_THREADS": ["abc", "0", "-1"],
    "POLARS_MAX_THREADS": ["abc", "0", "-1", "", "9" * 30],
    "POLARS_VERBOSE": ["1", "x"],
    "POLARS_FMT_MAX_ROWS": ["x"],
    "CUDA_VISIBLE_DEVICES": ["", "-1", "abc", "99", "0,0", "GPU-x"],
    "PYTORCH_CUDA_ALLOC_CONF": ["nonsense", "a:b", "", ",", "expandable_segments:True"],
    "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": ["1"],
    "TORCH_HOME": ["CACHE", "CACHE", "FILE", "NONE", ""],
    "TORCH_LOGS": ["+dynamo", "nonsense"],
    "TQDM_MININTERVAL": ["x", "0"],
    "TQDM_DISABLE": ["1", "x"],
    "TQDM_NCOLS": ["x", "-1", "1e9"],
    "SCIKIT_LEARN_DATA": ["FILE", "NONE"],
    "SLURM_STEP_NUM_TASKS": ["1", "2", "x", "", "9" * 5_000, "\u00b2"],
    "SLURM_NTASKS": ["4"],
    "SLURM_JOB_ID": ["\x1b[2J"],
    "WORLD_SIZE": ["1", "2", "-1", "x", "9" * 5_000, "\u0662"],
    "RANK": ["3", "x"],
    "LOCAL_RANK": ["7"],
    "TZ": ["nonsense", "\x1b[2J", ":/etc/passwd"],
    "SOURCE_DATE_EPOCH": ["x", "-1"],
    "COMP_LINE": ["dltrain ", "dltrain resume \x1b[2J"],
    "http_proxy": ["nonsense", "http://[::1"],
    "DLTRAIN_DEBUG": ["", None],  # set, it asks for tracebacks
    "DLTRAIN_NONSENSE": ["1"],
    "HYDRA_FULL_ERROR": ["1"],
    "OC_CAUSE": ["1"],
    "PAGER": ["touch x"],
    "EDITOR": ["touch x"],
    "GIT_DIR": ["NONE", "FILE"],
    "GIT_SSH_COMMAND": ["touch x"],
}


def around(rng: random.Random, case: Case) -> None:
    """Puts one to three things around a case."""
    for make in rng.sample([modules, repository, settings, cache, *[variables] * 4], rng.choice([1, 2, 3])):
        make(rng, case)


def variables(rng: random.Random, case: Case) -> None:
    name = rng.choice([*VALUES])
    value = rng.choice(VALUES[name])
    place = case.inside / "odd"
    if value == "FILE":
        place.write_text("x")
        value = str(place)
    elif value == "NONE":
        value = str(case.inside / "nowhere" / "x")
    elif value == "READ-ONLY":
        value = "/sys/kernel"  # where nothing can be made, by the administrator either
    elif value in ("LINK", "CACHE"):
        value = {"LINK": a_link, "CACHE": cache}[value](rng, case)
    case.environment[name] = value
    case.done.append(f"{name}={value!r:.60}")


def a_link(rng: random.Random, case: Case) -> str:
    """A folder of temporary files by another name."""
    path = case.inside / "by-another-name"
    if not path.is_symlink():
        path.symlink_to(case.root / "tmp")
    return str(path)


def bomb(case: Case) -> str:
    return f"import pathlib\npathlib.Path({str(case.marker)!r}).touch()\n"


def folders(case: Case) -> list[Path]:
    """The one that is worked in, those of its runs, and the one above it, as of a project that was unpacked whole."""
    return [case.inside, case.inside, *sorted(p.parent for p in case.inside.rglob("config.yaml"))[:3]]


def modules(rng: random.Random, case: Case) -> None:
    """Files that Python would take for modules, where it looked in this folder."""
    folder = rng.choice(folders(case))
    for name in rng.sample(MODULES, 4):
        path = folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(bomb(case))
    for name in ("x.pth", "pyvenv.cfg", "__main__.py", ".pdbrc", ".pythonrc"):
        (folder / name).write_text(bomb(case).replace("\n", "; ") if name.endswith("h") else bomb(case))
    case.done.append(f"modules in {folder.name}")


def repository(rng: random.Random, case: Case) -> None:
    """A .git that runs programs where git is asked, leads away, or never ends."""
    folder = rng.choice(folders(case))
    git = folder / ".git"
    if git.exists() or git.is_symlink():
        return
    touch = f"touch {case.marker}"
    away = rng.choice([case.outside, case.outside / "folder", Path("/proc/self"), Path("/dev"), git, Path("../..")])
    if rng.random() < 0.3:
        kind = rng.choice(["file", "link", "pipe", "long"])
        if kind == "file":
            sign = rng.choice([*words.SIGNS[:-5], ""]).replace("\ud800", "")
            git.write_text(f"gitdir: {away}{sign}\n")
            case.repositories.append(os.path.realpath(folder / f"{away}{sign}".strip().replace("\0", "")))
        elif kind == "link":
            git.symlink_to(away)
            case.repositories.append(os.path.realpath(git))
        elif kind == "pipe":
            os.mkfifo(git)
        else:
            git.write_text("gitdir: " + "a/" * 500_000)
        case.done.append(f".git of {folder.name} is a {kind} to {away}")
        return
    for place in ("hooks", "refs/heads", "objects/info"):
        (git / place).mkdir(parents=True)
    (git / "config").write_text(
        f"[core]\n\tfsmonitor = {touch}\n\tsshCommand = {touch}\n\tpager = {touch}\n\thooksPath = hooks\n"
        f"\tworktree = {case.outside}\n[include]\n\tpath = {case.outside}/precious.txt\n[alias]\n\tstatus = !{touch}\n"
        f'[filter "x"]\n\tclean = {touch}\n[diff]\n\texternal = {touch}\n'
    )
    for hook in ("post-checkout", "pre-commit", "post-index-change"):
        (git / "hooks" / hook).write_text(f"#!/bin/sh\n{touch}\n")
        (git / "hooks" / hook).chmod(0o755)
    (git / "objects" / "info" / "alternates").write_text(f"{case.outside}\n")
    heads: list[Callable[[], object]] = [
        lambda: (git / "HEAD").write_text(rng.choice(["ref: refs/heads/a\n", "0" * 40, "0" * 39, "\x1b[2J", ""])),
        lambda: (git / "HEAD").write_text("ref: refs/../../../outside/precious.txt"),
        lambda: (git / "HEAD").symlink_to(case.outside / "precious.txt"),
        lambda: os.mkfifo(git / "HEAD"),
        lambda: ((git / "HEAD").write_text("x"), os.truncate(git / "HEAD", 3 << 30)),
        lambda: (git / "HEAD").mkdir(),
    ]
    rng.choice(heads)()
    (git / "commondir").write_text(rng.choice([str(away), "..", "\x1b[2J", "a\x00b", "."]))
    refs: list[Callable[[], object]] = [
        lambda: (git / "refs/heads/a").write_text("ref: refs/heads/a"),
        lambda: (git / "refs/heads/a").symlink_to("/dev/zero"),
        lambda: (git / "packed-refs").write_text("0" * 20_000_000 + " refs/heads/a\n"),
        lambda: (git / "packed-refs").write_text("0123456789\n" * 2_000_000),
        lambda: (git / "index").write_bytes(b"DIRC" * 99),
    ]
    rng.choice(refs)()
    case.done.append(f"a .git in {folder.name}")


def of_programs(rng: random.Random, case: Case, *, ours: bool) -> dict[str, bytes]:
    """Name of a file of settings -> what stands in it."""
    allow = rng.choice(['"evil_pkg"', '["evil_pkg"]', "1", '[["a"]]', '["\\u001b[2J"]', '[""]', '["os"]'])
    if ours and "evil_pkg" in allow:
        allow = '["other"]'  # it would be trusted
    return {
        "matplotlibrc": rng.choice(
            [
                f"backend: module://evil_pkg\ntext.usetex: True\ntext.latex.preamble: {case.outside}/x\n".encode(),
                *(
                    b"nonsense\x1b[2J: \x07\n" * 50,
                    b"\xff\xfe",
                    b"axes.prop_cycle: cycler('color', __import__('os'))\n",
                ),
                f"savefig.directory: {case.outside}\nfigure.dpi: 1e9\nfont.family: \x1b[2J\n".encode(),
            ]
        ),
        "pyproject.toml": rng.choice(
            [
                *(f"[tool.dltrain]\nallow = {allow}\n".encode() * n for n in (1, 2)),
                *(
                    b"[tool.dltrain\n\x1b[2J",
                    b"\xff",
                    b"a=" + b"[" * 9_000,
                    b"a." * 99_000 + b"a=1",
                    b"[tool]\ndltrain = 1\n",
                    b"x=1\n" * 400_000,
                ),
                f"[tool.dltrain]\nallow = {allow}\nnonsense = '\\u202e'\n".encode(),
            ]
        ),
        ".env": b"TOKEN=x\nDLTRAIN_DEBUG=1\nPYTHONPATH=.\n",
        "setup.cfg": b"[hydra]\nrun.dir=/nowhere\n",
        ".hydra": b"x",
        "outputs": b"x",
        "multirun": b"x",
        ".netrc": b"machine localhost login a password b\n",
        "style.mplstyle": b"text.usetex: True\n",
        "train.yaml": b"seed: 1\nhydra: {run: {dir: /nowhere}}\n",
    }


def settings(rng: random.Random, case: Case) -> None:
    """Files of settings of other programs, and a pyproject.toml, which counts in the folder that is worked in alone."""
    folder = rng.choice(folders(case))
    ours = folder == case.inside
    files = of_programs(rng, case, ours=ours)
    for name in rng.sample([*files], 4):
        path = folder / name
        if path.exists() or path.is_symlink():
            continue
        match rng.randrange(10):
            case 0:
                os.mkfifo(path)
            case 1:
                path.symlink_to(
                    rng.choice([case.outside / "precious.txt", Path("/dev/zero"), path, Path("/nowhere/x")])
                )
                case.may_read |= ours and name == "pyproject.toml"
            case 2:
                path.mkdir()
            case 3:
                path.write_bytes(b"a")
                os.truncate(path, 3 << 30)
            case _:
                path.write_bytes(files[name])
        case.done.append(f"{name} in {folder.name}")


def cache(rng: random.Random, case: Case) -> str:
    """A hub's cache: weights of another hash, a pickle, an archive of torch's with a program in it; and its folder."""
    hub = case.inside / "hub"
    weights = hub / "hub" / "checkpoints"
    weights.mkdir(parents=True, exist_ok=True)
    for name in ("resnet18-f37072fd.pth", "squeezenet1_1-b8a52dc0.pth", "mobilenet_v3_small-047dcff4.pth"):
        path = weights / name
        path.unlink(missing_ok=True)
        match rng.randrange(5):
            case 0:
                path.write_bytes(pickle.dumps(Bomb(case.marker)))
            case 1:
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("a/data.pkl", pickle.dumps(Bomb(case.marker)))
                    archive.writestr("a/version", b"3\n")
            case 2:
                path.symlink_to(rng.choice(["/dev/zero", path.name]))
            case 3:
                os.mkfifo(path)
            case _:
                path.write_bytes(b"x")
                os.truncate(path, 3 << 30)
    (hub / "hub" / "trusted_list").write_text("evil_pkg\n")
    if "data=iris" in case.argv and rng.random() < 0.9:
        net = rng.choice(["resnet18", "squeezenet1_1", "mobilenet_v3_small"])
        case.argv[case.argv.index("data=iris")] = "data=image_folder"
        case.argv += ["data.root=pictures", "data.image_size=32", "model=torchvision"]
        case.argv += [f"model.name={net}", "model.weights=DEFAULT"]
        case.may_fetch = True
    case.environment.setdefault("TORCH_HOME", str(hub))
    case.done.append("a cache of weights")
    return str(hub)
