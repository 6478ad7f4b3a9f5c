"""The arms, claims and findings that stand in the package: found, complete, and able to fail."""

import inspect
import runpy
import string
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest

from norms.experiments import evidence, grids, sweep
from norms.experiments.claims import VERDICTS, Claim
from norms.experiments.training import train

CELLS = {"BN": (4, 2), "LN": (4, 2), "IN": (2, 2), "GN": (3, 3), "WN": (3, 3), "SN": (1, 2)}
CELLS |= {"RMS": (3, 3)}  # how many strengths and weaknesses each norm has in the summary table


def test_the_summary_table_has_37_cells():
    assert len(grids.CLAIMS) == 37
    cells = Counter(key.rstrip("0123456789") for key in grids.CLAIMS)
    expected = {
        f"{n}{sign}": c for n, counts in CELLS.items() for sign, c in zip("+-", counts, strict=True)
    }
    assert cells == expected
    for start, count in expected.items():
        assert all(f"{start}{i}" in grids.CLAIMS for i in range(1, count + 1))


def test_statements_are_sentences_of_their_own():
    statements = [
        claim.statement for table in (grids.CLAIMS, grids.FINDINGS) for claim in table.values()
    ]
    assert len(set(statements)) == len(statements)
    assert all(s[0].isupper() and not s.endswith(".") for s in statements)


STATED = {key: claim for key, claim in grids.CLAIMS.items() if claim.bounds}
NORMS = {cell.rstrip("0123456789+-") for cell in STATED}
STARRED = {
    "BN-1",
    "BN+2",
    "BN+3",
    "BN-2",
    "LN+4",
    "IN+2",
    "IN-1",
    "GN+2",
    "GN+3",
    "GN-1",
    "WN+3",
    "WN-1",
    "SN+1",
    "SN-2",
}  # with a figure and ten seeds, see the issues


def test_the_cells_of_the_norms_that_have_a_chapter_are_stated():
    assert {"BN", "LN", "RMS"} <= NORMS
    assert set(STATED) == {cell for cell in grids.CLAIMS if cell.rstrip("0123456789+-") in NORMS}


@pytest.mark.parametrize("name", [*STATED, *grids.FINDINGS])
def test_what_is_stated_names_what_is_compared_and_how_many_seeds(name):
    claim = (grids.CLAIMS | grids.FINDINGS)[name]
    assert isinstance(claim.arms, tuple), "one arm is (name,), with a comma"
    assert len(set(claim.arms)) == len(claim.arms) > 0
    assert all(isinstance(arm, str) and arm.strip() for arm in claim.arms)
    assert claim.seeds == 0 or claim.seeds >= (10 if name in STARRED else 5)
    assert claim.seeds or name not in STARRED


@pytest.mark.parametrize("cell", STATED)
def test_a_stated_claim_can_fail_and_can_be_read(cell):
    claim = STATED[cell]
    assert len({*claim.bounds, "not seen here"}) > 1
    assert set(claim.condition) <= set(claim.bounds), "a condition of a verdict it cannot get"
    used = {name for bounds in claim.bounds.values() for name in bounds}
    formatter = string.Formatter()
    for text in claim.condition.values():
        names = {name.split(".")[0] for _, name, _, _ in formatter.parse(text) if name}
        assert names <= set(claim.quantities)
        used |= names
    assert claim.effect in used, "the effect decides nothing"
    for bounds in claim.bounds.values():  # two bounds on one quantity would hide one of them
        assert all(bound.low <= bound.high for bound in bounds.values())
    assert claim.unit
    assert set(claim.bounds) <= set(VERDICTS)


@pytest.mark.parametrize("name", grids.FINDINGS)
def test_every_quantity_of_a_finding_has_a_bound_that_it_can_miss(name):
    finding = grids.FINDINGS[name]
    assert list(finding.bounds) == ["holds"]
    assert set(finding.bounds["holds"]) == set(finding.quantities)
    assert finding.effect in finding.quantities
    assert not finding.condition


def test_no_finding_is_taken_for_a_cell():
    assert not set(grids.FINDINGS) & set(grids.CLAIMS)


@pytest.mark.parametrize("cell", grids.REPEATS)
def test_a_claim_is_repeated_in_the_same_way_on_other_data(cell):
    repeat, claim = grids.REPEATS[cell], STATED[cell]
    arms = repeat.arms()
    assert len(arms) == 2, "the effect is that of two arms"
    assert claim.seeds >= 5
    assert repeat.data
    assert {str(arm["data"]).split(":")[0] for arm in arms.values()} == {repeat.data}
    assert getattr(evidence, repeat.combine) in (evidence.paired, evidence.ratio)
    if repeat.grid:
        assert set(arms) <= set(grids.arms(repeat.grid)), "no rate was chosen for an arm"
    assert bool(repeat.grid) != ("learning_rates" in repeat.options)
    known = set(inspect.signature(train).parameters) - {"seeds", "parts"}
    assert set(repeat.options) <= known


@pytest.mark.parametrize("grid", grids.RATES)
def test_the_rates_of_a_grid_are_rates(grid):
    assert grid in grids.GRIDS
    assert len(grids.RATES[grid]) >= 3
    assert set(grids.RATES[grid]) <= set(sweep.LIMIT)


def test_what_is_not_stated_yet_has_no_verdict():
    bare = [claim for cell, claim in grids.CLAIMS.items() if cell not in STATED]
    assert bare == [Claim(claim.statement) for claim in bare]


def test_a_grid_is_known_by_its_name():
    with pytest.raises(KeyError, match=r"no grid 'x'; there are: .*batch-size"):
        grids.arms("x")


@pytest.mark.parametrize("grid", grids.GRIDS)
def test_the_arms_of_a_grid_share_all_but_what_they_compare(grid):
    arms = grids.arms(grid)
    assert len(arms) > 1
    assert grids.GRIDS[grid].__doc__
    for arm in arms.values():
        assert {"build", "data", "steps", "batch_size"} <= set(arm)
        assert not {"learning_rates", "seeds", "parts"} & set(arm)
    assert len({id(arm["data"]) for arm in arms.values()}) == 1
    assert len({arm.get("optimizer", "sgd") for arm in arms.values()}) == 1
    images = {arm["steps"] * arm["batch_size"] for arm in arms.values()}
    assert max(images) - min(images) < max(arm["batch_size"] for arm in arms.values())
    names = [repr(sorted((k, str(v)) for k, v in arm.items())) for arm in arms.values()]
    assert len(set(names)) == len(names), "two arms are the same"


TABLES = ("GRIDS", "RATES", "CLAIMS", "FINDINGS", "REPEATS")


@pytest.mark.parametrize("table", TABLES)
def test_the_files_of_all_norms_are_found(table):
    """A second way: every file is run, and what it has is here."""
    found = {}
    for path in Path(grids.__file__).parent.glob("[!_]*.py"):
        found |= runpy.run_path(str(path)).get(table, {})
    assert found.keys() == getattr(grids, table).keys()
    assert found


@pytest.mark.parametrize("table", TABLES)
def test_a_name_in_two_files_is_refused(table, monkeypatch):
    twice = SimpleNamespace(**{table: {"BN+1": 1}})
    monkeypatch.setattr(grids, "import_module", lambda name: twice)
    with pytest.raises(ValueError, match=rf"{table} has 'BN\+1' twice, the second time in norms"):
        grids._gathered(table)
