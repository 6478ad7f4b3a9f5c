"""Each limit of a chapter, as a function from a notebook to a list of complaints.

Together with nbval, which runs the notebooks and compares their text, they keep the pages honest:
what nbval lets pass (a cell that never ran, a picture, an ignored output) is looked at here.
"""

import ast
import io
import re
import statistics
import string
import sys
from base64 import b64decode
from collections import Counter
from pathlib import Path

import nbformat
from PIL import Image

from norms.experiments import provenance, verdicts
from norms.experiments.claims import VERDICTS, verdict
from norms.experiments.evidence import Interval
from norms.experiments.grids import CLAIMS
from norms.experiments.verdicts import MIME

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "site" / "ext")]
from book_times import LINE  # noqa: E402

import practice  # noqa: E402
from practice import BEGIN, END  # noqa: E402

CHAPTERS = ROOT / "chapters"
ADDRESS = re.search(r"^\s*url:\s*(\S+)", (ROOT / "_config.yml").read_text("utf-8"), re.M)[1]
COLAB = f"""\
# On Colab this installs the package and leaves Colab's torch alone; elsewhere it does nothing.
import sys

if "google.colab" in sys.modules:
    %pip install -q --no-deps "git+{ADDRESS}.git\""""


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
    """Lines that are not empty; the marks of solutions are not seen on any page."""
    lines = (line.strip() for line in cell.source.split("\n"))
    return sum(bool(line) and line not in (BEGIN, END) for line in lines)


def syntax(cell):
    """The cell's tree; lines for IPython become ``pass``, and a broken cell an empty tree."""
    try:
        return ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", cell.source, flags=re.M))
    except SyntaxError:
        return ast.Module([], [])


def name_called(node):
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def strings(tree):
    constants = (n for n in ast.walk(tree) if isinstance(n, ast.Constant))
    return [n.value for n in constants if isinstance(n.value, str)]


def calls(tree, *names):
    """The calls of functions with these names, whatever stands before them."""
    return [n for n in ast.walk(tree) if name_called(n).split(".")[-1] in names]


