"""A user's own tables: what is read is what was written, what can't be used is named in one line."""

import gzip
import math
import re
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris

from skantidistill.datasets import Dataset
from skantidistill.study import PROTOCOLS, StudyError, make_protocol
from skantidistill.study.files import digest_of, load_table, read_table
from skantidistill.study.problem import pose

DIGITS = PROTOCOLS["digits"]
IRIS = load_iris(as_frame=True).frame.rename(columns={"target": "kind"})
NAMES = tuple(IRIS.columns[:-1])
WRITERS = {
    "t.csv": lambda path: IRIS.to_csv(path, index=False),
    "t.csv.gz": lambda path: IRIS.to_csv(path, index=False),
    "t.parquet": IRIS.to_parquet,
    "t.npz": lambda path: np.savez(
        path, X=IRIS[list(NAMES)].to_numpy(), kind=IRIS.kind, feature_names=np.array(NAMES)
    ),
}


@pytest.fixture
def table(tmp_path):
    """Writes a data frame as CSV and returns the path."""

    def write(frame):
        frame.to_csv(tmp_path / "t.csv", index=False)
        return str(tmp_path / "t.csv")

    return write


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_table(tmp_path, name):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    WRITERS[name](tmp_path / name)
    found = read_table(str(tmp_path / name), "kind")
    assert_allclose(found.X, IRIS[list(NAMES)].to_numpy(), rtol=1e-15)
    assert_array_equal(found.y, IRIS.kind)
    assert found.names == NAMES


def test_arrays_need_neither_names_nor_a_target(tmp_path):
    np.savez(tmp_path / "t.npz", X=np.arange(8).reshape(4, 2), y=["a", "b", "a", "b"])
    found = read_table(str(tmp_path / "t.npz"))
    assert found.names == ("0", "1")
    assert found.X.dtype == np.float64
    assert_array_equal(found.y, ["a", "b", "a", "b"])


@pytest.mark.parametrize(
    ("labels", "kind"),
    [(["x", "y"], "U"), ([1.0, 2.0], "i"), ([True, False], "b"), ([-3, 3], "i")],
    ids=str,
)
def test_labels_keep_their_meaning(table, labels, kind):
    found = read_table(table(pd.DataFrame({"a": range(6), "b": range(6), "y": labels * 3})), "y")
    assert found.y.dtype.kind == kind
    assert_array_equal(found.y, labels * 3)


def test_whole_numbers_of_a_frame_that_could_hold_missing_ones_are_integers(tmp_path):
    frame = pd.DataFrame({"a": range(6), "y": pd.array([-3, 3] * 3, "Int64")})
    frame.to_parquet(tmp_path / "t.parquet")
    found = read_table(str(tmp_path / "t.parquet"), "y")
    assert found.y.dtype == np.int64
    assert_array_equal(found.y, [-3, 3] * 3)


def test_dates_are_no_labels(tmp_path):
    y = np.array(["2020-01-01", "2021-01-01"] * 2, "datetime64[D]")
    np.savez(tmp_path / "t.npz", X=np.arange(8).reshape(4, 2), y=y)
    message = r"t\.npz has labels of the kind datetime64\[D\]; use integers, booleans or text\."
    with pytest.raises(StudyError, match=message):
        read_table(str(tmp_path / "t.npz"))


def test_a_third_is_held_out_in_the_same_shares_of_classes_and_training_rows_are_standardised(table):
    path = table(IRIS)
    data = load_table(path, "kind", digest_of(path), 0)
    assert (len(data.y_train), len(data.y_test)) == (100, 50)
    assert_array_equal(np.bincount(data.y_test), [17, 17, 16])
    assert_allclose(data.X_train.mean(axis=0), 0, atol=1e-6)  # float32
    assert_allclose(data.X_train.std(axis=0), 1, atol=1e-6)
    assert abs(data.X_test.mean()) > 1e-3  # not by its own mean
    assert data.feature_names == NAMES
    together = np.concatenate([data.X_train, data.X_test])
    assert len(np.unique(together, axis=0)) == len(np.unique(IRIS[list(NAMES)].to_numpy(), axis=0))
    other = load_table(path, "kind", digest_of(path), 1)
    assert not np.array_equal(other.y_train, data.y_train)


