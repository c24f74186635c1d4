"""The report in a browser: headless Chromium opens it from disk and uses it as a reader would."""

import itertools
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from reports import CSV, NASTY, claim, panel, series, write_figure

from lbsim.study.plot.names import place_names
from lbsim.study.plot.scales import MOST_TICKS, symlog_ticks
from lbsim.study.report import write_report

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.service import Service  # noqa: E402  # there only if selenium is
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="no browser here: apt-get install chromium chromium-driver"
)

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--hide-scrollbars",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
SCATTER = "scatter"
PLAIN = "toeplitz"  # a figure with a linear axis, a range given, and a value of zero


BENT = [[0, 1, 1, 1, 1], [1, 0, 0, 0, 1], [10, 2, 1, 3, 3], [100, 30, 20, 40, 3]]


def named(x, y, label, share, **more):
    """A point of a scatter plot, as wide as high."""
    about = {"label": label, "xlow": x * 0.9, "xhigh": x * 1.1, "area": 1000 * share, "share": share}
    return [x, y, y * 0.8, y * 1.1, 5, about | more]


def scatter():
    """A panel of eight named points on a symlog axis over a logarithmic one; one is published, too."""
    stateless = [named(10**k, 2.0 * k, f"system {k}", 0.2 * k) for k in range(5)]
    stateful = [named(150, 1.0, NASTY, 1.0), named(160, 1.05, "close by", 0.15), named(9, 7, "bare", 0)]
    rings = [[300, 3, 2.5, 3.5, {"label": "system 1"}], [3000, 0.5, None, None, {"label": "published only"}]]
    looks = {"color": "#D55E00", "marker": "s"}
    return panel(
        log=False, symlog=1, xlog=True, rule=None, labels="system",
        xlabel="imbalance (%)", ylabel="broken (%)",
        area={"label": "memory (B)", "sizes": [[1, 0.15], [10, 0.5], [1000, 1]]},
        series=[series("stateless", stateless, rings), series("stateful", stateful, **looks)],
    )  # fmt: skip


def heat():
    """A heat map of two cores over three seconds, one cell missing."""
    cells = [[1, 0, 20, 3], [2, 0, 40, 3], [3, 0, 60, 1], [1, 1, 80, 3], [3, 1, 100, 3]]
    about = {
        "label": "load (%)",
        "heading": "RSS",
        "range": [0, 100],
        "colors": ["#000080", "#808080", "#ffff00"],
    }
    return panel(
        log=False, rule=None, xlabel="time (s)", ylabel="core", heat=about, series=[series("RSS", cells)]
    )


def boxes():
    """Boxes of one series with tails, over two seconds."""
    points = [[1, 100, 80, 120, 3, {"mark": 400}], [2, 110, 90, 130, 3, {"mark": 900}]]
    return panel(log=False, rule=None, xlabel="time (s)", box={"tail": "p99"}, series=[series("RSS", points)])


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    results = tmp_path_factory.mktemp("results")
    write_figure(results, chart=[panel()], claims=[claim(), claim(9.0, id="MY-1")])
    rest = [series("RSS", [[10, 0, 0, 0, 1], [20, 14, 13, 15, 2], [30, 18, 18, 18, 1]])]
    linear = panel(log=False, ylim=[0, 24], rule=None, ylabel="throughput (Gb/s)", series=rest)
    write_figure(results, PLAIN, chart=[linear, panel()], title="Plain")
    odd = [panel(series=[series("A", [])]), panel(series=[series("A", [[7, 3, None, None, 1]])], log=False)]
    write_figure(results, SCATTER, chart=[scatter()], title="Scatter")
    steps = [series("A", [[x, x % 7, x % 7, x % 7, 1] for x in range(60)])]
    bent = panel(symlog=1, xlog=True, log=False, rule=None, series=[series("A", BENT)])
    write_figure(results, "lines", chart=[panel(step=True, log=False, rule=None, series=steps), bent])
    write_figure(
        results, "heat", chart=[heat(), boxes(), heat() | {"series": [series("RSS", [])]}], title="Heat"
    )
    write_figure(results, "odd", chart=odd, title="Odd", csv="n\n" + "".join(f"{k}\n" for k in range(600)))
    return write_report(results)


