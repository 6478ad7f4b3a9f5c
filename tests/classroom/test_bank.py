"""The question bank: sound, checked by computation, and fair to those who answer it."""

import ast
import re
from collections import Counter
from difflib import SequenceMatcher
from itertools import combinations
from pathlib import Path

import nbformat
import numpy as np
import pytest
import yaml

from classroom import bank

ROOT = Path(__file__).resolve().parents[2]
QUESTIONS = bank.load()
CHOICES = [q for q in QUESTIONS if q.options]
SINGLES = [q for q in QUESTIONS if q.kind == "single"]
IDS = [q.id for q in QUESTIONS]


def named(questions):
    return {"argvalues": questions, "ids": [q.id for q in questions]}


def computed(question):
    return eval(" ".join(question.check.split()), {"np": np})


@pytest.fixture(scope="module")
def pages():
    """The Markdown of every page, by its name."""
    read = {}
    for path in (ROOT / "chapters").glob("*.ipynb"):
        cells = nbformat.read(path, as_version=4).cells
        read[path.stem] = "\n\n".join(c.source for c in cells if c.cell_type == "markdown")
    return read


# How much there is


def test_every_norm_has_enough_and_half_of_it_is_transfer():
    for norm in bank.NORMS:
        skills = Counter(q.skill for q in QUESTIONS if q.norm == norm)
        assert skills.total() >= 10, norm
        assert 2 * skills["transfer"] >= skills.total(), norm
        assert {*skills} == {*bank.SKILLS}, norm
    assert len(QUESTIONS) >= 72


def test_every_kind_is_there():
    kinds = Counter(q.kind for q in QUESTIONS)
    assert min(kinds[kind] for kind in bank.KINDS) >= len(bank.NORMS)


# Whether it is right


@pytest.mark.parametrize("question", **named([q for q in QUESTIONS if q.kind == "number"]))
def test_a_number_is_what_the_check_computes(question):
    assert computed(question) == pytest.approx(
        question.answer, rel=0, abs=question.tolerance + 1e-9
    )
    assert question.tolerance <= 0.1 * abs(question.answer)


@pytest.mark.parametrize("question", **named([q for q in CHOICES if q.check]))
def test_the_check_of_options_holds(question):
    assert bool(computed(question)) is True


@pytest.mark.parametrize("question", **named([q for q in QUESTIONS if q.check]))
def test_a_check_needs_numpy_alone(question):
    names = {
        n.id for n in ast.walk(ast.parse(question.check, mode="eval")) if isinstance(n, ast.Name)
    }
    assert not names & {"norms", "torch", "open", "exec", "eval", "__import__"}


@pytest.mark.parametrize("question", **named(QUESTIONS))
def test_its_section_stands_in_the_chapter(question, pages):
    headings = re.findall(r"^#+ (.+)$", pages[question.chapter], re.M)
    assert question.section in headings


@pytest.mark.parametrize("question", **named(QUESTIONS))
def test_its_chapter_is_about_its_norm(question):
    assert re.fullmatch(rf"\d\d_{question.norm}_norm(_evidence|_practice)?", question.chapter)


# Whether it is fair


def test_nothing_is_asked_twice():
    assert len({*IDS}) == len(IDS)
    for one, other in combinations(QUESTIONS, 2):
        alike = SequenceMatcher(None, one.text, other.text, autojunk=False)
        assert alike.real_quick_ratio() < 0.75 or alike.quick_ratio() < 0.75 or alike.ratio() < 0.75


def test_the_book_does_not_print_it(pages):
    book = " ".join(" ".join(pages.values()).split())
    for question in QUESTIONS:
        sentences = re.split(r"(?<=[.?!:]) ", " ".join(question.text.split()))
        assert not [s for s in sentences if len(s) > 40 and s in book], question.id


def test_the_right_option_stands_in_every_place():
    places = Counter(next(k for k, o in enumerate(q.options) if o.right) for q in SINGLES)
    assert all(0.15 <= places[k] / len(SINGLES) <= 0.4 for k in range(4)), places


def test_the_right_option_is_not_told_by_its_length():
    longest = [q for q in SINGLES if max(q.options, key=lambda o: len(o.text)).right]
    shortest = [q for q in SINGLES if min(q.options, key=lambda o: len(o.text)).right]
    assert len(longest) <= 0.45 * len(SINGLES)
    assert len(shortest) <= 0.45 * len(SINGLES)


@pytest.mark.parametrize("question", **named(SINGLES))
def test_options_are_of_like_length(question):
    lengths = [len(option.text) for option in question.options]
    assert len(lengths) == 4
    assert max(lengths) <= 1.6 * min(lengths)


