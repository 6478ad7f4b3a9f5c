"""Every icon that a page names is drawn: one without a drawing would be a black square."""

import re

SIZES_AND_STYLES = {"solid", "regular", "brands", "lg"}


def undrawn(html, css):
    named = {
        name
        for classes in re.findall(r'class="([^"]*\bfa-[^"]*)"', html)
        for name in classes.split()
    }
    named = {
        name.removeprefix("fa-") for name in named if name.startswith("fa-")
    } - SIZES_AND_STYLES
    return sorted(name for name in named if f".fa-{name} {{" not in css)


def test_every_icon_is_drawn(site):
    css = (site / "_static" / "icons.css").read_text(encoding="utf-8")
    for page in site.rglob("*.html"):
        assert not undrawn(page.read_text(encoding="utf-8"), css), page.name


def test_an_icon_without_a_drawing_is_noticed():
    html = '<i class="fa-solid fa-moon fa-lg"></i><i class="fa-solid fa-dragon"></i>'
    assert undrawn(html, ".fa-moon { --icon: none; }") == ["dragon"]