def asserts(tree):
    return any(
        isinstance(node, ast.Assert) or re.match(r"(.*\.)?(assert_|finding$)", name_called(node))
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
        drawn = [ast.unparse(line) == "plt.show()" for line in syntax(cell).body]
        if len(pictures) != sum(drawn) or len(pictures) > 1:
            found.append(
                f"{where}: {len(pictures)} figures, {sum(drawn)} plt.show(); one of each, or none"
            )
        elif pictures:
            after = syntax(cell).body[drawn.index(True) + 1 :]
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
ASKED = r"\*\*(Predict|Your turn|Yours to write|Time\.)|<!-- typed: \S.*-->"
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
        said = [n for n in ast.walk(syntax(cell)) if name_called(n) == "say"]
        for call in said * ("# typed: " not in cell.source):
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


def names_its_kernel(notebook):
    kernel = notebook.metadata.get("kernelspec", {}).get("name")
    return [f"the kernel is {kernel!r}, not 'python3'; `make run`"] * (kernel != "python3")


def begins_with_seeds(notebook):
    """``page.begin()`` seeds torch and sets its threads: before it stand imports alone."""
    code = shown(notebook)
    lines = syntax(code[0][1]).body if code else []
    called = [ast.unparse(line) == "page.begin()" for line in lines]
    if sum(called) != 1:
        return ["the first cell in sight does not call page.begin(): what is drawn has no seed"]
    before = lines[: called.index(True)]
    if not all(isinstance(line, ast.Import | ast.ImportFrom) for line in before):
        return [f"{code[0][0]}: does more than import before page.begin()"]
    return []


CLOCKS = ("perf_counter", "process_time", "monotonic", "timeit", "race", "clock_gettime")
STORED = (
    "cost_by_width",
    "step_cost",
    "weight_costs",
)  # what norms.experiments.timing reads from a table


def leaves_the_clock_alone(notebook):
    """A time differs on every machine: it is measured once, stored in a table and read from it."""
    found = []
    for where, cell in cells(notebook, "code"):
        names = set(re.findall(r"^\s*%%?(time\w*|prun)\b", cell.source, flags=re.M))
        for node in ast.walk(syntax(cell)):
            text = ast.unparse(node) if isinstance(node, ast.Attribute) else ""
            root, _, rest = text.partition(".")
            if root in ("time", "timeit") or (root == "timing" and rest not in STORED):
                names.add(text)
            names |= {name_called(node).split(".")[-1]} & {*CLOCKS}
            if isinstance(node, ast.Import):
                names |= {a.name for a in node.names} & {"time", "timeit"}
            elif isinstance(node, ast.ImportFrom):
                taken = {alias.name for alias in node.names}
                clock = (node.module or "").split(".")[-1]
                names |= taken if clock in ("time", "timeit") else set()
                names |= taken - {*STORED} if clock == "timing" else set()
        found += [
            f"{where}: reads the clock by {name!r}; store the time, and read the table"
            for name in sorted(names)
        ]
    return found


def types_no_verdict(notebook):
    """A verdict follows from bounds; nobody types it, or writes a record by hand."""
    found = []
    for where, cell in cells(notebook, "code"):
        tree = syntax(cell)
        words = {s.strip(" *_.:") for s in strings(tree)} & {*VERDICTS}
        found += [f"{where}: types the verdict {word!r}; judge()" for word in sorted(words)]
        by_hand = calls(tree, "record") or any(MIME in string for string in strings(tree))
        by_hand = by_hand or any(getattr(n, "attr", "") == "MIME" for n in ast.walk(tree))
        if by_hand:
            found.append(f"{where}: writes a record by hand; judge()")
    return found


BOUNDS = ("assert_above", "assert_below", "assert_within", "within", "holds")


def states_its_bounds_in_the_package(notebook):
    """A bound on a measurement stands in CLAIMS or FINDINGS, committed before the page is run.

    A page asserts what is exact, such as ``torch.equal``, and tolerances of identities.
    """
    found, ends = [], set()
    for where, cell in cells(notebook, "code"):
        tree = syntax(cell)
        told = {name_called(call) for call in calls(tree, *BOUNDS)}
        told |= {
            node.module
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").endswith(".claims")
        }
        for node in ast.walk(tree):
            match node:
                case ast.Assign(targets=targets, value=value):
                    looked = _of_intervals(value, ends)
                    ends = ends | _names(targets) if looked else ends - _names(targets)
                case ast.Assert(test=test):
                    told |= _of_intervals(test, ends, "mean")
        found += [
            f"{where}: bounds {what!r} here; state it in FINDINGS, and assert that by finding()"
            for what in sorted(told)
        ]
    return found


def _of_intervals(tree, ends, *more):
    """The ends of intervals that an expression looks at, also those that have got a name."""
    methods = {node.func for node in ast.walk(tree) if isinstance(node, ast.Call)}
    return {
        ast.unparse(node)
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id in ends)
        or (
            isinstance(node, ast.Attribute)
            and node.attr in ("low", "high", *more)
            and node not in methods
        )
    }


def _names(targets):
    nodes = (node for target in targets for node in ast.walk(target))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


USES = ("judge", "finding", "verdict_table", "rerun", "results", "chosen", "table", "arms")
USES += ("step_cost",)


def names_what_it_uses(notebook):
    """Freshness looks for the names of grids, claims and pages in the code: there they must be."""
    return [
        f"{where}: {name_called(call)}() of something that is put together; write its name out"
        for where, cell in cells(notebook, "code")
        for call in calls(syntax(cell), *USES)
        if not all(
            isinstance(a, ast.Constant)
            for a in (call.args if "verdict_table" in name_called(call) else call.args[:1])
        )
    ]


def called_with(notebook, function):
    """The first arguments with which the page calls a function: claims judged, findings asserted."""
    found = [call for _, cell in cells(notebook, "code") for call in calls(syntax(cell), function)]
    return [call.args[0].value for call in found if call.args]


def findings(notebook):
    """The findings that the page asserts, or tries with their bounds if one does not hold."""
    tried = [
        call.args[0].slice.value
        for _, cell in cells(notebook, "code")
        for call in calls(syntax(cell), "verdict")
        if re.fullmatch(r"(grids\.)?FINDINGS\[['\"].*['\"]\]", ast.unparse(call.args[0]))
    ]
    return called_with(notebook, "finding") + tried


