"""What codes of categories with an embedding are worth, beside zeros and ones for each category:

    python scripts/benchmark_categories.py [--taxis FILE] [--seeds 5] [--one-hot 20]

Tables are drawn: each of two columns of k categories has effects of its own on a number, one of them also through
another column, and categories are as frequent as words are. One column of a last table means nothing. FILE is
`taxis.csv` of seaborn-data, whose fare is learned from all but its parts and the end of the ride. Prints the error on
the test part (rmse; log loss of two classes), mean and deviation over splits and seeds, and the difference.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

import dltrain

NUMBERS = ("rmse", ["data.target=y", "data.task=regression"])
CLASSES = ("log_loss", ["data.target=y", "trainer.metrics=[log_loss]"])


def several(rows: int, categories: int) -> pl.DataFrame:
    """Two columns of so many categories, one of which also changes what a number does."""
    random = np.random.default_rng(rows + categories)
    shares = 1 / np.arange(1, categories + 1) ** 0.5
    one, slope, other = random.normal(size=(3, categories))
    a, b = random.choice(categories, size=(2, rows), p=shares / shares.sum())
    x = random.normal(size=(rows, 4))
    y = one[a] + 0.7 * slope[a] * x[:, 0] + x[:, 1] * x[:, 2] + 0.5 * other[b] + 0.5 * random.normal(size=rows)
    return _frame(x, y, shop=a, town=b)


def many(rows: int, categories: int) -> pl.DataFrame:
    """One column of thousands of categories, most of which stand in few rows."""
    random = np.random.default_rng(0)
    shares = 1 / np.arange(1, categories + 1) ** 0.8
    shop = random.choice(categories, rows, p=shares / shares.sum())
    effect, x = random.normal(size=categories), random.normal(size=(rows, 4))
    y = effect[shop] * (1 + 0.5 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * random.normal(size=rows)
    return _frame(x, y, shop=shop)


def noise(rows: int, categories: int) -> pl.DataFrame:
    """Two classes, and a column of categories that say nothing about them."""
    random = np.random.default_rng(5)
    x = random.normal(size=(rows, 5))
    y = x[:, 0] + x[:, 1] * x[:, 2] + random.normal(size=rows) > 0
    return _frame(x, y.astype(int), ticket=random.integers(0, categories, rows))


def _frame(x: np.ndarray, y: np.ndarray, **codes: np.ndarray) -> pl.DataFrame:
    words = {name: [f"{name}{code}" for code in column] for name, column in codes.items()}
    return pl.DataFrame({**{f"x{i}": column for i, column in enumerate(x.T)}, **words, "y": y})


def errors(words: list[str], metric: str, seeds: int) -> np.ndarray:
    """Of the plain command with these words, on the test part, [seeds]."""
    found = []
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as runs, contextlib.redirect_stderr(io.StringIO()):
            own = [f"seed={seed}", f"data.split_seed={seed}", f"runs_dir={runs}", "data.batch_size=64"]
            found.append(dltrain.train("data=table", *words, *own).metrics[f"test/{metric}"])
    return np.array(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--taxis", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--one-hot", default="20")
    given = parser.parse_args()
    drawn = {
        f"{k} and {k}, {n:,} rows": (several(n, k), NUMBERS) for n in (1_000, 2_000, 4_000, 10_000) for k in (60, 300)
    }
    drawn |= {"5,000, 20,000 rows": (many(20_000, 5_000), NUMBERS)}
    drawn |= {"1,400 that mean nothing, 2,000 rows": (noise(2_000, 1_400), CLASSES)}
    with tempfile.TemporaryDirectory() as folder:
        tables = {}
        for i, (name, (frame, (metric, words))) in enumerate(drawn.items()):
            frame.write_csv(file := Path(folder, f"{i}.csv"))
            tables[name] = metric, [f"data.path={file}", *words]
        if given.taxis:
            words = [f"data.path={given.taxis}", "data.target=fare", "data.drop=[total,tip,tolls,dropoff]"]
            tables["taxis"] = "rmse", words
        for name, (metric, words) in tables.items():
            hot, coded = (
                errors([*words, f"data.one_hot={most}"], metric, given.seeds) for most in ("null", given.one_hot)
            )
            means = ", ".join(f"{each.mean():.4f} ± {each.std(ddof=1):.4f}" for each in (hot, coded, coded - hot))
            print(f"{name:40} {metric:8} {means}", flush=True)


if __name__ == "__main__":
    main()
