"""Tuning grids: resumed without loss, extended to the best rate, stale when what they tune changes."""

import copy
import multiprocessing
import os
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from norms.experiments import grids, provenance, sweep
from norms.experiments.data import digits
from norms.experiments.models import MLP, RNN
from norms.experiments.training import GridError, History, seeded, train

mlp = partial(MLP, depth=2, width=16)
rnn = partial(RNN, width=8, inputs=5, classes=5, every_step=True)


def small_grid():
    return {
        norm: {
            "build": partial(seeded, mlp, norm=norm),
            "data": digits(),
            "steps": 20,
            "batch_size": 32,
        }
        for norm in ("none", "batch")
    }


def body(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.fixture
def fake_runs(monkeypatch):
    """A run's accuracy falls by 5 points a step of the grid from the arm's peak, a loss rises."""
    calls = []

    def tune(name, arm, k, seeds):
        calls.append((name, k))
        best, slope = (2, 0.1) if "data" in arm else (90, -5)
        return name, k, [best + slope * abs(k - arm["peak"]) + seed / 100 for seed in seeds]

    monkeypatch.setattr(sweep, "_tune", tune)
    monkeypatch.setattr(
        sweep.joblib, "Parallel", lambda **_: lambda jobs: (f(*a, **k) for f, a, k in jobs)
    )
    monkeypatch.setattr(sweep, "on_few_threads", lambda function: function())
    return calls


def test_the_rates_of_the_one_grid():
    rates = [sweep.rate(k) for k in range(-5, 4)]
    assert rates == [0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]


def test_a_sweep_extends_its_grid_until_the_best_is_inside(tmp_path, fake_runs):
    arms = {"inside": {"peak": -1}, "low": {"peak": -6}, "high": {"peak": 3}}
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert sweep.chosen("demo", tmp_path) == {"inside": 0.3, "low": 0.001, "high": 30}
    rates, accuracies = sweep.results("demo", tmp_path)["low"]
    assert rates == [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3]
    assert accuracies.shape == (9, 2)
    assert "| **90.0** |" in sweep.table("demo", tmp_path)
    assert body(tmp_path / "demo.csv")[0] == "arm,learning_rate,seed,validation"
    header = (tmp_path / "demo.csv").read_text().splitlines()[:3]
    for word in ("python -m norms.experiments.sweep demo", torch.__version__, "seeds 1 2"):
        assert any(word in line for line in header), word
    done = len(fake_runs)
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert len(fake_runs) == done, "an up-to-date table is not run again"
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path, again=True)
    assert len(fake_runs) == 2 * done
    sweep.run("demo", {"inside": {"peak": -2}}, seeds=(1, 2), folder=tmp_path)
    assert sweep.chosen("demo", tmp_path) == {"inside": 0.1}
    with pytest.raises(RuntimeError, match="lies beyond"):
        sweep.run("endless", {"a": {"peak": 99}}, seeds=(1, 2), folder=tmp_path)


def test_a_sweep_of_losses_looks_for_the_smallest(tmp_path, fake_runs, text):
    arms = {"inside": {"peak": -1}, "low": {"peak": -6}, "high": {"peak": 3}}
    arms["adam"] = {"peak": -4, "optimizer": "adam"}
    arms = {name: {"data": text, **arm} for name, arm in arms.items()}
    sweep.run("demo", arms, seeds=(1, 3), folder=tmp_path)
    assert body(tmp_path / "demo.csv")[0] == "arm,learning_rate,seed,validation loss"
    rates = {"inside": 0.3, "low": 0.001, "high": 30, "adam": 0.01}
    assert sweep.chosen("demo", tmp_path) == rates
    found = {name: tried for name, (tried, _) in sweep.results("demo", tmp_path).items()}
    assert found["high"] == [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]
    assert found["adam"] == [0.0003, 0.001, 0.003, 0.01, 0.03]
    rows = sweep.table("demo", tmp_path).splitlines()[2:]
    assert [(row.count("**2.02**"), row.count("**")) for row in rows] == 4 * [(1, 2)]
    with pytest.raises(RuntimeError, match="lies beyond"):
        sweep.run("endless", {"a": {"peak": 99, "data": text}}, seeds=(1,), folder=tmp_path)


