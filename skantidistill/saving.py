"""Save a fitted student in one file without pickle, and load it again."""

from pathlib import Path
from typing import Any

import numpy as np

from skantidistill._checks import check_bounds, check_class_weight, check_column_values, quoted, warn_user
from skantidistill.blueprint import Blueprint
from skantidistill.settings import hidden_layer_sizes
from skantidistill.shipping import plain_estimator
from skantidistill.student_parts import (
    Arrays,
    pack_blueprint,
    pack_growth,
    pack_layers,
    pack_training,
    unpack_blueprint,
    unpack_growth,
    unpack_layers,
    unpack_training,
)
from skantidistill.summary import TERMS
from skantidistill.teachers import read_teacher
from skantidistill.tensor_files import decode, encode, finish, read_file, take, write_file
from skantidistill.writing import can_be_named

__all__ = ["load_student", "save_student"]

#: Parameters that a file never has. A teacher comes back as scikit-learn's, with its labels; what a cache in
#: the folder ``memory`` holds is pickle, which a file must not be able to point to.
_NOT_WRITTEN = {"teacher", "teacher_classes", "callbacks", "memory"}
_HISTORIES = ("history_", "phi_history_")
#: What is read in their rows.
_READ = {"train_loss", "valid_acc", *TERMS}
#: Fitted attributes that a file keeps, in one part of it or another.
_KEPT = {
    *(
        "classes_",
        "n_features_in_",
        "feature_names_in_",
        "blueprint_",
        "phi_blueprint_",
        "growth_",
        "teacher_",
    ),
    *("n_iter_", "loss_", "loss_curve_", "validation_scores_", "restart_scores_", *_HISTORIES),
    *("_training_state", "_generator_states"),
}

#: What scikit-learn's setters leave in an estimator, as its user knows it.
_PRIVATE = {
    "_metadata_request": "the requests of set_fit_request and the like",
    "_skl_callbacks": "the callbacks of set_callbacks",
}


def save_student(student: Any, path: Any) -> None:
    """Write a fitted student into a file, at once or not at all: see ``AntiDistilledMLPClassifier.save``."""
    place = _as_path(path)
    arrays: Arrays = {}
    left: list[str] = []
    network = student.blueprint_
    _check_parameters(student, network)
    content = {
        "network": pack_blueprint("network", network, arrays),
        "teacher": None,
        "growth": None,
        "parameters": _pack_parameters(student, arrays, left),
        "n_steps": pack_training(student, arrays),
        **_pack_record(student, left),
    }
    pack_layers("phi", student.phi_blueprint_, arrays)
    if student.growth_ is not None:
        content["growth"] = pack_growth(student.growth_, arrays)
        teacher = read_teacher(student.teacher_, student.teacher_classes)
        content["teacher"] = pack_blueprint("teacher", teacher, arrays)
        # An unfitted teacher was fitted on bare arrays, but the student knows what they are.
        content["teacher"]["features"] = content["growth"]["teacher"]["features"]
    made = type(student)(**student.get_params(deep=False))  # as load makes it
    own = set(vars(student)) - set(vars(made)) - _KEPT
    left += sorted(_PRIVATE.get(name, name) for name in own)
    write_file(place, content, arrays)
    if left:
        warn_user(
            f"{path} does not keep {', '.join(left)}: a file without pickle can't. Set them anew in a "
            "loaded student."
        )


def load_student(kind: type, path: Any) -> Any:
    """Return the student in a file: see ``AntiDistilledMLPClassifier.load``."""
    place = _as_path(path)
    try:
        content, arrays = read_file(place)
        student = _unpack(kind, content, arrays)
        finish(arrays, "tensors")
        finish(content, "keys")
        return student
    except ValueError as error:
        raise ValueError(
            f"{path} can't be loaded as a student: {str(error).rstrip('.')}. Give a file that save wrote."
        ) from None


def _as_path(path: Any) -> Path:
    """Return the path of a file, or say why there can't be a file of that name."""
    try:
        place = Path(path)
    except TypeError:
        raise TypeError(f"path={quoted(path)} is no path; give a string or a pathlib.Path.") from None
    if not can_be_named(place):
        raise ValueError(f"path={quoted(path)} has a character that names of files can't have; leave it out.")
    return place


def _unpack(kind: type, content: dict[str, Any], arrays: Arrays) -> Any:
    """Return a student out of the parts, each of which is checked by itself and against the network."""
    network = unpack_blueprint("network", take(content, "network", dict), arrays)
    if not (network.classes[:-1] < network.classes[1:]).all():
        raise ValueError("its network's classes are not sorted")
    growth, teacher = take(content, "growth", dict, type(None)), take(content, "teacher", dict, type(None))
    if (growth is None) != (teacher is None):
        raise ValueError("it has a growth without a teacher, or a teacher without a growth")
    student = kind(**_unpack_parameters(kind, take(content, "parameters", dict), arrays))
    _check_parameters(student, network)
    student.growth_ = None if growth is None else unpack_growth(growth, arrays, network)
    student.teacher_ = None
    if teacher is not None:
        student.teacher_ = student.teacher = plain_estimator(unpack_blueprint("teacher", teacher, arrays))
    student.blueprint_, student.classes_ = network, network.classes
    student.n_features_in_ = network.layer_sizes[0]
    if network.feature_names is not None:
        student.feature_names_in_ = network.feature_names
    student.phi_blueprint_ = network.with_parameters(unpack_layers("phi", arrays))
    if [p.shape for p in student.phi_blueprint_.parameters] != [p.shape for p in network.parameters]:
        raise ValueError("its phi has other layers than its network")
    n_steps = take(content, "n_steps", int, type(None))
    student._training_state, student._generator_states = unpack_training(
        n_steps, network, arrays, student.device
    )
    _unpack_record(student, content)
    return student


