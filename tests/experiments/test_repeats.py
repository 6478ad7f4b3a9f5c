"""A claim on a second data set: trained as its arms say, stored one line a seed, stale in time."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from small_nets import mlp

from norms.experiments import grids, repeats, sweep, verdicts
from norms.experiments.claims import Claim, Repeat, above
from norms.experiments.data import digits
from norms.experiments.evidence import Interval, paired, ratio
from norms.experiments.training import seeded, train


def two_arms(steps=4):
    shared = {"data": digits(), "steps": steps, "batch_size": 16, "every": 2}
    return {
        norm: {"build": partial(seeded, mlp, norm=norm), **shared} for norm in ("batch", "none")
    }


def last_loss(history):
    return history.loss[-1, 0]


def records(history):
    """Tell how many there are, and of which part, in one number a seed."""
    return 10.0 * len(history.test) + len(history.validation) + torch.arange(1.0, 4.0)


RATE = {"learning_rates": [0.1]}
REPEATS = {
    "BN+1": Repeat("digits", two_arms, last_loss, options=RATE),
    "BN+2": Repeat("digits", two_arms, last_loss, "ratio", grid="demo"),
    "BN+3": Repeat("digits", two_arms, records, options=RATE | {"every": 1}),
}


def claim(seeds=3):
    quantities = {"gain": "of something (nats)"}
    bounds = {"holds": {"gain": above(0)}}
    return Claim("It gains", ("batch", "none"), seeds, "gain", "nats", quantities=quantities, bounds=bounds)  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Claims that are repeated, in this process, and a folder for their tables."""
    monkeypatch.setattr(grids, "REPEATS", dict(REPEATS))
    monkeypatch.setattr(grids, "CLAIMS", dict.fromkeys([*REPEATS, "LN+1"], claim()))
    monkeypatch.setattr(repeats, "run_arms", lambda arms: {n: f() for n, f in arms.items()})
    monkeypatch.setattr(sweep, "chosen", lambda grid: {"demo": {"none": 0.1, "batch": 0.3}}[grid])
    monkeypatch.setattr(sweep, "RESULTS", tmp_path)
    return tmp_path


def losses(arm, rate):
    history = train(**two_arms()[arm], learning_rates=[rate], seeds=[0, 1, 2])
    return history.loss[-1, 0].tolist()


def test_both_arms_are_trained_with_the_seeds_of_the_claim_and_stored(folder):
    path = repeats.run("BN+1", folder)
    assert path == folder / "BN+1.csv"
    lines = [line for line in path.read_text().splitlines() if line[0] != "#"]
    assert lines[0] == "seed,first,second"
    rows = [[float(value) for value in line.split(",")] for line in lines[1:]]
    batch, none = losses("batch", 0.1), losses("none", 0.1)
    assert [row[0] for row in rows] == [0, 1, 2]
    assert [row[1] for row in rows] == pytest.approx(batch, rel=1e-5)
    assert [row[2] for row in rows] == pytest.approx(none, rel=1e-5)
    data, effect = repeats.stored("BN+1", folder)
    assert data == "digits"
    assert effect.n == 3
    expected = paired(batch, none)  # the first less the second
    for end in ("mean", "low", "high"):
        assert getattr(effect, end) == pytest.approx(getattr(expected, end), rel=1e-3)
    assert list(folder.iterdir()) == [path]


def test_a_ratio_at_the_rate_that_the_grid_chose_for_each_arm(folder):
    repeats.run("BN+2", folder)
    _, effect = repeats.stored("BN+2", folder)
    expected = ratio(losses("batch", 0.3), losses("none", 0.1))
    for end in ("mean", "low", "high"):
        assert getattr(effect, end) == pytest.approx(getattr(expected, end), rel=1e-4)


def test_options_stand_in_the_place_of_the_arms_own_and_the_test_part_is_looked_at(folder):
    rows = repeats.run("BN+3", folder).read_text().splitlines()[-3:]
    assert rows == ["0,41,41", "1,42,42", "2,43,43"]  # four records, and none of the validation


