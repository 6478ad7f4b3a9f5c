"""The arms and the claims that stand in the package: found, complete, and able to fail."""

import string
from collections import Counter

import pytest

from norms.experiments import grids
from norms.experiments.claims import VERDICTS, Claim

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
    statements = [claim.statement for claim in grids.CLAIMS.values()]
    assert len(set(statements)) == len(statements)
    assert all(s[0].isupper() and not s.endswith(".") for s in statements)


STATED = {key: claim for key, claim in grids.CLAIMS.items() if claim.bounds}


@pytest.mark.parametrize("cell", STATED)
def test_a_stated_claim_can_fail_and_can_be_read(cell):
    claim = STATED[cell]
    assert len({*claim.bounds, "not seen here"}) > 1
    assert set(claim.condition) <= set(claim.bounds), "a condition of a verdict it cannot get"
    used = {name for bounds in claim.bounds.values() for name in bounds}
    formatter = string.Formatter()
    for text in claim.condition.values():
        names = {name for _, name, _, _ in formatter.parse(text) if name}
        assert names <= set(claim.quantities)
        used |= names
    assert claim.effect in used, "the effect decides nothing"
    for bounds in claim.bounds.values():  # two bounds on one quantity would hide one of them
        assert all(bound.low <= bound.high for bound in bounds.values())
    assert claim.unit
    assert set(claim.bounds) <= set(VERDICTS)


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


def test_a_name_in_two_files_is_refused(monkeypatch):
    from types import SimpleNamespace

    twice = SimpleNamespace(CLAIMS={"BN+1": 1})
    monkeypatch.setattr(grids, "import_module", lambda name: twice)
    with pytest.raises(ValueError, match=r"CLAIMS has 'BN\+1' twice, the second time in norms"):
        grids._gathered("CLAIMS")