def not_once(pages, stated):
    """What is stated and does not stand on one page, once; and what stands there unstated.

    Args:
        pages: dictionary from a page's name to the names that it judges or asserts.
        stated: the names that the package has.
    """
    places = {}
    for page, names in pages.items():
        for name in names:
            places.setdefault(name, []).append(page)
    found = [
        f"{name!r} is stated, and no page looks at it" for name in stated if name not in places
    ]
    found += [
        f"{name!r} on {at[0]} is stated nowhere"
        for name, at in places.items()
        if name not in stated
    ]
    return found + [
        f"{name!r} is looked at {len(at)} times: {', '.join(at)}"
        for name, at in places.items()
        if len(at) > 1
    ]


def not_shown(notebooks, tables):
    """The arms of stored tables that no page shows, row by row as ``sweep.table`` has them.

    Args:
        notebooks: all pages, with their stored outputs.
        tables: dictionary from a grid to its table.
    """
    shown = [
        set(output.splitlines())
        for notebook in notebooks
        for _, cell in cells(notebook, "code")
        for output in data(cell, "text/markdown")
    ]
    found = []
    for grid, table in tables.items():
        head, _, *rows = table.splitlines()
        rows_shown = set().union(*(lines for lines in shown if head in lines))
        found += [
            f"grid {grid!r}: no page shows the arm {row.split(' | ')[0][2:]!r}; "
            f"say(sweep.table({grid!r})) in a fold"
            for row in rows
            if row not in rows_shown
        ]
    return found


def is_fresh(path):
    """What the stored run was made from is what it would be made from now."""
    stored = nbformat.v4.reads(path.read_text("utf-8")).metadata.get("norms", {}).get("uses")
    parts = provenance.changed_parts(stored, provenance.of_page(path))
    return [f"{path.stem}: {part}; `make run`" for part in parts]


PREDICT = r"\*\*Predict\b[^*]*[.:]\*\*"
# A fold over several cells: it opens at the end of one and closes in a later one.
SEAL = rf"{practice.OPENED}\Z|{practice.CLOSED}"


def seals_its_predictions(notebook):
    """What a **Predict** asks is answered in a sealed fold, and nowhere else before the next heading.

    The fold opens at the end of a cell, closes in a later one, and holds no heading.
    """
    found, state, since = [], "", ""
    for where, cell in cells(notebook, "markdown", "code"):
        if cell.cell_type == "code":
            shows = any(data(cell, mime) for mime in ("image/png", "text/markdown", MIME))
            if shows and state in ("asked", "answered") and not tagged(cell, "hide-cell"):
                found.append(f"{where}: shows a result outside the sealed fold of {since}")
            continue
        for part in re.findall(rf"{PREDICT}|{SEAL}|^#+ ", text_of(cell.source), flags=re.M):
            kind = {"**": "asked", "<d": "open", "</": "answered"}.get(part[:2], "")
            if state == "asked" and kind != "open":
                found.append(f"{since}: its prediction is not sealed; open a sealed fold behind it")
            if state == "open" and kind != "answered":
                what = {"asked": "a prediction", "open": "a sealed fold"}.get(kind, "a heading")
                found.append(f"{where}: {what} inside the sealed fold of {since}")
            elif state != "open" and kind == "answered":
                found.append(f"{where}: closes a sealed fold that is not open")
            else:
                state, since = kind, since if kind == "answered" else where
    last = {"asked": "its prediction is not sealed", "open": "its sealed fold is not closed"}
    return found + [f"{since}: {last[state]}" for state in [state] if state in last]


