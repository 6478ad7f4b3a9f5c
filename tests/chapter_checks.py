"""Each limit of a chapter, as a function from a notebook to a list of complaints.

Together with nbval, which runs the notebooks and compares their text, they keep the pages honest:
what nbval lets pass (a cell that never ran, a picture, an ignored output) is looked at here.
"""

import ast
import io
import re
import statistics
from base64 import b64decode
from collections import Counter
from pathlib import Path

import nbformat
from PIL import Image

from norms.experiments.evidence import MIME, VERDICTS

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
ADDRESS = re.search(r"^\s*url:\s*(\S+)", (ROOT / "_config.yml").read_text("utf-8"), re.M)[1]
COLAB = f"""\
# On Colab this installs the package and leaves Colab's torch alone; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install -q --no-deps "git+{ADDRESS}.git\""""

# The cells of the summary table: how many strengths and weaknesses each norm has.
CELLS = {"BN": (4, 2), "LN": (4, 2), "IN": (2, 2), "GN": (3, 3), "WN": (3, 3), "SN": (1, 2)}
CELLS |= {"RMS": (3, 3)}
IDS = [
    f"{norm}{sign}{i}"
    for norm, counts in CELLS.items()
    for sign, count in zip("+-", counts, strict=True)
    for i in range(1, count + 1)
]


# --- Reading a notebook ---


def cells(notebook, *kinds):
    """The cells of these kinds with what a complaint calls them: place and first line."""
    for number, cell in enumerate(notebook.cells, 1):
        if cell.cell_type in kinds:
            yield f"cell {number} ({cell.source.strip().split(chr(10))[0][:40]!r})", cell


UNSEEN = ("hide-input", "remove-input")  # the tags of a cell of which the page shows the output


def shown(notebook):
    """The code cells that a page shows: all but the one for Colab."""
    return [pair for pair in cells(notebook, "code") if not tagged(pair[1], "remove-cell")]


def tagged(cell, *starts):
    return any(tag.startswith(starts) for tag in cell.metadata.get("tags", []))


def data(cell, mime):
    return [o.data[mime] for o in cell.outputs if mime in o.get("data", {})]


def length(cell):
    return sum(bool(line.strip()) for line in cell.source.split("\n"))


def syntax(cell):
    """The cell's tree; lines for IPython become ``pass``, and a broken cell an empty tree."""
    try:
        return ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M))
    except SyntaxError:
        return ast.Module([], [])


def name_called(node):
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def asserts(tree):
    return any(
        isinstance(node, ast.Assert) or re.match(r"(.*\.)?assert_", name_called(node))
        for node in ast.walk(tree)
    )


CODE = r"^(`{3,}|~{3,})(?:\w+|\{(?:code|code-block|code-cell|math)\}.*)\n.*?^\1[ \t]*$"
DISPLAY = r"\$\$.*?\$\$"
# Directive lines and options, comments, tags, code spans, maths, addresses.
NOT_WORDS = (
    r"^[`:]{3,}.*?$|^:[\w-]+:.*?$|<!--.*?-->|</?[a-z][^>]*>|`[^`]+`|\$[^$]+\$|(?<=\])\([^)]*\)"
)


def text_of(source):
    """Markdown without its fenced code and display maths."""
    return re.sub(DISPLAY, " ", re.sub(CODE, " ", source, flags=re.M | re.S), flags=re.S)


def plain(text):
    """The words alone."""
    return re.sub(NOT_WORDS, " ", text, flags=re.M | re.S)


def words(notebook):
    """All words of prose, those in folds as well; code, maths and outputs do not count."""
    text = " ".join(plain(text_of(cell.source)) for _, cell in cells(notebook, "markdown"))
    return sum(bool(re.search(r"\w", word)) for word in text.split())


def paragraphs(notebook):
    """Yield (cell, heading, fold, text); the fold is its summary, or a directive with its title."""
    heading = ""
    for where, cell in cells(notebook, "markdown"):
        fold = ""
        for text in re.split(r"\n\s*\n", text_of(cell.source)):
            if title := re.match(r"#+ (.+)", text):
                heading, text = title[1], text[title.end() :]
            if opened := re.search(
                r"<summary>(.*?)</summary>|^[`:]{3,}\{([^}]+)\}(.*)", text, re.M
            ):
                fold = opened[1] or opened[2] + opened[3]
            yield where, heading, fold, text
            if re.search(r"</details>|^[`:]{3,}\s*$", text, re.M):
                fold = ""


# --- The checks ---


def is_valid(notebook):
    ids = Counter(cell.get("id") for cell in notebook.cells)
    found = [f"the cell id {i!r} is used {n} times; rename one" for i, n in ids.items() if n > 1]
    try:
        if not found:  # nbformat would mend them, with a warning
            nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        found.append(f"not a valid notebook: {str(error)[:80]}; run it anew with `make run`")
    return found