def test_a_grid_may_have_rates_of_its_own(tmp_path, fake_runs, monkeypatch):
    """All its arms begin with them, and are extended as ever; those of the call come first."""
    arms = {"inside": {"peak": -1}, "low": {"peak": -6}, "adam": {"peak": 0, "optimizer": "adam"}}
    monkeypatch.setattr(grids, "RATES", {"demo": range(-3, 2)})
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    found = {name: rates for name, (rates, _) in sweep.results("demo", tmp_path).items()}
    assert found["inside"] == found["adam"] == [0.03, 0.1, 0.3, 1, 3]
    assert found["low"] == [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3]
    one = {"inside": arms["inside"]}
    sweep.run("other", one, seeds=(1, 2), folder=tmp_path)
    assert sweep.results("other", tmp_path)["inside"][0] == [0.01, 0.03, 0.1, 0.3, 1, 3]
    sweep.run("demo", one, seeds=(1, 2), folder=tmp_path, start=range(-2, 1), again=True)
    assert sweep.results("demo", tmp_path)["inside"][0] == [0.1, 0.3, 1]


def test_of_equal_rates_the_smaller_one_is_best(tmp_path, fake_runs, monkeypatch):
    flat = lambda name, arm, k, seeds: (name, k, [90 - 5 * (k not in (-1, 0))] * len(seeds))  # noqa: E731
    monkeypatch.setattr(sweep, "_tune", flat)
    sweep.run("demo", {"a": {}}, seeds=(1, 2), folder=tmp_path)
    assert sweep.chosen("demo", tmp_path) == {"a": 0.3}


def test_a_best_rate_at_an_end_is_refused(tmp_path, fake_runs):
    path = sweep.run("demo", {"a": {"peak": -1}}, seeds=(1, 2), folder=tmp_path)
    rows = [line for line in path.read_text().splitlines() if not line.startswith(("a,1,", "a,3,"))]
    path.write_text("\n".join(rows) + "\n")
    with pytest.raises(GridError, match="largest of the grid"):
        sweep.chosen("demo", tmp_path)


def test_rates_are_chosen_on_the_validation_part_alone(images, monkeypatch):
    """A test part of wrong labels changes nothing."""
    wrong = (images.test[0], (images.test[1] + 1) % 10)
    tuned = []
    for data in (images, replace(images, test=wrong)):
        arm = {**small_grid()["batch"], "data": data}
        tuned.append(sweep._tune("batch", arm, -1, [7, 8])[2])
    assert tuned[0] == tuned[1]
    history = train(**small_grid()["batch"], learning_rates=[0.3], seeds=[7, 8])
    assert tuned[0] == history.validation[-1, 0].tolist()
    assert tuned[0] != history.test[-1, 0].tolist()


def test_a_sweep_over_a_text_is_cut_and_goes_on(tmp_path, text, monkeypatch):
    build = partial(seeded, rnn, norm="layer")
    net = {"build": build, "data": text, "steps": 3, "batch_size": 4, "every": 1}
    arms = {"sgd": net, "adam": {**net, "optimizer": "adam"}}
    run = partial(sweep.run, "tiny", arms, seeds=(7, 8), processes=1)
    whole, cut, real = run(folder=tmp_path / "whole"), tmp_path / "cut", sweep._append
    written = []

    def full(path, rows):
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        written.append(rows)
        real(path, rows)

    monkeypatch.setattr(sweep, "_append", full)
    with pytest.raises(OSError, match="No space"):
        run(folder=cut)
    kept = body(cut / "tiny.csv.part")
    assert kept == [body(whole)[0], *"".join(written).splitlines()]
    monkeypatch.setattr(sweep, "_append", real)
    assert body(run(folder=cut)) == body(whole)
    rates, values = sweep.results("tiny", cut)["sgd"]
    history = train(**net, learning_rates=rates, seeds=[7, 8])
    assert np.allclose(values, history.validation.mean(0), rtol=1e-3)  # of the three records
    assert sweep.chosen("tiny", cut)["sgd"] == rates[values.mean(1).argmin()]


