"""What must hold before a ``fit`` begins: settings that suit the data, a student that can hold its teacher.

Every function takes the estimator and reads its parameters; nothing is set and nothing is trained here.
"""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from scipy.sparse import issparse
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches

from skantidistill._checks import (
    BLOCK,
    check_bounds,
    check_column_values,
    check_inside,
    check_numbers,
    check_same_kind,
    nearest,
    quoted,
    warn_user,
)
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.network import ACTIVATIONS
from skantidistill.old_data import OldData, all_labels
from skantidistill.starts import STARTS, check_same_hidden_layers, is_start, transfer
from skantidistill.teachers import name_outputs
from skantidistill.training import check_callbacks

__all__ = [
    "check_old_inside",
    "check_settings",
    "check_unfitted_teacher",
    "count_bytes",
    "hidden_layer_sizes",
    "match",
    "split_rows",
    "warn_of_scale",
]

#: Root mean square of X that is taken for unscaled. Standardised data multiplied by 20 to 50 lose accuracy to
#: the default terms (wine, breast cancer); pixels from 0 to 255 have about 100.
LARGE = 25.0
#: ``delta`` over a column's standard deviation, the median over columns, that is too much.
WIDE = 1.0
#: Share of a scaled teacher's columns in which it may be so: 8 of 30 lose accuracy (breast cancer), 8 of 59
#: do not (digits).
FEW = 0.2


def check_settings(student: Any, X: Any, old: OldData | None) -> None:
    """Check what depends on the data or on several parameters at once."""
    check_numbers(student)
    if isinstance(student.start, str) and student.start not in STARTS:
        raise ValueError(
            f"start={quoted(student.start)} is unknown; use one of {sorted(STARTS)}, or a function "
            f"(growth, random_state) -> parameters.{nearest(student.start, STARTS)}"
        )
    if student.n_restarts > 1 and not student.early_stopping:
        raise ValueError(
            f"n_restarts={student.n_restarts} keeps the best student by its validation accuracy, which needs "
            "early_stopping=True."
        )
    _check_device(student.device)
    check_callbacks(student.callbacks)
    columns = getattr(student, "feature_names_in_", None)
    check_column_values(student.delta, X.shape[1], "delta", columns)
    bounds = check_bounds(student.bounds, X.shape[1], columns)
    check_inside(X, bounds)
    if old is not None and old.source == "teacher_data":
        check_old_inside(student, old, X.shape[1])


def count_bytes(X: Any, blueprint: Blueprint | None = None) -> int:
    """Return about how much memory a fit takes: its rows, and its network, several times."""
    n_bytes = X.data.nbytes if issparse(X) else X.nbytes
    n_parameters = 0 if blueprint is None else sum(p.size for p in blueprint.parameters)
    # What cross-validation has cut out, what fit and a stack have of it, and what is scored.
    return int(6 * n_bytes + 12 * n_parameters * X.dtype.itemsize)


def check_old_inside(student: Any, old: OldData, n_features: int, features: np.ndarray | None = None) -> None:
    """Raise if ``teacher_data`` leaves the bounds.

    Where it has fewer columns than X and does not name them, they are the teacher's, and bounds of single
    columns can't be checked before these are known: ``features``.
    """
    bounds = check_bounds(student.bounds, n_features, getattr(student, "feature_names_in_", None))
    if bounds is None:
        return
    columns: Any = features if old.columns is None else old.columns
    if old.columns is None and old.X.shape[1] == n_features:
        columns = slice(None)
    if columns is not None or not any(b.ndim for b in bounds):
        check_inside(old.X, tuple(b[columns] if b.ndim else b for b in bounds), "teacher_data")


