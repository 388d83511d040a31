"""How good the plain command is on real tables, beside scikit-learn's MLP and its boosted trees, and beside dltrain as
it was in another checkout:

    python scripts/benchmark_tables.py FOLDER [--splits 5] [--tables titanic glass] [--before CHECKOUT] [--out FILE]

FOLDER holds the tables as `NAME.csv.gz`. Of each table a fifth of the rows is the test part, drawn by scikit-learn and
stratified by class; the same rows for all. dltrain is told the files, the target, which columns to leave out and where
there is no header, and nothing else. scikit-learn's estimators have their defaults behind the pipeline that its own
documentation recommends (one-hot words, scaled numbers, medians); CatBoost, where it is installed, has its own. Prints
means over the splits and their deviation.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

WORDS = object, "category", "string"


@dataclass(frozen=True)
class Problem:
    """A table: its target (a name, or a number from 0 where it has no header), what is left out, how it is judged."""

    name: str
    target: str | int
    judged: str  # a metric of summary.json
    drop: tuple[str | int, ...] = ()
    header: bool = True

    @property
    def regression(self) -> bool:
        return self.judged == "rmse"


PROBLEMS = (
    Problem("diamonds", "price", "rmse"),
    Problem("taxis", "fare", "rmse", ("total", "tip", "tolls", "dropoff")),
    Problem("titanic", "survived", "log_loss", ("alive", "class", "who", "adult_male", "embark_town", "alone")),
    Problem("german", 20, "log_loss", header=False),
    Problem("mammography", 6, "average_precision", header=False),
    Problem("phoneme", 5, "log_loss", header=False),
    Problem("glass", 9, "log_loss", header=False),
    Problem("horse-colic", 23, "log_loss", (2,), header=False),
)


def parts(problem: Problem, folder: Path, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Train and test rows as text, just as the file has them; rows without a target are out."""
    header = 0 if problem.header else None
    table = pd.read_csv(folder / f"{problem.name}.csv.gz", header=header, dtype=str, keep_default_na=False)
    table = table[~table[problem.target].isin(["", "?"])]
    classes = None if problem.regression else table[problem.target]
    return tuple(train_test_split(table, test_size=0.2, random_state=seed, stratify=classes))


# -- contenders: from the two parts to the test metric ---------------------------------------------------------------


def dltrain(problem: Problem, train: pd.DataFrame, test: pd.DataFrame, *, checkout: Path | None = None) -> float:
    """The plain command. Another checkout is an older one, which needs a header, numbers for times, and more room."""
    old = checkout is not None
    with tempfile.TemporaryDirectory() as folder:
        for name, part in (("train", train), ("test", test)):
            part = _as_before(part, problem) if old else part
            part.to_csv(Path(folder, f"{name}.csv"), index=False, header=old or problem.header)
        target, drop = problem.target, list(problem.drop)
        if not problem.header:  # columns are numbered from 1, or called c0, c1, ...
            target, drop = (f"c{target}", [f"c{d}" for d in drop]) if old else (target + 1, [d + 1 for d in drop])
        words = [f"data.path={folder}/train.csv", f"data.test_path={folder}/test.csv", f"data.target={target}"]
        words += [f"data.drop={json.dumps(drop)}"] * bool(drop) + ["data.header=false"] * (
            not problem.header and not old
        )
        words += ["data.max_categories=300", "data.missing_marks=['?']"] * old
        source = os.environ | ({"PYTHONPATH": str(checkout / "src")} if old else {})
        program = [sys.executable, "-m", "dltrain.cli" if old else "dltrain"]
        command = [*program, "data=table", *words, f"runs_dir={folder}"]
        command += ["trainer.tensorboard=false", "trainer.progress=false"]
        subprocess.run(command, check=True, capture_output=True, env=source)
        (summary,) = Path(folder).glob("*/*/summary.json")
        found = json.loads(summary.read_text())["test"]
        if problem.judged in found or problem.judged == "log_loss":
            return found.get(problem.judged, found["loss"])
        command = [*program, "predict", summary.parent, f"{folder}/test.csv"]  # which did not know the metric yet
        chances = subprocess.run(command, check=True, capture_output=True, env=source, text=True).stdout
        of_positive = pd.read_csv(StringIO(chances)).iloc[:, -1]
        return float(metrics.average_precision_score(test[problem.target] == max(test[problem.target]), of_positive))


