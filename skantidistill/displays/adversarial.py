"""Rows that are pictures, before and after an attack."""

import math
from typing import Any

import numpy as np
from scipy.sparse import issparse

from skantidistill._checks import quoted
from skantidistill.displays.figures import find_axes
from skantidistill.robustness import adversarial_examples
from skantidistill.teachers import read_teacher

__all__ = ["AdversarialExamplesDisplay"]

MOST_ROWS = 40
_ROWS = ("clean", "change", "attacked")


class AdversarialExamplesDisplay:
    """Pictures, what an attack adds to them, and what comes out.

    Make one by :meth:`from_estimator`. Above a clean picture stands its label, above an attacked one the
    prediction, red where it is wrong.

    Parameters
    ----------
    X, X_adversarial : ndarray of shape (n_examples, n_features)
        Rows, and the attacked ones.
    y, y_adversarial : ndarray of shape (n_examples,)
        Labels, and what is predicted for the attacked rows.
    image_shape : tuple of int
        (height, width) of a row.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes, of shape (3, n_examples)
        Clean rows, changes and attacked rows, after :meth:`plot`.
    figure_ : matplotlib Figure
        That of the axes.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill import AdversarialExamplesDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500).fit(X[100:] / 16, y[100:])
    >>> display = AdversarialExamplesDisplay.from_estimator(model, X[:6] / 16, y[:6], epsilon=0.1)
    >>> display.axes_.shape
    (3, 6)
    """

    def __init__(
        self,
        X: np.ndarray,
        X_adversarial: np.ndarray,
        y: Any,
        y_adversarial: Any,
        image_shape: tuple[int, int],
    ) -> None:
        self.X = X
        self.X_adversarial = X_adversarial
        self.y = y
        self.y_adversarial = y_adversarial
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        kind: str = "fgsm",
        epsilon: Any = 0.1,
        *,
        image_shape: tuple[int, int] | None = None,
        **settings: Any,
    ) -> "AdversarialExamplesDisplay":
        """Attack some rows of a fitted estimator, and draw them.

        Parameters
        ----------
        estimator, X, y, kind, epsilon
            As in :func:`skantidistill.adversarial_examples`; every row becomes a column of pictures.
        image_shape : tuple of int, default=None
            (height, width) of a row; None: a square.
        **settings
            Of :func:`skantidistill.adversarial_examples`; without ``bounds`` a student has its own.

        Returns
        -------
        display : AdversarialExamplesDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        ValueError
            If there are more than 40 rows or ``image_shape`` does not hold the features, and as
            :func:`skantidistill.adversarial_examples`.
        """
        if np.ndim(X) != 2 and not issparse(X):
            raise ValueError(
                f"X has shape {np.shape(X)}; give rows, of shape (n_samples, n_features): images become "
                "rows by X.reshape(len(X), -1), one row x by [x]."
            )
        n_rows = X.shape[0] if issparse(X) else len(X)
        if n_rows > MOST_ROWS:
            raise ValueError(
                f"X has {n_rows} rows, and each becomes a column of pictures; give at most {MOST_ROWS}, such "
                "as X[:8] and y[:8]."
            )
        shape = _check_shape(image_shape, X.shape[1] if issparse(X) else np.shape(X)[-1])
        if hasattr(estimator, "adversarial_examples"):  # a student's own bounds
            moved = estimator.adversarial_examples(X, y, kind, epsilon, **settings)
        else:
            moved = adversarial_examples(estimator, X, y, kind, epsilon, **settings)
        blueprint = read_teacher(estimator)
        predicted = blueprint.classes[blueprint.logits(moved).argmax(axis=1)]
        clean = X.toarray() if issparse(X) else np.asarray(X)
        return cls(clean, moved, np.asarray(y), predicted, shape).plot()

    def plot(self) -> "AdversarialExamplesDisplay":
        """Draw into a new figure.

        Returns
        -------
        display : AdversarialExamplesDisplay
            This one.
        """
        n = len(self.X)
        height, width = self.image_shape
        size = (1.1 * n + 0.4, 1.1 * 3 * height / width + 0.6)
        self.axes_ = find_axes(None, type(self).__name__, nrows=3, ncols=n, squeeze=False, figsize=size)
        change = self.X_adversarial - self.X
        both = np.concatenate([self.X, self.X_adversarial])
        grey = {"cmap": "gray_r", "vmin": both.min(), "vmax": both.max()}
        most = max(abs(change).max(), np.finfo(np.float32).tiny)
        settings = [grey, {"cmap": "RdBu_r", "vmin": -most, "vmax": most}, grey]
        for axes, name, rows, colours in zip(
            self.axes_, _ROWS, (self.X, change, self.X_adversarial), settings, strict=True
        ):
            axes[0].set_ylabel(name)
            for ax, row in zip(axes, rows, strict=True):
                ax.imshow(row.reshape(self.image_shape), **colours)
                ax.set(xticks=[], yticks=[])
        for column in range(n):
            label, predicted = self.y[column], self.y_adversarial[column]
            self.axes_[0, column].set_title(str(label))
            self.axes_[2, column].set_title(
                str(predicted), color="black" if predicted == label else "tab:red"
            )
        self.figure_ = self.axes_[0, 0].figure
        return self


def _check_shape(image_shape: Any, n_features: int) -> tuple[int, int]:
    if image_shape is None:
        side = math.isqrt(n_features)
        if side**2 != n_features:
            raise ValueError(
                f"X has {n_features} features, which are no square; give image_shape=(height, width)."
            )
        return side, side
    pair = image_shape if isinstance(image_shape, (tuple, list)) else ()
    if len(pair) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in pair):
        raise ValueError(
            f"image_shape={quoted(image_shape)} must be a pair (height, width) of positive integers, such as "
            f"(1, {n_features})."
        )
    height, width = image_shape
    if height * width != n_features:
        raise ValueError(
            f"image_shape={tuple(image_shape)} has {height * width} pixels, but X has {n_features} features; "
            "give (height, width) with that product."
        )
    return height, width