def ran_in_order(notebook):
    """nbval compares nothing for a cell that has no execution count."""
    return [
        f"{where}: has execution count {cell.execution_count}, not {count}; `make run` anew"
        for count, (where, cell) in enumerate(cells(notebook, "code"), 1)
        if cell.execution_count != count
    ]


def has_clean_outputs(notebook):
    found = []
    for where, cell in cells(notebook, "code"):
        kinds = {o.output_type for o in cell.outputs} | {o.get("name") for o in cell.outputs}
        kinds |= {mime for o in cell.outputs for mime in o.get("data", {})}
        for kind, cure in {
            "error": "mend the cell",
            "stderr": "mend the cause of the warning",
            "image/svg+xml": "show a PNG",
            "application/vnd.jupyter.widget-view+json": "run with `make run`, which shows no bars",
        }.items():
            found += [f"{where}: stores an output {kind!r}; {cure}"] * (kind in kinds)
    return found


def leaves_nbval_its_teeth(notebook):
    """A sentence or a record needs no tag: chapters/conftest.py leaves it out of the comparison."""
    found = []
    for where, cell in cells(notebook, "code"):
        if tagged(cell, "nbval-skip", "nbval-raises", "raises-exception") or re.search(
            r"#\s*(NBVAL|PYTEST_VALIDATE)_", cell.source
        ):
            found.append(f"{where}: is kept from nbval; only 'nbval-ignore-output' is allowed")
        if tagged(cell, "nbval-ignore-output") and not asserts(syntax(cell)):
            found.append(f"{where}: ignored by nbval; assert what matters, or drop the tag")
        if tagged(cell, "nbval-ignore-output") and data(cell, MIME):
            found.append(
                f"{where}: an ignored record; drop the tag, so that its verdict is compared"
            )
        if re.search(r";\s*(#.*)?\s*\Z", cell.source):
            found.append(f"{where}: ends in ';', which breaks the comparison; use plt.show()")
    return found


def shows_its_figures(notebook):
    found = []
    for where, cell in cells(notebook, "code"):
        pictures = data(cell, "image/png")
        calls = [ast.unparse(line) == "plt.show()" for line in syntax(cell).body]
        if len(pictures) != sum(calls) or len(pictures) > 1:
            found.append(
                f"{where}: {len(pictures)} figures, {sum(calls)} plt.show(); one of each, or none"
            )
        elif pictures:
            after = syntax(cell).body[calls.index(True) + 1 :]
            if not all(asserts(line) for line in after):
                found.append(f"{where}: goes on after plt.show(); only asserts may follow it")
        for picture in pictures:
            image = Image.open(io.BytesIO(b64decode(picture)))
            if image.mode != "P" or not image.getcolors(64):
                found.append(f"{where}: not a palette of 64 colours; run with `make run`")
    return found


def describes_its_figures(notebook):
    found = []
    for where, cell in cells(notebook, "code"):
        settings = cell.metadata.get("mystnb", {})
        name = settings.get("figure", {}).get("name", "")
        caption = settings.get("figure", {}).get("caption", "")
        alt = settings.get("image", {}).get("alt", "")
        if not data(cell, "image/png"):
            continue
        if not re.fullmatch(r"fig(-[a-z0-9]+)+", name):
            found.append(f"{where}: named {name!r}; set mystnb.figure.name to 'fig-…'")
        if not caption.endswith("."):
            found.append(f"{where}: caption {caption!r}; set mystnb.figure.caption to a sentence")
        if len(alt.split()) < 8 or not re.match(r"[A-Z].*\.$", alt, re.S) or alt == caption:
            found.append(
                f"{where}: alt text {alt!r}; let mystnb.image.alt say the finding in 8 words or more"
            )
    return found


def has_short_cells(notebook):
    lines = {where: length(cell) for where, cell in shown(notebook)}
    found = [f"{where}: {n} lines; split it, at most 30" for where, n in lines.items() if n > 30]
    long = [where for where, n in lines.items() if n > 20]
    if len(long) > 0.1 * len(lines):
        found.append(
            f"more than 10 % of the cells have over 20 lines: {', '.join(long)}; split some"
        )
    if lines and statistics.median(lines.values()) > 8:
        found.append(
            f"the median cell has {statistics.median(lines.values()):g} lines, limit 8; split some"
        )
    for where, cell in shown(notebook):
        wide = [n for n, line in enumerate(cell.source.split("\n"), 1) if len(line) > 80]
        found += [f"{where}: line {n} is over 80 columns; break it" for n in wide]
    return found


