"""Make the figures pack and the slides for teachers, from the notebooks and their stored outputs.

    python tools/teaching_pack.py                    # into _build/teaching
    python tools/teaching_pack.py --chapters 02_batch_norm

`figures/<page>/01.png` and on, with `captions.md` beside them; `figures.zip` with all of it; and
`slides/<page>.pptx`. Nothing is run: what a page shows is what was stored with it. The same notebooks
give the same files, byte by byte.
"""

import argparse
import shutil
import sys
import time
import zipfile
from pathlib import Path

from lessons import lesson

try:
    from slides import EPOCH, deck, plain
except ModuleNotFoundError as missing:
    sys.exit(f"{missing.name} is not installed: pip install python-pptx pylatexenc")

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS, PACK = ROOT / "chapters", ROOT / "_build" / "teaching"
TOLD = """\
# Figures of {title}

From `chapters/{stem}.ipynb` of Seven Norms, under CC BY 4.0. *Alt* is a text for those who cannot see the figure. A \
figure marked *ask first* answers the question that stands with it.
"""


def main(arguments=None):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--chapters", nargs="+", metavar="PAGE", help="only these, such as 02_batch_norm"
    )
    parser.add_argument("--out", type=Path, default=PACK, help="the folder to write to, made anew")
    options = parser.parse_args(arguments)
    started, paths = time.monotonic(), chosen(options.chapters)
    if options.out.exists() and not (options.out / "figures.zip").exists():
        sys.exit(f"{options.out} is no pack of ours, and would be replaced: choose another --out.")
    new = options.out.with_name(f"{options.out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    lessons = [lesson(path) for path in paths]
    for each in lessons:
        write_figures(each, new / "figures" / each.stem)
        (new / "slides").mkdir(parents=True, exist_ok=True)
        (new / "slides" / f"{each.stem}.pptx").write_bytes(deck(each))
    pack(new / "figures", new / "figures.zip")
    shutil.rmtree(options.out, ignore_errors=True)
    new.rename(options.out)
    figures = sum(len(each.figures) for each in lessons)
    print(
        f"{options.out}: {figures} figures and {len(lessons)} decks of slides "
        f"in {time.monotonic() - started:.0f} s."
    )


def chosen(names):
    """Return the notebooks of these pages, or of all."""
    pages = {path.stem: path for path in sorted(CHAPTERS.glob("*.ipynb"))}
    wrong = [name for name in names or () if name not in pages]
    if wrong or not pages:
        sys.exit(
            f"No page {', '.join(wrong)} in {CHAPTERS}; there are {', '.join(pages) or 'none'}."
        )
    return [pages[name] for name in names or pages]


def write_figures(each, folder):
    """Write the pictures of a page and what belongs to them; a page without pictures gets no folder."""
    if not each.figures:
        return
    folder.mkdir(parents=True)
    parts = [TOLD.format(title=plain(each.title), stem=each.stem)]
    for n, figure in enumerate(each.figures, 1):
        (folder / f"{n:02}.png").write_bytes(figure.png)
        parts.append(described(f"{n:02}.png", figure))
    (folder / "captions.md").write_text("\n".join(parts), "utf-8")


def described(name, figure):
    first = f"Ask first: {figure.question}\n\n" if figure.question else ""
    if figure.sealed and not figure.question:
        first = "Ask first: the question of the figure before.\n\n"
    alt = f"**Alt.** {figure.alt}\n"
    return (
        f"## {name}\n\nSection *{figure.section}*.\n\n{first}**Caption.** {figure.caption}\n\n{alt}"
    )


def pack(folder, path):
    """Zip a folder without times, so that equal folders give equal files."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for file in sorted(folder.rglob("*")) if folder.exists() else ():
            if file.is_file():
                entry = zipfile.ZipInfo(file.relative_to(folder.parent).as_posix(), EPOCH)
                made.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


if __name__ == "__main__":
    main()
