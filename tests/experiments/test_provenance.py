"""A stored result is stale if what it was made from has changed, and only then.

Each test changes a small package, or a copy of the real one, and asks again.
"""

import ast
import json
import re
import shutil
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from norms.experiments import provenance, syntax
from norms.experiments.verdicts import MIME

REAL = provenance.PACKAGE
CHAPTERS = Path(__file__).resolve().parents[2] / "chapters"
PAGES = sorted(path.stem for path in CHAPTERS.glob("*.ipynb"))


def forget():
    for cached in ("_read", "_path", "_modules", "_data_files"):
        getattr(provenance, cached).cache_clear()


@pytest.fixture(autouse=True)
def _nothing_is_remembered():
    yield
    forget()


class Package:
    """A package named norms in a folder of its own, and pages beside it."""

    def __init__(self, root, monkeypatch):
        self.root, self.chapters = root / "norms", root / "chapters"
        monkeypatch.setattr(provenance, "PACKAGE", self.root)
        forget()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        for folder in (path.parent, *path.parent.parents):
            if folder.is_relative_to(self.root) and not (folder / "__init__.py").exists():
                (folder / "__init__.py").touch()
        path.write_text(text, "utf-8")
        forget()

    def edit(self, name, old, new):
        text = (self.root / name).read_text("utf-8")
        assert text.count(old) >= 1, f"{old!r} is not in {name}"
        self.write(name, text.replace(old, new, 1))

    def of(self, *cells):
        return provenance.of_code(list(cells))

    def pages(self):
        return {stem: provenance.of_page(self.chapters / f"{stem}.ipynb") for stem in PAGES}


@pytest.fixture
def small(tmp_path, monkeypatch):
    return Package(tmp_path, monkeypatch)


@pytest.fixture
def real(tmp_path, monkeypatch):
    """A copy of the package and its pages."""
    shutil.copytree(REAL, tmp_path / "norms", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHAPTERS, tmp_path / "chapters")
    return Package(tmp_path, monkeypatch)


def changed(before, now):
    """Tell the changed parts of each page that has any."""
    words = {stem: provenance.changed_parts(before[stem], now[stem]) for stem in before}
    return {stem: parts for stem, parts in words.items() if parts}


# --- How a name is followed: a small package, one module that is used, one that is not

USED = "def f(x):\n    return x + 1\n\n\ndef other(x):\n    return x + 1\n"