def test_a_table_says_what_made_it(folder, monkeypatch):
    monkeypatch.setenv("NORMS_SEED_BASE", "1000")  # another seed base tries a page, not a table
    path = repeats.run("BN+1", folder)
    lines = path.read_text().splitlines()
    assert lines[0] == "# python -m norms.experiments.repeats BN+1"
    assert f"torch {torch.__version__}" in lines[1]
    assert lines[2].endswith(f"arms {sweep.mark_of(path)}, seeds 0 1 2")
    assert len(sweep.mark_of(path)) == 12


def first_loss(history):
    return history.loss[0, 0]


def turned():
    return dict(reversed(two_arms().items()))


CHANGES = {
    "the arms": {"arms": partial(two_arms, 5)},
    "their order": {"arms": turned},
    "the statistic": {"statistic": first_loss},
    "an option": {"options": {"momentum": 0.9}},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_table_of_something_else_is_stale(what, folder, monkeypatch):
    repeats.run("BN+2", folder)
    assert not repeats.stale("BN+2")
    grids.REPEATS["BN+2"] = replace(REPEATS["BN+2"], **CHANGES[what])
    assert repeats.stale("BN+2")


def test_a_table_of_other_seeds_or_rates_is_stale(folder, monkeypatch):
    repeats.run("BN+2", folder)
    with monkeypatch.context() as patch:
        patch.setitem(grids.CLAIMS, "BN+2", claim(seeds=4))
        assert repeats.stale("BN+2")
    monkeypatch.setattr(sweep, "chosen", lambda grid: {"none": 0.1, "batch": 0.1})
    assert repeats.stale("BN+2")


def test_a_run_that_fails_leaves_the_table_that_there_was(folder, monkeypatch):
    path = repeats.run("BN+1", folder)
    before = path.read_text()
    grids.REPEATS["BN+1"] = replace(REPEATS["BN+1"], statistic=lambda history: torch.ones(2))
    with pytest.raises(ValueError, match="shorter"):
        repeats.run("BN+1", folder)
    assert path.read_text() == before


def test_a_missing_table_names_the_command(folder):
    command = (
        r"no results of BN\+1 on digits .*: run it with `python -m norms.experiments.repeats BN\+1`"
    )
    with pytest.raises(sweep.MissingResults, match=command):
        repeats.stored("BN+1", folder)


def test_most_claims_are_not_repeated(folder):
    assert repeats.stored("LN+1", folder) is None


def test_a_verdict_shows_what_is_stored(folder, monkeypatch):
    """From the run to the box: the same effect, looked at with the claim's own bound."""
    outputs = []
    monkeypatch.setattr(verdicts, "CLAIMS", grids.CLAIMS)
    monkeypatch.setattr(verdicts, "_made", {})
    monkeypatch.setattr(verdicts, "display", lambda data, raw=False: outputs.append(data))
    monkeypatch.setattr(verdicts, "stored", partial(repeats.stored, folder=folder))
    gain = Interval(2.0, 1.0, 3.0, 3)
    with pytest.raises(sweep.MissingResults):
        verdicts.judge("BN+1", gain=gain)
    assert not outputs
    repeats.run("BN+1", folder)
    verdicts.judge("BN+1", gain=gain)
    also = outputs[0][verdicts.MIME]["also_on"]
    _, effect = repeats.stored("BN+1", folder)
    assert Interval(**also["effect"]) == effect
    assert also["holds"] == (effect.low > 0)
    assert f"<b>Also on:</b> digits: {effect:.3g}; above 0: " in outputs[0]["text/html"]


def test_the_command_runs_a_claim_and_says_what_came_out(folder, monkeypatch, capsys):
    for name in ("run", "stored"):
        monkeypatch.setattr(repeats, name, partial(getattr(repeats, name), folder=folder))
    repeats.main(["BN+1"])
    _, effect = repeats.stored("BN+1")
    said = [str(folder / "BN+1.csv"), f"BN+1 on digits: {effect:.3g} nats"]
    assert capsys.readouterr().out.splitlines() == said
    with pytest.raises(SystemExit):
        repeats.main(["LN+1"])
    assert "invalid choice: 'LN+1'" in capsys.readouterr().err
