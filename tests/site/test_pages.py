"""Every page of the built site, read without a browser: so as it is with JavaScript off."""

import json
import re
from pathlib import Path

import pytest
import site_checks

CHAPTERS = Path(__file__).parents[2] / "chapters"


@pytest.fixture
def path(site, page_name):
    return site / page_name


@pytest.mark.parametrize(
    "check",
    [
        site_checks.maths,
        site_checks.alternatives,
        site_checks.names,
        site_checks.folds,
        site_checks.outside,
    ],
)
def test_page_has_no_fault(path, check):
    assert check(site_checks.page(path)) == []


def test_links_and_anchors_resolve(path, site):
    assert site_checks.links(path, site) == []


def test_page_describes_itself(path):
    soup = site_checks.page(path)
    assert soup.title.get_text(strip=True)
    assert soup.html.get("lang")
    assert soup.select_one('meta[name="viewport"]')


def test_style_sheets_fetch_nothing_from_elsewhere(site):
    faults = [
        f"{path.name}: {found}"
        for path in site.rglob("*.css")
        for found in re.findall(
            r"(?:url\(|@import)\s*[\"']?(?:https?:)?//[^)\"']*", path.read_text(encoding="utf-8")
        )
    ]
    assert faults == []


def test_formulas_are_there(site):
    pages = [site_checks.page(site / name) for name in ("site/pages/notation.html", "intro.html")]
    assert pages[0].select(".katex .katex-mathml math")
    assert all(soup.select_one("h1") for soup in pages)


def test_names_in_code_lead_to_the_reference(site):
    soup = site_checks.page(site / "chapters/01_why_normalize.html")
    found = {link.get_text(): link["href"].partition("#")[2] for link in soup.select("a.code-link")}
    assert found["training.train"] == "norms.experiments.training.train"  # of a module
    assert found["check_backward"] == "norms.gradcheck.check_backward"  # by its own name
    assert found["models.MLP"] == "norms.experiments.models.nets.MLP"  # of a package
    assert "torch.stack" not in found


def test_a_sealed_fold_holds_figure_and_finding(site):
    soup = site_checks.page(site / "chapters/01_why_normalize.html")
    sealed = soup.select("details.sealed")
    assert len(sealed) == 6
    figures = [figure for figure in soup.select("figure") if figure.find_parent("details")]
    assert len(figures) == 5
    for fold in sealed:
        assert not fold.has_attr("open")
        assert not fold.select("h1, h2, h3, section")
        assert fold.select("figure") or fold.select(".cell_output")


def test_the_front_page_tells_every_condition(site):
    text = " ".join(site_checks.page(site / "intro.html").get_text().split())
    mime = "application/vnd.norms.evidence+json"
    notebooks = [json.loads(p.read_text("utf-8")) for p in CHAPTERS.glob("*.ipynb")]
    outputs = [o for n in notebooks for c in n["cells"] for o in c.get("outputs", [])]
    found = [o["data"][mime] for o in outputs if mime in o.get("data", {})]
    assert {entry["verdict"] for entry in found if entry["condition"]} > {"holds if"}
    for entry in found:
        assert entry["condition"][:40] in text, entry["id"]