# What the page says, and the modules of the package beside used.py and init: each must be found.
WAYS = {
    "from": ("from norms.used import f\nf(1)", {}),
    "module": ("import norms.used\nnorms.used.f(1)", {}),
    "as": ("import norms.used as u\nu.f(1)", {}),
    "from package": ("from norms import used\nused.f(1)", {}),
    "re-export": ("from norms import f\nf(1)", {"__init__.py": "from norms.used import f"}),
    "re-export as": (
        "import norms\nnorms.g(1)",
        {"__init__.py": "from .used import f as g"},
    ),
    "relative": ("from norms.a import g\ng()", {"a.py": "from . import used\ng = used.f"}),
    "relative, deep": (
        "from norms.p.q.a import g\ng()",
        {"p/q/a.py": "from ...used import f\n\ndef g():\n    return f(1)"},
    ),
    "chain": (
        "import norms as n\nn.p.a.g()",
        {"p/a.py": "import norms.used\n\ndef g():\n    return norms.used.f(1)"},
    ),
    "whole": ("from norms import used\nprint(used)", {}),
    "whole package": ("import norms.p\nh(norms.p)", {"p/a.py": "from norms.used import f\nf2 = f"}),
    "getattr": ("from norms import used\nname = 'f'\ngetattr(used, name)(1)", {}),
    "alias": ("from norms import used\nu = used\nu.f(1)", {}),
    "partial": ("from functools import partial\nfrom norms import used\npartial(used.f, 1)()", {}),
    "shadowed": ("from norms.used import f\n\ndef g(f):\n    return f(1)", {}),
    "local import": ("def g():\n    from norms.used import f\n    return f(1)", {}),
    "local import in a module": (
        "from norms.a import g\ng()",
        {"a.py": "def g():\n    import norms.used as u\n    return u.f(1)"},
    ),
    "star": ("from norms.used import *\nf(1)", {}),
    "star in a module": ("from norms.a import f\nf(1)", {"a.py": "from norms.used import *"}),
    "star, whole": ("from norms import a\nprint(a)", {"a.py": "from norms.used import *"}),
    "star, nested": (
        "from norms.a import g\ng()",
        {"a.py": "from norms.used import *\n\ndef g():\n    return [f(i) for i in range(3)]"},
    ),
    "try": (
        "from norms.a import f\nf(1)",
        {"a.py": "try:\n    from norms.used import f\nexcept ImportError:\n    f = None"},
    ),
    "except": (
        "from norms.a import g\ng()",
        {"a.py": "try:\n    import x\nexcept ImportError as e:\n    from norms.used import f as g"},
    ),
    "except, defined": (
        "from norms.a import g\ng()",
        {
            "a.py": "from norms.used import f\ntry:\n    import x\nexcept ImportError:\n"
            "    def g():\n        return f(1)"
        },
    ),
    "match": (
        "from norms.a import g\ng()",
        {
            "a.py": "from norms.used import f\nmatch 1:\n    case 1:\n        def g():\n"
            "            return f(1)"
        },
    ),
    "if, with, for": (
        "from norms.a import g\ng()",
        {
            "a.py": "from norms.used import f\nif 1:\n    with open(0):\n        for i in (1,):\n"
            "            g = f"
        },
    ),
    "global": (
        "from norms.a import g\ng()",
        {"a.py": "from norms.used import f\nG = None\n\ndef g():\n    global G\n    G = f"},
    ),
    "closure": (
        "from norms.a import g\ng()()",
        {"a.py": "from norms.used import f\n\ndef g():\n    def h():\n        return f\n    return h"},
    ),
    "inheritance": (
        "from norms.a import A\nA()",
        {"a.py": "from norms.b import B\n\nclass A(B):\n    pass", "b.py": "from norms.used import f\n\nclass B:\n    x = f"},
    ),
    "decorator": (
        "from norms.a import g\ng()",
        {"a.py": "from norms import used\n\n@used.f\ndef g():\n    pass"},
    ),
    "default": (
        "from norms.a import g\ng()",
        {"a.py": "from norms.used import f\n\ndef g(x=f):\n    pass"},
    ),
    "class attribute": (
        "from norms.a import A\nA.x",
        {"a.py": "from norms.used import f\n\nclass A:\n    x = f(1)"},
    ),
    "rebound": (
        "from norms.a import g\ng(1)",
        {"a.py": "from norms.b import g\nfrom norms.used import f\ng = f(g)", "b.py": "g = 1"},
    ),
    "rebound, in its module": (
        "from norms.a import h\nh()",
        {
            "a.py": "from norms.b import g\nfrom norms.used import f\ng = f(g)\n\ndef h():\n"
            "    return g",
            "b.py": "g = 1",
        },
    ),
    "annotated": ("from norms.a import g\ng", {"a.py": "from norms.used import f\ng: int = f(1)"}),
    "module getattr": (
        "from norms import a\na.anything",
        {"a.py": "from norms import used\n\ndef __getattr__(name):\n    return used.f"},
    ),
    "globals": (
        "from norms.a import g\ng('h')",
        {
            "a.py": "from norms.used import f\n\ndef h():\n    return f(1)\n\n"
            "def g(name):\n    return globals()[name]()"
        },
    ),
    "by its name": ("from importlib import import_module\nimport_module('norms.used').f(1)", {}),
    "by a name put together": (
        "from importlib import import_module\nimport_module(f'norms.us{name}').f(1)",
        {},
    ),
    "effect of an import": (
        "import norms.a",
        {"a.py": "import norms.b", "b.py": "from norms.used import f\nf(1)"},
    ),
    "effect of a package": (
        "from norms.p.a import g\ng",
        {"p/a.py": "g = 1", "p/__init__.py": "from norms.used import f\nf(1)"},
    ),
    "effect in a loop": (
        "from norms.a import g\ng",
        {"a.py": "from norms.used import f\ng = 1\nfor i in range(3):\n    f(i)"},
    ),
    "effect of a comprehension": (
        "from norms.a import g\ng",
        {"a.py": "from norms.used import f\ng = []\ng.extend(f(i) for i in range(3))"},
    ),
    "patch of another module": (
        "import norms.a\nfrom norms import b\nb.g()",
        {"a.py": "from norms import b, used\nb.g = used.f", "b.py": "def g():\n    pass"},
    ),
    "entry that is added elsewhere": (
        "import norms.a\nfrom norms.b import NORMS\nNORMS['x']",
        {
            "a.py": "from norms.b import NORMS\nfrom norms.used import f\nNORMS['x'] = f",
            "b.py": "NORMS = {}",
        },
    ),
    "entries that are added elsewhere": (
        "import norms.a\nfrom norms.b import NORMS\nNORMS['x']",
        {
            "a.py": "from norms.b import NORMS\nfrom norms.used import f\nNORMS |= {'x': f}",
            "b.py": "NORMS = {}",
        },
    ),
    "magic": ("%%time\nfrom norms.used import f\nf(1)", {}),
    "magics": ("%matplotlib inline\n!ls\nx = !ls\nfrom norms.used import f\nf?\nf(1)", {}),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_change_is_noticed_whatever_way_leads_there(way, small):
    page, modules = WAYS[way]
    small.write("used.py", USED)
    small.write("unused.py", USED)
    for name, text in modules.items():
        small.write(name, text)
    before = small.of(page)
    small.edit("unused.py", "x + 1", "x + 2")
    assert small.of(page) == before
    small.edit("used.py", "x + 1", "x + 2")
    assert provenance.changed_parts(before, small.of(page)) == ["norms.used has changed"]


def test_only_what_is_used_counts(small):
    small.write("used.py", USED)
    before = small.of("from norms.used import f, other\nf(1)")
    small.edit("used.py", "def other(x):\n    return x + 1", "def other(x):\n    return x + 2")
    small.edit("used.py", "x + 2", "x + 3")
    assert small.of("from norms.used import f, other\nf(1)") == before


def test_every_effect_counts_by_itself(small):
    """Not as a part of another one that looks the same."""
    small.write("a.py", "x = 1\nif x:\n    print(x)\nprint(x)\n")
    page = "from norms.a import x"
    before = small.of(page)
    small.write("a.py", "x = 1\nif x:\n    print(x)\n")
    assert small.of(page) != before
    small.write("a.py", 'x = 1\nif __name__ == "__main__":\n    print(x)\n')
    main = small.of(page + "\nx")
    small.write("a.py", 'x = 1\nif __name__ == "__main__":\n    print(2 * x)\n')
    assert small.of(page + "\nx") == main


# --- Cells


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x = 2"),
        ("'hello'", "'goodbye'"),  # it is shown, no docstring
        ("!python a.py", "!python b.py"),
        ("%timeit f(1)", "%timeit f(2)"),
        ("x = !ls a", "x = !ls b"),
        ("x = '''\n% of 2'''", "x = '''\n% of 3'''"),
        ("x = (5\n% 3)", "x = (5\n% 4)"),
        ("this is no code", "nor is this"),
        ("x = f'{y:.1f}'", "x = f'{y:.2f}'"),
        ("x = f'{y}'", "x = f'{y!r}'"),
        ("x = f'{y}a{z}'", "x = f'{y}{z}a'"),
        ("x = None", "x = ..."),
    ],
)
def test_a_changed_cell_is_noticed(before, after, small):
    small.write("__init__.py", "")
    old, new = small.of("y = 1", before), small.of("y = 1", after)
    assert provenance.changed_parts(old, new) == ["code has changed"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("x = 1", "x  =  1  # comment"),
        ("x = (1,\n  2)", "x = (1, 2)"),
        ("def f():\n    'A.'\n    return 1", "def f():\n    'B.'\n    return 1"),
        ("class A:\n    'A.'\n    x = 1", "class A:\n    x = 1"),
        ("if c:\n    %pip install a", "if c:\n    %pip install b"),
        ('x = "a"', "x = 'a'"),
        ("f'{x}' 'b'", "f'{x}b'"),
    ],
)
def test_another_way_to_write_a_cell_is_not(before, after, small):
    small.write("__init__.py", "")
    assert small.of(before) == small.of(after)


