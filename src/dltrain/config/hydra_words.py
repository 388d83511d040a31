"""Keys that are Hydra's own, and its plugins': which are read as ours, and what is typed in the place of the others."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dltrain.errors import did_you_mean, key_of

_SLURM = (
    *(
        "partition",
        "qos",
        "account",
        "comment",
        "constraint",
        "exclude",
        "gres",
        "signal_delay_s",
        "setup",
        "srun_args",
    ),
    *("cpus_per_gpu", "gpus_per_task", "mem_per_gpu", "mem_per_cpu", "additional_parameters", "stderr_to_stdout"),
)
_SAMPLERS = {
    "tpe": "sweep=tpe",
    "random": "sweep=random",
    "grid": "sweep=grid",
    "cmaes": "sweep=optuna sweep.sampler=CmaEsSampler",
    "nsgaii": "sweep=optuna sweep.sampler=NSGAIISampler",
    "qmc": "sweep=sobol",
}
CHOICES = {  # of a group, as what is typed here; the later group has the last word over a key
    "hydra/launcher": {
        "basic": "sweep.workers=1",
        "joblib": "sweep.engine=local",
        "submitit_slurm": "sweep.engine=submitit sweep.cluster.cluster=slurm",
        "submitit_local": "sweep.engine=submitit sweep.cluster.cluster=local",
        "ray": "sweep.engine=ray",
    },
    "hydra/sweeper": {"basic": "sweep=grid", "optuna": "sweep=tpe"},
    "hydra/sweeper/sampler": _SAMPLERS,
    "hydra.sweeper.sampler": _SAMPLERS,
}
_KEYS = {  # the value is taken as it stands; the key may go on behind a dot
    "hydra.launcher.n_jobs": "sweep.workers",
    "hydra.launcher.array_parallelism": "sweep.workers",
    **{f"hydra.launcher.{k}": f"sweep.cluster.{k}" for k in ("timeout_min", "cpus_per_task", "gpus_per_node")},
    **{f"hydra.launcher.{k}": f"sweep.cluster.{k}" for k in ("mem_gb", "nodes", "tasks_per_node", "name")},
    **{f"hydra.launcher.{key}": f"sweep.cluster.slurm_{key}" for key in _SLURM},
    "hydra.launcher.ray.init.address": "sweep.cluster.address",
    **{f"hydra.launcher.ray.remote.{k}": f"sweep.cluster.{k}" for k in ("num_cpus", "num_gpus", "memory", "resources")},
    "hydra.sweeper.n_trials": "sweep.trials",
    "hydra.sweeper.n_jobs": "sweep.workers",
    "hydra.sweeper.sampler.seed": "sweep.seed",
}
_OPTIONS, _OURS = "hydra.sweeper.sampler.", "sweep.options."  # arguments of a sampler, whatever they are
_NEEDLESS = {  # key -> why
    "hydra.sweeper.direction": "the metric that chooses the best epoch (trainer.monitor) says which way is better",
    "hydra.sweeper.max_batch_size": "jobs start as soon as there is room",
    "hydra.launcher.max_num_timeout": "a job goes on after each limit of time",
    "hydra.launcher.verbose": "sweep.verbose=true tells of each job",
}
_INSTEAD = {  # of a key, given without its `hydra.`; the first that fits
    "run": "a run makes a folder of its own below runs_dir and name: set those",
    "sweep": "a sweep makes a folder of its own below runs_dir and name: set those",
    "output_subdir": "the run folder holds its configuration",
    "job.chdir": "a run stays in the folder in which it was typed",
    "job": "a run has its name by name=...",
    "launcher.submitit_folder": "what submitit writes is in cluster/ of the sweep's folder",
    "launcher": "-m runs jobs on all processors (sweep.workers=N: so many), sweep.engine=submitit on SLURM, or ray",
    "sweeper.storage": "the sweep's folder keeps all trials; dltrain resume SWEEP goes on",
    "sweeper.study_name": "name=NAME names the sweep's folder",
    "sweeper.search_space": "write KEY=interval(0,1), KEY=choice(a,b), or the same in hydra.sweeper.params",
    "sweeper.sampler": f"there are {', '.join(_SAMPLERS)}; sweep=optuna sweep.sampler=GPSampler takes any of Optuna's",
    "sweeper": "-m KEY=V1,V2 trains every combination, sweep=tpe with sweep.trials=N searches (Optuna)",
    "mode": "-m makes a sweep, and without it there is one run",
    "searchpath": "--config-dir DIR names a folder with config groups of your own",
    "verbose": "--debug shows tracebacks",
    "job_logging": "trainer.progress=false is quiet; a run logs to metrics.jsonl and TensorBoard",
    "hydra_logging": "trainer.progress=false is quiet; a run logs to metrics.jsonl and TensorBoard",
    "help": "`dltrain --help` and `dltrain list` are the help",
}


@dataclass(frozen=True)
class Read:
    """What was typed for a sweep: overrides of our own that Hydra's stand for, all others, and both in words."""

    words: tuple[str, ...]
    others: tuple[str, ...]
    notes: tuple[str, ...]


