"""Records: made from what was measured, shown, stored in a notebook and read back."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, output_from_msg

from norms.experiments import verdicts
from norms.experiments.claims import Claim, above, below, between, null
from norms.experiments.evidence import Interval

CLAIMS = {
    "BN-1": Claim(
        "weak where a statistic has < 8 values",
        arms=("N=2 < 8", "N=32"),
        seeds=10,
        effect="lost",
        unit="points",
        quantities={"lost": "accuracy lost (points)", "price": "time of a step"},
        bounds={
            "holds if": {"lost": above(0.5), "price": below(9)},
            "contradicted": {"lost": below(0)},
        },
        condition={"holds if": "m < 8; a step takes {price:.1f} times as long"},
        paper_for="Wu and He 2018",
    ),
    "BN+1": Claim(
        "keeps the scale",
        arms=("batch",),
        effect="off",
        quantities={"off": "departure from 1"},
        bounds={"proved": {"off": null(1e-6)}},
        condition={"proved": "By algebra."},
        paper_against="Nobody <2020>",
    ),
    "LN+1": Claim("nothing is stated yet"),
}
FINDINGS = {
    "few images": Claim(
        "Few images cost accuracy",
        arms=("N=2", "N=32"),
        seeds=10,
        effect="lost",
        unit="points",
        quantities={"lost": "accuracy lost (points)", "time": "time of a step"},
        bounds={"holds": {"lost": above(0.5), "time": between(1, 2)}},
    ),
}
LOST = Interval(2.0, 1.0, 3.0, 10)
ELSEWHERE = Interval(4.0, 2.0, 6.0, 5)


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(verdicts, "display", lambda data, raw=False: outputs.append(data))
    monkeypatch.setattr(verdicts, "CLAIMS", CLAIMS)
    monkeypatch.setattr(verdicts, "FINDINGS", FINDINGS)
    monkeypatch.setattr(verdicts, "stored", {"BN-1": ("other < data", ELSEWHERE)}.get)
    monkeypatch.setattr(verdicts, "_made", {})
    return outputs


def stored(shown, path):
    """Store what was shown as a kernel does."""
    message = {"header": {"msg_type": "display_data"}}
    outputs = [
        output_from_msg({**message, "content": {"data": data, "metadata": {}}}) for data in shown
    ]
    nbformat.write(new_notebook(cells=[new_code_cell("judge()", outputs=outputs)]), path)
    return path


def test_records_round_trip_through_a_notebook(shown, tmp_path):
    verdicts.judge("BN-1", lost=LOST, price=3.14159)
    verdicts.judge("BN+1", off=0)
    first, second = verdicts.collect(stored(shown, tmp_path / "page.ipynb"))
    assert first == {
        "id": "BN-1",
        "claim": "weak where a statistic has < 8 values",
        "verdict": "holds if",
        "effect": {"mean": 2.0, "low": 1.0, "high": 3.0, "n": 10},
        "unit": "points",
        "n": 10,
        "of": "paired seeds",
        "arms": ["N=2 < 8", "N=32"],
        "also_on": {
            "data": "other < data",
            "effect": {"mean": 4.0, "low": 2.0, "high": 6.0, "n": 5},
            "n": 5,
            "bound": "above 0.5",
            "holds": True,
            "shown": "other < data: 4 (95 % interval 2 to 6); above 0.5: yes",
        },
        "condition": "m < 8; a step takes 3.1 times as long",
        "paper_for": "Wu and He 2018",
        "paper_against": "",
        "bounds": [
            "accuracy lost (points): above 0.5, measured 2 (95 % interval 1 to 3)",
            "time of a step: below 9, measured 3.14",
        ],
        "beside": [],
    }
    assert (second["id"], second["verdict"], second["effect"]) == ("BN+1", "proved", 0.0)
    assert (second["n"], second["arms"], second["also_on"]) == (None, ["batch"], None)


def test_the_verdict_word_stands_alone_and_nothing_measured_beside_it(shown):
    verdicts.judge("BN-1", lost=LOST, price=1)
    box, word = shown
    assert word == {"text/plain": "BN-1: holds if"}
    assert set(box) == {verdicts.MIME, "text/html"}
    json.dumps(box)


def test_the_box_says_everything(shown):
    verdicts.judge("BN-1", lost=LOST, price=1)
    verdicts.judge("BN+1", off=0.5)
    first, second = shown[0]["text/html"], shown[2]["text/html"]
    for text in (
        "<b>BN-1</b> · weak where a statistic has &lt; 8 values",
        "<b>Verdict: holds if</b>",
        "<b>Measured:</b> 2 (95 % interval 1 to 3) points, 10 paired seeds",
        "<b>Condition:</b> m &lt; 8; a step takes 1.0 times as long",
        "<li>accuracy lost (points): above 0.5, measured 2 (95 % interval 1 to 3)</li>",
        "<details><summary>Arms and bounds, committed before the run</summary>"
        "<p>N=2 &lt; 8; N=32</p><ul><li>",
        "<b>Also on:</b> other &lt; data: 4 (95 % interval 2 to 6); above 0.5: yes</span>",
        "<b>For:</b> Wu and He 2018",
    ):
        assert text in first, text
    assert "Against" not in first
    assert "<b>Verdict: not seen here</b>" in second
    assert "measured 0.5 (does not hold)" in second
    assert "<b>Against:</b> Nobody &lt;2020&gt;" in second
    assert "Condition" not in second
    assert "seeds" not in second
    assert "Also on" not in second


@pytest.mark.parametrize(
    ("lost", "found", "bound", "holds", "shown"),
    [
        (LOST, ELSEWHERE, "above 0.5", True, "4 (95 % interval 2 to 6); above 0.5: yes"),
        (LOST, Interval(1, 0, 2, 5), "above 0.5", False, "1 (95 % interval 0 to 2); above 0.5: no"),
        (Interval(-2, -3, -1, 10), Interval(2, 2, 2, 5), "below 0", False,
         "2 (the same in all 5); below 0: no"),
        (Interval(1, 0, 2, 10), ELSEWHERE, None, None, "4 (95 % interval 2 to 6)"),
    ],
)  # fmt: skip
def test_the_second_data_set_meets_the_bound_that_decided_or_not(
    lost, found, bound, holds, shown, monkeypatch
):
    """Whatever came out there: the verdict is that of the first."""
    outputs = []
    monkeypatch.setattr(verdicts, "display", lambda data, raw=False: outputs.append(data))
    monkeypatch.setattr(verdicts, "CLAIMS", CLAIMS)
    monkeypatch.setattr(verdicts, "_made", {})
    words = []
    for stored in ({"BN-1": ("other", found)}, {}):
        monkeypatch.setattr(verdicts, "stored", stored.get)
        verdicts.judge("BN-1", lost=lost, price=1)
        words.append(outputs[-1])
    assert words[0] == words[1]
    also = outputs[0][verdicts.MIME]["also_on"]
    assert (also["bound"], also["holds"], also["shown"]) == (bound, holds, f"other: {shown}")


def test_the_verdict_follows_from_what_was_measured(shown):
    for lost, word in (
        (LOST, "holds if"),
        (Interval(-2, -3, -1, 10), "contradicted"),
        (Interval(1, 0.5, 2, 10), "not seen here"),
    ):
        verdicts.judge("BN-1", lost=lost, price=1)
        assert shown[-1]["text/plain"] == f"BN-1: {word}"
        assert shown[-2][verdicts.MIME]["verdict"] == word
        assert bool(shown[-2][verdicts.MIME]["condition"]) == (word == "holds if")


def test_what_cannot_be_judged_is_refused(shown):
    with pytest.raises(KeyError, match=r"no claim 'BN-9'; there are: BN-1, BN\+1"):
        verdicts.judge("BN-9", lost=LOST)
    with pytest.raises(ValueError, match="measured lost; expected lost, price"):
        verdicts.judge("BN-1", lost=LOST)
    with pytest.raises(ValueError, match="no bounds were stated for: nothing is stated yet"):
        verdicts.judge("LN+1")
    assert not shown


@pytest.mark.parametrize("n", [9, 11, 0])
def test_another_number_of_seeds_than_was_claimed_is_refused(n, shown):
    lost = Interval(2.0, 1.0, 3.0, n) if n else 2.0
    with pytest.raises(ValueError, match=f"BN-1 is claimed for 10 seeds and measured with {n}"):
        verdicts.judge("BN-1", lost=lost, price=1)
    with pytest.raises(ValueError, match=f"few images is claimed for 10 .* with {n}"):
        verdicts.finding("few images", lost=lost, time=1.5)
    with pytest.raises(ValueError, match=r"BN\+1 is claimed for 0 seeds and measured with 10"):
        verdicts.judge("BN+1", off=Interval(0, 0, 0, 10))
    assert not shown
    assert not verdicts._made


# --- findings


def test_a_finding_passes_if_all_its_bounds_hold(shown):
    assert verdicts.finding("few images", lost=LOST, time=1.5) is None
    assert not shown


@pytest.mark.parametrize(
    ("lost", "time", "told"),
    [
        (Interval(1, 0.5, 2, 10), 1.5, "lost is 1 (95 % interval 0.5 to 2), not above 0.5"),
        (LOST, 2, "time is 2, not between 1 and 2"),
        (
            Interval(-1, -2, 0, 10),
            float("nan"),
            "lost is -1 (95 % interval -2 to 0), not above 0.5; time is nan, not between 1 and 2",
        ),
    ],
)
def test_a_finding_with_a_bound_that_does_not_hold_fails_and_says_which(lost, time, told, shown):
    with pytest.raises(AssertionError) as failed:
        verdicts.finding("few images", lost=lost, time=time)
    assert str(failed.value) == f"few images: {told}"


def test_what_is_no_finding_is_refused(shown):
    with pytest.raises(KeyError, match="no finding 'BN-1'; there are: few images"):
        verdicts.finding("BN-1", lost=LOST, price=1)
    with pytest.raises(ValueError, match="measured lost; expected lost, time"):
        verdicts.finding("few images", lost=LOST)


def test_the_table_has_this_page_and_others_in_order(shown, tmp_path):
    verdicts.judge("BN-1", lost=LOST, price=1)
    path = stored(shown, tmp_path / "other.ipynb")
    verdicts._made.clear()
    verdicts.judge("BN+1", off=0)
    shown.clear()
    verdicts.verdict_table(path)
    (table,) = shown
    assert table.data.splitlines() == [
        "| | claim | verdict |",
        "|---|---|---|",
        "| BN+1 | keeps the scale | **proved**. By algebra. |",
        f"| [BN-1]({path}) | weak where a statistic has < 8 values | **holds if** m < 8; a step "
        "takes 1.0 times as long |",
    ]


def test_what_decides_nothing_is_told_all_the_same(shown, monkeypatch):
    claim = Claim(
        "It gains",
        arms=("a", "b"),
        effect="gain",
        quantities={"gain": "points", "other": "points <elsewhere>"},
        bounds={"holds": {"gain": above(1)}},
    )
    monkeypatch.setattr(verdicts, "CLAIMS", {"BN-1": claim})
    verdicts.judge("BN-1", gain=2, other=7)
    assert shown[0][verdicts.MIME]["beside"] == ["points <elsewhere>: 7"]
    assert "<li>points &lt;elsewhere&gt;: 7 (beside the bounds)</li>" in shown[0]["text/html"]
