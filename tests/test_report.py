"""The report: the structure of its page, that nothing in the data is read as code, and how a browser shows it."""

import itertools
import json
import re
import sys
from html.parser import HTMLParser

import headless_browser
import numpy as np
import pandas as pd
import pytest

from pyro_vmonf import VMoNF, VMoNFClassifier
from pyro_vmonf.checkpointing.history import History
from pyro_vmonf.report import plotting, scatter, write_report
from pyro_vmonf.report.blocks import cell_text
from pyro_vmonf.report.page import page_text
from pyro_vmonf.report.report_data import read_report_data
from pyro_vmonf.report.search import search_section

plotly_offline = pytest.importorskip("plotly.offline")
pytest.importorskip("jinja2")

EVIL = "</script><script>window.broken = 1</script><img src=x onerror='window.broken = 1'>%{x} {{ 7 * 7 }}"
NAMES = ["length", EVIL, "mass g"]
VOID = {"meta", "link", "img", "br", "input", "hr"}


def made_rows(n=300):
    """Three clusters in three columns, and their labels as texts."""
    random = np.random.default_rng(0)
    y = random.choice(3, n, p=[0.5, 0.3, 0.2])
    x = 4 * random.normal(size=(3, 3))[y] + random.normal(size=(n, 3))
    return x * [1, 10, 1000], np.array(["a", "b <b>", "</script>" + EVIL], dtype=object)[y]


@pytest.fixture(scope="module")
def mixture():
    x, y = made_rows()
    return VMoNF(3, components="gaussian", covariance_type="diag", init_params="kmeans", random_state=0).fit(x), x, y


@pytest.fixture(scope="module")
def report(mixture, tmp_path_factory):
    estimator, x, y = mixture
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(path, estimator, x, names=NAMES, labels=y, title=EVIL)
    return path


@pytest.fixture(scope="module")
def page(report):
    found = Page()
    found.feed(report.read_text(encoding="utf-8"))
    return found


class Page(HTMLParser):
    """The elements of a page with their attributes, the text of each, and which elements each stands in."""

    def __init__(self):
        super().__init__()
        self.elements, self.open = [], []

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "in": [one["tag"] for one in self.open], "text": "", **dict(attributes)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open[-1]["tag"] == tag, f"{tag} ends in {self.open[-1]}"
        self.open.pop()

    def handle_data(self, text):
        for element in self.open:
            element["text"] += text

    def all(self, *tags):
        return [one for one in self.elements if one["tag"] in tags]