@pytest.fixture
def page(browser, report):
    """The report freshly opened at 1200 x 900; at the end the console must be empty."""
    size(browser, 1200, 900)
    scheme(browser, "light")
    browser.get(report.as_uri())
    wait(browser, lambda: drawn(browser))
    yield browser
    browser.execute_script("localStorage.clear()")
    assert browser.get_log("browser") == []


def size(browser, width, height, mobile=False):
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": mobile}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def scheme(browser, name):
    still = {
        "name": "prefers-reduced-motion",
        "value": "reduce",
    }  # a page that still scrolls cannot be clicked
    features = [{"name": "prefers-color-scheme", "value": name}, still]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def all_of(page, selector):
    return page.find_elements(By.CSS_SELECTOR, selector)


def one(page, selector):
    (found,) = all_of(page, selector)
    return found


def texts(page, selector):
    """The texts of elements, also of SVG and of hidden ones."""
    return [element.get_attribute("textContent") for element in all_of(page, selector)]


def wait(page, condition):
    """Wait until a condition holds: a browser reports some events a little later."""
    WebDriverWait(page, 20, 0.02).until(lambda _: condition())


def drawn(page):
    """Whether every chart is there, as wide as its place."""
    return page.execute_script(
        "return [...document.querySelectorAll('.plot')].every((plot) => plot.clientWidth > 0 && "
        "plot.querySelector('.picture')?.viewBox.baseVal.width === Math.round(plot.clientWidth))"
    )


def press(page, selector, text):
    for button in all_of(page, selector):
        if button.get_attribute("textContent") == text:
            button.click()
            return button
    raise AssertionError(f"no {selector} says {text!r}")


def keys(page, *pressed):
    ActionChains(page).send_keys(*pressed).perform()


def tip(page):
    """What the tip says: the name of the series, the place, and its lines."""
    (shown,) = [element for element in all_of(page, ".tip") if element.is_displayed()]
    terms = [element.text for element in shown.find_elements(By.TAG_NAME, "dt")]
    values = [element.text for element in shown.find_elements(By.TAG_NAME, "dd")]
    lines = list(zip(terms, values, strict=True))
    return shown.find_element(By.TAG_NAME, "strong").text, shown.find_element(By.TAG_NAME, "p").text, lines


def hover(page, plot, x, y):
    """Move the pointer to a place of the picture, in its own units."""
    where = page.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'});"
        "const box = arguments[0].querySelector('.picture').getBoundingClientRect(); return [box.x, box.y]",
        plot,
    )
    actions = ActionChains(page)
    actions.w3c_actions.pointer_action.move_to_location(int(where[0] + x), int(where[1] + y))
    actions.perform()


def place_of(page, plot, k, series=0, kind="dot"):
    """Where the k-th marker of a series is in the picture."""
    mark = plot.find_elements(By.CSS_SELECTOR, f".series[data-index='{series}'] .{kind}")[k]
    return [float(part) for part in re.findall(r"[\d.]+", mark.get_dom_attribute("transform"))]


FIG13 = "#rsspp-fig13"
LEGEND = f"{FIG13} .legend button"
Y_TICKS = f"{FIG13} .picture .axes text.y"


def test_it_opens_from_disk_and_draws_without_a_complaint(page):
    assert len(all_of(page, f"{FIG13} .picture")) == 1
    assert len(all_of(page, f"#{PLAIN} .picture")) == 2
    assert len(all_of(page, f"{FIG13} .series .published")) == 3
    assert len(all_of(page, ".thumbnail .line")) == 4  # a figure without points has none
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_it_cannot_reach_a_network_nor_run_what_is_not_its_own(browser, report):
    browser.get(report.as_uri())
    attempt = (
        "const done = arguments[arguments.length - 1]; window.ran = false;"
        "const script = document.createElement('script'); script.textContent = 'window.ran = true';"
        "document.body.append(script);"
        "fetch('http://127.0.0.1:9/').then(() => done('loaded'), (e) => done(e.message + window.ran))"
    )
    assert browser.execute_async_script(attempt).endswith("false")
    refused = " ".join(line["message"] for line in browser.get_log("browser"))
    assert "connect" in refused.lower()
    assert "Content Security Policy" in refused


def test_names_are_text_wherever_they_come_from(page):
    assert NASTY in texts(page, LEGEND)
    assert all_of(page, "b.evil") == []


