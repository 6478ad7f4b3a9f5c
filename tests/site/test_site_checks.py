"""The checks can fail: each finds the fault that it is for, and lets a sound page pass."""

import pytest
import site_checks

SOUND = """<html lang="en"><title>t</title><article>
<p>Costs $5 and $6. <span class="math"><span class="katex">x<annotation>\\frac{1}{2}</annotation></span></span></p>
<pre>print("$$ \\( \\begin{x}")</pre><img src="a.png" alt="Loss falls with depth">
<svg role="img" aria-label="One channel"></svg><details><summary>More</summary>answer</details>
<a href="https://elsewhere.example/">out</a>
<button aria-label="Search"><i></i></button><button aria-label="Search this  book"> search </button></article></html>"""


@pytest.mark.parametrize("check", ["maths", "alternatives", "names", "folds", "outside"])
def test_a_sound_page_passes(check):
    assert getattr(site_checks, check)(site_checks.parse(SOUND)) == []


@pytest.mark.parametrize(
    ("check", "html"),
    [
        ("maths", r"<p>so \(x\) is</p>"),
        ("maths", "<p>so $$x$$ is</p>"),
        ("maths", r"<p>so $\hat x$ is</p>"),
        ("maths", '<span class="katex-error">x</span>'),
        ("maths", '<span class="math">x</span>'),
        ("alternatives", '<article><img src="a.png"></article>'),
        ("alternatives", '<article><img src="a.png" alt=" "></article>'),
        ("alternatives", '<article><img src="a.png" alt="../_images/95f6aa89.png"></article>'),
        ("alternatives", '<article><svg role="img"></svg></article>'),
        ("names", '<button aria-label="Search">Search <kbd>Ctrl+K</kbd></button>'),
        ("names", '<a href="#x" aria-label="link">Batch norm</a>'),
        ("folds", "<article><details open><summary>a</summary></details></article>"),
        ("folds", '<article><div class="admonition dropdown">a</div></article>'),
        ("outside", '<script src="https://cdn.example/x.js"></script>'),
        ("outside", '<link rel="stylesheet" href="//cdn.example/x.css">'),
        ("outside", '<iframe src="http://elsewhere.example/"></iframe>'),
    ],
)
def test_a_fault_is_found(check, html):
    assert getattr(site_checks, check)(site_checks.parse(html))


SEALED = """<article><p>Predict. {before}</p><details class="sealed"><summary>Show {summary}</summary>
<div class="cell_output"><p>It gains 4.27 (95 % interval 4.1 to 4.4) points, to 93 (95 % interval 92 to 94) %. 5 of 5 (95 % interval 3 to 5).</p></div></details>
<p>{after}</p><details><summary>More</summary>Of 4.27, half.</details></article>"""


@pytest.mark.parametrize(
    ("where", "text", "leaked"),
    [
        ("before", "Guessing scores 10 %; 64 units, 5 images.", []),
        ("before", "About 4.27 or so?", ["4.27"]),
        ("summary", "the 4.27", ["4.27"]),
        ("after", "It reaches 93 % in the end.", ["93"]),
        ("after", "A gain of 4.2, in section 4.27, 93 minutes.", []),
    ],
)
def test_a_leaked_number_is_found(where, text, leaked):
    texts = {"before": "", "summary": "", "after": ""} | {where: text}
    soup = site_checks.parse(SEALED.format(**texts))
    assert site_checks.leaks(soup, soup) == leaked


@pytest.mark.parametrize(
    ("link", "sound"),
    [
        ("b.html", True),
        ("b.html#there", True),
        ("#here", True),
        ("https://elsewhere.example/#x", True),
        ("c.html", False),
        ("b.html#nowhere", False),
        ("#nowhere", False),
        ("/b.html", False),
        ("../outside.html", False),
    ],
)
def test_links(tmp_path, link, sound):
    site = tmp_path / "site"
    site.mkdir()
    (tmp_path / "outside.html").write_text("<p>outside</p>")
    (site / "b.html").write_text('<p id="there">b</p>')
    (site / "a.html").write_text(f'<p id="here"><a href="{link}">a</a></p>')
    assert (site_checks.links(site / "a.html", site) == []) is sound
