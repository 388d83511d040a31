"""The weights that a run had on its way, for its pictures: made by training again, or a note on why there are none."""

from __future__ import annotations

from dltrain.config.plan import Plan
from dltrain.errors import DltrainError
from dltrain.runs import checkpoint
from dltrain.runs.reading import Run
from dltrain.training import replay

_LARGEST = 1_000_000  # parameters of a net whose weights on the way are kept in memory
_MOMENTS = 30


def weights(plan: Plan, run: Run, seconds: float) -> tuple[replay.Way | None, str]:
    """The way, where training took no longer than so many seconds, and a note, where there is something to say."""
    if run.steps is None or not 0 < run.steps <= plan.total_steps:
        return None, "the run has no end yet, so its way is not shown"
    if why := _hindered(plan, run, seconds):
        logged = "" if plan.diagnose else "; diagnose=true writes down what each layer is like while a run trains"
        return None, f"the way of the training is not shown: {why}{logged}"
    try:
        way = replay.replay(plan, steps=run.steps, wanted=replay.moments(run.steps, _MOMENTS), seconds=3 * seconds)
        last = checkpoint.latest(run.folder / "checkpoints")
    except DltrainError as error:
        return None, f"the way of the training is not shown: {error}"
    if way is None:
        return None, "the way of the training is not shown: training again took too long (--replay SECONDS)"
    if last and last[0].name == checkpoint.name("step", run.steps) and not way.ends_like(last[1]):
        return way, (
            "the way of the training was computed again and does not end at exactly the same weights: "
            "another machine, other versions or other data"
        )
    return way, ""


def _hindered(plan: Plan, run: Run, seconds: float) -> str:
    """Why it is not trained again."""
    size = sum(row.parameters for row in plan.rows[-1:])
    if size > _LARGEST:
        return f"the net has {size:,} parameters, and up to {_LARGEST:,} are kept of each moment"
    if plan.settings.compile:
        return "it was compiled, and is trained again only where it was not"
    if run.seconds is None or run.seconds > seconds:
        took = "it is not known how long it took" if run.seconds is None else f"it took {run.seconds:.1f} s"
        return f"{took}, and it is trained again only up to {seconds:g} s (--replay SECONDS)"
    return ""
