"""The tables in the package were made from today's arms, seeds and code."""

from itertools import product
from pathlib import Path

import pytest

from norms.experiments import gans, grids, repeats, sweep, timing


@pytest.mark.parametrize("grid", grids.GRIDS)
def test_stored_tables_are_those_of_the_arms(grid):
    rates, arms = sweep.chosen(grid), grids.arms(grid)
    assert list(rates) == list(arms)
    (measure,) = {arm["data"].measure for arm in arms.values()}
    assert measure == sweep._measure(sweep.RESULTS / f"{grid}.csv")
    for _, values in sweep.results(grid).values():
        assert values.shape[1] == len(sweep.SEEDS)


@pytest.mark.parametrize("grid", grids.GRIDS)
def test_stored_tables_are_fresh(grid):
    assert not sweep.stale(grid), f"run `python -m norms.experiments.sweep {grid}`"


@pytest.mark.parametrize("grid", grids.RATES)
def test_every_arm_has_all_the_rates_of_a_grid_that_has_its_own(grid):
    wanted = {sweep.rate(k) for k in grids.RATES[grid]}
    for arm, (rates, _) in sweep.results(grid).items():
        assert wanted <= set(rates), f"{arm}: `python -m norms.experiments.sweep {grid} --again`"


@pytest.mark.parametrize("cell", grids.REPEATS)
def test_stored_repeats_are_fresh_and_of_the_seeds_of_the_claim(cell):
    data, effect = repeats.stored(cell)
    assert not repeats.stale(cell), f"run `python -m norms.experiments.repeats {cell}`"
    assert data == grids.REPEATS[cell].data
    assert effect.n == grids.CLAIMS[cell].seeds


@pytest.mark.parametrize("name", gans.GAMES)
def test_stored_games_are_fresh_and_of_all_settings(name):
    assert not gans.stale(name), f"run `python -m norms.experiments.gans {name}`"
    found, game = gans.results(name), gans.GAMES[name]()
    assert list(found) == list(game.strengths) == list(gans.chosen(name))
    for arm, scores in found.items():
        wanted = product(game.rates, game.momenta, [game.strengths[arm]])
        assert set(scores) == {gans.Setting(*values) for values in wanted}
        assert {len(values) for values in scores.values()} == {len(sweep.SEEDS)}


def test_every_stored_table_belongs_to_something():
    costs = {path.stem for path in vars(timing).values() if isinstance(path, Path)}
    found = {path.stem for path in sweep.RESULTS.glob("*.csv")}
    assert found - costs == {*grids.GRIDS, *grids.REPEATS, *gans.GAMES}


def test_the_seeds_of_the_grids_are_not_those_of_the_pages():
    assert min(sweep.SEEDS) >= 100
    assert len(set(sweep.SEEDS)) == 5