def test_a_button_hides_a_series_and_brings_it_back(page):
    before = texts(page, Y_TICKS)
    assert before == ["50", "100", "200", "500", "1,000", "2,000", "5,000", "10,000"]
    button = press(page, LEGEND, "RSS")
    assert button.get_attribute("aria-pressed") == "false"
    assert [g.get_attribute("data-index") for g in all_of(page, f"{FIG13} .picture .series")] == ["1"]
    press(page, LEGEND, NASTY)
    assert all_of(page, f"{FIG13} .picture .series") == []
    assert texts(page, f"{FIG13} .picture .empty") == ["every series is hidden"]
    press(page, LEGEND, "RSS")
    press(page, LEGEND, NASTY)
    assert button.get_attribute("aria-pressed") == "true"
    assert len(all_of(page, f"{FIG13} .picture .series")) == 2
    assert texts(page, Y_TICKS) == before


def test_what_was_published_and_the_bands_can_be_hidden(page):
    assert len(all_of(page, f"{FIG13} .series .band")) == 2
    press(page, LEGEND, "p25 to p75")
    assert all_of(page, f"{FIG13} .series .band") == []
    press(page, LEGEND, "published")
    assert all_of(page, f"{FIG13} .series .published") == []
    assert len(all_of(page, f"{FIG13} .picture .line")) == 2


def test_one_legend_rules_all_panels_of_a_figure(page):
    press(page, f"#{PLAIN} .legend button", "RSS")
    assert [len(p.find_elements(By.CSS_SELECTOR, ".series")) for p in all_of(page, f"#{PLAIN} .picture")] == [
        0,
        1,
    ]


def test_the_scale_of_a_chart_changes_its_axis_and_no_other(page):
    other = texts(page, f"#{PLAIN} .picture .axes text.y")
    pressed = [b.get_attribute("aria-pressed") for b in all_of(page, f"{FIG13} .switch button")]
    assert pressed == ["false", "true"]
    press(page, f"{FIG13} .switch button", "linear")
    assert texts(page, Y_TICKS) == [f"{v:,}" for v in range(0, 8001, 1000)]
    assert texts(page, f"#{PLAIN} .picture .axes text.y") == other
    press(page, f"{FIG13} .switch button", "log")
    assert texts(page, Y_TICKS)[0] == "50"


def test_zeros_are_missed_aloud_on_a_logarithmic_axis(page):
    plot, note = all_of(page, f"#{PLAIN} .plot")[0], all_of(page, f"#{PLAIN} .note")[0]
    assert len(plot.find_elements(By.CSS_SELECTOR, ".dot")) == 3
    assert not note.is_displayed()
    press(page, f"#{PLAIN} .switch button", "log")
    assert len(plot.find_elements(By.CSS_SELECTOR, ".dot")) == 2
    assert note.text == "Not on a logarithmic axis: 1 value of zero or below."
    press(page, f"#{PLAIN} .switch button", "linear")
    assert not note.is_displayed()


def test_the_pointer_finds_the_nearest_point(page):
    plot = one(page, f"{FIG13} .plot")
    x, y = place_of(page, plot, 2)
    hover(page, plot, x + 9, y - 14)
    name, place, lines = tip(page)
    assert (name, place) == ("RSS", "offered load 3 Gb/s")
    assert lines == [
        ("simulated", "900 µs"),
        ("p25 to p75", "400 to 2,000"),
        ("runs", "3"),
        ("published", "600 µs"),
        ("p25 to p75", "500 to 700"),
        ("difference", "+50 %"),
    ]
    x, y = place_of(page, plot, 3, series=1)
    hover(page, plot, x - 5, y + 8)
    assert tip(page) == (NASTY, "offered load 4 Gb/s", [("simulated", "80 µs")])
    quiet = all_of(page, f"{FIG13} .picture .quiet")
    assert [g.get_attribute("data-index") for g in quiet] == ["0"]


def test_published_points_answer_too(page):
    plot = one(page, f"{FIG13} .plot")
    hover(page, plot, *place_of(page, plot, 2, kind="published"))
    assert tip(page) == ("RSS", "offered load 3.5 Gb/s", [("published", "3,000 µs")])


def test_the_tip_stays_inside_the_page(page):
    size(page, 360, 700, mobile=True)
    plot = one(page, f"{FIG13} .plot")
    wait(page, lambda: plot.rect["width"] < 360 and drawn(page))
    for k in range(4):
        hover(page, plot, *place_of(page, plot, k))
        left, right = page.execute_script(
            "const r = arguments[0].querySelector('.tip').getBoundingClientRect(); return [r.left, r.right]",
            plot,
        )
        assert left >= 0
        assert right <= 360


