"""`tools/bubblewrap.py`: installed where that can be done, and silent where not."""

import bubblewrap
import pytest


@pytest.mark.parametrize(
    ("have", "user", "calls"),
    [({"bwrap", "apt-get"}, 0, 0), ({"apt-get"}, 0, 2), ({"apt-get"}, 1000, 0), (set(), 0, 0)],
)
def test_it_is_installed_by_root_where_it_is_missing(monkeypatch, capsys, have, user, calls):
    ran = []
    monkeypatch.setattr(bubblewrap.shutil, "which", lambda name: name if name in have else None)
    monkeypatch.setattr(bubblewrap.os, "geteuid", lambda: user, raising=False)
    monkeypatch.setattr(bubblewrap.subprocess, "run", lambda words, **_: ran.append(words))
    bubblewrap.main()
    assert len(ran) == calls
    assert bool(capsys.readouterr().out) == bool(calls)
