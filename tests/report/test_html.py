"""`report.html`: one file, and what a person sees of it in headless Chromium."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import report_runs as made
from browser import CHROMIUM, Browser
from command import cppo_verl

in_chromium = pytest.mark.skipif(not CHROMIUM, reason="no Chromium on the PATH (on Debian: apt-get install chromium)")
WINDOWS = {"desktop": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844, "phone": True}}


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The report of three rows: five seeds, three, and one with a long name and a character of HTML."""
    folder = tmp_path_factory.mktemp("report")
    runs = []
    for arm, count, rate, steps in (("grpo", 5, 0, 8), ("cppo", 3, 0.5, 4), ("a&b_" + "long_" * 8, 1, 0.75, 2)):
        for seed in range(count):
            options = {"rate": rate, "steps": steps, "seed": seed, "zero_variance": "keep" if count > 1 else "drop"}
            entries = made.lines(accuracies=(0.3, 0.9 - 0.05 * seed), questions=200, **options)
            for entry in entries[1:-1]:
                accuracy = 0.3 + (0.5 + 0.02 * seed) * entry["step"] / steps
                entry["data"] |= made.validation(accuracy, 200)
            runs.append(made.write(folder / f"{arm}_{seed}", entries, **options))
    made.evaluate(runs[0], "global_step_8", [1, 0, 0, 1])
    assert cppo_verl("report", *map(str, runs), "--out", str(folder / "out")) == 0
    return folder / "out/report.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(browser, page):
    """`opened("phone", dark=True)`: the browser with the page in such a window."""

    def show(window: str, dark: bool = False) -> Browser:
        browser.errors.clear()
        browser.open(page, **WINDOWS[window], dark=dark)
        return browser

    return show


def test_it_is_one_file_that_says_the_same_as_the_markdown(page):
    text = page.read_text()
    markup = re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert not re.search(r"(src|href)=\"(?!data:)", markup)
    markdown = (page.parent / "report.md").read_text()
    titles = re.findall(r"^## (.*)", markdown, re.M)
    assert [title for title in titles if title != "Curves"] == re.findall(r"<h2>(.*?)</h2>", markup)
    rows = len(re.findall(r"^\| (?!---)", markdown, re.M))
    assert len(re.findall("<tr>", markup)) == rows
    assert str(page.parents[1]) not in markup, "no paths of the machine"


@in_chromium
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("window", WINDOWS)
def test_it_opens_without_errors_and_fits(opened, window, dark):
    browser = opened(window, dark)
    assert browser.run("document.documentElement.scrollWidth <= innerWidth"), "nothing sticks out of the window"
    left, right, height = browser.run(
        "(({left, right, height}) => [left, right, height])(chart.getBoundingClientRect())"
    )
    assert 0 <= left < right <= WINDOWS[window]["width"] and right - left > 0.85 * min(WINDOWS[window]["width"], 1000)
    assert height > 250
    assert browser.run(SMALLEST_TEXT) >= 11, "px"
    assert browser.run(OVERLAPS) == []
    assert browser.run(PALE) == []
    assert browser.errors == []


@in_chromium
def test_the_scheme_may_change_while_it_is_open(opened):
    browser = opened("desktop")
    light = browser.run("chart._fullLayout.paper_bgcolor")
    browser.scheme(dark=True)
    browser.run(A_MOMENT)
    assert light == "#ffffff" and browser.run("chart._fullLayout.paper_bgcolor") == "#14171b"
    assert browser.run(PALE) == []


@in_chromium
def test_the_curves_are_switched_by_method_and_axis(opened):
    browser = opened("desktop")
    names = "chart.data.filter((trace) => trace.hoverinfo !== 'skip').length"
    assert browser.run(names) == 3 and browser.run("chart.querySelectorAll('.scatterlayer .trace').length") == 6
    browser.run("document.querySelectorAll('input[name=method]')[1].click()")
    assert browser.run(names) == 2
    for value, axis, title in (
        ("questions", "xaxis", "questions sampled"),
        ("updates", "xaxis", "optimiser steps (mini-batch updates)"),
        ("reward", "yaxis", "reward"),
    ):
        browser.run(f"document.querySelector('input[value={value}]').click()")
        assert browser.run(f"chart._fullLayout.{axis}.title.text") == title
    assert browser.run("chart._fullLayout.shapes.length") == 0, "the target is an accuracy"
    assert browser.errors == []