def test_a_file_that_changes_meanwhile_is_told(table):
    path = table(IRIS)
    digest = digest_of(path)
    table(IRIS[::-1])
    with pytest.raises(StudyError, match="has changed while it was studied"):
        load_table(path, "kind", digest, 0)


BROKEN = {
    "no such file": (lambda path: None, "t.csv can't be read: No such file or directory"),
    "a folder": (lambda path: path.mkdir(), "t.csv can't be read: Is a directory"),
    "empty": (lambda path: path.write_bytes(b""), "t.csv is empty"),
    "names only": (lambda path: path.write_text("a,y\n"), "t.csv has no rows."),
    "no text": (lambda path: path.write_bytes(b"\x80\xff\xfe,\n1,2\n"), "t.csv can't be read as a table"),
    "ragged": (lambda path: path.write_text("a,y\n1,2\n1,2,3,4\n"), "t.csv can't be read as a table"),
    "no target": (
        lambda path: path.write_text("a,b\n1,2\n"),
        "t.csv has no column 'y'; the columns are a, b.",
    ),
    "target alone": (lambda path: path.write_text("y\n1\n2\n"), "t.csv has no columns beside the target."),
    "text": (
        lambda path: path.write_text("a,city,y\n1,Oslo,0\n2,Rome,1\n"),
        "t.csv has columns that are no numbers: city;",
    ),
    "missing": (lambda path: path.write_text("a,b,y\n1,,0\n2,3,1\n"), "missing or infinite values in b;"),
    "infinite": (lambda path: path.write_text("a,b,y\n1,inf,0\n2,3,1\n"), "infinite values in b;"),
    "missing label": (lambda path: path.write_text("a,y\n1,u\n2,\n3,u\n"), "t.csv has missing labels"),
    "missing number": (lambda path: path.write_text("a,y\n1,1\n2,\n3,1\n"), "missing or infinite labels"),
    "no classes": (
        lambda path: path.write_text("a,y\n1,1.5\n2,2.5\n"),
        "is no class but a number, such as 1.5",
    ),
    "one class": (lambda path: path.write_text("a,y\n1,u\n2,u\n"), "one class only, 'u'"),
    "rare": (lambda path: path.write_text("a,y\n1,u\n2,u\n3,v\n"), "classes of a single row, v;"),
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_table_that_cannot_be_used_is_named_in_one_line(tmp_path, damage):
    break_it, named = BROKEN[damage]
    break_it(tmp_path / "t.csv")
    with pytest.raises(StudyError, match=re.escape(named)) as caught:
        make_protocol(str(tmp_path / "t.csv"), target="y")
    assert "\n" not in str(caught.value)


def test_few_rows_that_cannot_be_split_are_named(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,u\n2,u\n3,v\n4,v\n5,w\n6,w\n7,x\n8,x\n")
    with pytest.raises(StudyError, match=re.escape("t.csv can't be split into training and test rows: ")):
        make_protocol(str(tmp_path / "t.csv"), target="y")


@pytest.mark.parametrize(
    ("arrays", "named"),
    [
        ({"X": np.ones((4, 2))}, "has no array 'y', but X;"),
        ({"a": np.ones((4, 2)), "y": np.ones(4)}, "has no array 'X', but a, y;"),
        ({"X": np.ones(4), "y": np.ones(4)}, "X of shape (4,)"),
        ({"X": np.ones((4, 2)), "y": np.ones(3)}, "y of shape (3,)"),
        ({"X": np.array([["1", "2"]] * 4), "y": np.ones(4)}, "dtype <U1"),
        ({"X": np.ones((4, 2)), "y": np.ones(4), "feature_names": ["a"]}, "1 feature_names for 2 columns"),
        ({"X": np.ones((4, 2)), "y": np.array([1, None, 2, 1])}, "holds Python objects"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_arrays_that_cannot_be_used_are_named(tmp_path, arrays, named):
    np.savez(tmp_path / "t.npz", **arrays)
    with pytest.raises(StudyError, match=re.escape(named)):
        read_table(str(tmp_path / "t.npz"))


@pytest.mark.parametrize("name", ["t.npz", "t.parquet", "t.csv.gz", "t.xls"])
def test_files_of_another_kind_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>Not found</html>")
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    with pytest.raises(StudyError, match=re.escape(str(tmp_path / name))) as caught:
        read_table(str(tmp_path / name), "y")
    assert "\n" not in str(caught.value)


def test_a_cut_archive_is_named(tmp_path):
    content = gzip.compress(IRIS.to_csv(index=False).encode())
    (tmp_path / "t.csv.gz").write_bytes(content[:-200])
    with pytest.raises(StudyError, match="can't be read"):
        read_table(str(tmp_path / "t.csv.gz"), "kind")


def test_without_pandas_the_error_says_what_to_install(tmp_path, monkeypatch):
    IRIS.to_csv(tmp_path / "t.csv")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(StudyError, match=re.escape("pip install pandas pyarrow")):
        read_table(str(tmp_path / "t.csv"), "kind")


def test_a_file_s_sizes_follow_its_columns_and_rows(table):
    path = table(IRIS)
    protocol = make_protocol(path, target="kind")
    assert protocol.teacher_classes == (0, 1)
    assert protocol.teacher_features is None
    wide, wider = protocol.teacher["hidden_layer_sizes"], protocol.student["hidden_layer_sizes"]
    assert wider == tuple(2 * n for n in wide)
    assert wide == (16, 8)
    assert protocol.student["max_iter"] == 100  # 2 steps an epoch: the most
    many = pd.concat([pd.DataFrame(np.random.default_rng(0).normal(size=(9000, 40))), IRIS.kind.sample(
        9000, replace=True, random_state=0, ignore_index=True)], axis=1)  # fmt: skip
    protocol = make_protocol(table(many), target="kind")
    assert protocol.teacher["hidden_layer_sizes"] == (32, 16)
    assert protocol.student["max_iter"] == math.ceil(2000 / math.ceil(6000 / 64))


def test_of_two_classes_the_features_are_new(table):
    frame = IRIS[IRIS.kind < 2]
    protocol = make_protocol(table(frame), target="kind")
    assert (protocol.teacher_classes, protocol.teacher_features) == ((0, 1), 0.5)
    named = make_protocol(table(frame), target="kind", teacher_features=[NAMES[1]])
    assert named.teacher_features == (NAMES[1],)


def test_new_features_are_new_to_a_teacher_of_all_classes_unless_classes_are_named():
    assert make_protocol("digits").teacher_classes == (0, 1, 2, 3, 4)
    assert make_protocol("digits", teacher_features=0.5).teacher_classes == tuple(range(10))
    both = make_protocol("digits", teacher_features=["3", "5"], teacher_classes=["7", "2"])
    assert (both.teacher_classes, both.teacher_features) == ((2, 7), ("3", "5"))


def test_classes_are_found_as_they_print(table):
    names = {0: "a b", 1: "<b>", 2: "ö"}
    path = table(IRIS.assign(kind=IRIS.kind.map(names)))
    assert make_protocol(path, target="kind", teacher_classes=["ö", "a b"]).teacher_classes == ("a b", "ö")


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"teacher_classes": ["0", "77"]}, "--teacher-classes: 77 does not occur; the classes are 0, 1,"),
        ({"teacher_classes": ["3"]}, "at least two classes"),
        ({"teacher_classes": ["3", "3"]}, "each once"),
        ({"teacher_features": ["0", "64"]}, "--teacher-features: 64 does not occur; the columns are 0, 1,"),
        ({"teacher_features": ["1", "1"]}, "named twice"),
        ({"rows": 9}, "1198 training rows of 10 classes"),
        ({"rows": 1189}, "1198 training rows of 10 classes"),
        ({"target": "y"}, "--target is for files"),
        ({"data": "mnist"}, "--data mnist is unknown; use digits, fashion-mnist, or a file."),
    ],
    ids=str,
)
def test_what_there_is_not_is_named(asked, named):
    with pytest.raises(StudyError, match=re.escape(named)) as caught:
        make_protocol(**asked)
    assert "\n" not in str(caught.value)


def test_hidden_layers_are_the_students_and_the_teachers_are_half():
    protocol = make_protocol("digits", hidden=(30, 7, 1))
    assert protocol.student["hidden_layer_sizes"] == (30, 7, 1)
    assert protocol.teacher["hidden_layer_sizes"] == (15, 3, 1)
    assert protocol.key != DIGITS.key


def dataset(n_rows, n_features, n_classes, seed):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n_rows) % n_classes)
    X = rng.normal(size=(n_rows, n_features)).astype(np.float32)
    return Dataset(X, y, X[:20], y[:20])


