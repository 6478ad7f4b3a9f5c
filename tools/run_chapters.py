"""Re-execute chapters in place: those whose sources changed, `--all`, or one by name.

A chapter is run on a fresh kernel into a temporary file; only a run without an error takes
the place of the stored one. What it was made from is kept as a hash in its metadata.
"""

import argparse
import hashlib
import io
import os
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from pathlib import Path

import nbclient
import nbformat
from jupyter_client import KernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from PIL import Image
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
LIBRARY = ROOT / "src" / "norms"
SECONDS_PER_CELL = 600


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="?", help="the name of one, such as 02_batch_norm")
    parser.add_argument("--all", action="store_true", help="also those that have not changed")
    arguments = parser.parse_args()
    # Evidence first: a chapter's table of verdicts reads what its evidence page has stored.
    paths = sorted(CHAPTERS.glob("*.ipynb"), key=lambda p: ("_evidence" not in p.stem, p.stem))
    if arguments.chapter:
        wanted = Path(arguments.chapter).stem
        path = next((p for p in paths if p.stem == wanted or p.stem[3:] == wanted), None)
        if path is None:
            sys.exit(
                f"No chapter {arguments.chapter}; there are: " + ", ".join(p.stem for p in paths)
            )
        paths = [path]
    elif not arguments.all:
        paths = [path for path in paths if changed(path)]
    if not paths:
        print("Every stored run is fresh; `make run ALL=1` runs them anyway.")
    failures = [path.stem for path in paths if not run(path)]
    if failures:
        sys.exit(f"Failed: {', '.join(failures)}. Their stored runs are untouched.")


def run(path):
    """Execute one notebook; return whether it replaced the stored one."""
    notebook = nbformat.read(path, as_version=4)
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    started = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # results then repeat exactly
    os.environ["NORMS_SILENT"] = "1"  # no progress bars in stored outputs
    manager = kernel_manager()
    with tqdm(total=len(cells), desc=path.stem, unit="cell", file=sys.stderr) as bar:
        client = nbclient.NotebookClient(
            notebook,
            km=manager,
            timeout=SECONDS_PER_CELL,
            resources={"metadata": {"path": str(CHAPTERS)}},
            record_timing=False,
            on_cell_executed=lambda **_: bar.update(),
        )
        try:
            client.execute()
        except (CellExecutionError, CellTimeoutError) as error:
            bar.close()
            seconds = time.monotonic() - started
            print(f"\n{path.stem}: a cell failed after {seconds:.0f} s\n{error}", file=sys.stderr)
            return False
        finally:
            if manager.is_alive():
                manager.shutdown_kernel(now=True)
    for output in (o for cell in cells for o in cell.outputs):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_palette(output.data["image/png"])
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "norms": {"sources": fingerprint(notebook), "seconds": round(time.monotonic() - started)},
    }
    replace(path, nbformat.writes(notebook) + "\n")
    print(f"{path.relative_to(ROOT)}: stored a run of {time.monotonic() - started:.0f} s")
    return True


def kernel_manager():
    """A kernel over a socket file: no port to race for, and no notice about open ports."""
    if os.name == "nt":
        return KernelManager(kernel_name="python3")
    folder = tempfile.mkdtemp(prefix="norms-")
    return KernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")


def with_palette(png):
    """Reduce a picture to 64 colours: a figure full of seed dots shrinks to a third."""
    picture = Image.open(io.BytesIO(b64decode(png))).convert("RGB")
    buffer = io.BytesIO()
    picture.quantize(64, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return b64encode(buffer.getvalue()).decode()


def replace(path, text):
    """Write a file whole or not at all."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8"
    ) as file:
        try:
            file.write(text)
            file.close()
            os.chmod(file.name, path.stat().st_mode)
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def changed(path):
    notebook = nbformat.read(path, as_version=4)
    return notebook.metadata.get("norms", {}).get("sources") != fingerprint(notebook)


def fingerprint(notebook):
    """Hash what the outputs depend on: the code cells, the package and its data."""
    digest = hashlib.sha256()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            digest.update(cell.source.encode() + b"\0")
    for file in sorted(
        p for p in LIBRARY.rglob("*") if p.is_file() and "__pycache__" not in p.parts
    ):
        digest.update(str(file.relative_to(LIBRARY)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    main()
