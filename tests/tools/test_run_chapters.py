"""What `make run` runs, in which order, and what it leaves when a page fails."""

import os
import sys
import tempfile

import nbformat
import pytest
import run_chapters
from checkouts import press_ctrl_c
from nbformat.v4 import new_code_cell, new_notebook, new_output

from norms.experiments import provenance
from norms.experiments.verdicts import MIME

READS = 'verdict_table("02_x_evidence.ipynb")'


def write(folder, name, *sources, fresh=False, seconds=3, verdict=None):
    folder.mkdir(exist_ok=True)
    cells = [new_code_cell(source) for source in sources]
    if verdict:
        cells[0].outputs = [new_output("display_data", {MIME: {"id": "BN-1", "verdict": verdict}})]
    path = folder / f"{name}.ipynb"
    page = new_notebook(cells=cells)
    path.write_text(nbformat.writes(page), "utf-8")
    if fresh:
        page.metadata["norms"] = {"uses": provenance.of_page(path), "seconds": seconds}
        path.write_text(nbformat.writes(page), "utf-8")
    return path


@pytest.fixture
def chapters(tmp_path, monkeypatch):
    folder = tmp_path / "chapters"
    folder.mkdir()
    monkeypatch.setattr(run_chapters, "ROOT", tmp_path)
    monkeypatch.setattr(run_chapters, "CHAPTERS", folder)
    return folder


@pytest.fixture
def ran(monkeypatch):
    """The pages that were run; those whose code says so fail."""
    names = []

    def run(path):
        names.append(path.stem)
        return "1 / 0" not in path.read_text("utf-8")

    monkeypatch.setattr(run_chapters, "run", run)
    return names


# --- Which pages, and in which order


def test_a_page_comes_behind_those_whose_verdicts_it_reads(chapters, ran):
    write(chapters, "01_a", "1")
    write(chapters, "02_x", READS)
    write(chapters, "02_x_evidence", "3")
    run_chapters.main([])
    assert ran.index("02_x_evidence") < ran.index("02_x")
    assert sorted(ran) == ["01_a", "02_x", "02_x_evidence"]


def test_pages_that_read_each_other_are_told(chapters, ran):
    write(chapters, "02_x", READS)
    write(chapters, "02_x_evidence", '"02_x.ipynb"')
    with pytest.raises(SystemExit, match="read each other's verdicts"):
        run_chapters.main([])
    assert not ran


def test_what_is_fresh_is_not_run_unless_asked(chapters, ran, capsys):
    write(chapters, "01_a", "1", fresh=True)
    run_chapters.main([])
    assert not ran
    assert "Every stored run is fresh" in capsys.readouterr().out
    run_chapters.main(["--all"])
    run_chapters.main(["a"])
    run_chapters.main(["01_a.ipynb"])
    assert ran == ["01_a"] * 3
    assert "01_a: asked for (3 s last time)" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="No chapter 09; there are: 01_a"):
        run_chapters.main(["09"])


def test_stale_pages_are_listed_and_not_run(chapters, ran, capsys):
    write(chapters, "01_a", "1", fresh=True)
    write(chapters, "02_b", "1")
    run_chapters.main(["--stale"])
    assert capsys.readouterr().out.split() == ["chapters/02_b.ipynb"]
    assert not ran


def test_it_says_what_it_will_run_and_why(chapters, ran, capsys):
    path = write(chapters, "01_a", "1", fresh=True, seconds=70)
    page = nbformat.read(path, as_version=4)
    page.cells[0].source = "2"
    nbformat.write(page, path)
    write(chapters, "02_b", "1")
    write(chapters, "03_c", "from norms.moments import centre_scale", fresh=True)
    write(chapters, "04_d", "1", fresh=True)
    run_chapters.main([])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "To run: 2 pages, about 70 s"
    assert lines[1:] == [
        "  01_a: code has changed (70 s last time)",
        "  02_b: it was never run (0 s last time)",
    ]


def test_of_many_reasons_it_says_two(chapters, capsys, monkeypatch):
    path = write(chapters, "01_a", "1", fresh=True)
    monkeypatch.setattr(run_chapters, "why", lambda _: ["one", "two", "three", "four"])
    run_chapters.announce([path], must=False)
    assert "01_a: one; two and 2 more (3 s last time)" in capsys.readouterr().out


