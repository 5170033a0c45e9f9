"""Data are what their sources hold, and broken or missing sources are named."""

import gzip
import hashlib
import io
import json
import re
import struct
import sys
from urllib.error import URLError

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn import datasets as sklearn_datasets

from skantidistill import datasets
from skantidistill.datasets import DatasetError, fetch_fashion_mnist, load_digits

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 5, 4), dtype=np.uint8)
LABELS = np.arange(12, dtype=np.uint8) % 10
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


def write_idx(path, values, kind=8, shape=None):
    shape = values.shape if shape is None else shape
    header = bytes([0, 0, kind, len(shape)]) + struct.pack(f">{len(shape)}I", *shape)
    path.write_bytes(gzip.compress(header + values.tobytes()))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as Debian's package lays it out: 12 training and 5 test images."""
    for part, n in (("train", 12), ("t10k", 5)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", IMAGES[:n])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", LABELS[:n])
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path)
    return tmp_path


@pytest.fixture
def openml(tmp_path, monkeypatch):
    """Stands in for openml.org, where no Debian package is: 70,000 images of three pixels."""
    monkeypatch.setattr(datasets, "DEBIAN_FOLDER", tmp_path / "nothing")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    site = OpenML(70_000)
    monkeypatch.setattr("sklearn.datasets._openml.urlopen", site.open)
    return site


class OpenML:
    """Answers requests as openml.org does."""

    def __init__(self, n_rows):
        self.requests, self.reachable, self.quote = [], True, ""
        self.resize(n_rows)

    def resize(self, n_rows):
        rng = np.random.default_rng(1)
        self.pixels, self.labels = rng.integers(0, 256, (n_rows, 3)), rng.integers(0, 10, n_rows)

    def open(self, request, *args, **kwargs):
        url = request.full_url
        self.requests.append(url)
        if not self.reachable:
            raise URLError("Network is unreachable")
        answer = self.arff() if url.endswith(".arff") else json.dumps(self.answer(url)).encode()
        response = io.BytesIO(answer)
        response.info = dict
        return response

    def arff(self):
        names = [f"@ATTRIBUTE pixel{i} REAL" for i in (1, 2, 3)] + ["@ATTRIBUTE class {0,1,2,3,4,5,6,7,8,9}"]
        labels = [f"{self.quote}{label}{self.quote}" for label in self.labels]
        rows = [f"{a},{b},{c},{label}" for (a, b, c), label in zip(self.pixels, labels, strict=True)]
        lines = ["@RELATION Fashion-MNIST", *names, "@DATA", *rows]
        return "\n".join(lines).encode()

    def answer(self, url):
        if "/data_name/fashion-mnist/" in url and url.endswith("/data_version/1"):
            return {"data": {"dataset": [{"did": 40996, "name": "Fashion-MNIST", "version": 1}]}}
        if url.endswith("/data/features/40996"):
            plain = {"is_ignore": "false", "is_row_identifier": "false", "number_of_missing_values": "0"}
            features = [
                {"index": str(i), "name": name, "data_type": kind, "is_target": target, **plain}
                for i, (name, kind, target) in enumerate(
                    [(f"pixel{i}", "numeric", "false") for i in (1, 2, 3)] + [("class", "nominal", "true")]
                )
            ]
            return {"data_features": {"feature": features}}
        if url.endswith("/data/qualities/40996"):
            quality = {"name": "NumberOfInstances", "value": str(float(len(self.pixels)))}
            return {"data_qualities": {"quality": [quality]}}
        assert url.endswith("/data/40996"), url
        description = {
            "id": "40996",
            "name": "Fashion-MNIST",
            "version": "1",
            "status": "active",
            "format": "ARFF",
            "description": "Clothes",
            "url": "https://api.openml.org/data/v1/download/18238735/Fashion-MNIST.arff",
            "md5_checksum": hashlib.md5(self.arff()).hexdigest(),
        }
        return {"data_set_description": description}


def test_digits_are_every_row_once_in_the_same_shares_of_classes():
    X, y = sklearn_datasets.load_digits(return_X_y=True)
    digits = load_digits(random_state=3)
    got = np.vstack([digits.X_train, digits.X_test]) * 16
    labels = np.concatenate([digits.y_train, digits.y_test])
    assert sorted(map(tuple, np.column_stack([got, labels]))) == sorted(map(tuple, np.column_stack([X, y])))
    assert digits.X_train.dtype == digits.X_test.dtype == np.float32
    assert 0 == digits.X_train.min() < digits.X_train.max() == 1
    assert_array_equal(np.bincount(digits.y_test), np.round(np.bincount(y) / 3))


