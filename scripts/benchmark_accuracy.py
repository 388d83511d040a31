"""Accuracy of the experiments over seeds, through the installed `dltrain` command. Run it with
`python scripts/benchmark_accuracy.py [--mnist FOLDER] [--california FOLDER] [--only NAME ...] [--seeds N]`.

Prints a Markdown table: mean and sample standard deviation of the test metric of the best epoch, and the command that
made the row. MNIST and California housing are left out unless you name the folders of their files. Run folders go to a
temporary folder, which is removed. On 2 CPU cores the small ones take 5 minutes in all, California 2, MNIST 4.
"""

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

DLTRAIN = Path(sys.executable).with_name("dltrain")

ROWS = (  # experiment, its overrides, test metrics, seeds
    ("perceptron_iris", "", ("accuracy",), 5),
    ("perceptron_xor", "", ("accuracy",), 5),
    ("mlp_xor", "", ("accuracy",), 5),
    ("two_linear_layers", "model.widths=[]", ("loss", "accuracy"), 5),
    ("two_linear_layers", "", ("loss", "accuracy"), 5),
    ("two_linear_layers", "model.widths=[32,32]", ("loss", "accuracy"), 5),
    ("two_linear_layers", "model.activation=tanh", ("loss", "accuracy"), 5),
    ("digits_mlp", "", ("accuracy",), 5),
    ("digits_mlp", "data.split_seed=${seed}", ("accuracy",), 5),
    ("mnist_mlp", "", ("accuracy",), 3),
    ("california_linear", "", ("rmse",), 3),
    ("california_mlp", "", ("rmse",), 3),
    ("multilabel_bce", "", ("accuracy", "exact_match"), 5),
    ("vanishing_gradient", "", ("accuracy",), 5),
    ("vanishing_gradient", "model.activation=relu", ("accuracy",), 5),
    ("vanishing_gradient", "model.norm=batch", ("accuracy",), 5),
    ("vanishing_gradient", "model.activation=relu model.norm=batch", ("accuracy",), 5),
    ("overfitting", "", ("loss", "accuracy"), 5),
    ("overfitting", "regularisation=dropout", ("loss", "accuracy"), 5),
    ("overfitting", "regularisation=l2 regularisation.l2=3e-3", ("loss", "accuracy"), 5),
    ("overfitting", "regularisation=[dropout,l2] regularisation.l2=3e-3", ("loss", "accuracy"), 5),
    ("overfitting", "regularisation=early_stopping trainer.monitor=val/loss", ("loss", "accuracy"), 5),
    *(
        ("onecycle_vs_constant", f"scheduler={scheduler} optimizer.lr={lr}", ("loss", "accuracy"), 5)
        for scheduler in ("onecycle", "constant")
        for lr in (0.02, 0.04, 0.08, 0.16)
    ),
    *(
        ("stochastic_vs_batch", f"data.batch_size={size} optimizer.lr={lr}", ("accuracy",), 3)
        for size in (1, 64, "full")
        for lr in (0.01, 0.1, 1)
    ),
)


def sweep(arguments: list[str], folder: str) -> list[dict]:
    """The summaries of a sweep that finished without a failure."""
    result = subprocess.run(
        [DLTRAIN, "-m", *arguments, f"runs_dir={folder}"], capture_output=True, text=True, cwd=folder
    )
    if result.returncode:
        raise SystemExit(f"{shlex.join(['dltrain', '-m', *arguments])} failed:\n{result.stderr}")
    return [json.loads(file.read_text()) for file in Path(folder).glob("*/*/*/summary.json")]


def spread(values: list[float], *, percent: bool) -> str:
    mean, std = statistics.mean(values), statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{mean:.2%} +- {std:.2%}" if percent else f"{mean:.4f} +- {std:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split(".")[0])
    parser.add_argument("--mnist", metavar="FOLDER", help="folder of the four IDX files of MNIST")
    parser.add_argument("--california", metavar="FOLDER", help="folder of cal_housing.csv")
    parser.add_argument("--only", metavar="NAME", nargs="+", help="run only these experiments")
    parser.add_argument("--seeds", metavar="N", type=int, help="seeds of each row; 3 or 5 otherwise")
    args = parser.parse_args()
    unknown = set(args.only or ()) - {row[0] for row in ROWS}
    if unknown:
        parser.error(f"no experiment {', '.join(unknown)}; there are {', '.join(dict.fromkeys(r[0] for r in ROWS))}")
    roots = {"mnist": args.mnist, "california": args.california}

    print(f"{os.cpu_count()} CPU cores\n\n| test | seeds | seconds a run | command |\n| --- | ---: | ---: | --- |")
    for name, overrides, metrics, seeds in ROWS:
        source = name.split("_")[0]
        if (args.only and name not in args.only) or (source in roots and not roots[source]):
            continue
        seeds = args.seeds or seeds
        typed = [f"experiment={name}", *overrides.split(), f"seed={','.join(map(str, range(seeds)))}"]
        root = [f"data.root={Path(roots[source]).resolve()}"] if source in roots else []
        with tempfile.TemporaryDirectory() as folder:
            runs = sweep([*typed, *root], folder)
        numbers = ", ".join(
            f"{m} {spread([r['test'][m] for r in runs], percent=m in ('accuracy', 'exact_match'))}" for m in metrics
        )
        seconds = statistics.mean(r["seconds"] for r in runs)
        command = shlex.join(["dltrain", "-m", *typed, *(["data.root=FOLDER"] if root else [])])
        print(f"| {numbers} | {len(runs)} | {seconds:.1f} | `{command}` |", flush=True)


if __name__ == "__main__":
    main()