def test_cells_count_in_their_order_and_their_bounds(small):
    small.write("__init__.py", "")
    ways = [("x = 1", "x = 2"), ("x = 2", "x = 1"), ("x = 1\nx = 2",)]
    assert len({small.of(*way)["code"] for way in ways}) == 3


def test_a_page_does_not_depend_on_prose_outputs_or_tags(tmp_path):
    page = new_notebook(cells=[new_code_cell("x = 1"), nbformat.v4.new_markdown_cell("One.")])
    nbformat.write(page, tmp_path / "page.ipynb")
    before = provenance.of_page(tmp_path / "page.ipynb")
    page.cells[0].update(outputs=[new_output("stream", text="1")], execution_count=3)
    page.cells[0].metadata["tags"] = ["hide-input"]
    page.cells[1].source = "Two."
    page.metadata["norms"] = {"uses": {}}
    nbformat.write(page, tmp_path / "page.ipynb")
    assert provenance.of_page(tmp_path / "page.ipynb") == before


# Python 3.12 cuts the fixed pieces of some f-strings in two, and gives definitions type_params.
def test_every_python_gives_the_same():
    whole = ast.parse("def f(x):\n    return f'a{x}bc'").body[0]
    cut = ast.parse("def f(x):\n    return f'a{x}b'").body[0]
    cut.body[0].value.values += [ast.Constant("c"), ast.Constant("")]
    cut.type_params, cut.type_comment = [], None
    assert syntax.canonical(cut) == syntax.canonical(whole)
    other = ast.parse("def f(x):\n    return f'a{x}bd'").body[0]
    assert syntax.canonical(other) != syntax.canonical(whole)
    expected = (
        "FunctionDef(name='g', args=arguments(args=[arg(arg='a', annotation=Name(id='int'))], "
        "kw_defaults=[None]), body=[Return(value=Constant(value=1.5))])"
    )
    found = syntax.canonical(ast.parse("def g(a: int):\n    'Doc.'\n    return 1.5").body[0])
    assert found == expected.replace(", kw_defaults=[None]", "")


