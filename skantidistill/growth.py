"""Which unit, class and feature of a teacher is which of its student.

``Growth`` holds the correspondence; ``project`` is the paper's Pr, ``embed`` its right inverse.
Parameters are flat tuples ``(W_1, b_1, ..., W_L, b_L)`` of arrays or tensors; weights are (n_out, n_in).
"""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from skantidistill._checks import warn_user
from skantidistill.blueprint import Blueprint

__all__ = ["Growth"]

#: (slope, shift) by activation: ``act(slope * a + shift)`` is ``a`` for identity and, of a >= 0, relu; for
#: the others agrees with it to first order in the middle of the activation's range.
_SLOPE_SHIFT = {"identity": (1.0, 0.0), "relu": (1.0, 0.0), "tanh": (1.0, 0.0), "logistic": (4.0, -2.0)}


class Growth:
    """The correspondence between a teacher and a larger student: wider, deeper, more classes, more features.

    Teacher hidden unit i of layer k is student hidden unit i of layer k; outputs are matched by label; input
    columns by name where both sides have names, else by position. Pr selects coordinates, so it is
    linear, ``Pr Pr^T = I``, and ``project(embed(u, fill)) == u`` bit for bit.

    Inserted hidden layers come after the teacher's. They carry its last hidden layer as identities, unless
    one of them is too narrow, or the teacher has no hidden layer: that one then holds the teacher's output
    layer, for relu in two units a class, ``+z_k`` and ``-z_k``, else in one; the layers above carry it,
    and the student's output of class k is put together from them. Pr selects the ``+z_k``.

    Parameters
    ----------
    teacher : Blueprint
        The fitted network. Without hidden layers its activation is what the student's will be.
    n_features : int
        Input columns of the student; at least the teacher's.
    hidden_layer_sizes : sequence of int
        Hidden units of the student; at least as many layers as the teacher has, each at least as wide.
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
    layers : list of int
        For every layer of the teacher that Pr selects, the layer of the student that holds it.
    rows, columns : list of ndarray or slice
        For every such layer, the student's units and inputs that the teacher's correspond to.
    features : ndarray of shape (n_teacher_features,)
        The student's input columns that the teacher's correspond to.
    outputs : ndarray of shape (n_teacher_classes,)
        The student's outputs that the teacher's correspond to.

    Raises
    ------
    ValueError
        If the student has fewer layers than the teacher, one of them can't hold what it has to, or a
        feature of the teacher is missing.

    Warns
    -----
    UserWarning
        If only one side has feature names, so that columns are matched by position.

    Examples
    --------
    >>> import numpy as np
    >>> from skantidistill.blueprint import Blueprint
    >>> from skantidistill.growth import Growth
    >>> u = Blueprint((np.eye(2),), (np.zeros(2),), "relu", np.array([3, 7]))
    >>> growth = Growth(u, 2, (6,), np.array([3, 5, 7]))
    >>> growth.outputs, growth.layer_sizes
    (array([0, 2]), (2, 6, 3))
    """

    def __init__(
        self,
        teacher: Blueprint,
        n_features: int,
        hidden_layer_sizes: Sequence[int],
        classes: np.ndarray,
        feature_names: np.ndarray | None = None,
    ) -> None:
        hidden = tuple(hidden_layer_sizes)
        _check_hidden_layers(teacher.hidden_layer_sizes, hidden)
        known = np.flatnonzero(np.isin(teacher.classes, classes))
        self.teacher = teacher.select_classes(known)
        self.layer_sizes = (n_features, *hidden, len(classes))
        self.outputs = np.searchsorted(classes, self.teacher.classes)
        self.features = _match_features(teacher, n_features, feature_names)
        held = teacher.hidden_layer_sizes
        top = _output_holder(held, hidden)
        self._top = top
        self.layers = [*range(len(held)), top]
        units = [slice(0, n) for n in held]
        self.rows: list[Any] = [
            *units,
            self._signed_rows(0) if top < len(hidden) else _selector(self.outputs),
        ]
        self.columns: list[Any] = [_selector(self.features), *units]
        self._check_room()

    def __repr__(self) -> str:
        gained = self.layer_sizes[-1] - len(self.teacher.classes)
        return f"Growth({self.teacher.layer_sizes} -> {self.layer_sizes}, {gained} new classes)"

    @property
    def shared(self) -> tuple[np.ndarray, ...]:
        """The teacher's parameters u that Pr selects in the student."""
        return self.teacher.parameters[: 2 * len(self.layers)]

    @property
    def new_features(self) -> np.ndarray:
        """The student's input columns that the teacher has not."""
        return np.setdiff1d(np.arange(self.layer_sizes[0]), self.features)

    @property
    def new_outputs(self) -> np.ndarray:
        """The student's outputs that the teacher has not."""
        return np.setdiff1d(np.arange(self.layer_sizes[-1]), self.outputs)

    @property
    def smallest_hidden_layer_sizes(self) -> tuple[int, ...]:
        """The hidden layers that just hold the teacher, at this student's depth."""
        held, depth = self.teacher.hidden_layer_sizes, len(self.layer_sizes) - 2
        carried = [held[-1]] * (self._top - len(held)) if held else []
        return (*held, *carried, *[self._units_per_class * len(self.outputs)] * (depth - self._top))

    def with_hidden_layer_sizes(self, hidden_layer_sizes: Sequence[int]) -> "Growth":
        """Return the same correspondence in a student with other widths, all large enough.

        Parameters
        ----------
        hidden_layer_sizes : sequence of int
            Hidden units of the other student.

        Returns
        -------
        growth : Growth
            Of the same teacher, features and classes.
        """
        other = copy.copy(self)
        other.layer_sizes = (self.layer_sizes[0], *hidden_layer_sizes, self.layer_sizes[-1])
        return other

    def without_output_layer(self) -> "Growth":
        """Return the same correspondence with the teacher's output layer left out of Pr.

        Returns
        -------
        growth : Growth
            A copy; the student has the same sizes.
        """
        other, n_hidden = copy.copy(self), len(self.teacher.hidden_layer_sizes)
        other.layers, other.rows = self.layers[:n_hidden], self.rows[:n_hidden]
        other.columns = self.columns[:n_hidden]
        return other

    def project(self, params: Sequence[Any]) -> tuple[Any, ...]:
        """Return Pr[w]: the student's parameters that correspond to the teacher's, shaped as these.

        Parameters
        ----------
        params : sequence of ndarray or tensor
            The student's parameters w, ``(W_1, b_1, ..., W_L, b_L)``.

        Returns
        -------
        projected : tuple of ndarray or tensor
            Shaped as ``shared``.
        """
        projected = []
        for layer, rows, columns in zip(self.layers, self.rows, self.columns, strict=True):
            projected += [params[2 * layer][rows][:, columns], params[2 * layer + 1][rows]]
        return tuple(projected)

    def embed(self, params: Sequence[np.ndarray], fill: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Return a copy of ``fill`` with the teacher's parameters in their place.

        Parameters
        ----------
        params : sequence of ndarray
            The teacher's parameters, shaped as ``shared``.
        fill : sequence of ndarray
            The student's parameters ``(W_1, b_1, ..., W_L, b_L)``.

        Returns
        -------
        embedded : tuple of ndarray
            Shaped as ``fill``.
        """
        return self.place(params, [np.array(f) for f in fill])

    def place(self, params: Sequence[np.ndarray], into: Sequence[np.ndarray]) -> tuple[np.ndarray, ...]:
        """Write the teacher's parameters into their place in the student's.

        Parameters
        ----------
        params : sequence of ndarray
            The teacher's parameters, shaped as ``shared``.
        into : sequence of ndarray
            The student's parameters ``(W_1, b_1, ..., W_L, b_L)``; changed in place.

        Returns
        -------
        placed : tuple of ndarray
            The arrays of ``into``.
        """
        for number, layer in enumerate(self.layers):
            rows, columns = self.rows[number], self.columns[number]
            both = not (isinstance(rows, slice) or isinstance(columns, slice))
            into[2 * layer][np.ix_(rows, columns) if both else (rows, columns)] = params[2 * number]
            into[2 * layer + 1][rows] = params[2 * number + 1]
        return tuple(into)

    def carry(self, into: Sequence[np.ndarray]) -> None:
        """Write into the student's parameters what carries the teacher's function through inserted layers.

        Exact for relu and identity; for tanh and logistic the nearest start.

        Parameters
        ----------
        into : sequence of ndarray
            The student's parameters ``(W_1, b_1, ..., W_L, b_L)``; changed in place.

        Warns
        -----
        UserWarning
            If there are inserted layers and the activation is tanh or logistic.
        """
        held, depth = len(self.teacher.hidden_layer_sizes), len(self.layer_sizes) - 2
        if depth == held:
            return
        activation = self.teacher.activation
        exact = f"{held} hidden layer{'s' if held > 1 else ''}" if held else "activation='relu'"
        if activation in ("tanh", "logistic"):
            warn_user(
                f"hidden_layer_sizes={self.layer_sizes[1:-1]} inserts layers after the teacher's "
                f"{self.teacher.hidden_layer_sizes}, which {activation!r} can't carry exactly: the start "
                f"is near the teacher's function only. For an exact one give {exact}.",
            )
        slope, shift = _SLOPE_SHIFT[activation]
        for layer in range(held, depth):
            if layer != self._top:
                n = min(into[2 * layer].shape)
                into[2 * layer][:n, :n] = 0
                np.fill_diagonal(into[2 * layer][:n, :n], slope)
                into[2 * layer + 1][:n] = shift
        if self._top < depth:
            self._carry_outputs(into, slope, shift)

    def _carry_outputs(self, into: Sequence[np.ndarray], slope: float, shift: float) -> None:
        """Write the ``-z_k`` beside the ``+z_k`` that Pr selects, and put both together at the output."""
        weight, bias = self.teacher.parameters[-2:]
        per_class = self._units_per_class
        together = np.zeros((len(weight), per_class * len(weight)))
        np.fill_diagonal(together[:, ::per_class], slope)
        if per_class == 2:
            into[2 * self._top][self._signed_rows(1), self.columns[-1]] = -weight
            into[2 * self._top + 1][self._signed_rows(1)] = -bias
            np.fill_diagonal(together[:, 1::2], -slope)
        into[-2][self.outputs, : together.shape[1]] = together
        into[-1][self.outputs] = shift

    @property
    def _units_per_class(self) -> int:
        """Hidden units that carry one logit, of either sign."""
        return 2 if self.teacher.activation == "relu" else 1

    def _signed_rows(self, first: int) -> slice:
        """The units that hold every ``+z_k`` (first 0) or, for relu, every ``-z_k`` (first 1)."""
        return slice(first, self._units_per_class * len(self.outputs), self._units_per_class)

    def _check_room(self) -> None:
        hidden = self.layer_sizes[1:-1]
        needed = self._units_per_class * len(self.outputs)
        for number in range(self._top, len(hidden)):
            if hidden[number] < needed:
                held = self.teacher.hidden_layer_sizes
                wide = f", or {held[-1]} in every layer after the teacher's" if held else ""
                raise ValueError(
                    f"hidden_layer_sizes={hidden}: layer {number + 1} of {hidden[number]} units cannot carry "
                    f"the teacher's {len(self.outputs)} classes; use at least {needed} "
                    f"({self._units_per_class} a class for {self.teacher.activation!r}){wide}."
                )


def _output_holder(held: tuple[int, ...], hidden: tuple[int, ...]) -> int:
    """Return the student's layer that holds the teacher's output layer.

    That is the output layer, unless an inserted layer can't carry the teacher's last hidden layer.
    """
    narrow = (n for n in range(len(held), len(hidden)) if not held or hidden[n] < held[-1])
    return next(narrow, len(hidden))


def _check_hidden_layers(teacher: tuple[int, ...], student: tuple[int, ...]) -> None:
    if len(student) < len(teacher):
        raise ValueError(
            f"hidden_layer_sizes={student} has fewer layers than the teacher's {teacher}; give at "
            f"least {len(teacher)} layer{'s' if len(teacher) > 1 else ''}."
        )
    for number, (narrow, wide) in enumerate(zip(teacher, student, strict=False), start=1):
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
    missing: Any = ()
    if teacher.feature_names is not None and feature_names is not None:
        missing = np.setdiff1d(teacher.feature_names, feature_names)
    if len(missing):
        some = ", ".join(repr(str(name)) for name in missing[:5])
        raise ValueError(
            f"X lacks {len(missing)} of the {expected} columns that the teacher was fitted on: {some}"
            f"{', ...' if len(missing) > 5 else ''}; add them, under these names."
        )
    if n_features < expected:
        raise ValueError(
            f"X has {n_features} features, but the teacher was fitted on {expected}; give X the "
            f"teacher's {expected} columns, and new ones beside them."
        )
    if teacher.feature_names is None or feature_names is None:
        if (teacher.feature_names is None) != (feature_names is None):
            side = ("X has", "the teacher") if teacher.feature_names is None else ("The teacher has", "X")
            warn_user(
                f"{side[0]} feature names, but {side[1]} has none: the teacher's {expected} features are "
                f"taken for the first {expected} columns of X, in their order.",
            )
        return np.arange(expected)
    position = {name: column for column, name in enumerate(feature_names)}
    return np.array([position[name] for name in teacher.feature_names])
