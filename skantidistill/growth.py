"""Which unit, class and feature of a teacher is which of its student.

``Growth`` holds the correspondence; ``project`` is the paper's Pr, ``embed`` its right inverse.
Parameters are flat tuples ``(W_1, b_1, ..., W_L, b_L)`` of arrays or tensors; weights are (n_out, n_in).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from skantidistill.blueprint import Blueprint

__all__ = ["Growth"]


class Growth:
    """The correspondence between a teacher and a wider student with more classes.

    Teacher hidden unit i is student hidden unit i; outputs are matched by label; input columns by
    name where both sides have names, else by position. Pr selects coordinates, so it is linear,
    ``Pr Pr^T = I``, and ``project(embed(u, fill)) == u`` bit for bit.

    Parameters
    ----------
    teacher : Blueprint
        The fitted network.
    n_features : int
        Input columns of the student; as many as the teacher's.
    hidden_layer_sizes : sequence of int
        Hidden units of the student; as many layers as the teacher has, each at least as wide.
    classes : ndarray of shape (n_classes,)
        Labels of the student's outputs, sorted. Teacher outputs whose label is not here are left out.
    feature_names : ndarray of shape (n_features,) or None, default=None
        Names of the student's input columns.

    Attributes
    ----------
    teacher : Blueprint
        The teacher with the outputs that the student has too.
    layer_sizes : tuple of int
        Units of every layer of the student, inputs first.
    rows, columns : list of ndarray or slice
        For every layer, the student's units and inputs that the teacher's correspond to.
    outputs : ndarray of shape (n_teacher_classes,)
        The student's outputs that the teacher's correspond to.

    Raises
    ------
    ValueError
        If a student layer is narrower than the teacher's, the number of hidden layers differs, or
        the input columns can't be matched.

    Examples
    --------
    >>> import numpy as np
    >>> from skantidistill.blueprint import Blueprint
    >>> from skantidistill.growth import Growth
    >>> u = Blueprint((np.eye(2),), (np.zeros(2),), "relu", np.array([3, 7]))
    >>> Growth(u, 2, (), np.array([3, 5, 7])).outputs
    array([0, 2])
    """

    def __init__(
        self,
        teacher: Blueprint,
        n_features: int,
        hidden_layer_sizes: Sequence[int],
        classes: np.ndarray,
        feature_names: np.ndarray | None = None,
    ) -> None:
        _check_hidden_layers(teacher.hidden_layer_sizes, tuple(hidden_layer_sizes))
        known = np.flatnonzero(np.isin(teacher.classes, classes))
        self.teacher = teacher.select_classes(known)
        self.layer_sizes = (n_features, *hidden_layer_sizes, len(classes))
        self.outputs = np.searchsorted(classes, self.teacher.classes)
        features = _match_features(teacher, n_features, feature_names)
        units = [slice(0, n) for n in teacher.hidden_layer_sizes]
        self.rows = [*units, _selector(self.outputs)]
        self.columns = [_selector(features), *units]

    def __repr__(self) -> str:
        gained = self.layer_sizes[-1] - len(self.teacher.classes)
        return f"Growth({self.teacher.layer_sizes} -> {self.layer_sizes}, {gained} new classes)"

    def project(self, params: Sequence[Any]) -> tuple[Any, ...]:
        """Return Pr[w]: the student's parameters that correspond to the teacher's, shaped as these."""
        projected = []
        for weight, bias, rows, columns in zip(
            params[::2], params[1::2], self.rows, self.columns, strict=True
        ):
            projected += [weight[rows][:, columns], bias[rows]]
        return tuple(projected)

    def embed(self, params: Sequence[np.ndarray], fill: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return a copy of ``fill`` (the student's shapes) with ``params`` (the teacher's) in their place."""
        embedded = [np.array(f) for f in fill]
        for layer, (rows, columns) in enumerate(zip(self.rows, self.columns, strict=True)):
            block = embedded[2 * layer][rows]
            block[:, columns] = params[2 * layer]
            embedded[2 * layer][rows] = block
            embedded[2 * layer + 1][rows] = params[2 * layer + 1]
        return tuple(embedded)


def _check_hidden_layers(teacher: tuple[int, ...], student: tuple[int, ...]) -> None:
    if len(student) < len(teacher):
        raise ValueError(
            f"hidden_layer_sizes={student} has fewer layers than the teacher's {teacher}; give at "
            f"least {len(teacher)} layers."
        )
    if student and not teacher:
        raise ValueError(
            f"hidden_layer_sizes={student}, but the teacher has no hidden layers (it is linear), and growing "
            "in depth is not available yet; leave hidden_layer_sizes='auto'."
        )
    if len(student) > len(teacher):
        raise ValueError(
            f"hidden_layer_sizes={student} is deeper than the teacher's {teacher}; growing in depth is "
            f"not available yet, give {len(teacher)} layer{'s' if len(teacher) > 1 else ''}."
        )
    for number, (narrow, wide) in enumerate(zip(teacher, student, strict=True), start=1):
        if wide < narrow:
            raise ValueError(
                f"hidden_layer_sizes={student} cannot hold the teacher's hidden layer {number} of "
                f"{narrow} units; use at least {narrow}."
            )


def _selector(indices: np.ndarray) -> np.ndarray | slice:
    """Return the leading indices as a slice: a view where fancy indexing would copy."""
    leading = np.array_equal(indices, np.arange(len(indices)))
    return slice(0, len(indices)) if leading else indices


def _match_features(teacher: Blueprint, n_features: int, feature_names: np.ndarray | None) -> np.ndarray:
    """Return the student's column of every column of the teacher."""
    expected = teacher.layer_sizes[0]
    if n_features != expected:
        raise ValueError(
            f"X has {n_features} features, but the teacher was fitted on {expected}; give X the "
            f"teacher's {expected} columns."
        )
    if teacher.feature_names is None or feature_names is None:
        return np.arange(n_features)
    position = {name: column for column, name in enumerate(feature_names)}
    unmatched = [name for name in teacher.feature_names if name not in position]
    if unmatched:
        raise ValueError(
            f"X has no column named {unmatched[0]!r}, which the teacher was fitted on; X's columns are "
            f"{list(feature_names)}, the teacher's {list(teacher.feature_names)}."
        )
    return np.array([position[name] for name in teacher.feature_names])
