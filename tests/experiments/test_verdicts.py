"""Records: made from what was measured, shown, stored in a notebook and read back."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, output_from_msg

from norms.experiments import verdicts
from norms.experiments.claims import Claim, above, below, null
from norms.experiments.evidence import Interval

CLAIMS = {
    "BN-1": Claim(
        "weak where a statistic has < 8 values",
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
        effect="off",
        quantities={"off": "departure from 1"},
        bounds={"proved": {"off": null(1e-6)}},
        paper_against="Nobody <2020>",
    ),
    "LN+1": Claim("nothing is stated yet"),
}
LOST = Interval(2.0, 1.0, 3.0, 10)


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(verdicts, "display", lambda data, raw=False: outputs.append(data))
    monkeypatch.setattr(verdicts, "CLAIMS", CLAIMS)
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
        "condition": "m < 8; a step takes 3.1 times as long",
        "paper_for": "Wu and He 2018",
        "paper_against": "",
        "bounds": [
            "accuracy lost (points): above 0.5, measured 2 (95 % interval 1 to 3)",
            "time of a step: below 9, measured 3.14",
        ],
    }
    assert (second["id"], second["verdict"], second["effect"]) == ("BN+1", "proved", 0.0)
    assert second["n"] is None


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
        "<details><summary>Bounds, older than the run</summary><ul><li>",
        "<b>For:</b> Wu and He 2018",
    ):
        assert text in first, text
    assert "Against" not in first
    assert "<b>Verdict: not seen here</b>" in second
    assert "measured 0.5 (does not hold)" in second
    assert "<b>Against:</b> Nobody &lt;2020&gt;" in second
    assert "Condition" not in second
    assert "seeds" not in second


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
        "| BN+1 | keeps the scale | **proved** |",
        f"| [BN-1]({path}) | weak where a statistic has < 8 values | **holds if** m < 8; a step "
        "takes 1.0 times as long |",
    ]
