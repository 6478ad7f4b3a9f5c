"""`python -m classroom COMMAND`: what an instructor does, each by one command."""

import argparse
import sys
from pathlib import Path

import nbformat

from . import content, mutation, sandbox, writing


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m classroom", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("write", help="make a source notebook from its text")
    one.add_argument("text", type=Path)
    one.add_argument("name")
    one = commands.add_parser("text", help="print the text of a source notebook")
    one.add_argument("name")
    one = commands.add_parser("check", help="try solution, stub, faults and cheats of assignments")
    one.add_argument("names", nargs="*", metavar="NAME")
    one.add_argument("-k", default="", metavar="WORD", help="only lines with this word")
    one.add_argument("--jobs", type=int, default=1, help="so many at once")
    for one in commands.choices.values():
        one.add_argument("--root", type=Path, default=content.ASSIGNMENTS, help="another assignments/")
    options = parser.parse_args(arguments)
    try:
        sys.exit(globals()[f"do_{options.command}"](options) or 0)
    except (content.Missing, sandbox.NoSandbox, mutation.Wrong) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("\nStopped: the same command goes on from here.")


def do_write(options):
    assignment = content.Assignment(options.name, options.root)
    notebook = writing.to_notebook(options.text.read_text(encoding="utf-8"))
    assignment.folder.mkdir(parents=True, exist_ok=True)
    text = nbformat.writes(notebook) + "\n"
    assignment.notebook.write_text(text, encoding="utf-8", newline="\n")
    print(f"{assignment.notebook}: {sum(content.parts(notebook).values()):g} points")


def do_text(options):
    print(writing.to_text(content.Assignment(options.name, options.root).read()), end="")


def do_check(options):
    names = options.names or content.available(options.root)
    return not mutation.check(names, options.root, options.k, options.jobs)


if __name__ == "__main__":
    main()