@given(st.integers(40, 90), st.integers(1, 6), st.integers(2, 5), st.integers(0, 99), st.data())
def test_d1_is_the_teachers_classes_and_columns_and_d2_is_everything(
    n_rows, n_features, n_classes, seed, draw
):
    data = dataset(n_rows, n_features, n_classes, seed)
    known = tuple(range(draw.draw(st.integers(1, n_classes))))
    features = draw.draw(
        st.one_of(
            st.none(),
            st.floats(0.01, 0.99),
            st.permutations(list(map(str, range(n_features)))).map(lambda names: tuple(names[:2])),
        )
    )
    few = draw.draw(st.none() | st.integers(n_classes, n_rows - n_classes))
    protocol = replace(DIGITS, teacher_classes=known, teacher_features=features, rows=few)
    problem = pose(protocol, data, seed)
    n_old = problem.X_old.shape[1]
    order = np.array([np.flatnonzero((data.X_test[:, [j]] == problem.X_test).all(axis=0))[0]
                      for j in range(n_features)])  # fmt: skip
    assert sorted(order) == list(range(n_features))  # every column once
    old = np.isin(data.y_train, known)
    where = np.argsort(order)[:n_old]
    assert_array_equal(problem.X_old, data.X_train[old][:, where])
    assert_array_equal(problem.y_old, data.y_train[old])
    assert_array_equal(problem.knows, np.isin(data.y_test, known))
    if features is None:
        assert n_old == n_features
    elif isinstance(features, float):
        assert n_old == min(max(1, round(features * n_features)), n_features)
    else:
        assert where.tolist() == list(map(int, features))
    rows = {
        (*row, label)
        for row, label in zip(data.X_train[:, np.argsort(order)].tolist(), data.y_train, strict=True)
    }
    found = {(*row, label) for row, label in zip(problem.X.tolist(), problem.y, strict=True)}
    assert found <= rows
    assert len(problem.y) == (n_rows if few is None else few)
    assert set(problem.y) == set(range(n_classes))
    assert problem.is_apart == (few is not None) == bool(problem.fit_parameters)


def test_an_npz_with_what_is_no_row_of_numbers_is_told(tmp_path):
    path, X, y = tmp_path / "t.npz", np.arange(8.0).reshape(4, 2), [0, 1, 0, 1]
    for arrays, message in (
        ({"X": X, "y": y, "feature_names": "a"}, "has 1 feature_names for 2 columns"),
        ({"X": X.astype(np.longdouble) * np.longdouble("1e4000"), "y": y}, "infinite values"),
    ):
        np.savez(path, **arrays)
        with pytest.raises(StudyError, match=message):
            read_table(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X", b"no array")
    with pytest.raises(StudyError, match="holds no arrays"):
        read_table(str(path))
