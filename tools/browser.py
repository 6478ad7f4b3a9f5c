"""Find a Chromium for the site tests, or install one: the system's, apt's, Playwright's."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from environment import plainly

NAMES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "msedge",
)
MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find():
    """Return the path of a Chromium, or None."""
    named = os.environ.get("CHROMIUM")
    if named:
        return shutil.which(named)
    for name in (*NAMES, MACOS):
        if path := shutil.which(name):
            return path
    return playwrights()


def playwrights():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).exists() else None


def main():
    if os.environ.get("CHROMIUM") and not find():
        sys.exit(
            f"CHROMIUM={os.environ['CHROMIUM']} is not an executable: unset it or name another."
        )
    if find():
        return
    if shutil.which("apt-get") and getattr(os, "geteuid", lambda: 1)() == 0:
        print("No Chromium here: installing Debian's (apt-get install chromium) …", flush=True)
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["update"], ["install", "-y", "--no-install-recommends", "chromium"]):
            subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL)
    if not find():
        print("No Chromium here: downloading Playwright's …", flush=True)
        subprocess.run([sys.executable, "-m", "playwright", "install", "chromium"])
    if not find():
        sys.exit(
            "\nThe site tests need Chromium, and none could be found or installed. Any of these helps:\n"
            "  Debian, Ubuntu:  sudo apt install chromium\n"
            "  Fedora:          sudo dnf install chromium\n"
            "  macOS:           brew install --cask chromium\n"
            "  Windows:         winget install Google.Chrome\n"
            "  elsewhere:       set CHROMIUM to the path of a Chromium or Chrome\n"
            "Then run `make test` again."
        )


if __name__ == "__main__":
    plainly(main)
