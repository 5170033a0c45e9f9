"""What must hold before a ``fit`` begins: settings that suit the data, a student that can hold its teacher.

Every function takes the estimator and reads its parameters; nothing is set and nothing is trained here.
"""

import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.random import RandomState
from sklearn.model_selection import train_test_split

from skantidistill._checks import check_bounds, check_column_values, check_inside, check_same_kind
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.network import ACTIVATIONS
from skantidistill.old_data import OldData, all_labels
from skantidistill.starts import STARTS
from skantidistill.teachers import name_outputs
from skantidistill.training import check_callbacks

__all__ = [
    "check_settings",
    "check_unfitted_teacher",
    "choose_trace",
    "hidden_layer_sizes",
    "match",
    "split_rows",
]

#: Root mean square of X that is taken for unscaled. Standardised data multiplied by 20 to 50 lose accuracy to
#: the default terms (wine, breast cancer); pixels from 0 to 255 have about 100.
LARGE = 25.0


def check_settings(student: Any, X: np.ndarray, old: OldData | None) -> None:
    """Check what depends on the data or on several parameters at once."""
    if student.start not in STARTS:
        raise ValueError(f"start={student.start!r} is unknown; use one of {sorted(STARTS)}.")
    _check_device(student.device)
    check_callbacks(student.callbacks)
    _warn_of_scale(student, X)
    check_column_values(student.delta, X.shape[1], "delta")
    bounds = check_bounds(student.bounds, X.shape[1])
    check_inside(X, bounds)
    if old is not None and old.source == "teacher_data":
        check_inside(old.X, bounds, "teacher_data")


def _warn_of_scale(student: Any, X: np.ndarray) -> None:
    """Warn if X is so large that the terms, which depend on its scale, outweigh the cross-entropy."""
    with np.errstate(over="ignore"):
        size = np.linalg.norm(X) / np.sqrt(X.size)
    if size > LARGE and (student.lambda_noise or student.lambda_trace):
        warnings.warn(
            f"X has a root mean square of {size:.3g}, and the noise and trace terms grow with its scale: "
            "they may drown what there is to learn. Scale X for the teacher and the student alike, for "
            "example by StandardScaler, or set lambda_noise=0 and lambda_trace=0.",
            UserWarning,
            stacklevel=5,
        )


def _check_device(device: str) -> None:
    """Raise a ValueError if torch can't compute on a device here."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"device={device!r} can't be used here ({reason}); use for example 'cpu'.") from None


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
            f"early_stopping: {error}"
        ) from None


def match(student: Any, teacher: Blueprint, n_features: int, classes: np.ndarray) -> Growth:
    """Return the correspondence to the teacher, or raise if the student can't hold it."""
    hidden = hidden_layer_sizes(student, teacher)
    activation = student.activation or teacher.activation
    if teacher.hidden_layer_sizes and activation != teacher.activation:
        raise ValueError(
            f"activation={activation!r} differs from the teacher's {teacher.activation!r}, whose units "
            "would then mean something else; leave activation=None."
        )
    names = getattr(student, "feature_names_in_", None)
    return Growth(teacher, n_features, hidden, classes, names)


def check_unfitted_teacher(student: Any, old: OldData, y: np.ndarray, n_features: int) -> None:
    """Raise what a teacher would meet once it is fitted on D1, before it is."""
    classes = np.unique(old.labels)
    if len(classes) < 2:
        raise ValueError(
            f"{old.source} has one class only, {classes.tolist()[0]!r}; a teacher that is not fitted yet "
            "needs rows of at least 2 classes."
        )
    hidden = getattr(student.teacher, "hidden_layer_sizes", ())
    if isinstance(hidden, str):
        return
    sizes = (n_features, *np.atleast_1d(np.asarray(hidden, dtype=int)).tolist(), len(classes))
    weights = tuple(np.zeros((n_out, n_in)) for n_in, n_out in pairwise(sizes))
    activation = getattr(student.teacher, "activation", None) or "relu"
    sketch = Blueprint(weights, tuple(np.zeros(n) for n in sizes[1:]), activation, classes)
    sketch = name_outputs(sketch, student.teacher_classes)
    check_same_kind(y, sketch.classes, "y")
    match(student, sketch, n_features, all_labels(y, old))
    if student.lambda_trace and (student.phi_max_iter or student.regularize == "fit"):
        choose_trace(student, activation)


def choose_trace(student: Any, activation: str) -> str:
    """Return how the trace is computed for an activation, or raise if it can't be in the way asked for."""
    piecewise_linear = ACTIVATIONS[activation].piecewise_linear
    if student.trace == "auto":
        return "sampled" if piecewise_linear else "hutchinson"
    if student.trace != "hutchinson" and not piecewise_linear:
        raise ValueError(
            f"trace={student.trace!r} is exact for piecewise linear activations only, got {activation!r}; "
            "use trace='hutchinson' or 'auto'."
        )
    return student.trace


def hidden_layer_sizes(student: Any, teacher: Blueprint | None) -> tuple[int, ...]:
    """Return the hidden layers that a parameter stands for."""
    sizes = student.hidden_layer_sizes
    if isinstance(sizes, str):
        return (100,) if teacher is None else tuple(2 * n for n in teacher.hidden_layer_sizes)
    sizes = np.atleast_1d(np.asarray(sizes))
    if sizes.ndim != 1 or (sizes.size and (sizes.dtype.kind not in "iu" or (sizes < 1).any())):
        raise ValueError(
            f"hidden_layer_sizes={student.hidden_layer_sizes!r} must be positive integers, one a layer."
        )
    return tuple(int(n) for n in sizes)
