"""One HTML page that holds everything, pictures too, and asks no network for anything.

Whatever comes from a run folder is escaped: a folder is data, also a stranger's. The page has no script, and its
Content-Security-Policy would stop one.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape as html

from dltrain.errors.output import plain

_CSS = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; margin: 0; }
main { max-width: 46rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
p, li { overflow-wrap: anywhere; }
.status { display: inline-block; padding: 0 .6rem; border-radius: 1rem; background: #e3f1e6; font-size: .9rem; }
.status.bad { background: #fbe3d6; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .8rem .25rem 0; text-align: right; border-bottom: 1px solid #e3e3e3; white-space: nowrap; }
th:first-child, td:first-child, td.text, th.text { text-align: left; }
figure { margin: 1rem 0 2rem; }
img { display: block; max-width: 100%; height: auto; }
figcaption { color: #444; font-size: .95rem; margin-top: .4rem; }
pre { background: #f6f6f4; padding: .7rem; border-radius: .4rem; overflow-x: auto; font-size: .85rem; }
pre.command { white-space: pre-wrap; overflow-wrap: anywhere; }
summary { cursor: pointer; }
footer { color: #666; font-size: .85rem; margin-top: 3rem; border-top: 1px solid #e3e3e3; padding-top: .5rem; }
"""
_MOST_LETTERS = 1_000_000  # of a file that is shown
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def escape(text: str) -> str:
    return html(plain(text))


def page(title: str, parts: Iterable[str], *, style: str = "") -> str:
    """A whole HTML document; `parts` are made by the functions below, which escape what they are given.

    `style` is CSS of its own beside that of all pages.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}{style}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def heading(text: str, level: int = 2) -> str:
    return f"<h{level}>{escape(text)}</h{level}>"


def section(title: str, *parts: str) -> str:
    """A heading and what stands below it; nothing where that is nothing."""
    there = [part for part in parts if part]
    return "\n".join([heading(title), *there]) if there else ""


def paragraph(text: str) -> str:
    return f"<p>{escape(text)}</p>"


def status(word: str) -> str:
    """How a run ended, as a coloured word."""
    good = word in ("done", "early_stopped", "running", "stopped", "pruned")
    return f'<span class="status{"" if good else " bad"}">{escape(word.replace("_", " "))}</span>'


def verbatim(text: str, *, folded: str | None = None) -> str:
    """Text as it stands, in a box that scrolls; `folded` under a title that opens it; nothing without a text."""
    if not text:
        return ""
    more = len(text) - _MOST_LETTERS
    box = f"<pre>{escape(text[:_MOST_LETTERS])}{f' … and {more:,} more letters' if more > 0 else ''}</pre>"
    return f"<details><summary>{escape(folded)}</summary>{box}</details>" if folded else box


def command(text: str) -> str:
    """Commands, a line each, as one copies them; long ones go on below."""
    return f'<pre class="command">{escape(text)}</pre>' if text else ""


def bullets(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>" if lines else ""


def table(titles: Sequence[str], rows: Sequence[Sequence[str]], *, text: Sequence[int] = (0,)) -> str:
    """A table that scrolls sideways where it is too wide; the columns `text` stand to the left."""

    def row(cells: Sequence[str], tag: str) -> str:
        kinds = [' class="text"' if i in text else "" for i in range(len(cells))]
        return "".join(f"<{tag}{kind}>{escape(c)}</{tag}>" for c, kind in zip(cells, kinds, strict=True))

    body = "".join(f"<tr>{row(cells, 'td')}</tr>" for cells in rows)
    return f'<div class="wide"><table><thead><tr>{row(titles, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(title: str, caption: str, content: bytes) -> str:
    """An image file inside the page, with its title and caption."""
    kind = "gif" if content.startswith(b"GIF8") else "png"
    data = base64.b64encode(content).decode()
    return (
        f"{heading(title)}\n<figure>\n"
        f'<img alt="{escape(title)}" src="data:image/{kind};base64,{data}">\n'
        f"<figcaption>{escape(caption)}</figcaption>\n</figure>"
    )
