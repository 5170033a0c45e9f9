"""Losses by epoch: of phi, and of the training that follows."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skantidistill.displays.figures import find_axes, make_plain
from skantidistill.summary import TERMS

__all__ = ["ObjectiveDisplay", "TrainingCurveDisplay"]


class ObjectiveDisplay:
    """The terms that phi minimises, by epoch.

    Make one by :meth:`from_estimator`. Every line is a term times its weight, so that they add up to the sum.

    Parameters
    ----------
    history : list of dict
        ``phi_history_`` of a student: a row an epoch with ``train_loss`` and the terms, unweighted.
    weights : dict, name of a term -> float
        Of the terms "ce", "teacher", "noise" and "trace".

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After :meth:`plot`.
    lines_ : dict, name -> matplotlib Line2D
        The terms that took part, and "sum".

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill import AntiDistilledMLPClassifier, ObjectiveDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> teacher = LogisticRegression(max_iter=500).fit(X[y < 5] / 16, y[y < 5])
    >>> student = AntiDistilledMLPClassifier(teacher, tol=0.1, random_state=0).fit(X / 16, y)
    >>> sorted(ObjectiveDisplay.from_estimator(student).lines_)
    ['ce', 'noise', 'sum', 'teacher', 'trace']
    """

    def __init__(self, history: Sequence[Mapping[str, Any]], weights: Mapping[str, float]) -> None:
        self.history = history
        self.weights = weights

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> "ObjectiveDisplay":
        """Draw the history of a fitted student's phi.

        Parameters
        ----------
        estimator : AntiDistilledMLPClassifier
            A fitted student.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : ObjectiveDisplay

        Raises
        ------
        TypeError
            If the estimator has no phi.
        ValueError
            If phi did not run: ``phi_max_iter=0``, no teacher, or no rows that it knows.
        """
        if not hasattr(estimator, "phi_max_iter"):
            raise TypeError(
                f"{type(estimator).__name__} has no phi; give a fitted AntiDistilledMLPClassifier."
            )
        check_is_fitted(estimator)
        weights = {term: getattr(estimator, parameter) for term, (_, parameter) in TERMS.items()}
        return cls(estimator.phi_history_, weights).plot(ax)

    def plot(self, ax: Any = None) -> "ObjectiveDisplay":
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : ObjectiveDisplay
            This one.
        """
        if not self.history:
            raise ValueError(
                "phi did not run (phi_max_iter=0, no teacher, or no rows that it knows), so that there is "
                "nothing to draw."
            )
        self._check_sum()
        ax = find_axes(ax, type(self).__name__, figsize=(6.4, 4.2))
        epochs = np.arange(1, len(self.history) + 1)
        total = [row["train_loss"] for row in self.history]
        settings: dict[str, Any] = {"marker": "o", "markersize": 4}
        (line,) = ax.plot(epochs, total, color="black", label="weighted sum", **settings)
        self.lines_ = {"sum": line}
        for term, (name, _) in TERMS.items():
            if term in self.history[0] and self.weights[term]:
                values = self.weights[term] * np.array([row[term] for row in self.history])
                label = name if self.weights[term] == 1 else f"{self.weights[term]:g} × {name}"
                (self.lines_[term],) = ax.plot(epochs, values, label=label, **settings)
        ax.set(xlabel="epoch of phi", ylabel="loss")
        _whole_epochs(ax)
        make_plain(ax)
        ax.set_ylim(bottom=0)
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _check_sum(self) -> None:
        """Raise if the terms, so weighed, are not what phi minimised."""
        for row in self.history:
            terms = sum(weight * row.get(term, 0.0) for term, weight in self.weights.items())
            if not np.isclose(terms, row["train_loss"], rtol=1e-3):
                names = ", ".join(parameter for _, parameter in TERMS.values())
                raise ValueError(
                    f"The terms, weighed by {self.weights}, do not add up to phi's loss: one of {names} was "
                    "changed since fit; set it back, or fit again."
                )


