"""Every chapter keeps the limits of chapter_checks.py, and every limit bites on a bad page.

nbval, as chapters/conftest.py sets it up, runs the notebooks and compares what is exact.
"""

import io
import re
import shutil
import subprocess
import sys
from base64 import b64encode
from functools import cache

import nbformat
import pytest
from chapter_checks import (
    BEGIN,
    CHAPTERS,
    CHECKS,
    COLAB,
    END,
    MIME,
    ROOT,
    asks_for_the_norm,
    begins_with_seeds,
    called_with,
    describes_its_figures,
    findings,
    folds_as_the_book_does,
    has_an_outline,
    has_clean_outputs,
    has_enough_prose,
    has_four_experiments,
    has_prose_between_cells,
    has_short_cells,
    installs_on_colab,
    is_fresh,
    is_valid,
    keeps_its_length,
    keeps_its_time,
    leaves_nbval_its_teeth,
    leaves_the_clock_alone,
    links_to_what_exists,
    marks_its_solutions,
    names_its_kernel,
    names_what_it_uses,
    not_once,
    not_shown,
    ran_in_order,
    records_what_is_known,
    repeated,
    seals_its_predictions,
    shows_its_figures,
    speaks_plainly,
    states_its_bounds_in_the_package,
    tells_its_times,
    types_no_measurement,
    types_no_verdict,
)
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

from norms.experiments import gans, grids, provenance, sweep
from norms.experiments.grids import CLAIMS, FINDINGS

PAGES = sorted(CHAPTERS.glob("*.ipynb"))
NORMS = sorted(CHAPTERS.glob("0[2-9]_*_norm.ipynb"))


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


@pytest.mark.parametrize("check", [asks_for_the_norm, keeps_its_time], ids=lambda c: c.__name__)
@pytest.mark.parametrize("path", NORMS, ids=lambda path: path.stem)
def test_chapter_of_a_norm(path, check):
    complaints = check(read(path))
    assert not complaints, "\n".join(complaints)


def test_names_are_unique_in_the_book():
    assert PAGES
    assert repeated([read(path) for path in PAGES]) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_stored_run_is_fresh(path):
    complaints = is_fresh(path)
    assert not complaints, "\n".join(complaints)


def test_every_stated_claim_is_judged_on_one_page():
    found = {path.stem: called_with(read(path), "judge") for path in PAGES}
    complaints = not_once(found, [cell for cell, claim in CLAIMS.items() if claim.bounds])
    assert not complaints, "\n".join(complaints)


def test_every_finding_is_asserted_or_tried_on_one_page():
    found = {path.stem: findings(read(path)) for path in PAGES}
    complaints = not_once(found, list(FINDINGS))
    assert not complaints, "\n".join(complaints)


def test_every_stored_arm_is_shown():
    tables = {grid: sweep.table(grid) for grid in grids.GRIDS}
    tables |= {name: gans.table(name) for name in gans.GAMES}
    complaints = not_shown([read(path) for path in PAGES], tables)
    assert not complaints, "\n".join(complaints)


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


OPENED, CLOSED = '<details class="fold sealed"><summary>Show</summary>', "</details><!-- sealed -->"
FOLD = '<details class="fold"><summary>{}</summary>\n\n{}\n\n</details>'
ALT = "The line rises from zero at the left to one at the right."
BOUND = "largest entry of the Jacobian between samples: exactly 0, measured 0"
LN_2 = CLAIMS["LN-2"]
RECORD = {"id": "LN-2", "verdict": "proved", "claim": LN_2.statement, "effect": 0.0, "n": None}
RECORD |= {"unit": LN_2.unit, "condition": LN_2.condition["proved"], "bounds": [BOUND]}
RECORD |= {"paper_for": LN_2.paper_for, "paper_against": LN_2.paper_against}
ZERO = {"mean": 0.0, "low": 0.0, "high": 0.0, "n": 10}
RECORD |= {"arms": list(LN_2.arms), "of": LN_2.of, "also_on": None}


