"""Command lines, drawn: of files that a stranger made, and of a hand that types whatever comes."""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import yaml

from hostile import archives, folders, sources, words
from hostile.case import Case

SHORT = ["trainer.max_time=3", "trainer.threads=1", "trainer.progress=false"]
QUICK = ["trainer.max_steps=2", "trainer.tensorboard=false", *SHORT]
KEYS = [
    "seed",
    "data",
    "model",
    "model.widths",
    "optimizer.lr",
    "optimizer",
    "trainer.epochs",
    "regularisation",
    "name",
]
KEYS += [
    "experiment",
    "hydra",
    "hydra.run.dir",
    "data@x",
    "model.a.b",
    "a b",
    "",
    "_target_",
    "model[0]",
    "ünï",
    "runs_dir",
]
KEYS += ["data.path", "data.root", "data.target", "data.batch_size", "data.val", "trainer.monitor", "trainer.precision"]
KEYS += [
    "resume",
    "seeds",
    "diagnose",
    "scheduler",
    "loss",
    "scheduler.max_lr",
    "trainer.device",
    "trainer.step",
    "nmae",
]
KEYS += ["trainer.save_every", "trainer.profile", "data.split_seed", "model._target_", "optimizer._target_", "defaults"]
KEYS += ["trainer.accumulate", "trainer.report_every", "regularisation.clip_value", "optimizer.weight_decay", "data.n"]
KEYS += ["optimizer.history_size", "optimizer.ns_steps", "data.classes", "regularisation.augmentation.elastic.sigma"]
VALUES = [
    "???",
    "[1,2",
    "{a: 1}",
    "1e400",
    "~",
    "'x",
    "-1",
    "nan",
    "08",
    "no",
    "*x",
    "=",
    "[[[[]]]]",
    "0x1F",
    "12:30",
    "",
]
VALUES += [
    "iris",
    "mlp",
    "[l2,dropout]",
    "1,2",
    "null",
    "range(1,5)",
    "{a:1,b:[2]}",
    "choice(a,b)",
    "adma",
    "mine",
    "table",
]
VALUES += [
    "digits",
    "interval(0,1)",
    "glob(*)",
    "shuffle(1,2)",
    "tag(a,1)",
    "sort(2,1)",
    "\\",
    "'\\'",
    '"',
    "a,b,,",
    "$(ls)",
]
VALUES += [
    "cuda",
    "cuda:99",
    "meta",
    "fp16",
    "bf16",
    "compiled",
    "graph",
    "val/accuracy",
    "full",
    "auto",
    "1_000",
    "½",
    "\u0661",
]
OPTIONS = [
    "--help",
    "-h",
    "--version",
    "--cfg",
    "-c",
    "--resolve",
    "-m",
    "--multirun",
    "--config-dir",
    "--allow",
    "--json",
]
OPTIONS += [
    "--csv",
    "--where",
    "--sort",
    "--columns",
    "-o",
    "--force",
    "--format",
    "--split",
    "--class",
    "--seed",
    "--yes",
]
OPTIONS += [
    "--replay",
    "--samples",
    "--allow-unknown",
    "--allow-changed-data",
    "-sc",
    "--",
    "-",
    "-x",
    "--config-dir=",
    "-o=",
]
OPTIONS += [
    "--info",
    "--hydra-help",
    "--config-path",
    "--config-name=x",
    "--run",
    "-p",
    "--experimental-rerun",
    "--debgu",
]
COMMANDS = ["resume", "list", "lr", "trace", "runs", "show", "compare", "doctor", "dream", "report", "eval", "predict"]
COMMANDS += ["export", "ensemble", "rm", "clean", "", "", "", "", "", "", "tran", "-m"]
OF_OPTIONS = [
    "pt2",
    "safetensors",
    "onnx",
    "test",
    "train",
    "val",
    "0",
    "-1",
    "install=bash",
    "query=bash",
    "1e400",
    "nan",
]


