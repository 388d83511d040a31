"""What a page answers in a real browser: sort, filter, hover, legend, film; and that it keeps to itself."""

import io
from itertools import combinations

import pytest
from browser import Browser
from PIL import Image

from dltrain.insight import moments, page, plots
from dltrain.insight.gallery import picture
from dltrain.insight.moments import Cell
from dltrain.insight.plots import cells

NASTY = "</script><img src=x onerror=\"document.title='ran'\">"
TITLES = ["run", "lr", "accuracy", "kind"]
ROWS = [[str(n), f"{n % 7}e-1", f"{90 - n}.5%", NASTY if n == 3 else f"kind {n % 3}"] for n in range(12)]


def film():
    frames = [Image.new("RGB", (60, 40), colour) for colour in ("red", "green", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:], duration=[100, 100, 900])
    return buffer.getvalue()


def curves():
    fig, (ax,) = plots.figure()
    for k, name in enumerate(("first", "second $", f"{NASTY}")):
        ax.plot([1, 2, 3, 4], [k + 1, k + 2, k + 3, k + 2.5], label=plots.plain(name, 80))
    ax.set(xlabel="epoch", ylabel="loss")
    ax.legend()
    return fig


def moving():
    rows = [[[Cell("1", 0.1), Cell()]], [[Cell("2", 0.25), Cell(NASTY, 1)]], [[Cell("3"), Cell("-4", -0.5)]]]
    told = moments.sentence(["first", NASTY, "last"])
    table = moments.table([("", ""), ("a", "0 to 1"), ("b", "")], [NASTY], rows, look="bars")
    return moments.slider(["step 0", f"step 1 {NASTY}", "step 2"], told, table)


def matrix():
    fig, (ax,) = plots.figure()
    cells.name(ax.imshow([[0.2, 1.0], [0.5, 0.0]], cmap="Blues"), [["a", NASTY], ["c", "d"]])
    return fig


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
    shown = picture("curves.png", "Curves", "c", curves())
    drawn = picture("matrix.png", "Matrix", "c", matrix())
    parts = [
        page.heading(NASTY, 1),
        page.section("A table", page.table(TITLES, ROWS, caption="runs", explored=["lr", "kind"])),
        page.section("Pictures", page.figures([page.picture("C", "c", shown.shown, shown.seen, level=3)])),
        page.section("Moments", page.picture("M", "m", moving().encode(), level=3)),
        page.section("Cells", page.picture("M", "m", drawn.shown, drawn.seen, level=3)),
        page.section("Film", page.picture("F", "f", film(), level=3)),
    ]
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page.page("t", [page.contents(parts), *parts]), encoding="utf-8")
    browser = Browser(width=1200, height=900)
    browser.open(path.as_uri())
    yield browser
    assert browser.console == []
    assert {address for address in browser.requests if not address.startswith("data:")} == {path.as_uri()}
    assert browser.run("document.title") == "t"
    browser.close()


def click(browser, selector, at=0):
    """A real click in the middle of an element."""
    x, y = browser.run(
        f"(() => {{ const e = document.querySelectorAll({selector!r})[{at}]; e.scrollIntoView({{block: 'center'}});"
        " const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; })()"
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def column(browser, number):
    rows = "[...document.querySelectorAll('table.data tbody tr')].filter(r => !r.hidden)"
    return browser.run(f"{rows}.map(r => r.cells[{number}].textContent)")


def test_a_click_on_a_title_sorts_numbers_as_numbers(opened):
    click(opened, "thead th", 1)
    assert column(opened, 1) == sorted((row[1] for row in ROWS), key=float)
    assert opened.run("document.querySelectorAll('thead th')[1].getAttribute('aria-sort')") == "ascending"
    click(opened, "thead th", 2)
    click(opened, "thead th", 2)
    assert column(opened, 2) == [row[2] for row in ROWS]
    assert opened.run("document.querySelectorAll('[aria-sort]').length") == 1
    opened.run("document.querySelector('thead th').focus()")
    for kind in ("keyDown", "keyUp"):
        opened.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13)
    assert column(opened, 0) == [str(n) for n in range(12)]


def test_typing_filters_and_says_how_many_are_left(opened):
    click(opened, "input[type=search]")
    opened.call("Input.insertText", text="KIND 1e-1")
    assert column(opened, 0) == ["1", "8"]
    assert opened.run("document.querySelector('output').textContent") == "2 of 12"
    opened.run("document.querySelector('input[type=search]').select()")
    opened.call("Input.insertText", text="onerror")
    assert column(opened, 3) == [NASTY]
    opened.run("document.querySelector('input[type=search]').select()")
    opened.call("Input.insertText", text=" ")
    assert len(column(opened, 0)) == 12


