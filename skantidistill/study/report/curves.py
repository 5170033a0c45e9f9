"""Figures of a study that are curves: accuracy by epoch, by strength, and by the rows of D2."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from skantidistill._checks import import_optional
from skantidistill.study.measure import CRITERIA, N_STRENGTHS, Criterion
from skantidistill.study.protocols import Protocol
from skantidistill.study.report.pictures import USER, Label, Panel, Picture, label_beside
from skantidistill.study.report.styles import style_of
from skantidistill.study.report.tables import Studied, groups_made, short_name
from skantidistill.study.statistics import summarise

__all__ = ["FIRMNESS", "Curve", "draw_epochs", "draw_rows", "draw_strengths", "few_ticks", "mean_curve"]

Row = Mapping[str, Any]

BAND = "Bands: one standard deviation over seeds."
#: The three criteria of the paper.
FIRMNESS = tuple(c for c in CRITERIA if c.column in ("accuracy", "fgsm", "parameter_noise"))
SPOKEN = {"accuracy": "accuracy", "fgsm": "accuracy under FGSM", "parameter_noise": "accuracy under noise"}
ERRORS = (0.9, 0.75, 0.5, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01)  # where a scale that is stretched has its ticks
FLOOR = 0.004  # of an error on that scale: all is right at the top


class Curve(NamedTuple):
    """Mean and sample standard deviation over seeds, point by point; NaN for a single seed."""

    x: np.ndarray
    mean: np.ndarray
    spread: np.ndarray


def mean_curve(rows: Sequence[Row], method: str, x: str | np.ndarray, y: str) -> Curve:
    """Return a method's mean curve over seeds.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table.
    method : str
        One of its methods.
    x : str or ndarray
        A column of lists, or the points that all seeds share.
    y : str
        A column of lists.

    Returns
    -------
    curve : Curve
        Points are averaged one by one. Where seeds have different numbers of points, all are read off their
        lines at the points of the first.
    """
    own = [row for row in rows if row["method"] == method]
    xs = [np.asarray(row[x] if isinstance(x, str) else x, dtype=float) for row in own]
    ys = [np.asarray(row[y], dtype=float) for row in own]
    if len(set(map(len, xs))) > 1:
        ys = [np.interp(xs[0], *pair) for pair in zip(xs, ys, strict=True)]
        xs = xs[:1]
    spread = np.std(ys, axis=0, ddof=1) if len(ys) > 1 else np.full(len(ys[0]), math.nan)
    return Curve(np.mean(xs, axis=0), np.mean(ys, axis=0), spread)


def draw_epochs(studied: Studied) -> Picture:
    """Return the accuracy by epoch over D2, a panel a group."""
    rows, protocol, _ = studied

    def panel(methods: Sequence[str]) -> Any:
        def draw(ax: Any) -> None:
            curves = {m: mean_curve(rows, m, "curve_epochs", "curve_accuracy") for m in methods}
            ax.set_yscale("function", functions=(_stretched, _squeezed))
            _draw_curves(ax, curves)
            shown = [error for error in ERRORS if ax.get_ylim()[0] <= 1 - error <= ax.get_ylim()[1]]
            ax.set_yticks([1 - error for error in shown], [f"{1 - error:.2f}" for error in shown])
            ax.minorticks_off()
            ax.set(xlabel="epochs over D2, phi's steps counted", ylabel="accuracy")

        return draw

    return Picture(
        "accuracy-by-epoch",
        "Accuracy by epoch",
        "Accuracy on held-out rows while training goes on; a curve with phi begins behind phi's steps. The "
        f"scale is stretched towards 1, where rows differ. {BAND}",
        tuple(Panel(title, panel(methods)) for title, methods in panels_of(rows, protocol)),
    )


def draw_strengths(studied: Studied, criterion: Criterion) -> Picture:
    """Return the accuracy by the strength of a perturbation, a panel a group."""
    rows, protocol, _ = studied
    strengths = np.linspace(0, getattr(protocol, criterion.strength), N_STRENGTHS)
    what = {
        "fgsm": ("FGSM", "epsilon of FGSM"),
        "parameter_noise": ("noise in the parameters", "epsilon of the noise in every parameter"),
    }
    name, label = what[criterion.column]

    def panel(methods: Sequence[str]) -> Any:
        def draw(ax: Any) -> None:
            curves = {m: mean_curve(rows, m, strengths, f"{criterion.column}_curve") for m in methods}
            _draw_curves(ax, curves)
            ax.xaxis.set_major_locator(few_ticks())
            ax.set(xlabel=label, ylabel="accuracy")

        return draw

    return Picture(
        f"accuracy-by-{criterion.column.replace('_', '-')}",
        f"Accuracy by strength of {name}",
        f"Accuracy on held-out rows under {name}; the last point is the tables' column. "
        f"Each panel has a scale of its own. {BAND}",
        tuple(Panel(title, panel(methods)) for title, methods in panels_of(rows, protocol)),
    )


def draw_rows(studies: Sequence[Studied]) -> Picture:
    """Return the paper's three criteria by the rows of D2: a panel a criterion and group.

    The studies are those of one command, which differ in ``rows``.
    """

    def panel(criterion: Criterion, methods: Sequence[str]) -> Any:
        def draw(ax: Any) -> None:
            curves = {method: _by_rows(studies, method, criterion.column) for method in methods}
            ax.set_xscale("log")
            _draw_curves(ax, {method: curve for method, curve in curves.items() if len(curve.x)})
            ticks = sorted({float(x) for curve in curves.values() for x in curve.x})
            ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            ax.minorticks_off()
            ax.set(xlabel="rows of D2", ylabel=SPOKEN[criterion.column])

        return draw

    groups = {title: ms for study in studies for title, ms in panels_of(study.rows, study.protocol)}
    panels = [
        Panel(f"{title}: {criterion.heading}", panel(criterion, methods))
        for title, methods in groups.items()
        for criterion in FIRMNESS
    ]
    return Picture(
        "criteria-by-rows",
        "The criteria by rows of D2",
        f"Every point is a study of its own, with that many rows to learn from (log scale). {BAND}",
        tuple(panels),
        n_columns=3,
    )


def panels_of(rows: Sequence[Row], protocol: Protocol) -> list[tuple[str, tuple[str, ...]]]:
    """Return title and methods of a panel for every group of the tables."""
    return [
        (title.capitalize() + (", on D1+D2" if group.subject.endswith("D1+D2") else ""), group.rows)
        for title, groups in groups_made(rows, protocol).items()
        for group in groups
    ]


def _by_rows(studies: Sequence[Studied], method: str, column: str) -> Curve:
    """Return a criterion's mean and spread by the number of rows."""
    points = []
    for rows, _, _ in studies:
        summary, n_rows = summarise(rows, column), summarise(rows, "n_rows")
        if method in summary:
            points.append((n_rows[method][0], *summary[method]))
    return Curve(*np.array(sorted(points)).reshape(-1, 3).T)


