"""How a page begins: the style, the seed and the threads are set, whatever came before."""

import subprocess
import sys

import matplotlib as mpl
import pytest
import torch

from norms.experiments import page
from norms.plots import style


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    for name in ("NORMS_SEED_BASE", "NORMS_THREADS"):
        monkeypatch.delenv(name, raising=False)
    threads = torch.get_num_threads()
    with mpl.rc_context():
        yield
    torch.set_num_threads(threads)


def draw():
    page.begin()
    return torch.randn(5)


def test_every_page_draws_the_same_numbers_in_each_run():
    first = draw()
    torch.rand(3)
    assert torch.equal(draw(), first)


def test_another_seed_base_gives_other_numbers(monkeypatch):
    first = draw()
    monkeypatch.setenv("NORMS_SEED_BASE", "1000")
    other = draw()
    assert not torch.equal(other, first)
    torch.manual_seed(1000)
    assert torch.equal(other, torch.randn(5))


def test_a_page_computes_on_one_thread_or_on_as_many_as_asked(monkeypatch):
    torch.set_num_threads(3)
    page.begin()
    assert torch.get_num_threads() == 1
    monkeypatch.setenv("NORMS_THREADS", "2")
    page.begin()
    assert torch.get_num_threads() == 2


def test_figures_have_the_style_of_the_book():
    mpl.rcdefaults()
    page.begin()
    assert mpl.rcParams["axes.facecolor"] == style.PAPER
    assert mpl.rcParams["figure.figsize"] == [style.WIDTH, style.HEIGHT]


def test_imports_leave_torchs_threads_alone():
    code = """
import importlib, pkgutil, torch
torch.set_num_threads(3)
import norms.experiments, norms.plots
names = ["norms.plots"]
for package in (norms.experiments, norms.plots):
    found = pkgutil.walk_packages(package.__path__, package.__name__ + ".")
    names += [module.name for module in found]
for name in names:
    importlib.import_module(name)
    assert torch.get_num_threads() == 3, name
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20
