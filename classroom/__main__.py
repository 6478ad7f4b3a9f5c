"""What an instructor does, each by one command: release, grade, feedback, export, vary, quiz, check."""

import argparse
import datetime
import subprocess
import sys
from pathlib import Path

import nbformat

from . import content, mutation, quiz, sandbox, vary, writing

KNOWN = (content.Missing, content.Failed, sandbox.NoSandbox, mutation.Wrong, vary.Unfit)


def main(arguments=None):
    options = parser().parse_args(arguments)
    try:
        sys.exit(options.run(options))
    except KNOWN as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nStopped. What was done is kept: the same command goes on from here.")


def parser():
    top = argparse.ArgumentParser(prog="python -m classroom", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(run, text, *positionals):
        one = commands.add_parser(run.__name__.removeprefix("do_"), help=text, description=text)
        one.set_defaults(run=run)
        for name in positionals:
            kind = {"type": Path} if name in ("COURSE", "FOLDER", "FILE") else {}
            one.add_argument(name.lower().rstrip("."), metavar=name.rstrip("."), **kind)
        return one

    one = command(do_release, "make the students' versions, and a zip of each", "COURSE")
    one.add_argument("names", nargs="*", metavar="NAME", help="all, if none is named")
    _root(one)
    one.add_argument("--force", action="store_true", help="also where another version was graded")
    one = command(do_grade, "grade a folder of submissions", "COURSE", "NAME", "FOLDER")
    one.add_argument("--jobs", type=int, help="so many at once (default: all processors)")
    one.add_argument(
        "--scheduler", metavar="tcp://HOST:PORT", help="of a Dask cluster that shares COURSE"
    )
    one.add_argument("--due", help="such as '2026-12-01 23:59' in UTC: later ones are marked late")
    one.add_argument("--seconds", type=float, help="that a cell may take (default: 60)")
    one.add_argument("--again", action="store_true", help="run all anew, also what is done")
    one.add_argument("--unsafe", action="store_true", help="without a sandbox, at your own risk")
    command(do_mark, "open nbgrader's Formgrader, to mark answers in words by hand", "COURSE")
    command(do_feedback, "make the pages that go back to the students", "COURSE", "NAME")
    one = command(do_export, "write all grades as a CSV, a row a student", "COURSE", "FILE")
    one.add_argument("names", nargs="*", metavar="NAME", help="all, if none is named")
    one.add_argument("--long", action="store_true", help="nbgrader's own form, a row a submission")
    one = command(do_vary, "draw a variant of an assignment", "NAME")
    one.add_argument("--seed", required=True, help="the same seed draws the same variant")
    one.add_argument(
        "--to", type=Path, required=True, metavar="FOLDER", help="laid out as assignments/"
    )
    one.add_argument("--twist", action="append", default=[], metavar="NAME=CHOICE")
    _root(one)
    one = commands.add_parser(
        "quiz", help="draw a quiz from the bank, and its key", description=quiz.__doc__
    )
    one.formatter_class = argparse.RawDescriptionHelpFormatter
    quiz.parser(one).set_defaults(run=quiz.run)
    one = command(do_check, "try solution, stub, faults and cheats of assignments")
    one.add_argument("names", nargs="*", metavar="NAME", help="all, if none is named")
    one.add_argument("-k", default="", metavar="WORD", help="only lines with this word")
    one.add_argument("--jobs", type=int, default=1, help="so many at once")
    one.add_argument("--markdown", action="store_true", help="print the stored tables, run nothing")
    _root(one)
    one = command(do_write, "make a source notebook from its text", "FILE", "NAME")
    _root(one)
    _root(command(do_text, "print the text of a source notebook", "NAME"))
    command(do_handout, "make what the site and Colab hand out anew: assignments/release")
    command(do_sandbox, "say which sandbox runs here, or what would help")
    return top


def _root(one):
    one.add_argument("--root", type=Path, default=content.ASSIGNMENTS, help="another assignments/")


def do_release(options):
    from . import course

    names = options.names or content.available(options.root)
    here = course.Course(options.course.resolve())
    for path in course.release(here, names, options.root, options.force):
        print(path)


def do_grade(options):
    from . import course, grade, report

    due = date(options.due) if options.due else None
    if options.unsafe:
        print("UNSAFE: what students sent runs with your rights and your files.", file=sys.stderr)
    root = options.course.resolve()
    more = {"jobs": options.jobs, "scheduler": options.scheduler, "unsafe": options.unsafe}
    more |= {"due": due, "again": options.again, "seconds": options.seconds}
    rows, nobody = grade.grade(root, options.name, options.folder.resolve(), **more)
    table, page = report.write(course.Course(root), options.name, rows, nobody)
    graded = sum(row["status"] == "graded" for row in rows)
    print(f"{graded} of {len(rows)} graded.\n{table}\n{page}")


def date(text):
    try:
        return datetime.datetime.fromisoformat(text)
    except ValueError:
        told = f"--due {text!r} is no date: write it as '2026-12-01 23:59' (UTC)"
        raise content.Failed(told) from None


def do_mark(options):
    from . import course

    words, settings = course.formgrader(course.Course(options.course.resolve()))
    return subprocess.run(words, **settings).returncode


def do_feedback(options):
    from . import course

    here = course.Course(options.course.resolve())
    pages = course.feedback(here, options.name)
    print(f"{len(pages)} pages in {options.course / 'feedback'}")
    if waiting := course.to_mark(here, options.name):
        print(f"{waiting} answers in words are not marked yet: these pages show 0 for them.")


def do_export(options):
    from . import course

    here = course.Course(options.course.resolve())
    print(course.export(here, options.file, options.names, options.long))
    for name in options.names or course.graded(here):
        if waiting := course.to_mark(here, name):
            print(f"{name}: {waiting} answers in words are not marked yet, and count 0.")


def do_vary(options):
    there = content.Assignment(options.name, options.to).folder
    if there.exists():
        raise content.Failed(f"{there} exists: choose another --to, or delete it.")
    drawn = vary.vary(options.name, options.seed, options.to, options.root, options.twist)
    published = vary.published(options.name, options.root)
    for what, value in drawn.items():
        print(
            f"{what}: {value}" + (f" (published: {published[what]})" if what in published else "")
        )
    print(f"Prove it: python -m classroom check {options.name} --root {options.to}")


def do_check(options):
    names = options.names or content.available(options.root)
    if options.markdown:
        for name in names:
            rows = mutation.stored(content.Assignment(name, options.root))
            said = "no table of this state is stored: run check without --markdown"
            print((mutation.markdown(name, rows) if rows else f"**{name}**: {said}") + "\n")
        return 0
    return not mutation.check(names, options.root, options.k, options.jobs)


def do_write(options):
    assignment = content.Assignment(options.name, options.root)
    notebook = writing.to_notebook(options.file.read_text(encoding="utf-8"))
    assignment.folder.mkdir(parents=True, exist_ok=True)
    text = nbformat.writes(notebook) + "\n"
    assignment.notebook.write_text(text, encoding="utf-8", newline="\n")
    print(f"{assignment.notebook}: {sum(content.parts(notebook).values()):g} points")


def do_text(options):
    print(writing.to_text(content.Assignment(options.name, options.root).read()), end="")


def do_handout(options):
    from . import course

    for path in course.handout():
        print(path)


def do_sandbox(options):
    print(f"Sandbox: {sandbox.find()} (it works)")


if __name__ == "__main__":
    main()
