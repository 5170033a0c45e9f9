"""Put the rows of a study into words and tables."""

import platform
import textwrap
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from skantidistill.classifier import AntiDistilledMLPClassifier
from skantidistill.study.protocols import METHODS, TABLES, Protocol

__all__ = ["as_text", "summarise"]

Row = Mapping[str, Any]

CRITERIA = ("accuracy", "fgsm", "parameter_noise")
WIDTH = 100


def summarise(rows: Sequence[Row], column: str) -> dict[str, tuple[float, float]]:
    """Return mean and sample standard deviation of a column over seeds, by method.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run.run_study` returns.
    column : str
        One of its columns.

    Returns
    -------
    summary : dict, method -> (mean, standard deviation)
        In the order of the rows; the deviation of a single seed is NaN.

    Examples
    --------
    >>> from skantidistill.study import summarise
    >>> rows = [{"method": "AD", "steps": 10}, {"method": "AD", "steps": 12}, {"method": "AD", "steps": 14}]
    >>> summarise(rows, "steps")
    {'AD': (12.0, 2.0)}
    """
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row["method"], []).append(row[column])
    return {method: _mean_and_std(v) for method, v in values.items()}


def as_text(rows: Sequence[Row], protocol: Protocol, command: str) -> str:
    """Return the study as text: its setting, both tables with footnotes, and how to rerun it.

    Parameters
    ----------
    rows : sequence of dict
        A tidy table, as :func:`~skantidistill.study.run.run_study` returns, with all ``METHODS``.
    protocol : Protocol
        What was studied.
    command : str
        The command that prints this text again.

    Returns
    -------
    text : str
    """
    blocks = [_wrap(_setting(rows, protocol)), _wrap(_criteria(rows, protocol))]
    for table, footnotes in (
        ("as published", _notes_as_published(rows)),
        ("equal training", _notes_equal_training(rows)),
    ):
        blocks.append("\n".join(_table(rows, protocol, table)))
        blocks.append("\n".join(_wrap(note, "  ") for note in footnotes))
    packages = ("skantidistill", "scikit-learn", "torch", "numpy")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    blocks.append(f"{command}\nPython {platform.python_version()}, {versions}")
    return "\n\n".join(blocks)


def _setting(rows: Sequence[Row], protocol: Protocol) -> str:
    seeds = ", ".join(map(str, sorted({row["seed"] for row in rows})))
    classes = ", ".join(map(str, protocol.teacher_classes))
    return (
        f"{protocol.title}: a teacher with hidden layers {protocol.teacher['hidden_layer_sizes']} knows the "
        f"classes {classes} (D1); students with hidden layers {protocol.student['hidden_layer_sizes']} learn "
        f"all classes (D2). Seeds {seeds}; every row has the same data, teachers and seeds. On its own "
        f"classes the teacher has an accuracy of {_cell(rows, 'AD', 'teacher_accuracy')}, and AD after phi "
        f"alone, masked to them, {_cell(rows, 'AD', 'phi_accuracy')}."
    )


def _criteria(rows: Sequence[Row], protocol: Protocol) -> str:
    several = len({row["seed"] for row in rows}) > 1
    fgsm, noise = f"{protocol.fgsm_epsilon:g}", f"{protocol.noise_epsilon:g}"
    return (
        f"All figures are accuracies on held-out rows, {_SPREAD if several else _NO_SPREAD}. FGSM {fgsm}: "
        f"after a step of {fgsm} against the student in every pixel (pixels are in [0, 1], the step is not "
        f"clipped). Parameter noise {noise}: with {noise} N(0, 1) added to every weight and bias, mean of "
        f"{protocol.n_draws} draws."
    )