def _pack_parameters(student: Any, arrays: Arrays, left: list[str]) -> dict[str, Any]:
    """Return the parameters as JSON; what it can't say goes to ``left``."""
    packed = {}
    for name, value in student.get_params(deep=False).items():
        try:
            if name not in _NOT_WRITTEN:
                own: Arrays = {}
                written = encode(_plain(student, name, value), f"parameters.{name}", own)
                decode(written, dict(own))  # what load would refuse is not written
                packed[name] = written
                arrays.update(own)
            elif not name.startswith("teacher") and value is not None and value != []:
                left.append(name)
        except (TypeError, ValueError):
            left.append(name)
    return packed


def _plain(student: Any, name: str, value: Any) -> Any:
    """Return a Series of values for the columns as an array in their order."""
    columns, n_features = getattr(student, "feature_names_in_", None), student.n_features_in_
    if name == "delta" and hasattr(value, "reindex"):
        return check_column_values(value, n_features, name, columns)
    if name == "bounds" and value is not None and any(hasattr(end, "reindex") for end in value):
        return check_bounds(value, n_features, columns)
    return value


def _unpack_parameters(kind: Any, packed: dict[str, Any], arrays: Arrays) -> dict[str, Any]:
    finish(set(packed) - (set(kind._get_param_names()) - _NOT_WRITTEN), f"parameters of {kind.__name__}")
    return {name: decode(value, arrays) for name, value in packed.items()}


def _check_parameters(student: Any, network: Blueprint) -> None:
    """Raise a ValueError for a parameter that ``fit`` would refuse, as far as it can tell without data."""
    student._validate_params()
    n_features, columns = network.layer_sizes[0], network.feature_names
    try:
        if not isinstance(student.hidden_layer_sizes, str):
            hidden_layer_sizes(student, None)
        check_column_values(student.delta, n_features, "delta", columns)
        check_bounds(student.bounds, n_features, columns)
        check_class_weight(student.class_weight, network.classes)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _pack_record(student: Any, left: list[str]) -> dict[str, Any]:
    """Return how training went; what a callback has put into a history may be no plain value."""
    packed: dict[str, Any] = {
        "n_iter": int(student.n_iter_),
        "loss": float(student.loss_),
        "loss_curve": [float(loss) for loss in student.loss_curve_],
        "validation_scores": student.validation_scores_ and [float(s) for s in student.validation_scores_],
    }
    if hasattr(student, "restart_scores_"):
        packed["restart_scores"] = student.restart_scores_.tolist()
    for name in _HISTORIES:
        rows = packed[name.strip("_")] = []
        for row in getattr(student, name):
            plain = {key: v.item() if isinstance(v, np.generic) else v for key, v in row.items()}
            rows.append(
                {k: v for k, v in plain.items() if isinstance(v, (bool, int, float, str, type(None)))}
            )
            left += [f"{name}[{k!r}]" for k in plain.keys() - rows[-1].keys() if f"{name}[{k!r}]" not in left]
    return packed


def _unpack_record(student: Any, content: dict[str, Any]) -> None:
    student.n_iter_ = take(content, "n_iter", int)
    student.loss_ = take(content, "loss", float)
    student.loss_curve_ = take(content, "loss_curve", list)
    student.validation_scores_ = take(content, "validation_scores", list, type(None))
    restarts = take(content, "restart_scores", list) if "restart_scores" in content else []
    for scores in (student.loss_curve_, student.validation_scores_ or [], restarts):
        if not all(isinstance(score, float) for score in scores):
            raise ValueError("its loss_curve, validation_scores or restart_scores has what is no number")
    if restarts:
        student.restart_scores_ = np.array(restarts)
    for name in _HISTORIES:
        rows = take(content, name.strip("_"), list)
        if not all(isinstance(row, dict) and _are_plain(row.values()) for row in rows):
            raise ValueError(f"its {name.strip('_')} is no list of rows of numbers and strings")
        if not all(_has_losses(row, rows[0] if name == "phi_history_" else {}) for row in rows):
            raise ValueError(f"its {name.strip('_')} has a row without its loss or terms as numbers")
        setattr(student, name, rows)


def _has_losses(row: dict[str, Any], first: dict[str, Any]) -> bool:
    """Say whether a row of a history has what summaries and a later run read in it."""
    needed = {"train_loss", *(row.keys() & _READ), *(first.keys() & _READ)}
    return all(isinstance(row.get(name), float) for name in needed)


def _are_plain(values: Any) -> bool:
    return all(isinstance(value, (bool, int, float, str, type(None))) for value in values)
