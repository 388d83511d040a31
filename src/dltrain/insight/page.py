"""One HTML page that holds everything, pictures too, and asks no network for anything.

Whatever comes from a run folder is escaped: a folder is data, also a stranger's. A page has one script, the files of
script/ one after the other, or none, and its Content-Security-Policy stops any other. Without scripts all is there to
be read.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import cache
from hashlib import sha256
from html import escape as html
from pathlib import Path

from dltrain.errors.output import plain

_HERE = Path(__file__).parent
_CSS = (_HERE / "page.css").read_text(encoding="utf-8")
_PARTS = ("base", "tables", "plots", "explorer", "moments")  # of the script, each uses those before it
_MOST_LETTERS = 1_000_000  # of a file that is shown
_LONG = 40  # rows of a table that scrolls in its place
_FILM = 1_200_000  # bytes of all frames of a film
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@cache
def _script() -> tuple[str, str]:
    """The script, and what a policy calls it."""
    parts = [(_HERE / "script" / f"{name}.js").read_text(encoding="utf-8") for name in _PARTS]
    text = f'"use strict";\n(() => {{\n{"".join(parts)}}})();\n'
    return text, base64.b64encode(sha256(text.encode()).digest()).decode()


def escape(text: str) -> str:
    return html(plain(text))


def page(title: str, parts: Iterable[str], *, style: str = "", live: bool = True) -> str:
    """A whole HTML document; `parts` are made by the functions below, which escape what they are given.

    `style` is CSS of its own beside that of all pages; live: whether it has the script that lets tables be sorted, and
    pictures and films be asked.
    """
    script, policy = "", _POLICY
    if live:
        text, name = _script()
        script, policy = f"<script>{text}</script>\n", f"{_POLICY}; script-src 'sha256-{name}'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + f"\n</main>\n{script}</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it; nothing where that is nothing."""
    there = [part for part in parts if part]
    return "\n".join([f'<section id="{_place(title)}">', heading(title), *there, "</section>"]) if there else ""


