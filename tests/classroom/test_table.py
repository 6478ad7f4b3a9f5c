"""The grader tested by mutation. Quick: the stored tables are of this state, and right; slow: run anew."""

import os
import re

import pytest

from classroom import content, mutation, vary

NAMES = content.available()


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_table_is_of_this_state_and_right(name, record_property):
    assignment = content.Assignment(name)
    rows = mutation.stored(assignment)
    cure = f"run `.venv-classroom/bin/python -m classroom check {name}` and commit {name}.json"
    assert rows is not None, f"the table of {name} is not of this state: {cure}"
    for row in rows:
        record_property("mutant", f"{name}: {mutation.shown(row)}")
    assert [row["name"] for row in rows if not row["right"]] == []
    kinds = [row["kind"] for row in rows]
    assert (kinds.count("solution"), kinds.count("stub")) == (1, 1)
    assert kinds.count("fault") >= 12
    assert kinds.count("cheat") >= 8
    assert all(row["got"] == row["of"] for row in rows if row["kind"] == "solution")
    assert all(row["got"] == 0 for row in rows if row["kind"] in ("stub", "cheat"))
    assert all(row["got"] < row["of"] for row in rows if row["kind"] == "fault")
    tried = {line[1] for line in mutation.lines(assignment)}
    assert {row["name"] for row in rows} == tried


def test_every_check_is_lost_by_some_fault():
    for name in NAMES:
        notebook = content.Assignment(name).read()
        checks = _checks(notebook)
        rows = mutation.stored(content.Assignment(name)) or []
        lost = {part for row in rows if row["kind"] == "fault" for part in row["loses"]}
        assert lost >= checks, f"{name}: no fault breaks {sorted(checks - lost)}"


def test_one_assignment_whole(box, ghost):
    """Every line of it, run here and now."""
    rows = list(mutation.table(ghost, jobs=min(2, os.cpu_count() or 1), box=box))
    assert [mutation.shown(row) for row in rows if not row["right"]] == []
    assert len(rows) >= 22


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_every_assignment_anew(box, name):
    if name != "batch_norm":  # that one is always run
        rows = mutation.table(content.Assignment(name), box=box)
        assert [mutation.shown(row) for row in rows if not row["right"]] == []


def test_a_fault_that_does_not_fit_is_not_passed_over(ghost):
    notebook = ghost.read()
    with pytest.raises(mutation.Wrong, match="occurs 0 times"):
        mutation.Fault("x", "forward", "no such text", "y", loses=["a"]).applied(notebook)
    with pytest.raises(mutation.Wrong, match="no solution cell"):
        mutation.Fault("x", "nowhere", None, "y", loses=["a"]).applied(notebook)


@pytest.mark.parametrize("name", NAMES)
def test_the_grader_has_the_parts_of_each(name):
    assignment = content.Assignment(name)
    assert assignment.rubric.exists()
    text = assignment.rubric.read_text(encoding="utf-8")
    assert text.count("## Sample: ") == 3
    for cell in assignment.read().cells:
        if content.is_check(cell):
            lines = cell.source.strip().split("\n")
            assert len(lines) == 4, cell.source
            assert lines[0].replace("checks.", "hidden.", 1) == lines[2]


@pytest.mark.parametrize("name", NAMES)
def test_points_and_minutes_are_told_alike_everywhere(name):
    notebook = content.Assignment(name).read()
    points = content.parts(notebook)
    by_hand = sum(p for n, p in points.items() if n not in _checks(notebook))
    text = notebook.cells[0].source
    minutes, most = re.search(r"Time:\*\* (\d+) minutes[^*]*\*\*Points:\*\* (\d+)", text).groups()
    assert float(most) == sum(points.values())
    told = re.compile(rf"^\| `{name}`.*\| {most} \({by_hand:g}\) \| {minutes} \|", re.M)
    for path in ("assignments/README.md", "site/pages/classroom.md"):
        assert told.search((content.ROOT / path).read_text(encoding="utf-8")), path


def _checks(notebook):
    return {c.metadata.nbgrader.grade_id for c in notebook.cells if content.is_check(c)}


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_can_be_written_and_reads_otherwise(name, tmp_path):
    assignment = content.Assignment(name)
    if not assignment.variants.exists():
        pytest.fail(f"no variants/{name}.toml")
    drawn = [vary.vary(name, seed, tmp_path / str(seed)) for seed in range(4)]
    assert len({str(d) for d in drawn}) > 1
    assert vary.vary(name, 1, tmp_path / "again") == drawn[1]


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", NAMES)
def test_a_variant_is_whole(name, tmp_path, box):
    """Solution, stub and faults of one variant with the last choice of every twist. The cheats are
    the same for all variants."""
    import tomllib

    told = tomllib.loads(content.Assignment(name).variants.read_text(encoding="utf-8"))
    twists = [f"{t['name']}={t['choice'][-1]['label']}" for t in told.get("twist", [])]
    vary.vary(name, 3, tmp_path, twists=twists)
    kinds = ("solution", "stub", "fault")
    rows = list(mutation.table(content.Assignment(name, tmp_path), box=box, kinds=kinds))
    assert len(rows) >= 14
    assert [mutation.shown(row) for row in rows if not row["right"]] == []