def test_a_pointer_near_a_curve_gets_its_name_and_numbers(opened):
    place = """(() => {
        const svg = document.querySelector('figure svg'), panel = svg.querySelector('[data-x]');
        svg.scrollIntoView({block: 'center'});
        const at = (letter, value) => {
            const {at: [from, to], of: [low, high]} = JSON.parse(panel.dataset[letter]);
            return from + (value - low) / (high - low) * (to - from);
        };
        const p = new DOMPoint(at('x', 3) + 3, at('y', 5) - 2).matrixTransform(svg.getScreenCTM());
        return [p.x, p.y];
    })()"""
    x, y = opened.run(place)
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = opened.run("(e => e.hidden ? null : e.textContent)(document.querySelector('.tip'))")
    assert told == f"{NASTY}\nepoch 3\nloss 5"
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert opened.run("document.querySelector('.tip').hidden")


def test_a_pointer_on_a_cell_gets_what_it_is(opened):
    place = """(() => {
        const cell = document.querySelectorAll('rect.cell')[1];
        cell.scrollIntoView({block: 'center'});
        const box = cell.getBoundingClientRect();
        return [box.x + box.width / 2, box.y + box.height / 2];
    })()"""
    x, y = opened.run(place)
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    assert opened.run("(e => e.hidden ? null : e.textContent)(document.querySelector('.tip'))") == NASTY
    assert opened.run("[...document.querySelectorAll('rect.cell')].map(c => getComputedStyle(c).fill).length") == 4
    opened.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    assert opened.run("document.querySelector('.tip').hidden")


def test_a_legend_hides_and_shows_by_click_and_by_key(opened):
    hidden = "[...document.querySelectorAll('[data-name]')].filter(g => g.style.display).map(g => g.dataset.name)"
    click(opened, "figure [data-entry][role=button] text", 1)
    assert opened.run(hidden) == ["second $"]
    assert opened.run("document.activeElement.getAttribute('aria-pressed')") == "false"
    for kind in ("keyDown", "keyUp"):
        opened.call("Input.dispatchKeyEvent", type=kind, key=" ", code="Space", windowsVirtualKeyCode=32)
    assert opened.run(hidden) == []


def test_any_column_is_drawn_over_any_other(opened):
    dots = "[...document.querySelectorAll('.explorer use')].length"
    assert opened.run(dots) == 12
    names = "[...document.querySelectorAll('.explorer g[data-name]')].map(g => g.dataset.name)"
    assert opened.run(names) == sorted({row[3] for row in ROWS})
    choose = (
        "(e => {{ e.value = '{}'; e.dispatchEvent(new Event('change')); }})(document.querySelectorAll('select')[{}])"
    )
    opened.run(choose.format("accuracy", 0))
    opened.run(choose.format("run", 1))
    panel = "document.querySelector('.explorer [data-x]').dataset"
    assert opened.run(f"JSON.parse({panel}.x).label") == "accuracy"
    words = opened.run("[...document.querySelectorAll('.explorer text')].map(t => t.textContent)")
    assert {"80", "85", "90", "0", "5", "10", "accuracy", "run"} <= {*words}
    opened.run(choose.format("kind", 0))
    opened.run(choose.format("kind", 1))
    boxes = "[...document.querySelectorAll('.explorer use')].map(u => u.getBoundingClientRect())"
    places = opened.run(f"{boxes}.map(b => [b.x, b.y, b.width])")  # four of each kind stand side by side
    assert all(abs(a - c) > 0.9 * w or abs(b - d) > 0.9 * w for (a, b, w), (c, d, _) in combinations(places, 2))
    opened.run(choose.format("run", 1))
    click(opened, ".explorer [data-entry][role=button] text")
    hidden = "[...document.querySelectorAll('.explorer [data-name]')].filter(g => g.style.display).length"
    assert opened.run(hidden) == 1
    assert opened.run("document.querySelectorAll('.explorer svg').length") == 1


def test_a_film_stops_at_any_moment(opened):
    shown = "[...document.querySelectorAll('.film img')].map(i => getComputedStyle(i).visibility)"
    assert opened.run(shown) == ["visible", "hidden", "hidden"]  # the last moment comes first there
    opened.run("(e => { e.value = 1; e.dispatchEvent(new Event('input')); })(document.querySelector('.film input'))")
    assert opened.run(shown) == ["hidden", "hidden", "visible"]
    click(opened, ".film button")
    assert opened.run("document.querySelector('.film button').textContent") == "pause"
    opened.wait_for("document.querySelector('.film button').textContent === 'play'")
    assert opened.run(shown) == ["visible", "hidden", "hidden"]


def test_a_slider_sets_the_table_to_any_moment(opened):
    seen = "(o => [...o.querySelectorAll('output, .told, .moments tbody td')].map(e => e.textContent))(document)"
    reach = "[...document.querySelectorAll('.moments tbody td')].map(e => [e.className, e.style.cssText])"
    assert opened.run(seen)[-4:] == ["step 2", "last", "3", "-4"]
    assert opened.run(reach) == [["", "--share: 0;"], ["less", "--share: 0.5;"]]
    opened.run("document.querySelector('.moments input').focus()")
    for kind in ("keyDown", "keyUp"):
        key = {"key": "ArrowLeft", "code": "ArrowLeft", "windowsVirtualKeyCode": 37}
        opened.call("Input.dispatchKeyEvent", type=kind, **key)
    assert opened.run(seen)[-4:] == [f"step 1 {NASTY}", NASTY, "2", NASTY]
    assert opened.run("document.querySelector('.moments input').getAttribute('aria-valuetext')") == f"step 1 {NASTY}"
    assert opened.run(reach) == [["more", "--share: 0.25;"], ["more", "--share: 1;"]]
    click(opened, ".moments button")
    opened.wait_for("document.querySelector('.moments output').textContent === 'step 2'")
    assert opened.run("document.querySelectorAll('.moments tbody td')[1].className") == "less"


