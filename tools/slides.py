"""Slides of a lesson, as a PowerPoint file that an instructor can edit.

Titles are titles, pictures carry their alternative text, formulas are text with raised and lowered
signs. A figure that a prediction seals comes behind that prediction, and verdicts behind their claims.
"""

import re
import zipfile
from dataclasses import dataclass
from io import BytesIO

from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin
from PIL import Image
from pptx import Presentation
from pptx.util import Inches, Pt
from pylatexenc.latex2text import LatexNodes2Text

WIDTH, HEIGHT, EDGE = 13.333, 7.5, 0.6  # inches
TITLED, BLANK = 5, 6  # layouts of python-pptx's own template
SIZES = (28, 24, 20, 18, 16, 14, 12)  # of a text, in points
LICENCE = "Text and figures: CC BY 4.0. Code: MIT. Made from the notebook; figures are its stored outputs."
ASK = "Ask before the next slide."
MARKDOWN = MarkdownIt("commonmark").use(dollarmath_plugin)
PLAIN = LatexNodes2Text(math_mode="text")
# Signs that no text has: they mark what is raised and lowered, until it becomes a run of its own.
UP, DOWN, END = "\ue000", "\ue001", "\ue002"
LEVELS = {UP: 30000, DOWN: -25000}  # of a raised or lowered run, in thousandths of a per cent
RELATIONS = r"\\(?:leftarrow|mapsto|approx|odot|cdot|geq?|leq?|neq?|pm|to|in)(?![a-zA-Z])"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip knows


@dataclass(frozen=True)
class Run:
    """A stretch of text in one style."""

    text: str
    bold: bool = False
    italic: bool = False
    code: bool = False
    level: int = 0  # above 0 raised, below 0 lowered
    link: str = ""


def deck(lesson):
    """Return the slides of a lesson as the bytes of a .pptx file; the same lesson gives the same bytes."""
    show = Presentation()
    show.slide_width, show.slide_height = Inches(WIDTH), Inches(HEIGHT)
    show.core_properties.title = plain(lesson.title)
    show.core_properties.author = "Seven Norms"
    text_slide(show, lesson.title, [lesson.lead, LICENCE], notes="")
    if lesson.aims:
        aims = [f"{n}. {aim}" for n, aim in enumerate(lesson.aims, 1)]
        text_slide(show, "After it you can", aims)
    for figure in lesson.figures:
        if figure.question:
            before = f" On the page, before the question: {plain(figure.context)}"
            notes = ASK + (before if figure.context else "")
            text_slide(show, figure.section, [figure.question], notes)
        figure_slide(show, figure)
    verdict_slides(show, lesson.verdicts)
    for exercise in lesson.exercises:
        title, _, rest = exercise.partition("** ")
        text_slide(show, title.strip("*"), [rest], "The solution is in a fold of the page.")
    return undated(show)


def verdict_slides(show, verdicts):
    """Ask about the claims first, then tell the verdicts, as many on a slide as can be read."""
    if not verdicts:
        return
    claims = [f"**{name}** {claim}" for name, claim, _ in verdicts]
    asked = "Holds, holds under a condition, contradicted, or open? Decide for each claim."
    text_slide(show, "The claims", [asked, *claims], f"{ASK} Some are judged on the evidence page.")
    told = [f"**{name}** {claim}: {said}" for name, claim, said in verdicts]
    while told:
        count = len(told)
        while count > 1 and fitting([blocks(t) for t in told[:count]]) < 18:
            count -= 1
        text_slide(show, "Verdicts", told[:count])
        told = told[count:]


def text_slide(show, title, texts, notes=""):
    """Add a slide with a title and paragraphs of Markdown."""
    slide = titled(show, title)
    box = slide.shapes.add_textbox(*map(Inches, (EDGE, 1.7, WIDTH - 2 * EDGE, HEIGHT - 2.2)))
    box.text_frame.word_wrap = True
    parts = [blocks(text) for text in texts]
    size = fitting(parts)
    first = True
    for runs in (runs for part in parts for runs in part):
        paragraph = box.text_frame.paragraphs[0] if first else box.text_frame.add_paragraph()
        paragraph.space_after = Pt(size * 0.5)
        fill(paragraph, runs, size)
        first = False
    noted(slide, notes)


def figure_slide(show, figure):
    """Add a slide with a picture under its caption; the notes say what it shows."""
    slide = titled(show, figure.caption, sizes=(20, 18, 16, 14))
    width, height = Image.open(BytesIO(figure.png)).size
    room = (WIDTH - 2 * EDGE, HEIGHT - 1.9)
    scale = min(room[0] / width, room[1] / height)
    left = (WIDTH - width * scale) / 2
    place = map(Inches, (left, 1.6, width * scale, height * scale))
    picture = slide.shapes.add_picture(BytesIO(figure.png), *place)
    picture._element.nvPicPr.cNvPr.set("descr", plain(figure.alt))
    noted(slide, f"{plain(figure.section)}. What it shows: {plain(figure.alt)}")