def read(overrides: Sequence[str]) -> Read:
    """Hydra's words for where jobs of a sweep run and how they are chosen, as ours; one that was typed stays as it is,
    whatever a launcher says.
    """
    order = [*CHOICES, *_KEYS]
    meant, others, notes = dict[str, list[str]](), list[str](), list[str]()
    for text in overrides:
        key = key_of(text)
        if key in _NEEDLESS and not text.startswith("~"):
            notes.append(f"`{text}` is not needed: {_NEEDLESS[key]}")
        elif found := None if text.startswith("~") or "@" in text.partition("=")[0] else _meant(text):
            meant[text] = found
        else:
            others.append(text)
    words: dict[str, str] = {}
    for text in sorted(meant, key=lambda text: order.index(key_of(text)) if key_of(text) in order else len(order)):
        words |= {key_of(word): word for word in meant[text]}
    if "sweep.workers" in words and words["sweep.workers"].endswith("=-1"):  # of joblib: all processors
        words["sweep.workers"] = "sweep.workers=auto"
    kept = [word for key, word in words.items() if key not in set(map(key_of, others))]
    if meant:
        notes.insert(0, f"`{' '.join(meant)}` is read as {' '.join(kept) or 'what is typed beside it'}")
    return Read(tuple(kept), tuple(others), tuple(notes))


def _meant(text: str) -> list[str]:
    """What an override stands for; nothing where it is none of these."""
    key, value = key_of(text), text.partition("=")[2]
    if key in CHOICES:
        return CHOICES[key].get(value, "").split()
    if key == f"{_OPTIONS}_target_" and (name := re.fullmatch(r"optuna\.samplers\.(\w+)", value)):
        return ["sweep=optuna", f"sweep.sampler={name[1]}"]
    own = next((name for name in _KEYS if f"{key}.".startswith(f"{name}.")), None)
    if own:
        return [f"{_KEYS[own]}{key.removeprefix(own)}={value}"]
    return (
        [f"{_OURS}{key.removeprefix(_OPTIONS)}={value}"] if re.fullmatch(rf"{re.escape(_OPTIONS)}[a-z]\w*", key) else []
    )


def instead(key: str) -> str:
    """What to write in the place of one of Hydra's own keys, given without its `hydra.`."""
    key = key.removeprefix("hydra/").replace("/", ".")
    found = next((text for name, text in _INSTEAD.items() if f"{key}.".startswith(f"{name}.")), None)
    return found or "dltrain takes its configurations from Hydra, and nothing else of it"


def in_words(line: str, known: Mapping[str, list[str]]) -> str:
    """What Hydra says of the chosen files themselves, with what may be meant; `known`: the names in each group."""
    if missing := re.search(r"Could not (?:find|load) '([\w.-]+)/([\w.-]+)'", line):
        names = known.get(missing[1], [])
        return f"{line}{did_you_mean(missing[2], names) or '; there are ' + ', '.join(names or known)}"
    if own := re.search(r"'hydra/(\w+)/|'(?:Hydra|Basic)?(\w*)Conf'", line):
        return f"{line}: {instead((own[1] or own[2]).lower())}"
    if unmatched := re.search(r"Could not override '([\w.-]+)'", line):
        return f"{line}{did_you_mean(unmatched[1], known)}"
    if twice := re.search(r"Multiple values for ([\w.-]+)\..*'override [\w.-]+: ([\w.-]+)'", line):
        return (
            f"{twice[1]} is chosen twice; in the defaults of an experiment write `- override /{twice[1]}: {twice[2]}`"
        )
    return line