# --- Dictionaries with one entry a norm

TABLE = 'from norms.parts import one, two\n\nNORMS = {"one": one, "two-x": two}\n'
PARTS = "def one():\n    return 1\n\n\ndef two():\n    return 2\n"


@pytest.mark.parametrize(
    "page",
    [
        "NORMS['two-x']()",
        "NORMS.get('two-x')",
        "NORMS[g('with two-x here')]",
        "NORMS[g(f'{name}: two-x')]",
        "NORMS[g(f'two-{name}')]",
        "NORMS[g('two-' + name)]",
        "NORMS[g('two-%s' % name)]",
        "NORMS[g('two-{}'.format(name))]",
        "[f() for f in NORMS.values()]",
        "for name in NORMS:\n    NORMS[name]()",
        "len(NORMS)",
        "{k: v() for k, v in list(NORMS.items())}",
        "g(NORMS)",
        "g(**NORMS)",
        "{**NORMS}",
        "import norms.table as t\ng(t)\nt.NORMS.values()",
    ],
)
def test_an_entry_counts_that_the_code_may_take(page, small):
    small.write("table.py", TABLE)
    small.write("parts.py", PARTS)
    page = "from norms.table import NORMS\n" + page
    before = small.of(page)
    small.edit("parts.py", "return 2", "return 3")
    assert provenance.changed_parts(before, small.of(page)) == ["norms.parts has changed"]


@pytest.mark.parametrize(
    "page",
    [
        "NORMS['one']()",
        "NORMS.get('one')",
        "NORMS[f'{name}'](), 'one'",
        "NORMS[g('atwo-x', 'two-xy', 'two', f'{a}{b}')], 'one'",
        "if 'one' not in NORMS:\n    raise KeyError(', '.join(NORMS))",
        "styles = {name: f() for name, f in NORMS.items()}\nstyles['one']",
    ],
)
def test_an_entry_does_not_count_that_the_code_cannot_take(page, small):
    small.write("table.py", TABLE)
    small.write("parts.py", PARTS)
    page = "from norms.table import NORMS\n" + page
    before = small.of(page)
    small.edit("parts.py", "return 2", "return 3")
    assert small.of(page) == before
    small.edit("table.py", '"two-x"', '"three": two, "two-x"')
    assert small.of(page) == before


