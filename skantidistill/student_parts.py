"""The parts of a fitted student as JSON and arrays, and back: networks, growth, what training goes on from.

Every ``pack_*`` puts arrays aside and returns JSON; its ``unpack_*`` takes both out again, trusts neither,
and raises a ValueError that says what does not fit.
"""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from skantidistill._checks import check_same_kind
from skantidistill.blueprint import Blueprint
from skantidistill.growth import Growth
from skantidistill.tensor_files import finish, take

__all__ = [
    "pack_blueprint",
    "pack_growth",
    "pack_labels",
    "pack_layers",
    "pack_training",
    "unpack_blueprint",
    "unpack_growth",
    "unpack_labels",
    "unpack_layers",
    "unpack_training",
]

Arrays = dict[str, np.ndarray]

_LABEL_DTYPE = r"\|b1|\|[iu]1|<[iu][248]|<f[248]|<U[0-9]{1,8}|object"
_LABEL_TYPES: dict[str, type] = {"b": bool, "i": int, "u": int, "f": float, "U": str, "O": str}
#: Bytes that restored labels may take: their dtype may ask for strings that are longer than all of them.
_MOST_BYTES = 2**28
_MOMENTS = ("exp_avg", "exp_avg_sq")


def pack_labels(labels: np.ndarray) -> dict[str, Any]:
    """Return labels as JSON: numbers, booleans or strings, and their dtype."""
    values, kind = labels.tolist(), labels.dtype.kind
    dtype = "object" if kind == "O" else labels.dtype.newbyteorder("<").str
    if not re.fullmatch(_LABEL_DTYPE, dtype) or not all(type(v) is _LABEL_TYPES[kind] for v in values):
        raise ValueError(
            f"Labels of dtype {labels.dtype} such as {values[0]!r} can't be saved; fit on numbers, booleans "
            "or strings."
        )
    return {"dtype": dtype, "values": values}


def unpack_labels(section: dict[str, Any]) -> np.ndarray:
    """Return distinct labels of one type, in their dtype."""
    name, values = take(section, "dtype", str), take(section, "values", list)
    finish(section, "keys of labels")
    if not re.fullmatch(_LABEL_DTYPE, name):
        raise ValueError(f"its labels have the unknown dtype {name[:50]!r}")
    dtype = np.dtype(name)
    if dtype.itemsize * len(values) > _MOST_BYTES:
        raise ValueError(f"its labels of dtype {name} take more than {_MOST_BYTES} bytes")
    if not all(type(value) is _LABEL_TYPES[dtype.kind] for value in values):
        raise ValueError(f"its labels are not all of the dtype {name[:50]!r}")
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    if limits and not all(limits.min <= value <= limits.max for value in values):
        raise ValueError(f"its labels do not fit into {name[:50]!r}")
    labels = np.array(values, dtype=dtype)
    if labels.tolist() != values or len(set(values)) < len(values):
        raise ValueError(f"its labels are not distinct values of the dtype {name[:50]!r}")
    return labels


def pack_layers(name: str, blueprint: Blueprint, arrays: Arrays) -> None:
    """Put the parameters aside, in one precision."""
    parameters = blueprint.parameters
    single = np.result_type(np.float32, *parameters) == np.float32
    for number, parameter in enumerate(parameters):
        key = f"{name}.{number // 2}.{'bias' if number % 2 else 'weight'}"
        arrays[key] = parameter.astype(np.float32 if single else np.float64)


