import base64
import io
import itertools
import re
import shutil
import subprocess
import sys
import time
import zipfile
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from axe_playwright_python.sync_playwright import Axe
from matplotlib.image import imread
from playwright.sync_api import expect

from analysis import figures, report, tables
from analysis.__main__ import main
from analysis.claims import catalogue
from analysis.claims.catalogue import CLAIMS, judge_all
from analysis.claims.verdicts import MEANINGS
from analysis.data.cell import Cell
from analysis.data.study import Study
from analysis.report import networks, provenance
from analysis.report.comparison import compare
from analysis.report.grids import NONE, Grid
from tests.browser import chromium
from tests.handmade import HandMade, config, solved
from tests.simulated import Simulated
from tsrnn.io.schemas import EPOCHS, HEADS, OUTCOMES, PERTURBATION, RUNS, SOLVED
from tsrnn.io.store import Store, schema

ROOT = Path(__file__).resolve().parents[3]
CELLS = [
    *(Cell(task, curriculum) for task in ("parity", "dms") for curriculum in ("single", "multi")),
    *(Cell(curriculum=name, tau=tau) for name in ("single", "multi") for tau in ("1", "2")),
    Cell(curriculum="none-5"),
    Cell(curriculum="multi", architecture="lstm"),
    Cell(curriculum="multi", weight_decay=1e-4),
]
NETWORKS = 2 * len(CELLS)


class Page(HTMLParser):
    """What a page refers to, and how it is built."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag: str, attribute: str) -> list[str]:
        return [attributes[attribute] for name, attributes in self.tags if name == tag and attribute in attributes]

    @cached_property
    def words(self) -> str:
        return " ".join(" ".join(self.text).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A report of a study with a name that HTML must not believe, and its file."""
    folder = tmp_path_factory.mktemp("study")
    results = Simulated(True, replicates=2, cells=CELLS).write(folder / "results" / "<b>all & 100%")
    path, contents = report.write(Study(results.parent), folder / "report")
    return path, contents


@pytest.fixture(scope="module")
def page(made):
    return Page(made[0].read_text())


def test_it_says_which_code_trained(tmp_path):
    made = HandMade(tmp_path / "sweep")
    for seed, (began, ended) in enumerate([("01", "01"), ("01", "01"), ("01", "23"), ("", "23")]):
        run = config(seed=seed)
        key = made.add(run)
        for table, code in ((RUNS, began), (OUTCOMES, ended)):
            (row,) = made.store.read(table, key)
            made.store.write(table, key, [row | {"code": code or None, "commit": code and 40 * "c"}])
    said = provenance.versions(Study(made.folder))
    assert [line for line in said if "code" in line] == [
        "2 networks trained with code 01 (commit cccccccccc)",
        "2 networks trained with code 23 (commit cccccccccc)",
        "1 networks ended with different code than they began with",
    ]


