"""How nbval runs the chapters, and what it does not compare."""

import os
import tempfile
import time
from queue import Empty

import nbval.kernel
import nbval.plugin
from nbval.plugin import IPyNbFile

from norms.experiments.verdicts import MIME

# The same as in `make run`: one thread, so that results repeat exactly, and no
# progress bars among the outputs.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NORMS_SILENT"] = "1"

# What is measured may differ on another processor. The verdict word, the
# text/plain of a record, is compared. A record's box is HTML, which has exact
# uses as well; tests/nbval_sanitize.cfg leaves out the boxes alone.
MEASURED = ("text/markdown", MIME)


def pytest_collectstart(collector):
    if isinstance(collector, IPyNbFile):
        collector.skip_compare += MEASURED


class SocketFileManager(nbval.kernel.KernelManager):
    """A kernel over a socket file: no port to race for with another kernel."""

    def __init__(self, **options):
        # The path must be absolute: a kernel looks for it in its own folder.
        self.folder = tempfile.TemporaryDirectory(prefix="nbval-")
        path = os.path.join(self.folder.name, "kernel")
        super().__init__(transport="ipc", ip=path, **options)

    def cleanup_resources(self, restart=False):
        super().cleanup_resources(restart=restart)
        if not restart:
            self.folder.cleanup()


class WatchedKernel(nbval.kernel.RunningKernel):
    """Say at once that a kernel died, not after the time of a cell that it was too slow."""

    def get_message(self, stream, timeout=None):
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while True:
            left = end - time.monotonic()
            try:
                return super().get_message(stream, timeout=max(0, min(1, left)))
            except Empty:
                if not self.is_alive():
                    raise RuntimeError(
                        "The kernel died in this cell: out of memory, or a crash."
                    ) from None
                if left <= 1:
                    raise


nbval.plugin.RunningKernel = WatchedKernel
if os.name != "nt":
    nbval.kernel.KernelManager = SocketFileManager