def _draw_curves(ax: Any, curves: Mapping[str, Curve]) -> None:
    """Draw curves with bands, and write their names at their ends; AD's is in front."""
    for method, (x, mean, spread) in curves.items():
        style, first = style_of(method), short_name(method) == "AD"
        few = len(x) <= N_STRENGTHS
        ax.plot(
            x,
            mean,
            color=style.color,
            linestyle=style.dashes,
            lw=2.4 if first else 1.2,
            marker=style.marker if few else "none",
            markersize=4.5 if first else 3.2,
            zorder=5 if first else 3,
            label=method,
        )
        if not np.isnan(spread).any():
            ax.fill_between(
                x, mean - spread, mean + spread, color=style.color, alpha=0.18 if first else 0.09, lw=0
            )
    ends = [
        Label(
            curve.x[-1],
            curve.mean[-1],
            short_name(method),
            style_of(method).color,
            short_name(method) == "AD",
        )
        for method, curve in curves.items()
    ]
    ax.margins(x=0.02)
    if ax.get_yscale() == "function":
        _fit_stretched(ax, curves)
    else:
        ax.yaxis.set_major_locator(few_ticks())
    ax.set(xlim=ax.get_xlim(), ylim=ax.get_ylim())
    label_beside(ax, ends)


def _fit_stretched(ax: Any, curves: Mapping[str, Curve]) -> None:
    """Leave out what is far below: the first steps, when all is still wrong."""
    ends = [curve.mean[-1] for curve in curves.values()]
    starts = [curve.mean[0] for curve in curves.values()]
    low = min(min(ends) - 0.02, max(min(starts), 0.1))
    ax.set_ylim(max(low, 0.0), min(1.0, _squeezed(_stretched(np.array(max(ends))) + 0.12)))


def _stretched(accuracy: Any) -> Any:
    return -np.log10(np.maximum(1 - np.asarray(accuracy), 0) + FLOOR)


def _squeezed(height: Any) -> Any:
    return 1 + FLOOR - 10.0 ** -np.asarray(height)


def few_ticks(most: int = 6) -> Any:
    """Return a locator of round numbers."""
    ticker = import_optional("matplotlib.ticker", "matplotlib", USER)
    return ticker.MaxNLocator(most, steps=[1, 2, 5, 10])
