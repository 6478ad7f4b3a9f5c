"""How costs are measured, stored and read: no test here looks at how long anything takes."""

import statistics

import numpy as np
import pytest
import torch
from torch import nn

import norms
from norms.experiments import timing


class Witness(nn.Linear):
    """Remembers by whom and how it was called."""

    def __init__(self, name, calls):
        super().__init__(3, 3)
        self.name, self.calls = name, calls

    def forward(self, x):
        self.calls.append((self.name, torch.is_grad_enabled(), tuple(x.shape)))
        return super().forward(x)


def test_layers_take_turns_without_gradients_and_then_forward_and_back():
    calls = []
    layers = {name: Witness(name, calls) for name in "abc"}
    forward, both = timing.race(layers, (2, 3), turns=4)
    for seconds in (forward, both):
        assert list(seconds) == ["a", "b", "c"]
        assert all(len(times) == 4 and min(times) > 0 for times in seconds.values())
    turns = 4 + 5  # five to warm up
    assert calls == [
        (name, gradients, (2, 3)) for gradients in (False, True) for name in turns * "abc"
    ]
    assert all(layer.weight.grad.any() for layer in layers.values())


def test_a_ratio_is_the_median_of_the_ratios_turn_by_turn():
    # A machine that slows down tenfold between turns changes no ratio.
    assert timing._median_and_ratio([0.002, 0.02, 0.2], [0.001, 0.01, 0.1]) == pytest.approx(
        (20, 2)
    )


@pytest.mark.parametrize("name", timing.PAIRS)
def test_torchs_layer_is_measured_beside_ours(name):
    torchs, ours, _axis, shapes = timing.PAIRS[name]
    assert ours is getattr(norms, torchs.__name__)
    shape = (3, 4, 2, 2)[: len(shapes[0])]
    results = timing.measure(name, shape, turns=1, compiled=False)
    assert [(t.layer, t.shape) for t in results] == [
        (f"{name}, {whose}", shape) for whose in ("torch", "ours")
    ]
    assert (results[0].forward_ratio, results[0].both_ratio) == (1, 1)
    for result in results:
        assert len(str(result)) == len(timing.Timing.HEADER)
        assert result.kept >= 4 * np.prod(shape) / 2**20  # at least the input, in MiB
        assert 0 < result.offset_error < 0.1


def test_stored_costs_are_the_medians_and_are_read_back(tmp_path, monkeypatch):
    real, raced = timing.race, []

    def race(layers, shape, turns):
        raced.append((layers, shape, turns, real(layers, shape, turns)))
        return raced[-1][-1]

    compiled = []
    monkeypatch.setattr(torch, "compile", lambda layer, **_: compiled.append(layer) or layer)
    monkeypatch.setattr(timing, "race", race)
    path = tmp_path / "costs.csv"
    timing.store_costs(widths=(4, 16), rows=3, repeats=2, turns=3, path=path)
    widths, times = timing.cost_by_width(path)
    assert widths == [4, 16]
    assert [(shape, turns) for _, shape, turns, _ in raced] == 2 * [((3, 4), 3)] + 2 * [
        ((3, 16), 3)
    ]
    classes = {
        ("layer", "torch"): nn.LayerNorm, ("layer", "ours"): norms.LayerNorm,
        ("layer", "ours compiled"): norms.LayerNorm, ("rms", "torch"): nn.RMSNorm,
        ("rms", "ours"): norms.RMSNorm, ("rms", "ours compiled"): norms.RMSNorm,
    }  # fmt: skip
    assert list(times) == list(classes)
    for key, made in classes.items():
        layers = [layers[key] for layers, *_ in raced]
        assert all(type(layer) is made for layer in layers)
        assert all((layer in compiled) == (key[1] == "ours compiled") for layer in layers)
        medians = [1e6 * statistics.median(both[key]) for *_, (_, both) in raced]
        np.testing.assert_allclose(times[key], np.reshape(medians, (2, 2)), rtol=1e-3)
    lines = path.read_text(encoding="utf-8").splitlines()
    forward = [1e6 * statistics.median(forward["layer", "torch"]) for *_, (forward, _) in raced]
    stored = [float(line.split(",")[4]) for line in lines if line.startswith("layer,torch")]
    np.testing.assert_allclose(stored, forward, rtol=1e-3)
    assert lines[0] == "# python -m norms.experiments.timing --store"
    assert lines[2].endswith("3 tokens, microseconds, median of 3")


def test_the_stored_table_has_all_arms_at_all_widths():
    widths, times = timing.cost_by_width()
    assert widths == [64, 256, 1024, 4096]
    variants = ("torch", "ours", "ours compiled")
    assert list(times) == [(norm, variant) for norm in ("layer", "rms") for variant in variants]
    for key, microseconds in times.items():
        assert microseconds.shape == (4, 5), key
        assert (microseconds > 0).all(), key
        assert np.isfinite(microseconds).all(), key
