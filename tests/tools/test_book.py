"""`tools/book.py`: it builds when something changed, and never leaves half a site."""

import os
import sys

import pytest
from checkouts import needs_signals, press_ctrl_c

# Stands in for jupyter-book: a page with the text of intro.md, in as much time as the test wants.
BUILDER = """#!{python}
import sys, time
from pathlib import Path
root = Path.cwd()
out = Path(sys.argv[sys.argv.index("--path-output") + 1], "_build", "html")
out.mkdir(parents=True)
(root / "builds").open("a").write("x")
(out / ".buildinfo").write_text("")
while (root / "slow").exists():
    time.sleep(0.05)
text = (root / "intro.md").read_text()
(out / "index.html").write_text(text)
if "WARNING" in text:
    sys.exit("reading\\n\\x1b[91mintro.md:1: WARNING: no such page\\x1b[0m\\nwriting")
if "full" in text:
    sys.exit("No space left")
"""

pytestmark = needs_signals  # the builder is a script


@pytest.fixture
def book(checkout):
    checkout.write("intro.md", "first")
    checkout.write("bin/jupyter-book", BUILDER.format(python=sys.executable), executable=True)
    (checkout.root / "bin" / "python").symlink_to(os.path.realpath(sys.executable))
    return Book(checkout)


class Book:
    def __init__(self, checkout):
        self.checkout = checkout
        self.root = checkout.root
        self.python = str(self.root / "bin" / "python")

    def start(self):
        return self.checkout.start("tools/book.py", python=self.python)

    def make(self):
        return self.checkout.run("tools/book.py", python=self.python)

    @property
    def page(self):
        return (self.root / "_build" / "html" / "index.html").read_text()

    @property
    def builds(self):
        return len((self.root / "builds").read_text())

    def sound(self, text):
        """The site has this text, and nothing else is left beside it."""
        left = {path.name for path in (self.root / "_build").iterdir()}
        return self.page == text and left <= {"html", "build.log", "inputs.sha256"}


def test_it_builds_once_and_again_after_a_change(book):
    code, said = book.make()
    assert code == 0
    assert "l%27%C3%A9t%C3%A9%20%C3%A0%20c%C3%B4t%C3%A9/seven%20norms/_build/html/index" in said
    assert book.sound("first")
    assert not (book.root / "_build" / "html" / ".buildinfo").exists()
    assert "up to date" in book.make()[1]
    assert book.builds == 1
    book.checkout.write("intro.md", "second")
    assert book.make()[0] == 0
    assert book.sound("second")


@pytest.mark.parametrize(
    "name", ["_config.yml", "chapters/a.ipynb", "site/ext/new.py", "src/norms/experiments/new.py"]
)
def test_a_new_file_makes_it_build(book, name):
    book.make()
    book.checkout.write(name, "new")
    book.make()
    assert book.builds == 2


def test_what_is_no_input_does_not(book):
    book.make()
    book.checkout.write("src/norms/__pycache__/a.pyc", "new")
    book.checkout.write("tests/test_a.py", "new")
    book.make()
    assert book.builds == 1


def test_a_warning_fails_in_plain_words_and_keeps_the_old_site(book):
    book.make()
    book.checkout.write("intro.md", "WARNING")
    code, said = book.make()
    assert code == 1
    assert "\nintro.md:1: WARNING: no such page\n" in said
    assert "The site built before is still in _build/html." in said
    assert "Traceback" not in said
    assert book.sound("first")
    assert book.make()[0] == 1, "a failed build counted as done"


def test_a_full_disk_is_told_even_when_the_build_could_not_say_so(book, monkeypatch):
    import book as tool

    log = book.checkout.write("_build/build.log", "reading")
    monkeypatch.setattr(tool, "ROOT", book.root)
    monkeypatch.setattr(tool, "LOG", log)
    for free, told in ((1e6, True), (1e10, False)):
        usage = type("usage", (), {"free": free})
        monkeypatch.setattr(tool.shutil, "disk_usage", lambda path, usage=usage: usage)
        assert ("Only 1 MB are free on this disk" in tool.complaints()) is told


def test_ctrl_c_is_one_line_and_keeps_the_old_site(book):
    book.make()
    book.checkout.write("intro.md", "second")
    slow = book.checkout.write("slow", "")
    (book.root / "builds").unlink()
    process = book.start()
    book.checkout.has("builds")
    code, said = press_ctrl_c(process)
    assert code == 130
    assert said == (
        "Building the site, strictly …\n"
        "\nStopped. What is in _build/html is as it was: run the command again to go on.\n"
    )
    assert book.page == "first"
    slow.unlink()
    assert book.make()[0] == 0
    assert book.sound("second")


def test_the_second_waits_for_the_first_and_finds_its_work_done(book):
    slow = book.checkout.write("slow", "")
    first = book.start()
    book.checkout.has("builds")
    second = book.start()
    assert second.stdout.readline() == "Another make is running here; waiting for it …\n"
    slow.unlink()
    assert first.wait(20) == 0
    said = second.communicate(timeout=20)[0]
    assert second.returncode == 0
    assert said.startswith("Open file:")
    assert book.builds == 1
    assert book.sound("first")


def test_after_a_kill_between_two_renames_the_old_site_is_found(book):
    book.make()
    (book.root / "_build" / "html").rename(book.root / "_build" / "html.old")
    book.checkout.write("intro.md", "WARNING")
    assert book.make()[0] == 1
    assert book.sound("first")


def test_a_read_only_checkout_gets_advice(book, monkeypatch):
    import book as tool

    monkeypatch.setattr(tool.os, "access", lambda path, mode: False)
    monkeypatch.setattr(tool, "fresh", lambda: False)
    with pytest.raises(SystemExit, match="The folder is read-only: copy the course"):
        tool.plainly(tool.main)


def test_without_jupyter_book_it_says_what_to_install(book):
    (book.root / "bin" / "jupyter-book").unlink()
    code, said = book.make()
    assert code == 1
    assert "pip install -r site/requirements.txt" in said