@pytest.mark.parametrize(
    "table",
    [
        'NORMS = {**OTHERS, "one": one}',
        'NORMS = {KEY: two, "one": one}',
        'NORMS = {"one": one} | OTHERS',
        'NORMS = {"one": one}\nNORMS |= OTHERS',
        'NORMS = {"one": one}\nNORMS |= {"two": two}\nOTHERS = None',
        'NORMS = {"one": one}\nNORMS.update(OTHERS)',
        'NORMS = {"one": one}\nNORMS["two"] = two',
        'NORMS = {"one": one}\nfor k in OTHERS:\n    NORMS[k] = OTHERS[k]',
        'NORMS: dict = {"one": one, "two": two}',
        'if KEY:\n    NORMS = {"one": one, "two": two}',
    ],
)
def test_an_entry_counts_however_it_came_there(table, small):
    start = 'from norms.parts import one, two\n\nKEY = "two"\nOTHERS = {KEY: two}\n'
    small.write("table.py", start + table)
    small.write("parts.py", PARTS)
    page = "from norms.table import NORMS\nNORMS['two']()"
    before = small.of(page)
    small.edit("parts.py", "return 2", "return 3")
    assert provenance.changed_parts(before, small.of(page)) == ["norms.parts has changed"]


def test_keywords_name_norms(small):
    small.write("table.py", TABLE.replace("two-x", "two"))
    small.write("parts.py", PARTS)
    page = "from norms.table import NORMS\n\n\ndef g(**arms):\n    NORMS[list(arms)[0]]\n\n\ng({})"
    before = small.of(page.format("two=3")), small.of(page.format("**dict(two=3)"))
    small.edit("parts.py", "return 2", "return 3")
    assert small.of(page.format("two=3")) != before[0]
    assert small.of(page.format("**dict(two=3)")) != before[1]


# --- Files


@pytest.mark.parametrize(
    "page",
    [
        "open('table.csv')",
        "open('data/table.csv')",
        "open(r'data\\table.csv')",
        "read('table')",
        "folder.glob('t*.csv')",
        "folder.glob('*.csv')",
        "open(f'ta{b}.csv')",
        "open(f'table.{ending}')",
        "Path(__file__).with_name('data') / 'table.csv'",
        "Path('table').with_suffix('.csv')",
    ],
)
def test_a_file_counts_that_the_code_may_read(page, small):
    small.write("data/table.csv", "1\n")
    before = small.of(page)
    small.write("data/table.csv", "2\n")
    assert provenance.changed_parts(before, small.of(page)) == ["data/table.csv has changed"]
    small.write("data/table.csv", "1\n")
    assert small.of(page) == before


def test_other_files_do_not_count(small):
    small.write("data/table.csv", "1\n")
    small.write("data/table.csv.part", "1\n")
    for page in ("open('tables.csv')", "open(f'{name}.csv')", "say('a table of numbers')"):
        assert not [part for part in small.of(page) if "table" in part], page
    before = small.of("read('table')")
    small.write("data/table.csv.part", "2\n")
    assert small.of("read('table')") == before


def test_of_a_table_its_values_count_and_not_what_is_told_above_them(small):
    small.write("data/table.csv", "# today, by this code\narm,value\na,1\n")
    before = small.of("open('table.csv')")
    small.write("data/table.csv", "# tomorrow, by that code\narm,value\na,1\n")
    assert small.of("open('table.csv')") == before
    small.write("data/table.csv", "# tomorrow, by that code\narm,value\na,2\n")
    assert small.of("open('table.csv')") != before


def test_the_ends_of_lines_do_not_count_in_a_text(small):
    path = small.root / "table.csv"
    small.write("table.csv", "")
    path.write_bytes(b"1\n2\n")
    unix = small.of("'table.csv'")
    path.write_bytes(b"1\r\n2\r\n")
    assert small.of("'table.csv'") == unix
    path.write_bytes(b"\0\n")
    binary = small.of("'table.csv'")
    path.write_bytes(b"\0\r\n")
    assert small.of("'table.csv'") != binary