def good():
    figure = {"figure": {"name": "fig-line", "caption": "A line."}, "image": {"alt": ALT}}
    code = [
        (COLAB, {"tags": ["remove-cell"]}, []),
        ("from norms.experiments import page\n\npage.begin()", {}, []),
        ("plt.plot([0, 1])\nplt.show()\nassert True", {"mystnb": figure}, [shown(png=png(4))]),
        ("say(f'{x} points')", {"tags": ["hide-input"]}, [shown(md="4.2 points")]),
        ("verdicts.judge('LN-2', leak=0)", {}, [shown(record=RECORD), shown(text="LN-2: proved")]),
        ("t = 3\nassert t", {"tags": ["nbval-ignore-output"]}, [new_output("stream", text="3")]),
    ]
    code = [
        new_code_cell(source, execution_count=n, metadata=metadata, outputs=outputs)
        for n, (source, metadata, outputs) in enumerate(code, 1)
    ]
    prose = [
        "# Title\n\n**Time.** Read 5 minutes, do 0, run 1.5 minutes.\n\n"
        + "Words that explain what the code is there for. " * 10,
        "## One\n\nA line, as in [that chapter](02_batch_norm.ipynb#idea):",
        "It rises.\n\n" + FOLD.format("How measured", "With 0.5 of each."),
        "## Two\n\n### Three\n\nThe verdict stands. See also below.\n\n```python\nx = 0.5\n```",
    ]
    prose = [new_markdown_cell(source) for source in prose]
    page = new_notebook(
        cells=[prose[0], *code[:2], prose[1], *code[2:4], prose[2], code[4], prose[3], code[5]]
    )
    page.metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    page.metadata["norms"] = {"seconds": 90}
    return nbformat.from_dict(page)


BEGUN, FIGURE, SAID, RECORDED, LAST = 2, 4, 5, 7, 9  # the places of some cells on the good page


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


def prose(*texts):
    return lambda page: page.cells.extend(new_markdown_cell(text) for text in texts)


def code(*sources, between="And so on."):
    def spoil(page):
        for text in sources:
            count = page.cells[-1].get("execution_count") or page.cells[-2].execution_count
            page.cells += [new_markdown_cell(between)] * bool(between)
            page.cells.append(new_code_cell(text, execution_count=count + 1))

    return spoil


def asked_before(place):
    return lambda page: page.cells.insert(place, new_markdown_cell("**Predict.** What?"))


def sealed_before(place):
    """A fold that closes before the result that it should hold."""
    asked = new_markdown_cell(f"**Predict.** What?\n\n{OPENED}")
    answered = new_markdown_cell(f"Much.\n\n{CLOSED}")
    return lambda page: page.cells.__setitem__(slice(place, place), [asked, answered])


SOLVED = f"def f():\n    {BEGIN}\n    return 1\n    {END}"


def hidden(text):
    def spoil(page):
        code(text, between="**Yours to write** (1 minute).")(page)
        page.cells[-1].metadata["tags"] = ["hide-input"]

    return spoil


def record(**changes):
    """The record with changes, and its verdict word."""

    def spoil(page):
        entry = {**RECORD, **changes}
        word = shown(text=f"{entry['id']}: {entry['verdict']}")
        page.cells[RECORDED].outputs = [shown(record=entry), word]
        page.cells[RECORDED].source = f"verdicts.judge({entry['id']!r}, leak=0)"

    return spoil


def other_record(cell, **changes):
    """A record of a claim with several quantities."""
    claim = CLAIMS[cell]
    entry = {"id": cell, "claim": claim.statement, "unit": claim.unit, "n": claim.seeds}
    entry |= {"paper_for": claim.paper_for, "paper_against": claim.paper_against}
    return record(**{**entry, "arms": list(claim.arms), **changes})


def listed(cell, word, value):
    """The bounds of a verdict as a record has them, all met."""
    claim = CLAIMS[cell]
    return [
        f"{claim.quantities[q]}: {bound}, measured {value}"
        for q, bound in claim.bounds[word].items()
    ]


def conditioned(cell, word):
    return re.sub(r"\{[^}]*\}", "1.0", CLAIMS[cell].condition.get(word, ""))


def many_figures(page):
    page.cells += [page.cells[FIGURE]] * 10


def same_id(page):
    page.cells[2].id = page.cells[0].id