class TrainingCurveDisplay:
    """Training loss, and accuracy on validation rows where there are some, by epoch.

    Make one by :meth:`from_estimator`; several estimators are drawn into one picture by ``ax=display.ax_``.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        The whole training loss by epoch.
    validation_scores : array-like of shape (n_epochs,), default=None
        Accuracy by epoch, in [0, 1].
    name : str, default=None
        In the legend.

    Attributes
    ----------
    ax_, figure_ : matplotlib Axes and Figure
        After :meth:`plot`.
    validation_ax_ : matplotlib Axes or None
        The axes of the accuracy, at the right.
    line_, validation_line_ : matplotlib Line2D
        Of the loss, and of the accuracy (or None).

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.neural_network import MLPClassifier
    >>> from skantidistill import TrainingCurveDisplay
    >>> model = MLPClassifier(max_iter=500, random_state=0).fit(*load_iris(return_X_y=True))
    >>> TrainingCurveDisplay.from_estimator(model).line_.get_label()
    'MLPClassifier'
    """

    def __init__(self, loss_curve: Any, *, validation_scores: Any = None, name: str | None = None) -> None:
        self.loss_curve = loss_curve
        self.validation_scores = validation_scores
        self.name = name

    @classmethod
    def from_estimator(
        cls, estimator: Any, *, name: str | None = None, ax: Any = None
    ) -> "TrainingCurveDisplay":
        """Draw how a fitted estimator was trained.

        Parameters
        ----------
        estimator : fitted estimator
            One with ``loss_curve_``: an ``AntiDistilledMLPClassifier``, a scikit-learn ``MLPClassifier``.
        name : str, default=None
            In the legend; None: its class.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : TrainingCurveDisplay

        Raises
        ------
        TypeError
            If the estimator has no ``loss_curve_``.
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "loss_curve_"):
            raise TypeError(
                f"{type(estimator).__name__} has no loss_curve_; give a fitted AntiDistilledMLPClassifier or "
                'an MLPClassifier with solver="adam" or "sgd".'
            )
        scores = getattr(estimator, "validation_scores_", None)
        name = name or type(estimator).__name__
        return cls(estimator.loss_curve_, validation_scores=scores, name=name).plot(ax)

    def plot(self, ax: Any = None, **line_settings: Any) -> "TrainingCurveDisplay":
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw the loss; None: a new figure.
        **line_settings
            Of ``matplotlib.axes.Axes.plot``, for the loss.

        Returns
        -------
        display : TrainingCurveDisplay
            Itself.
        """
        ax = find_axes(ax, type(self).__name__, figsize=(6.4, 4.2))
        epochs = np.arange(1, len(self.loss_curve) + 1)
        (self.line_,) = ax.plot(epochs, self.loss_curve, **{"label": self.name, **line_settings})
        ax.set(xlabel="epoch", ylabel="training loss")
        _whole_epochs(ax)
        make_plain(ax)
        self.validation_ax_ = self.validation_line_ = None
        if self.validation_scores is not None:
            right = self.validation_ax_ = _right_axes(ax)
            color = self.line_.get_color()
            (self.validation_line_,) = right.plot(
                epochs[-len(self.validation_scores) :], self.validation_scores, color=color, linestyle="--"
            )
            right.set_ylabel("accuracy on validation rows (dashed)")
            right.yaxis.set_major_formatter("{x:.1%}")
            right.spines["top"].set_visible(False)
        if self.name:
            ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _right_axes(ax: Any) -> Any:
    """Return the axes at the right, which another display may have made."""
    for other in ax.figure.axes:
        if (
            other is not ax
            and ax.get_shared_x_axes().joined(ax, other)
            and other.bbox.bounds == ax.bbox.bounds
        ):
            return other
    return ax.twinx()


def _whole_epochs(ax: Any) -> None:
    ax.xaxis.get_major_locator().set_params(integer=True)