def has_prose_between_cells(notebook):
    """A hidden finding counts as prose: what the reader sees of it is its sentence or record."""
    found, prose = [], False
    for where, cell in cells(notebook, "markdown", "code"):
        if cell.cell_type == "markdown":
            text = re.sub("^#.*", "", text_of(cell.source), flags=re.M)
            prose |= bool(re.search(r"\w.*[.:?]", text))
        elif not tagged(cell, "remove-cell"):
            said = tagged(cell, *UNSEEN) and bool(data(cell, "text/markdown") + data(cell, MIME))
            if not prose and not said:
                found.append(f"{where}: no sentence since the last code; say what this is for")
            prose = said
    return found


def has_enough_prose(notebook):
    lines = sum(length(c) for _, c in shown(notebook) if not tagged(c, *UNSEEN, "hide-cell"))
    if words(notebook) < 8 * lines:
        return [f"{words(notebook)} words to {lines} lines of code in sight; 8 a line are needed"]
    return []


def keeps_its_length(notebook):
    sizes = {
        "words of prose": (words(notebook), 4500),
        "code cells": (len(shown(notebook)), 25),
        "figures": (sum(len(data(c, "image/png")) for _, c in cells(notebook, "code")), 10),
        "bytes stored": (len(nbformat.v4.writes(notebook).encode()), 1_000_000),
        "seconds to run": (notebook.metadata.get("norms", {}).get("seconds", 0), 90),
    }
    return [
        f"{n:,} {what}, limit {most:,}; cut, or move some to the evidence"
        for what, (n, most) in sizes.items()
        if n > most
    ]


def has_four_experiments(notebook):
    """An experiment is a card, and each card has a fold How measured. Not for evidence pages."""
    cards = sum(c.source.count("<summary>How measured") for _, c in cells(notebook, "markdown"))
    return [f"{cards} experiments, limit 4; move one to the evidence"] * (cards > 4)


# What looks measured: a decimal, or a number with one of these units ...
MEASURED = (
    r"(?<![\w.,^/-])\d[\d,]*(\.\d+|\s?%|×(?!\d)|x\b|\s(per ?cent|points?|ms|µs|s|seconds?|times)\b)"
)
# ... but not as the number of a section or version, a setting, or the level of an interval ...
NUMBER = r"\d[\d.]*((,| and| or| to) (from )?\d[\d.]*)*"
NAMED = (
    r"(section|table|figure|fig|eq|equation|version|python|pytorch|torch|numpy)s?\.?\s" + NUMBER,
    r"(learning rates?|momentum|weight decay)(,? (of|from))? " + NUMBER,
    r"\b95\s%\s(confidence )?intervals?",
)
# ... nor in a sentence with a citation, a default, or what guessing scores ...
CITED = r"\]\(https?:|\{(foot)?cite|\bby default\b|^(\*\*)?Guessing\b"
# ... nor in a paragraph that asks the reader or says why it is typed ...
ASKED = r"\*\*(Predict|Your turn)|<!-- typed: \S.*-->"
# ... nor in a fold or a directive that answers, sets up or proves.
FOLDED = r"(admonition |dropdown )?(answer|how measured|hint|solution|exercise|prf:)"

FORMAT = r"[-+\d.,]*[a-z%]?"  # such as the .1f in an f-string


def types_no_measurement(notebook):
    """Every measured number comes from the code; a typed one goes stale without anybody noticing.

    Not looked at: code, maths, sections headed By hand, and what the patterns above leave out.
    Anything else that is right to type has its reason beside it: ``<!-- typed: reason -->`` in the
    paragraph, ``# typed: reason`` in a cell that says a sentence.
    """
    found, texts = [], []
    for where, heading, fold, text in paragraphs(notebook):
        if not re.search(ASKED, text) and "by hand" not in heading.lower():
            texts += [(where, text)] * (not re.match(FOLDED, fold.lower().strip()))
    for where, cell in cells(notebook, "code"):
        texts.append((where, cell.metadata.get("mystnb", {}).get("figure", {}).get("caption", "")))
        calls = [n for n in ast.walk(syntax(cell)) if name_called(n) == "say"]
        for call in calls * ("# typed: " not in cell.source):
            nodes = (n for n in ast.walk(call) if isinstance(n, ast.Constant))
            strings = [n.value for n in nodes if isinstance(n.value, str)]
            texts.append((where, "…".join(s for s in strings if not re.fullmatch(FORMAT, s))))
    for where, text in texts:
        for sentence in re.split(r"(?<=[.?!:])\s+(?=[A-Z*$\[(])|\n(?=\|)", text):
            bare = re.sub("|".join(NAMED), " ", plain(sentence), flags=re.I)
            if not re.search(CITED, sentence) and (number := re.search(MEASURED, bare)):
                found.append(f"{where}: {number[0]!r} is typed; compute it and say() it, or cite")
    return found