class TestPage:
    def test_one_file_that_refers_to_nothing_but_the_tables(self, made, page):
        path, _ = made
        assert [file.name for file in path.parent.iterdir()] == ["index.html"]
        assert all(source.startswith("data:") for source in page.all("img", "src"))
        assert not page.all("script", "src")
        links = [link for link in page.all("a", "href") if not link.startswith("#")]
        assert len(links) > 5
        for link in links:
            assert not link.startswith(("http", "/", "file:"))
            assert list((path.parent / unquote(link)).glob("*.parquet")), link
        assert "http" not in re.sub(
            r"http://www\.w3\.org/\S+|https://arxiv\S+", "", path.read_text().split("</style>")[1]
        )

    def test_every_section_is_there_and_named(self, page):
        ids = {attributes.get("id") for tag, attributes in page.tags if tag == "h2"}
        assert {
            "glance",
            "max-n",
            "claims",
            "figures",
            "networks",
            "deviations",
            "machine",
            "versions",
            "tables",
        } <= ids
        labelled = page.all("section", "aria-labelledby")
        assert set(labelled) <= ids
        assert {tag for tag, _ in page.tags} >= {"header", "nav", "main", "footer"}
        anchors = [link[1:] for link in page.all("a", "href") if link.startswith("#")]
        assert set(anchors) <= {attributes.get("id") for _, attributes in page.tags}

    def test_every_figure_is_drawn_or_says_why_not(self, made, page):
        _, contents = made
        assert [figure.id for figure in contents.figures] == list(figures.FIGURES)
        assert not contents.failed
        for figure in contents.figures:
            assert bool(figure.missing) != bool(figure.image or figure.rows)
            assert figure.missing or figure.caption
            assert figure.query
        drawn = [figure for figure in contents.figures if figure.image]
        assert drawn
        # Figure 4a opens the page.
        assert page.all("img", "src") == [f.image for f in sorted(drawn, key=lambda figure: figure.id != "4a")]
        places = [attributes["id"] for _, attributes in page.tags if attributes.get("id", "").startswith("figure-")]
        assert sorted(places) == sorted(f"figure-{id}" for id in figures.FIGURES)
        assert all(len(text) > 30 for text in page.all("img", "alt"))

    def test_letters_of_figures_are_at_least_nine_pixels_high(self, made):
        """A point is 4/3 pixels; the page shows figures at their own size or larger (`test_in_a_browser`)."""
        for figure in made[1].figures:
            if figure.image:
                svg = base64.b64decode(figure.image.split(",")[1]).decode()
                points = [100 * float(scale) for scale in re.findall(r"scale\((0\.\d+) -0\.\d+\)", svg)]
                assert min(points) * 4 / 3 > 9, figure.id
                assert "scale(0.7)" not in svg, f"{figure.id} has a subscript, which is smaller"

    def test_what_is_not_drawn_is_one_list_of_commands(self, made, page):
        _, contents = made
        missing = {figure.id: figure.missing for figure in contents.figures if figure.missing}
        commands = {one.command: [figure.id for figure in one.figures] for one in contents.waiting}
        assert sorted(itertools.chain(*commands.values())) == sorted(missing)
        assert len(commands) < len(missing)
        for command, ids in commands.items():
            assert command in page.words
            assert command.startswith("python ")
            assert all(missing[id].endswith(f": {command}") for id in ids)
        assert all("To " not in one.why for one in contents.waiting)
        assert page.words.count("Not drawn") == 1

    def test_it_opens_with_the_verdicts(self, made, page):
        _, contents = made
        rows = contents.claims
        assert len(contents.sentences) == 3
        assert all(sentence in page.words for sentence in contents.sentences)
        for name, count in contents.counts.items():
            assert f"{count} {name}" in page.words
            assert count == sum(claim["verdict"] == name for claim in rows)
        # A square a verdict, by figure, and each figure leads to its claims.
        strip = re.search(r'<ul class="strip".*?</ul>', made[0].read_text(), re.DOTALL).group()
        signs = [re.findall(r"<i [^>]*>(.)</i>", part) for part in strip.split("<li>")[1:]]
        by_figure = {}
        for claim in rows:
            by_figure.setdefault(claim["figure"], []).append(claim["sign"])
        assert signs == list(by_figure.values())
        places = [list(figures.FIGURES).index(id) for group in contents.groups for id in group.figures[:1]]
        assert places == sorted(places)
        links = re.findall(r'href="#([^"]+)"', strip)
        assert len(links) == len(by_figure)
        assert set(links) <= {attributes.get("id") for _, attributes in page.tags}

    def test_that_intervals_of_few_are_narrow_is_said_once(self, page):
        assert page.words.count("80 % of cases") == 1
        assert page.words.count("95 % intervals") > 3

    def test_headers_of_tables(self, page):
        assert all(
            attributes.get("scope") in ("col", "row", "rowgroup") for tag, attributes in page.tags if tag == "th"
        )
        assert page.all("table", "class").count("sorts") >= 6

    def test_numbers_stand_in_columns_of_numbers(self, made):
        grids = [part for part in vars(made[1]).values() if isinstance(part, Grid)]
        grids += [figure.rows for figure in made[1].figures if figure.rows]
        assert len(grids) >= 6
        for grid in grids:
            for row in grid.rows:
                numbers = [cell.value is not None or cell.text == NONE for cell in row]
                assert numbers == [
                    column.number or cell.text == NONE for column, cell in zip(grid.columns, row, strict=True)
                ]

    def test_claims_are_said_in_the_words_of_the_console(self, made):
        """The page and the console have the same verdicts, numbers and reasons, word for word."""
        page, contents = Page(made[0].read_text()), made[1]
        for claim in contents.claims:
            for line in tables.claim_lines(claim):
                assert " ".join(line.split()) in page.words
        for line in MEANINGS:
            assert line in page.words

    def test_a_claim_is_a_line_with_its_numbers(self, made, page):
        rows = re.findall(r'<tr role="row" class="claim".*?</tr>', made[0].read_text(), re.DOTALL)
        assert len(rows) == len(made[1].claims)
        for row, claim in zip(rows, made[1].claims, strict=True):
            words = Page(row).words
            assert f"{claim['sign']} {claim['verdict']}" in words
            wanted = [f"{claim[name]:.3g}" for name in ("estimate", "low", "high")]
            wanted += [f"{claim[name]:.2g}" for name in ("p", "p_holm")]
            assert all(text.replace("inf", "∞") in words for text in wanted if text != "nan")

    def test_numbers_are_those_of_the_measures(self, made, page):
        _, contents = made
        cells = {tuple(cell.text for cell in row[:3]): row for row in contents.max_n.rows}
        column = [column.label for column in contents.max_n.columns].index("mean N")
        study = Simulated(True, replicates=2, cells=CELLS).networks
        for curriculum in ("single", "multi"):
            own = study[(study["task"] == "dms") & (study["curriculum"] == curriculum)]
            assert float(cells["dms", curriculum, "trained"][column].text) == own["max_n"].mean()
        assert {row[-1].text for row in contents.max_n.rows} == {NONE, "LSTM", "weight decay 0.0001"}
        assert len(contents.claims) == len(CLAIMS)
        assert len(contents.networks.rows) == NETWORKS
        assert f"{NETWORKS} networks, {NETWORKS} of them finished." in page.words
        assert "H = 500, sgd 0.05, momentum 0.1" in page.words

    def test_learning_curves(self, made):
        _, contents = made
        study = Simulated(True, replicates=2, cells=CELLS)
        rows = study.load(EPOCHS)
        assert set(contents.curves) == set(rows["network_id"])
        network_id = rows["network_id"].iloc[0]
        own = rows[rows["network_id"] == network_id]
        assert contents.curves[network_id]["epoch"] == own["epoch"].tolist()
        assert contents.curves[network_id]["n"] == own["n_max"].tolist()
        assert contents.curves[network_id]["tau"] == [None] * len(own)

    def test_pages_of_networks_have_the_numbers_of_the_tables(self, made):
        study = Simulated(True, replicates=2, cells=CELLS)
        pages = made[1].pages
        solved = study.load(SOLVED)
        solved = solved[solved["tau_mean"].notna()]
        assert {key for key, page in pages.items() if page["taus"]} == set(solved["network_id"])
        for key in list(pages)[:6]:
            (mean,) = (part for part in pages[key]["taus"] if part["words"].startswith("mean of tau over"))
            own = solved[solved["network_id"] == key].sort_values("n")
            assert mean["n"] == own["n"].tolist()
            assert mean["values"] == pytest.approx(own["tau_mean"].tolist(), abs=5e-4)
        perturbed = study.load(PERTURBATION)
        key = perturbed["network_id"].iloc[0]
        (part,) = (part for part in pages[key]["hurt"] if part["words"] == "relative accuracy after a perturbation")
        own = perturbed[perturbed["network_id"] == key]
        means = own.groupby(["n", "perturbed", "perturbation"])["relative_accuracy"].mean().reset_index()
        assert part["columns"] == ["N", "perturbed", "relative norm", "relative accuracy"]
        assert [list(row) for row in part["rows"]] == [
            [n, what, strength, pytest.approx(value, abs=5e-4)]
            for n, what, strength, value in means.to_numpy().tolist()
        ]

    def test_deviations_are_those_of_the_record(self, page):
        assert "how to switch" in page.words
        assert 'TrainedTau(constraint="clamp_forward")' in page.words
        assert "Deviations that cannot be switched" in page.words
        assert "What was checked" not in page.words

    def test_text_is_legible(self):
        """WCAG AA: 4.5 to 1 for text, in the light and in the dark."""
        css = (ROOT / "analysis" / "report" / "page.css").read_text()
        light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
        for mode in (light, dark):
            colours = dict(re.findall(r"--(\w+): (#\w{6})", mode))
            for text, ground in itertools.product(
                ("text", "muted", "link", "good", "bad", "unsure", "none"), ("page", "card")
            ):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
            for line in ("focus", "curve", "second"):
                assert contrast(colours[line], colours["page"]) >= 3


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


