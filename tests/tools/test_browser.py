"""`tools/browser.py`: which Chromium is taken, and what is said when there is none."""

import os
import sys

import browser
import pytest


@pytest.fixture
def machine(monkeypatch):
    """A machine that has the named programs, where an installation installs what `gains` says."""
    have, gains, asked = set(), {}, []

    def run(command, **options):
        asked.append(command)
        for word, program in gains.items():
            if word in command:
                have.add(program)

    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(
        browser.shutil, "which", lambda name: f"/bin/{name}" if name in have else None
    )
    monkeypatch.setattr(browser.subprocess, "run", run)
    monkeypatch.setattr(browser, "playwrights", lambda: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0, raising=False)
    return have, gains, asked


def test_what_is_named_comes_first_and_must_be_there(machine, monkeypatch):
    have, _, asked = machine
    have |= {"chromium", "mine"}
    monkeypatch.setenv("CHROMIUM", "mine")
    assert browser.find() == "/bin/mine"
    have.discard("mine")
    assert browser.find() is None
    with pytest.raises(SystemExit, match="CHROMIUM=mine is not an executable"):
        browser.main()
    assert asked == []


@pytest.mark.parametrize("name", browser.NAMES)
def test_the_systems_own_is_taken(machine, name):
    have, _, asked = machine
    have.add(name)
    assert browser.find() == f"/bin/{name}"
    browser.main()
    assert asked == []


def test_debians_is_installed_if_one_may(machine, capsys):
    have, gains, asked = machine
    have.add("apt-get")
    gains["chromium"] = "chromium"
    browser.main()
    assert [command[:3] for command in asked] == [
        ["apt-get", "-qq", "update"],
        ["apt-get", "-qq", "install"],
    ]
    assert "installing Debian's" in capsys.readouterr().out


def test_else_playwrights_and_else_the_reader_is_told(machine, monkeypatch):
    have, _, asked = machine
    have.add("apt-get")
    monkeypatch.setattr(os, "geteuid", lambda: 1000, raising=False)  # may not install
    with pytest.raises(SystemExit, match="sudo apt install chromium"):
        browser.main()
    assert asked == [[sys.executable, "-m", "playwright", "install", "chromium"]]
