"""Every page of the built site, read without a browser: so as it is with JavaScript off."""

import json
import re
import zipfile
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


NOTEBOOKS = sorted(path.stem for path in CHAPTERS.glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS)
def chapter(site, request):
    return site_checks.page(site / "chapters" / f"{request.param}.html")


def test_a_sealed_fold_is_closed_and_whole(chapter):
    sealed = chapter.select("details.sealed")
    asked = [b for b in chapter.select("strong") if re.match(r"Predict.*[.:]$", b.get_text())]
    assert len(sealed) >= len(asked) > 0
    for fold in sealed:
        assert not fold.has_attr("open")
        assert not fold.select("h1, h2, h3, section")
        assert len(fold.get_text().split()) > 15


def test_no_sealed_number_is_seen_with_all_folds_closed(chapter):
    assert site_checks.leaks(chapter, chapter) == []


def test_the_front_page_leaks_no_sealed_number(site, chapter):
    assert site_checks.leaks(site_checks.page(site / "intro.html"), chapter) == []


@pytest.mark.parametrize("table", ["intro.html", "site/pages/teach.html"])
def test_no_page_is_missing_where_the_times_are(site, table):
    links = site_checks.page(site / table).select("table a[href]")
    assert {Path(a["href"].partition("#")[0]).stem for a in links} >= {*NOTEBOOKS}


def test_a_solution_is_folded_and_its_signature_and_check_are_not(site):
    soup = site_checks.page(site / "chapters/02_batch_norm.html")
    folds = soup.select("details.solution")
    assert len(folds) >= 3
    for fold in folds:
        assert not fold.has_attr("open")
        assert "# yours" in fold.find_previous("pre").get_text()
    seen = [pre.get_text() for pre in soup.select("pre") if not pre.find_parent("details")]
    assert any("def backward(dy, cache)" in code for code in seen)
    assert any("check_backward(forward, backward" in code for code in seen)
    assert "BEGIN SOLUTION" not in soup.get_text()


def test_the_buttons_open_the_practice_version(site):
    soup = site_checks.page(site / "chapters/02_batch_norm.html")
    opened = [a["href"] for a in soup.select("a[href]") if re.search("colab|binder", a["href"])]
    assert len(opened) == 2
    assert all(address.endswith("/practice/02_batch_norm.ipynb") for address in opened)
    (download,) = soup.select("a.btn-download-source-button")
    notebook = (site / "chapters" / download["href"]).resolve().read_text("utf-8")
    assert "NotImplementedError" in notebook
    assert not any(cell.get("outputs") for cell in json.loads(notebook)["cells"])


def test_an_assignment_comes_with_all_it_needs_and_no_solution(site):
    soup = site_checks.page(site / "site/pages/assignments.html")
    links = [a["href"] for a in soup.select("a[download]")]
    stored = {p.stem for p in (CHAPTERS.parent / "assignments" / "source").iterdir()}
    assert {Path(link).stem for link in links} == stored
    colab = [a["href"] for a in soup.select("main a[href*='colab.research']")]
    assert sum("/assignments/release/" in address for address in colab) == len(stored)
    for link in links:
        name = Path(link).stem
        with zipfile.ZipFile((site / "site/pages" / link).resolve()) as archive:
            names = archive.namelist()
            notebook = archive.read(f"{name}/{name}.ipynb").decode("utf-8")
        assert {f"{name}/{n}.py" for n in ("checks", "checking", "guards")} < {*names}
        assert not [n for n in names if "hidden" in n or ".." in n]
        assert "NotImplementedError" in notebook
        assert not re.search(r"SOLUTION|HIDDEN|hidden\.", notebook)


def test_the_classroom_page_shows_what_every_cheat_earned(site):
    soup = site_checks.page(site / "site/pages/classroom.html")
    cheats = [
        tr for tr in soup.select("tr") if (td := tr.td) and td.get_text().startswith("cheat:")
    ]
    assert len(cheats) >= 8 * 8
    assert {tr.select("td")[1].get_text().split(" of ")[0] for tr in cheats} == {"0"}


def test_the_front_page_tells_every_condition(site):
    text = " ".join(site_checks.page(site / "intro.html").get_text().split())
    mime = "application/vnd.norms.evidence+json"
    notebooks = [json.loads(p.read_text("utf-8")) for p in CHAPTERS.glob("*.ipynb")]
    outputs = [o for n in notebooks for c in n["cells"] for o in c.get("outputs", [])]
    found = [o["data"][mime] for o in outputs if mime in o.get("data", {})]
    assert {entry["verdict"] for entry in found if entry["condition"]} > {"holds if"}
    for entry in found:
        assert entry["condition"][:40] in text, entry["id"]