def of_a_run(rng: random.Random, case: Case, bases: Path) -> None:
    """A spoilt run or sweep, and what is typed of it."""
    names = sorted(p.name for p in bases.iterdir())
    name = rng.choice(names)
    run = case.inside / "runs" / "name" / "20260101-000000-abcd"
    shutil.copytree(bases / name, run)
    kept = run.with_name("20260101-000001-dcba")
    shutil.copytree(bases / name, kept)
    is_sweep = name == "sweep"
    for summary in run.rglob("summary.json"):
        if rng.random() < 0.8:  # as if it had been killed before its last step
            summary.write_text('{"status": "running"}')
            for last in sorted(summary.parent.glob("checkpoints/step-*"))[1:]:
                shutil.rmtree(last)
    folders.spoil(rng, case, run, of_sweep=is_sweep)
    job = run / "0" if is_sweep and rng.random() < 0.5 else run
    rows = (
        sources.file(rng, case)
        if rng.random() < 0.15
        else case.inside / ("pictures" if name == "pictures" else "rows.csv")
    )
    r = str(rng.choice([job, job, job, job.relative_to(case.inside), "abcd", "last", "best"]))
    commands = {  # each with its ways to be typed
        "resume": [["resume", str(run if is_sweep else job), *([] if is_sweep else SHORT)]],
        "eval": [["eval", r]],
        "predict": [["predict", r, str(rows)], ["predict", r, str(rows), "-o", rng.choice(["out.csv", "out.parquet"])]],
        "export": [["export", r, "--format", "safetensors"]] * 2
        + [["export", r, "--format", rng.choice(["pt2", "onnx"]), "--samples", str(rows)]],
        "report": [["report", r, "--replay", "0"], ["report", r, "--replay", "1"]],
        "doctor": [["doctor", r]],
        "dream": [["dream", r, "--class", rng.choice(["0", "1", "zzz", ""])]],
        "compare": [["compare", r, str(kept)], ["compare", str(kept), r, "--json"]],
        "ensemble": [["ensemble", str(run), str(kept)], ["ensemble", r, str(kept), "--top", "2"]],
        "show": [["show", r], ["show", r, "--json"]],
        "runs": [["runs"], ["runs", "--csv", "--sort", "test/accuracy"], ["runs", "--json", "--where", "seed>0"]],
        "watch": [["watch", r, "--once"], ["watch", "--once"]],
        "rm": [["rm", r], ["rm", r, "--yes"]],
        "clean": [["clean", "--yes"]],
        "train": [["data=iris", "resume=auto", "name=name", *QUICK]],
        "lr": [["lr", "data=iris", *QUICK]],
        "trace": [["trace", "data=iris", *QUICK]],
    }
    often = [*commands, *["resume"] * 6, *["eval", "doctor"] * 2, "predict", "report", "export"]
    in_turn = [*commands][case.number // len(folders.SPOILS) % len(commands)]
    if "link" in case.done[0] and rng.random() < 0.6:
        often = ["resume"]  # which writes
    case.argv = rng.choice(commands[in_turn if case.in_turn else rng.choice(often)])


def of_files(rng: random.Random, case: Case, bases: Path) -> None:
    """Training, looking at, or judging with a data file or a folder of configuration files of a stranger's."""
    if case.number % 2 and rng.random() < 0.7:
        typed = ["--config-dir", "mine", *sources.groups(rng, case)]
        if not typed[-1].lstrip("+").startswith(("data", "experiment")):
            typed += ["data=iris"]
    elif case.number % 4 == 0:
        typed = archives.torchvision_root(rng, case)
        if rng.random() < 0.4:
            case.argv = stored_root(rng, case, bases, typed)
            return
    elif case.number % 4 == 2 and rng.random() < 0.7:
        typed = archives.image_set(rng, case)
    elif rng.random() < 0.4:
        skip, held = rng.choice(["true", "false"]), rng.choice(["null", "null", "false"])
        typed = ["data=image_folder", f"data.root={sources.pictures(rng, case)}", "data.image_size=8"]
        typed += [f"data.skip_unreadable={skip}", f"data.in_memory={held}"]
        if rng.random() < 0.3:
            case.argv = ["predict", str(shutil.copytree(bases / "pictures", case.inside / "run")), "photos"]
            return
    else:
        judged = rng.random() < 0.4
        path = sources.file(rng, case, sources.SUFFIXES if judged else sources.TABLES)
        if judged:
            name = rng.choice(["table", "table", "iris", "pictures"])
            run = str(shutil.copytree(bases / name, case.inside / "run"))
            case.argv = [
                ["predict", run, str(path)],
                ["eval", run, f"data.path={path}"],
                ["predict", run, str(path), "-o", "o.csv"],
            ][rng.randrange(3)]
            return
        typed = ["data=table", f"data.path={quoted(path)}", f"data.target={rng.choice(['y', 'y', 'y', 'c0', '[y]'])}"]
        typed += rng.choice(
            [
                [],
                ["data.batch_size=full"],
                ["data.missing=refuse"],
                ["data.separator=';'"],
                [f"data.test_path={quoted(path)}"],
                [f"data.weight={rng.choice(['c0', 'y'])}"],
                [f"data.group={rng.choice(['c0', 'c1'])}", *rng.choice([[], [f"data.test_path={quoted(path)}"]])],
                [f"data.time={rng.choice(['c0', 'c1'])}"],
            ]
        )
    face = rng.choice([["train"]] * 4 + [["lr"], ["trace"], ["-m"], ["--cfg"]])
    more = ["seed=1,2"] if face == ["-m"] else []
    case.argv = [*([] if face == ["train"] else face), *typed, *more, *QUICK]
    if rng.random() < 0.1 and "--config-dir" in case.argv:
        case.argv = [
            "list",
            *rng.choice([[], ["data"], ["model", "mine"], ["optimizer", "mine"]]),
            "--config-dir",
            "mine",
        ]


def stored_root(rng: random.Random, case: Case, bases: Path, typed: list[str]) -> list[str]:
    """What is typed of a run whose stored configuration names the dataset and its root."""
    run = case.inside / "run"
    shutil.copytree(bases / "dataset", run)
    tree = yaml.safe_load((run / "config.yaml").read_text())
    given = [
        word.lstrip("+").removeprefix("data.dataset.").partition("=")[::2] for word in typed if ".dataset." in word
    ]
    kept = {"transform": tree["data"]["dataset"]["transform"]}
    tree["data"]["dataset"] = {k: False if v == "false" else v for k, v in given if "transform" not in k} | kept
    (run / "config.yaml").write_text(yaml.safe_dump(tree))
    return rng.choice([["eval", "run"], ["doctor", "run"], ["resume", "run", *SHORT], ["dream", "run", "--class", "0"]])


def quoted(path: Path) -> str:
    text = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def of_a_hand(rng: random.Random, case: Case, bases: Path) -> None:
    """A command line of words, keys, values, options, paths and bytes; streams that are closed, full or gone."""
    shutil.copytree(bases / "iris", case.inside / "runs" / "name" / "20260101-000000-abcd")
    if rng.random() < 0.2:
        shutil.copytree(bases / "sweep", case.inside / "runs" / "name" / "20260101-000001-dcba")
    command = rng.choice(COMMANDS)
    argv = [command] if command else []
    if command not in ("", "-m", "tran", "list", "lr", "trace", "runs", "clean") and rng.random() < 0.8:
        argv.append(
            rng.choice(
                [
                    "last",
                    "best",
                    "abcd",
                    "dcba",
                    "runs",
                    "runs/name/20260101-000000-abcd",
                    "zzz",
                    "",
                    ".",
                    "/",
                    "name/last",
                ]
            )
        )
    for _ in range(rng.choice([0, 1, 1, 2, 3])):
        argv.append(rng.choice([override, override, override, option, odd])(rng, case))
    if command in ("", "-m", "lr", "trace", "tran"):
        argv += QUICK
    elif command == "resume":
        argv += SHORT
    case.streams = rng.choice(
        ["ppp"] * 6 + ["fpp", "ppf", "pfp", "pff", "xpp", "pxp", "ppx", "pxx", "xxx", "pgp", "ppg", "pgg"]
    )
    case.argv = [word.replace("\x00", "").replace("\ud800", "\udced\udca0\udc80") for word in argv]  # its bytes
    case.consent("\n".join(case.argv))
    case.done.append(f"streams {case.streams}")


ENDLESS = ["1e308", "-1e308", "1000000000000", "9" * 5_000, "1" + "0" * 400]


def override(rng: random.Random, case: Case) -> str:
    value = rng.choice(
        [*VALUES] * 3
        + [*words.SIGNS, *words.NAMES, *words.INTERPOLATIONS, *words.DEVICES, "[" * 3_000, "1," * 9_000, "a" * 99_000]
    )
    if rng.random() < 0.15:
        value = rng.choice([*map(str, words.NUMBERS), *ENDLESS])
    if rng.random() < 0.1:
        value = words.target(rng)
    return (
        rng.choice(["", "", "", "+", "++", "~"]) + rng.choice(KEYS) + rng.choice(["=", "=", "=", "=", "==", ""]) + value
    )


def option(rng: random.Random, case: Case) -> str:
    return rng.choice(OPTIONS) + rng.choice(["", "", "=", f"={rng.choice(OF_OPTIONS)}"])


def odd(rng: random.Random, case: Case) -> str:
    pool: Sequence[str] = [
        *words.SIGNS,
        *words.NAMES,
        *OF_OPTIONS,
        *words.DEVICES,
        "\udcff\udcfe",
        "é\udcc3",
        "rows.csv",
        "pictures",
        "-",
        "",
        " ",
    ]
    return rng.choice(pool)


KINDS = {"runs": of_a_run, "files": of_files, "typing": of_a_hand}
