"""The pictures of an ensemble: what it answers. It has no curves, no way and no layers of its own."""

from __future__ import annotations

from collections.abc import Sequence

from dltrain.errors import DltrainError
from dltrain.insight import pictures
from dltrain.insight.gallery import Gallery
from dltrain.runs import ensemble_members
from dltrain.runs.reading import Run
from dltrain.trained import inference


def of_ensemble(run: Run, *, allow: Sequence[str]) -> Gallery:
    """Those that can be drawn from its folder."""
    members = "\n".join(ensemble_members.told(run.summary))
    gallery = Gallery(about=f"nothing: it is the average of runs that were, each by its weight\n{members}")
    try:
        trained = inference.open_run(run.folder, allow=allow, data=True)
    except DltrainError as error:
        gallery.notes.append(f"pictures of what it answers are left out: {error}")
        return gallery
    inference.set_threads(trained)
    pictures.judged(gallery, trained)
    return gallery
