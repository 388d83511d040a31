"""What to try against a complaint: overrides, and never one that the run had already."""

from __future__ import annotations

from dltrain.config.plan import Plan

_TARGETS = {  # choices of a group that a remedy names -> what they stand for
    "loss=auto": "auto",
    "loss=bce": "BCE",
    "loss=cross_entropy": "CrossEntropy",
    "model=mlp": "MLP",
}


def offer(plan: Plan, *overrides: str, otherwise: str) -> str:
    """`try a or b` with those of the overrides that are not in force, several words each; `otherwise` without any."""
    left = [override for override in overrides if not in_force(plan, override)]
    return f"try {' or '.join(left)}" if left else otherwise


def in_force(plan: Plan, override: str) -> bool:
    """Whether the run had this override, or these, already."""
    return all(_has(plan, *word.split("=", 1)) for word in override.split())


def regularisers(plan: Plan, *names: str) -> list[str]:
    """Those of the named regularisers that are off, and that the model can have."""
    knobs = plan.parts["model"].arguments
    return [n for n in names if not in_force(plan, f"regularisation={n}") and (n != "dropout" or n in knobs)]


def rate(plan: Plan, value: float) -> str:
    """The override that makes this the highest learning rate."""
    return f"{plan.rate_key}={value:g}"


def longer(plan: Plan) -> str:
    """Three times as many steps, by the key that decides their number."""
    if plan.settings.max_steps:
        return f"trainer.max_steps={3 * plan.settings.max_steps}"
    return f"trainer.epochs={max(10, 3 * round(plan.total_steps / plan.steps_per_epoch))}"


def _has(plan: Plan, key: str, value: str) -> bool:
    group, _, knob = key.partition(".")
    if knob:
        own = vars(plan.regularisation) if group == "regularisation" else plan.parts[group].arguments
        return knob in own and _same(own[knob], value)
    if group == "regularisation":
        own = {**vars(plan.regularisation), "dropout": plan.parts["model"].arguments.get("dropout")}
        return all(own.get(name) for name in value.strip("[]").split(","))
    return plan.parts[group].function.__name__ == _TARGETS[f"{key}={value}"]


def _same(current: object, typed: str) -> bool:
    """Whether a value is what was typed."""
    if isinstance(current, (int, float)) and not isinstance(current, bool):
        try:
            return float(typed) == current
        except ValueError:
            return False
    return str(current).replace(" ", "") == typed
