"""The question bank, `assignments/bank/`: read it, and say plainly what is wrong with it.

`assignments/bank/README.md` says what each key means. Nothing here imports the package `norms`.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import yaml

BANK = Path(__file__).resolve().parent.parent / "assignments" / "bank"
NORMS = ("batch", "layer", "rms", "instance", "group", "weight", "spectral")
KINDS = ("single", "several", "number", "free")
SKILLS = ("recall", "derive", "predict", "diagnose", "transfer")

ALWAYS = {"id", "kind", "skill", "minutes", "chapter", "section", "text", "reason"}
OF_KIND = {
    "single": {"options"},
    "several": {"options"},
    "number": {"answer", "tolerance", "check"},
    "free": {"answer", "points"},
}
OPTIONAL = {"single": {"check"}, "several": {"check"}, "number": set(), "free": set()}
WORDS = {"chapter", "section", "text", "reason", "check"}


class BankError(ValueError):
    """Something in the bank is wrong; the message has a line for each fault."""


@dataclass(frozen=True)
class Option:
    """One of the answers to choose from, with the reason why it is right or wrong."""

    text: str
    reason: str
    right: bool = False


@dataclass(frozen=True)
class Question:
    """A question of the bank; what its kind does not have is None or empty."""

    id: str
    norm: str
    kind: str
    skill: str
    minutes: float
    chapter: str
    section: str
    text: str
    reason: str
    options: tuple[Option, ...] = ()
    answer: float | str | None = None
    tolerance: float | None = None
    points: tuple[str, ...] = ()
    check: str | None = None


def load(norms=NORMS, folder=BANK):
    """Return all questions of these norms, in the order of the files.

    Raises:
        BankError: A file is missing or is not YAML, or a question breaks a rule. The message names the
            file and the question, and has a line for each fault.
    """
    questions, faults = [], []
    for norm in norms:
        path = Path(folder) / f"{norm}.yaml"
        entries, wrong = entries_of(path, norm)
        faults += wrong
        for number, entry in enumerate(entries, 1):
            where = f"{path.name}, {name_of(entry, number)}"
            wrong = faults_of(entry, norm)
            faults += [f"{where}: {fault}" for fault in wrong]
            if not wrong:
                questions.append(question_of(entry, norm))
    faults += repeated(questions)
    if faults:
        raise BankError("\n".join(faults))
    return questions


def entries_of(path, norm):
    """Return the raw questions of a file, and what is wrong with the file as a whole."""
    try:
        page = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        return [], [f"{path.name} is missing: the bank has {path.parent}/<norm>.yaml for each norm"]
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        return [], [f"{path.name}{place}: not YAML: {problem}"]
    if not isinstance(page, dict) or not isinstance(page.get("questions"), list):
        return [], [f"{path.name}: has no list `questions`"]
    if page.get("norm") != norm:
        return [], [f"{path.name}: says norm: {page.get('norm')!r}, and its name says {norm!r}"]
    return page["questions"], []


def name_of(entry, number):
    known = isinstance(entry, dict) and isinstance(entry.get("id"), str)
    return f"question {entry['id']}" if known else f"question number {number}"


def faults_of(entry, norm):
    """Say what is wrong with one question; an empty list is a sound one."""
    if not isinstance(entry, dict):
        return ["is not a list of keys and values"]
    kind = entry.get("kind")
    if kind not in KINDS:
        return [f"kind is {kind!r}; it must be one of {', '.join(KINDS)}"]
    needed = ALWAYS | OF_KIND[kind]
    faults = [f"{key} is missing" for key in sorted(needed - {*entry})]
    faults += [f"has an unknown key {k!r}" for k in {*entry} - needed - OPTIONAL[kind]]
    faults += [
        f"{k} must be a text that is not empty" for k in WORDS & {*entry} if not text(entry[k])
    ]
    if not str(entry.get("id", "")).startswith(f"{norm}-"):
        faults.append(f"id must begin with {norm}-")
    if entry.get("skill") not in SKILLS:
        faults.append(f"skill is {entry.get('skill')!r}; it must be one of {', '.join(SKILLS)}")
    if not number(entry.get("minutes")) or entry["minutes"] <= 0:
        faults.append("minutes must be a number above 0")
    if needed <= {*entry}:
        faults += {"number": number_faults, "free": free_faults}.get(kind, option_faults)(entry)
    return faults


def option_faults(entry):
    options, kind = entry["options"], entry["kind"]
    if not isinstance(options, list) or len(options) < 3:
        return ["needs three options or more"]
    faults = []
    for place, option in enumerate(options, 1):
        known = isinstance(option, dict) and {*option} <= {"text", "reason", "right"}
        if not known or not text(option.get("text")) or not text(option.get("reason")):
            faults.append(
                f"option {place} needs a text and a reason, and nothing but `right` beside them"
            )
        elif not isinstance(option.get("right", False), bool):
            faults.append(f"option {place}: right must be true, or be left out")
    right = sum(isinstance(o, dict) and o.get("right") is True for o in options)
    if kind == "single" and right != 1:
        faults.append(f"of kind single has {right} right options; it must be 1")
    if kind == "several" and not 2 <= right < len(options):
        faults.append(
            f"of kind several has {right} right options; it must be 2 or more, and not all"
        )
    texts = [o["text"].split() for o in options if isinstance(o, dict) and text(o.get("text"))]
    if any(t in texts[:k] for k, t in enumerate(texts)):
        faults.append("has the same option twice")
    return faults


def number_faults(entry):
    if not number(entry["answer"]):
        return ["answer must be a number"]
    if not number(entry["tolerance"]) or entry["tolerance"] < 0:
        return ["tolerance must be a number, 0 or more"]
    return []


def free_faults(entry):
    faults = [] if text(entry["answer"]) else ["answer must be a text that is not empty"]
    points = entry["points"]
    if not isinstance(points, list) or len(points) < 2 or not all(map(text, points)):
        faults.append("points must be a list of two texts or more: what each mark is for")
    return faults


def text(value):
    return isinstance(value, str) and bool(value.strip())


def number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def question_of(entry, norm):
    options = tuple(Option(**option) for option in entry.get("options", ()))
    rest = {key: entry[key] for key in entry if key not in ("options", "points")}
    return Question(norm=norm, options=options, points=tuple(entry.get("points", ())), **rest)


def repeated(questions):
    """Say which ids and which texts occur twice."""
    faults = []
    for what in ("id", "text"):
        first = {}
        for question in questions:
            key = " ".join(getattr(question, what).split()).lower()
            if key in first:
                faults.append(
                    f"{question.norm}.yaml, question {question.id}: the {what} of {first[key]}"
                )
            first.setdefault(key, question.id)
    return faults
