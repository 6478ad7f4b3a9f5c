"""Every page in a real browser with the network cut: once over HTTP, light, dark and narrow, once as a file."""

from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

PHONE = {"width": 360, "height": 780}
DESK = {"width": 1280, "height": 900}
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


def watch(page, faults, local):
    """Abort and note each request that leaves the site, each error and each missing file."""

    def route(request):
        if local(request.request.url):
            request.continue_()
        else:
            faults.append(f"request to {request.request.url}")
            request.abort()

    page.route("**/*", route)
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(f"exception: {error}"))
    page.on("requestfailed", lambda request: faults.append(f"failed: {request.url}"))
    page.on(
        "response",
        lambda answer: answer.status >= 400 and faults.append(f"{answer.status}: {answer.url}"),
    )


def violations(page, **options):
    # Without `preload`: axe would fetch the style sheets again, from addresses it gets wrong.
    options = {"resultTypes": ["violations"], "preload": False, **options}
    # A formula takes the colour of its text and is hidden from screen readers, who get its MathML.
    found = Axe().run(page, {"exclude": [[".katex-html"]]}, options).response["violations"]
    return [f"{fault['id']}: {node['html'][:120]}" for fault in found for node in fault["nodes"]]


def theme_after_change(page, wanted):
    """Return the theme once it is as wanted, or what it still is after a while."""
    for _ in range(40):
        theme = page.evaluate("document.documentElement.dataset.theme")
        if theme == wanted:
            break
        page.wait_for_timeout(50)
    return theme


def only(rule):
    """Ask for the one rule that can find something new after the colours or the width have changed."""
    return {"runOnly": {"type": "rule", "values": [rule]}}


@pytest.fixture(scope="session")
def desk(browser):
    desk = browser.new_context(viewport=DESK, color_scheme="light")
    desk.set_default_timeout(20_000)
    yield desk
    desk.close()


def test_page_has_no_fault(desk, address, page_name, kinds):
    """One visit for all questions: a page is loaded once, and what is found is told by question."""
    ask_axe = page_name in kinds
    page, found = desk.new_page(), {"errors and requests that leave the site": []}
    watch(page, *found.values(), lambda url: url.startswith((address, "data:")))
    page.goto(f"{address}/{page_name}", wait_until="load")
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme, reduced_motion="reduce")
        if (shown := theme_after_change(page, theme)) != theme:
            found[f"a reader who asked for {theme} gets"] = shown
        if ask_axe:
            again = {} if theme == "light" else only("color-contrast")
            found[f"axe, {theme}"] = violations(page, **again)
    found["folds open at load"] = page.locator("article details[open]").count()
    page.set_viewport_size(PHONE)
    page.wait_for_timeout(50)
    found["pixels too wide for a phone"] = max(0, page.evaluate(TOO_WIDE))
    if ask_axe:
        found["axe, phone"] = violations(page, **only("scrollable-region-focusable"))
    page.close()
    assert {question: answer for question, answer in found.items() if answer} == {}


def test_opens_from_a_file(desk, site, kind_of_page):
    page, faults = desk.new_page(), []
    watch(page, faults, lambda url: urlsplit(url).scheme in ("file", "data"))
    page.goto((site / kind_of_page).as_uri(), wait_until="load")
    page.close()
    assert faults == []


@pytest.mark.parametrize("scheme", ["http", "file"])
def test_search_finds_a_known_word(browser, address, site, scheme):
    page, faults = browser.new_page(), []
    base = address if scheme == "http" else site.as_uri()
    watch(page, faults, lambda url: url.startswith((base, "data:")))
    page.goto(f"{base}/search.html?q=normalization")
    page.wait_for_selector("#search-results li", timeout=10_000)
    assert page.locator("#search-results li a").count() >= 1
    page.wait_for_timeout(200)  # the excerpts come one by one
    assert faults == []
    page.close()


def test_a_fold_opens_by_keyboard(browser, address, site):
    with_folds = [path for path in sorted(site.rglob("*.html")) if b"<details" in path.read_bytes()]
    if not with_folds:
        pytest.skip("no page has a fold yet")
    page = browser.new_page()
    page.goto(f"{address}/{with_folds[0].relative_to(site).as_posix()}")
    summary = page.locator("article summary").first
    summary.focus()
    page.keyboard.press("Enter")
    assert page.locator("article details").first.get_attribute("open") is not None
    page.close()


def test_formulas_show_without_javascript(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{address}/site/pages/notation.html")
    assert page.locator(".katex").first.bounding_box()["width"] > 5
    context.close()


def test_the_watch_sees_a_request_that_leaves_and_an_error(browser):
    """The net has no holes: a page with each of the faults is caught."""
    page, faults = browser.new_page(), []
    watch(page, faults, lambda url: url.startswith("data:"))
    page.goto("data:text/html,<title>t</title>")
    page.set_content(
        '<img src="http://elsewhere.invalid/x.png"><script>console.error("a"); throw Error("b")</script>'
    )
    page.wait_for_timeout(100)
    assert any("elsewhere.invalid" in fault for fault in faults)
    assert "a" in faults
    assert any("exception" in fault for fault in faults)
    assert any("image-alt" in fault for fault in violations(page))
    page.close()