class TestComparison:
    def test_both_verdicts_on_every_claim(self, tmp_path, capsys, monkeypatch):
        """Of a study in which the paper's claims are true and one in which none is, and of one beside itself."""
        cells = [Cell(curriculum=name, tau=tau) for name in ("single", "multi") for tau in ("1", "trained")]
        for name, true in (("true", True), ("<b>false", False)):
            Simulated(true, replicates=4, cells=cells, analysed=False).write(tmp_path / name / "curricula")
        first, second = (Study(tmp_path / name) for name in ("true", "<b>false"))
        monkeypatch.setattr(catalogue, "judge_all", cache(judge_all))
        shown: list[report.Comparison] = []
        monkeypatch.setattr(report, "compare", lambda *studies: shown.append(compare(*studies)) or shown[-1])
        assert main(["report", str(first.folder), str(second.folder), "--out", str(tmp_path / "out")]) == 0
        path = tmp_path / "out" / "index.html"
        assert capsys.readouterr().out.strip() == str(path)
        page = Page(path.read_text())
        assert "B: <b>false" in page.words  # as text
        assert not page.all("script", "src")
        (compared,) = shown
        pairs = [pair for group in compared.groups for pair in group.pairs]
        judged = [catalogue.judge_all(study).set_index("id") for study in (first, second)]
        assert len(pairs) == len(CLAIMS)
        for pair in pairs:
            for one, frame in zip(pair.both, judged, strict=True):
                assert one["verdict"] == frame.loc[one["id"], "verdict"]
                if one["verdict"] != "not run":
                    assert f"{one['size']} {one['unit']}" in page.words
        (order,) = (pair for pair in pairs if pair.both[0]["id"] == "3b-order")
        assert [one["verdict"] for one in order.both] == ["reproduced", "contradicted"]
        assert order.kind == "other verdict"
        neither = (judged[0]["verdict"] == "not run") & (judged[1]["verdict"] == "not run")
        assert compared.counts["not run in either"] == neither.sum() > 0
        assert set(compare(first, first).counts.items()) >= {("other verdict", 0), ("in one study only", 0)}

    def test_trainings_that_both_have_are_beside_each_other(self, tmp_path, monkeypatch):
        cells = [Cell(curriculum=name) for name in ("single", "multi")]
        for name, sizes in (("a", (500, 300)), ("b", (300, 200))):
            for hidden in sizes:
                own = Simulated(True, replicates=4, cells=cells, hidden=hidden, analysed=False)
                own.write(tmp_path / name / f"curricula-{hidden}")
        (order,) = (claim for claim in CLAIMS if claim.id == "3b-order")
        monkeypatch.setattr(catalogue, "judge_all", lambda study: judge_all(study, [order]))
        compared = compare(Study(tmp_path / "a"), Study(tmp_path / "b"))
        pairs = [pair for group in compared.groups for pair in group.pairs]
        parts = [tuple(one["part"].split(",")[0] for one in pair.both) for pair in pairs]
        assert parts == [("H = 300", "H = 300"), ("H = 500", "H = 200")]


