"""Data to try the package on: ``load_*`` come with a dependency, ``fetch_*`` are installed or downloaded.

Inputs are float32 in [0, 1], of shape (n_samples, n_features); labels are integers.
"""

import gzip
import math
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split

__all__ = ["Dataset", "DatasetError", "fetch_fashion_mnist", "load_digits"]

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")

_N_TRAIN, _N_TEST = 60_000, 10_000
_INSTALL = (
    "Install it from Debian's packages (apt-get install dataset-fashion-mnist), or let openml.org be reached."
)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test rows.

    Parameters
    ----------
    X_train : ndarray of shape (n_samples, n_features)
        Inputs to train on, float32 in [0, 1].
    y_train : ndarray of shape (n_samples,)
        Their labels, int64.
    X_test : ndarray of shape (n_test_samples, n_features)
        Inputs to measure on.
    y_test : ndarray of shape (n_test_samples,)
        Their labels.
    feature_names : tuple of str or None, default=None
        Names of the columns; None: their numbers, from "0".
    """

    X_train: np.ndarray
    y_train: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    feature_names: tuple[str, ...] | None = None


class DatasetError(OSError):
    """A data set can't be had, or its files are broken; the message says what to do."""


def load_digits(*, test_size: float = 1 / 3, random_state: Any = None) -> Dataset:
    """Load scikit-learn's 1797 handwritten digits of 8 x 8 pixels, with a held-out part.

    Parameters
    ----------
    test_size : float, default=1/3
        Share of the rows, in (0, 1), that is held out: the same share of every class.
    random_state : int, RandomState instance or None, default=None
        Determines which.

    Returns
    -------
    digits : Dataset
        With 64 features: grey levels in sixteenths.

    Examples
    --------
    >>> from skantidistill.datasets import load_digits
    >>> digits = load_digits(random_state=0)
    >>> digits.X_train.shape, digits.X_test.shape
    ((1198, 64), (599, 64))
    """
    X, y = datasets.load_digits(return_X_y=True)
    X = X.astype(np.float32) / 16
    X_train, X_test, y_train, y_test = train_test_split(
        X, y, test_size=test_size, stratify=y, random_state=random_state
    )
    return Dataset(X_train, y_train.astype(np.int64), X_test, y_test.astype(np.int64))


def fetch_fashion_mnist(data_home: Any = None) -> Dataset:
    """Load Fashion-MNIST: 60,000 + 10,000 images of clothes, 28 x 28 pixels, 10 classes [1]_.

    Read from where Debian's package ``dataset-fashion-mnist`` puts it; where that is not installed,
    from openml.org, once, by scikit-learn's ``fetch_openml``.

    Parameters
    ----------
    data_home : str or path-like, default=None
        Folder that keeps what was downloaded; None: scikit-learn's.

    Returns
    -------
    fashion_mnist : Dataset
        With 784 features; the rows in their published order.

    Raises
    ------
    DatasetError
        If a file is truncated or corrupt, or the data can be had in neither way.

    References
    ----------
    .. [1] H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST: a novel image dataset for benchmarking
       machine learning algorithms" (2017).
    """
    paths = [
        (DEBIAN_FOLDER / f"{part}-images-idx3-ubyte.gz", DEBIAN_FOLDER / f"{part}-labels-idx1-ubyte.gz")
        for part in ("train", "t10k")
    ]
    if not all(path.exists() for pair in paths for path in pair):
        return _download_fashion_mnist(data_home)
    (X_train, y_train), (X_test, y_test) = (_read_images(*pair) for pair in paths)
    return Dataset(X_train, y_train, X_test, y_test)


def _read_images(images: Path, labels: Path) -> tuple[np.ndarray, np.ndarray]:
    pixels, codes = _read_idx(images, n_dimensions=3), _read_idx(labels, n_dimensions=1)
    if len(pixels) != len(codes):
        raise _broken(images, f"it has {len(pixels)} images, but {labels.name} has {len(codes)} labels")
    return _as_inputs(pixels), codes.astype(np.int64)


def _read_idx(path: Path, n_dimensions: int) -> np.ndarray:
    """Return the bytes of a gzipped IDX file: two zeros, type 8, n_dimensions, big-endian sizes, values."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise _broken(path, f"it can't be unpacked: {error}") from error
    start = 4 * (1 + n_dimensions)
    if content[:4] != bytes([0, 0, 8, n_dimensions]) or len(content) < start:
        raise _broken(path, f"it does not start as an IDX file of bytes in {n_dimensions} dimensions does")
    shape = tuple(np.frombuffer(content, ">u4", n_dimensions, offset=4).tolist())
    if len(content) - start != math.prod(shape):
        raise _broken(
            path, f"its header promises {math.prod(shape)} values, and it holds {len(content) - start}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _download_fashion_mnist(data_home: Any) -> Dataset:
    try:
        with warnings.catch_warnings():
            # scikit-learn warns of every retry; what counts here is the last error.
            warnings.filterwarnings("ignore", message="A network error occurred")
            fetched = datasets.fetch_openml(
                "Fashion-MNIST",
                version=1,
                as_frame=False,
                data_home=data_home,
                # All columns are numbers. Without this word scikit-learn reads the label as a category, and
                # pandas 3 makes numbers of its categories where scikit-learn 1.9 expects strings.
                read_csv_kwargs={"dtype": np.float32, "quotechar": "'"},
            )
    except ImportError as error:
        raise DatasetError(
            f"Reading Fashion-MNIST from openml.org needs pandas ({error}); pip install pandas."
        ) from error
    except (OSError, ValueError, LookupError) as error:
        raise DatasetError(
            f"Fashion-MNIST is not in {DEBIAN_FOLDER}, and openml.org did not give it "
            f"({type(error).__name__}: {error}). {_INSTALL}"
        ) from error
    pixels, labels = np.asarray(fetched.data), np.asarray(fetched.target).astype(np.int64)
    if len(pixels) != _N_TRAIN + _N_TEST:
        raise DatasetError(
            f"openml.org gave {len(pixels)} rows as Fashion-MNIST, not {_N_TRAIN + _N_TEST}. {_INSTALL}"
        )
    X = _as_inputs(pixels)
    return Dataset(X[:_N_TRAIN], labels[:_N_TRAIN], X[_N_TRAIN:], labels[_N_TRAIN:])


def _as_inputs(pixels: np.ndarray) -> np.ndarray:
    """Return pixels 0 .. 255 as rows in [0, 1]."""
    return pixels.reshape(len(pixels), -1).astype(np.float32) / np.float32(255)


def _broken(path: Path, what: str) -> DatasetError:
    return DatasetError(
        f"{path} is broken: {what}. Install it anew: apt-get install --reinstall dataset-fashion-mnist."
    )
