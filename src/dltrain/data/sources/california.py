"""California housing (Pace and Barry 1997): the eight features of scikit-learn's set, from a local CSV or fetched."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dltrain.data import Data, Scaling, split
from dltrain.data.assembly import assemble
from dltrain.data.sources.download import may_download
from dltrain.data.split import Share
from dltrain.data.tables.encoding import encode, fit
from dltrain.data.tables.headers import Format
from dltrain.data.tables.reading import read_table
from dltrain.data.tables.rules import Rules
from dltrain.data.tables.table import require_columns
from dltrain.data.units import TargetTransform
from dltrain.errors import DataError
from dltrain.errors.paths import local

if TYPE_CHECKING:
    import polars as pl

_FILES = ("cal_housing.csv", "housing.csv")
_RAW = [
    "longitude",
    "latitude",
    "housing_median_age",
    "total_rooms",
    "total_bedrooms",
    "population",
    "households",
    "median_income",
    "median_house_value",
]


def california_housing(
    root: str | None = None,
    *,
    scaling: Scaling = "quantile",
    target_transform: TargetTransform = "standard",
    val: float | int = 0.2,
    test: Share = 0.2,
    split_seed: int = 0,
) -> Data:
    """Median house value of 20,640 block groups in California in 1990, in units of 100,000 dollars.

    `root` is a file with the nine columns of the original (longitude ... median_house_value), or a folder that
    holds it as cal_housing.csv or housing.csv; without it scikit-learn downloads the set, into its own data home.
    With val=0.2, test=0.2 and split_seed=0 the parts are those of the published results (13,209 / 3,303 / 4,128 rows).
    """
    features, y = _fetch() if root is None else _derive(local(root))
    rows = split(len(y), val=val, test=test, seed=split_seed)
    preprocessing, dropped = fit(
        features[rows[0]], [{"name": name, "kind": "number"} for name in features.columns], Rules(scaling)
    )
    x = encode(features, preprocessing)
    return assemble(
        x,
        y[:, None],
        rows,
        targets=("MedHouseVal",),
        target_transform=target_transform,
        preprocessing=preprocessing,
        notes=dropped,
    )


def _derive(root: Path) -> tuple[pl.DataFrame, np.ndarray]:
    """scikit-learn's eight features and the target [N] from the nine columns of the original."""
    import polars as pl

    path = root
    if root.is_dir():
        path = next((root / name for name in _FILES if (root / name).is_file()), root / _FILES[0])
    if not path.is_file():
        raise DataError(f"{path}: no such file; data.root names it or its folder (data.root=null downloads the set)")
    table = read_table(path, Format(","))
    require_columns(_RAW, table.frame.columns, knob="a column of the original", path=path)
    raw = table.frame.select(pl.col(_RAW).cast(pl.Float64, strict=False))
    for name in _RAW:
        absent = ~raw[name].is_finite().fill_null(False)
        if absent.any():
            raise DataError(
                f"{table.place(absent.arg_true()[0])}: {name} is missing or no number in {absent.sum()} rows\n"
                "Use the complete cal_housing.csv, or let a table fill them in: data=table "
                f"data.path={path} data.target=median_house_value"
            )
    rooms, bedrooms, people = (
        pl.col(c) / pl.col("households") for c in ("total_rooms", "total_bedrooms", "population")
    )
    features = raw.select(
        MedInc="median_income",
        HouseAge="housing_median_age",
        AveRooms=rooms,
        AveBedrms=bedrooms,
        Population="population",
        AveOccup=people,
        Latitude="latitude",
        Longitude="longitude",
    )
    return features, raw["median_house_value"].to_numpy() / 100_000


def _fetch() -> tuple[pl.DataFrame, np.ndarray]:
    # Never into a folder that the config names: scikit-learn keeps its copy as a pickle, and reading one runs code.
    import polars as pl
    from sklearn.datasets import fetch_california_housing

    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Retry downloading")  # that it failed is said once
            # pyrefly: ignore[unexpected-keyword] - the stubs are older than n_retries
            fetched = fetch_california_housing(n_retries=1, delay=0.1, download_if_missing=may_download())
    except OSError as error:  # URLError and HTTPError are among them
        raise DataError(
            f"scikit-learn could not download California housing ({error})\n"
            "Give data.root=FOLDER, a folder that holds cal_housing.csv"
        ) from None
    assert not isinstance(fetched, tuple)  # as it is only with return_X_y
    features = pl.DataFrame({name: fetched.data[:, i] for i, name in enumerate(fetched.feature_names)})
    return features, fetched.target
