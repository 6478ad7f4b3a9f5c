"""The figures pack and the slides: all figures, their texts, and no answer before its question."""

import base64
import json
import re
import time
import zipfile
from io import BytesIO
from pathlib import Path

import lessons
import nbformat
import pytest
import slides
import teaching_pack
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image
from pptx import Presentation
from pptx.enum.shapes import MSO_SHAPE_TYPE

CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"
PAGES = sorted(CHAPTERS.glob("*.ipynb"))
NAMES = [path.stem for path in PAGES]


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teaching") / "pack"
    started = time.process_time()
    teaching_pack.main(["--out", str(folder)])
    assert time.process_time() - started < 30
    return folder


@pytest.fixture(scope="module")
def decks(pack):
    return {name: Presentation(pack / "slides" / f"{name}.pptx") for name in NAMES}


def stored(path):
    """The pictures of a notebook with the metadata of their cells, read without our reader."""
    return [
        (base64.b64decode("".join(output["data"]["image/png"])), cell["metadata"]["mystnb"])
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]


def words(slide):
    return "\n".join(s.text_frame.text for s in slide.shapes if s.has_text_frame)


def pictures(deck):
    return [
        (slide, shape)
        for slide in deck.slides
        for shape in slide.shapes
        if shape.shape_type == MSO_SHAPE_TYPE.PICTURE
    ]


def letters(text):
    """What is left of a text when markup is set aside: for comparing."""
    text = re.sub(r"\]\(\S+?\)|[*`\[\]]|\s", "", text)
    return re.sub(r"[^A-Za-z0-9,.:;?]", "", text)


def inside(markdown, text):
    """Tell whether a text of the page is on a slide, formulas aside."""
    return all(letters(part) in letters(text) for part in re.split(r"\$[^$]*\$", markdown))


# Figures


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_figure_is_there_with_its_texts(path, pack):
    folder, figures = pack / "figures" / path.stem, stored(path)
    assert len([*folder.glob("*.png")]) == len(figures)
    if not figures:
        return
    told = (folder / "captions.md").read_text("utf-8")
    for n, (png, settings) in enumerate(figures, 1):
        assert (folder / f"{n:02}.png").read_bytes() == png
        Image.open(BytesIO(png)).verify()
        part = told.partition(f"## {n:02}.png")[2].partition("\n## ")[0]
        assert settings["figure"]["caption"] in part
        assert settings["image"]["alt"] in part


def test_the_zip_holds_what_the_folder_holds(pack):
    with zipfile.ZipFile(pack / "figures.zip") as zipped:
        inside = {name: zipped.read(name) for name in zipped.namelist()}
    files = [p for p in (pack / "figures").rglob("*") if p.is_file()]
    assert inside == {p.relative_to(pack).as_posix(): p.read_bytes() for p in files}


# Slides


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_a_deck_has_the_figures_of_its_notebook(path, decks):
    shown = [shape.image.blob for _, shape in pictures(decks[path.stem])]
    assert shown == [png for png, _ in stored(path)]


@pytest.mark.parametrize("name", NAMES)
def test_a_figure_has_its_caption_and_its_alternative_text(name, decks):
    for (slide, shape), (_, settings) in zip(
        pictures(decks[name]), stored(CHAPTERS / f"{name}.ipynb"), strict=True
    ):
        assert inside(settings["figure"]["caption"], slide.shapes.title.text_frame.text)
        alt = shape._element.nvPicPr.cNvPr.get("descr")
        assert inside(settings["image"]["alt"], alt)
        assert alt in slide.notes_slide.notes_text_frame.text


@pytest.mark.parametrize("name", NAMES)
def test_a_deck_is_complete(name, decks):
    lesson, deck = lessons.lesson(CHAPTERS / f"{name}.ipynb"), decks[name]
    titles = [slide.shapes.title.text_frame.text for slide in deck.slides]
    assert titles[0] == lesson.title
    assert lesson.lead in words(deck.slides[0])
    assert "CC BY 4.0" in words(deck.slides[0])
    assert titles.count("After it you can") == bool(lesson.aims)
    assert titles.count("The claims") == bool(lesson.verdicts)
    assert len([t for t in titles if t.startswith("Exercise ")]) == len(lesson.exercises)
    assert all(titles)