def figures_of(path):
    """The figures as JSON, which must have no NaN."""
    text = re.search(r'id="figures">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)[1]

    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


def test_nothing_comes_from_elsewhere(page, report):
    for element in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster", "formaction", "xlink:href"):
            assert name not in element or element[name].startswith("#"), element
    assert not page.all("link", "iframe", "object", "embed", "base", "form", "img")
    policy = next(one["content"] for one in page.all("meta") if one.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert report.read_text(encoding="utf-8").count(plotly_offline.get_plotlyjs()[:2000]) == 1
    assert report.stat().st_size < 6.5e6


def test_the_page_has_an_order(page):
    headings = page.all("h1", "h2", "h3", "h4", "h5", "h6")
    levels = [int(one["tag"][1]) for one in headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [one["id"] for one in page.elements if "id" in one]
    assert len(ids) == len(set(ids))
    for element in page.elements:
        if element.get("href", "").startswith("#"):
            assert element["href"][1:] in ids
        if "aria-labelledby" in element:
            assert element["aria-labelledby"] in ids
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("section")) == 11
    assert not page.open


def test_tables_name_their_rows_and_columns(page):
    assert len(page.all("table")) >= 9
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(one["text"].strip() for one in page.all("caption"))
    for head in page.all("th"):
        assert head["scope"] == ("col" if "thead" in head["in"] else "row")


def test_every_figure_has_a_place_and_every_point_is_drawn(page, report, mixture):
    figures, (_, x, y) = figures_of(report), mixture
    assert sorted(figures) == sorted(one["data-figure"] for one in page.elements if "data-figure" in one)
    plane = figures["plane"]["data"]
    assert sum(len(trace["x"]) for trace in plane) == len(x)
    assert {trace["type"] for trace in plane} == {"scatter"}
    seen = {row[0]: row for trace in plane for row in trace["customdata"]}
    assert sorted(seen) == list(range(len(x)))
    np.testing.assert_allclose([seen[i][4:] for i in range(len(x))], x, rtol=1e-4)
    assert seen[0][3] == plotting.plotly_text(y[0])


def test_names_and_labels_are_text(page, report):
    text = report.read_text(encoding="utf-8")
    assert len(page.all("script")) == 3
    assert len(re.findall(r"<script\b", text.replace(plotly_offline.get_plotlyjs(), ""))) == 3
    assert not [one for one in page.elements if any(name.startswith("on") for name in one)]
    assert page.all("h1")[0]["text"] == EVIL
    assert page.all("title")[0]["text"] == EVIL
    assert any(one["text"] == EVIL for one in page.all("th"))
    assert "49" not in page.all("h1")[0]["text"]
    for name in ("plane", "pairs", "profile-map"):
        assert "<img" not in json.dumps(figures_of(report)[name])
    assert plotting.plotly_text("<b>&lt;%{x}") == "&lt;b&gt;&amp;lt;%&#123;x&#125;"


def test_what_the_page_says(page, mixture):
    estimator, x, _ = mixture
    sections = {one["id"]: re.sub(r"\s+", " ", one["text"]) for one in page.all("section")}
    assert "3 components" in sections["components"]
    for weight in estimator.weights_.tolist():
        assert cell_text(weight) in sections["components"]
    assert cell_text(estimator.score(x)) in sections["evidence"]
    assert "single flow" in sections["evidence"]
    assert "that the search held out" in sections["evidence"]
    heads = {one["text"] for one in page.all("th")}
    assert {str(number) for number in np.argsort(estimator.score_samples(x))[:15]} <= heads
    assert "The accuracy is 100.0 %" in sections["labels"]
    assert all(reason in sections["search"] for reason in estimator.history_.search.reasons)
    assert "covariance_type='diag', init_params='kmeans', n_components=3, random_state=0" in sections["repeat"]


def test_numbers_as_text():
    assert [cell_text(cell) for cell in (-1.5, 1234, 123456.7, 1e-9, float("nan"), None, "x" * 300)] == [
        "−1.5",
        "1,234",
        "123,457",
        "1e−09",
        "–",
        "–",
        "x" * 199 + "…",
    ]


def test_many_points_are_drawn_by_webgl_and_sampled(mixture, monkeypatch):
    estimator, x, _ = mixture
    monkeypatch.setattr(scatter, "WEBGL_ABOVE", 100)
    monkeypatch.setattr(scatter, "MOST_POINTS", 200)
    (figure,) = scatter.scatter_section(read_report_data(estimator, x, None, None)).figures
    assert {trace["type"] for trace in figure.traces} == {"scattergl"}
    assert sum(len(trace["x"]) for trace in figure.traces) == 200
    assert "A random sample of 200 of 300 rows" in figure.caption


HARD = {
    "one component, one column": (VMoNF(1, components="gaussian"), np.linspace(0, 1, 30)[:, None] ** 2),
    "a constant column": (VMoNF(2, components="gaussian"), np.c_[np.r_[np.zeros(20), np.ones(20)], np.full(40, 7.0)]),
    "great units": (VMoNF(2, components="gaussian"), made_rows(45)[0] * [1e150, 1e-150, 1]),
    "a few rows": (VMoNF(2), np.array([[0.0, 1.0], [1.0, 3.0], [9.0, 2.0]])),
}


@pytest.mark.parametrize("name", HARD)
@pytest.mark.filterwarnings("ignore")
def test_hard_rows(name, tmp_path):
    estimator, x = HARD[name]
    estimator.set_params(random_state=0, n_init=1, init_params="gmm-diag").fit(x)
    write_report(tmp_path / "report.html", estimator, x)
    assert len(figures_of(tmp_path / "report.html")["plane"]["data"]) >= 1


def test_a_classifier_with_missing_labels(tmp_path):
    x, y = made_rows(45)
    some = pd.Series(y).where(np.arange(len(y)) % 3 == 0, None)
    frame = pd.DataFrame(x, columns=["u", "v", "w"])
    classifier = VMoNFClassifier(components="gaussian", random_state=0).fit(frame, some)
    write_report(tmp_path / "report.html", classifier, frame, labels=some)
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "15 of 45 rows have a label" in text
    assert "component 1 (a)" in text


def test_modules_have_curves_where_a_history_is_given(mixture):
    estimator, x, _ = mixture
    own = VMoNF.from_modules(estimator.model_, estimator.guide_)
    data = read_report_data(own, x, None, None)
    assert "no history" in search_section(data).sentences[0]
    own.history_ = History([{"epoch": 0, "elbo": -2.0}, {"epoch": 1, "elbo": float("nan")}], [{"initializer": "gmm"}])
    section = search_section(data)
    assert [figure.traces[0]["y"] for figure in section.figures] == [[-2.0, None]]
    assert section.blocks[0].rows == [["1", "gmm"]]


def test_a_failed_report_leaves_nothing(mixture, tmp_path, monkeypatch):
    estimator, x, y = mixture
    path = tmp_path / "report.html"
    path.write_text("as it was")

    def fail(*arguments):
        raise OSError("no room")

    with pytest.raises(ValueError, match="names: expected 3 names"):
        write_report(path, estimator, x, names=["a"])
    with pytest.raises(ValueError, match="expected one label"):
        write_report(path, estimator, x, labels=y[:5])
    with pytest.raises(TypeError, match="estimator: expected a VMoNF"):
        write_report(path, object(), x)
    with pytest.raises(FileNotFoundError, match="path: expected a file in a folder that exists"):
        write_report(tmp_path / "nowhere" / "report.html", estimator, x)
    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="no room"):
        write_report(path, estimator, x)
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "as it was"


@pytest.mark.parametrize("name", ["jinja2", "plotly.offline"])
def test_missing_libraries_are_named(name, mixture, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"is not installed: pip install 'pyro-vmonf\[report\]'"):
        write_report(tmp_path / "report.html", *mixture[:2])


TAB, ENTER = "\ue004", "\ue007"
FOCUS = "const e = document.activeElement; return [e.tagName, e.className, e.id, getComputedStyle(e).outlineStyle]"


@pytest.mark.skipif(not headless_browser.IS_THERE, reason="no chromium and chromedriver")
def test_a_browser_draws_the_page(report, tmp_path):
    with headless_browser.Browser(390, 844, dark=True) as phone:
        phone.open(report)
        assert phone.complaints() == []
        assert phone.run("return window.broken") is None
        assert phone.run("return document.documentElement.scrollWidth") <= 390
        drawn = phone.run(
            "return [...document.querySelectorAll('.chart')].map(c => c.querySelectorAll('.trace').length)"
        )
        assert len(drawn) == len(figures_of(report))
        assert (
            phone.run("return performance.getEntriesByType('resource').filter(r => r.name.startsWith('http')).length")
            == 0
        )
        assert phone.run("return document.querySelectorAll('svg a[href], svg image[href^=http]').length") == 0
        words = phone.run("return document.querySelector('[data-figure=profile-map]').textContent")
        assert "</script>" in words  # the name as it is, not as a tag
        hover = "Plotly.Fx.hover(document.querySelector('[data-figure=plane]'), [{curveNumber: 0, pointNumber: 0}]);"
        shown = phone.run(f"{hover} return document.querySelector('.hoverlayer').textContent")
        assert "onerror='window.broken = 1'>%{x} {{ 7 * 7 }}: " in shown
        assert "log p(x): -" in shown
        assert phone.run("return document.querySelectorAll('.modebar [data-title*=hare]').length") == 0

        # The keyboard reaches the link to the content, the button and what is scrolled, and shows where it is.
        phone.press(TAB)
        assert phone.run(FOCUS)[1] == "skip"
        phone.press(TAB)
        tag, _, name, outline = phone.run(FOCUS)
        assert (tag, name, outline) == ("BUTTON", "theme", "solid")
        background = "return getComputedStyle(document.body).backgroundColor"
        text = "return document.querySelector('[data-figure=plane] .xtitle').style.fill"
        dark = phone.run(background), phone.run(text)
        phone.press(ENTER)
        light = phone.run(background), phone.run(text)
        assert dark[0] != light[0]
        assert dark[1] != light[1]
        reached = set()
        for _ in range(60):
            phone.press(TAB)
            reached.add(phone.run(FOCUS)[1])
        assert "scroll" in reached
        assert phone.complaints() == []


@pytest.mark.skipif(not headless_browser.IS_THERE, reason="no chromium and chromedriver")
def test_a_browser_draws_fifty_thousand_points(mixture, tmp_path):
    """Without a graphics card, and beside other tests, in thrice the five seconds that they should take at most."""
    estimator, x, _ = mixture
    path = tmp_path / "report.html"
    rows = np.tile(x, (167, 1))[:50_000] * np.random.default_rng(0).normal(1, 0.01, size=(50_000, 3))
    path.write_text(page_text("", "", [scatter.scatter_section(read_report_data(estimator, rows, None, None))]))
    with headless_browser.Browser(1280, 900) as screen:
        assert screen.open(path) < 15
        assert screen.complaints() == []
        assert screen.run("return document.querySelectorAll('.gl-canvas').length") > 0
        assert screen.run("return document.querySelector('.chart').data.reduce((n, t) => n + t.x.length, 0)") == 50_000
        colours = (
            "const c = document.createElement('canvas').getContext('2d'), g = document.querySelector('.gl-canvas');"
        )
        colours += "c.drawImage(g, 0, 0, 300, 150); return new Set(c.getImageData(0, 0, 300, 150).data).size"
        assert screen.run(colours) > 5  # it is not empty
