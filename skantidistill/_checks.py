"""Validation of parameters and data, with the sentences that say what is wrong.

The only module that imports private names of scikit-learn.
"""

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from functools import singledispatch, wraps
from importlib import import_module
from numbers import Real
from typing import Any, TypeVar, cast

import numpy as np
from scipy.sparse import csr_matrix, issparse
from sklearn import get_config
from sklearn.base import _fit_context
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection._search import BaseSearchCV
from sklearn.pipeline import Pipeline
from sklearn.utils import gen_batches
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, check_classification_targets
from sklearn.utils.validation import (
    _check_feature_names,
    _check_sample_weight,
    _get_feature_names,
    check_array,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

__all__ = [
    "BLOCK",
    "FLOATS",
    "ONE_VS_REST",
    "BaseSearchCV",
    "HasMethods",
    "Interval",
    "Options",
    "StrOptions",
    "are_one_vs_rest",
    "check_bounds",
    "check_class_weight",
    "check_column_values",
    "check_count",
    "check_enough_classes",
    "check_first_partial_fit",
    "check_fit_data",
    "check_inputs",
    "check_inside",
    "check_labels",
    "check_logits",
    "check_mask",
    "check_mass",
    "check_numbers",
    "check_rows",
    "check_same_kind",
    "check_weight",
    "encode_labels",
    "fit_context",
    "import_optional",
    "is_fitted",
    "nearest",
    "quoted",
    "read_labels",
    "restored_on_error",
    "told_of",
    "warn_user",
    "weigh_classes",
]

FLOATS = [np.float64, np.float32]
Method = TypeVar("Method", bound=Callable)
_OF_ARRAYS = {"builtins", "narwhals", "numpy", "pandas", "polars", "pyarrow", "scipy", "sklearn"}
_LIBRARIES = ("skantidistill", "sklearn", "joblib")
BLOCK = 2**20  # numbers that are looked at at a time
_LONGEST = 80  # characters of a value that a message quotes
_MOST = 800  # and of a message of another library, which may quote all of X
ONE_VS_REST = (
    "If another tool calls fit: OneVsRestClassifier and OneVsOneClassifier work with teacher=None only, "
    "because in place of y's labels they hand on 0 and 1 (OutputCodeClassifier: -1 and 1)."
)


def fit_context(*, prefer_skip_nested_validation: bool) -> Callable[[Method], Method]:
    """Validate parameters before a method: as scikit-learn does, but in every call of ``partial_fit``."""
    within = _fit_context(prefer_skip_nested_validation=prefer_skip_nested_validation)

    def decorate(method: Method) -> Method:
        checked = within(method)
        if method.__name__ != "partial_fit":
            return checked

        @wraps(method)
        def validated(estimator: Any, *args: Any, **kwargs: Any) -> Any:
            # The first call is scikit-learn's.
            if is_fitted(estimator) and not get_config()["skip_parameter_validation"]:
                estimator._validate_params()
            return checked(estimator, *args, **kwargs)

        return cast(Method, validated)

    return decorate


def quoted(value: Any) -> str:
    """Return a value as messages quote it: on one line, cut if long, without an address or numpy's type."""
    try:
        text = repr(value.item() if isinstance(value, np.generic) else value)
    except Exception:  # of a class that is not ours, or an integer of 5,000 digits
        text = f"a {type(value).__name__}"
    text = " ".join(re.sub(r" at 0x[0-9A-Fa-f]+", "", text).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def nearest(value: Any, names: Iterable[str]) -> str:
    """Ask, at the end of a message, whether the valid name nearest to a wrong one was meant."""
    close = get_close_matches(str(value).lower(), list(names), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def warn_user(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """Warn, pointing to the nearest line that is not of this package, scikit-learn or joblib."""
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").split(".")[0] in _LIBRARIES:
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)


@contextmanager
def told_of(name: str, *others: str) -> Iterator[None]:
    """Name an input in what libraries raise where it can't be used, and cut what they quote.

    An error that names it, or one of the ``others``, is left as it is; so is one of a kind of the user's own.
    """
    try:
        with np.errstate(over="ignore"):  # what no float can hold is infinite, which is told then
            yield
    except NotFittedError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        text = str(error)
        named = any(re.search(rf"\b{known}\b", text) for known in (name, *others))
        if (named and len(text) <= _MOST) or type(error).__module__.split(".")[0] not in _OF_ARRAYS:
            raise
        if "inconsistent numbers of samples" in text:
            name = f"{name} and y"
        text = text if len(text) <= _MOST else f"{text[: _MOST - 4]} ..."
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(text if named else f"{name}: {text}") from error


@contextmanager
def restored_on_error(estimator: Any) -> Iterator[None]:
    """Leave an estimator exactly as it was if the block raises, whatever it raises."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        estimator.__dict__ = before  # in one step: Ctrl-C may be pressed twice
        raise


@singledispatch
def is_fitted(estimator: Any) -> bool:
    """Say whether an object is a fitted estimator; ``is_fitted.register`` adds a kind with its own rule."""
    try:
        check_is_fitted(estimator)
    except (NotFittedError, TypeError):
        return False
    return True


@is_fitted.register
def _(estimator: FrozenEstimator) -> bool:
    return is_fitted(estimator.estimator)


@is_fitted.register
def _(estimator: Pipeline) -> bool:
    return bool(estimator.steps) and is_fitted(estimator.steps[-1][1])


def check_column_values(
    value: Any, n_features: int, name: str, columns: np.ndarray | None = None
) -> float | np.ndarray:
    """Return a non-negative scalar, or one such value a feature; a Series is matched to columns by name."""
    value = _in_order_of(columns, value, name)
    try:
        if np.asarray(value).dtype.kind not in "iuf":
            raise TypeError
        with np.errstate(over="ignore"):
            values = np.array(value, dtype=np.float64)  # a copy: torch takes no reversed view
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            f"{name}={quoted(value)} is no number; give a number >= 0, or one a feature."
        ) from None
    if values.shape not in [(), (n_features,)]:
        raise ValueError(
            f"{name} has shape {values.shape}, but X has {n_features} features; give a scalar or an "
            f"array of shape ({n_features},)."
        )
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        got = f"{name}={quoted(value)}"
        if values.ndim:
            got = f"{name} is {values[wrong][0]} for feature {np.argmax(wrong)}; it"
        raise ValueError(f"{got} must be finite and not negative.")
    return float(values) if values.ndim == 0 else values


def _in_order_of(columns: np.ndarray | None, value: Any, name: str) -> Any:
    """Return the values of a pandas Series in the order of X's columns; anything else as it is."""
    if columns is None or not (hasattr(value, "reindex") and hasattr(value, "index")):
        return value
    if set(value.index) != set(columns) or len(value.index) != len(columns):
        raise ValueError(
            f"{name} is a {type(value).__name__} whose index is not X's columns, {list(columns[:3])} and so "
            "on; give it that index, or an array in the order of the columns."
        )
    return value.reindex(list(columns)).to_numpy()


def check_mask(mask: Any, n_features: int, name: str, columns: np.ndarray | None = None) -> np.ndarray:
    """Return a boolean mask over the features, not all False; a Series is matched to columns by name."""
    with told_of(name):
        values = np.asarray(_in_order_of(columns, mask, name))
    if values.dtype != bool:
        raise TypeError(
            f"{name} has values of dtype {values.dtype}; give one True or False a feature, such as "
            f"[True, False, ...] of length {n_features}."
        )
    if values.shape != (n_features,):
        raise ValueError(
            f"{name} has shape {values.shape}, but X has {n_features} features; give a boolean array of "
            f"shape ({n_features},)."
        )
    if not values.any():
        raise ValueError(f"{name} is False for every feature, so that nothing can move; set one to True.")
    return values


def check_count(value: Any, name: str) -> None:
    """Raise unless a value is an integer of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name}={quoted(value)} must be an integer of at least 1.")


def check_numbers(estimator: Any) -> None:
    """Raise if a number is True or False, or no float, which scikit-learn's own checks take for numbers."""
    for name, kinds in estimator._parameter_constraints.items():
        value = getattr(estimator, name)
        intervals = [kind for kind in kinds if isinstance(kind, Interval)]
        if isinstance(value, (bool, np.bool_)) and intervals:
            raise TypeError(f"{name}={value} is no number; give one, such as {name}={int(value)}.")
        if any(kind.type is Real for kind in intervals) and not _is_float(value):
            raise ValueError(f"{name}={quoted(value)} is too large for a float; give a smaller number.")


def _is_float(value: Any) -> bool:
    """Say whether a real number, which may be an integer of any size, has a finite float."""
    try:
        return bool(np.isfinite(float(value)))
    except OverflowError:
        return False


def import_optional(module: str, package: str, user: str) -> Any:
    """Import a module of a package that is not required, or say how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{user} needs {module.split('.')[0]}, which can't be imported ({error}); install it by: "
            f"pip install {package}"
        ) from error


def check_bounds(
    bounds: Any, n_features: int | None, columns: np.ndarray | None = None
) -> tuple[Any, Any] | None:
    """Return (low, high), each a scalar or of shape (n_features,), or None; a Series is matched by name.

    Before the data are known, ``n_features`` is None: of any shapes.
    """
    if bounds is None:
        return None
    try:
        ends = [_in_order_of(columns, b, "bounds") for b in bounds]
    except TypeError:
        ends = []
    try:
        if any(np.asarray(b).dtype.kind not in "iuf" for b in ends):
            raise TypeError
        with np.errstate(over="ignore"):
            low, high = (np.array(b, dtype=np.float64) for b in ends)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"bounds={quoted(bounds)} is not a pair (low, high) of numbers; give for example (0, 1), (0, "
            "np.inf) where there is no highest, or one array of lows and one of highs; or None."
        ) from None
    if n_features is not None and any(b.shape not in [(), (n_features,)] for b in (low, high)):
        raise ValueError(
            f"bounds have shapes {low.shape} and {high.shape}, but X has {n_features} features; give "
            f"scalars or arrays of shape ({n_features},)."
        )
    if np.isnan(low).any() or np.isnan(high).any() or not (low < high).all():
        raise ValueError(f"bounds={quoted(bounds)} must have low < high for every feature.")
    return low, high


def check_inside(X: Any, bounds: tuple[Any, Any] | None, name: str = "X") -> None:
    """Raise if a value lies outside the bounds; what a sparse matrix does not store is 0."""
    if bounds is None:
        return
    # A bound that X's own precision rounds outwards is still kept.
    low, high = (b.astype(X.dtype) for b in bounds)
    if issparse(X):
        low, high = (np.broadcast_to(b, X.shape[1]) for b in (low, high))
        outside = (low[X.indices] > X.data) | (high[X.indices] < X.data)
        with_zeros = np.bincount(X.indices, minlength=X.shape[1]) < X.shape[0]
        if outside.any() or (with_zeros & ((low > 0) | (high < 0))).any():
            value = X.data[outside][0].item() if outside.any() else 0.0
            raise ValueError(f"{name} has a value outside bounds: {value!r}; widen bounds or clip the input.")
        return
    for rows in gen_batches(X.shape[0], max(1, BLOCK // X.shape[1])):
        outside = (low > X[rows]) | (high < X[rows])
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise ValueError(
                f"{name} has a value outside bounds: {X[rows][row, column].item()!r} in row "
                f"{rows.start + row}, feature {column}; widen bounds or clip the input."
            )


def check_fit_data(estimator: Any, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
    """Return X, as floats, and y as ``fit`` accepts them; with ``reset`` X says what columns there are."""
    try:
        y = y if y is None else read_labels(y, "y")
    except ValueError as error:
        if not re.search(r"y should be a 1d array, got an array of shape \(\d+, \d+", str(error)):
            raise
        raise ValueError(
            f"{error} Several labels a row (multilabel, multioutput) can't be learned; fit one estimator a "
            "column, for example by sklearn.multioutput.MultiOutputClassifier."
        ) from None
    with told_of("X", "y"):
        return validate_data(estimator, X, y, reset=reset, dtype=FLOATS, accept_sparse="csr")


def check_inputs(estimator: Any, X: Any) -> Any:
    """Return X as an estimator that is fitted already accepts it: floats, the same columns."""
    with told_of("X"):
        return validate_data(estimator, X, reset=False, dtype=FLOATS, accept_sparse="csr")


def check_logits(logits: np.ndarray, first: int = 0) -> np.ndarray:
    """Return what a network answers if it is finite; ``first`` is the number of its first row."""
    if not np.isfinite(logits).all():
        row = first + int(np.argmin(np.isfinite(logits).all(axis=1)))
        raise ValueError(
            f"Row {row} of X makes the network overflow in {logits.dtype}: its values, or the network's "
            "parameters, are too large; scale X like the rows that the estimator was fitted on."
        )
    return logits


def check_rows(
    estimator: Any, data: Any, dtype: Any, sparse: bool
) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return ``teacher_data`` as inputs, labels, weights and, if matched by name, its columns within X."""
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TypeError(
            f"teacher_data must be a tuple (X1, y1) or (X1, y1, sample_weight1), got {type(data).__name__}"
            f"{f' of length {len(data)}' if hasattr(data, '__len__') else ''}."
        )
    accept = ["csr"] if sparse else False
    with told_of("teacher_data"):
        given = data[0] if hasattr(data[0], "shape") else np.asarray(data[0])
        if given.shape[:1] == (0,):
            raise ValueError("teacher_data is empty: its X has 0 rows; give at least one, or leave it out.")
        X = check_array(data[0], dtype=dtype, accept_sparse=accept, input_name="teacher_data")
        columns = _match_columns(estimator, data[0], X.shape[1])
    y = check_labels(data[1], "teacher_data")
    if len(y) != X.shape[0]:
        raise ValueError(
            f"teacher_data has {X.shape[0]} rows in X but {len(y)} labels in y; give one label a row."
        )
    weight = check_weight(data[2] if len(data) == 3 else None, X, "teacher_data's sample_weight")
    return (csr_matrix(X) if sparse else X), y, weight, columns


def _match_columns(estimator: Any, X1: Any, n_columns: int) -> np.ndarray | None:
    """Return X's column of every column of ``teacher_data`` by name; None: X's in X's order, or no names."""
    if n_columns > estimator.n_features_in_:
        raise ValueError(
            f"teacher_data has {n_columns} features, but X has {estimator.n_features_in_}; give columns that "
            "X has too."
        )
    names, names1 = getattr(estimator, "feature_names_in_", None), _get_feature_names(X1)
    if names is None or names1 is None:
        if n_columns == estimator.n_features_in_:
            _check_feature_names(estimator, X1, reset=False)  # which warns if one side has names
        return None
    position = {name: column for column, name in enumerate(names)}
    unknown = [name for name in names1 if name not in position]
    if unknown:
        raise ValueError(
            f"teacher_data has a column named {unknown[0]!r}, which X has not; X's columns are "
            f"{quoted(names.tolist())}."
        )
    columns = np.array([position[name] for name in names1])
    return None if np.array_equal(columns, np.arange(len(names))) else columns


def check_weight(sample_weight: Any, X: np.ndarray, name: str = "sample_weight") -> np.ndarray:
    """Return row weights of shape (n_samples,) and X's dtype, not negative and not all 0."""
    with told_of(name):
        weight = _check_sample_weight(sample_weight, X, dtype=X.dtype, ensure_non_negative=True)
    return check_mass(weight, name)


def check_mass(weight: np.ndarray, name: str) -> np.ndarray:
    """Return row weights if one of them is not 0, and any of them can be summed and divided by the sum.

    What is too small for that counts as 0: less than 1e-37 in single precision, than 1e-307 in double.
    """
    with np.errstate(over="ignore"):
        mass = weight.sum()
    largest, least = weight.max(), np.finfo(weight.dtype).tiny
    if not largest:
        raise ValueError(f"{name} is zero for every row; at least one row must count.")
    if not np.isfinite(mass) or largest < least:
        raise ValueError(
            f"{name} has values up to {largest}, which are too {'large' if largest > 1 else 'small'} to be "
            f"computed with as {weight.dtype}; divide them by their mean."
        )
    small = (weight > 0) & (weight < least)
    return np.where(small, 0, weight) if small.any() else weight


def check_class_weight(class_weight: Any, y: np.ndarray) -> None:
    """Raise unless a dict of class weights has values >= 0 and names a label of y."""
    if not isinstance(class_weight, dict):
        return
    for label, value in class_weight.items():
        if not isinstance(value, Real) or not 0 <= float(value) < np.inf:
            raise ValueError(f"class_weight[{quoted(label)}]={quoted(value)} must be a finite number >= 0.")
    if not set(class_weight) & set(y.tolist()):
        raise ValueError(
            f"class_weight names {quoted(list(class_weight))}, none of which is a label of y; those are "
            f"{quoted(np.unique(y).tolist())}."
        )


def weigh_classes(class_weight: Any, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return row weights times class weights; "balanced" gives all classes that count the same sum."""
    if class_weight is None:
        return weight
    classes, codes = np.unique(y, return_inverse=True)
    if class_weight == "balanced":
        mass = np.bincount(codes, weights=weight)
        factors = np.divide(
            mass.sum(), np.count_nonzero(mass) * mass, out=np.zeros_like(mass), where=mass > 0
        )
    else:
        factors = np.array([class_weight.get(label, 1.0) for label in classes.tolist()])
    return weight * factors[codes].astype(weight.dtype)


def read_labels(y: Any, name: str) -> np.ndarray:
    """Return labels as a vector of strings, booleans or numbers, whatever objects held them."""
    if y is None:
        raise TypeError(f"{name} has no labels, but None; give one label a row.")
    with told_of(name):
        labels = column_or_1d(y, warn=True)
    if labels.dtype.kind == "T":  # which scikit-learn does not take
        labels = labels.astype(object)
    if labels.dtype.kind == "O":
        _check_one_type(labels.tolist(), name)
        if not isinstance(labels[0], str):
            with told_of(name):
                labels = np.array(labels.tolist())
    elif labels.dtype.kind == "U" and isinstance(y, (list, tuple)) and {str} < set(map(type, y)):
        _check_one_type(list(y), name)
    if labels.dtype.kind in "cV":
        what = "Complex data not supported" if labels.dtype.kind == "c" else f"no labels, but {labels.dtype}"
        raise ValueError(f"{name}: {what}; give strings, booleans or numbers.")
    return labels


def _check_one_type(labels: list[Any], name: str) -> None:
    """Raise unless labels are all strings, all booleans or all numbers; numpy makes strings of [1, "a"]."""
    kinds = {str if isinstance(label, str) else type(label) for label in labels}
    if len(kinds) != 1 or not issubclass(next(iter(kinds)), (str, bool, Real, bytes)):
        names = sorted(kind.__name__ for kind in kinds)
        raise ValueError(
            f"{name} {'mixes' if len(names) > 1 else 'has'} labels of the types {names}; give labels "
            "of one type, strings, booleans or numbers, and none that is missing (None or NaN)."
        )


def check_labels(y: Any, name: str) -> np.ndarray:
    """Return labels as :func:`read_labels` does; raise if they are not those of classes."""
    labels = read_labels(y, name)
    try:
        with np.errstate(invalid="ignore"):  # of a cast to int, to see whether floats are whole
            check_classification_targets(labels)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{name} has labels that are no classes: {error}") from None
    return labels


def check_first_partial_fit(estimator: Any, classes: Any) -> bool:
    """Set ``classes_`` in the first call of ``partial_fit``, and say whether this is it."""
    if classes is not None:
        classes = read_labels(classes, "classes")
        if not len(classes):
            raise ValueError("classes is empty; give all labels that will ever come.")
    with told_of("classes"):
        return _check_partial_fit_first_call(estimator, classes)


def check_enough_classes(classes: np.ndarray) -> np.ndarray:
    """Return the classes if there are at least two."""
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only, {quoted(classes[0])}; a classifier needs rows of at least 2 classes."
        )
    return classes


def encode_labels(y: np.ndarray, classes: np.ndarray, name: str, owner: str) -> np.ndarray:
    """Return the position of every label among ``classes``, which need not be sorted."""
    order = np.argsort(classes)
    try:
        position = order[np.searchsorted(classes, y, sorter=order).clip(max=len(classes) - 1)]
        unknown = np.unique(y[classes[position] != y])
    except TypeError:  # of a kind that can't be compared with that of the classes
        unknown = np.unique(y)
    if len(unknown):
        raise ValueError(
            f"{name} has labels that {owner} doesn't know: {quoted(unknown.tolist())}; it knows "
            f"{quoted(classes.tolist())}."
        )
    return position


def check_same_kind(labels: np.ndarray, classes: np.ndarray, name: str) -> None:
    """Raise if labels are of another kind (strings, booleans, numbers) than the teacher's classes."""
    got, known = _kind(labels), _kind(classes)
    if got != known:
        label, class_ = (
            quoted(found.tolist()[0]) for found in (np.unique(labels), np.array(classes.tolist()[:1]))
        )
        error = (
            f"{name} has {got} labels (such as {label}), but the teacher's classes are {known} (such as "
            f"{class_}). If its outputs stand for labels of {name}, name them in "
            "their order by teacher_classes."
        )
        raise ValueError(f"{error} {ONE_VS_REST}" if are_one_vs_rest(labels, classes) else error)


def are_one_vs_rest(labels: np.ndarray, classes: np.ndarray) -> bool:
    """Say whether labels are those that one-vs-rest tools make up, and the teacher's classes are not."""
    made_up: tuple[set, set] = ({0, 1}, {-1, 1})
    found = set(np.unique(labels).tolist()) if _kind(labels) == "numeric" else set()
    return found in made_up and not found.issuperset(classes.tolist())


def _kind(labels: np.ndarray) -> str:
    kind = labels.dtype.kind
    if kind == "O":
        kinds = {type(label) for label in labels}
        kind = "U" if kinds <= {str, np.str_} else "b" if kinds <= {bool, np.bool_} else "f"
    names = {"U": "string", "S": "bytes", "b": "boolean", "M": "date", "m": "duration"}
    return names.get(kind, "numeric")
