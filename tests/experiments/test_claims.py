"""A verdict follows from bounds and measured intervals, and from nothing else."""

import math

import pytest

from norms.experiments.claims import (
    VERDICTS,
    Bound,
    Claim,
    Repeat,
    above,
    below,
    between,
    exactly,
    null,
    verdict,
)
from norms.experiments.evidence import Interval


def span(low, high):
    return Interval((low + high) / 2, low, high, 10)


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (above(1), [span(1.1, 9), 1.1], [span(1, 9), span(0.9, 9), 1, 0]),
        (below(1), [span(-9, 0.9), 0.9], [span(-9, 1), span(-9, 1.1), 1, 2]),
        (between(1, 2), [span(1.1, 1.9), 1.5], [span(1, 1.5), span(1.5, 2), span(0, 3), 1, 2]),
        (null(1), [span(-0.9, 0.9), 0], [span(-1, 0), span(0, 1), span(-2, -1.5), -1, 1]),
        (exactly(0), [0, 0.0, span(0, 0)], [1e-9, -1e-9, span(0, 1e-9), span(-1, 1), span(-1, 0)]),
    ],
)
def test_a_bound_holds_for_whole_intervals_strictly_inside(bound, inside, outside):
    assert all(bound.holds(measured) for measured in inside)
    assert not any(bound.holds(measured) for measured in outside)
    assert not bound.holds(math.nan)
    assert not bound.holds(span(math.nan, math.nan))


def test_bounds_are_written_in_words():
    bounds = [above(3), below(0.5), between(0.75, 1.33), null(0.04), exactly(0), Bound(-1, 2)]
    assert [str(bound) for bound in bounds] == [
        "above 3",
        "below 0.5",
        "between 0.75 and 1.33",
        "within ±0.04",
        "exactly 0",
        "between -1 and 2",
    ]


@pytest.mark.parametrize("make", [lambda: between(2, 1), lambda: between(1, 1), lambda: null(0), lambda: null(-1)])  # fmt: skip
def test_bounds_that_nothing_can_meet_are_refused(make):
    with pytest.raises(ValueError, match=r"no number lies|positive"):
        make()


def claim(bounds, **more):
    quantities = {"gain": "points", "price": "times"}
    options = {"effect": "gain", "condition": {"holds if": "it is cheap"}} | more
    return Claim("It gains", quantities=quantities, bounds=bounds, **options)


HOLDS = {"gain": above(1), "price": below(2)}
BOUNDS = {"holds": HOLDS, "holds if": {"gain": above(1)}, "contradicted": {"gain": below(0)}}


@pytest.mark.parametrize(
    ("gain", "price", "word"),
    [
        (span(1.5, 2), 1, "holds"),
        (span(1.5, 2), 3, "holds if"),  # one of two bounds is not enough
        (span(1.5, 2), span(1.9, 2.1), "holds if"),
        (span(-2, -1), 1, "contradicted"),
        (span(0.5, 2), 1, "not seen here"),  # too wide for either
        (span(-1, 2), 1, "not seen here"),
        (span(0, 1), 1, "not seen here"),
        (math.nan, math.nan, "not seen here"),
    ],
)
def test_the_first_verdict_all_of_whose_bounds_hold(gain, price, word):
    assert verdict(claim(BOUNDS), {"gain": gain, "price": price})[0] == word


def test_verdicts_are_tried_in_their_order():
    both = {"half-true": {"gain": above(1)}, "holds": {"gain": above(0)}}
    measured = {"gain": span(2, 3), "price": 1}
    assert verdict(claim(both), measured)[0] == "half-true"
    turned = dict(reversed(both.items()))
    assert verdict(claim(turned), measured)[0] == "holds"


def test_the_bounds_that_decided_are_told():
    _, decided = verdict(claim(BOUNDS), {"gain": span(1.5, 2), "price": 3})
    assert decided == [("gain", above(1), True)]
    word, tried = verdict(claim(BOUNDS), {"gain": 0.5, "price": 1})
    assert word == "not seen here"
    assert tried == [
        ("gain", above(1), False),
        ("price", below(2), True),
        ("gain", above(1), False),
        ("gain", below(0), False),
    ]


@pytest.mark.parametrize("measured", [{"gain": 1}, {}, {"gain": 1, "price": 1, "more": 1}])
def test_every_quantity_is_measured_and_no_other(measured):
    with pytest.raises(ValueError, match=r"expected gain, price"):
        verdict(claim(BOUNDS), measured)


def test_a_claim_without_bounds_gets_no_verdict():
    with pytest.raises(ValueError, match="no bounds were stated for: It rains"):
        verdict(Claim("It rains"), {})


@pytest.mark.parametrize("word", ["true", "Holds", "holds ", "", "mostly holds"])
def test_a_verdict_in_other_words_is_refused(word):
    with pytest.raises(ValueError, match="not seen here"):
        claim({word: HOLDS})


def test_a_claim_that_could_not_fail_or_says_nothing_is_refused():
    with pytest.raises(ValueError, match="could not fail"):
        claim({"holds": {}})
    with pytest.raises(ValueError, match="no quantity loss"):
        claim({"holds": {"loss": above(1)}})
    with pytest.raises(ValueError, match="needs its condition"):
        claim({"holds if": HOLDS}, condition={"holds": "always"})
    with pytest.raises(ValueError, match="effect 'loss' is no quantity"):
        claim({"holds": HOLDS}, effect="loss")


def test_a_claim_has_no_arms_and_no_seeds_unless_they_are_stated():
    bare = Claim("It rains")
    assert (bare.arms, bare.seeds, bare.of) == ((), 0, "paired seeds")
    made = Claim("It gains", ("none", "batch"), 10)
    assert (made.arms, made.seeds) == (("none", "batch"), 10)


def test_what_was_stated_cannot_be_changed():
    for frozen in (Claim("It rains"), Repeat("digits", dict, len)):
        name = next(iter(vars(frozen)))
        with pytest.raises(AttributeError, match="cannot assign"):
            setattr(frozen, name, "It snows")


def test_a_repeat_is_of_paired_seeds_at_rates_of_its_own():
    repeat = Repeat("digits", dict, len)
    assert (repeat.data, repeat.arms, repeat.statistic) == ("digits", dict, len)
    assert (repeat.combine, repeat.grid, repeat.options) == ("paired", "", {})


def test_each_verdict_may_be_given():
    assert len(VERDICTS) == 7
    for word in VERDICTS:
        made = claim({word: {"gain": above(1)}})
        assert verdict(made, {"gain": 2, "price": 1})[0] == word
