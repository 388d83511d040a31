"""When two configurations are one: for resuming, for jobs of a sweep, for runs that are taken over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256

from dltrain.runs import key_roles
from dltrain.runs.foreign import Values
from dltrain.runs.reading import flat


def digest(values: Values, *, but: Sequence[str] = ()) -> str:
    """SHA-256 of a configuration, equal for equal values. but: dotted keys that do not count."""
    kept = values if not but else {key: value for key, value in flat(values).items() if key not in but}
    for key, value in key_roles.ONCE_LACKED.items() if but else ():
        if kept.get(key) == value:
            del kept[key]
    return sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()