@pytest.mark.parametrize("question", **named(QUESTIONS))
def test_formulas_are_closed(question):
    parts = [o.text for o in question.options] + [o.reason for o in question.options]
    for text in [question.text, question.reason, *question.points, *parts]:
        assert text.count("$") % 2 == 0, text
        assert text.count("{") == text.count("}"), text
        assert not re.search(r"(?<![\w$`.])-\d", re.sub(r"\$[^$]*\$|`[^`]*`", "", text)), (
            f"use −: {text}"
        )


# What the bank says when something is wrong with it


def faulty(tmp_path, change):
    """What `load` says of a bank whose first question of each kind went through `change`."""
    page = yaml.safe_load((bank.BANK / "batch.yaml").read_text("utf-8"))
    change({q["kind"]: q for q in reversed(page["questions"])}, page)
    (tmp_path / "batch.yaml").write_text(yaml.safe_dump(page), "utf-8")
    with pytest.raises(bank.BankError) as error:
        bank.load(["batch"], tmp_path)
    return str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda q, _: q["single"].pop("reason"), "batch-01: reason is missing"),
        (lambda q, _: q["single"].update(level=3), "batch-01: has an unknown key 'level'"),
        (
            lambda q, _: q["single"].update(kind="essay"),
            "batch-01: kind is 'essay'; it must be one of",
        ),
        (lambda q, _: q["single"].update(skill="magic"), "batch-01: skill is 'magic'"),
        (lambda q, _: q["single"].update(minutes=0), "batch-01: minutes must be a number above 0"),
        (
            lambda q, _: q["single"].update(text="  "),
            "batch-01: text must be a text that is not empty",
        ),
        (
            lambda q, _: q["single"].update(id="layer-1"),
            "question layer-1: id must begin with batch-",
        ),
        (
            lambda q, _: q["single"]["options"][0].update(right=True),
            "batch-01: of kind single has 2 right options; it must be 1",
        ),
        (
            lambda q, _: q["single"]["options"][0].pop("reason"),
            "batch-01: option 1 needs a text and a reason",
        ),
        (
            lambda q, _: q["single"]["options"][0].update(q["single"]["options"][2]),
            "batch-01: has the same option twice",
        ),
        (
            lambda q, _: [o.update(right=False) for o in q["several"]["options"]],
            "batch-10: of kind several has 0 right options",
        ),
        (lambda q, _: q["number"].pop("check"), "batch-02: check is missing"),
        (lambda q, _: q["number"].update(answer="many"), "batch-02: answer must be a number"),
        (
            lambda q, _: q["number"].update(tolerance=-1),
            "batch-02: tolerance must be a number, 0 or",
        ),
        (
            lambda q, _: q["free"].update(points=["one"]),
            "batch-11: points must be a list of two texts",
        ),
        (lambda q, _: q["number"].update(id="batch-01"), "question batch-01: the id of batch-01"),
        (
            lambda q, _: q["number"].update(text=q["single"]["text"]),
            "batch-02: the text of batch-01",
        ),
        (lambda _, page: page.update(norm="layer"), "batch.yaml: says norm: 'layer'"),
        (lambda _, page: page.pop("questions"), "batch.yaml: has no list `questions`"),
        (
            lambda _, page: page["questions"].insert(0, "why?"),
            "question number 1: is not a list of keys",
        ),
    ],
)
def test_a_fault_is_named_with_its_file_and_question(tmp_path, change, told):
    said = faulty(tmp_path, change)
    assert told in said
    assert said.startswith("batch.yaml")


def test_all_faults_are_told_at_once(tmp_path):
    def change(questions, _):
        questions["single"].pop("reason")
        questions["number"].pop("check")

    assert faulty(tmp_path, change).count("\n") == 1


def test_a_file_that_is_missing_or_not_yaml_is_told(tmp_path):
    with pytest.raises(bank.BankError, match=r"batch\.yaml is missing"):
        bank.load(["batch"], tmp_path)
    (tmp_path / "batch.yaml").write_text("norm: batch\nquestions: [\n", "utf-8")
    with pytest.raises(bank.BankError, match=r"batch\.yaml, line \d+: not YAML"):
        bank.load(["batch"], tmp_path)


def test_the_classroom_does_not_import_norms():
    for path in (ROOT / "classroom").glob("*.py"):
        assert not re.search(r"^\s*(import|from) norms\b", path.read_text("utf-8"), re.M), path.name
