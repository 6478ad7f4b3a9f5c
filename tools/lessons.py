"""What a teacher needs of a page: its aims, figures with their questions, verdicts and exercises.

Read from a notebook and its stored outputs; nothing is run. A figure that a prediction seals keeps that
prediction, so whoever shows the figure can ask first.
"""

import base64
import re
from dataclasses import dataclass, field

import nbformat

SEALED = re.compile(r'<details class="fold sealed"><summary>(.+)</summary>')
FOLD = re.compile(r'<details class="fold"><summary>(.+)</summary>')
CLOSED, UNSEALED = "</details>", "</details><!-- sealed -->"
AIMS = re.compile(r"(After it|By the end) you can")
ASKED = re.compile(r"\*\*(Predict\.|Your turn)\*\*")
EXERCISE = re.compile(r"\*\*Exercise \d+: .+?\*\*")
VERDICTS = "| | claim | verdict |"
COMMENT = re.compile(r"\s*<!-- (?!sealed).*?-->", re.S)


@dataclass
class Figure:
    """A stored picture, and what the page says about it."""

    png: bytes
    caption: str
    alt: str
    section: str
    sealed: bool
    question: str = ""  # what the page asks before it, unless it has been asked already
    context: str = ""  # the paragraph before the question


@dataclass
class Lesson:
    """A page for a teacher. Texts are Markdown, as on the page."""

    stem: str
    title: str = ""
    lead: str = ""
    aims: list[str] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    verdicts: list[tuple[str, str, str]] = field(default_factory=list)  # name, claim, verdict
    exercises: list[str] = field(default_factory=list)


def lesson(path):
    """Read a notebook into a `Lesson`."""
    return Reader(path.stem).read(nbformat.read(path, as_version=4))


class Reader:
    """Go through the cells once; remember the section, the open folds and the question that stands."""

    def __init__(self, stem):
        self.lesson = Lesson(stem)
        self.section, self.sealed, self.folds = "", False, 0
        self.question, self.predicted, self.list_of = "", False, None
        self.before, self.context = "", ""  # the last paragraph, and the one before the question

    def read(self, notebook):
        for cell in notebook.cells:
            if cell.cell_type == "markdown":
                for paragraph in paragraphs(cell.source):
                    self.paragraph(COMMENT.sub("", paragraph))
            elif cell.cell_type == "code":
                self.code(cell)
        return self.lesson

    def paragraph(self, text):
        if SEALED.match(text):
            self.sealed, self.list_of = True, None
        elif text.endswith(UNSEALED):
            self.sealed, self.question = False, ""
        elif found := FOLD.match(text):
            self.folds += not text.endswith(CLOSED)
            self.list_of = None
            if found[1] != "Hint" and not self.sealed and not self.predicted:
                self.question = ""  # a "Your turn" has its answer here
        elif text == CLOSED:
            self.folds -= 1
        elif not self.folds:
            self.told(text)

    def told(self, text):
        """A paragraph that is open to the reader, or opens with the seal."""
        if found := re.match(r"(#+) (.+)", text):
            self.heading(len(found[1]), found[2])
        elif found := ASKED.match(text):
            self.question, self.predicted = text, found[1] == "Predict."
            self.list_of, self.context = "question", self.before
        elif EXERCISE.match(text):
            self.lesson.exercises.append(text)
            self.list_of = "exercise"
        elif AIMS.match(text):
            self.list_of = "aims"
        elif self.list_of == "aims":
            self.lesson.aims = re.findall(r"^\d+\. (.+)$", text, re.M)
            self.list_of = None
        elif self.list_of == "exercise":
            self.lesson.exercises[-1] += f"\n\n{text}"
        elif self.list_of == "question" and re.match(r"\d+\. |- |\*\*Second:\*\*", text):
            self.question += f"\n\n{text}"
        elif not self.lesson.lead and re.fullmatch(r"\*\*.+\*\*", text):
            self.lesson.lead = text.strip("*")
        else:
            self.list_of = None
            if not self.sealed and text[0] not in "|#<!`$":
                self.before = text

    def heading(self, level, words):
        self.question, self.list_of, self.before = "", None, ""
        if level == 1:
            self.lesson.title = words
        else:
            self.section = words

    def code(self, cell):
        settings = cell.metadata.get("mystnb", {})
        caption = settings.get("figure", {}).get("caption", "")
        alt = settings.get("image", {}).get("alt", "")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                self.figure(base64.b64decode(data["image/png"]), caption, alt)
            elif data.get("text/markdown", "").startswith(VERDICTS):
                self.lesson.verdicts += verdicts(data["text/markdown"])

    def figure(self, png, caption, alt):
        # A picture between a prediction and its seal shows the set-up, and not the answer.
        asked = "" if self.predicted and not self.sealed else self.question
        context = self.context if asked else ""
        self.lesson.figures.append(
            Figure(png, caption, alt, self.section, self.sealed, asked, context)
        )
        if asked:
            self.question = ""


def paragraphs(source):
    """Split at blank lines and behind the end of a fold; leave code between fences whole."""
    parts, fenced = [[]], False
    for line in source.split("\n"):
        fenced ^= line.startswith("```")
        if line.strip() or fenced:
            parts[-1].append(line)
        if not fenced and (not line.strip() or line.startswith(CLOSED)):
            parts.append([])
    return ["\n".join(part).strip() for part in parts if part]


def verdicts(table):
    """Return the rows of a stored table of verdicts as (name, claim, verdict)."""
    rows = [line.strip("| \n").split(" | ", 2) for line in table.strip().split("\n")[2:]]
    return [(re.sub(r"\[(.+?)\]\(.+?\)", r"\1", name), claim, said) for name, claim, said in rows]
