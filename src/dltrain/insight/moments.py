"""A slider over the moments of a training, and what it moves: the script of a page sets tables, sentences and pictures
to the moment that is chosen. Without a script the last one is seen.
"""

from __future__ import annotations

import base64
import io
import json
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from dltrain.errors.output import plain
from dltrain.insight import page

if TYPE_CHECKING:
    import numpy as np

MOST = 24  # moments of one slider
_PER_CENT = 100
_SHADES = 20  # of either colour: of more a picture is larger, and nobody tells them apart
_ABOVE, _BELOW = (214, 48, 58), (47, 127, 214)  # red and blue, to be seen on white and on black


class Cell(NamedTuple):
    """A text, and from -1 to 1 how long its bar is, or how strong its colour, red above 0 and blue below."""

    text: str = ""
    share: float = 0.0


Rows = Sequence[Sequence[Cell]]


def some(count: int) -> list[int]:
    """Which of so many moments are shown, evenly, the first and the last among them."""
    return sorted({round(i * (count - 1) / (MOST - 1)) for i in range(MOST)}) if count > MOST else list(range(count))


def slider(names: Sequence[str], *inside: str) -> str:
    """What moves, under one slider; `names`: what each moment is called."""
    last = f'<p class="moment"><output>{page.escape(names[-1])}</output></p>'
    return f'<div class="moments" data-names="{_json([*map(plain, names)])}">{last}{"".join(inside)}</div>'


def sentence(texts: Sequence[str]) -> str:
    """A sentence for each moment."""
    moves = _json([[[plain(text)], [0]] for text in texts])
    return f'<p class="told" data-moves="{moves}">{page.escape(texts[-1])}</p>'


def label(text: str) -> str:
    """What stands above a picture."""
    return f'<p class="what">{page.escape(text)}</p>'


def pixels(frames: np.ndarray, seen: str, *, tall: int | None = None) -> str:
    """Numbers from -1 to 1 as pixels, red above 0 and blue below, [moments, H, W], or [moments, H, W, 3] as colours;
    nan where nothing stands. tall: its height on a screen, at whatever width there is, else pixels are squares.
    """
    count, height, width = frames.shape[:3]
    image = base64.b64encode(_png(frames.reshape(count * height, *frames.shape[2:]))).decode()
    size = f' preserveAspectRatio="none" style="height: {tall}px"' if tall else ""
    return (
        f'<svg class="pixels" role="img" aria-label="{page.escape(seen)}" viewBox="0 0 {width} {height}"{size}>'
        f'<image href="data:image/png;base64,{image}" width="{width}" height="{count * height}" '
        f'y="{-(count - 1) * height}" data-height="{height}"></image></svg>'
    )


def _png(values: np.ndarray) -> bytes:
    """Numbers from -1 to 1 as an image, transparent where they are none or zero."""
    import numpy as np
    from PIL import Image

    there, buffer = np.isfinite(values), io.BytesIO()
    if values.ndim == 3:
        colours = np.where(there, (np.nan_to_num(values) + 1) * 127.5, 0).round()
        alpha = np.where(there.all(-1, keepdims=True), 255, 0)
        Image.fromarray(np.concatenate([colours, alpha], -1).astype(np.uint8)).save(buffer, "png", optimize=True)
        return buffer.getvalue()
    shades = np.where(there, np.nan_to_num(values) * _SHADES, 0).round() + _SHADES
    made = Image.fromarray(shades.astype(np.uint8), "P")
    made.putpalette([*_BELOW * _SHADES, *_ABOVE * (_SHADES + 1)])
    strength = [round(255 * abs(k - _SHADES) / _SHADES) for k in range(2 * _SHADES + 1)]
    made.save(buffer, "png", optimize=True, transparency=bytes(strength))
    return buffer.getvalue()


def table(
    titles: Sequence[tuple[str, str]], names: Sequence[str], moments: Sequence[Rows], *, look: Literal["bars", "heat"]
) -> str:
    """A table whose cells move. titles: of the columns, the first one's that of the names, each with small print;
    names: of the rows. look: bars, or colours behind the cells of a table that can be sorted.
    """
    head = "".join(_title(*title) for title in titles)
    body = "".join(_row(name, cells) for name, cells in zip(names, moments[-1], strict=True))
    moves = _json([[[plain(c.text) for c in flat], [_whole(c.share) for c in flat]] for flat in map(_flat, moments)])
    kind = "data heat" if look == "heat" else look  # the rows of which may be sorted
    return (
        f'<div class="wide"><table class="{kind}" data-moves="{moves}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _title(text: str, small: str) -> str:
    more = f"<small>{page.escape(small)}</small>" if small else ""
    return f'<th scope="col">{page.escape(text)}{more}</th>' if text else "<td></td>"


def _row(name: str, cells: Sequence[Cell]) -> str:
    made = "".join(f"<td{_look(cell.share)}>{page.escape(cell.text)}</td>" for cell in cells)
    return f'<tr><th scope="row">{page.escape(name)}</th>{made}</tr>'


def _look(share: float) -> str:
    """As the script of a page has it."""
    whole = _whole(share)
    return f' class="{"more" if whole > 0 else "less"}" style="--share: {abs(whole) / _PER_CENT:g}"' if whole else ""


def _whole(share: float) -> int:
    return round(_PER_CENT * max(-1.0, min(1.0, share))) if math.isfinite(share) else 0


def _flat(rows: Rows) -> list[Cell]:
    return [cell for row in rows for cell in row]


def _json(value: object) -> str:
    return page.escape(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