class TestPartialResults:
    def test_a_sweep_that_has_only_begun(self, tmp_path):
        Store(tmp_path / "fixed_tau").create()
        path, contents = report.write(Study(tmp_path / "fixed_tau"), tmp_path / "out.html")
        assert path == tmp_path / "out.html"
        assert not contents.failed
        assert all(figure.missing for figure in contents.figures)
        assert contents.counts["not run"] == len(CLAIMS)

    def test_one_network_that_is_running(self, tmp_path, capsys):
        """The command says where the page is; its status says that no figure failed."""
        made = HandMade(tmp_path / "results" / "fixed_tau")
        made.add(config(), [solved(2, 1), solved(3, 4)], status="")
        assert main(["report", str(tmp_path / "results"), "--out", str(tmp_path / "report")]) == 0
        path = tmp_path / "report" / "index.html"
        assert capsys.readouterr().out.strip() == str(path)
        assert "1 network, 0 of them finished" in Page(path.read_text()).words

    def test_one_curriculum_only(self, tmp_path):
        Simulated(True, replicates=1, cells=[Cell()]).write(tmp_path / "curricula")
        _, contents = report.write(Study(tmp_path), tmp_path / "report")
        assert not contents.failed

    def test_what_is_to_be_measured_is_where_the_checkpoints_are(self, tmp_path):
        HandMade(tmp_path / "architectures").add(config("multi"), epochs=0, status="")
        HandMade(tmp_path / "curricula").add(config("multi"), [solved(2, 1), solved(3, 4)])
        figure = figures.build(Study(tmp_path), "5b")
        assert figure.missing.endswith(f"python -m analysis timescales {tmp_path / 'curricula'}")

    def test_long_curves_are_thinned_and_keep_their_ends(self, tmp_path):
        made = HandMade(tmp_path / "fixed_tau")
        key = made.add(config(), accuracies=list(np.linspace(0.5, 1.0, 1000)))
        thinned, curves = networks.curves(Study(tmp_path))
        curve = curves[key]
        assert thinned == len(curve["epoch"]) == 120
        assert (curve["epoch"][0], curve["epoch"][-1]) == (1, 1000)
        assert (curve["accuracy"][0], curve["accuracy"][-1]) == (0.5, 1.0)