@in_chromium
def test_a_point_says_what_it_is(opened):
    browser = opened("desktop")
    browser.move(*browser.run(PLACE_OF_A_POINT))
    browser.run(A_MOMENT)
    said = browser.run("document.querySelector('.hoverlayer').textContent")
    assert said == "GRPO57.0 % (55.0 to 59.0)after 40 s, step 4"


@in_chromium
def test_tables_are_sorted_by_a_click(opened):
    browser = opened("desktop")
    column = "[...document.querySelectorAll('section table tbody')[0].rows].map((row) => row.cells[2].textContent)"
    written = browser.run(column)
    found = [float(cell.split()[0]) for cell in written]
    seen = []
    for _ in range(3):
        browser.run("document.querySelectorAll('section table')[0].querySelectorAll('th button')[2].click()")
        seen.append([float(cell.split()[0]) for cell in browser.run(column)])
    assert seen == [sorted(found), sorted(found, reverse=True), found]
    assert browser.run("document.querySelectorAll('th[aria-sort]').length") == 0


@in_chromium
def test_what_is_never_sorts_after_every_number_and_what_is_not_known_after_all(opened):
    browser = opened("desktop")
    sort = "sort(table, 0, ORDER.none); [...table.tBodies[0].rows].map((row) => row.textContent).join(' ')"
    cells = "".join(f"<tr><td class=number>{cell}</td></tr>" for cell in ("never", "-", "1,000", "90.5 [1, 2]"))
    browser.run(f"window.table = document.createElement('table'); table.innerHTML = '<tbody>{cells}</tbody>'")
    assert browser.run(sort) == "90.5 [1, 2] 1,000 never -"
    assert browser.run(sort.replace("ORDER.none", "'descending'")) == "never 1,000 90.5 [1, 2] -"


A_MOMENT = "new Promise((done) => setTimeout(done, 300))"
"""Plotly shows a hover after a delay."""

PLACE_OF_A_POINT = """(() => {
  const plot = chart.querySelector(".nsewdrag").getBoundingClientRect(), line = chart.data[1], axes = chart._fullLayout;
  return [plot.left + axes.xaxis.l2p(line.x[4]), plot.top + axes.yaxis.l2p(line.y[4])];
})()"""
"""Of GRPO after 4 steps."""

TEXTS = """[...document.querySelectorAll("main *")].flatMap((owner) => [...owner.childNodes]
  .filter((node) => node.nodeType === Node.TEXT_NODE && node.textContent.trim() && !owner.closest("script, style"))
  .map((node) => [owner, node]))"""
"""Each text of the page, and the element that it is in."""

SMALLEST_TEXT = f"Math.min(...{TEXTS}.map(([owner]) => parseFloat(getComputedStyle(owner).fontSize)))"

OVERLAPS = f"""(() => {{
  const boxes = {TEXTS}.flatMap(([owner, node]) => {{
    const range = document.createRange(), frame = owner.closest(".table, #chart")?.getBoundingClientRect();
    range.selectNodeContents(node);
    // What a wide table has beyond its frame is not seen until it is scrolled.
    return [...range.getClientRects()]
      .map((box) => frame ? {{ ...box.toJSON(), right: Math.min(box.right, frame.right) }} : box)
      .filter((box) => box.right - box.left > 1).map((box) => ({{ box, node }}));
  }});
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
    && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 2;
  return boxes.flatMap((one, i) => boxes.slice(i + 1)
    .filter((other) => other.node !== one.node && meet(one.box, other.box))
    .map((other) => `${{one.node.textContent}} / ${{other.node.textContent}}`));
}})()"""
"""Pairs of texts that overlap."""

PALE = f"""(() => {{
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {{
    for (let at = element; at; at = at.parentElement) {{
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }}
  }};
  return {TEXTS}.filter(([owner]) => {{
    const style = getComputedStyle(owner), ink = parse(owner.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(ink), light(behind(owner.closest("svg")?.parentElement ?? owner))].sort((x, y) => y - x);
    return (a + 0.05) / (b + 0.05) < 4.5;
  }}).map(([, node]) => node.textContent);
}})()"""
"""Texts with less contrast than WCAG's 4.5 to 1."""
