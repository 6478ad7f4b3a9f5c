"""A quiz is drawn evenly, the same from the same seed; its paper tells nothing, and its key all."""

import re
from collections import Counter

import nbformat
import pytest

from classroom import bank, papers, quiz

QUESTIONS = bank.load()


def drawn(count=10, seed=7, norms=bank.NORMS, kinds=bank.KINDS):
    return quiz.draw([q for q in QUESTIONS if q.kind in kinds], list(norms), count, seed)


@pytest.mark.parametrize("count", [1, 5, 7, 10, 14, 40])
@pytest.mark.parametrize("norms", [("batch",), ("layer", "rms"), bank.NORMS])
def test_norms_are_even(count, norms):
    if count > 12 * len(norms):
        pytest.skip("more than these files have")
    for seed in range(5):
        norm = Counter(q.norm for q in drawn(count, seed, norms))
        assert norm.total() == count
        assert max(norm.values()) - min(norm[n] for n in norms) <= 1


@pytest.mark.parametrize("count", [8, 10, 16])
def test_half_is_transfer_and_the_rest_is_spread(count):
    for seed in range(20):
        skill = Counter(q.skill for q in drawn(count, seed))
        assert abs(skill["transfer"] - count / 2) <= 1
        others = [skill[s] for s in bank.SKILLS if s != "transfer"]
        assert max(others) - min(others) <= 1


def test_one_seed_gives_one_quiz_and_another_another():
    assert drawn(seed=7) == drawn(seed=7)
    assert drawn(seed=7) != drawn(seed=8)
    assert len({q.id for q in drawn(40)}) == 40


def test_options_are_shuffled_and_kept():
    whole = {q.id: q for q in QUESTIONS}
    places = Counter()
    for seed in range(30):
        for q in drawn(10, seed, kinds=("single",)):
            assert {*q.options} == {*whole[q.id].options}
            places[next(k for k, o in enumerate(q.options) if o.right)] += 1
    assert all(0.15 < places[k] / places.total() < 0.35 for k in range(4))


def test_every_question_can_be_drawn():
    seen = {q.id for seed in range(150) for q in drawn(20, seed)}
    assert seen == {q.id for q in QUESTIONS}


# The command


def made(folder, name="quiz.md", *more):
    arguments = ["--norms", "batch,layer", "--questions", "10", "--seed", "7"]
    quiz.main([*arguments, "--out", str(folder / name), *more])
    paper = (folder / name).read_text("utf-8")
    if name.endswith(".ipynb"):
        paper = "\n\n".join(cell.source for cell in nbformat.reads(paper, as_version=4).cells)
    return paper, (folder / "quiz_key.md").read_text("utf-8")


@pytest.mark.parametrize("name", ["quiz.md", "quiz.ipynb"])
def test_a_paper_tells_nothing(tmp_path, name):
    paper, key = made(tmp_path, name)
    for question in drawn(norms=("batch", "layer")):
        assert question.id not in paper
        assert question.id in key
        assert question.text in paper
        for told in [question.reason, *question.points, *(o.reason for o in question.options)]:
            assert told not in paper
            assert told in key
    assert "Seed 7" in key
    assert "eed" not in paper.split("\n")[2], "with the seed and the bank, one has the key"


def test_the_notebook_is_valid_and_has_room_for_answers(tmp_path):
    made(tmp_path, "quiz.ipynb")
    notebook = nbformat.read(tmp_path / "quiz.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert len(notebook.cells) == 21
    assert not notebook.metadata
    assert [c.source for c in notebook.cells[2::2] if "Your" not in c.source] == []


def test_the_key_names_the_right_letters(tmp_path):
    paper, key = made(tmp_path)
    rows = re.findall(r"^\| (\d+) \| `(.+?)` \|.*\| (.+?) \|$", key, re.M)
    whole = {q.id: q for q in QUESTIONS}
    for number, name, said in rows:
        question = whole[name]
        if question.options:
            asked = paper.partition(f"**{number}.**")[2].partition("*Your answer")[0]
            options = dict(re.findall(r"^- \*\*([A-H])\.\*\* (.+?)\s*$", asked, re.M))
            right = {o.text.strip() for o in question.options if o.right}
            assert {options[letter] for letter in said.split(", ")} == right
    assert len(rows) == 10


def test_the_same_command_writes_the_same_files(tmp_path):
    assert made(tmp_path) == made(tmp_path)
    assert made(tmp_path)[1] == made(tmp_path, "quiz.ipynb")[1]  # another form has the same key


def test_it_does_not_write_over_files(tmp_path):
    made(tmp_path)
    with pytest.raises(SystemExit, match=r"exists: choose another --out, or say --force"):
        made(tmp_path, "quiz.md", "--seed", "8")
    made(tmp_path, "quiz.md", "--seed", "8", "--force")


def test_a_seed_is_drawn_and_told_if_none_is_given(tmp_path, capsys):
    quiz.main(["--questions", "3", "--out", str(tmp_path / "quiz.md")])
    seed = re.search(r"seed (\d+)", capsys.readouterr().out)[1]
    assert f"Seed {seed}" in (tmp_path / "quiz_key.md").read_text("utf-8")


def test_an_earlier_quiz_can_be_skipped(tmp_path):
    made(tmp_path)
    key = tmp_path / "quiz_key.md"
    first = {*re.findall(r"^\| \d+ \| `(.+?)`", key.read_text("utf-8"), re.M)}
    for seed in range(5):
        rest = quiz.left(QUESTIONS, bank.KINDS, [key])
        assert not first & {q.id for q in quiz.draw(rest, ["batch", "layer"], 10, seed)}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "quiz.docx"], "quiz.docx must end in .ipynb, .md, .gift"),
        (["--norms", "batch,group,power", "--out", "q.md"], "power: choose from batch, layer"),
        (["--kinds", "hard", "--out", "q.md"], "hard: choose from single"),
        ([], "--out"),
    ],
)
def test_a_wrong_request_says_what_is_possible(arguments, told, capsys):
    with pytest.raises(SystemExit):
        quiz.main(arguments)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--questions", "99", "--norms", "rms"], "99 questions were asked for, and there are 12"),
        (["--questions", "0"], "0 questions were asked for"),
        (["--skip", "nowhere.md"], "nowhere.md"),
    ],
)
def test_what_cannot_be_drawn_is_told_and_nothing_is_written(tmp_path, more, told):
    with pytest.raises(SystemExit, match=told):
        quiz.main(["--out", str(tmp_path / "quiz.md"), *more])
    assert not [*tmp_path.iterdir()]