def test_arrow_keys_go_from_point_to_point_and_from_series_to_series(page):
    plot = one(page, f"{FIG13} .plot")
    assert "p95 latency (µs) over offered load (Gb/s)" in plot.get_attribute("aria-label")
    page.execute_script("document.querySelector('#rsspp-fig13 .switch button:last-child').focus()")
    keys(page, Keys.TAB)
    assert page.switch_to.active_element == plot
    assert tip(page)[:2] == ("RSS", "offered load 1 Gb/s")
    keys(page, Keys.ARROW_RIGHT)
    assert tip(page)[1] == "offered load 2 Gb/s"
    keys(page, Keys.END, Keys.ARROW_RIGHT)
    assert tip(page)[1] == "offered load 4 Gb/s"
    keys(page, Keys.ARROW_DOWN, Keys.ARROW_LEFT)
    assert tip(page)[:2] == (NASTY, "offered load 3 Gb/s")
    keys(page, Keys.ARROW_UP, Keys.HOME)
    assert tip(page)[:2] == ("RSS", "offered load 1 Gb/s")
    keys(page, Keys.ESCAPE)
    assert [e for e in all_of(page, ".tip") if e.is_displayed()] == []


def test_every_control_is_a_button_that_the_keyboard_reaches(page):
    button = all_of(page, LEGEND)[0]
    page.execute_script("arguments[0].focus()", button)
    keys(page, Keys.SPACE)
    assert button.get_attribute("aria-pressed") == "false"
    keys(page, Keys.TAB)
    assert page.switch_to.active_element == all_of(page, LEGEND)[1]
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"


def test_the_csv_button_yields_the_table_byte_by_byte(page, tmp_path):
    page.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    one(page, f"{FIG13} button.csv").click()
    saved = tmp_path / "rsspp-fig13.csv"
    wait(page, saved.exists)
    assert saved.read_bytes() == CSV.encode()


def test_the_table_shows_what_the_csv_holds(page):
    details = one(page, f"{FIG13} details.table")
    assert texts(page, f"{FIG13} td") == []
    details.find_element(By.TAG_NAME, "summary").click()
    wait(page, lambda: texts(page, f"{FIG13} td"))
    rows = [[c.get_attribute("textContent") for c in row.find_elements(By.XPATH, "*")]
            for row in details.find_elements(By.TAG_NAME, "tr")]  # fmt: skip
    assert rows[0] == ["series", "load", "p95_us", "note"]
    assert rows[1] == ["RSS", "1", "100", 'a, "b"\nand µ']
    assert rows[2] == ["RSS", "2", "900", ""]
    assert rows[3][0] == NASTY.replace('"', "")
    assert len(rows) == 4
    assert [th.get_attribute("class") for th in details.find_elements(By.TAG_NAME, "th")] == [
        "",
        "n",
        "n",
        "",
    ]


def test_a_long_table_is_cut_and_says_so(page):
    one(page, "#odd details.table summary").click()
    wait(page, lambda: all_of(page, "#odd td"))
    assert len(all_of(page, "#odd details.table tbody tr")) == 500
    assert texts(page, "#odd details.table .note") == ["The first 500 of 600 rows; the CSV has them all."]


def test_charts_of_no_point_or_of_one_are_drawn(page):
    empty, single = all_of(page, "#odd .picture")
    assert empty.find_elements(By.CSS_SELECTOR, ".dot") == []
    assert len(single.find_elements(By.CSS_SELECTOR, ".dot")) == 1
    assert [t.get_attribute("textContent") for t in single.find_elements(By.CSS_SELECTOR, "text.x")] == ["7"]
    hover(page, all_of(page, "#odd .plot")[1], 100, 100)
    assert tip(page) == ("A", "offered load 7 Gb/s", [("simulated", "3 µs")])


def test_dark_follows_the_system_and_the_button_overrules_it(page, report):
    def ground():
        return page.execute_script("return getComputedStyle(document.body).backgroundColor")

    light = ground()
    scheme(page, "dark")
    dark = ground()
    assert dark != light
    button = one(page, "#theme")
    wait(page, lambda: button.text == "Light")
    button.click()
    assert ground() == light
    page.get(report.as_uri())
    assert ground() == light
    one(page, "#theme").click()
    assert ground() == dark


