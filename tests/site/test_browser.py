"""Every page in a real browser with the network cut: once over HTTP, light, dark and narrow, once as a file."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe

PHONE = {"width": 360, "height": 780}
DESK = {"width": 1280, "height": 900}


@dataclass
class Visit:
    """What happened on a page."""

    faults: list = field(default_factory=list)  # requests, console, exceptions
    themes: list = field(default_factory=list)
    axe: dict = field(default_factory=dict)
    too_wide: int = 0
    open_folds: int = 0
    file_faults: list = field(default_factory=list)


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
def visit(browser, address, site, kinds):
    """Open a page once and keep what was seen: the tests below ask for one thing each."""
    seen = {}
    desk = browser.new_context(viewport=DESK, color_scheme="light")
    desk.set_default_timeout(20_000)

    def look(name):
        if name not in seen:
            seen[name] = result = Visit()
            page = desk.new_page()
            watch(page, result.faults, lambda url: url.startswith((address, "data:")))
            page.goto(f"{address}/{name}", wait_until="load")
            for theme in ("light", "dark"):
                page.emulate_media(color_scheme=theme, reduced_motion="reduce")
                result.themes.append(theme_after_change(page, theme))
                if name in kinds:
                    again = {} if theme == "light" else only("color-contrast")
                    result.axe[theme] = violations(page, **again)
            result.open_folds = page.locator("article details[open]").count()
            page.set_viewport_size(PHONE)
            page.wait_for_timeout(50)
            result.too_wide = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            if name in kinds:
                result.axe["phone"] = violations(page, **only("scrollable-region-focusable"))
            page.close()

            page = desk.new_page()
            watch(page, result.file_faults, lambda url: urlsplit(url).scheme in ("file", "data"))
            page.goto((site / name).as_uri(), wait_until="load")
            page.close()
        return seen[name]

    yield look
    desk.close()


def test_loads_without_the_network_and_without_errors(visit, page_name):
    assert visit(page_name).faults == []


def test_opens_from_a_file(visit, page_name):
    assert visit(page_name).file_faults == []


def test_follows_the_readers_colour_scheme(visit, page_name):
    assert visit(page_name).themes == ["light", "dark"]


@pytest.mark.parametrize("mode", ["light", "dark", "phone"])
def test_axe_finds_nothing(visit, kind_of_page, mode):
    assert visit(kind_of_page).axe[mode] == []


def test_does_not_scroll_sideways_on_a_phone(visit, page_name):
    assert visit(page_name).too_wide <= 0


def test_folds_are_closed_at_load(visit, page_name):
    assert visit(page_name).open_folds == 0


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