def _as_before(part: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    if problem.name == "taxis":
        pickup = pd.to_datetime(part["pickup"])
        part = part.assign(hour=pickup.dt.hour, weekday=pickup.dt.weekday, month=pickup.dt.month).drop(columns="pickup")
    return part if problem.header else part.rename(columns="c{}".format)


def of_scikit_learn(make: Callable[[bool], object]) -> Callable[[Problem, pd.DataFrame, pd.DataFrame], float]:
    """An estimator of scikit-learn's; make: whether a regression -> the pipeline."""

    def contend(problem: Problem, train: pd.DataFrame, test: pd.DataFrame) -> float:
        both = _typed(pd.concat([train, test]).drop(columns=list(problem.drop)), problem)
        target = both.pop(problem.target)
        y = target.astype(float) if problem.regression else target
        both.columns = both.columns.astype(str)
        model = make(problem.regression).fit(both[: len(train)], y[: len(train)])
        truth, rest = y[len(train) :], both[len(train) :]
        if problem.regression:
            return metrics.root_mean_squared_error(truth, model.predict(rest))
        chances = model.predict_proba(rest)
        if problem.judged == "average_precision":
            return metrics.average_precision_score(truth == model.classes_[1], chances[:, 1])
        return metrics.log_loss(truth, chances, labels=model.classes_)

    return contend


def _typed(table: pd.DataFrame, problem: Problem) -> pd.DataFrame:
    """Numbers where all cells are, but for missing ones; times as hour, weekday and month."""
    table = table.replace({"": None, "?": None})
    if "pickup" in table:
        pickup = pd.to_datetime(table.pop("pickup"))
        table = table.assign(hour=pickup.dt.hour, weekday=pickup.dt.weekday, month=pickup.dt.month)
    for name in table.columns.difference([problem.target]):
        numbers = pd.to_numeric(table[name], errors="coerce")
        if numbers.notna().sum() == table[name].notna().sum():
            table[name] = numbers
    return table


def _mlp(regression: bool) -> object:
    kind = MLPRegressor if regression else MLPClassifier
    words = make_pipeline(
        SimpleImputer(strategy="constant", fill_value="missing"), OneHotEncoder(handle_unknown="ignore")
    )
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    columns = make_column_transformer(
        (words, make_column_selector(dtype_include=WORDS)), (numbers, make_column_selector(dtype_include="number"))
    )
    return make_pipeline(columns, kind(random_state=0))


def _trees(regression: bool) -> object:
    kind = HistGradientBoostingRegressor if regression else HistGradientBoostingClassifier
    words = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    columns = make_column_transformer(
        (words, make_column_selector(dtype_include=WORDS)), remainder="passthrough", verbose_feature_names_out=False
    )
    return make_pipeline(columns, kind(random_state=0))


class _CatBoost:
    """CatBoost with its defaults, which has a way of its own with words and with missing numbers."""

    def __init__(self, regression: bool) -> None:
        catboost = import_module("catboost")
        self._kind = catboost.CatBoostRegressor if regression else catboost.CatBoostClassifier

    def fit(self, x: pd.DataFrame, y: pd.Series) -> _CatBoost:
        self._words = x.select_dtypes(WORDS).columns
        self._model = self._kind(
            verbose=0, random_seed=0, thread_count=1, cat_features=[*self._words], allow_writing_files=False
        )
        self._model.fit(self._filled(x), y)
        return self

    def _filled(self, x: pd.DataFrame) -> pd.DataFrame:
        return x.assign(**{name: x[name].fillna("missing").astype(str) for name in self._words})

    def predict(self, x: pd.DataFrame) -> np.ndarray:
        return self._model.predict(self._filled(x))

    def predict_proba(self, x: pd.DataFrame) -> np.ndarray:
        return self._model.predict_proba(self._filled(x))

    @property
    def classes_(self) -> np.ndarray:
        return self._model.classes_


# -- the table -------------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--tables", nargs="+", choices=[p.name for p in PROBLEMS], default=[p.name for p in PROBLEMS])
    parser.add_argument("--before", type=Path, help="a checkout of dltrain as it was")
    parser.add_argument("--out", type=Path, help="a file that gets the table")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # scikit-learn's MLP has not converged after its 200 epochs
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    contenders = {
        "dltrain": dltrain,
        "scikit-learn's MLP": of_scikit_learn(_mlp),
        "its boosted trees": of_scikit_learn(_trees),
    }
    if find_spec("catboost"):
        contenders["CatBoost"] = of_scikit_learn(_CatBoost)
    if options.before:
        contenders["dltrain before"] = lambda *given: dltrain(*given, checkout=options.before.absolute())
    lines = [f"| table | metric | {' | '.join(contenders)} |", "| --- | --- |" + " ---: |" * len(contenders)]
    for problem in PROBLEMS:
        if problem.name not in options.tables:
            continue
        cells = []
        for contend in contenders.values():
            begin, found = time.perf_counter(), []
            for seed in range(options.splits):
                found.append(contend(problem, *parts(problem, options.folder, seed)))
            spread = np.std(found, ddof=1) if len(found) > 1 else 0.0
            seconds = (time.perf_counter() - begin) / len(found)
            cells.append(f"{statistics.fmean(found):.4g} ± {spread:.2g} ({seconds:.0f} s)")
            print(problem.name, problem.judged, cells[-1], flush=True)
        lines.append(f"| {problem.name} | {problem.judged} | {' | '.join(cells)} |")
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
