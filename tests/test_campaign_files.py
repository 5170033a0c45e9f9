"""Campaigns of hostile files: ``load`` gives a student or a ValueError, ``save`` writes all or nothing."""

import copy
import json
import os
import warnings
from functools import cache
from pathlib import Path
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save

from skantidistill import AntiDistilledMLPClassifier
from skantidistill.writing import write_whole
from tests.campaigns import campaign, case, outcomes
from tests.hostile import LABELS, TEXTS, fitted, frame, points
from tests.lawful import attempt, leads_inside, listing
from tests.mutations import BYTES, JSON, header

#: What is saved: a kind of labels, a teacher, X in single precision, X with names, and parameters.
SAVED = [
    ("plain text", "mlp", False, False, {}),
    ("integers", "none", True, False, {"class_weight": {3: 2.0}, "bounds": (-99, [99.0] * 3)}),
    ("text", "pipeline", False, True, {"delta": np.array([0.1, 0.2, 0.3])}),
    (
        "floats",
        "linear",
        False,
        False,
        {"early_stopping": True, "validation_fraction": 0.3, "ema_decay": 0.0},
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Work in an empty folder, and never write outside of it, whatever a made-up path says."""
    before, folder = Path.cwd(), tmp_path_factory.mktemp("files")

    def write_inside(path, content):
        assert leads_inside(path, folder), f"{path} is not below {folder}"
        write_whole(path, content)

    os.chdir(folder)
    with mock.patch("skantidistill.tensor_files.write_whole", write_inside):
        yield folder
    os.chdir(before)


@cache
def student(number):
    """Return a fitted student."""
    kind, teacher, single, named, settings = SAVED[number]
    X, codes = points()
    X = X.astype(np.float32) if single else X
    grown = AntiDistilledMLPClassifier(
        None if teacher == "none" else fitted(teacher, kind),
        **{"hidden_layer_sizes": (4,), "max_iter": 2, "phi_max_iter": 1, "random_state": 0, **settings},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it trains for two epochs, and its teacher has no names
        return grown.fit(frame(X) if named else X, LABELS[kind][codes])


@cache
def saved(number):
    """Return the file of a student, as bytes."""
    path = Path("whole")
    student(number).save(path)
    content = path.read_bytes()
    path.unlink()
    return content


@cache
def parts(number):
    """Return a file's metadata, its JSON and its arrays."""
    path = Path("whole")
    path.write_bytes(saved(number))
    with safe_open(path, framework="np") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  it is no dict
    path.unlink()
    return metadata, json.loads(metadata["student"]), arrays


# --- Tensors --------------------------------------------------------------------------------------------


def name_of(arrays, rng):
    return sorted(arrays)[rng.integers(len(arrays))]


def swap_tensors(arrays, rng):
    a, b = name_of(arrays, rng), name_of(arrays, rng)
    arrays[a], arrays[b] = arrays[b], arrays[a]


def drop_tensor(arrays, rng):
    if len(arrays) > 1:
        del arrays[name_of(arrays, rng)]


def rename_tensor(arrays, rng):
    names = [
        "more",
        "network.9.weight",
        "parameters.bounds",
        "last_step.0",
        "growth.columns",
        "x" * 3000,
        "\ud7ff",
    ]
    arrays[names[rng.integers(len(names))]] = arrays.pop(name_of(arrays, rng))


def cast_tensor(arrays, rng):
    name = name_of(arrays, rng)
    with np.errstate(all="ignore"):
        arrays[name] = arrays[name].astype(rng.choice(["f2", "f4", "f8", "i1", "i8", "u1", "u8", "?"]))


def reshape_tensor(arrays, rng):
    name = name_of(arrays, rng)
    array = arrays[name]
    shapes = [
        array.T,
        array[None],
        array.ravel(),
        array[:0] if array.ndim else array,
        array.repeat(2, axis=0) if array.ndim else array,
    ]
    arrays[name] = np.ascontiguousarray(shapes[rng.integers(len(shapes))])


def fill_tensor(arrays, rng):
    name = name_of(arrays, rng)
    array = arrays[name].copy()
    value = rng.choice([0, -1, np.nan, np.inf, 1e300, 1e38, 5e-324, 127])
    with np.errstate(all="ignore"):
        array.reshape(-1)[: rng.choice([1, array.size])] = np.asarray(value).astype(array.dtype)
    arrays[name] = array


def wide_layer(arrays, rng):
    """Give every layer of the network and of phi more units."""
    more = int(rng.integers(1, 4))
    for part in ["network", "phi", "teacher", "growth"][: rng.integers(1, 5)]:
        for name, axes in ((f"{part}.0.weight", 0), (f"{part}.0.bias", 0), (f"{part}.1.weight", 1)):
            if name in arrays and arrays[name].ndim > axes:
                pad = [(0, more if axis == axes else 0) for axis in range(arrays[name].ndim)]
                arrays[name] = np.pad(arrays[name], pad)


def join(content, rng):
    """Put parts of two files together."""
    other = saved(rng.integers(len(SAVED)))
    return [content + other, content[: header(content)] + other[header(other) :], other[:99] + content][
        rng.integers(3)
    ]


TENSORS = [swap_tensors, drop_tensor, rename_tensor, cast_tensor, reshape_tensor, fill_tensor, wide_layer]


@st.composite
def files(draw):
    """Draw the bytes of a file, and what was done to it."""
    number, seed = draw(st.integers(0, len(SAVED) - 1)), draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    changes = draw(st.lists(st.sampled_from([*JSON, *TENSORS]), max_size=3))
    damage = draw(
        st.lists(st.sampled_from([*BYTES, join]), max_size=0 if changes and draw(st.booleans()) else 2)
    )
    content = saved(number)
    if changes:
        metadata, text, arrays = copy.deepcopy(parts(number))
        for change in changes:
            change(text, rng) if change in JSON else change(arrays, rng)
        content = save(arrays, {**metadata, "student": json.dumps(text)})
    for change in damage:
        content = change(content, rng)
    return content, [change.__name__ for change in (*changes, *damage)]


@campaign(5000, loaded=0.05, refused=0.3, trained=0.03)
@given(files(), st.booleans())
def test_a_hostile_file_is_a_student_or_refused(folder, drawn, used):
    content, changes = drawn
    path = folder / "student"
    path.write_bytes(content)
    before = listing(folder)
    with case(60):
        ended = attempt(
            lambda: AntiDistilledMLPClassifier.load(path), ValueError, "can't be loaded as a student: "
        )
    assert listing(folder) == before
    if ended.error is None:
        assert_usable(ended.value, path)
        outcomes[go_on(ended.value) if used else "loaded"] += 1
    else:
        assert type(ended.error) is ValueError
        assert changes != []
        assert str(ended.error).startswith(str(path))
        assert "\n" not in str(ended.error)
        outcomes["refused"] += 1


def rows_for(student):
    """Return rows with a student's columns, in its precision."""
    X = points()[0][:, np.arange(student.n_features_in_) % 3].astype(student.blueprint_.dtype)
    names = getattr(student, "feature_names_in_", None)
    return X if names is None else pd.DataFrame(X, columns=names)


def assert_usable(loaded, path):
    """Check that a student out of a hostile file may be a bad one, and breaks nothing."""
    X = rows_for(loaded)
    assert str(loaded)
    assert isinstance(str(loaded.summary()), str)
    answered = attempt(lambda: loaded.predict(X), ValueError, "makes the network overflow")
    if answered.error is None:
        assert np.isin(answered.value, loaded.classes_).all()
    attempt(lambda: loaded.save(path), (), "")
    again = AntiDistilledMLPClassifier.load(path)
    for a, b in zip(loaded.blueprint_.parameters, again.blueprint_.parameters, strict=True):
        assert a.tobytes() == b.tobytes()
    assert again.get_params().keys() == loaded.get_params().keys()


def go_on(loaded):
    """Train a student on, which it does, or says why not."""
    X = rows_for(loaded)
    y = loaded.classes_[np.arange(len(X)) % len(loaded.classes_)]
    why = r"diverged|\bX\b|\by\b|[a-z]+_[a-z]+"  # any parameter, for any may be another
    return (
        "trained"
        if attempt(lambda: loaded.partial_fit(X, y), (ValueError, TypeError), why).error is None
        else "stuck"
    )


# --- Places ---------------------------------------------------------------------------------------------

SAID_OF_PLACES = r"path|[Ff]older|directory|[Ff]ile|null|encode|student"
PATHS = [
    *("", ".", "..", "/", "no/such/folder/student", "folder", "folder/", "file/below"),
    *(
        "student",
        "folder/student",
        "new file",
        "é漢🙂",
        "-rf",
        "~",
        "$HOME",
        "%s{0}",
        "a" * 200,
        "a" * 255,
        "\\",
        "*",
    ),
    *(
        3,
        None,
        1.5,
        True,
        [],
        {},
        object(),
        b"bytes",
        Path("student"),
        Path("folder"),
        np.str_("student"),
        print,
    ),
    *TEXTS,
]


@campaign(1000, done=0.2, refused=0.1)
@given(st.sampled_from(range(len(SAVED))), st.sampled_from(PATHS) | st.text(max_size=9), st.booleans())
def test_any_place_is_written_to_whole_or_not_at_all(folder, number, place, there):
    """What else lies in the folder stays as it was, and a file that is there stays whole."""
    assume(leads_inside(place, folder))
    (folder / "folder").mkdir(exist_ok=True)
    (folder / "file").write_text("mine")
    if there:
        (folder / "student").write_text("an older file")
    before, named = listing(folder), isinstance(place, str | Path)
    with case(60):
        ended = attempt(lambda: student(number).save(place), (OSError, ValueError, TypeError), SAID_OF_PLACES)
    after = listing(folder)
    written = [name for name in after if before.get(name) != after[name] and not (folder / name).is_dir()]
    if ended.error is None:
        assert named
        (name,) = written
        assert (folder / name).resolve() == (folder / place).resolve()
        loaded = AntiDistilledMLPClassifier.load(place)
        pairs = zip(loaded.blueprint_.parameters, student(number).blueprint_.parameters, strict=True)
        assert all(a.tobytes() == b.tobytes() for a, b in pairs)
        (folder / name).unlink()  # below the folder, as listing found it
    else:
        assert written == []
        assert after.keys() == before.keys()
    with case(60):
        nothing = attempt(
            lambda: AntiDistilledMLPClassifier.load(place), (OSError, ValueError, TypeError), SAID_OF_PLACES
        )
    assert nothing.error is not None
    outcomes[ended.how] += 1
    (folder / "student").unlink(missing_ok=True)