def test_it_goes_on_after_a_failure_but_not_with_what_depends_on_it(chapters, ran):
    write(chapters, "01_a", "1 / 0")
    write(chapters, "02_x", READS)
    write(chapters, "02_x_evidence", "1 / 0", "2")
    write(chapters, "03_y", "'02_x.ipynb'")
    write(chapters, "04_z", "1")
    with pytest.raises(SystemExit) as stop:
        run_chapters.main([])
    assert sorted(ran) == ["01_a", "02_x_evidence", "04_z"]
    assert stop.value.code.splitlines() == [
        "02_x was not run: it reads the verdicts of 02_x_evidence.ipynb.",
        "03_y was not run: it reads the verdicts of 02_x.ipynb.",
        "Failed: 01_a, 02_x_evidence. What was stored before is untouched.",
    ]


def test_new_verdicts_make_the_page_that_reads_them_run(chapters, monkeypatch):
    write(chapters, "02_x_evidence", "judge()", verdict="holds")
    write(chapters, "02_x", READS, fresh=True)
    ran = []

    def run(path):
        ran.append(path.stem)
        if path.stem == "02_x_evidence":
            write(chapters, "02_x_evidence", "judge()", verdict="contradicted", fresh=True)
        return True

    monkeypatch.setattr(run_chapters, "run", run)
    run_chapters.main([])
    assert ran == ["02_x_evidence", "02_x"]


# --- A run, with a kernel


@pytest.fixture
def kernels(chapters, tmp_path, monkeypatch):
    """Temporary files and the lists of kernels are below tmp_path, so that leaks are seen."""
    for name in ("tmp", "runtime"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(run_chapters.tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    yield chapters
    assert os.listdir(tmp_path / "tmp") == []
    assert os.listdir(tmp_path / "runtime") == []
    assert all(path.suffix == ".ipynb" for path in chapters.iterdir())


@pytest.mark.slow
def test_a_run_is_stored_with_what_it_was_made_from(kernels, monkeypatch, capsys):
    monkeypatch.setenv("NORMS_SEED_BASE", "1000")
    monkeypatch.setenv("NORMS_THREADS", "2")
    path = write(kernels, "01_a", "import os\n[k for k in os.environ if k[:6] == 'NORMS_']", "1")
    path.chmod(0o640)
    run_chapters.main([])
    page = nbformat.read(path, as_version=4)
    assert [cell.execution_count for cell in page.cells] == [1, 2]
    assert page.cells[0].outputs[0].data["text/plain"] == "['NORMS_SILENT']", "no other seeds"
    assert page.metadata.norms.uses == provenance.of_page(path)
    assert run_chapters.why(path) == []
    assert path.stat().st_mode & 0o777 == 0o640
    assert "chapters/01_a.ipynb: stored a run of" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("1 / 0", "01_a: a cell failed, after"),
        ("import os\nos._exit(3)", "01_a: the kernel died: out of memory, or a crash, after"),
        ("import time\ntime.sleep(60)", "01_a: a cell took more than 1 s, after"),
    ],
)
def test_a_failing_page_keeps_its_stored_run(source, words, kernels, monkeypatch, capfd):
    monkeypatch.setattr(run_chapters, "SECONDS_PER_CELL", 1)
    path = write(kernels, "01_a", "print('new')", source)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match="Failed: 01_a"):
        run_chapters.main([])
    assert path.read_bytes() == before
    said = capfd.readouterr().err
    assert words in said
    assert "run_chapters.py" not in said, "no traceback of the tool"


@pytest.mark.slow
def test_an_edit_during_the_run_is_not_overwritten(kernels, capsys):
    path = write(kernels, "01_a", "x = 1")
    edit = f"open({str(path)!r}, 'a').write(' ')"
    path = write(kernels, "01_a", edit)
    with pytest.raises(SystemExit, match="Failed: 01_a"):
        run_chapters.main([])
    assert "was edited while it ran" in capsys.readouterr().err
    assert path.read_text("utf-8").endswith(" ")


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C by signal")
def test_ctrl_c_gives_one_line_and_keeps_the_stored_run(checkout):
    write(checkout.root / "chapters", "01_a", "1", fresh=True)
    source = "import pathlib, time\npathlib.Path('../begun').touch()\ntime.sleep(60)"
    path = write(checkout.root / "chapters", "02_b", source)
    before = path.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        process = checkout.start("tools/run_chapters.py", TMPDIR=folder)
        assert checkout.has("begun", seconds=60)
        code, said = press_ctrl_c(process)
        assert os.listdir(folder) == []
    assert code == 1
    assert said.count("Stopped. The page that was running keeps its stored run") == 1
    assert "Traceback" not in said
    assert "KeyboardInterrupt" not in said
    assert path.read_bytes() == before


# --- Storing


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "page.ipynb"
    path.write_text("old", "utf-8")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            run_chapters.replace(path, "new")
    assert path.read_text("utf-8") == "old"
    run_chapters.replace(path, "νέα")
    assert path.read_text("utf-8") == "νέα"
    assert os.listdir(tmp_path) == ["page.ipynb"]