class TestCommand:
    def test_a_figure_that_fails_costs_no_other(self, tmp_path, capsys, monkeypatch):
        def fails(study):
            raise ZeroDivisionError("by nothing")

        monkeypatch.setattr(figures, "FIGURES", dict(figures.FIGURES) | {"3a": fails})
        HandMade(tmp_path / "fixed_tau").add(config(), [solved(2, 1)])
        assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 1
        # On a busy machine lines of progress come before it.
        assert capsys.readouterr().err.splitlines()[-1] == "failed: figure 3a: ZeroDivisionError: by nothing"
        page = Page((tmp_path / "r.html").read_text())
        assert "ZeroDivisionError: by nothing" in page.words
        assert page.all("img", "src")

    def test_errors_are_one_line(self, tmp_path, capsys):
        assert main(["report", str(tmp_path / "nowhere")]) == 1
        HandMade(tmp_path / "fixed_tau")
        (tmp_path / "file").write_text("")
        assert main(["report", str(tmp_path), "--out", str(tmp_path / "file")]) == 1
        nowhere, file = capsys.readouterr().err.splitlines()
        assert "nowhere is not a folder" in nowhere
        assert "cannot write" in file


def eventually(page, expression: str, wanted: object) -> None:
    """Assert that a JavaScript expression has this value within ten seconds: a page handles events asynchronously."""
    ends = time.monotonic() + 10
    while (found := page.evaluate(expression)) != wanted and time.monotonic() < ends:
        page.wait_for_timeout(20)
    assert found == wanted