def warn_of_scale(student: Any, blueprint: Blueprint, X: Any) -> None:
    """Warn if what the network sees is so large that the terms, which grow with it, outweigh the rest."""
    if not (student.lambda_noise or student.lambda_trace):
        return
    total, sums = 0.0, np.zeros((2, X.shape[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        for rows in gen_batches(X.shape[0], max(1, BLOCK // X.shape[1])):
            block = X[rows]
            if issparse(block):
                block = block.data if blueprint.input_scale is None else block.toarray()
            block = blueprint.scaled(block)
            if block.ndim == 2:
                sums[0] += block.sum(axis=0, dtype=np.float64)
                sums[1] += np.einsum("ij,ij->j", block, block, dtype=np.float64)
            else:
                total += float(np.linalg.norm(block)) ** 2
        size = np.sqrt((total + sums[1].sum()) / (X.shape[0] * X.shape[1]))
        mean, square = sums / X.shape[0]
        std = np.sqrt(np.maximum(square - mean**2, 0))
    # A constant column has the rounding errors of its mean.
    _warn_of_delta(student, blueprint, np.where(std > 1e-4 * np.abs(mean), std, 0))
    if size > LARGE:
        warn_user(
            f"X has a root mean square of {size:.3g}, and the noise and trace terms grow with its scale: "
            "they may drown what there is to learn. Scale X for the teacher and the student alike, for "
            "example by StandardScaler, or set lambda_noise=0 and lambda_trace=0.",
        )


def _warn_of_delta(student: Any, blueprint: Blueprint, std: np.ndarray) -> None:
    """Warn if the neighbourhood is so wide that rows of one class can't be told from those of another."""
    columns = getattr(student, "feature_names_in_", None)
    delta = check_column_values(student.delta, blueprint.layer_sizes[0], "delta", columns)
    if blueprint.input_scale is not None:
        delta = delta * np.abs(blueprint.input_scale)
    varies = std > 0
    if not (student.lambda_noise and varies.any()):
        return
    widths = (delta / np.where(varies, std, 1))[varies]
    typical, n_wide = np.median(widths), int((widths > WIDE).sum())
    if typical > WIDE:
        found = f"{typical:.2g} times the standard deviation of a typical column"
    elif blueprint.input_scale is not None and n_wide > FEW * len(widths):
        found = f"more than the standard deviation of {n_wide} of {len(widths)} columns"
    else:
        return
    given = "delta" if np.ndim(student.delta) else f"delta={student.delta}"
    warn_user(
        f"{given} is {found}, so that the noise may drown what there is to learn. It is in the units of X: "
        "give one value a column, such as delta=0.02 * X.std(axis=0), or set lambda_noise=0.",
    )


def _check_device(device: str) -> None:
    """Raise a ValueError if torch can't compute on a device here."""
    try:
        torch.device(device)
    except RuntimeError:
        raise ValueError(
            f"device={quoted(device)} is no device of torch; use for example 'cpu', 'cuda' for a GPU of "
            "NVIDIA, or 'mps' for Apple's."
        ) from None
    try:
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ValueError(
            f"device={quoted(device)} can't be used here ({reason}); use for example 'cpu'."
        ) from None


def split_rows(
    student: Any, y: np.ndarray, weight: np.ndarray, random_state: RandomState
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows to train on, and with ``early_stopping`` those set aside; weight 0 is in none."""
    index = np.flatnonzero(weight)
    if not student.early_stopping:
        return index, None
    try:
        return train_test_split(
            index, test_size=student.validation_fraction, random_state=random_state, stratify=y[index]
        )
    except ValueError as error:
        raise ValueError(
            f"validation_fraction={student.validation_fraction} of {len(index)} rows can't be set aside for "
            f"early_stopping ({str(error).rstrip('.')}). Every class needs 2 rows, and both parts as many "
            f"rows as there are classes, {len(np.unique(y[index]))}; change validation_fraction, or set "
            "early_stopping=False."
        ) from None


def match(
    student: Any, teacher: Blueprint, n_features: int, classes: np.ndarray, names: np.ndarray | None
) -> Growth:
    """Return the correspondence to the teacher, or raise if the student can't hold it."""
    activation = student.activation or (teacher.activation if teacher.hidden_layer_sizes else "relu")
    if teacher.hidden_layer_sizes and activation != teacher.activation:
        raise ValueError(
            f"activation={activation!r} differs from the teacher's {teacher.activation!r}, whose units "
            "would then mean something else; leave activation=None."
        )
    teacher = replace(teacher, activation=activation)
    growth = Growth(teacher, n_features, hidden_layer_sizes(student, teacher), classes, names)
    if is_start(student.start, transfer):
        check_same_hidden_layers(growth)
        return growth.without_output_layer()
    return growth


def check_unfitted_teacher(student: Any, old: OldData, y: np.ndarray, n_features: int) -> None:
    """Raise what a teacher would meet once it is fitted on D1, before it is."""
    classes = np.unique(old.labels)
    if len(classes) < 2:
        raise ValueError(
            f"{old.source} has one class only, {quoted(classes[0])}; a teacher that is not fitted yet "
            "needs rows of at least 2 classes."
        )
    teacher = student.teacher
    while isinstance(teacher, Pipeline):
        teacher = teacher.steps[-1][1]
    hidden = getattr(teacher, "hidden_layer_sizes", None if hasattr(teacher, "estimator") else ())
    if hidden is None or isinstance(hidden, str):
        return
    activation = getattr(teacher, "activation", None) or "relu"
    widths = np.atleast_1d(hidden)
    wrong = widths.ndim > 1 or (widths.size and (widths.dtype.kind not in "iu" or (widths < 1).any()))
    if wrong or activation not in ACTIVATIONS:
        return  # the teacher itself says so when it is fitted
    sizes = (old.X.shape[1], *widths.tolist(), len(classes))
    weights = tuple(np.zeros((n_out, n_in)) for n_in, n_out in pairwise(sizes))
    sketch = Blueprint(weights, tuple(np.zeros(n) for n in sizes[1:]), activation, classes)
    sketch = name_outputs(sketch, student.teacher_classes)
    check_same_kind(y, sketch.classes, "y")
    match(student, sketch, n_features, all_labels(y, old), None)


def hidden_layer_sizes(student: Any, teacher: Blueprint | None) -> tuple[int, ...]:
    """Return the hidden layers that a parameter stands for."""
    sizes = student.hidden_layer_sizes
    if isinstance(sizes, str):
        if teacher is not None and is_start(student.start, transfer):
            return teacher.hidden_layer_sizes
        if teacher is not None and teacher.hidden_layer_sizes:
            return tuple(2 * n for n in teacher.hidden_layer_sizes)
        return (100,) if teacher is None else (max(100, 2 * len(teacher.classes)),)
    try:
        sizes = np.atleast_1d(sizes)
    except ValueError:  # ragged
        sizes = np.empty((0, 0))
    if sizes.ndim != 1 or (sizes.size and (sizes.dtype.kind not in "iu" or (sizes < 1).any())):
        raise ValueError(
            f"hidden_layer_sizes={quoted(student.hidden_layer_sizes)} must be positive integers, one a "
            "layer; give for example (100,), (64, 32) or 'auto'."
        )
    return tuple(int(n) for n in sizes)