def marks_its_solutions(notebook):
    """What the reader writes is asked for above, stands between marks, and is a body."""
    found, prose = [], ""
    for where, cell in cells(notebook, "markdown", "code"):
        if cell.cell_type == "markdown":
            prose = cell.source
            continue
        marks = re.findall(f"^ *(?:{BEGIN}|{END})$", cell.source, flags=re.M)
        if [mark.strip() for mark in marks] != [BEGIN, END] * (len(marks) // 2):
            found.append(f"{where}: marks that do not pair: {BEGIN}, then {END}")
        if marks and any(not mark.startswith("    ") for mark in marks):
            found.append(
                f"{where}: marks a whole definition; its signature stays, its body is asked"
            )
        if marks and tagged(cell, "hide", "remove"):
            found.append(f"{where}: asks the reader in a hidden cell")
        if marks and "**Yours to write**" not in prose:
            found.append(f"{where}: a solution that nobody asked for; **Yours to write** before it")
    return found


def asks_for_the_norm(notebook):
    """Forward, backward and layer are written by the reader. For the chapters of the norms."""
    asked = sum(BEGIN in cell.source for _, cell in cells(notebook, "code"))
    return [f"asks the reader to write {asked} cells; three carry the norm"] * (asked < 3)


STOP = r"you can stop here"


def minutes(notebook):
    """What the page takes, by the rule of the course: read, do, run, exercises, and a part of it.

    Reading: 150 words a minute, a quarter of a minute for a displayed formula, half a one for a
    figure, three seconds for a line of code in sight. Doing: what the tasks say, and a minute a
    prediction. All are rounded to five.
    """
    of_part = [i for i, c in enumerate(notebook.cells) if re.search(STOP, c.source, re.M | re.I)]
    part = nbformat.from_dict({**notebook, "cells": notebook.cells[: (of_part or [0])[0]]})
    text = "\n\n".join(cell.source for _, cell in cells(notebook, "markdown"))
    path, _, exercises = text.partition("\n### Exercises")
    seconds = notebook.metadata.get("norms", {}).get("seconds", 0)
    return {
        "read": _to_five(_reading(notebook)),
        "do": _to_five(_doing(path)),
        "run": max(0.5, -(-seconds // 30) / 2),
        "exercises": _to_five(_doing(exercises)),
        "part_read": _to_five(_reading(part)),
        "part_do": _to_five(_doing("\n".join(c.source for _, c in cells(part, "markdown")))),
    }


def _reading(notebook):
    text = "\n".join(cell.source for _, cell in cells(notebook, "markdown"))
    formulas = len(re.findall(DISPLAY, text, flags=re.S))
    figures = sum(len(data(cell, "image/png")) for _, cell in cells(notebook, "code"))
    seen = [c for _, c in shown(notebook) if not tagged(c, *UNSEEN, "hide-cell")]
    return words(notebook) / 150 + formulas / 4 + figures / 2 + sum(map(length, seen)) / 20


def _doing(text):
    return sum(map(int, re.findall(r"\((\d+) minutes?\b", text))) + len(re.findall(PREDICT, text))


def _to_five(number):
    return max(5, 5 * round(number / 5)) if number else 0


def tells_its_times(notebook):
    text = "\n".join(cell.source for _, cell in cells(notebook, "markdown"))
    line, right, is_ = LINE.search(text), time_line(notebook), minutes(notebook)
    if not line:
        return [f"does not tell its times; write {right!r}"]
    told = {key: int(line[key] or 0) for key in ("read", "do", "exercises", "part_read", "part_do")}
    off = any(abs(told[key] - is_[key]) > 5 for key in told)
    run = {"half a minute": 0.5}.get(line["run"]) or float(line["run"].split()[0])
    if off or abs(run - is_["run"]) > 0.5 or bool(told["part_read"]) != bool(is_["part_read"]):
        return [f"tells {line[0]!r}; right is {right!r}"]
    return []


def time_line(notebook):
    """The line that the page should have."""
    is_ = minutes(notebook)
    run = {0.5: "half a minute", 1.0: "1 minute"}.get(is_["run"], f"{is_['run']:g} minutes")
    line = f"**Time.** Read {is_['read']} minutes, do {is_['do']}, run {run}."
    if is_["exercises"]:
        line += f" The exercises take {is_['exercises']} more."
    if is_["part_read"]:
        line += (
            f" Sections 1 to 5 stand on their own: read {is_['part_read']}, do {is_['part_do']}."
        )
    return line


def keeps_its_time(notebook):
    """An hour of reading, an hour and a half of doing. For the chapters of the norms."""
    limits = {"read": 60, "part_read": 40, "part_do": 65, "do": 90}
    is_ = minutes(notebook)
    return [
        f"{is_[key]} minutes ({key}), limit {most}; cut"
        for key, most in limits.items()
        if is_[key] > most
    ]


def folds_as_the_book_does(notebook):
    """A blank line inside each tag lets Markdown be read there."""
    found = []
    for where, cell in cells(notebook, "markdown"):
        source = re.sub(SEAL, "", cell.source)
        tags = re.findall(r"<details\b|</details>", source)
        whole = r'<details class="fold"><summary>[^\n]+</summary>\n\n.+?\n\n</details>'
        if tags != ["<details", "</details>"] * len(re.findall(whole, source, re.S)):
            found.append(
                f'{where}: a fold is <details class="fold"><summary>…</summary>, a blank line, '
                "its text, a blank line, </details>"
            )
    return found


def records_what_is_known(notebook):
    found = []
    for where, cell in cells(notebook, "code"):
        entries = data(cell, MIME)
        ids = [call.args[0].value for call in calls(syntax(cell), "judge") if call.args]
        if [entry["id"] for entry in entries] != ids:
            found.append(f"{where}: judges {ids}, its records are others; `make run`")
        for entry in entries:
            found += [f"{where}: {entry['id']}: {what}; `make run`" for what in misread(entry)]
            if f"{entry['id']}: {entry['verdict']}" not in data(cell, "text/plain"):
                found.append(f"{where}: its verdict word says something else; `make run`")
    return found


def misread(entry):
    """What of a record is not as its claim and its own numbers say."""
    claim, word = CLAIMS.get(entry["id"]), entry["verdict"]
    if claim is None:
        return ["no cell of the summary table"]
    if word not in (*claim.bounds, "not seen here"):
        return [f"cannot get the verdict {word!r}; it can get: {', '.join(claim.bounds)}"]
    of_claim = {
        "claim": claim.statement,
        "arms": list(claim.arms),
        "n": claim.seeds or None,
        "of": claim.of,
        "unit": claim.unit,
        "paper_for": claim.paper_for,
        "paper_against": claim.paper_against,
    }
    found = [
        f"its {key} is {entry.get(key)!r}, the claim's {value!r}"
        for key, value in of_claim.items()
        if entry.get(key) != value
    ]
    found += ["has no condition"] * (word in claim.condition and not entry.get("condition"))
    pieces = string.Formatter().parse(claim.condition.get(word, ""))
    pattern = "".join(re.escape(text) + ".+" * bool(name) for text, name, *_ in pieces)
    if entry.get("condition") and not re.fullmatch(pattern, entry["condition"]):
        found.append(f"its condition is {entry['condition']!r}, the claim's another one")
    elsewhere, now = (
        also or {} for also in (entry.get("also_on"), verdicts._also_on(entry["id"], word))
    )
    if elsewhere.get("shown") != now.get("shown"):
        found.append(f"is also on {elsewhere.get('shown')!r}, stored is {now.get('shown')!r}")
    # Every bound that decided is listed with what was measured, and whether it holds.
    tried = [claim.bounds[word]] if word in claim.bounds else list(claim.bounds.values())
    expected = [f"{claim.quantities[q]}: {b}, measured " for t in tried for q, b in t.items()]
    listed = entry.get("bounds", [])
    if len(listed) != len(expected) or not all(map(str.startswith, listed, expected)):
        return [*found, f"its bounds are {listed}, those of the claim {expected}"]
    lines = iter(listed)
    failed = [any(["(does not hold)" in next(lines) for _ in bounds]) for bounds in tried]
    if any(failed) if word in claim.bounds else not all(failed):
        found.append(f"is {word!r}, but its bounds say something else")
    # The effect is stored in full, so what it alone decides is decided again.
    effect = entry["effect"]
    effect = Interval(**effect) if isinstance(effect, dict) else effect
    if getattr(effect, "n", 0) != claim.seeds:
        found.append(
            f"its effect is of {getattr(effect, 'n', 0)} seeds, the claim of {claim.seeds}"
        )
    bound = claim.bounds.get(word, {}).get(claim.effect)
    alone = set(claim.quantities) == {claim.effect}
    again = verdict(claim, {claim.effect: effect})[0] if alone else word
    if again != word or (bound is not None and not bound.holds(effect)):
        found.append(f"is {word!r}, but its effect is {effect}")
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
    names_its_kernel,
    begins_with_seeds,
    leaves_the_clock_alone,
    types_no_verdict,
    states_its_bounds_in_the_package,
    names_what_it_uses,
    folds_as_the_book_does,
    seals_its_predictions,
    marks_its_solutions,
    tells_its_times,
    records_what_is_known,
]
