"""The report as a file: what it holds, what it escapes, what it may load."""

import base64
import hashlib
import json
import re
from html import escape
from html.parser import HTMLParser
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports import CSV, NASTY, PIXEL, SCENARIO, claim, panel, write_figure

from lbsim.scenario import dump_toml, override
from lbsim.study.report import figure_folders, write_report
from lbsim.study.report.figure import anchor, embedded
from lbsim.study.report.listing import defaults, listing, variation
from lbsim.study.report.verdicts import range_bar


class Page(HTMLParser):
    """The elements of a page, as a browser would find them: (tag, attributes, text directly inside)."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append([tag, dict(attrs), ""])
        self.open.append(self.elements[-1])

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data

    def all(self, tag, class_=None):
        return [
            (attributes, text)
            for name, attributes, text in self.elements
            if name == tag and (class_ is None or class_ in (attributes.get("class") or "").split())
        ]


def written(results):
    return write_report(results).read_text("utf-8")


def row(low=1.0, high=3.0, published=2.0, simulated=2.5, verdict="pass"):
    return {"low": low, "high": high, "published": published, "simulated": simulated, "verdict": verdict}


def test_no_results_no_report(tmp_path):
    with pytest.raises(ValueError, match="holds no figure yet"):
        write_report(tmp_path)


def test_the_page_stands_alone(tmp_path):
    write_figure(tmp_path, chart=[panel()], claims=[claim()])
    text = written(tmp_path)
    page = Page(text)
    for _, attributes, _ in page.elements:
        for name in ("src", "href", "data", "action", "srcset", "poster"):
            assert re.match(r"(data:image/png;base64,|#)", attributes.get(name) or "#")
    assert not page.all("link")
    assert not page.all("base")
    assert not re.search(r"https?:|//[a-z]|@import|url\(", text)


def test_the_policy_forbids_every_load_and_every_script_but_its_own(tmp_path):
    write_figure(tmp_path, chart=[panel()])
    page = Page(written(tmp_path))
    (policy,) = [a["content"] for a, _ in page.all("meta") if "http-equiv" in a]
    own = [text for attributes, text in page.all("script") if "type" not in attributes]
    digest = base64.b64encode(hashlib.sha256(own[0].encode()).digest()).decode()
    assert len(own) == 1
    assert policy.split("; ") == [
        "default-src 'none'",
        "style-src 'unsafe-inline'",
        f"script-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    ]
    assert own[0].startswith('\n"use strict";\n')
    assert not any(name.startswith("on") for _, attributes, _ in page.elements for name in attributes)


def test_chart_and_table_are_embedded_exactly_and_nothing_breaks_out(tmp_path):
    chart = [panel(), panel(ylabel=NASTY)]
    write_figure(tmp_path, chart=chart, claims=[claim()], title=NASTY, failed_points=[NASTY])
    page = Page(written(tmp_path))
    ((_, data),) = page.all("script", "chart-data")
    ((attributes, table),) = page.all("script", "csv-data")
    assert json.loads(data) == chart
    assert json.loads(table) == CSV
    assert attributes["data-file"] == "rsspp-fig13.csv"
    assert not page.all("b", "evil")
    assert len(page.all("script")) == 3
    assert [text for _, text in page.all("h2") if text == NASTY]
    assert [text for _, text in page.all("p", "alert")] == [f"Failed point: {NASTY}"]


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner), max_leaves=5))
def test_embedded_json_reads_back_and_has_no_tag(value):
    text = embedded(value)
    assert json.loads(text) == value
    assert "<" not in text


def test_equal_results_give_equal_bytes(tmp_path):
    for name in ("a", "b"):
        write_figure(tmp_path / name, chart=[panel()], claims=[claim()])
        write_figure(tmp_path / name / "quick", chart=[panel()], claims=[claim(8.2)])
    first = write_report(tmp_path / "a").read_bytes()
    assert write_report(tmp_path / "a").read_bytes() == first
    assert write_report(tmp_path / "b").read_bytes() == first


def test_claims_show_value_range_and_verdict(tmp_path):
    own = claim(4.0, id="MY-1", note="<why>")
    write_figure(tmp_path, chart=[panel()], claims=[claim(8.5), own])
    text = written(tmp_path)
    page = Page(text)
    assert [a["class"] for a, _ in page.all("li", "claim")] == ["claim fail", "claim pass", "claim fail"]
    assert [a.get("id") for a, _ in page.all("li", "claim")] == [None, "RS-02", "MY-1"]
    assert page.all("h1")[0][1] == "1 of 2 claims hold"
    assert text.index("1 claim outside the accepted range") < text.index('id="contents"')
    assert page.all("span", "tally")[0][1] == "1 of 2 claims hold, "
    labels = [a["aria-label"] for a, _ in page.all("svg", "range")]
    assert labels[1] == "simulated 8.5, accepted 8.13 to 8.99, published 8.56"
    assert labels[2] == "simulated 4, accepted 1 to 3, published 2"
    assert escape("<why>") in text
    assert [t for _, t in page.all("p", "remark")] == [
        "Sources: RSS++, CoNEXT 2019: published measurements, Fig. 13; a guess"
    ]


def test_when_all_claims_hold_none_is_listed_as_failing(tmp_path):
    write_figure(tmp_path, claims=[claim(8.5)])
    text = written(tmp_path)
    assert "The claim holds" in text
    assert "outside the accepted range" not in text
    assert len(Page(text).all("li", "claim")) == 1


def test_a_claim_that_was_not_computed_fails_without_a_dot(tmp_path):
    write_figure(tmp_path, claims=[claim(None, note="not computed: no rows")])
    page = Page(written(tmp_path))
    assert page.all("h1")[0][1] == "0 of 1 claim holds"
    assert page.all("svg", "range")[0][0]["aria-label"].startswith("not computed, accepted")
    assert not page.all("circle", "dot")
    assert [text for _, text in page.all("dd")][:1] == ["not computed"]


def test_a_long_remark_that_claims_share_stands_once(tmp_path):
    remark = "median over the hash keys that were tried, of which there are many"
    claims = [claim(2, id=f"MY-{i}", quantity=f"claim {i} ({remark})") for i in range(3)]
    write_figure(tmp_path, claims=claims)
    text = written(tmp_path)
    assert text.count(remark) == 1
    assert text.count("<sup>1</sup>") == 4


value = st.floats(-1e9, 1e9).map(lambda v: round(v, 6))


@given(value, value, value, value, st.booleans())
def test_what_lies_within_the_range_lies_within_its_bar(a, b, published, simulated, positive):
    a, b, published, simulated = ((abs(v) + 1e-3 if positive else v) for v in (a, b, published, simulated))
    low, high = sorted((a, b))
    bar = Page(range_bar(row(low, high, published, simulated)))
    box = bar.all("rect")[0][0]
    left = float(box["x"].rstrip("%"))
    right = left + (float(box["width"].rstrip("%")) if low < high else 0)
    dot = float(bar.all("circle", "dot")[0][0]["cx"].rstrip("%"))
    assert 0 <= left <= right <= 100.01
    assert 0 <= dot <= 100
    assert (left - 0.02 <= dot <= right + 0.02) or not low <= simulated <= high
    if low < high and simulated > high + (high - low):
        assert dot > right


def test_a_wide_range_is_logarithmic_and_a_narrow_one_linear():
    wide = Page(range_bar(row(1, 100, 10, 10))).all("circle", "published")[0][0]
    narrow = Page(range_bar(row(1, 3, 2, 2))).all("circle", "published")[0][0]
    assert wide["cx"] == narrow["cx"] == "50.00%"
    assert Page(range_bar(row(0, 100, 10, 10))).all("circle", "published")[0][0]["cx"] == "22.00%"


def test_a_failing_value_is_a_diamond_so_that_grey_tells():
    assert '<circle class="dot"' in range_bar(row())
    failing = range_bar(row(simulated=9.0, verdict="fail"))
    assert '<circle class="dot"' not in failing
    assert '<path class="dot"' in failing


def test_full_scale_is_shown_with_the_quick_one_beside_it(tmp_path):
    write_figure(tmp_path / "quick", chart=[panel(rule=7)], claims=[claim(8.25)])
    quick_only = Page(written(tmp_path))
    assert quick_only.all("p", "meta")[0][1].startswith("rsspp-fig13 · quick scale · 4 simulated points")
    assert len(quick_only.all("script", "chart-data")) == 1
    write_figure(tmp_path, chart=[panel(rule=8)], claims=[claim(8.5)])
    both = Page(written(tmp_path))
    assert both.all("p", "meta")[0][1].startswith("rsspp-fig13 · full scale")
    assert [json.loads(text)[0]["rule"] for _, text in both.all("script", "chart-data")] == [8, 7]
    assert [text for _, text in both.all("dd")][:3] == ["8.5 ms", "8.56 ms", "8.25"]


def test_figures_come_in_the_order_of_the_targets_then_by_name(tmp_path):
    for name in ("zeta", "my sweep", "rsspp-fig13", "toeplitz"):
        write_figure(tmp_path, name)
    write_figure(tmp_path / "quick", "toeplitz")
    assert [f.relative_to(tmp_path).as_posix() for f in figure_folders(tmp_path)] == [
        "toeplitz",
        "rsspp-fig13",
        "my sweep",
        "zeta",
    ]


def test_a_sweep_without_claims_or_chart_shows_its_picture(tmp_path):
    folder = write_figure(tmp_path, "my sweep", title="My sweep", claims=None)
    (folder / "provenance.json").write_text(
        json.dumps(
            {
                "title": "My sweep",
                "files": {"my sweep.csv": "", "my sweep.png": ""},
                "warnings": ["too short"],
            }
        )
    )
    page = Page(written(tmp_path))
    assert page.all("h1")[0][1] == "1 figure"
    assert page.all("img")[0][0] == {
        "class": "picture-only",
        "alt": "My sweep",
        "src": f"data:image/png;base64,{base64.b64encode(PIXEL).decode()}",
    }
    assert not page.all("noscript")
    assert page.all("section", "figure")[0][0]["id"] == "my-sweep"
    assert page.all("a", "card")[0][0]["href"] == "#my-sweep"
    assert page.all("p", "warning")[0][1] == "Warning: too short"
    assert page.all("span", "tally")[0][1] == "0 simulated points"


def test_points_that_have_not_run_are_said(tmp_path):
    write_figure(tmp_path, points_left=3)
    assert "3 points not simulated yet: the same command goes on" in written(tmp_path)


def test_every_table_has_its_button(tmp_path):
    folder = write_figure(tmp_path)
    about = json.loads((folder / "provenance.json").read_text())
    about["files"] = {"a.csv": "", **about["files"]}
    (folder / "a.csv").write_text("x\n1\n")
    (folder / "provenance.json").write_text(json.dumps(about))
    page = Page(written(tmp_path))
    assert [a["data-file"] for a, _ in page.all("button", "csv")] == ["rsspp-fig13.csv", "a.csv"]
    assert [a["data-file"] for a, _ in page.all("script", "csv-data")] == ["rsspp-fig13.csv", "a.csv"]
    assert "rsspp-fig13.csv, 3 rows" in written(tmp_path)


def test_without_scripts_the_picture_stands_in_for_the_chart(tmp_path):
    write_figure(tmp_path, chart=[panel()])
    assert re.search(
        r'<noscript><img class="picture-only" alt="[^"]+" src="data:image/png', written(tmp_path)
    )


def test_numbers_that_json_has_not_become_gaps(tmp_path):
    folder = write_figure(tmp_path, chart=[panel()])
    (folder / "chart.json").write_text('[{"series": [], "rule": NaN, "ylim": [-Infinity, 1]}]')
    ((_, data),) = Page(written(tmp_path)).all("script", "chart-data")
    assert json.loads(data) == [{"series": [], "rule": None, "ylim": [None, 1]}]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("provenance.json", b"{"),
        ("provenance.json", b"[]"),
        ("chart.json", b"[{"),
        ("rsspp-fig13.csv", b"\xff"),
        ("rsspp-fig13.png", None),
        ("claims.json", b"[{}]"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, file, content):
    folder = write_figure(tmp_path, chart=[panel()], claims=[claim()])
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=r"rsspp-fig13.* cannot be read .*run its figure again"):
        write_report(tmp_path)


# --- the scenario ---


def test_the_listing_tells_defaults_from_what_is_set_and_what_varies():
    toml = dump_toml(SCENARIO)
    lines = listing(toml, {"server.cores": [1, 2, 3, 4, 5]}).split("<pre>")[1].split("</pre>")[0].splitlines()
    assert lines[0] == "name = &quot;reported&quot;"
    assert '<span class="usual">seed = 1</span>' in lines
    assert {"flows = 16", "[traffic]"} <= set(lines)
    assert '<span class="varies">cores = 3  # varies: 1, 2, 3, …, 5 (5 values)</span>' in lines
    assert {"seed"} <= defaults(toml)
    assert not {"name", "duration", "traffic.kind", "traffic.flows", "server.cores"} & defaults(toml)


def test_a_part_left_at_its_default_is_all_default():
    toml = dump_toml(SCENARIO)
    assert {"nic.dispatch.kind", "nic.dispatch.table", "measure.packets"} <= defaults(toml)
    sprayer = dump_toml(override(SCENARIO, {"nic.dispatch.kind": "sprayer"}))
    assert "nic.dispatch.kind" not in defaults(sprayer)
    assert "measure.packets" in defaults(sprayer)


def test_a_scenario_that_no_longer_loads_is_listed_as_it_is():
    assert defaults("gone = 1\n") == frozenset()
    assert "<pre>gone = &lt;1&gt;</pre>" in listing("gone = <1>\n", {})


def test_what_varies_is_spelled_with_its_values():
    text = variation({"a.b": [True, [1, 2], "<x>"], "c": list(range(40))})
    assert "<dd>true, [1, 2], &lt;x&gt;</dd>" in text
    assert "9, 10, …, 39 (40 values)" in text
    assert variation({}) == ""


def test_an_anchor_has_no_spaces_or_quotes():
    assert anchor('my "sweep" µ/2') == "my-sweep-µ-2"


# --- colours ---


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_text_has_contrast_in_light_and_dark():
    css = files("lbsim.study.report").joinpath("page.css").read_text("utf-8")
    colors = dict(re.findall(r"--([\w-]+): light-dark\(([^)]+)\)", css))
    for scheme in (0, 1):
        shade = {name: luminance(pair.split(", ")[scheme]) for name, pair in colors.items()}
        for ink in ("ink", "muted", "accent", "pass", "fail"):
            for ground in ("paper", "raised", "fail-paper"):
                low, high = sorted((shade[ink], shade[ground]))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground, scheme)