def installs_on_colab(notebook):
    where, cell = next(cells(notebook, "code"), ("cell 1", nbformat.v4.new_code_cell()))
    if cell.source != COLAB or cell.metadata.get("tags") != ["remove-cell"]:
        return [f"{where}: the first code cell is not the one for Colab; copy it, tag and all"]
    return []


def has_an_outline(notebook):
    found, level = [], 0
    for where, cell in cells(notebook, "markdown"):
        for marks in re.findall(r"^(#+) ", text_of(cell.source), flags=re.M):
            if (len(marks) == 1) != (level == 0):
                found.append(f"{where}: the title, with one '#', comes first and once")
            elif len(marks) > level + 1:
                found.append(f"{where}: from level {level} to {len(marks)}; go down one at a time")
            level = len(marks)
    return found or ["no title; begin with '# '"] * (level == 0)


FILLER = r"\b(simply|obviously|trivially|of course|clearly)\b"
EMOJI = (
    "[\U0001f000-\U0001faff\u2600-\u2604\u2607-\u26ff\u2705\u2728\u274c\u2753-\u2757\u2b50\ufe0f]"
)


def speaks_plainly(notebook):
    found = []
    for where, cell in cells(notebook, "markdown", "code"):
        says = [cell.source, str(cell.metadata.get("mystnb", ""))]
        says += [str(o.get("text", "")) + str(o.get("data", {})) for o in cell.get("outputs", [])]
        for text, pattern in (("".join(says), EMOJI), (plain("".join(says[:2])), FILLER)):
            found += [f"{where}: {m[0]!r}; leave it out" for m in re.finditer(pattern, text, re.I)]
    return found


def links_to_what_exists(notebook):
    return [
        f"{where}: no file {target}; mend the link"
        for where, cell in cells(notebook, "markdown")
        for target in re.findall(r"\]\(([^)#\s:]+)(?:#[^)\s]*)?\)", text_of(cell.source))
        if not (CHAPTERS / target).exists()
    ]


def knows_its_sources(notebook):
    """Whether the sources have changed since is for `make run` to see."""
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    sources = str(notebook.metadata.get("norms", {}).get("sources"))
    found = [f"the kernel is {kernel!r}, not 'python3'; `make run`"] * (kernel != "python3")
    if not re.fullmatch("[0-9a-f]{16}", sources):
        found.append(
            "metadata.norms.sources is missing; `make run` keeps what the run was made from"
        )
    return found


def folds_as_the_book_does(notebook):
    """A blank line inside each tag lets Markdown be read there."""
    found = []
    for where, cell in cells(notebook, "markdown"):
        tags = re.findall(r"<details\b|</details>", cell.source)
        whole = r'<details class="fold"><summary>[^\n]+</summary>\n\n.+?\n\n</details>'
        if tags != ["<details", "</details>"] * len(re.findall(whole, cell.source, re.S)):
            found.append(
                f'{where}: a fold is <details class="fold"><summary>…</summary>, a blank line, '
                "its text, a blank line, </details>"
            )
    return found


def records_what_is_known(notebook):
    found = []
    for where, cell in cells(notebook, "code"):
        for entry in data(cell, MIME):
            if entry["id"] not in IDS:
                found.append(f"{where}: {entry['id']!r} is not one of the 37 cells of the table")
            if entry["verdict"] not in VERDICTS:
                found.append(f"{where}: {entry['verdict']!r}; the verdicts: {', '.join(VERDICTS)}")
            if f"{entry['id']}: {entry['verdict']}" not in data(cell, "text/plain"):
                found.append(f"{where}: its verdict word says something else; `make run`")
    return found


def repeated(notebooks):
    """Names of figures and ids of records stand for one place in the whole book."""
    names = Counter()
    for notebook in notebooks:
        for _, cell in cells(notebook, "code"):
            names[cell.metadata.get("mystnb", {}).get("figure", {}).get("name")] += 1
            names.update(entry["id"] for entry in data(cell, MIME))
        for _, cell in cells(notebook, "markdown"):
            names.update(re.findall(r"^:name: *(\S+)", cell.source, flags=re.M))
    return [f"{name!r} stands {n} times; rename" for name, n in names.items() if name and n > 1]


CHECKS = [
    is_valid,
    ran_in_order,
    has_clean_outputs,
    leaves_nbval_its_teeth,
    shows_its_figures,
    describes_its_figures,
    has_short_cells,
    has_prose_between_cells,
    has_enough_prose,
    keeps_its_length,
    has_four_experiments,
    types_no_measurement,
    installs_on_colab,
    has_an_outline,
    speaks_plainly,
    links_to_what_exists,
    knows_its_sources,
    folds_as_the_book_does,
    records_what_is_known,
]