stderr = new_output("stream", name="stderr", text="UserWarning")
error = new_output("error", ename="ValueError", evalue="", traceback=[])
drawn = "plt.plot([0, 1])\nplt.show()"

BAD = [
    (is_valid, "not a valid", lambda page: page.cells[FIGURE].pop("outputs")),
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
    (names_its_kernel, "kernel", lambda page: page.metadata.kernelspec.update(name="conda")),
    (folds_as_the_book_does, "fold", prose(FOLD.format("A", "B").replace(' class="fold"', ""))),
    (folds_as_the_book_does, "fold", prose(FOLD.format("A", "B").replace("</details>", ""))),
    (folds_as_the_book_does, "fold", prose(FOLD.format("A", "B").replace("\n\nB", "\nB"))),
    (folds_as_the_book_does, "fold", prose('<details class="fold">\n\nB\n\n</details>')),
    (seals_its_predictions, "not closed", prose(f"Predict.\n\n{OPENED}")),
    (seals_its_predictions, "not open", prose(f"{CLOSED}\n\nOn.")),
    (seals_its_predictions, "a heading", prose(f"Predict.\n\n{OPENED}", f"## Next\n\n{CLOSED}")),
    (seals_its_predictions, "not sealed", prose("**Predict.** How much?", "It is so.")),
    (seals_its_predictions, "not sealed", prose("**Predict.** How much?", f"## Next\n\n{OPENED}")),
    (
        seals_its_predictions,
        "not sealed",
        prose(f"**Predict.** A?\n\n**Predict:** B?\n\n{OPENED}"),
    ),
    (seals_its_predictions, "shows a result", asked_before(FIGURE)),
    (seals_its_predictions, "shows a result", asked_before(SAID)),
    (seals_its_predictions, "shows a result", asked_before(RECORDED)),
    (seals_its_predictions, "shows a result", sealed_before(FIGURE)),
    (seals_its_predictions, "shows a result", sealed_before(SAID)),
    (
        seals_its_predictions,
        "a prediction inside",
        prose(f"A.\n\n{OPENED}", f"**Predict.** B?\n\n{CLOSED}"),
    ),
    (marks_its_solutions, "do not pair", code(f"def f():\n    {BEGIN}\n    return 1")),
    (marks_its_solutions, "do not pair", code(f"def f():\n    {END}\n    {BEGIN}")),
    (marks_its_solutions, "whole definition", code(f"{BEGIN}\nx = 1\n{END}")),
    (marks_its_solutions, "nobody asked", code(SOLVED)),
    (marks_its_solutions, "hidden", hidden(SOLVED)),
    (tells_its_times, "does not tell", source(0, "# Title\n\nWords.")),
    (
        tells_its_times,
        "right is",
        source(0, "# Title\n\n**Time.** Read 15 minutes, do 0, run 1.5 minutes."),
    ),
    (
        tells_its_times,
        "right is",
        source(0, "# Title\n\n**Time.** Read 5 minutes, do 10, run 1.5 minutes."),
    ),
    (
        tells_its_times,
        "right is",
        source(0, "# Title\n\n**Time.** Read 5 minutes, do 0, run half a minute."),
    ),
    (tells_its_times, "right is", prose("**Exercise 1** (30 minutes, easy).")),
    (tells_its_times, "right is", prose("### Exercises\n\n**Exercise 1** (30 minutes, easy).")),
    (tells_its_times, "right is", prose("You can stop here.")),
    (asks_for_the_norm, "asks the reader to write 0", lambda page: None),
    (keeps_its_time, "minutes (read)", prose("word " * 9200)),
    (keeps_its_time, "minutes (do)", prose("**Yours to write** (95 minutes).")),
    (
        seals_its_predictions,
        "a sealed fold inside",
        prose(f"A.\n\n{OPENED}", f"B.\n\n{OPENED}", CLOSED),
    ),
    (begins_with_seeds, "no seed", source(BEGUN, "import torch")),
    (begins_with_seeds, "no seed", source(BEGUN, "# page.begin()\nprint('page.begin()')")),
    (begins_with_seeds, "no seed", source(BEGUN, "if cuda:\n    page.begin()")),
    (begins_with_seeds, "no seed", lambda page: page.cells.pop(BEGUN)),
    (begins_with_seeds, "more than import", source(BEGUN, "x = torch.rand(3)\npage.begin()")),
    (types_no_verdict, "'holds if'", source(LAST, "assert word == 'holds if'")),
    (types_no_verdict, "'proved'", source(LAST, "say('**proved**')")),
    (types_no_verdict, "by hand", source(RECORDED, "evidence.record('LN-2')")),
    (types_no_verdict, "by hand", source(RECORDED, f"display({{{MIME!r}: {{}}}}, raw=True)")),
    (types_no_verdict, "by hand", source(RECORDED, "display({verdicts.MIME: {}}, raw=True)")),
    (names_what_it_uses, "finding", source(LAST, "verdicts.finding(name, cost=cost)")),
    (names_what_it_uses, "judge", source(RECORDED, "verdicts.judge(f'LN-{2}', leak=0)")),
    (names_what_it_uses, "rerun", source(LAST, "sweep.rerun(name, ten)")),
    (names_what_it_uses, "verdict_table", source(LAST, "verdict_table('a.ipynb', *others)")),
    (records_what_is_known, "no cell of", record(id="LN-9")),
    (records_what_is_known, "verdict 'true'", record(verdict="true")),
    (records_what_is_known, "verdict 'holds'", record(verdict="holds")),
    (records_what_is_known, "its claim is", record(claim="Another claim")),
    (records_what_is_known, "its arms is", record(arms=["layer"])),
    (records_what_is_known, "its n is", record(n=5)),
    (records_what_is_known, "its of is", record(of="images")),
    (records_what_is_known, "is of 10 seeds", record(effect=ZERO)),
    (records_what_is_known, "the claim's another one", record(condition="Always.")),
    (records_what_is_known, "the claim's another one", record(condition=RECORD["condition"] + "!")),
    (records_what_is_known, "is also on 'digits: 3", record(also_on={"shown": "digits: 3"})),
    (
        records_what_is_known,
        "is also on None, stored is 'Fashion-MNIST: ",
        other_record(
            "BN+3",
            verdict="contradicted",
            condition="",
            effect=ZERO,
            bounds=listed("BN+3", "contradicted", 0),
        ),
    ),
    (records_what_is_known, "its unit is", record(unit="points")),
    (records_what_is_known, "its paper_for is", record(paper_for="Somebody")),
    (records_what_is_known, "no condition", record(condition="")),
    (records_what_is_known, "its bounds are []", record(bounds=[])),
    (records_what_is_known, "its bounds are", record(bounds=[BOUND.replace("0,", "1,")])),
    (records_what_is_known, "its bounds are", record(bounds=[BOUND, BOUND])),
    (records_what_is_known, "bounds say", record(bounds=[BOUND + " (does not hold)"])),
    (
        records_what_is_known,
        "bounds say",
        record(
            verdict="not seen here",
            bounds=[BOUND, BOUND.replace("exactly", "above") + " (does not hold)"],
        ),
    ),
    (records_what_is_known, "its effect is 0.1", record(effect=0.1)),
    (
        records_what_is_known,
        "its effect is 0.0",
        record(verdict="contradicted", bounds=[BOUND.replace("exactly", "above")]),
    ),
    (
        records_what_is_known,
        "its effect is 0.4",
        other_record(
            "LN+4",
            verdict="half-true",
            condition=conditioned("LN+4", "half-true"),
            effect={"mean": 0.4, "low": 0.1, "high": 0.7, "n": 10},
            bounds=listed("LN+4", "half-true", 0.4),
        ),
    ),
    (records_what_is_known, "are others", outputs(RECORDED)),
    (records_what_is_known, "are others", source(RECORDED, "verdicts.judge('LN+1', leak=0)")),
    (
        records_what_is_known,
        "word",
        outputs(RECORDED, shown(record=RECORD), shown(text="LN-2: holds")),
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
TIMED = [
    "import time\nstarted = time.time()",
    "from time import perf_counter as clock",
    "import timeit",
    "x = clock.process_time()",
    "%timeit f(x)",
    "%%time\nf(x)",
    "timing.race(layers, shape)",
    "from norms.experiments.timing import race",
    "race(layers, shape)",
    "timing.measure('batch norm', shape)",
]
BOUNDED = [
    "evidence.assert_above(effect, 3)",
    "evidence.assert_below(effect, 3)",
    "assert_within(effect, 3, 'the effect')",
    "assert evidence.within(effect, 3)",
    "assert within(effect, 3)",
    "assert effect.low > 3",
    "assert 3 < effect.high",
    "assert effect.mean < 3",
    "assert runs['a'].low > 1 and True",
    "assert min(cost.low for cost in costs) > 15",
    "assert 2 / 3 < effect.low and effect.high < 3 / 2, f'{effect}'",
    "assert not effect.low > effect.high",
    "if True:\n    for e in effects:\n        assert e.low",
    "def check(e):\n    assert e.high < 1",
    "low, high = effect.low, effect.high\nassert low > 3",
    "width = effect.high - effect.low\nhalf = width / 2\nassert half < 1",
    "assert (end := effect.low) > 3",
    "from norms.experiments.claims import above\nassert above(3)",
    "from norms.experiments import claims\nassert claims.above(3).holds(effect)",
]
BAD += [
    (states_its_bounds_in_the_package, "state it in FINDINGS", source(LAST, t)) for t in BOUNDED
]
BAD += [
    (
        states_its_bounds_in_the_package,
        "bounds 'low' here",
        code("low = effect.low", "assert low > 3"),
    )
]
BAD += [(leaves_the_clock_alone, "the clock", source(LAST, text)) for text in TIMED]
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
    assert "'LN-2' stands 2 times" in complaints
    page = good()
    prose("```{figure} a.png\n:name: fig-line\n```")(page)
    assert repeated([page]) == ["'fig-line' stands 2 times; rename"]


def test_what_stands_on_no_page_or_on_two_is_noticed():
    pages = {"01": ["a", "b"], "02": ["b", "c"], "03": ["d", "d"]}
    complaints = not_once(pages, ["a", "b", "d", "e"])
    assert complaints == [
        "'e' is stated, and no page looks at it",
        "'c' on 02 is stated nowhere",
        "'b' is looked at 2 times: 01, 02",
        "'d' is looked at 2 times: 03, 03",
    ]
    assert not_once({"01": ["a"], "02": ["b"]}, ["b", "a"]) == []


def test_what_a_page_judges_and_asserts_is_found_in_its_code():
    page = good()
    code("finding('pairing', gained=1)\nif x:\n    verdicts.finding('patients')")(page)
    prose("`verdicts.finding('idle units')`")(page)
    assert called_with(page, "judge") == ["LN-2"]
    assert called_with(page, "finding") == findings(page) == ["pairing", "patients"]
    code(
        "claims.verdict(grids.FINDINGS['idle units'], {'dead': dead})",
        "verdict(claim, {})\nprint(grids.FINDINGS['bad inputs'].statement)",
    )(page)
    assert findings(page) == ["pairing", "patients", "idle units"]  # one is tried, one is read


TABLE = """\
| arm | 0.1 | 0.3 |
|---|---|---|
| none | **10.0** | 9.0 |
| batch, N=2 | 50.0 | **60.0** |"""


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("", "", []),
        ("| none | **10.0** | 9.0 |\n", "", ["none"]),
        ("| batch, N=2 | 50.0", "| batch, N=2 | 51.0", ["batch, N=2"]),  # the run of another table
        ("| arm | 0.1 |", "| arm | 0.2 |", ["none", "batch, N=2"]),  # another grid's rows
        (TABLE, "We leave the table out.", ["none", "batch, N=2"]),
    ],
)
def test_a_stored_arm_that_no_page_shows_is_noticed(old, new, missing):
    page = good()
    prose(TABLE)(page)  # what is typed shows nothing
    outputs(SAID, shown(md="The table:\n\n" + TABLE.replace(old, new)))(page)
    complaints = not_shown([good(), page], {"small": TABLE})
    assert [c.split("'")[3] for c in complaints] == missing
    assert all(c.startswith("grid 'small': no page shows the arm") for c in complaints)