def test_in_a_browser(made):
    """One test, since starting a browser takes longer than what is asked of it."""
    path, contents = made
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
        said, asked = [], []
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())

        images = page.eval_on_selector_all("figure img", "all => all.map(i => [i.complete, i.naturalWidth])")
        assert len(images) == sum(bool(figure.image) for figure in contents.figures)
        assert all(complete and width > 100 for complete, width in images)
        assert {url.split(":")[0] for url in asked} <= {"file", "data"}

        # A table sorts on click, and by keyboard.
        header = page.locator("#networks ~ .scroll th", has_text="max N")
        rows = "document.querySelectorAll('#networks ~ .scroll tbody tr')"
        cells = f"[...{rows}].map(row => Number(row.cells[6].innerText))"
        before = page.evaluate(cells)
        header.locator("button").click()
        assert sorted(before) != before
        eventually(page, cells, sorted(before))
        expect(header).to_have_attribute("aria-sort", "ascending")
        header.locator("button").focus()
        page.keyboard.press("Enter")
        eventually(page, cells, sorted(before, reverse=True))
        expect(header).to_have_attribute("aria-sort", "descending")

        # Claims: what was not run is listed on request; filters and search; from a claim to its figure and back.
        count = "[...document.querySelectorAll('tr.claim')].filter(row => row.checkVisibility()).length"
        number = len(contents.claims)
        eventually(page, count, number - contents.counts["not run"])
        page.locator("#filters [data-verdict='not run']").focus()
        page.keyboard.press("Space")
        eventually(page, count, number)
        expect(page.locator("#filters output")).to_have_text(f"{number} of {number} shown")
        page.locator("#filters [data-filter='task']").select_option("dms")
        eventually(page, count, sum("dms" in claim["task"] for claim in contents.claims))
        page.locator("#filters [type='search']").fill("larger DMS single-head than")
        found = page.locator(
            "tr.claim:visible", has_text="Single-head networks solve a larger N in DMS than in parity."
        )
        expect(found).not_to_have_count(0)
        page.goto(f"{path.as_uri()}#claims-S18")
        eventually(page, count, number)
        expect(page.locator("#claims-S18")).to_be_visible()
        page.locator("#claims-4a .group a").click()
        eventually(page, "document.getElementById('figure-4a').getBoundingClientRect().top < 900", True)
        page.locator("#figure-4a .back a").click()
        eventually(page, "location.hash", "#claims-4a")
        assert page.evaluate("getComputedStyle(document.querySelector('.claims').parentElement).overflowY") == "visible"

        # A figure is enlarged, by keyboard too.
        dialog, image = page.locator("dialog"), page.locator("dialog img")
        page.locator(".zoom").first.focus()
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
        fits = image.bounding_box()["width"]
        page.keyboard.press("+")
        width = "document.querySelector('dialog img').getBoundingClientRect().width"
        eventually(page, f"Math.abs({width} / {1.5 * fits} - 1) < 0.01", True)
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()
        eventually(page, "document.activeElement.className", "zoom")

        # Downloads, and a query to copy.
        for form, start in (("PNG", b"\x89PNG"), ("SVG", b"<?xml"), ("CSV", b"task,curriculum,tau,")):
            with page.expect_download() as download:
                page.get_by_role("button", name=f"Download Figure 4a as {form}").click()
            saved = Path(download.value.path()).read_bytes()
            assert download.value.suggested_filename == f"4a.{form.lower()}"
            assert saved.startswith(start)
        own = pd.read_csv(io.BytesIO(saved)).set_index("network_id")["max_n"]
        networks = Simulated(True, replicates=2, cells=CELLS).networks.set_index("network_id")["max_n"]
        assert dict(own) == dict(networks[own.index])
        assert len(own) >= 12
        page.locator("#figure-4a summary").click()
        page.get_by_role("button", name="Copy the query of Figure 4a").click()
        expect(page.locator("#figure-4a .copy")).to_have_text("Copied")
        page.evaluate("document.querySelector('#filters input').value = ''")
        page.locator("#filters [type='search']").focus()
        page.keyboard.press("Control+v")
        expect(page.locator("#filters [type='search']")).to_have_value(re.compile("^from pathlib import Path"))

        # A network's page opens on click, by keyboard, and by its address; it has the curve, taus and interventions.
        network = page.locator("[data-network]").first
        network.click()
        key = network.get_attribute("data-network")
        eventually(page, "location.hash", f"#network-{key}")
        # Accuracy, mean over heads and N (the study's epochs have no taus), and a panel for each quantity against N.
        taus = contents.pages[key]["taus"]
        expect(page.locator("dialog svg path.curve-line")).to_have_count(3 + len(taus))
        expect(page.locator("dialog h2")).to_contain_text(key)
        page.locator("dialog [data-close]").click()
        eventually(page, "location.hash", "")
        hurt = next(key for key, own in contents.pages.items() if len(own["hurt"]) == 5)
        page.goto(f"{path.as_uri()}#network-{hurt}")
        expect(page.locator("dialog table")).to_have_count(5)
        rows = page.locator("dialog table").first.locator("tbody tr")
        expect(rows).to_have_count(len(contents.pages[hurt]["hurt"][0]["rows"]))
        page.keyboard.press("Escape")
        expect(dialog).not_to_be_visible()
        page.locator("[data-network]").nth(1).focus()
        page.keyboard.press("Enter")
        expect(dialog).to_be_visible()
        page.keyboard.press("Escape")

        # Dark mode follows the system.
        ground = "getComputedStyle(document.body).backgroundColor"
        assert page.evaluate(ground) == "rgb(255, 255, 255)"
        page.emulate_media(color_scheme="dark")
        eventually(page, ground, "rgb(20, 23, 27)")
        # Figures have no white ground then, and keep their hues: single-head is orange, multi-head is blue.
        shot = imread(io.BytesIO(page.locator("#figure-4a img").screenshot()))
        pixels = (255 * shot[..., :3]).reshape(-1, 3).astype(int)
        assert (pixels.max(axis=1) < 60).mean() > 0.5
        red, green, blue = pixels.T
        assert ((red > green + 60) & (green > blue + 30)).sum() > 100
        assert ((blue > green + 20) & (green > red + 60)).sum() > 100

        # Nothing scrolls sideways on a telephone; print shows all there is of a table.
        page.set_viewport_size({"width": 390, "height": 700})
        eventually(page, "document.documentElement.scrollWidth", 390)
        # The numbers of a claim stand beside each other.
        page.locator("#filters [type='reset']").click()
        beyond = "cell => cell.checkVisibility() && (cell.scrollWidth > cell.clientWidth + 1 || cell.clientHeight > 60)"
        assert page.evaluate("document.querySelectorAll('tr.claim .number').length") > 100
        eventually(page, f"[...document.querySelectorAll('tr.claim .number')].filter({beyond}).length", 0)
        # Letters of figures are as large as they are meant: 9 points.
        sizes = page.eval_on_selector_all(
            "figure img", "all => all.map(i => [i.clientWidth, Number(i.getAttribute('width'))])"
        )
        assert all(shown >= meant for shown, meant in sizes)
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 718, "height": 1047})  # A4 within margins of a centimetre
        eventually(page, "document.documentElement.scrollWidth", 718)
        expect(page.locator("nav")).not_to_be_visible()
        whole = "[...document.querySelectorAll('.tall')].every(d => d.scrollHeight <= d.clientHeight + 1)"
        eventually(page, whole, True)
        assert said == []