def test_a_full_disk_keeps_what_was_done(tmp_path, fake_runs, monkeypatch):
    real, left = os.fsync, [3]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    arms = {"a": {"peak": -1}}
    with pytest.raises(OSError, match="No space"):
        sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert len(body(tmp_path / "demo.csv.part")) == 1 + 3 * 2
    monkeypatch.setattr(os, "fsync", real)
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert fake_runs == [("a", k) for k in (-4, -3, -2, -1, -1, 0, 1)]


def test_the_rest_of_an_old_run_is_not_taken_over(tmp_path, fake_runs):
    """What was begun with other seeds or arms is begun anew."""
    arms = {"a": {"peak": -1}}
    path = sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    os.rename(path, tmp_path / "demo.csv.part")
    done = len(fake_runs)
    sweep.run("demo", arms, seeds=(3, 4), folder=tmp_path)
    assert len(fake_runs) == 2 * done
    assert {line.split(",")[2] for line in body(path)[1:]} == {"3", "4"}


def test_a_run_that_was_cut_between_its_seeds_is_run_again(tmp_path, fake_runs):
    arms = {"a": {"peak": -1}}
    path = sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    whole, part = path.read_text(), tmp_path / "demo.csv.part"
    os.rename(path, part)
    part.write_text("".join(whole.splitlines(keepends=True)[:-1]))
    fake_runs.clear()
    assert sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path).read_text() == whole
    assert fake_runs == [("a", 1)]


def test_missing_results_name_the_command(tmp_path):
    with pytest.raises(
        sweep.MissingResults, match=r"run it with `python -m norms.experiments.sweep x`"
    ):
        sweep.results("x", tmp_path)


# --- What a table is made from


@pytest.fixture(scope="module")
def mark():
    return sweep.fingerprint(small_grid(), (7, 8))


def test_a_table_knows_its_arms_seeds_and_data(mark, images):
    grid = small_grid()
    assert sweep.fingerprint(grid, (7, 8)) == mark
    shifted = replace(images, validation=(images.validation[0] + 1, images.validation[1]))
    changes = {
        "seeds": (grid, (7, 9)),
        "an arm less": ({"none": grid["none"]}, (7, 8)),
        "another order": (dict(reversed(grid.items())), (7, 8)),
        "a name": ({"plain": grid["none"], "batch": grid["batch"]}, (7, 8)),
        "steps": ({**grid, "none": {**grid["none"], "steps": 21}}, (7, 8)),
        "the net": (
            {**grid, "none": {**grid["none"], "build": partial(seeded, mlp, norm="none", width=9)}},
            (7, 8),
        ),
        "validation": ({n: {**arm, "data": shifted} for n, arm in grid.items()}, (7, 8)),
    }
    for what, (arms, seeds) in changes.items():
        assert sweep.fingerprint(arms, seeds) != mark, what
    unseen = replace(images, test=(images.test[0] + 1, images.test[1]))
    arms = {n: {**arm, "data": unseen} for n, arm in grid.items()}
    assert sweep.fingerprint(arms, (7, 8)) == mark, "the test part is not looked at"


@pytest.mark.parametrize(
    "module", ["training", "evaluation", "data", "models.nets", "models.seats", "sweep"]
)
def test_a_table_knows_the_code_that_it_tuned(module, mark, monkeypatch):
    """What makes a module's code another one is for test_provenance to say."""
    seen, parts = set(), provenance._Trace.parts

    def tagged(self):
        found = parts(self)
        seen.update(found)
        name = f"norms.experiments.{module}"
        return {**found, name: "changed"} if name in found else found

    monkeypatch.setattr(provenance._Trace, "parts", tagged)
    assert sweep.fingerprint(small_grid(), (7, 8)) != mark
    assert "norms.moments" in seen
    assert not [part for part in seen if "results" in part], "a table of itself"


