"""What a configuration can name, a file a kind: models, losses, optimizers, schedules, regularisers, augmentation; and
metrics, by name.

Each knows torch and its own subject. It may import `data` and `errors`.
"""

from typing import Any

State = dict[str, Any]  # what a `state_dict` gives and takes, of torch's things and of ours
Group = dict[str, Any]  # one of an optimizer's `param_groups`: params, and options by torch's names
