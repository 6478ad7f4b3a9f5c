"""Every chapter keeps the limits of chapter_checks.py, and every limit bites on a bad page.

nbval, as chapters/conftest.py sets it up, runs the notebooks and compares what is exact.
"""

import io
import subprocess
import sys
from base64 import b64encode
from functools import cache

import nbformat
import pytest
from chapter_checks import (
    CHAPTERS,
    CHECKS,
    COLAB,
    IDS,
    MIME,
    ROOT,
    describes_its_figures,
    folds_as_the_book_does,
    has_an_outline,
    has_clean_outputs,
    has_enough_prose,
    has_four_experiments,
    has_prose_between_cells,
    has_short_cells,
    installs_on_colab,
    is_valid,
    keeps_its_length,
    knows_its_sources,
    leaves_nbval_its_teeth,
    links_to_what_exists,
    ran_in_order,
    records_what_is_known,
    repeated,
    shows_its_figures,
    speaks_plainly,
    types_no_measurement,
)
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

PAGES = sorted(CHAPTERS.glob("*.ipynb"))


@cache
def read(path):
    """Unlike ``nbformat.read`` it repairs nothing."""
    return nbformat.v4.reads(path.read_text("utf-8"))


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_page(path, check):
    if check is has_four_experiments and path.stem.endswith("_evidence"):
        pytest.skip("an evidence page has as many cards as it needs")
    complaints = check(read(path))
    assert not complaints, "\n".join(complaints)


def test_names_are_unique_in_the_book():
    assert PAGES
    assert repeated([read(path) for path in PAGES]) == []


def test_the_summary_table_has_37_cells():
    assert len(set(IDS)) == 37
    assert {"BN+4", "LN+4", "IN-2", "GN-3", "WN+3", "SN-2", "RMS-3"} <= set(IDS)


# --- A good page, and what spoils it ---


def png(colours, mode="P"):
    picture = Image.new("RGB", (colours, 1))
    picture.putdata([(i, 0, 0) for i in range(colours)])
    picture = picture.quantize(256) if mode == "P" else picture
    picture.save(buffer := io.BytesIO(), "png")
    return b64encode(buffer.getvalue()).decode()


def shown(**mimes):
    names = {
        "png": "image/png",
        "md": "text/markdown",
        "text": "text/plain",
        "svg": "image/svg+xml",
    }
    names |= {"record": MIME, "widget": "application/vnd.jupyter.widget-view+json"}
    return new_output("display_data", {names[k]: v for k, v in mimes.items()})


FOLD = '<details class="fold"><summary>{}</summary>\n\n{}\n\n</details>'
ALT = "The line rises from zero at the left to one at the right."
RECORD = {"id": "BN-1", "verdict": "holds"}


def good():
    figure = {"figure": {"name": "fig-line", "caption": "A line."}, "image": {"alt": ALT}}
    code = [
        (COLAB, {"tags": ["remove-cell"]}, []),
        ("plt.plot([0, 1])\nplt.show()\nassert True", {"mystnb": figure}, [shown(png=png(4))]),
        ("say(f'{x} points')", {"tags": ["hide-input"]}, [shown(md="4.2 points")]),
        ("record('BN-1')", {}, [shown(record=RECORD), shown(text="BN-1: holds")]),
        ("t = 3\nassert t", {"tags": ["nbval-ignore-output"]}, [new_output("stream", text="3")]),
    ]
    code = [
        new_code_cell(source, execution_count=n, metadata=metadata, outputs=outputs)
        for n, (source, metadata, outputs) in enumerate(code, 1)
    ]
    prose = [
        "# Title\n\n" + "Words that explain what the code is there for. " * 10,
        "## One\n\nA line, as in [that chapter](02_batch_norm.ipynb#idea):",
        "It rises.\n\n" + FOLD.format("How measured", "With 0.5 of each."),
        "## Two\n\n### Three\n\nThe verdict stands. See also below.\n\n```python\nx = 0.5\n```",
    ]
    prose = [new_markdown_cell(source) for source in prose]
    page = new_notebook(
        cells=[prose[0], code[0], prose[1], code[1], code[2], prose[2], code[3], prose[3], code[4]]
    )
    page.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    page.metadata["norms"] = {"sources": "0123456789abcdef", "seconds": 90}
    return nbformat.from_dict(page)


