"""Install bubblewrap, in which the grader runs what students send, where that can be done here.

Where it cannot, nothing is said: `python -m classroom sandbox` and the tests name the cure.
"""

import os
import shutil
import subprocess

from environment import plainly


def main():
    root = getattr(os, "geteuid", lambda: 1)() == 0
    if shutil.which("bwrap") or not root or not shutil.which("apt-get"):
        return
    print("No bubblewrap here: installing Debian's (apt-get install bubblewrap) …", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update"], ["install", "-y", "--no-install-recommends", "bubblewrap"]):
        subprocess.run(["apt-get", "-qq", *command], env=environment, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    plainly(main)