def _place(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def contents(sections: Sequence[str]) -> str:
    """Links to what `section` made."""
    found = (re.match(r'<section id="([^"]*)">\n<h2>(.*)</h2>', part) for part in sections)
    links = [f'<li><a href="#{m[1]}">{m[2]}</a></li>' for m in found if m]
    return f'<nav class="contents" aria-label="contents"><ul>{"".join(links)}</ul></nav>' if len(links) > 1 else ""


def figures(pictures: Iterable[str]) -> str:
    """Pictures beside each other where there is room."""
    shown = "\n".join(pictures)
    return f'<div class="figures">\n{shown}\n</div>' if shown else ""


def paragraph(text: str, *, kind: str = "", strong: str = "") -> str:
    """A paragraph; `strong`: the words with which it begins that stand out."""
    own = f' class="{kind}"' if kind else ""
    first = f"<strong>{escape(strong)}</strong>" if strong else ""
    return f"<p{own}>{first}{escape(text.removeprefix(strong))}</p>" if text else ""


def status(word: str) -> str:
    """How a run ended, as a coloured word."""
    good = word in ("done", "early_stopped", "running", "stopped", "pruned")
    return f'<span class="status{"" if good else " bad"}">{escape(word.replace("_", " "))}</span>'


def progress(share: float) -> str:
    """How far something is, from 0 to 1, as a bar."""
    done = f"{math.floor(100 * min(max(share, 0.0), 1.0))}"
    return f'<progress max="100" value="{done}" aria-label="progress">{done}%</progress>'


def renewed(text: str, seconds: float) -> str:
    """The same page, which a browser loads again after so many seconds."""
    return text.replace(
        "<meta charset", f'<meta http-equiv="refresh" content="{math.ceil(seconds)}">\n<meta charset', 1
    )


def formula(text: str) -> str:
    """Lines of a formula; long ones go on below, further in."""
    lines = "".join(f"<span>{escape(line)}</span>\n" for line in text.splitlines())
    return f'<pre class="formula">{lines}</pre>' if text else ""


def verbatim(text: str, *, under: str | None = None) -> str:
    """Text as it stands, in a box that scrolls; `under` a title that opens it; nothing without a text."""
    if not text:
        return ""
    more = len(text) - _MOST_LETTERS
    box = f"<pre>{escape(text[:_MOST_LETTERS])}{f' … and {more:,} more letters' if more > 0 else ''}</pre>"
    return folded(under, box) if under else box


def command(text: str) -> str:
    """Commands, a line each, as one copies them; long ones go on below."""
    return f'<pre class="command">{escape(text)}</pre>' if text else ""


def bullets(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def table(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    text: Sequence[int] = (0,),
    caption: str = "",
    below: Sequence[tuple[str, str]] = (),
    explored: Sequence[str] = (),
) -> str:
    """A table that scrolls sideways where it is too wide; the columns `text` stand to the left, the first one is what a
    row is called. below: under each row, under a title that opens it, what was made by these functions. explored: the
    titles of columns over which the script draws the others.
    """

    def row(cells: Sequence[str], head: bool = False) -> str:
        made = []
        for i, content in enumerate(cells):
            tag, scope = ("th", "col" if head else "row") if head or i == 0 else ("td", "")
            kind = ' class="text"' if i in text else ""
            named = f' scope="{scope}"' if scope and content else ""
            made.append(f"<{tag if named else 'td'}{named}{kind}>{escape(content)}</{tag if named else 'td'}>")
        return f"<tr>{''.join(made)}</tr>"

    body = [row(cells) for cells in rows]
    if below:
        span = f'<tr class="more"><td class="text" colspan="{len(titles)}">'
        more = [f"{span}{folded(*under)}</td></tr>" if under[1] else "" for under in below]
        body = [f"{own}{its}</tbody><tbody>" for own, its in zip(body, more, strict=True)]
    said = f"<caption><span>{escape(caption)}</span></caption>" if caption else ""
    head = f"<thead>{row(titles, head=True)}</thead>"
    inside = "".join(body).removesuffix("</tbody><tbody>")
    asked = f' data-explored="{escape(json.dumps([*explored], ensure_ascii=False))}"' if explored else ""
    kind = "wide long" if len(rows) > _LONG else "wide"
    return f'<div class="{kind}"><table class="data"{asked}>{said}{head}<tbody>{inside}</tbody></table></div>'


def folded(title: str, inside: str) -> str:
    """What was made by these functions, under a title that opens it."""
    return f"<details><summary>{escape(title)}</summary>{inside}</details>"


def picture(title: str, caption: str, content: bytes, seen: str = "", *, level: int = 2, film: bool = True) -> str:
    """An image file inside the page, an SVG element, or what `moments.slider` makes, with its title and caption;
    `seen`: what it shows, in words.

    film: a GIF becomes frames that can be stopped, by the rules of a `page`.
    """
    alt = escape(seen or title)
    if content.startswith(b"<svg"):
        drawn = content.decode().replace("<svg", f'<svg role="group" aria-label="{alt}"', 1)
    elif content.startswith(b'<div class="moments"'):
        drawn = content.decode()
    elif film and content.startswith(b"GIF8"):
        drawn = _film(content, alt)
    else:
        drawn = _img(content, alt)
    return (
        f"<div>{heading(title, level)}\n<figure>\n{drawn}\n<figcaption>{escape(caption)}</figcaption>\n</figure></div>"
    )


def _img(image: bytes, alt: str, more: str = "") -> str:
    kind = "gif" if image.startswith(b"GIF8") else "png"
    return f'<img alt="{alt}" src="data:image/{kind};base64,{base64.b64encode(image).decode()}"{more}>'


def _film(gif: bytes, alt: str) -> str:
    """The frames over each other: each is seen for its time, by CSS alone, and the last one where nothing moves. Of a
    heavy film every second, fourth, ... is there.
    """
    from PIL import Image, ImageSequence

    source = Image.open(io.BytesIO(gif))
    moments: list[tuple[bytes, int]] = []
    for frame in ImageSequence.Iterator(source):
        buffer = io.BytesIO()
        frame.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(buffer, "png")
        moments.append((buffer.getvalue(), int(frame.info.get("duration", 100))))
    while len(moments) > 2 and sum(len(content) for content, _ in moments) > _FILM:
        moments = [*((content, 2 * wait) for content, wait in moments[:-1:2]), moments[-1]]
    frames, waits = zip(*moments, strict=True)
    *first, last = frames
    total, name = sum(waits), f"f{sha256(gif).hexdigest()[:8]}"
    until = 100 * waits[0] / total
    rule = f"@keyframes {name} {{ 0% {{ visibility: visible; }} {until:.3f}%, 100% {{ visibility: hidden; }} }}"
    images = [_img(last, alt)]
    for at, frame in enumerate(first):
        look = f"animation: {name} {total}ms step-end infinite {sum(waits[:at])}ms"
        images.append(_img(frame, "", f' style="{look}"'))
    return (
        f'<div class="film" data-wait="{waits[0]}"><style>{rule}</style>'
        f'<label class="pause"><input type="checkbox"> stop the film</label>\n{"".join(images)}</div>'
    )