FIGURE, SAID, RECORDED, LAST = 3, 4, 6, 8  # the places of some cells on the good page


def source(place, text):
    return lambda page: page.cells[place].update(source=text)


def tags(place, *names):
    return lambda page: page.cells[place].metadata.update(tags=list(names))


def outputs(place, *new):
    return lambda page: page.cells[place].update(outputs=list(new))


def figure(kind, **changes):
    return lambda page: page.cells[FIGURE].metadata.mystnb[kind].update(changes)


def norms(**changes):
    return lambda page: page.metadata.norms.update(changes)


def prose(text):
    return lambda page: page.cells.append(new_markdown_cell(text))


def code(*sources, between="And so on."):
    def spoil(page):
        for text in sources:
            count = page.cells[-1].get("execution_count") or page.cells[-2].execution_count
            page.cells += [new_markdown_cell(between)] * bool(between)
            page.cells.append(new_code_cell(text, execution_count=count + 1))

    return spoil


def no_sources(page):
    del page.metadata["norms"]


def many_figures(page):
    page.cells += [page.cells[FIGURE]] * 10


def same_id(page):
    page.cells[2].id = page.cells[0].id


stderr = new_output("stream", name="stderr", text="UserWarning")
error = new_output("error", ename="ValueError", evalue="", traceback=[])
drawn = "plt.plot([0, 1])\nplt.show()"

BAD = [
    (is_valid, "not a valid", lambda page: page.cells[3].pop("outputs")),
    (is_valid, "cell id", same_id),
    (ran_in_order, "count None", lambda page: page.cells[LAST].update(execution_count=None)),
    (ran_in_order, "count 7", lambda page: page.cells[LAST].update(execution_count=7)),
    (has_clean_outputs, "'error'", outputs(LAST, error)),
    (has_clean_outputs, "'stderr'", outputs(LAST, stderr)),
    (has_clean_outputs, "svg", outputs(LAST, shown(svg="<svg/>"))),
    (has_clean_outputs, "widget", outputs(LAST, shown(widget={}))),
    (leaves_nbval_its_teeth, "assert what", source(LAST, "t = 3\nprint('assert')")),
    (leaves_nbval_its_teeth, "kept from", tags(LAST, "nbval-skip")),
    (leaves_nbval_its_teeth, "kept from", tags(LAST, "raises-exception")),
    (leaves_nbval_its_teeth, "kept from", source(LAST, "# NBVAL_IGNORE_OUTPUT\nassert t")),
    (leaves_nbval_its_teeth, "record", tags(RECORDED, "nbval-ignore-output")),
    (leaves_nbval_its_teeth, "';'", source(LAST, "assert t;  # shown\n")),
    (shows_its_figures, "1 figures, 0", source(FIGURE, "plt.plot([0, 1])")),
    (shows_its_figures, "0 figures, 1", outputs(FIGURE)),
    (shows_its_figures, "2 figures", outputs(FIGURE, shown(png=png(4)), shown(png=png(4)))),
    (shows_its_figures, "goes on", source(FIGURE, drawn + "\nx = 3")),
    (shows_its_figures, "palette", outputs(FIGURE, shown(png=png(65)))),
    (shows_its_figures, "palette", outputs(FIGURE, shown(png=png(4, "RGB")))),
    (describes_its_figures, "named", figure("figure", name="line")),
    (describes_its_figures, "caption", figure("figure", caption="")),
    (describes_its_figures, "alt", figure("image", alt="A line that rises.")),
    (describes_its_figures, "alt", figure("image", alt="a b c d e f g h i")),
    (describes_its_figures, "alt", figure("figure", caption=ALT)),
    (describes_its_figures, "named", lambda page: page.cells[FIGURE].metadata.clear()),
    (has_short_cells, "31 lines", source(LAST, "x = 1\n\n" * 31)),
    (has_short_cells, "over 20", source(LAST, "x = 1\n" * 21)),
    (has_short_cells, "median", code(*["x = 1\n" * 9] * 6)),
    (has_short_cells, "80 columns", source(LAST, "x = 1  #" + "." * 80)),
    (has_prose_between_cells, "'x = 1'", code("x = 1", between="")),
    (has_prose_between_cells, "'x = 1'", code("x = 1", between="## A heading.")),
    (has_prose_between_cells, "'x = 1'", code("x = 1", between="```python\nshow(this).\n```")),
    (has_prose_between_cells, "say(", tags(SAID)),
    (has_prose_between_cells, "say(", tags(SAID, "hide-output")),
    (has_enough_prose, "8 a line", source(0, "# Title")),
    (keeps_its_length, "words", prose("word " * 4500)),
    (keeps_its_length, "code cells", code(*["x = 1"] * 22)),
    (keeps_its_length, "figures", many_figures),
    (keeps_its_length, "bytes", outputs(LAST, shown(text="x" * 10**6))),
    (keeps_its_length, "seconds", norms(seconds=91)),
    (has_four_experiments, "5 ", prose(FOLD.format("How measured", "So.") * 4)),
    (installs_on_colab, "Colab", source(1, COLAB.replace("https://", "https://other."))),
    (installs_on_colab, "Colab", tags(1)),
    (installs_on_colab, "Colab", lambda page: page.cells.pop(1)),
    (has_an_outline, "no title", lambda page: page.update(cells=[])),
    (has_an_outline, "once", source(0, "## Title")),
    (has_an_outline, "once", prose("# Another")),
    (has_an_outline, "from level 3 to 5", prose("##### Deep")),
    (speaks_plainly, "simply", prose("We simply add.")),
    (speaks_plainly, "Of course", figure("figure", caption="Of course a line.")),
    (speaks_plainly, "🎉", prose("Done 🎉")),
    (speaks_plainly, "✅", outputs(LAST, new_output("stream", text="✅"))),
    (links_to_what_exists, "03_no", prose("See [there](03_no.ipynb#x).")),
    (knows_its_sources, "sources", no_sources),
    (knows_its_sources, "kernel", lambda page: page.metadata.kernelspec.update(name="conda")),
    (folds_as_the_book_does, "fold", prose(FOLD.format("A", "B").replace(' class="fold"', ""))),
    (folds_as_the_book_does, "fold", prose(FOLD.format("A", "B").replace("</details>", ""))),
    (folds_as_the_book_does, "fold", prose(FOLD.format("A", "B").replace("\n\nB", "\nB"))),
    (folds_as_the_book_does, "fold", prose('<details class="fold">\n\nB\n\n</details>')),
    (records_what_is_known, "37", outputs(RECORDED, shown(record={**RECORD, "id": "BN-3"}))),
    (
        records_what_is_known,
        "'true'",
        outputs(RECORDED, shown(record={**RECORD, "verdict": "true"})),
    ),
    (
        records_what_is_known,
        "word",
        outputs(RECORDED, shown(record=RECORD), shown(text="BN-1: proved")),
    ),
]

