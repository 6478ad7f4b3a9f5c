"""Re-execute the pages whose stored run is no longer fresh, `--all`, or one by name.

A page is run on a fresh kernel into a temporary file; only a run without an error takes the
place of the stored one. What it was made from is kept in its metadata, part by part
(norms.experiments.provenance). A page that reads the verdicts of another is run after it.
"""

import argparse
import asyncio
import io
import os
import shutil
import sys
import tempfile
import time
from base64 import b64decode, b64encode
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import nbclient
import nbformat
from jupyter_client import AsyncKernelManager
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from PIL import Image
from tqdm import tqdm

from norms.experiments import provenance

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"
SECONDS_PER_CELL = 600
TRIALS = ("NORMS_SEED_BASE", "NORMS_THREADS")  # a stored run has neither other seeds nor threads


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter", nargs="?", help="the name of one, such as 02_batch_norm")
    parser.add_argument("--all", action="store_true", help="also those that are fresh")
    parser.add_argument("--stale", action="store_true", help="only list those that are not fresh")
    options = parser.parse_args(arguments)
    paths = in_order(CHAPTERS.glob("*.ipynb"))
    if options.stale:
        print(*(path.relative_to(ROOT).as_posix() for path in paths if why(path)), sep="\n")
        return
    if options.chapter:
        paths = [named(options.chapter, paths)]
    must = options.all or bool(options.chapter)
    announce(paths, must)
    failed, waiting = [], {}
    for path in paths:  # freshness is asked again at each turn: verdicts may have changed
        lacking = [name for name in provenance.pages_read(path) if name in {*failed, *waiting}]
        if lacking:
            waiting[path.name] = f"{path.stem} was not run: it reads the verdicts of {lacking[0]}."
        elif (must or why(path)) and not run(path):
            failed.append(path.name)
    if failed:
        stems = ", ".join(name.removesuffix(".ipynb") for name in failed)
        kept = f"Failed: {stems}. What was stored before is untouched."
        sys.exit("\n".join([*waiting.values(), kept]))


def in_order(paths):
    """Sort pages by name, and each behind those whose verdicts it reads."""
    by_name = {path.name: path for path in sorted(paths)}
    graph = {name: provenance.pages_read(path) for name, path in by_name.items()}
    try:
        return [by_name[name] for name in TopologicalSorter(graph).static_order()]
    except CycleError as error:
        sys.exit(
            f"These read each other's verdicts, so none can be first: {', '.join(error.args[1])}"
        )


def named(wanted, paths):
    stem = Path(wanted).stem
    for path in paths:
        if stem in (path.stem, path.stem[3:]):
            return path
    names = ", ".join(sorted(path.stem for path in paths))
    sys.exit(f"No chapter {wanted}; there are: {names}")


def why(path):
    """Say in words why a stored run is not fresh; an empty list if it is."""
    stored = nbformat.read(path, as_version=4).metadata.get("norms", {}).get("uses")
    return provenance.changed_parts(stored, provenance.of_page(path))


def announce(paths, must):
    """Say what will be run, why, and how long it took last time."""
    lines, total = [], 0
    for path in paths:
        reasons = why(path)
        if reasons or must:
            seconds = nbformat.read(path, as_version=4).metadata.get("norms", {}).get("seconds", 0)
            more = f" and {len(reasons) - 2} more" if len(reasons) > 2 else ""
            reason = "; ".join(reasons[:2]) + more if reasons else "asked for"
            lines.append(f"  {path.stem}: {reason} ({seconds} s last time)")
            total += seconds
    if lines:
        pages = "1 page" if len(lines) == 1 else f"{len(lines)} pages"
        print(f"To run: {pages}, about {total} s", *lines, sep="\n", flush=True)
    else:
        print("Every stored run is fresh; `make run ALL=1` runs them anyway.")


def run(path):
    """Execute one notebook; return whether it replaced the stored one."""
    before = path.read_text(encoding="utf-8")
    uses = provenance.of_page(path)  # what changes while it runs makes it stale
    notebook = nbformat.reads(before, as_version=4)
    cells = [c for c in notebook.cells if c.cell_type == "code"]
    started = time.monotonic()
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # results then repeat exactly
    os.environ["NORMS_SILENT"] = "1"  # no progress bars in stored outputs
    for name in TRIALS:
        os.environ.pop(name, None)
    folder = tempfile.mkdtemp(prefix="norms-")
    manager = kernel_manager(folder)
    with tqdm(total=len(cells), desc=path.stem, unit="cell", file=sys.stderr) as bar:
        client = nbclient.NotebookClient(
            notebook,
            km=manager,
            timeout=SECONDS_PER_CELL,
            shutdown_kernel="immediate",
            resources={"metadata": {"path": str(CHAPTERS)}},
            record_timing=False,
            on_cell_executed=lambda **_: bar.update(),
        )
        try:
            execute(client, manager)
        except (CellExecutionError, CellTimeoutError, RuntimeError) as error:
            bar.close()
            seconds = time.monotonic() - started
            print(f"\n{path.stem}: {told(error)}, after {seconds:.0f} s\n{error}", file=sys.stderr)
            return False
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    if path.read_text(encoding="utf-8") != before:
        print(f"{path.stem}: was edited while it ran; the run is not stored", file=sys.stderr)
        return False
    for output in (o for cell in cells for o in cell.outputs):
        if "image/png" in output.get("data", {}):
            output.data["image/png"] = with_palette(output.data["image/png"])
    seconds = round(time.monotonic() - started)
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        "norms": {"uses": uses, "seconds": seconds},
    }
    replace(path, nbformat.writes(notebook) + "\n")
    print(f"{path.relative_to(ROOT)}: stored a run of {seconds} s", flush=True)
    return True


def execute(client, manager):
    """Run all cells, and leave no kernel behind, come what may."""
    loop = asyncio.SelectorEventLoop()
    loop.add_signal_handler = no_signal_handler
    task = loop.create_task(client.async_execute(cleanup_kc=True))
    try:
        loop.run_until_complete(task)
    finally:
        task.cancel()
        loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        if manager.has_kernel:
            loop.run_until_complete(manager.shutdown_kernel(now=True))
        loop.close()


def no_signal_handler(*_):
    """Without its own, nbclient leaves Ctrl-C to Python; with it, it takes a dead kernel for one."""
    raise RuntimeError


def told(error):
    """Say what went wrong in plain words."""
    if isinstance(error, CellTimeoutError):
        return f"a cell took more than {SECONDS_PER_CELL} s"
    if isinstance(error, CellExecutionError):
        return "a cell failed"
    return "the kernel died: out of memory, or a crash"


def kernel_manager(folder):
    """A kernel over a socket file: no port to race for, and no notice about open ports."""
    if os.name == "nt" or len(folder.encode()) > 80:  # such a path may have 100 bytes or so
        return AsyncKernelManager(kernel_name="python3")
    return AsyncKernelManager(kernel_name="python3", transport="ipc", ip=f"{folder}/kernel")


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


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(
            "\nStopped. The page that was running keeps its stored run; the same command goes on."
        )
    except OSError as error:
        sys.exit(f"{error}\nWhat was stored before is untouched.")