def test_modules_and_files_beside_a_page_count(tmp_path):
    path = tmp_path / "page.ipynb"
    cells = [
        new_code_cell("import helper\nfrom other.part import x"),
        new_code_cell("open('a.txt')"),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    for name in ("helper.py", "other.py", "a.txt", "b.txt", "unused.py"):
        (tmp_path / name).write_text("1")
    before = provenance.of_page(path)
    for name in ("helper.py", "other.py", "a.txt"):
        (tmp_path / name).write_text("2")
        assert provenance.changed_parts(before, provenance.of_page(path)) == [f"{name} has changed"]
        (tmp_path / name).write_text("1")
    (tmp_path / "b.txt").write_text("2")
    (tmp_path / "unused.py").write_text("2")
    assert provenance.of_page(path) == before


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("verdict_table('02_x_evidence.ipynb')", ["02_x_evidence.ipynb"]),
        ("verdict_table(*folder.glob('*_evidence.ipynb'))", ["02_x_evidence.ipynb", "03_y_evidence.ipynb"]),
        ("verdict_table(f'{name}_evidence.ipynb')", ["02_x_evidence.ipynb", "03_y_evidence.ipynb"]),
        ("verdict_table('02_x.ipynb')", []),
        ("say('see the evidence')", []),
    ],
)  # fmt: skip
def test_pages_whose_verdicts_are_read(source, read, tmp_path):
    for name in ("02_x", "02_x_evidence", "03_y_evidence"):
        cell = new_code_cell(source if name == "02_x" else "1")
        nbformat.write(new_notebook(cells=[cell]), tmp_path / f"{name}.ipynb")
    assert provenance.pages_read(tmp_path / "02_x.ipynb") == read
    parts = [part for part in provenance.of_page(tmp_path / "02_x.ipynb") if "verdicts" in part]
    assert parts == [f"the verdicts of {name.removesuffix('.ipynb')}" for name in read]


# --- Functions, for the tables of grids


def test_functions_count_with_what_they_use(real):
    from norms.experiments.training import best_rate, train

    before = provenance.of_functions([train, dict])
    assert {"norms.experiments.training", "norms.experiments.evaluation", "builtins"} <= {*before}
    assert "norms.moments" not in before
    real.edit("experiments/evaluation.py", "def evaluate(", "def evaluate(_new=1, *")
    part = ["norms.experiments.evaluation has changed"]
    assert provenance.changed_parts(before, provenance.of_functions([train, dict])) == part
    assert provenance.of_functions([best_rate]) != before
    with_batch = provenance.of_functions([train], ["'norm': 'batch'", "sonnets.txt"])
    assert "experiments/sonnets.txt" in with_batch


def test_a_lambda_counts_with_its_whole_module(small):
    small.write("a.py", "f = lambda x: 1\n\n\ndef g():\n    return 1\n")

    def stand_in():
        pass

    stand_in.__module__, stand_in.__qualname__ = "norms.a", "<lambda>"
    before = provenance.of_functions([stand_in])
    small.edit("a.py", "x: 1", "x: 2")
    assert provenance.of_functions([stand_in]) != before


def test_a_function_of_the_program_counts_as_that_of_its_module(monkeypatch):
    import sys
    from types import ModuleType

    from norms.experiments import sweep

    main = ModuleType("__main__")
    main.__spec__ = sweep.__spec__
    monkeypatch.setitem(sys.modules, "__main__", main)

    def tune():
        pass

    tune.__module__, tune.__qualname__ = "__main__", "_tune"
    assert provenance.of_functions([tune]) == provenance.of_functions([sweep._tune])


def test_changes_are_told_in_words():
    before = {"code": "1", "a": "1", "old": "1"}
    now = {"code": "2", "a": "1", "new": "1"}
    words = ["new is new", "old is no longer used", "code has changed"]
    assert provenance.changed_parts(before, now) == words
    assert provenance.changed_parts(now, now) == []
    assert provenance.changed_parts(None, now) == ["it was never run"]
    json.dumps(provenance.of_code(["x = 1"]))


# --- The course itself


def naming(name):
    """The pages whose code has this string."""
    return [
        page
        for page in PAGES
        if any(
            name in syntax.said(syntax.parsed(code)).strings
            for code in provenance._code_cells(CHAPTERS / f"{page}.ipynb")
        )
    ]


