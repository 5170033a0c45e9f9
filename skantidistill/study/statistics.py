"""What the rows of a study say: means, paired differences with intervals, and how soon a row was as good."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

__all__ = ["Difference", "best_of", "compare", "paired", "summarise", "time_to_reach"]

Row = Mapping[str, Any]

LEVEL = 0.95
ROUNDING = 1e-9  # half-widths below come of equal differences


@dataclass(frozen=True)
class Difference:
    """Mean paired difference over seeds, and the half-width of its 95 % interval (NaN for a single seed)."""

    mean: float
    half_width: float

    @property
    def verdict(self) -> str:
        """Whether the first "wins", "loses" or "ties": the interval is above 0, below it, or neither.

        Seeds that all differ by the same, as on few test rows, say nothing of chance: a tie, too.
        """
        if math.isnan(self.half_width):
            return "1 seed"
        if abs(self.mean) > self.half_width > ROUNDING:
            return "wins" if self.mean > 0 else "loses"
        return "ties"


def summarise(rows: Sequence[Row], column: str) -> dict[str, tuple[float, float]]:
    """Return mean and sample standard deviation of a column over seeds, by method.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run_study` returns.
    column : str
        One of its columns.

    Returns
    -------
    summary : dict, method -> (mean, standard deviation)
        In the order of the rows; the deviation of a single seed is NaN.

    Examples
    --------
    >>> from skantidistill.study import summarise
    >>> rows = [{"method": "AD", "seed": seed, "steps": 10 + 2 * seed} for seed in (0, 1, 2)]
    >>> summarise(rows, "steps")
    {'AD': (12.0, 2.0)}
    """
    return {method: _mean_and_std(list(values.values())) for method, values in _by_seed(rows, column).items()}


def compare(rows: Sequence[Row], column: str, method: str, other: str) -> Difference:
    """Return how much more one method has than another, over the seeds that both have.

    The interval is Student's, of the differences by seed: splits and teachers are the same for both, and
    what they have in common does not widen it.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run_study` returns.
    column : str
        One of its columns.
    method : str
        The method that wins or loses.
    other : str
        The method that it is compared with.

    Returns
    -------
    difference : Difference
        With ``mean``, ``half_width`` (of the 95 % interval; NaN for one seed) and ``verdict``.

    Examples
    --------
    >>> from skantidistill.study.statistics import compare
    >>> rows = [{"method": m, "seed": s, "x": x} for m, s, x in
    ...         [("A", 0, 0.5), ("A", 1, 0.8), ("B", 0, 0.4), ("B", 1, 0.68)]]
    >>> compare(rows, "x", "A", "B").verdict
    'ties'
    """
    differences = paired(rows, column, method, other)
    mean, std = _mean_and_std(differences)
    n = len(differences)
    if n < 2:
        return Difference(mean, math.nan)
    return Difference(mean, float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * std / math.sqrt(n))


def paired(rows: Sequence[Row], column: str, method: str, other: str) -> list[float]:
    """Return the differences of two methods, one a seed that both have."""
    values = _by_seed(rows, column)
    return [value - values[other][seed] for seed, value in values[method].items() if seed in values[other]]


def best_of(rows: Sequence[Row], column: str, methods: Sequence[str]) -> str:
    """Return the method with the highest mean."""
    means = summarise(rows, column)
    return max(methods, key=lambda method: means[method][0])


def time_to_reach(rows: Sequence[Row], reference: str, clock: str) -> list[float]:
    """Return when the learning curve of every row first reached the final accuracy of a reference.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table.
    reference : str
        The method whose final accuracy, of the same seed, is to be reached.
    clock : {"epochs", "seconds"}
        In what time is counted; that of phi is included.

    Returns
    -------
    times : list of float
        One a row; infinite where it was never reached, NaN where the reference lacks the seed.
    """
    goals = {row["seed"]: row["accuracy"] for row in rows if row["method"] == reference}
    times = []
    for row in rows:
        goal = goals.get(row["seed"], math.nan)
        reached = np.flatnonzero(np.asarray(row["curve_accuracy"]) >= goal)
        never = math.nan if math.isnan(goal) else math.inf
        times.append(float(row[f"curve_{clock}"][reached[0]]) if len(reached) else never)
    return times


def _by_seed(rows: Sequence[Row], column: str) -> dict[str, dict[int, float]]:
    values: dict[str, dict[int, float]] = {}
    for row in rows:
        values.setdefault(row["method"], {})[row["seed"]] = row[column]
    return values


def _mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
