"""Score by strength of a perturbation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from skantidistill._checks import quoted
from skantidistill.displays.figures import find_axes, make_plain
from skantidistill.robustness import RobustnessCurve, robustness_curve

__all__ = ["RobustnessCurveDisplay"]

_TITLES = {
    "certified": "epsilon, largest change of a feature",
    "fgsm": "epsilon of the fast gradient (sign) attack",
    "input_noise": "epsilon of noise in the inputs",
    "parameter_noise": "epsilon of noise in the parameters",
    "pgd": "epsilon of projected gradient ascent",
}
_MARKERS = "osv^DPX*"


class RobustnessCurveDisplay:
    """Score by strength of a perturbation, for one estimator or several.

    Make one by :meth:`from_estimator` or :meth:`from_curve`. Several curves of one name, as of students with
    several seeds, are drawn as their mean, and a band of one standard deviation around it; a single curve of
    a kind with draws, as the mean over its draws with their band.

    Parameters
    ----------
    curves : dict, name -> list of RobustnessCurve
        What is drawn: a line a name, through curves of one kind and of the same scalar epsilons.
    certificates : dict, name -> list of RobustnessCurve, default=None
        Certified curves; the area below is shaded: no attack brings the accuracy there.
    score_name : str, default="Accuracy"
        What the curves measure.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the curves, after :meth:`plot`.
    figure_ : matplotlib Figure
        That of ``ax_``.
    lines_ : list of matplotlib Line2D
        One a name.
    bands_ : list of matplotlib FillBetweenPolyCollection or None
        One a name; None where there is one curve without draws.
    certificates_ : list of matplotlib FillBetweenPolyCollection or None
        One a name.

    See Also
    --------
    skantidistill.robustness_curve : Measures what is drawn here.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.linear_model import LogisticRegression
    >>> from skantidistill import RobustnessCurveDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = LogisticRegression(max_iter=500).fit(X, y)
    >>> display = RobustnessCurveDisplay.from_estimator(model, X, y, epsilons=[0, 0.2, 0.4], certificate=True)
    >>> display.lines_[0].get_label()
    'LogisticRegression'
    """

    def __init__(
        self,
        curves: Mapping[str, Sequence[RobustnessCurve]],
        *,
        certificates: Mapping[str, Sequence[RobustnessCurve]] | None = None,
        score_name: str = "Accuracy",
    ) -> None:
        self.curves = curves
        self.certificates = certificates
        self.score_name = score_name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        kind: str = "fgsm",
        epsilons: Any = None,
        *,
        certificate: bool = False,
        name: str | None = None,
        score_name: str | None = None,
        ax: Any = None,
        **settings: Any,
    ) -> "RobustnessCurveDisplay":
        """Measure one or several fitted estimators, and draw.

        Parameters
        ----------
        estimator : fitted estimator, or dict of name -> estimator or list of estimators
            Any that :func:`~skantidistill.teachers.read_teacher` reads; a list stands for one estimator with
            several seeds.
        X, y, kind, epsilons
            As in :func:`skantidistill.robustness_curve`.
        certificate : bool, default=False
            Whether to certify the same epsilons, too, and shade the area below; not for noise nor
            ``norm="l2"``.
        name : str, default=None
            Name of a single estimator; None: its class.
        score_name : str, default=None
            What is measured; None: "Accuracy", or the name that ``scoring`` is given by.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **settings
            Of :func:`skantidistill.robustness_curve`; without ``bounds`` a student has its own.

        Returns
        -------
        display : RobustnessCurveDisplay

        Raises
        ------
        ImportError
            If matplotlib is not installed.
        TypeError, ValueError
            As :func:`skantidistill.robustness_curve`.
        """
        named = _by_name(estimator, name)
        curves = {n: [_measure(e, X, y, kind, epsilons, **settings) for e in some] for n, some in named}
        certificates = None
        if certificate:
            if kind not in ("fgsm", "pgd", "certified") or settings.get("norm", "linf") == "l2":
                raise ValueError(
                    f"certificate=True is for attacks within norm='linf', not for kind={kind!r} with "
                    f"norm={settings.get('norm')!r}; leave it out."
                )
            if settings.get("scoring") not in (None, "accuracy"):
                raise ValueError(
                    f"certificate=True certifies accuracy, not scoring={settings['scoring']!r}; leave one "
                    "of them out."
                )
            shared = {s: settings[s] for s in ("mutable", "bounds", "sample_weight") if s in settings}
            certificates = {
                n: [_measure(e, X, y, "certified", epsilons, **shared) for e in some] for n, some in named
            }
        scoring = settings.get("scoring")
        label = score_name or (scoring if isinstance(scoring, str) else "Score" if scoring else "Accuracy")
        return cls(curves, certificates=certificates, score_name=label).plot(ax)

    @classmethod
    def from_curve(
        cls,
        curve: Any,
        *,
        certificate: Any = None,
        name: str | None = None,
        score_name: str = "Accuracy",
        ax: Any = None,
    ) -> "RobustnessCurveDisplay":
        """Draw what was measured before.

        Parameters
        ----------
        curve : RobustnessCurve, or dict of name -> RobustnessCurve or list of them
            A list stands for one estimator with several seeds.
        certificate : like ``curve``, default=None
            Certified curves, under the same names.
        name : str, default=None
            Name of a single curve; None: its kind.
        score_name : str, default="Accuracy"
            What is measured.
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.

        Returns
        -------
        display : RobustnessCurveDisplay
        """
        name = name or getattr(curve, "kind", None)
        certificates = None if certificate is None else dict(_by_name(certificate, name))
        return cls(dict(_by_name(curve, name)), certificates=certificates, score_name=score_name).plot(ax)

    def plot(self, ax: Any = None, **line_settings: Any) -> "RobustnessCurveDisplay":
        """Draw, on new axes or on given ones.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Where to draw; None: a new figure.
        **line_settings
            Of ``matplotlib.axes.Axes.plot``, for every line.

        Returns
        -------
        display : RobustnessCurveDisplay
            Itself.
        """
        kind = self._check()
        ax = find_axes(ax, type(self).__name__, figsize=(6.4, 4.2))
        self.lines_, self.bands_, self.certificates_ = [], [], []
        for number, (name, curves) in enumerate(self.curves.items()):
            epsilons, mean, std = _mean_and_std(curves)
            settings = {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 5, "label": name}
            (line,) = ax.plot(epsilons, mean, **{**settings, **line_settings})
            self.lines_.append(line)
            shade = {"color": line.get_color(), "linewidth": 0}
            band = (
                None if std is None else ax.fill_between(epsilons, mean - std, mean + std, alpha=0.2, **shade)
            )
            self.bands_.append(band)
            certified = None
            if self.certificates is not None:
                certified = ax.fill_between(
                    *_mean_and_std(self.certificates[name])[:2],
                    alpha=0.15,
                    label=f"{name}, certified",
                    **shade,
                )
            self.certificates_.append(certified)
        ax.set(xlabel=_TITLES[kind], ylabel=self.score_name)
        if epsilons[0] < epsilons[-1]:
            ax.set_xlim(*ax.dataLim.intervalx)  # that of all displays on these axes
        if self.score_name == "Accuracy":
            ax.set_ylim(0, 1)
            ax.yaxis.set_major_formatter("{x:.0%}")
        make_plain(ax)
        ax.legend(frameon=False)
        self.ax_, self.figure_ = ax, ax.figure
        return self

    def _check(self) -> str:
        """Return the kind of the curves, which have one, and the same epsilons."""
        for name, given in {"curves": self.curves, "certificates": self.certificates or {}}.items():
            lists = list(given.values()) if isinstance(given, dict) else [None]
            if not all(isinstance(some, (list, tuple)) for some in lists):
                raise TypeError(
                    f"{name}={quoted(given)} must be a dict of names and lists of curves, such as "
                    "{'student': [robustness_curve(student, X, y)]}."
                )
        curves = [curve for some in self.curves.values() for curve in some]
        if not curves:
            raise ValueError("curves is empty; give at least one name with one curve.")
        kinds = {curve.kind for curve in curves}
        if len(kinds) > 1:
            raise ValueError(
                f"curves are of the kinds {sorted(kinds)}, which one axis can't have; draw them apart."
            )
        certificates = self.certificates or {}
        everything = [*curves, *(curve for some in certificates.values() for curve in some)]
        for curve in everything:
            if curve.epsilons.ndim > 1:
                raise ValueError(
                    "epsilons with one value a feature can't be drawn along one axis; draw curve.scores over "
                    "the factor that they grow by."
                )
            if not np.array_equal(curve.epsilons, curves[0].epsilons):
                raise ValueError("All curves and certificates must have the same epsilons.")
        if self.certificates is not None and set(certificates) != set(self.curves):
            raise ValueError(
                f"certificates have the names {sorted(certificates)}, curves {sorted(self.curves)}; give "
                "one each."
            )
        return curves[0].kind


def _measure(estimator: Any, *arguments: Any, **settings: Any) -> RobustnessCurve:
    """Return the curve of an estimator; a student measures itself, within its own bounds."""
    if hasattr(estimator, "robustness_curve"):
        return estimator.robustness_curve(*arguments, **settings)
    return robustness_curve(estimator, *arguments, **settings)


def _by_name(given: Any, name: str | None) -> list[tuple[str, list[Any]]]:
    """Return pairs of a name and a list."""
    if not isinstance(given, Mapping):
        given = {name or type(given).__name__: given}
    return [(str(n), list(some) if isinstance(some, (list, tuple)) else [some]) for n, some in given.items()]


def _mean_and_std(curves: Sequence[RobustnessCurve]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Return epsilons, scores, and their deviation over curves, or else over draws; None: there is one."""
    repeats = curves[0].draws if len(curves) == 1 else np.column_stack([curve.scores for curve in curves])
    std = repeats.std(axis=1, ddof=1) if repeats.shape[1] > 1 else None
    order = np.argsort(curves[0].epsilons, kind="stable")
    return curves[0].epsilons[order], repeats.mean(axis=1)[order], None if std is None else std[order]
