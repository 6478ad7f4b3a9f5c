"""Draw a quiz from the question bank: a paper and, in a file of its own, its key.

    python -m classroom quiz --norms batch,layer --questions 10 --seed 7 --out quiz.ipynb

The ending of `--out` chooses the form: `.ipynb` and `.md` are papers, `.gift` is what a learning platform
such as Moodle imports. Norms are drawn as evenly as the number allows. About half of the questions are
transfer, as in the bank, and the other skills share the rest. One seed always gives one quiz.
"""

import argparse
import random
import re
import secrets
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from classroom import bank, papers

FORMS = {".ipynb": papers.notebook, ".md": papers.markdown, ".gift": papers.gift}
SHARES = {"transfer": 0.5, "recall": 0.125, "derive": 0.125, "predict": 0.125, "diagnose": 0.125}


def main(arguments=None):
    run(parser().parse_args(arguments))


def run(options):
    """Write the paper and its key; a wrong request ends it with a sentence that says what to change."""
    out, key = options.out, options.out.with_name(f"{options.out.stem}_key.md")
    seed = secrets.randbelow(10**6) if options.seed is None else options.seed
    try:
        questions = bank.load(options.norms)
        drawn = draw(
            left(questions, options.kinds, options.skip), options.norms, options.questions, seed
        )
    except (bank.BankError, OSError, UnicodeDecodeError) as error:
        sys.exit(str(error))
    texts = {
        out: FORMS[out.suffix](drawn, options.title),
        key: papers.key(drawn, options.title, seed),
    }
    for path, text in texts.items():  # the same quiz in another form has the same key
        if path.exists() and path.read_text("utf-8") != text and not options.force:
            sys.exit(f"{path} exists: choose another --out, or say --force to replace it.")
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        path.write_text(text, "utf-8")
    minutes = sum(question.minutes for question in drawn)
    print(f"{out}: {len(drawn)} questions, {minutes:g} minutes, seed {seed}. The key: {key}")


def parser(made=None):
    """Add the command's options to a parser, or to a new one."""
    told = {"description": __doc__, "formatter_class": argparse.RawDescriptionHelpFormatter}
    made = made or argparse.ArgumentParser(prog="python -m classroom quiz", **told)
    made.add_argument(
        "--norms", type=choice_of(bank.NORMS), default=list(bank.NORMS), metavar="A,B"
    )
    made.add_argument("--questions", type=int, default=10, metavar="N", help="how many (10)")
    made.add_argument(
        "--seed", type=int, help="the same seed gives the same quiz; drawn if left out"
    )
    made.add_argument("--out", type=form, required=True, help="quiz.ipynb, quiz.md or quiz.gift")
    made.add_argument(
        "--kinds",
        type=choice_of(bank.KINDS),
        default=list(bank.KINDS),
        metavar="A,B",
        help="only these, such as single,several,number for a paper that a machine marks",
    )
    made.add_argument(
        "--skip", type=Path, nargs="+", default=[], metavar="KEY", help="no question of these keys"
    )
    made.add_argument("--title", default="Quiz")
    made.add_argument("--force", action="store_true", help="replace the files if they exist")
    return made


def choice_of(known):
    def chosen(given):
        names = [name.strip() for name in given.split(",") if name.strip()]
        wrong = [name for name in names if name not in known]
        if wrong or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(wrong) or 'nothing'}: choose from {', '.join(known)}"
            )
        return list(dict.fromkeys(names))

    return chosen


def form(given):
    path = Path(given)
    if path.suffix not in FORMS:
        raise argparse.ArgumentTypeError(f"{given} must end in {', '.join(FORMS)}")
    return path


def left(questions, kinds, skip):
    """Return the questions of these kinds that do not stand in the keys `skip`."""
    used = set()
    for path in skip:
        used |= {*re.findall(r"`([a-z]+-\d+)`", path.read_text("utf-8"))}
    return [q for q in questions if q.kind in kinds and q.id not in used]


def draw(questions, norms, count, seed):
    """Draw `count` questions, even over norms and in the bank's shares over skills; shuffle options.

    Args:
        questions: What may be drawn.
        norms: Their names; each gets the same number of questions, or one more.
        count: How many to draw, at least one.
        seed: An integer. The same arguments give the same quiz.

    Returns:
        A list of questions in the order of the paper, with their options in a new order.

    Raises:
        bank.BankError: There are fewer questions than asked for.
    """
    if not 1 <= count <= len(questions):
        raise bank.BankError(
            f"{count} questions were asked for, and there are {len(questions)} of this choice: "
            "ask for another number, or for more norms or kinds."
        )
    rng, drawn, used = random.Random(seed), [], Counter()
    rest = {norm: [q for q in questions if q.norm == norm] for norm in norms}
    turns = [norm for norm in norms if rest[norm]]
    rng.shuffle(turns)
    while len(drawn) < count:
        for norm in [t for t in turns if rest[t]][: count - len(drawn)]:
            question = next_one(rest[norm], used, rng)
            rest[norm].remove(question)
            used[question.skill] += 1
            drawn.append(question)
    rng.shuffle(drawn)
    return [replace(q, options=tuple(rng.sample(q.options, len(q.options)))) for q in drawn]


def next_one(questions, used, rng):
    """Choose a question of the skill that is furthest behind its share (Sainte-Laguë's rule)."""
    behind = {q.skill: (used[q.skill] + 0.5) / SHARES[q.skill] for q in questions}
    least = min(behind.values())
    return rng.choice([q for q in questions if behind[q.skill] == least])


if __name__ == "__main__":
    main()
