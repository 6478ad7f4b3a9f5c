"""Draw a variant of an assignment, so that last year's answers do not fit.

`variants/NAME.toml` says what may change; notebook, checks, hidden checks, faults and rubric follow.
"""

import random
import re
import shutil
import tomllib

import nbformat

from . import content, writing


class Unfit(ValueError):
    """The variants of an assignment do not fit its files."""


def vary(name, seed, target, root=content.ASSIGNMENTS, twists=()):
    """Write a variant to `target`, laid out as `assignments/` is; return what was drawn.

    Args:
        seed: the same seed draws the same variant
        twists: "NAME=LABEL" strings that fix a twist

    Raises:
        Unfit: a text that is to be replaced is nowhere, or a twist has no such choice
    """
    assignment = content.Assignment(name, root)
    if not assignment.variants.exists():
        raise content.Missing(f"{name} has no variants: {assignment.variants} is not there")
    told = tomllib.loads(assignment.variants.read_text(encoding="utf-8"))
    texts = {path: _text(path) for path in _files(assignment)}
    draw, drawn = random.Random(f"{seed} {name}"), {}
    for twist, choice in _chosen(draw, told.get("twist", []), twists):
        drawn[twist["name"]] = choice["label"]
        for old, new in choice.get("replace", []):
            texts = _replaced(texts, old, new)
    for variable, choices in told.get("numbers", {}).items():
        drawn[variable] = draw.choice(choices)
        texts = _assigned(texts, variable, drawn[variable])
    for word, choices in told.get("rename", {}).items():
        drawn[word] = draw.choice(choices)
        texts = {p: re.sub(rf"\b{re.escape(word)}\b", drawn[word], t) for p, t in texts.items()}
    _write(assignment, content.Assignment(name, target), texts)
    return drawn


def _files(assignment):
    found = [assignment.notebook, *assignment.folder.glob("*.py"), assignment.hidden]
    return [p for p in [*found, assignment.faults, assignment.rubric] if p.exists()]


def _text(path):
    if path.suffix == ".ipynb":
        return writing.to_text(nbformat.read(path, as_version=4))
    return path.read_text(encoding="utf-8")


def _chosen(draw, twists, fixed):
    """A choice for each twist; what is published as it is, with the first of each, is not drawn."""
    while True:
        chosen = [(twist, _choose(draw, twist, fixed)) for twist in twists]
        published = all(choice is twist["choice"][0] for twist, choice in chosen)
        asked = {text.partition("=")[0] for text in fixed} >= {twist["name"] for twist in twists}
        if asked or not published:
            return chosen


def published(name, root=content.ASSIGNMENTS):
    """The choices of the assignment as it is published: {twist: label}."""
    told = tomllib.loads(content.Assignment(name, root).variants.read_text(encoding="utf-8"))
    return {twist["name"]: twist["choice"][0]["label"] for twist in told.get("twist", [])}


def _choose(draw, twist, fixed):
    choices = twist["choice"]
    chosen = draw.choice(choices)
    for text in fixed:
        name, _, label = text.partition("=")
        if name == twist["name"]:
            right = [c for c in choices if c["label"] == label]
            if not right:
                raise Unfit(f"{name} has no choice {label!r}: {[c['label'] for c in choices]}")
            chosen = right[0]
    return chosen


def _replaced(texts, old, new):
    if not any(old in text for text in texts.values()):
        raise Unfit(f"nowhere in the assignment: {old!r}")
    return {path: text.replace(old, new) for path, text in texts.items()}


def _assigned(texts, variable, value):
    pattern = re.compile(rf"^{re.escape(variable)} = .*$", re.M)
    if not any(pattern.search(text) for path, text in texts.items() if path.suffix == ".py"):
        raise Unfit(f"no line `{variable} = ...` in the assignment")
    line = f"{variable} = {value}"
    return {
        path: pattern.sub(lambda _: line, text) if path.suffix == ".py" else text
        for path, text in texts.items()
    }


def _write(old, new, texts):
    for folder in (new.folder, new.hidden.parent, new.faults.parent, new.rubric.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for path in (*old.folder.iterdir(), *old.hidden_files()):
        if path.is_file() and path not in texts:
            shutil.copy(path, new.root / path.relative_to(old.root))
    for path, text in texts.items():
        target = new.root / path.relative_to(old.root)
        if path.suffix == ".ipynb":
            text = nbformat.writes(writing.to_notebook(text)) + "\n"
        target.write_text(text, encoding="utf-8", newline="\n")