def test_the_tab_key_reaches_all_that_acts_and_what_it_reaches_is_seen(opened):
    acts = "a[href], button, input, select, summary, [role=button], table.data thead th"
    opened.run("document.activeElement.blur()")
    opened.run(f"document.querySelectorAll('{acts}').forEach((own, k) => own.dataset.act = k)")
    wanted = opened.run(f"[...document.querySelectorAll('{acts}')].filter(e => e.checkVisibility()).length")
    reached, unseen = set(), []
    for _ in range(2 * wanted):
        for kind in ("keyDown", "keyUp"):
            opened.call("Input.dispatchKeyEvent", type=kind, key="Tab", code="Tab", windowsVirtualKeyCode=9)
        act, style, width, told = opened.run(
            "(() => { const own = document.activeElement, look = getComputedStyle(own); const label = own.labels?.[0];"
            " return [own.dataset.act, look.outlineStyle, parseFloat(look.outlineWidth), "
            " (own.getAttribute('aria-label') ?? label?.textContent ?? own.textContent).trim()]; })()"
        )
        reached.add(act)
        unseen += [told] if act and (style == "none" or width < 1 or not told) else []
        if len(reached - {None}) == wanted:
            break
    assert len(reached - {None}) == wanted
    assert unseen == []


def test_each_control_and_picture_has_a_name_and_each_title_a_scope(opened):
    assert opened.run("[...document.querySelectorAll('th')].every(e => !e.textContent || e.scope)")
    assert opened.run("[...document.querySelectorAll('svg')].every(e => e.getAttribute('aria-label'))")
    images = opened.run("[...document.images].map(e => [e.alt, e.getAttribute('style') ?? ''])")
    assert all(alt or style for alt, style in images)  # of a film the last frame speaks
    names = opened.run(
        "[...document.querySelectorAll('input, select, button')].map(e => e.getAttribute('aria-label')"
        " ?? e.labels?.[0]?.textContent ?? e.textContent)"
    )
    assert names
    assert all(map(str.strip, names))


def test_a_table_wider_than_the_window_is_moved_by_keys(opened):
    assert opened.run("document.querySelector('.wide').tabIndex") == -1
    opened.resize(240, 800)
    try:
        opened.wait_for("document.querySelector('.wide').tabIndex === 0")
    finally:
        opened.resize(1200, 900)


def test_a_single_row_with_others_folded_below_it_is_sorted_with_them(tmp_path):
    its = page.table(["run", "n"], [["x", "2"], ["y", "1"]])
    text = page.page("t", [page.table(["name", "n"], [["a", "1"]], below=[("its runs", its)])])
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    other = Browser(width=1200)
    try:
        other.open((tmp_path / "page.html").as_uri())
        other.run("document.querySelector('summary').click()")
        for title in range(4):
            click(other, "thead th", title)
        assert other.run("document.querySelector('table').innerText").split() == [
            "name",
            "n",
            "a",
            "1",
            "its",
            "runs",
            "run",
            "n",
            "y",
            "1",
            "x",
            "2",
        ]
        assert other.console == []
    finally:
        other.close()


def test_without_a_script_all_is_there_and_a_film_can_be_stopped(opened, tmp_path):
    (tmp_path / "page.html").write_text(
        page.page("t", [page.table(["a"], [["b"]]), page.picture("F", "f", film()), moving()], live=False),
        encoding="utf-8",
    )
    other = Browser(width=390)
    try:
        other.open((tmp_path / "page.html").as_uri())
        assert other.run("document.querySelector('td, tbody th').textContent") == "b"
        assert other.run("[...document.querySelectorAll('output, .told')].map(e => e.textContent)") == [
            "step 2",
            "last",
        ]
        assert other.run("document.querySelector('.less').textContent") == "-4"
        assert other.run("document.getAnimations().map(a => a.playState)") == ["running"] * 2
        other.run("document.querySelector('.pause input').click()")
        assert other.run("document.getAnimations().map(a => a.playState)") == ["paused"] * 2
        assert other.console == []
    finally:
        other.close()


def test_a_heavy_film_has_fewer_moments(monkeypatch):
    monkeypatch.setattr(page, "_FILM", 250)
    text = page.picture("F", "f", film())
    assert text.count("<img") == 2
    assert 'data-wait="200"' in text


def test_the_script_is_small():
    assert len(page._script()[0]) < 20_000