def unpack_layers(name: str, arrays: Arrays, n_outputs: int = 1) -> tuple[np.ndarray, ...]:
    """Return (W_1, b_1, ...) of finite values and one precision; that they chain is Blueprint's to check.

    With ``n_outputs=0`` the last layer may have no output.
    """
    params: list[np.ndarray] = []
    while f"{name}.{len(params) // 2}.weight" in arrays:
        number = len(params) // 2
        for kind, n_dims in (("weight", 2), ("bias", 1)):
            array = take(arrays, f"{name}.{number}.{kind}", np.ndarray)
            empty = not array.size and (n_outputs > 0 or array.shape[0] > 0)
            if array.ndim != n_dims or empty or array.dtype not in (np.float32, np.float64):
                raise ValueError(
                    f"its {name}.{number}.{kind} has the shape {array.shape} and the dtype {array.dtype}, "
                    f"not {n_dims} dimensions of float32 or float64"
                )
            if not np.isfinite(array).all():
                raise ValueError(f"its {name}.{number}.{kind} has values that are NaN or infinite")
            params.append(array)
    if not params or len({array.dtype for array in params}) > 1:
        raise ValueError(f"its {name} has no layer, or layers of several dtypes")
    return tuple(params)


def pack_blueprint(name: str, blueprint: Blueprint, arrays: Arrays) -> dict[str, Any]:
    """Return a network's labels, names and activation, with its parameters and its scaling put aside."""
    pack_layers(name, blueprint, arrays)
    if blueprint.input_scale is not None and blueprint.input_shift is not None:
        arrays[f"{name}.input_scale"] = blueprint.input_scale
        arrays[f"{name}.input_shift"] = blueprint.input_shift
    names = blueprint.feature_names
    return {
        "activation": blueprint.activation,
        "classes": pack_labels(blueprint.classes),
        "features": None if names is None else [str(feature) for feature in names],
    }


def unpack_blueprint(name: str, section: dict[str, Any], arrays: Arrays, n_classes: int = 2) -> Blueprint:
    """Return a network of at least ``n_classes`` classes, checked by itself and by Blueprint."""
    params = unpack_layers(name, arrays, n_classes)
    classes = unpack_labels(take(section, "classes", dict))
    names = take(section, "features", list, type(None))
    n_features = params[0].shape[1]
    if names is not None and not (len(names) == n_features and all(isinstance(n, str) for n in names)):
        raise ValueError(f"its {name}'s features are not {n_features} strings")
    scale, shift = (_unpack_scaling(f"{name}.input_{end}", n_features, arrays) for end in ("scale", "shift"))
    if (scale is None) != (shift is None) or (scale is not None and not scale.all()):
        raise ValueError(f"its {name}'s scaling is not an input_scale without 0 and an input_shift")
    features = None if names is None else np.array(names, dtype=object)
    activation = take(section, "activation", str)
    finish(section, f"keys of {name}")
    if len(classes) < n_classes:
        raise ValueError(f"its {name} has fewer than {n_classes} classes")
    return Blueprint(params[::2], params[1::2], activation, classes, features, scale, shift)


def _unpack_scaling(key: str, n_features: int, arrays: Arrays) -> np.ndarray | None:
    if key not in arrays:
        return None
    array = arrays.pop(key)
    if array.shape != (n_features,) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise ValueError(f"its {key} is not {n_features} finite numbers")
    return array


def pack_growth(growth: Growth, arrays: Arrays) -> dict[str, Any]:
    """Return what a growth is made of: its teacher, and which columns are the teacher's."""
    arrays["growth.columns"] = growth.features.astype(np.int64)
    return {
        "teacher": pack_blueprint("growth", growth.teacher, arrays),
        "with_output_layer": len(growth.layers) > len(growth.teacher.hidden_layer_sizes),
    }