def test_black_lines_are_seen_in_the_dark(page):
    scheme(page, "dark")
    line = all_of(page, f"{FIG13} .series[data-index='1'] .line")[0]
    stroke = page.execute_script(
        "const paint = document.createElement('canvas').getContext('2d');"
        "paint.fillStyle = getComputedStyle(arguments[0]).stroke; paint.fillRect(0, 0, 1, 1);"
        "return [...paint.getImageData(0, 0, 1, 1).data]",
        line,
    )
    assert min(stroke[:3]) > 120


def test_a_phone_scrolls_down_and_never_sideways(page):
    size(page, 360, 700, mobile=True)
    page.execute_script("for (const d of document.querySelectorAll('details')) d.open = true")
    wait(page, lambda: one(page, f"{FIG13} .plot").rect["width"] < 360 and drawn(page))
    wait(page, lambda: all_of(page, "#odd td"))
    assert page.execute_script("return document.documentElement.scrollWidth") == 360
    wide = page.execute_script(
        "return [...document.querySelectorAll('main *')].filter((e) => !e.closest('.scroll, svg, .tip'))"
        ".filter((e) => e.getBoundingClientRect().right > 360.5).map((e) => e.outerHTML.slice(0, 80))"
    )
    assert wide == []


def test_without_scripts_pictures_stand_there_and_no_dead_buttons(browser, report):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(report.as_uri())
        assert [image.is_displayed() for image in all_of(browser, ".chart img")] == [True] * 6
        assert not any(button.is_displayed() for button in all_of(browser, "button"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_on_paper_it_is_light_and_shows_no_controls(page):
    one(page, "#theme").click()
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    try:
        colours = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        assert page.execute_script(colours) == ["rgb(255, 255, 255)", "rgb(28, 27, 25)"]
        for hidden in ("#theme", "button.csv", ".switch button", "details"):
            assert not any(element.is_displayed() for element in all_of(page, hidden))
        assert one(page, f"{FIG13} .picture").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


# --- scatter plots, staircases, bent axes ---

MAP = f"#{SCATTER} .picture"


def test_a_scatter_plot_has_markers_bars_and_names_but_no_lines(page):
    assert all_of(page, f"{MAP} .line, {MAP} .band") == []
    assert len(all_of(page, f"{MAP} .dot")) == 8
    assert len(all_of(page, f"{MAP} .bar")) == 15  # upright and level; "system 0" is zero for sure
    assert sorted(texts(page, f"{MAP} .name")) == sorted(
        [*(f"system {k}" for k in range(5)), NASTY, "close by", "bare", "published only"]
    )
    assert len(all_of(page, f"{MAP} .twin")) == 1
    press(page, f"#{SCATTER} .legend button", "published")
    assert "published only" not in texts(page, f"{MAP} .name")
    assert all_of(page, f"{MAP} .twin") == []
    press(page, f"#{SCATTER} .legend button", "p25 to p75")
    assert all_of(page, f"{MAP} .bar") == []
    assert all_of(page, f"#{SCATTER} .legend .line") == []
    assert len(all_of(page, f"svg.thumbnail[data-of='{SCATTER}'] .dot")) == 8


def test_areas_grow_with_their_share_and_have_a_legend(page):
    dots = all_of(page, f"{MAP} .series[data-index='0'] .dot")
    sizes = page.execute_script("return arguments[0].map((dot) => dot.getBBox().width)", dots)
    assert sizes == sorted(sizes, reverse=True)  # the small are drawn on the large
    assert sizes[0] > 2.2 * sizes[-1] > 8
    legend = one(page, f"#{SCATTER} .sizes")
    assert legend.text.split("\n") == ["Area: memory (B)", "1", "10", "1,000"]
    assert len(legend.find_elements(By.CSS_SELECTOR, ".size")) == 3


def test_names_cover_no_other_name(page):
    script = (
        "return arguments[0].map((name) => { const b = name.getBBox();"
        "return [b.x, b.y + 2, b.x + b.width, b.y + b.height - 2]; })"
    )
    for width in (1200, 360):
        size(page, width, 900, mobile=width < 500)
        wait(page, lambda: drawn(page))
        boxes = page.execute_script(script, all_of(page, f"{MAP} .name"))
        assert len(boxes) >= 6
        for i, a in enumerate(boxes):
            for b in boxes[:i]:
                wide, high = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
                assert wide <= 3 or high <= 3


def test_names_without_room_are_counted_and_said(page):
    crowd = "{x: 50, y: 50, wide: 60, high: 12, radius: 3}"
    script = (
        f"const crowd = Array.from({{length: 40}}, () => ({crowd}));"
        "return withRoom(placeNames(crowd, [], [0, 0, 100, 100])).filter((place) => !place).length"
    )
    assert 0 < page.execute_script(script) < 40
    far = "placeNames([{x: 50, y: 50, wide: 60, high: 12, radius: 3}], [[0, 0, 100, 100]], [0, 0, 500, 500])"
    assert page.execute_script(f"return {far}[0].gap") == 34


def test_names_stand_where_the_printed_figure_has_them(page):
    anchors = [(60, 60), (66, 64), (70, 58), (190, 100), (5, 5), (120, 61)]
    sizes = [(30, 8), (45, 8), (20, 8), (50, 8), (40, 8), (25, 8)]
    marks = [(x - 4, y - 4, x + 4, y + 4) for x, y in anchors]
    printed = place_names(anchors, sizes, [4.0] * 6, np.array(marks), (0, 0, 200, 120))
    turned = [{"x": x, "y": 120 - y, "wide": w, "high": h, "radius": 4}
              for (x, y), (w, h) in zip(anchors, sizes, strict=True)]  # fmt: skip
    boxes = [[left, 120 - top, right, 120 - bottom] for left, bottom, right, top in marks]
    shown = page.execute_script(
        "return placeNames(arguments[0], arguments[1], [0, 0, 200, 120]).map((p) => [p.x, p.y, p.gap])",
        turned,
        boxes,
    )
    for (x, y), (dx, dy, gap), place in zip(anchors, printed, shown, strict=True):
        assert place == pytest.approx([x + dx, 120 - y - dy, gap], abs=1e-9)


def test_the_pointer_names_a_point_with_both_values_and_its_area(page):
    plot = one(page, f"#{SCATTER} .plot")
    hover(page, plot, *place_of(page, plot, 1, series=0))  # the second largest
    assert tip(page) == (
        "system 3",
        "stateless",
        [
            ("imbalance", "1,000 %"),
            ("p25 to p75", "900 to 1,100"),
            ("broken", "6 %"),
            ("p25 to p75", "4.8 to 6.6"),
            ("memory", "600 B"),
            ("runs", "5"),
        ],
    )
    hover(page, plot, *place_of(page, plot, 1, kind="published"))
    assert tip(page) == (
        "published only",
        "stateless",
        [("published, imbalance", "3,000 %"), ("published, broken", "0.5 %")],
    )


def test_arrow_keys_go_from_named_point_to_named_point(page):
    plot = one(page, f"#{SCATTER} .plot")
    page.execute_script("arguments[0].focus()", all_of(page, f"#{SCATTER} .switch button")[-1])
    keys(page, Keys.TAB)
    assert page.switch_to.active_element == plot
    assert tip(page)[0] == "system 0"
    keys(page, Keys.ARROW_RIGHT)
    name, series_, lines = tip(page)
    assert (name, series_) == ("system 1", "stateless")
    assert ("published, broken", "3 %") in lines
    keys(page, Keys.ARROW_DOWN, Keys.END)
    assert tip(page)[:2] == ("close by", "stateful")
    keys(page, Keys.ARROW_LEFT)
    assert tip(page)[0] == NASTY


def test_names_are_read_in_the_dark(page):
    scheme(page, "dark")
    fill = page.execute_script(f"return getComputedStyle(document.querySelector('{MAP} .name')).fill")
    assert min(map(int, re.findall(r"\d+", fill))) > 200


def test_zeros_stand_on_a_symlog_axis_and_it_can_be_linear(page):
    assert texts(page, f"{MAP} .axes text.y") == ["0", "0.5", "1", "2", "4", "8", "16"]
    assert [b.text for b in all_of(page, f"#{SCATTER} .switch button")] == ["linear", "symlog"]
    plot = one(page, f"#{SCATTER} .plot")
    axis = float(all_of(page, f"{MAP} .axis")[0].get_dom_attribute("y1"))
    assert place_of(page, plot, 4, series=0)[1] == pytest.approx(axis)
    press(page, f"#{SCATTER} .switch button", "linear")
    assert texts(page, f"{MAP} .axes text.y") == [str(v) for v in range(10)]
    assert len(all_of(page, f"{MAP} .dot")) == 8


def test_a_staircase_turns_at_right_angles_with_few_dots(page):
    stairs = all_of(page, "#lines .picture")[0]
    d = stairs.find_element(By.CSS_SELECTOR, ".line").get_dom_attribute("d")
    corners = [tuple(map(float, pair.split(","))) for pair in d[1:].split("L")]
    assert len(corners) == 2 * 60 - 1
    for (x, y), (x2, y2) in itertools.pairwise(corners):
        assert (x == x2) != (y == y2)
    assert len(stairs.find_elements(By.CSS_SELECTOR, ".dot")) == 20


def test_a_logarithmic_x_axis_has_even_decades_and_misses_zeros_aloud(page):
    bent = all_of(page, "#lines .plot")[1]
    places = [place_of(page, bent, k)[0] for k in range(3)]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=0.05)
    labels = [t.get_attribute("textContent") for t in bent.find_elements(By.CSS_SELECTOR, "text.x")]
    assert labels == ["1", "10", "100"]
    notes = [note.text for note in all_of(page, "#lines .note") if note.is_displayed()]
    assert "Not on a logarithmic axis: 1 value of zero or below." in notes


# --- heat maps and boxes ---

HEAT = "#heat .plot:has(.heat)"


def test_a_heat_map_has_a_cell_for_every_value_and_a_colour_bar(page):
    picture = all_of(page, "#heat .picture")[0]
    cells = picture.find_elements(By.CSS_SELECTOR, ".cell")
    fills = [cell.get_dom_attribute("fill") for cell in cells]
    assert fills == [
        "rgb(204 204 51)",
        "rgb(255 255 0)",
        "rgb(51 51 128)",
        "rgb(102 102 128)",
        "rgb(153 153 102)",
    ]
    boxes = page.execute_script(
        "return arguments[0].map((c) => { const b = c.getBBox(); return [b.x, b.y, b.width]; })", cells
    )
    assert len({width for *_, width in boxes}) <= 3  # all as wide, up to rounding
    assert boxes[1][0] - boxes[0][0] == pytest.approx(2 * boxes[0][2], rel=1e-3)  # a cell is missing between
    assert boxes[0][1] < boxes[2][1]  # core 1 stands above core 0
    labels = [t.get_attribute("textContent") for t in picture.find_elements(By.CSS_SELECTOR, ".axes text.y")]
    assert labels == ["0", "1"]
    assert texts(page, "#heat .scale span") == ["0 %", "", "100 %"] * 2
    assert [t for t in texts(page, "#heat .ylabel") if "load" in t] == ["load (%): RSS"] * 2
    assert len(all_of(page, "svg.thumbnail[data-of='heat'] .cell")) == 5
    assert texts(page, "#heat .picture .empty") == ["nothing to show"]


def test_the_pointer_finds_the_cell_it_is_in(page):
    plot = all_of(page, HEAT)[0]
    corner = page.execute_script(
        "const b = arguments[0].querySelectorAll('.cell')[3].getBBox();"
        "return [b.x + b.width - 4, b.y + b.height - 4]",
        plot,
    )
    hover(page, plot, *corner)
    assert tip(page) == ("core 0", "time 2 s", [("load", "40 %"), ("runs", "3")])
    assert len(plot.find_elements(By.CSS_SELECTOR, ".cursor .chosen")) == 1


def test_arrow_keys_go_from_cell_to_cell(page):
    plot = all_of(page, HEAT)[0]
    assert plot.get_attribute("aria-label").endswith(
        "load (%) by core over time (s): RSS. Arrow keys go from cell to cell."
    )
    page.execute_script("arguments[0].focus({focusVisible: true})", plot)
    assert tip(page)[:2] == ("core 1", "time 1 s")
    keys(page, Keys.ARROW_RIGHT)
    assert tip(page)[:2] == ("core 1", "time 3 s")
    keys(page, Keys.ARROW_DOWN)
    assert tip(page)[0] == "core 0"
    keys(page, Keys.END)
    assert tip(page) == ("core 0", "time 3 s", [("load", "60 %")])
    keys(page, Keys.ESCAPE)
    assert [e for e in all_of(page, ".tip") if e.is_displayed()] == []


def test_boxes_have_a_middle_and_a_tail_and_can_be_hidden(page):
    picture = "#heat .picture"
    assert [len(all_of(page, f"{picture} .{kind}")) for kind in ("box", "middle", "dot", "line")] == [
        2,
        2,
        2,
        0,
    ]
    plot = all_of(page, "#heat .plot")[1]
    hover(page, plot, *place_of(page, plot, 1))
    assert tip(page) == (
        "RSS",
        "time 2 s",
        [("simulated", "110 µs"), ("p25 to p75", "90 to 130"), ("p99", "900"), ("runs", "3")],
    )
    press(page, "#heat .legend button", "p25 to p75")
    assert [len(all_of(page, f"{picture} .{kind}")) for kind in ("box", "middle", "dot")] == [0, 2, 0]


CALLS = [
    ("linearTicks([0, 35], 8)", [0, 5, 10, 15, 20, 25, 30, 35]),
    ("linearTicks([2.8, 4.1], 7)", [2.8, 3, 3.2, 3.4, 3.6, 3.8, 4]),
    ("linearTicks([-3, 3], 3)", [-2, 0, 2]),
    ("logTicks([50, 10000], 12)", [50, 100, 200, 500, 1000, 2000, 5000, 10000]),
    ("logTicks([1, 1e6], 8)", [10**k for k in range(7)]),
    ("logTicks([1e-6, 1e6], 7)", [1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6]),
    ("logTicks([120, 180], 8)", [120, 140, 160, 180]),
    ("domainOf([3, 47], 'linear', 8)", [0, 50]),
    ("domainOf([-3, 4], 'linear', 8)", [-3, 4]),
    ("domainOf([0, 0], 'linear', 8)", [0, 1]),
    ("domainOf([63, 8600], 'log', 8)", [50, 10000]),
    ("domainOf([7, 7], 'log', 8)", [5, 10]),
    ("domainOf([], 'log', 8)", [1, 10]),
    ("domainOf([0, 7], 'symlog', 8, 1)", [0, 8]),
    ("domainOf([0, 70], 'symlog', 8, 1)", [0, 100]),
    ("domainOf([0, 0.5], 'symlog', 8, 1)", [0, 0.5]),
    *((f"symlogTicks([0, {top}], {MOST_TICKS}, {knee})", symlog_ticks(knee, top))
      for knee, top in ((1, 8), (1, 32), (1, 200), (0.01, 1000), (1, 1e14))),
    ("symlogTicks([0, 3], 5, 4)", [0, 1, 2, 3]),
    ("[0, 1, 2, 2 * Math.E].map(scaleOf('symlog', [0, 2 * Math.E], [0, 100], 2))", [0, 25, 50, 100]),
    ("[1, 10, 100].map(scaleOf('log', [1, 100], [0, 50]))", [0, 25, 50]),
    ("xTicks(null, [], [1, 100], (v) => 200 * Math.log10(v), 'log')", [1, 2, 5, 10, 20, 50, 100]),
    ("xTicks(null, [1, 3, 9], [1, 9], (v) => 200 * Math.log10(v), 'log')", [1, 3, 9]),
    ("xTicks(null, [1, 2, 4, 8], [1, 8], (v) => v * 100)", [1, 2, 4, 8]),
    ("xTicks(null, [1, 2, 4, 80], [1, 80], (v) => v * 8)", list(range(5, 81, 5))),
    ("xTicks([2, 4, 99], [1, 2, 3, 4], [1, 4], (v) => v * 100)", [2, 4]),
    ("[numberText(1364.24), numberText(-0.00012), numberText(null), numberText(0)]",
     ["1,364", "−0.00012", "–", "0"]),
    ("Object.values(unitOf('sum of loads (of 4)'))", ["sum of loads", "of 4"]),
    ("Object.values(unitOf('cores'))", ["cores", ""]),
    ("edgesOf([1, 2, 4])", [0.5, 1.5, 3, 5]),
    ("edgesOf([7])", [6.5, 7.5]),
    ("heatColor({colors: ['#000000', '#ffffff'], range: [2, 4]}, 9)", "rgb(255 255 255)"),
    ("parseCsv('a,b\\r\\n1,\"x\"\"y\"\\n')", [["a", "b"], ["1", 'x"y']]),
    ("parseCsv('a\\n\\n1')", [["a"], [""], ["1"]]),
]  # fmt: skip


def test_ticks_numbers_and_tables(page):
    for call, expected in CALLS:
        assert page.execute_script(f"return {call}") == expected, call


def test_the_file_is_small(report):
    assert Path(report).stat().st_size < 110_000