def test_chapters_have_aims_and_exercises():
    for path in PAGES:
        lesson = lessons.lesson(path)
        if not path.stem.endswith(("_evidence", "_practice")):
            assert len(lesson.aims) == 5, path.stem
            assert len(lesson.exercises) >= 4, path.stem


# What is sealed on the page


@pytest.mark.parametrize("path", PAGES, ids=NAMES)
def test_every_sealed_figure_has_its_question(path):
    """The question stands with it, or with an earlier figure of the same seal."""
    asked = ""
    for figure in lessons.lesson(path).figures:
        asked = figure.question or asked
        if figure.sealed:
            assert asked.startswith(("**Predict.**", "**Your turn**")), figure.caption
            assert len(asked) > 40


@pytest.mark.parametrize("name", NAMES)
def test_a_question_comes_right_before_its_figure(name, decks):
    all_slides = [*decks[name].slides]
    asking = [
        k for k, s in enumerate(all_slides) if re.search(r"^(Predict\.|Your turn)", words(s), re.M)
    ]
    figures = [f for f in lessons.lesson(CHAPTERS / f"{name}.ipynb").figures if f.question]
    assert len(asking) == len(figures)
    for place, figure in zip(asking, figures, strict=True):
        assert inside(figure.question, words(all_slides[place]))
        assert inside(figure.caption, words(all_slides[place + 1]))


@pytest.mark.parametrize("name", NAMES)
def test_no_verdict_comes_before_its_claim(name, decks):
    lesson = lessons.lesson(CHAPTERS / f"{name}.ipynb")
    told = [words(slide) for slide in decks[name].slides]
    for _, claim, verdict in lesson.verdicts:
        first = next(k for k, text in enumerate(told) if inside(claim, text))
        said = next(k for k, text in enumerate(told) if inside(f"{claim}: {verdict}", text))
        assert first < said


def test_the_reader_keeps_to_the_seal(tmp_path):
    """A small page with every case: set-up before the seal, two figures in it, an answered question."""

    def markdown(text):
        return new_markdown_cell(text)

    def picture(caption):
        data = {"image/png": base64.b64encode(b"png").decode()}
        return new_code_cell(
            outputs=[new_output("display_data", data)],
            metadata={"mystnb": {"figure": {"caption": caption}, "image": {"alt": "Alt."}}},
        )

    seal = '<details class="fold sealed"><summary>I have predicted: show it</summary>'
    page = [
        markdown("# Title\n\n**A question?**\n\nAfter it you can\n\n1. see;\n2. do."),
        markdown("## 1. One\n\nWe train.\n\n**Predict.** Which?\n\n1. A?\n2. B?"),
        picture("Set-up."),
        markdown(f"Then.\n\n{seal}"),
        picture("First."),
        picture("Second."),
        markdown("So it is.\n\n</details><!-- sealed -->\n\nGo on."),
        picture("Free."),
        markdown(
            '**Your turn** (2 minutes). How?\n\n<details class="fold"><summary>Answer</summary>\n\nSo.\n\n'
            "</details>\n### Next"
        ),
        picture("Later."),
        markdown("**Your turn** (1 minute). Look."),
        picture("Looked at."),
        markdown(
            "### Exercises\n\n**Exercise 1: Do** (5 minutes). Do it.\n\n```python\nx = 1\n\ny = 2\n```\n\n"
            '<details class="fold"><summary>Solution</summary>\n\nDone.\n\n</details>'
        ),
    ]
    nbformat.write(new_notebook(cells=page), tmp_path / "page.ipynb")
    read = lessons.lesson(tmp_path / "page.ipynb")
    assert (read.title, read.lead, read.aims) == ("Title", "A question?", ["see;", "do."])
    assert [(f.caption, f.sealed, f.section) for f in read.figures] == [
        ("Set-up.", False, "1. One"),
        ("First.", True, "1. One"),
        ("Second.", True, "1. One"),
        ("Free.", False, "1. One"),
        ("Later.", False, "Next"),
        ("Looked at.", False, "Next"),
    ]
    predict = "**Predict.** Which?\n\n1. A?\n2. B?"
    look = "**Your turn** (1 minute). Look."
    assert [f.question for f in read.figures] == ["", predict, "", "", "", look]
    assert read.figures[1].context == "We train."
    assert read.exercises == [
        "**Exercise 1: Do** (5 minutes). Do it.\n\n```python\nx = 1\n\ny = 2\n```"
    ]