@pytest.mark.parametrize("width", [1400, 390])
def test_axe_finds_nothing_serious(made, width):
    """axe-core checks WCAG's rules that a program can check: of the page, of all that it hides, of an open network."""
    path, contents = made
    hurt = next(key for key, own in contents.pages.items() if len(own["hurt"]) == 5)
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme="light")
        page.goto(path.as_uri())
        # All else that is shown has the same colours when everything is.
        assert serious(page, in_the_dark="#filters, summary") == []
        page.evaluate("document.querySelectorAll('details').forEach(details => { details.open = true; })")
        page.locator("#filters [type='reset']").click()
        assert serious(page) == []
        page.goto(f"{path.as_uri()}#network-{hurt}")
        expect(page.locator("dialog table")).to_have_count(5)
        assert serious(page) == []


def serious(page, in_the_dark: str = "html") -> list[tuple[str, str, str]]:
    """Return what axe calls serious or critical: the rule, its impact and the first element that breaks it.

    In the dark everything is shown in the same size, so that only the rules of colours are asked again.
    """
    ground = "getComputedStyle(document.body).backgroundColor"
    # The contents mark in bold letters where the reader is, and axe scrolls.
    box = "e => [e.checkVisibility(), e.getBoundingClientRect().width, e.getBoundingClientRect().height].join()"
    boxes = f"[...document.querySelectorAll('body *:not(nav *)')].map({box})"
    found = Axe().run(page).response
    assert len(found["passes"]) > 20
    light = page.evaluate(boxes)
    page.emulate_media(color_scheme="dark")
    eventually(page, ground, "rgb(20, 23, 27)")
    assert page.evaluate(boxes) == light
    colours = ["color-contrast", "link-in-text-block"]
    dark = Axe().run(page, in_the_dark, {"resultTypes": ["violations"], "runOnly": colours}).response
    assert "color-contrast" in [one["id"] for one in dark["passes"]]
    page.emulate_media(color_scheme="light")
    eventually(page, ground, "rgb(255, 255, 255)")
    return [
        (one["id"], one["impact"], one["nodes"][0]["html"])
        for one in (*found["violations"], *dark["violations"])
        if one["impact"] in ("serious", "critical")
    ]