def titled(show, title, sizes=(30, 24, 20)):
    slide = show.slides.add_slide(show.slide_layouts[TITLED])
    shape = slide.shapes.title
    shape.left, shape.top = Inches(EDGE), Inches(0.35)
    shape.width, shape.height = Inches(WIDTH - 2 * EDGE), Inches(1.15)
    shape.text_frame.word_wrap = True
    runs = [run for part in blocks(title) for run in part]
    fill(shape.text_frame.paragraphs[0], runs, fitting([[runs]], sizes, height=1.15))
    return slide


def noted(slide, words):
    if words:
        slide.notes_slide.notes_text_frame.text = words


def fill(paragraph, runs, size):
    for run in runs:
        new = paragraph.add_run()
        new.text = run.text
        new.font.size, new.font.bold, new.font.italic = Pt(size), run.bold, run.italic
        if run.code:
            new.font.name = "Consolas"
        if run.level:
            new.font._element.set("baseline", str(run.level))
        if run.link:
            new.hyperlink.address = run.link


def fitting(parts, sizes=SIZES, width=WIDTH - 2 * EDGE, height=HEIGHT - 2.2):
    """Return the largest of these sizes at which the paragraphs fit; the smallest if none does."""
    texts = ["".join(run.text for run in runs) for part in parts for runs in part]
    for size in sizes:
        across = int(width * 72 / (0.52 * size))  # signs in a line
        lines = sum(-(-max(len(line), 1) // across) for t in texts for line in t.split("\n"))
        if (lines * 1.2 + (len(texts) - 1) * 0.5) * size <= height * 72:
            return size
    return sizes[-1]


def plain(markdown):
    """A text of Markdown without any marks."""
    return " ".join("".join(run.text for run in runs) for runs in blocks(markdown))


def blocks(markdown):
    """Split Markdown into paragraphs, each a list of runs; list items keep their numbers or get a dot."""
    found, marks, numbers = [], [], []
    for token in MARKDOWN.parse(markdown):
        if token.type in ("ordered_list_open", "bullet_list_open"):
            numbers.append(int(token.attrGet("start") or 1) if token.type[0] == "o" else None)
        elif token.type in ("ordered_list_close", "bullet_list_close"):
            numbers.pop()
        elif token.type == "list_item_open":
            marks = [Run("• " if numbers[-1] is None else f"{token.info or numbers[-1]}. ")]
        elif token.type == "inline":
            found.append(marks + inline(token.children))
            marks = []
        elif token.type in ("fence", "code_block"):
            found.append([Run(token.content.rstrip("\n"), code=True)])
        elif token.type == "math_block":
            found.append(formula(token.content))
    return found


def inline(tokens):
    runs, bold, italic, link = [], 0, 0, ""
    for token in tokens:
        bold += {"strong_open": 1, "strong_close": -1}.get(token.type, 0)
        italic += {"em_open": 1, "em_close": -1}.get(token.type, 0)
        if token.type in ("link_open", "link_close"):
            url = token.attrGet("href") or ""
            link = url if url.startswith("http") else ""  # a path leads nowhere from here
        style = {"bold": bold > 0, "italic": italic > 0, "link": link}
        if token.type in ("math_inline", "math_inline_double"):
            runs += formula(token.content, **style)
        elif token.type == "code_inline":
            runs.append(Run(token.content, code=True, **style))
        elif token.type in ("softbreak", "hardbreak"):
            runs.append(Run(" "))
        elif token.type == "text" and token.content:
            runs.append(Run(token.content, **style))
    return runs


def formula(latex, **style):
    """A formula as text: x̂, σ, and runs that are raised or lowered."""
    text = re.sub(r"\^(\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-zA-Z]+|.)", rf"{UP}\1{END}", latex)
    text = re.sub(r"_(\{(?:[^{}]|\{[^{}]*\})*\}|\\[a-zA-Z]+|.)", rf"{DOWN}\1{END}", text)
    text = text.replace("\\|", "\\Vert ").replace("\\epsilon", "\\varepsilon")
    text = re.sub(rf"(\\[a-zA-Z]+) (?=[-+=<>/&]|{RELATIONS})|({RELATIONS}) ", r"\1\2{} ", text)
    text = PLAIN.latex_to_text(text).replace("√(2)", "√2").replace(" ⟩", "⟩").replace("-", "−")
    text = re.sub(r"‖ ?([^‖]*?) ?‖", r"‖\1‖", text)
    runs, level = [], 0
    for part in re.split(f"([{UP}{DOWN}{END}])", text):
        if part in (UP, DOWN, END):
            level = LEVELS.get(part, 0)
        elif part:
            runs.append(Run(part, level=level, **style))
    return runs


def undated(show):
    """The file's bytes without the time of making: the same slides, the same file."""
    made, clean = BytesIO(), BytesIO()
    show.save(made)
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(clean, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, EPOCH), old.read(name), zipfile.ZIP_DEFLATED)
    return clean.getvalue()
