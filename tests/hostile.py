"""Strategies of values that users give by mistake, each with a verdict on whether it may be taken.

A part is "good" (it must be taken, if all others are), "bad" (it must be refused) or "odd" (either).
"""

import datetime
import io
import warnings
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse as sp
import torch
from hypothesis import strategies as st
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from skantidistill._checks import quoted

__all__ = ["Part", "labels", "masks", "matrices", "parameters", "teachers", "texts", "weights"]

N_ROWS, N_FEATURES = 30, 3
GOOD, ODD, BAD = "good", "odd", "bad"


class Part(NamedTuple):
    """A value, its verdict and its name."""

    value: Any
    verdict: str
    name: str = ""

    def __repr__(self) -> str:
        return f"<{self.verdict}: {self.name or quoted(self.value)}>"


class Refuses:
    """An object that no array can be made of."""

    def __array__(self, *args, **kwargs):
        raise ValueError("this object is no array")


TEXTS = [
    "",
    " ",
    "nan",
    "None",
    "a\0b",
    "\ud800",
    "\u202etxet",
    "<b>&amp;</b>",
    "{0} %s %(x)s {x!r}",
    "../../etc/passwd",
    "a\nb\r\n\tc",
    "x" * 10_000,
    "é漢🙂",
    "1e999",
    "-1",
    "'; DROP TABLE runs; --",
]


def texts():
    """Draw strings that break what was not written for them."""
    return st.sampled_from(TEXTS) | st.text(max_size=12)


# --- Inputs ---------------------------------------------------------------------------------------------


@cache
def points(seed=0):
    """Return rows of three classes, and their codes; nobody may write to them."""
    rng = np.random.default_rng(seed)
    codes = np.arange(N_ROWS) % 3
    X = np.round(rng.normal(size=(N_ROWS, N_FEATURES)) + 2 * codes[:, None], 3)
    X.flags.writeable = False
    return X, codes


def strided(X):
    wide = np.zeros((2 * X.shape[0], 2 * X.shape[1]))
    wide[::2, ::2] = X
    return wide[::2, ::2]