def test_comments_docstrings_and_layout_change_nothing(real):
    before = real.pages()
    for path in sorted(real.root.rglob("*.py")):
        text = path.read_text("utf-8")
        tree = ast.parse(text)
        for node in ast.walk(tree):
            if isinstance(node, syntax.DEFINITIONS) and syntax.is_docstring(node.body[0]):
                node.body[0].value.value = "Batch and RMS norm: see parity and BN+1, sonnets.txt."
        tree.body.insert(0, ast.parse("'Another docstring, of group and weight.'").body[0])
        comments = "# a comment on group\n\n\n"
        path.write_text(comments + ast.unparse(tree) + "\n\n# the end\n", "utf-8")
    forget()
    assert changed(before, real.pages()) == {}


def test_a_constant_in_moments_makes_every_page_stale_that_uses_it(real):
    before = real.pages()
    users = [stem for stem, parts in before.items() if "norms.moments" in parts]
    assert len(users) > 3
    real.edit("moments.py", "m = max(_size(x, axes), 1)", "m = max(_size(x, axes), 2)")
    assert changed(before, real.pages()) == {page: ["norms.moments has changed"] for page in users}


def test_what_no_page_reaches_changes_nothing(real):
    before = real.pages()
    for name in ("moments.py", "experiments/training.py", "experiments/grids/batch_norm.py"):
        text = (real.root / name).read_text("utf-8")
        real.write(name, text + "\n\ndef never_called():\n    return 3\n\n\nNEVER_READ = 4\n")
    assert changed(before, real.pages()) == {}


@pytest.mark.parametrize(
    ("name", "readers"),
    [
        *((f"results/{name}.csv", naming(name)) for name in ("recurrent-offset", "figure-1", "BN+2", "BN+3")),
        ("sonnets.txt", [page for page in PAGES if page[:2] in ("03", "04")] + ["07_weight_norm_evidence", "08_spectral_norm_evidence"]),
        ("fashion_mnist_14x14.npz", [p for p in PAGES if p[:2] in ("02", "05", "06", "07") or p == "03_layer_norm_evidence"]),
    ],
)  # fmt: skip
def test_changed_data_make_their_readers_stale_alone(name, readers, real):
    before = real.pages()
    with (real.root / "experiments" / name).open("ab") as file:
        file.write(b"1")
    forget()
    assert changed(before, real.pages()) == {
        reader: [f"experiments/{name} has changed"] for reader in readers
    }


def test_a_changed_bound_makes_the_page_stale_that_judges_it(real):
    before = real.pages()
    real.edit("experiments/grids/batch_norm.py", '"decades": above(0.5)', '"decades": above(0.6)')
    part = ["norms.experiments.grids.batch_norm has changed"]
    assert changed(before, real.pages()) == {"02_batch_norm": part}
    real.edit("experiments/grids/layer_norm.py", '"gap": exactly(0)', '"gap": exactly(1)')
    assert list(changed(before, real.pages())) == ["02_batch_norm", "03_layer_norm_evidence"]


def test_a_changed_bound_of_a_finding_makes_its_page_stale(real):
    before = real.pages()
    real.edit("experiments/grids/why_normalize.py", '"widths": above(1.2)', '"widths": above(1.1)')
    part = ["norms.experiments.grids.why_normalize has changed"]
    assert changed(before, real.pages()) == {"01_why_normalize": part}


def test_another_way_to_repeat_a_claim_makes_the_page_stale_that_judges_it(real):
    before = real.pages()
    real.edit("experiments/grids/batch_norm.py", 'combine="ratio",', 'combine="paired",')
    part = ["norms.experiments.grids.batch_norm has changed"]
    assert changed(before, real.pages()) == {page: part for page in naming("BN+3")}


def test_a_changed_verdict_makes_the_chapter_stale_that_reads_it(real):
    path = real.chapters / "02_batch_norm_evidence.ipynb"
    page = nbformat.read(path, as_version=4)
    output = new_output("display_data", {MIME: {"id": "BN+4", "verdict": "holds"}})
    page.cells[-1] = new_code_cell("judge", outputs=[output])
    nbformat.write(page, path)
    before = real.pages()
    output.data[MIME]["verdict"] = "contradicted"
    nbformat.write(page, path)
    part = ["the verdicts of 02_batch_norm_evidence has changed"]
    assert changed(before, real.pages()) == {"02_batch_norm": part}
    output.data["text/html"] = "another picture of it"
    page.cells[-1].metadata["tags"] = ["hide-input"]
    nbformat.write(page, path)
    assert changed(before, real.pages()) == {"02_batch_norm": part}


