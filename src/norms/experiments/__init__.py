"""What the chapters run: seeded, offline, sized for two CPU cores.

Importing it sets torch to one thread, or to ``NORMS_THREADS``: sums are then taken in the same
order on every run, so a machine repeats its results exactly, and many small operations are
faster so. Arms that run side by side are processes of so many threads each.
"""

import os

import torch

torch.set_num_threads(int(os.environ.get("NORMS_THREADS", "1")))
