"""Tidy tables of studies that were never run, with every column that a report needs."""

from dataclasses import replace

import numpy as np

from skantidistill.study import PROTOCOLS, Studied, methods_of
from skantidistill.study.measure import CRITERIA, N_STRENGTHS

DIGITS = PROTOCOLS["digits"]
COLUMNS = [criterion.column for criterion in CRITERIA]


def make_rows(protocol=DIGITS, n_seeds=3, methods=None, n_test_old=50, **given):
    """Rows with random numbers, but for ``given``: column -> method -> one value a seed."""
    rng = np.random.RandomState(0)
    rows = []
    for method in methods_of(protocol) if methods is None else methods:
        for seed in range(n_seeds):
            row = {column: float(rng.uniform(0.3, 0.95)) for column in [*COLUMNS, "old_classes"]}
            row |= {column: values[method][seed] for column, values in given.items() if method in values}
            epochs = np.arange(6) + 0.1 * seed
            rows.append(
                {
                    "method": method,
                    "seed": seed,
                    **row,
                    "fgsm_curve": np.linspace(row["accuracy"], row["fgsm"], N_STRENGTHS).tolist(),
                    "parameter_noise_curve": np.linspace(
                        row["accuracy"], row["parameter_noise"], N_STRENGTHS
                    ).tolist(),
                    "n_test": 100,
                    "n_test_old": n_test_old,
                    "n_old": 600,
                    "n_rows": protocol.rows or 1198,
                    "phi_steps": 10 * seed,
                    "steps": 100,
                    "seconds": float(rng.uniform(0.2, 2)),
                    "trace": float(rng.uniform(10, 90)),
                    "teacher_accuracy": 0.9,
                    "phi_accuracy": 0.8,
                    "curve_epochs": epochs.tolist(),
                    "curve_seconds": (0.1 * epochs).tolist(),
                    "curve_accuracy": [*(row["accuracy"] * rng.uniform(0.2, 1, 5)), row["accuracy"]],
                }
            )
    return rows


def make_study(table=None, protocol=DIGITS, command="python -m skantidistill study", **changes):
    """A study of these rows, with a changed protocol."""
    protocol = replace(protocol, **changes)
    return Studied(make_rows(protocol) if table is None else table, protocol, command)