def test_a_new_norm_changes_no_page_of_another(real):
    before = real.pages()
    norm = "class PowerNorm:\n    def forward(self, x):\n        return x\n"
    real.write("power_norm.py", norm)
    real.edit("__init__.py", "\n__all__", "\nfrom norms.power_norm import PowerNorm\n\n__all__")
    real.edit("names.py", '    "batch": {', '    "powernorm": {"title": "Power"},\n    "batch": {')
    seats = "experiments/models/seats.py"
    real.edit(seats, "NORMS = {\n", 'NORMS = {\n    "powernorm": {"features": PowerNorm},\n')
    real.edit(seats, "\nfrom norms", "\nfrom norms.power_norm import PowerNorm\nfrom norms")
    real.write(
        "experiments/grids/power_norm.py",
        "from norms.experiments.claims import Claim\n\n"
        'GRIDS = {"powers": dict}\nCLAIMS = {"PN+1": Claim("It has power")}\n',
    )
    real.write("experiments/models/variants/power_norm.py", norm)
    real.write("experiments/results/powers.csv", "arm\n")
    assert changed(before, real.pages()) == {}
    parts = provenance.of_code(['models.MLP("powernorm")', "from norms.experiments import models"])
    assert "norms.power_norm" in parts


def test_all_pages_are_looked_at_in_seconds(real):
    real.pages()
    forget()
    started = time.process_time()
    real.pages()
    assert time.process_time() - started < 5


def test_the_version_of_torch_counts(real, monkeypatch):
    before = real.pages()
    monkeypatch.setattr(provenance, "version", lambda name: {"torch": "9.9.1+cpu"}[name])
    assert changed(before, real.pages()) == {page: ["torch has changed"] for page in PAGES}
    now = real.pages()
    monkeypatch.setattr(provenance, "version", lambda name: {"torch": "9.9.1+cu130"}[name])
    assert changed(now, real.pages()) == {}


# --- What cannot be followed does not stand in the package, but for these places

UNFOLLOWED = {
    "experiments/grids/__init__.py": {"import_module"},  # all neighbours, see __path__
}
HIDING = ("import_module", "__import__", "exec", "getsource", "__init_subclass__")


def unfollowed(source):
    """Name what the tracing of names would miss in a module."""
    tree, found = ast.parse(source), set()
    imports = [n for n in ast.walk(tree) if syntax.imports(n)]
    own = [
        s
        for s in imports
        if getattr(s, "level", 0)
        or (getattr(s, "module", "") or s.names[0].name).startswith("norms")
    ]
    others = {name for s in imports if s not in own for name in syntax.bound(s)}
    harmless = {*others, "property", "staticmethod", "classmethod", "few_threads"}
    for node in ast.walk(tree):
        found |= {getattr(node, key, "") for key in ("id", "attr", "name")} & {*HIDING}
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "eval":
            found.add("eval")
        if isinstance(node, ast.ClassDef) and node.keywords:
            found.add("metaclass")
        for decorator in getattr(node, "decorator_list", ()):  # ours may keep what it decorates
            if re.match(r"\w+", ast.unparse(decorator))[0] not in harmless:
                found.add(f"@{ast.unparse(decorator)}")
    return found


def test_the_package_keeps_to_what_can_be_followed():
    found = {
        path.relative_to(REAL).as_posix(): names
        for path in sorted(REAL.rglob("*.py"))
        if (names := unfollowed(path.read_text("utf-8")))
        and path.name not in ("provenance.py", "syntax.py")
    }
    assert found == UNFOLLOWED
    folders = {path.parent for path in REAL.rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    "source",
    [
        "from importlib import import_module as i",
        "__import__('a')",
        "exec('x = 1')",
        "y = eval('f(1)')",
        "import inspect\ninspect.getsource(f)",
        "class A:\n    def __init_subclass__(cls): pass",
        "class A(metaclass=M): pass",
        "@register('a')\nclass A: pass",
        "from norms.models import register\n@register\ndef f(): pass",
    ],
)
def test_what_cannot_be_followed_is_found(source):
    assert unfollowed(source)
