"""The forms of a quiz: a paper as Markdown or notebook, a file for a learning platform, and the key.

A paper has neither an answer nor a question's name in the bank: the bank is public.
"""

from html import escape

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.dollarmath import dollarmath_plugin

TASKS = {
    "single": "one answer is right",
    "several": "two or more answers are right",
    "number": "a number",
    "free": "a few sentences",
}
SPACE = {"single": "*Your answer:*", "several": "*Your answers:*", "number": "*Your number:*"}
LETTERS = "ABCDEFGH"


def markdown(questions, title):
    """Return the paper as Markdown, with room for the answers."""
    return "\n\n".join([opening(questions, title), *map(whole, numbered(questions))]) + "\n"


def notebook(questions, title):
    """Return the paper as a notebook: a cell for each question, and an empty one for its answer."""
    new = nbformat.v4.new_markdown_cell
    cells = [new(opening(questions, title), id="opening")]
    for n, question in numbered(questions):
        cells.append(new(asked(n, question), id=f"question-{n}"))
        cells.append(new(room(question), id=f"answer-{n}"))
    return nbformat.writes(nbformat.v4.new_notebook(cells=cells)) + "\n"


def numbered(questions):
    return enumerate(questions, 1)


def opening(questions, title):
    minutes = sum(question.minutes for question in questions)
    return f"# {title}\n\n{len(questions)} questions, {minutes:g} minutes. Name:"


def whole(pair):
    return f"{asked(*pair)}\n\n{room(pair[1])}"


def asked(n, question):
    task = f"{question.minutes:g} min, {TASKS[question.kind]}"
    options = [f"- **{LETTERS[k]}.** {o.text.strip()}" for k, o in enumerate(question.options)]
    parts = [f"**{n}.** ({task}) {question.text.strip()}", "\n".join(options)]
    return "\n\n".join(part for part in parts if part)


def room(question):
    return SPACE.get(question.kind, "*Your answer:*")


def key(questions, title, seed):
    """Return the key as Markdown: answers in a table, then the reasons, question by question."""
    lines = [
        f"# {title}: the key",
        f"Seed {seed}. Not for the class: it has all answers.",
        "| | question | norm | skill | answer |\n|---|---|---|---|---|",
    ]
    for n, q in numbered(questions):
        lines[-1] += f"\n| {n} | `{q.id}` | {q.norm} | {q.skill} | {short(q)} |"
    return "\n\n".join([*lines, *(explained(n, q) for n, q in numbered(questions))]) + "\n"


def short(question):
    """The answer as it stands in the table of the key."""
    if question.options:
        return ", ".join(LETTERS[k] for k, o in enumerate(question.options) if o.right)
    if question.kind == "number":
        within = f" ± {question.tolerance:g}" if question.tolerance else ""
        return f"{question.answer:g}{within}"
    return f"{len(question.points)} points"


def explained(n, question):
    told = [f"## {n}. {short(question)}", question.text.strip()]
    marks = {True: "right", False: "wrong"}
    told.append(
        "\n".join(
            f"- **{LETTERS[k]}**, {marks[o.right]}: {o.text.strip()} *{o.reason.strip()}*"
            for k, o in enumerate(question.options)
        )
    )
    if question.kind == "free":
        told.append("\n".join(f"- {point}" for point in question.points))
        told.append(f"An answer with all of them: {question.answer.strip()}")
    told.append(f"{question.reason.strip()} ({question.chapter}, *{question.section}*)")
    return "\n\n".join(part for part in told if part)


def gift(questions, title):
    """Return the quiz in GIFT, which Moodle and others import; each text is HTML with MathJax formulas.

    GIFT has an essay for a free answer, without the sample answer, which only the key has. Options of
    kind several share 100 %, and each wrong one takes off what makes all wrong ones cost 100 %.
    """
    return "\n\n".join([f"// {title}", *map(gift_entry, questions)]) + "\n"


def gift_entry(question):
    head = f"::{gift_escape(question.id)}::{gift_text(question.text)}"
    reason = f"\t####{gift_text(question.reason)}\n"
    if question.kind == "number":
        return f"{head}{{#{question.answer}:{question.tolerance}\n{reason}}}"
    if question.kind == "free":
        return f"{head}{{\n{reason}}}"
    rows = "".join(f"\t{gift_option(question, option)}\n" for option in question.options)
    return f"{head}{{\n{rows}{reason}}}"


def gift_option(question, option):
    return f"{weight(question, option)}{gift_text(option.text)}#{gift_text(option.reason)}"


def weight(question, option):
    """What an option is worth, in GIFT's signs: Moodle knows shares with five decimals."""
    if question.kind == "single":
        return "=" if option.right else "~"
    alike = sum(o.right == option.right for o in question.options)
    share = f"{100 / alike:.5f}".rstrip("0").rstrip(".")
    return f"~%{share}%" if option.right else f"~%-{share}%"


def formula(content, options):
    shown = ("\\[", "\\]") if options.get("display_mode") else ("\\(", "\\)")
    return shown[0] + escape(content, quote=False) + shown[1]


HTML = MarkdownIt("commonmark").use(dollarmath_plugin, renderer=formula)


def gift_text(text):
    """A text of the bank as HTML for GIFT, on one line."""
    return "[html]" + gift_escape(HTML.render(text.strip()).strip())


def gift_escape(text):
    text = text.replace("\\", "\\\\")  # first, or the signs below would be escaped twice
    for sign in "~=#{}:":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("\n", "\\n")
