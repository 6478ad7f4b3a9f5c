"""The built site, served on loopback, and one browser for all its tests."""

import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
ARGUMENTS = [
    "--no-sandbox",  # containers have no user namespaces, and the pages are our own
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tools")]


def built_pages():
    """Name every page, relative to the site. The theme leaves templates in `_static`: no pages."""
    found = (path.relative_to(SITE).as_posix() for path in SITE.rglob("*.html"))
    return sorted(name for name in found if not name.startswith("_static/"))


def kinds_of_pages():
    """Name the pages that axe looks at: the listings of source code are all alike, so one of them."""
    pages = [name for name in built_pages() if name != "index.html"]  # a copy of the front page
    listings = [name for name in pages if name.startswith("_modules/")]
    return [name for name in pages if name not in listings[1:]]


def pytest_generate_tests(metafunc):
    # Without a site one test runs, and fails by the `site` fixture, instead of none.
    if "page_name" in metafunc.fixturenames:
        metafunc.parametrize("page_name", built_pages() or ["(no page)"])
    if "kind_of_page" in metafunc.fixturenames:
        metafunc.parametrize("kind_of_page", kinds_of_pages() or ["(no page)"])


@pytest.fixture(scope="session")
def site():
    if not built_pages():
        pytest.fail(f"There is no site in {SITE}: run `make book` first.", pytrace=False)
    return SITE


@pytest.fixture(scope="session")
def kinds(site):
    return kinds_of_pages()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="session")
def address(site):
    handler = partial(Quiet, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="session")
def browser(site):
    from browser import find
    from playwright.sync_api import sync_playwright

    path = find()  # before Playwright starts: it asks Playwright too
    if not path:
        pytest.fail("No Chromium: install one, or set CHROMIUM to its path.", pytrace=False)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()