def test_the_arms_of_a_grid_may_be_shown_in_two_places():
    lines = TABLE.splitlines()
    pages = []
    for row in lines[2:]:
        pages.append(good())
        outputs(SAID, shown(md="\n".join([*lines[:2], row])))(pages[-1])
    assert not_shown(pages, {"small": TABLE}) == []
    assert len(not_shown(pages[:1], {"small": TABLE})) == 1


def test_what_is_not_refused():
    page = good()
    code(
        "import timing\ntiming.step_cost('figure-1')",
        "race = 'it holds'\ny = times.time_of, race[0]",
    )(page)
    assert leaves_the_clock_alone(page) == types_no_verdict(page) == []
    wide = {"mean": 0.3, "low": -0.1, "high": 0.7, "n": 10}
    lines = []
    for word in CLAIMS["LN+4"].bounds:  # of each verdict one bound does not hold
        first, *others = listed("LN+4", word, 0.3)
        lines += [first + " (does not hold)", *others]
    other_record("LN+4", verdict="not seen here", condition="", effect=wide, bounds=lines)(page)
    assert records_what_is_known(page) == []
    narrow = {"mean": 0.0, "low": -0.05, "high": 0.05, "n": 10}
    met = {"condition": conditioned("LN+4", "half-true"), "bounds": listed("LN+4", "half-true", 0)}
    other_record("LN+4", verdict="half-true", effect=narrow, **met)(page)
    assert records_what_is_known(page) == []
    code(
        "assert torch.equal(low, high) and (a - b).abs().max() < 1e-6",
        "assert torch.allclose(values.mean(0), other.low_rank())",
        "end = effect.high\nsay(f'{end}')\nend = torch.ones(3)\nassert (end == 1).all()",
        "verdicts.finding('pairing', gained=same, widths=other.high - other.low)",
        "print([d.low <= truth <= d.high for d in drawn])",
    )(page)
    assert states_its_bounds_in_the_package(page) == []