def test_a_fault_in_the_bank_ends_the_command_with_its_message(tmp_path, monkeypatch):
    monkeypatch.setattr(bank.load, "__defaults__", (bank.NORMS, tmp_path))
    with pytest.raises(SystemExit, match=r"batch\.yaml is missing"):
        quiz.main(["--norms", "batch", "--out", str(tmp_path / "quiz.md")])


# GIFT, read back by the rules of Moodle's importer (question/format/gift/format.php)

SIGNS = ":#={}~n"


def moodle(entry):
    """Return name, text, list of (weight, answer, feedback), and general feedback of a GIFT question."""
    held = {sign: chr(0xE100 + k) for k, sign in enumerate(SIGNS)}
    text = entry.replace("\\\\", "\ue0ff")
    for sign, other in held.items():
        text = text.replace(f"\\{sign}", other)
    text = text.replace("\ue0ff", "\\")
    name, text = text.removeprefix("::").split("::", 1)
    asked, _, answers = text.partition("{")
    answers, closed, after = answers.partition("}")
    assert closed
    assert not after.strip()
    answers, _, general = answers.rpartition("####")

    def plain(part):
        part = part.strip()
        assert part.startswith("[html]")
        for sign, other in held.items():
            part = part.replace(other, "\n" if sign == "n" else sign)
        return part.removeprefix("[html]")

    answers = answers.strip()
    if answers.startswith("#"):
        rows = [(100.0, answers[1:], "")]
    else:
        rows = []
        for row in answers.replace("=", "~=").split("~")[1:]:
            if not row.strip():
                continue
            share = re.match(r"^%(-*\d{1,2}\.?\d*)%", row)
            weight = 100.0 if row.startswith("=") else float(share[1]) if share else 0.0
            answer, _, feedback = (
                row.removeprefix("=").removeprefix(share[0] if share else "").partition("#")
            )
            rows.append((weight, plain(answer), plain(feedback)))
    return name, plain(asked), rows, plain(general)


ALL = papers.gift(QUESTIONS, "All").strip().split("\n\n")[1:]


@pytest.mark.parametrize(
    ("question", "entry"), [*zip(QUESTIONS, ALL, strict=True)], ids=[q.id for q in QUESTIONS]
)
def test_moodle_reads_what_was_meant(question, entry):
    name, asked, rows, general = moodle(entry)
    assert name == question.id
    assert general
    formulas = re.findall(r"\$([^$]+)\$", " ".join(question.text.split()))
    shown = [
        f.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        for f in re.findall(r"\\\((.+?)\\\)", " ".join(asked.split()))
    ]
    assert shown == formulas
    if question.kind == "number":
        assert rows == [(100.0, f"{question.answer}:{question.tolerance}", "")]
    elif question.kind == "free":
        assert rows == []
    else:
        worth = [weight > 0 for weight, _, _ in rows]
        assert worth == [option.right for option in question.options]
        assert sum(w for w, _, _ in rows if w > 0) == pytest.approx(100, abs=0.001)
        if question.kind == "several":
            assert sum(w for w, _, _ in rows if w < 0) == pytest.approx(-100, abs=0.001)


def test_gift_keeps_nothing_back_that_is_free(tmp_path):
    """A free answer is not in the file that an LMS shows; the key beside it has it."""
    quiz.main(
        ["--kinds", "free", "--questions", "7", "--seed", "1", "--out", str(tmp_path / "q.gift")]
    )
    given, key = ((tmp_path / n).read_text("utf-8") for n in ("q.gift", "q_key.md"))
    for question in (q for q in QUESTIONS if q.kind == "free"):
        assert question.answer.strip() in key
        assert question.answer.strip()[:40] not in given