def test_digits_are_split_by_the_seed():
    one, same, other = (load_digits(random_state=seed) for seed in (0, 0, 1))
    assert_array_equal(one.X_test, same.X_test)
    assert not np.array_equal(one.X_test, other.X_test)


def test_idx_files_give_their_pixels_and_labels(folder):
    fashion = fetch_fashion_mnist()
    assert_array_equal(fashion.X_train * 255, IMAGES.reshape(12, 20).astype(np.float32))
    assert_array_equal(fashion.X_test, fashion.X_train[:5])
    assert_array_equal(fashion.y_train, LABELS)
    assert_array_equal(fashion.y_test, LABELS[:5])
    assert (fashion.X_train.dtype, fashion.y_test.dtype) == (np.float32, np.int64)


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


BROKEN = {
    "empty": lambda path: path.write_bytes(b""),
    "no gzip": lambda path: path.write_bytes(b"<html>Not found</html>"),
    "cut": cut,
    "one byte wrong": flip,
    "header only in part": lambda path: path.write_bytes(gzip.compress(bytes([0, 0, 8, 3, 0]))),
    "other numbers": lambda path: write_idx(path, IMAGES, kind=13),
    "other dimensions": lambda path: write_idx(path, IMAGES[0]),
    "fewer values": lambda path: write_idx(path, IMAGES, shape=(12, 5, 5)),
    "more values": lambda path: write_idx(path, IMAGES, shape=(12, 5, 3)),
    "fewer images": lambda path: write_idx(path, IMAGES[:11]),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_idx_file_is_named_with_the_remedy(folder, damage):
    BROKEN[damage](folder / TRAIN_IMAGES)
    with pytest.raises(DatasetError, match=re.escape(f"{folder / TRAIN_IMAGES} is broken: ")) as caught:
        fetch_fashion_mnist()
    assert "apt-get install --reinstall dataset-fashion-mnist" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(not datasets.DEBIAN_FOLDER.exists(), reason="dataset-fashion-mnist is not installed")
def test_the_package_of_debian_has_the_published_rows():
    fashion = fetch_fashion_mnist()
    assert (fashion.X_train.shape, fashion.X_test.shape) == ((60_000, 784), (10_000, 784))
    assert_array_equal(np.bincount(fashion.y_train), np.full(10, 6_000))
    assert_array_equal(np.bincount(fashion.y_test), np.full(10, 1_000))
    assert_array_equal(fashion.y_train[:5], [9, 0, 0, 3, 0])


@pytest.mark.parametrize("quote", ["", "'"])
def test_openml_gives_the_first_60000_rows_for_training(openml, tmp_path, quote):
    openml.quote = quote
    fashion = fetch_fashion_mnist(data_home=tmp_path)
    assert_array_equal(fashion.X_train * 255, openml.pixels[:60_000])
    assert_array_equal(fashion.X_test * 255, openml.pixels[60_000:])
    assert_array_equal(fashion.y_train, openml.labels[:60_000])
    assert_array_equal(fashion.y_test, openml.labels[60_000:])
    assert (fashion.X_train.dtype, fashion.y_test.dtype) == (np.float32, np.int64)


def test_what_was_downloaded_is_kept(openml, tmp_path):
    first = fetch_fashion_mnist(data_home=tmp_path)
    openml.reachable = False
    asked = len(openml.requests)
    second = fetch_fashion_mnist(data_home=tmp_path)
    assert asked == len(openml.requests) > 0
    assert_array_equal(first.X_test, second.X_test)


def test_without_package_and_network_the_error_says_what_to_install(openml, tmp_path):
    openml.reachable = False
    with pytest.raises(DatasetError, match=re.escape("Network is unreachable")) as caught:
        fetch_fashion_mnist(data_home=tmp_path)
    assert "apt-get install dataset-fashion-mnist" in str(caught.value)


def test_other_data_under_the_name_are_refused(openml, tmp_path):
    openml.resize(500)
    with pytest.raises(DatasetError, match=re.escape("openml.org gave 500 rows as Fashion-MNIST, not 70000")):
        fetch_fashion_mnist(data_home=tmp_path)


def test_without_pandas_the_error_says_so(openml, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(DatasetError, match=re.escape("pip install pandas")):
        fetch_fashion_mnist(data_home=tmp_path)
