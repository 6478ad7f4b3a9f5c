"""Faults of a page that its HTML shows. Each check returns the faults in words: none is what we want."""

import re
from copy import copy
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

NOT_PROSE = ("script", "style", "pre", "code", "annotation", "title")
RAW_TEX = re.compile(r"\\\(|\\\[|\$\$|\\begin\{|\\frac|(?<![\w\\])\$(?=\S)[^$\n]*\\[a-z]")
FILE_NAME = re.compile(r"^\S+\.(png|svg|jpe?g|gif|webp)$|^[0-9a-f]{16,}$", re.I)


def parse(html: str) -> BeautifulSoup:
    return BeautifulSoup(html, "html5lib" if len(html) < 100_000 else "html.parser")


@cache
def page(path: Path) -> BeautifulSoup:
    return parse(path.read_text(encoding="utf-8"))


def maths(soup) -> list[str]:
    """Formulas that KaTeX did not render, and TeX that reached the reader."""
    faults = [f"KaTeX error: {node.get_text()[:60]}" for node in soup.select(".katex-error")]
    faults += [
        f"not rendered: {node.get_text()[:60]}"
        for node in soup.select("span.math, div.math")
        if not node.select_one(".katex")
    ]
    for text in soup.find_all(string=RAW_TEX):
        if not any(parent.name in NOT_PROSE for parent in text.parents):
            faults.append(f"raw TeX: {text.strip()[:60]}")
    return faults


def alternatives(soup) -> list[str]:
    """Pictures without words."""
    faults = []
    for picture in (soup.select_one("article") or soup).select("img, svg[role=img]"):
        words = picture.get("alt" if picture.name == "img" else "aria-label", "").strip()
        if not words:
            faults.append(f"no alternative text: {str(picture)[:80]}")
        elif FILE_NAME.match(words):
            faults.append(f"a file name as alternative text: {words}")
    return faults


def names(soup) -> list[str]:
    """Buttons and links whose name hides what one sees on them: by voice, nobody could ask for them."""
    faults = []
    for node in soup.select("a, button, summary, [role=button]"):
        seen, said = (
            " ".join(words.lower().split())
            for words in (node.get_text(" "), node.get("aria-label", ""))
        )
        if said and seen not in said:
            faults.append(f"{node.name}: shows “{seen[:40]}”, is called “{said[:40]}”")
    return faults


def folds(soup) -> list[str]:
    """Folds that show their content at load, or that need a script to fold."""
    faults = [
        f"open: {node.get_text()[:40].strip()}" for node in soup.select("article details[open]")
    ]
    faults += [
        f"folded by a script only: {node.get_text()[:40].strip()}"
        for node in soup.select("article .admonition.dropdown, article .toggle")
    ]
    return faults


def outside(soup) -> list[str]:
    """What the browser would fetch from elsewhere."""
    faults = []
    for node in soup.select("[src], link[href], object[data], [srcset]"):
        if node.name == "link" and {"canonical", "license"} & set(node.get("rel", [])):
            continue
        for attribute in ("src", "href", "data", "srcset"):
            if re.match(r"(https?:)?//", node.get(attribute, "").strip()):
                faults.append(f"{node.name} {attribute}={node[attribute]}")
    return faults


def links(path: Path, site: Path) -> list[str]:
    """Links and files of the page that are not there."""
    faults = []
    for node in page(path).select("[href], [src]"):
        address = node.get("href", node.get("src")).strip()
        parts = urlsplit(address)
        if parts.scheme or address.startswith("//"):
            continue
        if parts.path.startswith("/"):
            faults.append(f"{address}: from the root, so broken in a folder and from a file")
            continue
        target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not target.is_file() or site.resolve() not in target.parents:
            faults.append(f"{address}: no such file")
        elif parts.fragment and target.suffix == ".html" and not has_anchor(target, parts.fragment):
            faults.append(f"{address}: no such anchor")
    return faults


def has_anchor(path: Path, fragment: str) -> bool:
    return unquote(fragment) in anchors(path)


@cache
def anchors(path: Path) -> frozenset[str]:
    soup = page(path)
    return frozenset(node.get("id") or node.get("name") for node in soup.select("[id], a[name]"))


def seen(soup, without="script"):
    """The text of a page with all folds closed, without what only a screen reader is told."""
    soup = copy(soup)
    for fold in soup.select("details"):
        for child in list(fold.children):
            if getattr(child, "name", None) != "summary":
                child.extract()
    for hidden in soup.select(f".katex-mathml, script, style, {without}"):
        hidden.extract()
    return " ".join(soup.select_one("article").get_text(" ").split())


NUMBER = r"(?<![\w.,])\d[\d,]*\.?\d*"
# A measured mean is printed with its interval; the ends of it are not likely to be told alone.
MEASURED = rf"({NUMBER})\D{{0,30}}\(95 % interval"


def leaks(soup, sealed_in):
    """The means of sealed findings that a page shows with its folds closed."""
    outputs = sealed_in.select("details.sealed .cell_output")
    findings = {n for o in outputs for n in re.findall(MEASURED, " ".join(o.get_text(" ").split()))}
    # Tables of text quote papers: what is measured is never typed.
    text = seen(soup, without="table:not(.cell_output table)")
    told = re.sub(rf"section {NUMBER}|{NUMBER} min|CC BY {NUMBER}", "", text, flags=re.I)
    code = [pre.get_text() for pre in soup.select("pre") if not pre.find_parent("details")]
    settings = {number for text in code for number in re.findall(NUMBER, text)}
    precise = {n for n in findings if len(re.sub(r"\D", "", n).lstrip("0")) > 1}
    return sorted(precise & set(re.findall(NUMBER, told)) - settings)