def matrix(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is not recommended
        return np.asmatrix(X)


def mapped(X):
    """Return a read-only view of bytes that are not numpy's own, as a memory map is."""
    return np.frombuffer(X.tobytes(), dtype=X.dtype).reshape(X.shape)


def frame(X, **changes):
    return pd.DataFrame(np.array(X), **{"columns": ["a", "b", "c"][: X.shape[1]], **changes})


def with_value(X, value):
    changed = np.array(X, dtype=object if isinstance(value, str | None | complex) else float)
    changed[1, 1] = value
    return changed


def unsorted(X):
    """Return a CSR matrix whose rows have their columns backwards."""
    n, d = X.shape
    indices = np.tile(np.arange(d)[::-1], n)
    return sp.csr_matrix((X[:, ::-1].ravel(), indices, np.arange(0, n * d + 1, d)), shape=X.shape)


def doubled(X):
    """Return a CSR matrix that stores every value as two halves."""
    n, d = X.shape
    indices = np.tile(np.repeat(np.arange(d), 2), n)
    data = np.repeat(X / 2, 2, axis=1).ravel()
    return sp.csr_matrix((data, indices, np.arange(0, 2 * n * d + 1, 2 * d)), shape=X.shape)


def long_indices(X):
    S = sp.csr_matrix(X)
    S.indices, S.indptr = S.indices.astype(np.int64), S.indptr.astype(np.int64)
    return S


def structured(X):
    return np.array([tuple(row) for row in X], dtype=[(f"f{i}", float) for i in range(X.shape[1])])


GOOD_MATRICES = {
    "float64": np.array,
    "float32": lambda X: X.astype(np.float32),
    "float16": lambda X: X.astype(np.float16),
    "longdouble": lambda X: X.astype(np.longdouble),
    **{f"int{n}": lambda X, n=n: X.astype(f"i{n // 8}") for n in (8, 16, 32, 64)},
    **{f"uint{n}": lambda X, n=n: np.abs(X).astype(f"u{n // 8}") for n in (8, 16, 32, 64)},
    "boolean": lambda X: X > 1,
    "other byte order": lambda X: X.astype(">f8"),
    "single, other byte order": lambda X: X.astype(">f4"),
    "Fortran order": np.asfortranarray,
    "backwards": lambda X: np.array(X[::-1, ::-1])[::-1, ::-1],
    "strided": strided,
    "read-only": lambda X: X,
    "mapped": mapped,
    "mapped single": lambda X: mapped(X.astype(np.float32)),
    "list": lambda X: X.tolist(),
    "tuple": lambda X: tuple(map(tuple, X.tolist())),
    "numbers as objects": lambda X: X.astype(object),
    "tensor": lambda X: torch.tensor(X),
    "frame": frame,
    "frame of singles": lambda X: frame(X).astype(np.float32),
    "frame of mixed columns": lambda X: frame(X).astype({"a": np.float32, "b": np.int8}),
    "frame, nullable": lambda X: frame(X).astype("Float64"),
    "frame, Arrow": lambda X: frame(X).astype("double[pyarrow]"),
    "frame without names": lambda X: pd.DataFrame(np.array(X)),
    "frame of odd index": lambda X: frame(X, index=["x"] * len(X)),
    "polars": lambda X: pl.DataFrame(np.array(X), schema=["a", "b", "c"][: X.shape[1]]),
    **{
        f"{name} {kind}": getattr(sp, f"{name}_{kind}")
        for name in ("csr", "csc", "coo", "lil", "dok", "bsr", "dia")
        for kind in ("matrix", "array")
    },
    "sparse singles": lambda X: sp.csr_matrix(X.astype(np.float32)),
    "sparse integers": lambda X: sp.csr_matrix(X.astype(np.int16)),
    "sparse booleans": lambda X: sp.csr_matrix(X > 1),
    "sparse, unsorted": unsorted,
    "sparse, doubled": doubled,
    "sparse, long indices": long_indices,
    "constant column": lambda X: X * [1, 0, 1][: X.shape[1]],
    "double columns": lambda X: X[:, [0] * X.shape[1]],
    "denormal": lambda X: with_value(X, 5e-324),
    "denormal single": lambda X: with_value(X, 1e-45).astype(np.float32),
    "all zero": np.zeros_like,
}
ODD_MATRICES = {
    "masked": lambda X: np.ma.masked_less(X, 0.5),
    "strings of numbers": lambda X: X.astype(str),
    "strings of numbers as objects": lambda X: X.astype(str).astype(object),
    "bytes of numbers": lambda X: X.astype("S"),
    "times": lambda X: X.astype("m8[s]"),
    "dates": lambda X: X.astype("M8[s]"),
    "frame of categories": lambda X: frame(X).astype("category"),
    "frame of times": lambda X: frame(X).astype("timedelta64[s]"),
    "frame, hostile names": lambda X: frame(X, columns=["", "a\0b", "\u202e" + "x" * 2000][: X.shape[1]]),
    "frame, equal names": lambda X: frame(X, columns=["a"] * X.shape[1]),
    "frame, many levels": lambda X: frame(
        X, columns=pd.MultiIndex.from_tuples([("a", i) for i in range(X.shape[1])])
    ),
    "named arrays": structured,
    "huge": lambda X: X * 1e300,
    "one huge value": lambda X: with_value(X, 1e300),
    "huge single": lambda X: (X * 1e37).astype(np.float32),
    "one huge single": lambda X: with_value(X, 3e38).astype(np.float32),
    "too large for doubles": lambda X: np.where(X > 2, np.longdouble("1e4000"), X),
    "huge integers": lambda X: np.full(X.shape, 2**64 - 1, dtype=np.uint64),
    "large": lambda X: X * 1e6,
    "huge Python integers": lambda X: [[10**400] * X.shape[1]] * len(X),
    "fractions": lambda X: [[Fraction(1, 3)] * X.shape[1]] * len(X),
    "decimals": lambda X: [[Decimal("0.1")] * X.shape[1]] * len(X),
    "sparse, huge": lambda X: sp.csr_matrix(X * 1e300),
    "one row": lambda X: X[:1],
    "two rows": lambda X: X[:2],
    "a column less": lambda X: X[:, 1:],
    "a column more": lambda X: np.c_[X, X[:, 0]],
    "frame, columns turned": lambda X: frame(X)[["c", "b", "a"][-X.shape[1] :]],
    "frame, other names": lambda X: frame(X, columns=["x", "y", "z"][: X.shape[1]]),
    "sparse frame": lambda X: pd.DataFrame.sparse.from_spmatrix(sp.csr_matrix(X)),
}
BAD_MATRICES = {
    "NaN": lambda X: with_value(X, np.nan),
    "infinity": lambda X: with_value(X, -np.inf),
    "NaN in singles": lambda X: with_value(X, np.nan).astype(np.float32),
    "NaN in halves": lambda X: with_value(X, np.nan).astype(np.float16),
    "NaN in a frame": lambda X: frame(with_value(X, np.nan)),
    "missing in a frame": lambda X: frame(with_value(X, np.nan)).astype("Float64").replace(np.nan, pd.NA),
    "NaN in a sparse matrix": lambda X: sp.csr_matrix(with_value(X, np.nan)),
    "infinity in a sparse matrix": lambda X: sp.csc_matrix(with_value(X, np.inf)),
    "a string": lambda X: with_value(X, "red"),
    "a hostile string": lambda X: with_value(X, TEXTS[5]),
    "a long string": lambda X: with_value(X, TEXTS[11]),
    "a None": lambda X: with_value(X, None),
    "a complex number": lambda X: with_value(X, 1j),
    "complex": lambda X: X + 0j,
    "sparse complex": lambda X: sp.csr_matrix(X + 0j),
    "a frame of text": lambda X: frame(X).astype({"b": str}).replace("0.0", "red").assign(b="red"),
    "a polars frame of text": lambda X: pl.DataFrame({"a": ["red"] * len(X), "b": X[:, 0], "c": X[:, 1]}),
    "a frame of names and numbers": lambda X: frame(X, columns=["a", 1, "c"][: X.shape[1]]),
    "dates as objects": lambda X: [[datetime.date(2000, 1, 1)] * X.shape[1]] * len(X),
    "matrix": matrix,
    "a row": lambda X: X[0],
    "a column": lambda X: X[:, 0],
    "three dimensions": lambda X: X[:, :, None],
    "a number": lambda X: 3.5,
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "no rows in a sparse matrix": lambda X: sp.csr_matrix((0, X.shape[1])),
    "no columns in a frame": lambda X: frame(X)[[]],
    "a row less": lambda X: X[1:],
    "ragged": lambda X: [[1.0, 2.0], [3.0]] * (len(X) // 2),
    "nothing": lambda X: None,
    "text": lambda X: "X",
    "a dict": lambda X: {"a": X[:, 0]},
    "a set": lambda X: {1.0, 2.0},
    "a generator": lambda X: (row for row in X.tolist()),
    "what refuses": lambda X: Refuses(),
    "a function": lambda X: print,
    "a type": lambda X: np.ndarray,
    "bytes": lambda X: X.tobytes(),
    "void": lambda X: np.zeros(X.shape, dtype="V8"),
    "a series": lambda X: pd.Series(X[:, 0]),
}


def chosen(draw, good, odd, bad, shares=(2, 1, 1)):
    """Draw an entry, its verdict and its name."""
    verdict = draw(st.sampled_from([GOOD] * shares[0] + [ODD] * shares[1] + [BAD] * shares[2]))
    entries = {GOOD: good, ODD: odd, BAD: bad}[verdict]
    name = draw(st.sampled_from(sorted(entries)))
    return entries[name], verdict, name


@st.composite
def matrices(draw, X=None, shares=(2, 1, 1)):
    """Draw what may be given as X, made of good rows."""
    make, *told = chosen(draw, GOOD_MATRICES, ODD_MATRICES, BAD_MATRICES, shares)
    return Part(make(points()[0] if X is None else X), *told)


# --- Labels ---------------------------------------------------------------------------------------------

#: Three labels each, sorted; the teacher has the first two.
LABELS = {
    "text": np.array(["", "<b>", "x" * 300]),
    "plain text": np.array(["one", "three", "two"]),
    "integers": np.array([-5, 3, 2**40]),
    "small integers": np.array([0, 1, 2], dtype=np.uint8),
    "floats": np.array([-1.0, 0.0, 7.0]),
}

GOOD_LABELS = {
    "array": np.array,
    "list": lambda y: y.tolist(),
    "objects": lambda y: y.astype(object),
    "series": lambda y: pd.Series(y.tolist(), index=["x"] * len(y)),
    "categories": lambda y: pd.Series(y.tolist()).astype("category"),
    "column": lambda y: y[:, None],
    "read-only": lambda y: np.broadcast_to(y[:3], (len(y) // 3, 3)).reshape(-1),
    "backwards": lambda y: np.array(y[::-1])[::-1],
    "other byte order": lambda y: y.astype(y.dtype.newbyteorder(">")),
    "polars": lambda y: pl.Series(y.tolist()),
    "tensor": lambda y: y if y.dtype.kind in "US" else torch.tensor(y),
}
ODD_LABELS = {
    "new strings": lambda y: y.astype(np.dtypes.StringDType()),
    "numpy's objects": lambda y: np.array(list(y), dtype=object),
    "nullable": lambda y: pd.Series(y.tolist()).convert_dtypes(),
    "another kind of text": lambda y: y.astype(str),
    "bytes": lambda y: np.char.encode(y.astype(str), "utf8", "surrogatepass"),
    "floats": lambda y: y.astype(float) if y.dtype.kind != "U" else y,
    "halves": lambda y: y.astype(np.float16) if y.dtype.kind in "u" else y,
    "booleans": lambda y: y == y[0],
    "a row of labels": lambda y: y[None],
    "a label with a NUL": lambda y: np.where(y == y[0], "a\0", "a"),
    "labels with surrogates": lambda y: np.where(y == y[0], "\ud800", "b").astype(object),
    "one new": lambda y: np.where(np.arange(len(y)) == 4, y[0], y),
    "two classes": lambda y: np.where(y == y[0], y[1], y),
    "each its own": lambda y: np.arange(len(y)),
    "one row": lambda y: y[:1],
    "two rows": lambda y: y[:2],
    "masked": lambda y: np.ma.masked_equal(y, y[0]) if y.dtype.kind != "U" else y,
    "huge integers": lambda y: np.where(y == y[0], 2**63, 2**64 - 1).astype(np.uint64),
    "huge Python integers": lambda y: [10**400 if v == y[0] else 1 for v in y],
    "huge floats": lambda y: np.where(y == y[0], 1e300, 1.0),
    "decimals": lambda y: [Decimal(1) if v == y[0] else Decimal(2) for v in y],
    "fractions": lambda y: [Fraction(1) if v == y[0] else Fraction(2) for v in y],
    "times": lambda y: np.arange(len(y)).astype("M8[D]"),
    "frame": lambda y: pd.DataFrame({"y": y.tolist()}),
}
BAD_LABELS = {
    "one class": lambda y: np.full(len(y), y[0]),
    "a row less": lambda y: y[1:],
    "a row more": lambda y: np.append(y, y[0]),
    "none": lambda y: y[:0],
    "two columns": lambda y: np.c_[y, y],
    "three dimensions": lambda y: y[:, None, None],
    "NaN": lambda y: [float("nan"), *y[1:].tolist()],
    "None": lambda y: [None, *y[1:].tolist()],
    "missing": lambda y: pd.Series([None, *y[1:].tolist()]),
    "missing, nullable": lambda y: pd.Series([None, *y[1:].tolist()]).convert_dtypes(),
    "infinity": lambda y: np.where(y == y[0], np.inf, 1.0),
    "mixed": lambda y: [3 if y.dtype.kind == "U" else "red", *y[1:].tolist()],
    "pairs": lambda y: [(0, 1)] * len(y),
    "sets": lambda y: [{1}] * len(y),
    "dicts": lambda y: [{"a": 1}] * len(y),
    "continuous": lambda y: np.linspace(0, 1, len(y)),
    "complex": lambda y: np.arange(len(y)) % 2 + 1j,
    "sparse": lambda y: sp.csr_matrix(np.arange(len(y)) % 2),
    "a number": lambda y: 3,
    "nothing": lambda y: None,
    "text": lambda y: "labels",
    "a dict": lambda y: dict.fromkeys(range(len(y)), 1),
    "what refuses": lambda y: Refuses(),
    "structured": lambda y: np.array([(1, "a")] * len(y), dtype=[("n", int), ("s", "U3")]),
    "void": lambda y: np.zeros(len(y), dtype="V8"),
}


@st.composite
def labels(draw, kind, shares=(2, 1, 1)):
    """Draw what may be given as y, made of good labels of a kind."""
    make, *told = chosen(draw, GOOD_LABELS, ODD_LABELS, BAD_LABELS, shares)
    return Part(make(LABELS[kind][points()[1]]), *told)


@st.composite
def classes(draw, kind):
    """Draw what may be given as ``classes``."""
    good = LABELS[kind]
    entries = {
        GOOD: [
            good,
            good.tolist(),
            good[::-1],
            np.append(good, good[0]),
            pd.Series(good.tolist()),
            tuple(good.tolist()),
        ],
        ODD: [
            None,
            good.astype(object),
            set(good.tolist()),
            good[:, None],
            np.append(good.astype(object), [[1]]),
            pd.Index(good.tolist()),
            pl.Series(good.tolist()),
            dict.fromkeys(good.tolist()),
        ],
        BAD: [
            good[:2],
            [],
            [None, *good.tolist()],
            [[1, 2], [3]],
            3,
            "abc",
            Refuses(),
            [1j, 2],
            print,
            np.nan,
            np.array(["2000"], dtype="M8[Y]"),
            [*good.tolist(), {}],
            good[:1],
        ],
    }
    verdict = draw(st.sampled_from([GOOD, ODD, BAD]))
    return Part(draw(st.sampled_from(entries[verdict])), verdict)


# --- Weights and masks ----------------------------------------------------------------------------------

GOOD_WEIGHTS = {
    "none": lambda n: None,
    "ones": np.ones,
    "integers": lambda n: np.arange(1, n + 1, dtype=np.uint8),
    "singles": lambda n: np.linspace(0.1, 1, n, dtype=np.float32),
    "list": lambda n: [0.5] * n,
    "series": lambda n: pd.Series(np.linspace(0.1, 1, n), index=["x"] * n),
    "read-only": lambda n: np.broadcast_to(2.0, n),
    "a number": lambda n: 2.0,
}
ODD_WEIGHTS = {
    "huge": lambda n: np.full(n, 1e300),
    "one huge": lambda n: np.r_[1e30, np.ones(n - 1)],
    "denormal": lambda n: np.full(n, 5e-324),
    "mostly zero": lambda n: (np.arange(n) < 4).astype(float),
    "one row": lambda n: (np.arange(n) < 1).astype(float),
    "no row of a class": lambda n: (np.arange(n) % 3 > 0).astype(float),
    "booleans": lambda n: np.arange(n) % 2 > 0,
    "strings of numbers": lambda n: ["1.5"] * n,
    "a string of a number": lambda n: "1.5",
    "column": lambda n: np.ones((n, 1)),
    "masked": lambda n: np.ma.masked_array(np.ones(n), np.arange(n) < 5),
    "huge Python integers": lambda n: [10**400] * n,
    "a huge number": lambda n: 1e308,
    "times": lambda n: np.ones(n).astype("m8[s]"),
}
BAD_WEIGHTS = {
    "negative": lambda n: np.r_[-1.0, np.ones(n - 1)],
    "negative zero and less": lambda n: np.r_[-0.0, -5e-324, np.ones(n - 2)],
    "NaN": lambda n: np.r_[np.nan, np.ones(n - 1)],
    "infinity": lambda n: np.r_[np.inf, np.ones(n - 1)],
    "all zero": np.zeros,
    "zero": lambda n: 0,
    "a row less": lambda n: np.ones(n - 1),
    "two columns": lambda n: np.ones((n, 2)),
    "words": lambda n: ["heavy"] * n,
    "a word": lambda n: "balanced",
    "Nones": lambda n: [None] * n,
    "complex": lambda n: np.ones(n) + 1j,
    "a dict": lambda n: {0: 1.0},
    "what refuses": lambda n: Refuses(),
    "not a number": lambda n: float("nan"),
    "below zero": lambda n: -1,
}


@st.composite
def weights(draw, n=N_ROWS, shares=(4, 1, 1)):
    """Draw what may be given as weights of rows."""
    make, *told = chosen(draw, GOOD_WEIGHTS, ODD_WEIGHTS, BAD_WEIGHTS, shares)
    return Part(make(n), *told)


OLD = points()[1] < 2

GOOD_MASKS = {
    "array": lambda: OLD.copy(),
    "list": lambda: OLD.tolist(),
    "series": lambda: pd.Series(OLD, index=["x"] * len(OLD)),
    "objects, nullable": lambda: pd.array(OLD, dtype="boolean").to_numpy(dtype=bool),
    "backwards": lambda: OLD[::-1].copy()[::-1],
}
ODD_MASKS = {
    "all": lambda: np.ones(N_ROWS, dtype=bool),
    "nullable": lambda: pd.Series(OLD).astype("boolean"),
    "objects": lambda: OLD.astype(object),
    "one row": lambda: np.arange(N_ROWS) == 0,
    "polars": lambda: pl.Series(OLD),
    "tensor": lambda: torch.tensor(OLD),
}
BAD_MASKS = {
    "integers": lambda: OLD.astype(int),
    "numbers of rows": lambda: np.flatnonzero(OLD),
    "none": lambda: np.zeros(N_ROWS, dtype=bool),
    "a row less": lambda: OLD[1:],
    "two columns": lambda: np.c_[OLD, OLD],
    "text": lambda: "old",
    "a number": lambda: 3,
    "true": lambda: True,
    "missing": lambda: [None, *OLD[1:].tolist()],
    "ragged": lambda: [[True], [True, False]],
    "what refuses": Refuses,
}


@st.composite
def masks(draw, shares=(2, 1, 2)):
    """Draw what may be given as ``teacher_rows``."""
    make, *told = chosen(draw, GOOD_MASKS, ODD_MASKS, BAD_MASKS, shares)
    return Part(make(), *told)


@st.composite
def old_data(draw, kind):
    """Draw what may be given as ``teacher_data``."""
    X, codes = points()
    broken = draw(st.sampled_from(["X", "y", "weight", "tuple", "nothing"]))
    if broken == "tuple":
        y = LABELS[kind][codes]
        X, y = X[OLD], y[OLD]
        makers = [
            X,
            (X,),
            [X, y],
            (X, y, None, None),
            (),
            {"X": X, "y": y},
            "data",
            3,
            (X[:0], y[:0]),
            (None, y),
        ]
        return Part(draw(st.sampled_from(makers)), BAD)
    parts = {
        "X": Part(X, GOOD),
        "y": Part(np.where(OLD, LABELS[kind][codes], LABELS[kind][0]), GOOD),
        "weight": Part(None, GOOD),
    }
    if broken != "nothing":
        drawn = {"X": matrices(), "y": labels(kind), "weight": weights()}[broken]
        parts[broken] = draw(drawn)
    verdicts = [part.verdict for part in parts.values()]
    # Labels are drawn with the one that the teacher does not have, and names may be others than X's.
    one_class = broken == "y" and parts["y"].name == "one class"  # which a teacher may well know
    verdict = BAD if BAD in verdicts and not one_class else GOOD if broken == "nothing" else ODD
    found = tuple(part.value for part in parts.values())
    if broken != "weight" and draw(st.booleans()):
        found = found[:2]
    return Part(found, verdict, f"{broken} is {parts[broken].name}" if broken in parts else "")


# --- Teachers -------------------------------------------------------------------------------------------


@cache
def fitted(kind, labels_of):
    """Return a fitted teacher of the first two classes."""
    from tests.problems import quick

    X, codes = points()
    X, y = X[OLD], LABELS[labels_of][codes[OLD]]
    mlp = MLPClassifier((2,), solver="lbfgs", max_iter=300, random_state=0)
    if kind == "torch":
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2)).double()
    makers = {
        "mlp": lambda: mlp.fit(X, y),
        "linear": lambda: LogisticRegression().fit(X, y),
        "pipeline": lambda: make_pipeline(StandardScaler(), mlp).fit(X, y),
        "frozen": lambda: FrozenEstimator(LogisticRegression().fit(X, y)),
        "student": lambda: quick(hidden_layer_sizes=(2,), max_iter=40, tol=1e3).fit(X, y),
        "of names": lambda: LogisticRegression().fit(frame(X), y),
        "of two columns": lambda: LogisticRegression().fit(X[:, :2], y),
    }
    return makers[kind]()


FITTED = ["mlp", "linear", "pipeline", "frozen", "student", "torch"]
ODD_TEACHERS = {
    "unfitted": lambda: LogisticRegression(),
    "unfitted pipeline": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
    "unfitted, wrong": lambda: LogisticRegression(C=-1),
    "unfitted network": lambda: MLPClassifier((2,), solver="lbfgs", max_iter=5),
}
BAD_TEACHERS = {
    "frozen, not fitted": lambda: FrozenEstimator(LogisticRegression()),
    "a type": lambda: MLPClassifier,
    "text": lambda: "teacher",
    "a number": lambda: 3,
    "an object": object,
    "an array": lambda: np.ones((2, 2)),
    "a list": list,
    "another kind": SVC,
    "a pipeline of another kind": lambda: make_pipeline(StandardScaler(), SVC()),
    "a scaler": StandardScaler,
    "a torch module": lambda: torch.nn.Linear(3, 2),
    "an empty module": torch.nn.Sequential,
    "an odd module": lambda: torch.nn.Sequential(
        torch.nn.Linear(3, 2), torch.nn.Softplus(), torch.nn.Linear(2, 2)
    ),
    "a module that does not chain": lambda: torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(5, 2)),
    "an estimator of nothing": lambda: FrozenEstimator(None),
    "true": lambda: True,
}


@st.composite
def teachers(draw, labels_of, shares=(3, 1, 1)):
    """Draw what may be given as a teacher; the first argument says whose labels."""
    verdict = draw(st.sampled_from([GOOD] * shares[0] + [ODD] * shares[1] + [BAD] * shares[2]))
    if verdict == GOOD:
        kind = draw(st.sampled_from(["none", *FITTED]))
        return Part(None if kind == "none" else fitted(kind, labels_of), GOOD, kind)
    makers = ODD_TEACHERS if verdict == ODD else BAD_TEACHERS
    kind = draw(st.sampled_from([*makers, *(["of names", "of two columns"] if verdict == ODD else [])]))
    return Part(fitted(kind, labels_of) if kind not in makers else makers[kind](), verdict, kind)


# --- Parameters -----------------------------------------------------------------------------------------

#: No number at all, for any parameter that is one.
NO_NUMBERS = [
    *("much", "", "1", None, np.nan, -1, -np.inf, np.float32(-1), True, np.True_, [], [1], (1,), {}, 1j),
    *(Decimal(1), np.array([1.0, 2.0]), object(), b"1", datetime.date(2000, 1, 1), int, float, print),
    *("x" * 5000, "\ud800", np.datetime64("2000-01-01"), pd.NA, pd.Series([1.0]), Refuses(), io.StringIO()),
]
BIG = [1e300, 10**30, 10**400, np.longdouble("1e4000"), np.float32(3e38), 1.7e308, 2**64]
TINY = [5e-324, np.float32(1e-45), np.longdouble("1e-4900"), np.float16(6e-8)]
#: Not a Fraction: scikit-learn's check of intervals fails with it.
NUMPY = [np.float16(0.25), np.float32(0.25), np.longdouble(0.25), np.array(0.25)]


@dataclass(frozen=True)
class Kind:
    """Values of a parameter, by verdict."""

    good: list
    odd: list
    bad: list

    def __post_init__(self):
        taken = [*self.good, *self.odd]
        assert not any(value is other for value in self.bad for other in taken), "a value has two verdicts"


def number(*good, odd=(), bad=(), zero=True):
    ends = ([0, 0.0, np.float32(0)], [0, -0.0]) if zero else ([], [0, 0.0])
    return Kind(
        [*good, *(ends[0])],
        [*NUMPY, *BIG, *TINY, np.inf, 1, *odd],
        [*NO_NUMBERS, *bad, *([] if zero else ends[1])],
    )


def share(*good, zero, one):
    bad = [2, 1.5, np.float64(1.1), 10**400, np.inf, 1e300]
    bad += [] if zero else [0, 0.0]
    bad += [] if one else [1, 1.0]
    return Kind(list(good), [*NUMPY, *TINY, 1e-9, 1 - 1e-16], [*NO_NUMBERS, *bad])


def count(*good, zero, odd=(), bad=()):
    """Return values of what is a whole number; what is named good is not bad, such as a default of None."""
    bad = [*NO_NUMBERS, 1.5, 2.0, np.float64(1), np.inf, *bad, *([] if zero else [0, np.int8(0)])]
    bad = [value for value in bad if not any(value is other for other in good)]
    return Kind([*good, *([0] if zero else [])], list(odd), bad)


def choice(*good, odd=(), bad=()):
    wrong = [1, 0.5, np.nan, [], {}, object(), b"fit", *TEXTS, *[str(g).upper() for g in good if g], *bad]
    return Kind(list(good), list(odd), wrong)


SWITCH = Kind([True, False, np.True_, np.False_], [], ["yes", None, 2, np.nan, [], "", 0.5, object()])


def per_feature(*good, n=N_FEATURES):
    """Return values of what is one number, or one a feature."""
    third = [0.1] * n
    odd = [1e300, 5e-324, np.longdouble(0.1), np.longdouble("1e4000"), Fraction(1, 3), 10**30]
    odd += [
        np.array(third)[::-1],
        np.array(third, dtype=">f4"),
        np.array(third, dtype=object),
        pl.Series(third),
    ]
    odd += [pd.Series(third), pd.Series(third, index=["a", "b", "c"]), np.ma.masked_array(third, [1, 0, 0])]
    bad = [
        "small",
        None,
        np.nan,
        np.inf,
        -0.1,
        [],
        [0.1],
        [0.1] * (n + 1),
        [-1, *third[1:]],
        [np.nan] * n,
        {},
    ]
    bad += [
        True,
        1j,
        object(),
        np.ones((n, n)),
        ["a"] * n,
        [None] * n,
        [[0.1], [0.1, 0.2]],
        np.array(["1"] * n),
    ]
    bad += [
        [True] * n,
        b"1",
        pd.Series([-1.0] * n),
        pd.DataFrame({"a": [0.1]}),
        sp.csr_matrix(third),
        Refuses(),
    ]
    bad += [print, np.array("2000", dtype="M8[Y]"), Decimal(1), "x" * 5000, [10**400] * n, 10**400]
    return Kind([*good, third, np.array([0.1, 0, 0.2]), tuple(third)], odd, bad)


PARAMETERS = {
    "hidden_layer_sizes": Kind(
        [(7,), [8], 9, "auto", np.array([7]), np.int16(7), np.array(7)],
        [
            (),
            [],
            (1,),
            (2, 2),
            (7, 7, 7),
            (3,),
            np.array([], dtype=int),
            pd.Series([7]),
            {7},
            {7: 1},
            range(7, 9),
        ],
        [
            *(value for value in NO_NUMBERS if not isinstance(value, list | tuple)),  # which may be sizes
            (0,),
            (7, -1),
            (7.0,),
            "AUTO",
            [[7]],
            [[7], [7, 7]],
            (2**70,),
            (None,),
            ("7",),
            np.array([7.5]),
        ],
    ),
    "activation": choice(None, odd=["relu", "tanh", "logistic", "identity"], bad=["gelu"]),
    "start": choice("uniform", "xavier", "zero", odd=["transfer", "net2net", "net2net_equal", print]),
    "lambda_ce": number(1.0, 0.5, 2),
    "lambda_teacher": number(1.0, 0.5, 2),
    "lambda_noise": number(1.0, 0.5, 2),
    "lambda_trace": number(1.0, 0.5, 2),
    "delta": per_feature(0, 0.0, 0.1, np.float32(0.1), np.int8(1)),
    "neighborhood": choice("uniform", "normal", "adversarial"),
    "parameter_noise_std": number(0.1, 0.5),
    "trace": choice("auto", "exact", "sampled", "hutchinson"),
    "bounds": Kind(
        [None, (-99, 99), [-99.0, np.inf], (-np.inf, np.inf), ([-99.0] * 3, 99), np.array([-99, 99])],
        [(0, 1), (-1e300, 1e300), (pd.Series([-99.0] * 3), 99), {-99, 99}, {-99: 1, 99: 2}, (-(10**400), 99)],
        [
            3,
            (1, 0),
            (0, 0),
            (0,),
            (0, 1, 2),
            "01",
            ("a", "b"),
            (None, 1),
            (np.nan, 1),
            (0, np.nan),
            (False, True),
            ([0] * 4, 1),
            ([[0]], 1),
            object(),
            {},
            (),
            (1j, 2),
            (Refuses(), 1),
            [[[0], [0, 1]], 3],
            True,
            print,
        ],
    ),
    "phi_max_iter": count(1, 2, np.uint8(1), np.int64(1), zero=True),
    "phi_learning_rate_init": number(1e-3, 0.1, zero=False),
    "phi_learning_rate_decay": share(0.5, 1.0, 1, zero=False, one=True),
    "regularize": choice("fit", "phi"),
    "freeze_iter": count(1, 2, np.int8(3), zero=True, odd=[2**63, 10**30]),
    "new_outputs": choice("fit", "start"),
    "rehearse": share(0.0, 0.5, 0, zero=True, one=False),
    "alpha": number(1e-4, 0.5),
    "batch_size": count("auto", 1, 7, 30, 200, np.uint8(9), zero=False, odd=[2**63, 10**30]),
    "learning_rate_init": number(1e-3, 0.1, zero=False),
    "ema_decay": share(0.0, 0.5, 0.99, zero=True, one=False),
    "max_iter": count(1, 2, 3, np.uint8(2), np.int64(1), zero=False),
    "shuffle": SWITCH,
    "tol": number(1e-4, 0.5),
    "early_stopping": Kind([False, np.False_], [True, np.True_], SWITCH.bad),
    "validation_fraction": share(0.3, 0.5, np.float32(0.4), zero=False, one=False),
    "n_iter_no_change": count(1, 10, np.int8(3), np.inf, zero=False, odd=[2**63, 10**30]),
    "n_restarts": count(1, zero=False, odd=[2, 3]),
    "warm_start": Kind([False, np.False_], [True, np.True_], SWITCH.bad),
    "random_state": Kind(
        [0, 1, 2**32 - 1, None, np.int8(3), np.random.RandomState(0)],
        [np.random, True, np.random.mtrand._rand],
        [-1, 2**32, 1.5, "0", np.nan, np.random.default_rng(0), [], object(), [1, 2], 10**400, TEXTS[11]],
    ),
    "verbose": Kind(
        [False, True, 0, 1, 2, np.int8(1)], [3, 10**30], ["loud", None, -1, np.nan, 0.5, [], object()]
    ),
    "class_weight": Kind(
        [None, "balanced"],
        [{}],
        [
            *TEXTS,
            3,
            [1, 2, 3],
            {"a": 1},
            {99: 1.0},
            {None: 1},
            {(1, 2): 1},
            np.nan,
            object(),
            True,
            {"a": "b"},
        ],
    ),
    "callbacks": Kind(
        [None, [], ()],
        [],
        ["x", [None], [3], ["x"], [object()], [("a", 3)], {}, 3, np.nan, [print], [int], [[]], np.array([])],
    ),
    "device": choice(
        "cpu",
        odd=["cpu:0", "cpu:7", "cuda", "mps"],
        bad=["gpu", "cuda:99", "meta", None, torch.device("cpu")],
    ),
    "teacher_classes": Kind(
        [None], [], [3, "ab", [1], [1, 1], [None, 1], [1, "a"], [[1], [2]], {}, object(), np.nan, Refuses()]
    ),
    "memory": Kind([None], [], [3, [], object(), np.nan, True, b"here"]),
}


@st.composite
def parameters(draw, table=PARAMETERS, most=6):
    """Draw several parameters at once, most of them good if there are many."""
    names = draw(st.lists(st.sampled_from(sorted(table)), max_size=most, unique=True))
    drawn = {}
    for name in names:
        verdict = draw(st.sampled_from([GOOD, GOOD, GOOD, ODD, BAD]))
        values = getattr(table[name], verdict) or table[name].good
        verdict = verdict if getattr(table[name], verdict) else GOOD
        drawn[name] = Part(values[draw(st.integers(0, len(values) - 1))], verdict)
    return drawn