# --- How the chapters use a grid


@pytest.fixture
def reruns(monkeypatch):
    """Calls of train, by their arguments."""
    calls = []

    def record(**arguments):
        calls.append(arguments)
        empty = torch.zeros(1, 1, 1)
        return History([1], empty, empty, empty, arguments["learning_rates"])

    monkeypatch.setattr(sweep, "train", record)
    monkeypatch.setattr(sweep, "run_arms", lambda arms: {n: f() for n, f in arms.items()})
    monkeypatch.setattr(grids, "GRIDS", {"demo": small_grid})
    monkeypatch.setattr(sweep, "chosen", lambda grid: {"none": 0.1, "batch": 0.3})
    return calls


def test_arms_are_run_again_at_their_own_rate_with_the_seeds_given(reruns):
    runs = sweep.rerun("demo", [0, 1, 2])
    assert list(runs) == ["none", "batch"]
    assert [call["learning_rates"] for call in reruns] == [[0.1], [0.3]]
    assert all(call["seeds"] == [0, 1, 2] for call in reruns)
    assert all(call["parts"] == ["test"] for call in reruns)
    assert [call["build"].keywords["norm"] for call in reruns] == ["none", "batch"]


def test_an_arm_is_run_again_with_other_options(reruns):
    runs = sweep.rerun("demo", [5], ["batch"], steps=7, parts=["validation"])
    assert list(runs) == ["batch"]
    (call,) = reruns
    assert (call["steps"], call["parts"], call["learning_rates"]) == (7, ["validation"], [0.3])
    assert call["batch_size"] == 32


def test_arms_are_run_again_at_rates_that_are_given(reruns):
    """As for a window of rates that work: the same ones for every arm."""
    sweep.rerun("demo", [0], learning_rates=[0.01, 0.1, 1.0])
    assert [call["learning_rates"] for call in reruns] == [[0.01, 0.1, 1.0]] * 2


# --- The command


@pytest.fixture
def command(tmp_path, monkeypatch, fake_runs):
    """Two grids; the results of one are missing."""

    def first():
        """The first one."""
        return {"a": {"peak": -1}}

    def second():
        """The second one."""
        return {"b": {"peak": 0}}

    monkeypatch.setattr(grids, "GRIDS", {"one": first, "two": second})
    monkeypatch.setattr(sweep, "RESULTS", tmp_path)
    for name in ("run", "table"):
        real = getattr(sweep, name)
        monkeypatch.setattr(sweep, name, partial(real, folder=tmp_path))
    sweep.run("one")
    fake_runs.clear()
    return fake_runs


