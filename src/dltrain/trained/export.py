"""`dltrain export RUN`: the model with its preprocessing in one file, compared with the run before it is kept."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from dltrain import __version__
from dltrain.data import units
from dltrain.data.preprocessing import decode
from dltrain.data.tables.encoding import numbers
from dltrain.errors import ConfigError, DataError, DltrainError
from dltrain.parts.ensembles import Rescaled
from dltrain.runs import tensor_file
from dltrain.trained import judge, predict
from dltrain.trained.inference import Trained
from dltrain.trained.serving import Serving

if TYPE_CHECKING:
    import polars as pl

_SAMPLES = 256
_CLOSE = 1e-5  # of the answers' own size: other kernels add in another order


@dataclass(frozen=True)
class Samples:
    """Real rows as an export takes them, what the run itself says of them, and where they come from."""

    rows: Tensor
    answers: np.ndarray
    where: str


def samples(trained: Trained, source: Path | None = None) -> Samples:
    """Up to 256 rows of `source` (any input of `dltrain predict`), else of the run's own test part.

    The answers come by the way that `dltrain predict` takes, not by the one that is exported.
    """
    facts = trained.facts
    raw = _of_test_part(trained) if source is None else next(predict.read(trained, source)).rows[:_SAMPLES]
    if not isinstance(raw, Tensor) and facts.preprocessing["missing"] == "impute":
        raw = raw.vstack(raw.clear(1))  # a row that misses everything
    answers = trained.answers(trained.logits(trained.inputs(raw, allow_unknown=True)))
    if source is not None and (remark := trained.remark(raw)):
        warnings.warn(remark, stacklevel=2)
    if facts.task == "multilabel":
        answers = answers[:, len(facts.names) :]
    elif facts.classes:
        answers = answers.drop("prediction")
    if not isinstance(raw, Tensor):
        rows = numbers(raw, facts.preprocessing)
    elif raw.dtype == torch.uint8 and (levels := facts.preprocessing.get("levels", 255)) != 255:
        rows = raw.float() * levels / 255
    else:
        rows = raw
    if len(rows) == 1:  # a program traced with one row may take one only
        rows, answers = torch.cat([rows, rows]), answers.vstack(answers)
    return Samples(rows, answers.to_numpy(), str(source or "the test part"))


def _of_test_part(trained: Trained) -> Tensor | pl.DataFrame:
    try:
        data = judge.read_data(trained)
    except DltrainError as error:
        raise DataError(
            f"{error}\nAn export is checked on real rows: name some that are here, --samples FILE"
        ) from error
    part, own = data.test, data.preprocessing
    some = np.linspace(0, len(part) - 1, min(len(part), _SAMPLES)).astype(int).tolist()
    x = torch.stack([part[i][0] for i in some])
    if own["kind"] == "table":
        return decode(x, own)
    if own["kind"] == "images" and x.is_floating_point():  # normalised already: back to the set's own levels
        mean, std = (torch.tensor(own[key], dtype=torch.float64).view(-1, 1, 1) for key in ("mean", "std"))
        return ((x * std + mean) * own["levels"]).float()
    return x


def describe(trained: Trained, rows: Tensor) -> dict[str, object]:
    """What a reader of the file must know: inputs, answers, classes, and all that the run fitted and was told."""
    facts = trained.facts
    columns = facts.preprocessing.get("columns", [])
    names = [column for column in trained.answers(torch.zeros(1, trained.outputs)).columns if column != "prediction"]
    return {
        "made_by": f"dltrain {__version__}",
        "run": trained.folder.name,
        "checkpoint": trained.checkpoint.name,
        "task": facts.task,
        "rows": {
            "dtype": str(rows.dtype).removeprefix("torch."),
            "shape": ["rows", *rows.shape[1:]],
            "columns": [{k: c[k] for k in ("name", "kind", "categories", "source", "part") if k in c} for c in columns],
        },
        "answers": names[len(facts.names) :] if facts.task == "multilabel" else names,
        "classes": list(facts.classes),
        "targets": list(facts.targets),
        "preprocessing": facts.preprocessing,
        **units.stored(facts.units),
        "config": trained.outline.config,
    }


# -- formats: each returns the file's bytes, and a function from rows to answers that is read back from them -------

Made = tuple[bytes, Callable[[Tensor], np.ndarray]]


def _safetensors(trained: Trained, known: dict[str, object], rows: Tensor) -> Made:
    text = {
        "format": "pt",
        **{key: value if isinstance(value, str) else json.dumps(value) for key, value in known.items()},
    }
    content = b"".join(tensor_file.parts(trained.model.state_dict(), metadata=text))
    model = trained.rebuild(safetensors.torch.load(content))
    return content, lambda rows: Serving(model, trained.loss, trained.facts)(rows).numpy()


def _pt2(trained: Trained, known: dict[str, object], rows: Tensor) -> Made:
    program, buffer = _program(trained, rows), io.BytesIO()
    torch.export.save(program, buffer, extra_files={"dltrain.json": json.dumps(known)})
    content = buffer.getvalue()
    module = torch.export.load(io.BytesIO(content)).module()
    return content, lambda rows: module(rows).numpy()


def _onnx(trained: Trained, known: dict[str, object], rows: Tensor) -> Made:
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise ConfigError("--format onnx needs more packages: pip install onnx onnxscript onnxruntime") from error
    ranked = any(isinstance(module, Rescaled) and module.ranked for module in trained.model.modules())
    if ranked or any("quantiles" in column for column in trained.facts.preprocessing.get("columns", [])):
        raise ConfigError("ONNX has no operation for data.scaling=quantile; use --format pt2, or data.scaling=standard")
    program = _program(trained, rows)
    table: dict[Callable[..., object], Callable[..., object]] = {torch.ops.aten.erf.default: _short_erf}
    names = {"input_names": ["rows"], "output_names": ["answers"]}
    made = torch.onnx.export(program, **names, dynamo=True, verbose=False, custom_translation_table=table)
    assert made is not None  # without dynamo=True it would be
    made.model.metadata_props["dltrain"] = json.dumps(known)
    content = made.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return content, lambda rows: np.asarray(session.run(None, {"rows": rows.numpy()})[0])


def _short_erf(x: object) -> object:
    """In float32, as onnxruntime has no other; of a rank that leaves 7 digits."""
    onnx = import_module("onnxscript")  # whose types leave out what is traced here
    op = onnx.opset18
    return op.CastLike(op.Erf(op.Cast(x, to=onnx.FLOAT.dtype)), x)


def _program(trained: Trained, rows: Tensor) -> torch.export.ExportedProgram:
    module = Serving(trained.model, trained.loss, trained.facts).eval().requires_grad_(False)
    return torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("rows")},), strict=False)


_MAKERS = {"safetensors": _safetensors, "pt2": _pt2, "onnx": _onnx}
FORMATS = tuple(_MAKERS)


def export(trained: Trained, form: str, *, source: Path | None = None) -> tuple[bytes, str]:
    """The bytes of a file that holds the model with its preprocessing, and in words how they were checked.

    form: safetensors (weights and metadata), pt2 (`torch.export.load`) or onnx. Raises ConfigError for a model that
    the format can't hold, and for one whose answers differ from the run's by more than rounding.
    """
    real = samples(trained, source)
    name = type(trained.model).__name__
    try:
        # The exporters warn of themselves, and print whole graphs where they fail.
        with warnings.catch_warnings(action="ignore"), redirect_stderr(io.StringIO()), torch.no_grad():
            content, answer = _MAKERS[form](trained, describe(trained, real.rows), real.rows)
            found, one = answer(real.rows), answer(real.rows[:1])
    except DltrainError:
        raise
    except Exception as error:  # of the exporters, each with classes of its own
        reason = next((line for line in str(error).splitlines() if line.strip()), "")[:200]
        raise ConfigError(f"{name} can't be exported as {form}: {type(error).__name__}: {reason}") from error
    middle, unit = _units(trained, real.answers)
    wanted, found, one = ((answers - middle) / unit for answers in (real.answers, found, one))
    size = max(1.0, float(np.abs(wanted[np.isfinite(wanted)]).max(initial=0.0)))
    same = found.shape == wanted.shape and np.isnan(found).tolist() == np.isnan(wanted).tolist()
    gap = float(np.nanmax(np.abs(found - wanted), initial=0.0)) if same else np.inf
    alone = np.allclose(one, wanted[:1], rtol=0, atol=_CLOSE * size, equal_nan=True)
    if not (gap <= _CLOSE * size and alone):
        raise ConfigError(
            f"{name} as {form} answers otherwise than the run (difference {gap:.2g}); nothing was written"
        )
    of = " of a standard deviation" if trained.facts.units else ""
    return content, f"{len(real.rows):,} rows of {real.where}: largest difference {gap:.2g}{of}"


def _units(trained: Trained, answers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The middle and the unit [K] in which answers [N, K] are compared: a target's own mean and deviation."""
    facts, columns = trained.facts, answers.shape[1]
    if facts.units is not None:
        return facts.units.size()
    largest = np.nanmax(np.abs(answers), axis=0, initial=0.0)
    values = facts.task == "regression"
    return np.zeros(columns), np.where(largest > 0, largest, 1.0) if values else np.ones(columns)