# How it reads


@pytest.mark.parametrize("name", NAMES)
def test_no_mark_is_left_and_every_text_fits(name, decks):
    for slide in decks[name].slides:
        text = words(slide) + (
            slide.notes_slide.notes_text_frame.text if slide.has_notes_slide else ""
        )
        assert not re.search(r"\\[a-zA-Z]|\$|\*\*|\]\(|[\ue000-\ue002]|<[a-z/!]", text), text
        for shape in slide.shapes:
            if shape.has_text_frame:
                runs = [r for p in shape.text_frame.paragraphs for r in p.runs]
                assert all(run.font.size.pt >= 14 for run in runs), words(slide)


@pytest.mark.parametrize(
    ("latex", "shown"),
    [
        (r"\hat x \mapsto \sigma^2", "x̂ ↦ σ^2"),
        (r"(\sigma^2 + \epsilon)^{-1/2}", "(σ^2 + ε)^−1/2"),
        (r"\mathrm dx = r\,\mathrm d\hat x", "dx = r dx̂"),
        (r"\lVert v \rVert^2 \leq \sigma_1", "‖v‖^2 ≤ σ_1"),
        (r"\mu_{\mathrm{run}}", "μ_run"),
        (r"W^\top W - I", "W^⊤ W − I"),
        (r"\sqrt{2\eta\lambda}", "√(2ηλ)"),
        (r"v \leftarrow v - \eta\,\mathrm dv", "v ← v − η dv"),
    ],
)
def test_a_formula_reads_as_text(latex, shown):
    marks = {True: "^", False: "_"}
    runs = slides.formula(latex)
    assert "".join((marks[r.level > 0] if r.level else "") + r.text for r in runs) == shown


def test_markdown_becomes_runs():
    (first, second) = slides.blocks(
        "**Predict.** Is *it* `x`?\n\n2. [see](https://a.b/c) [not](d.md)"
    )
    assert first[0] == slides.Run("Predict.", bold=True)
    assert slides.Run("it", italic=True) in first
    assert slides.Run("x", code=True) in first
    assert second[0] == slides.Run("2. ")
    assert slides.Run("see", link="https://a.b/c") in second
    assert slides.Run("not") in second


# The command


def test_the_same_notebooks_give_the_same_bytes(pack, tmp_path):
    name = "02_batch_norm"
    teaching_pack.main(["--out", str(tmp_path / "again"), "--chapters", name])
    for file in (f"slides/{name}.pptx", f"figures/{name}/captions.md", f"figures/{name}/01.png"):
        assert (tmp_path / "again" / file).read_bytes() == (pack / file).read_bytes()
    assert [p.name for p in (tmp_path / "again" / "slides").iterdir()] == [f"{name}.pptx"]
    teaching_pack.main(["--out", str(tmp_path / "twice"), "--chapters", name])
    zips = [(tmp_path / folder / "figures.zip").read_bytes() for folder in ("again", "twice")]
    assert zips[0] == zips[1]


def test_it_replaces_its_own_pack_and_no_other_folder(tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "work.txt").write_text("mine", "utf-8")
    with pytest.raises(SystemExit, match="no pack of ours"):
        teaching_pack.main(["--out", str(mine), "--chapters", "02_batch_norm"])
    assert (mine / "work.txt").read_text("utf-8") == "mine"
    for _ in range(2):
        teaching_pack.main(["--out", str(tmp_path / "pack"), "--chapters", "02_batch_norm"])


def test_an_unknown_page_is_told(tmp_path):
    with pytest.raises(
        SystemExit, match=r"No page 12_power_norm in .*; there are 01_why_normalize"
    ):
        teaching_pack.main(["--out", str(tmp_path / "pack"), "--chapters", "12_power_norm"])
