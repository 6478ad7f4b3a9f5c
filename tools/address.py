"""Set the repository's address everywhere: `make address URL=https://github.com/you/your-fork`.

The address that counts is `repository.url` in _config.yml; the others are made to agree.
"""

import re
import subprocess
import sys
from pathlib import Path

from environment import plainly

ROOT = Path(__file__).resolve().parent.parent


def main(arguments):
    old = current()
    if not arguments:
        sys.exit(
            f"The address is {old}\nTo set another: make address URL=https://github.com/OWNER/NAME"
        )
    new = arguments[0].rstrip("/").removesuffix(".git")
    if not re.fullmatch(r"https://[\w.-]+/[\w.-]+/[\w.-]+", new):
        sys.exit(f"{new} is not a repository's address; expected https://github.com/OWNER/NAME")
    # Buttons name the owner and the repository without the host.
    pairs = [(old, new), (slug(old), slug(new))]
    changed = 0
    for path in tracked():
        text = path.read_text(encoding="utf-8")
        replaced = text
        for before, after in pairs:
            replaced = re.sub(re.escape(before) + r"(?![\w-])", after, replaced)
        if replaced != text:
            path.write_text(replaced, encoding="utf-8", newline="\n")
            changed += 1
            print(path.relative_to(ROOT).as_posix())
    print(f"{changed} files now name {new}")


def current():
    return re.search(
        r"^\s*url:\s*(\S+)", (ROOT / "_config.yml").read_text(encoding="utf-8"), re.M
    ).group(1)


def slug(url):
    return "/".join(url.split("/")[-2:])


def tracked():
    result = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, encoding="utf-8"
    )
    if result.returncode:
        sys.exit(
            f"{result.stderr}make address changes the files that git knows: run it in a clone."
        )
    for name in filter(None, result.stdout.split("\0")):
        path = ROOT / name
        if (
            path.suffix in {".md", ".yml", ".yaml", ".toml", ".cff", ".ipynb", ".py"}
            and path.exists()
        ):
            yield path


if __name__ == "__main__":
    plainly(main, [a for a in sys.argv[1:] if a], kept="`git diff` shows what was changed")