# --- Freshness, broken on purpose


@pytest.fixture
def stored(tmp_path, monkeypatch):
    """Store a page with what it was made from: a copy of the package, and the evidence beside."""
    package = tmp_path / "norms"
    shutil.copytree(provenance.PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "PACKAGE", package)
    forget()
    evidence = new_notebook(cells=[new_code_cell("judge()", outputs=[shown(record=RECORD)])])
    nbformat.write(evidence, tmp_path / "09_evidence.ipynb")
    source = (
        "from norms import LayerNorm\nfrom norms.experiments import sweep, verdicts\n"
        "LayerNorm(3)\nsweep.results('parity')\nverdicts.judge('BN+2')\n"
        "verdicts.verdict_table('09_evidence.ipynb')"
    )
    page, path = new_notebook(cells=[new_code_cell(source)]), tmp_path / "09.ipynb"
    nbformat.write(page, path)
    assert is_fresh(path) == ["09: it was never run; `make run`"]
    page.metadata["norms"] = {"uses": provenance.of_page(path)}
    nbformat.write(page, path)
    assert is_fresh(path) == []
    yield path
    forget()


def forget():
    for cached in ("_read", "_path", "_modules", "_data_files"):
        getattr(provenance, cached).cache_clear()


@pytest.mark.parametrize(
    ("name", "old", "new", "part"),
    [
        ("norms/moments.py", "max(_size(x, axes), 1)", "max(_size(x, axes), 2)", "norms.moments"),
        (
            "norms/experiments/grids/batch_norm.py",
            '"decades": above(0.5)',
            '"decades": above(0.4)',
            "norms.experiments.grids.batch_norm",
        ),
        (
            "norms/experiments/results/parity.csv",
            "arm,",
            "arm,,",
            "experiments/results/parity.csv",
        ),
        ("09_evidence.ipynb", '"proved"', '"holds"', "the verdicts of 09_evidence"),
    ],
)
def test_a_stale_run_is_noticed(name, old, new, part, stored):
    file = stored.parent / name
    text = file.read_text("utf-8")
    assert old in text
    file.write_text(text.replace(old, new), "utf-8")
    forget()
    assert is_fresh(stored) == [f"09: {part} has changed; `make run`"]


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
