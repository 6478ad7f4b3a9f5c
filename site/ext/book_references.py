"""References by author and year in round brackets; the bibliography sorted by author, with its arXiv links."""

from dataclasses import dataclass, field

import sphinxcontrib.bibtex.plugin
from pybtex.plugin import register_plugin
from pybtex.style.formatting.plain import Style as Plain
from pybtex.style.labels import BaseLabelStyle
from sphinxcontrib.bibtex.style.referencing import BracketStyle
from sphinxcontrib.bibtex.style.referencing.author_year import AuthorYearReferenceStyle


def round_brackets():
    return BracketStyle(left="(", right=")")


@dataclass
class RoundAuthorYear(AuthorYearReferenceStyle):
    bracket_parenthetical: BracketStyle = field(default_factory=round_brackets)
    bracket_textual: BracketStyle = field(default_factory=round_brackets)
    bracket_year: BracketStyle = field(default_factory=round_brackets)


class KeyLabels(BaseLabelStyle):
    """Each entry's own key: labels must differ, but the style sheet hides them, for nothing refers by label."""

    def format_labels(self, sorted_entries):
        for entry in sorted_entries:
            yield entry.key


class Book(Plain):
    default_label_style = KeyLabels


def setup(app):
    register_plugin("pybtex.style.formatting", "book", Book)
    sphinxcontrib.bibtex.plugin.register_plugin(
        "sphinxcontrib.bibtex.style.referencing", "author_year_round", RoundAuthorYear
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