TYPED = [
    "It scores 96.2 % of the digits.",
    "It scores 96 % of the digits.",
    "It gains 3.1 points.",
    "It gains about 3 points, as [the evidence](02_batch_norm.ipynb) shows.",
    "A step takes 12 ms.",
    "It is 3 times faster.",
    "It is 2× as fast.",
    "It is 14x as fast.",
    "The ratio is 0.83 in the end.",
    "| none | 11.3 |\n|---|---|\n| batch | 96.1 |",
    "# Title\n\nGuessing scores 10 %. Batch norm scores 96 %.",
    "```{admonition} Result\nIt gains 3.1 points.\n```",
    FOLD.format("More", "It gains 3.1 points."),
    FOLD.format("Answer", "Half.") + "\n\nIt gains 3.1 points.",
    "### By hand\n\nIt is 0.58.\n\n### And measured\n\nIt is 0.58.",
    "<!-- typed: not in this paragraph -->\n\nIt gains 3.1 points.",
    "<!-- typed: -->\nIt gains 3.1 points.",
]

NOT_TYPED = [
    "The paper reports 2.3 times ([2015](https://arxiv.org/abs/1502.03167)).",
    "The paper reports 2.3 times {cite}`ioffe2015`.",
    "`x = 0.5` and $\\pi/(\\pi-1) = 1.47$ and\n\n$$\n1.47\n$$\n\nand\n\n```python\nx = 1.47\n```",
    "### By hand\n\nIt is 0.58.\n\n| a | 1.73 |\n|---|---|",
    FOLD.format("How measured", "It took 12 s at most.\n\nWith 0.5 of each."),
    "```{solution} ex-one\nIt is 0.58.\n```",
    "**Predict.** Near 10 %, or above 90 %?",
    "Guessing scores 10 %.",
    "The momentum is 0.1 by default, of 8×8 pixels and 1,000 digits, with 300 steps.",
    "Section 3.4 and Table 1.2 of the paper, with Python 3.11, at learning rates 0.1 and 0.3.",
    "The 95 % interval says so.",
    "<!-- typed: a limit from theory -->\nThe share is 0.58 at most.",
]
BAD += [(types_no_measurement, "is typed", prose(text)) for text in TYPED]
BAD += [
    (types_no_measurement, "'3.1", source(SAID, "say('It gains 3.1 points.')")),
    (types_no_measurement, "'96 %", source(SAID, "say(f'Of {x:0.2f}, 96 % are right.')")),
    (types_no_measurement, "'0.9'", figure("figure", caption="It reaches 0.9 soon.")),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_good_page_passes(check):
    assert check(good()) == []
    assert check in [bad[0] for bad in BAD], "show that it bites: add a bad page"


@pytest.mark.parametrize(("check", "complaint", "spoil"), BAD)
def test_a_bad_page_is_noticed(check, complaint, spoil):
    page = good()
    spoil(page)
    assert complaint in "\n".join(check(page))


@pytest.mark.parametrize(
    "spoil",
    [prose(text) for text in NOT_TYPED]
    + [
        source(SAID, "say(f'It gains {x:0.2f} points, by {y} %.')"),
        source(SAID, "# typed: the target\nsay('It passes 90 % of the digits.')"),
    ],
)
def test_what_may_be_typed(spoil):
    page = good()
    spoil(page)
    assert types_no_measurement(page) == []


def test_a_name_used_twice_is_noticed():
    complaints = "\n".join(repeated([good(), good()]))
    assert "'fig-line' stands 2 times" in complaints
    assert "'BN-1' stands 2 times" in complaints
    page = good()
    prose("```{figure} a.png\n:name: fig-line\n```")(page)
    assert repeated([page]) == ["'fig-line' stands 2 times; rename"]


@pytest.mark.slow
def test_nbval_compares_what_is_exact_and_leaves_out_what_is_measured(tmp_path):
    """Stored outputs that differ from the run: a text and a verdict word fail, the rest passes."""
    show = "import os\nfrom IPython.display import display\ndisplay({}, raw=True)"
    box = '<div class="norms-evidence">{}<br>\n<b>{}</b></div>'
    run = {
        "a text": ({"text/plain": "1"}, {"text/plain": "2"}),
        "a verdict": ({"text/plain": "BN-1: holds"}, {"text/plain": "BN-1: proved"}),
        "other HTML": ({"text/html": "<b>1</b>"}, {"text/html": "<b>2</b>"}),
        "no record": ({MIME: {"n": 1}}, {MIME: {"n": 1}, "text/html": box.format(1, 2)}),
        "the environment": ('{"text/plain": os.environ["NORMS_SILENT"]}', {"text/plain": "1"}),
        "a sentence": ({"text/markdown": "1.5 points"}, {"text/markdown": "1.6 points"}),
        "a record": (
            {MIME: {"n": 1}, "text/html": box.format(1, 2)},
            {MIME: {"n": 2}, "text/html": box.format(2, 2)},
        ),
    }
    page = new_notebook()
    for count, (now, stored) in enumerate(run.values(), 1):
        output = new_output("display_data", stored)
        page.cells.append(new_code_cell(show.format(now), execution_count=count, outputs=[output]))
    nbformat.write(page, tmp_path / "page.ipynb")
    (tmp_path / "conftest.py").write_text((CHAPTERS / "conftest.py").read_text("utf-8"), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]")
    flags = ["--nbval", "--nbval-current-env", "-rA", "--color=no", "-p", "no:cacheprovider"]
    flags.append(f"--nbval-sanitize-with={ROOT / 'tests/nbval_sanitize.cfg'}")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *flags, "page.ipynb"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    passed = [
        name
        for number, name in enumerate(run)
        if f"PASSED page.ipynb::Cell {number}" in result.stdout
    ]
    assert passed == ["the environment", "a sentence", "a record"], result.stdout + result.stderr