def unpack_growth(section: dict[str, Any], arrays: Arrays, network: Blueprint) -> Growth:
    """Return the growth of a teacher into a network, checked by Growth."""
    columns = take(arrays, "growth.columns", np.ndarray)
    # A class of the teacher's that has no row gets no output: one of them may be left, or none.
    teacher = unpack_blueprint("growth", take(section, "teacher", dict), arrays, n_classes=0)
    with_output_layer = take(section, "with_output_layer", bool)
    finish(section, "keys of growth")
    n_features, *hidden, _ = network.layer_sizes
    fits = columns.shape == teacher.layer_sizes[:1] and columns.dtype == np.int64
    if (
        not fits
        or not np.isin(columns, np.arange(n_features)).all()
        or len(np.unique(columns)) < len(columns)
    ):
        raise ValueError(f"its growth.columns are not {teacher.layer_sizes[0]} distinct ones of {n_features}")
    if len(teacher.classes):
        check_same_kind(network.classes, teacher.classes, "network")
    if teacher.activation != network.activation or not np.isin(teacher.classes, network.classes).all():
        raise ValueError("its growth has a teacher of another activation than the network, or other classes")
    # Columns are matched by made-up names, so that those which are the teacher's come out as they were.
    names = np.array([str(column) for column in range(n_features)], dtype=object)
    named = replace(teacher, feature_names=names[columns])
    growth = Growth(named, n_features, hidden, network.classes, names)
    growth.teacher = teacher
    return growth if with_output_layer else growth.without_output_layer()


def pack_training(student: Any, arrays: Arrays) -> int | None:
    """Put the optimiser's and the generators' states aside; return the steps in the moving average."""
    state = student._training_state
    for index, values in state["optimizer"]["state"].items():
        for key in ("step", *_MOMENTS):
            arrays[f"optimizer.{index}.{key}"] = values[key].numpy(force=True)
    for index, parameter in enumerate(state.get("stepped") or []):
        arrays[f"last_step.{index}"] = parameter.numpy(force=True)
    for index, generator in enumerate(student._generator_states):
        arrays[f"generator.{index}"] = generator.numpy(force=True)
    return state.get("n_steps")


def unpack_training(
    n_steps: int | None, network: Blueprint, arrays: Arrays, device: str
) -> tuple[dict[str, Any], tuple[torch.Tensor, ...]]:
    """Return what a later run goes on from, and the states of the generators."""
    params = network.parameters
    modules = [torch.nn.Parameter(torch.empty(0)) for _ in params]
    optimizer = torch.optim.Adam(modules, fused=True).state_dict()
    optimizer["state"] = {i: s for i, p in enumerate(params) if (s := _unpack_moments(i, p, arrays))}
    state: dict[str, Any] = {"optimizer": optimizer}
    if n_steps is not None:
        if n_steps < 0:
            raise ValueError(f"its n_steps={n_steps} is negative")
        state |= {"n_steps": n_steps, "stepped": None}
        if "last_step.0" in arrays:
            state["stepped"] = [_tensor(f"last_step.{i}", p, arrays) for i, p in enumerate(params)]
    return state, tuple(_unpack_generator(i, d, arrays) for i, d in enumerate(("cpu", device)))


def _unpack_moments(index: int, parameter: np.ndarray, arrays: Arrays) -> dict[str, torch.Tensor]:
    """Return Adam's state of one parameter; of one that has never moved there is none."""
    if f"optimizer.{index}.step" not in arrays:
        return {}
    state = {"step": _tensor(f"optimizer.{index}.step", np.zeros((), dtype=np.float32), arrays)}
    return state | {key: _tensor(f"optimizer.{index}.{key}", parameter, arrays) for key in _MOMENTS}


def _tensor(key: str, like: np.ndarray, arrays: Arrays) -> torch.Tensor:
    array = take(arrays, key, np.ndarray)
    if array.shape != like.shape or array.dtype != like.dtype:
        raise ValueError(
            f"its {key} has the shape {array.shape} and the dtype {array.dtype}, not {like.shape} and "
            f"{like.dtype}"
        )
    return torch.from_numpy(array)


def _unpack_generator(index: int, device: str, arrays: Arrays) -> torch.Tensor:
    """Return a generator's state; one for a device that may not be here can't be tried out."""
    array = take(arrays, f"generator.{index}", np.ndarray)
    if array.dtype != np.uint8 or array.ndim != 1:
        raise ValueError(f"its generator.{index} is no vector of bytes")
    state = torch.from_numpy(array)
    if device.startswith("cpu"):
        try:
            torch.Generator("cpu").set_state(state)
        except (RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(f"its generator.{index} is no state of a generator ({reason})") from None
    return state
