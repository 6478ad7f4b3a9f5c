"""The tables in the package were made from today's arms, seeds and code."""

import pytest

from norms.experiments import grids, sweep


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


def test_the_seeds_of_the_grids_are_not_those_of_the_pages():
    assert min(sweep.SEEDS) >= 100
    assert len(set(sweep.SEEDS)) == 5