def _table(rows: Sequence[Row], protocol: Protocol, table: str) -> list[str]:
    """Return the lines of a table."""
    noise = f"parameter noise {protocol.noise_epsilon:g}"
    header = [
        table.capitalize(),
        "accuracy",
        f"FGSM {protocol.fgsm_epsilon:g}",
        noise,
        "steps, phi + D2",
        "seconds",
    ]
    lines = [header]
    for method in TABLES[table]:
        steps = " + ".join(f"{summarise(rows, c)[method][0]:.0f}" for c in ("phi_steps", "steps"))
        seconds = f"{summarise(rows, 'seconds')[method][0]:.1f}"
        lines.append([method, *(_cell(rows, method, c) for c in CRITERIA), steps, seconds])
    others = [method for method in TABLES[table] if method != "AD"]
    lines.append(["AD - best other", *(_gain(rows, others, c) for c in CRITERIA), "", ""])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    texts = ["  ".join([c[0].ljust(widths[0]), *map(str.rjust, c[1:], widths[1:])]).rstrip() for c in lines]
    rule = "-" * max(map(len, texts))
    return [texts[0], rule, *texts[1:-1], rule, texts[-1]]


def _notes_as_published(rows: Sequence[Row]) -> list[str]:
    phi_steps = summarise(rows, "phi_steps")["AD"][0]
    return [
        "Shows what the estimator's defaults (AD) give in place of the plain training of such a network: "
        "cross-entropy alone, no phi, for every other row.",
        "Does not show that growing helps: AD alone keeps the noise and the trace term while it trains on "
        f"D2, AD alone has {phi_steps:.0f} steps of phi on D1, and its steps cost more (see seconds).",
        _LAST_ROW,
    ]


def _notes_equal_training(rows: Sequence[Row]) -> list[str]:
    ad = AntiDistilledMLPClassifier(**METHODS["AD"])
    steps = {method: mean for method, (mean, _) in summarise(rows, "steps").items()}
    phi_steps = summarise(rows, "phi_steps")["AD"][0]
    return [
        f"Every row keeps AD's terms on D2 (lambda_noise={ad.lambda_noise:g}, delta={ad.delta:g}, "
        f"parameter_noise_std={ad.parameter_noise_std:g}, lambda_trace={ad.lambda_trace:g}), and the rows "
        f"without phi have more epochs of D2 for its {phi_steps:.0f} steps, rounded up in their favour: "
        f"{steps['Uniform + kept terms']:.0f} steps against {phi_steps + steps['AD']:.0f}. Xavier has no "
        "teacher at all.",
        "Shows what start and phi are worth: AD - Xavier is the worth of the teacher, AD - Uniform that of "
        "phi.",
        "Does not show the best that a row can reach: all have the estimator's defaults as weights of the "
        "terms, which were chosen on AD (and other data: docs/defaults.md); that favours AD. The teacher's "
        "own training is counted for no row.",
    ]


_SPREAD = "mean ± standard deviation over seeds"
_NO_SPREAD = "of one seed only, so that chance can't be told from effect"
_LAST_ROW = (
    "AD - best other, in both tables: difference, by seed, to the row that is best in that column; it was "
    "chosen after the fact, which favours it."
)


def _mean_and_std(values: Sequence[float]) -> tuple[float, float]:
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")


def _cell(rows: Sequence[Row], method: str, column: str) -> str:
    return _with_spread(*summarise(rows, column)[method], "")


def _gain(rows: Sequence[Row], others: Sequence[str], column: str) -> str:
    """Return AD's paired difference to the best other method in a column."""
    means = summarise(rows, column)
    best = max(others, key=lambda method: means[method][0])
    by_seed = {(row["method"], row["seed"]): row[column] for row in rows}
    gains = [value - by_seed[best, seed] for (method, seed), value in by_seed.items() if method == "AD"]
    return _with_spread(*_mean_and_std(gains), "+")


def _with_spread(mean: float, std: float, sign: str) -> str:
    return f"{mean:{sign}.3f}" + ("" if np.isnan(std) else f" ± {std:.3f}")


def _wrap(text: str, indent: str = "") -> str:
    hanging = indent + ("  " if indent else "")
    return textwrap.fill(text, WIDTH, initial_indent=indent + "* " * bool(indent), subsequent_indent=hanging)