def test_the_command_lists_the_grids(command, capsys):
    sweep.main([])
    sweep.main(["--list"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["one", "up", "to", "date", "The", "first", "one."], ["two", "not", "run", "The", "second", "one."]] * 2  # fmt: skip
    assert not command


def test_the_command_runs_one_or_all_that_are_stale(command, capsys):
    sweep.main(["one"])
    assert not command
    sweep.main(["--stale"])
    assert {name for name, _ in command} == {"b"}
    assert "| b |" in capsys.readouterr().out
    command.clear()
    sweep.main(["one", "--again"])
    assert {name for name, _ in command} == {"a"}
    with pytest.raises(SystemExit):
        sweep.main(["three"])


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_the_command_says_in_a_line_what_stopped_it(error, command, monkeypatch):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr(sweep, "run", stop)
    with pytest.raises(SystemExit, match="what was done is kept; the same command goes on"):
        sweep.main(["two"])


# --- A crash


def run_small_grid(folder, pause=0.0):
    real = sweep._append

    def slowly(path, text):
        real(path, text)
        time.sleep(pause)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_append", slowly)
        sweep.run(
            "demo", small_grid(), seeds=(7, 8), folder=folder, processes=1, start=range(-3, 2)
        )


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and kills by signal")
def test_a_sweep_goes_on_after_a_kill_with_nothing_lost(tmp_path):
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=run_small_grid, args=(tmp_path / "cut", 0.05))
    killed.start()
    part = tmp_path / "cut" / "demo.csv.part"
    deadline = time.time() + 60
    while not (part.exists() and len(body(part)) > 4) and time.time() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.join()
    with pytest.raises(
        sweep.MissingResults, match=r"go on with `python -m norms.experiments.sweep demo"
    ):
        sweep.results("demo", tmp_path / "cut")
    with part.open("a") as file:  # the crash came in the middle of a row
        file.write("batch,1,7")
    kept = body(part)[:-1]
    run_small_grid(tmp_path / "cut")
    run_small_grid(tmp_path / "whole")
    full, resumed = (body(tmp_path / name / "demo.csv") for name in ("whole", "cut"))
    assert full == resumed
    assert set(kept) <= set(resumed)
    assert len(resumed) == len(set(resumed))
    assert not part.exists()


def test_a_table_is_confirmed_by_training_the_chosen_rates_again(tmp_path, fake_runs, monkeypatch):
    arms = {"inside": {"peak": -1}, "low": {"peak": -6}}
    path = sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    before, runs = body(path), len(fake_runs)
    monkeypatch.setattr(sweep, "fingerprint", lambda *_: "other code")
    assert sweep.confirm("demo", arms, seeds=(1, 2), folder=tmp_path) == []
    assert fake_runs[runs:] == [("inside", -1), ("low", -6)]
    assert body(path) == before
    assert sweep.mark_of(path) == "other code"
    assert "confirmed" in path.read_text().splitlines()[3]
    assert sweep._measure(path) == "accuracy"


@pytest.mark.parametrize(
    ("arms", "seeds", "names"),
    [
        ({"inside": {"peak": -1}, "low": {"peak": -5}}, (1, 2), ["low"]),  # another result
        ({"inside": {"peak": -1}, "high": {"peak": 3}}, (1, 2), ["inside", "high"]),  # other arms
        ({"inside": {"peak": -1}, "low": {"peak": -6}}, (1, 2, 3), ["inside", "low"]),
        ({"inside": {"peak": -1}, "low": {"peak": -6}}, (1, 3), ["inside", "low"]),  # other seeds
    ],
)
def test_a_table_that_comes_out_differently_is_left_as_it_is(
    tmp_path, fake_runs, arms, seeds, names
):
    stored = {"inside": {"peak": -1}, "low": {"peak": -6}}
    path = sweep.run("demo", stored, seeds=(1, 2), folder=tmp_path)
    before = path.read_text()
    assert sweep.confirm("demo", arms, seeds=seeds, folder=tmp_path) == names
    assert path.read_text() == before


def test_the_mark_does_not_know_the_last_bits_of_the_data(images):
    """Another processor, or another number of threads, sums the pixels in another order."""
    marks = set()
    for factor in (1, 1 + 2e-7, 1 - 2e-7):
        data = copy.deepcopy(images)
        data.train[0].mul_(factor)
        data = replace(data, mean=images.mean * factor, deviation=images.deviation / factor)
        arm = {"build": partial(seeded, mlp, norm="none"), "data": data, "steps": 1}
        marks.add(sweep.fingerprint({"a": arm}, (1,)))
    assert len(marks) == 1


def test_the_mark_knows_a_changed_pixel(images):
    marks = []
    for change in (0, 1 / 255):
        data = copy.deepcopy(images)
        data.train[0][7, 0, 3, 3] += change / images.deviation
        arm = {
            "build": partial(seeded, mlp, norm="none"),
            "data": data,
            "steps": 1,
            "batch_size": 4,
        }
        marks.append(sweep.fingerprint({"a": arm}, (1,)))
    assert marks[0] != marks[1]