@pytest.mark.slow
def test_two_hundred_networks_of_a_thousand_epochs(tmp_path):
    """A report of the paper's size takes less than a minute and ten megabytes."""
    study = Simulated(True, replicates=10, cells=[*CELLS, *(Cell(curriculum=f"sliding-{w}") for w in (3, 5)), *EXTRA])
    folder = study.write(tmp_path / "results" / "all")
    networks = study.networks
    assert len(networks) == 200
    (folder / "epochs" / "all.parquet").unlink()
    (folder / "heads" / "all.parquet").unlink()
    rng = np.random.default_rng(0)
    epoch = np.arange(1, 1001)
    for network_id, curriculum in zip(networks["network_id"], networks["curriculum"], strict=True):
        n = np.minimum(2 + epoch // 10, 101)
        columns = {column.name: rng.random(1000) for column in EPOCHS.columns}
        columns |= {"network_id": [network_id] * 1000, "epoch": epoch, "n_min": np.full(1000, 2), "n_max": n}
        columns |= {"steps": epoch * 600, "tau_mean": 1 + rng.random(1000)}
        pq.write_table(pa.table(columns, schema=schema(EPOCHS)), folder / "epochs" / f"{network_id}.parquet")
        if curriculum == "multi":
            heads = {"epoch": np.repeat(epoch, n - 1), "n": np.concatenate([np.arange(2, last + 1) for last in n])}
            heads |= {"network_id": [network_id] * len(heads["n"]), "accuracy": rng.random(len(heads["n"]))}
            pq.write_table(pa.table(heads, schema=schema(HEADS)), folder / "heads" / f"{network_id}.parquet")
    # Processor time: the same on a machine that others use. It computes in one thread.
    began, clock = time.process_time(), time.perf_counter()
    path, contents = report.write(Study(folder.parent), tmp_path / "report")
    took, wall = time.process_time() - began, time.perf_counter() - clock
    size = path.stat().st_size / 1e6
    drawn = sum(bool(figure.image) for figure in contents.figures)
    print(f"{took:.1f} s ({wall:.1f} s by the clock), {size:.1f} MB, {drawn} figures drawn")
    assert not contents.failed
    assert took < 60
    assert size < 10


EXTRA = [
    Cell(curriculum="all-20"),
    *(Cell(curriculum=name, k=str(k)) for name in ("single", "multi") for k in (2, 3)),
    *(Cell(curriculum=f"none-{n}") for n in (10, 20)),
]


@pytest.mark.slow
def test_an_installed_package_has_the_page_and_the_deviations(tmp_path):
    source = tmp_path / "source"
    # Not the repository itself: building would leave files in it.
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "results*", "*.egg-info", "__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(tmp_path), str(source)]
    subprocess.run(command, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    parts = {"page.base.jinja", "page.html.jinja", "page.comparison.jinja", "page.macros.jinja"}
    parts |= {"page.css", "page.js", "page.networks.js"}
    assert parts <= {name.removeprefix("analysis/report/") for name in names}
    assert "analysis/claims/effects.toml" in names
    assert any(name.endswith("data/share/tsrnn/fidelity.md") for name in names)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--ignore-installed"]
    subprocess.run([*install, "--prefix", str(tmp_path / "installed"), str(wheel)], check=True)
    (site,) = tmp_path.glob("installed/lib/python*/site-packages")
    code = "import analysis.report as r; print(r.__file__); print(r.deviations()[:60])"
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.startswith(str(site))
    assert "<h3>Settings</h3>" in found.stdout
